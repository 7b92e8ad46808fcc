// SPDX-License-Identifier: Apache-2.0

// Package mediatype finds out what a piece of content is: by its label, by its
// bytes, and by the text that hides in its encoding.
//
// Ask Text before Media: a text can begin with the magic bytes of an image, and
// a model reads it all the same. A lenient reader may still take for text what
// is neither text nor known media, in another charset for instance. So that is
// not media to be waved through.
package mediatype

import (
	"errors"
	"strings"
)

// ErrLabel means that a Content-Type header cannot be read in one way.
var ErrLabel = errors.New("content type cannot be read in one way")

// A Label is the value of a Content-Type header.
type Label struct {
	// Type is the lower-case media type without parameters, such as "text/plain".
	Type string
	// Params are the parameters in order; their names are lower-case, and no
	// two are equal.
	Params []Param
}

// A Param is a parameter of a header's value. Its Value is without quotes.
type Param struct{ Name, Value string }

// Param returns the value of the named parameter and whether there is one.
func (l Label) Param(name string) (string, bool) { return get(l.Params, name) }

// Charset is the lower-case charset of the label, "" when it names none.
func (l Label) Charset() string {
	c, _ := l.Param("charset")
	return strings.ToLower(c)
}

// ParseLabel reads a Content-Type header. It is strict where readers differ:
// parameters twice, extended ones (name*=), values with bare separators,
// escapes in quotes, anything left over. An empty value is an empty Label.
func ParseLabel(value string) (Label, error) {
	if value = strings.Trim(value, " \t"); value == "" {
		return Label{}, nil
	}
	full, rest, _ := strings.Cut(value, ";")
	full = strings.TrimRight(full, " \t")
	major, minor, ok := strings.Cut(full, "/")
	if !ok || !IsToken(major) || !IsToken(minor) {
		return Label{}, ErrLabel
	}
	params, ok := ParseParams(rest)
	if !ok {
		return Label{}, ErrLabel
	}
	for _, p := range params {
		if strings.Contains(p.Name, "*") || strings.Contains(p.Value, `\`) {
			return Label{}, ErrLabel
		}
	}
	return Label{Type: strings.ToLower(full), Params: params}, nil
}

// ParseParams reads the parameters of a header's value, what follows its first
// ";": name=token or name="text", with ";" between them. Escapes in quotes are
// left as they are; a quote cannot be escaped, since readers differ on where
// such a text ends. It returns false for all else, when a name comes twice, and
// for more than 16 parameters.
func ParseParams(s string) (params []Param, ok bool) {
	for s = trimParam(s); s != ""; s = trimParam(s) {
		name, rest, found := strings.Cut(s, "=")
		if name = strings.ToLower(name); !found || !IsToken(name) {
			return nil, false
		}
		if _, twice := get(params, name); twice || len(params) == maxParams {
			return nil, false
		}
		value := rest
		if quoted, is := strings.CutPrefix(rest, `"`); is {
			end := strings.IndexByte(quoted, '"')
			if end < 0 || end > 0 && quoted[end-1] == '\\' {
				return nil, false
			}
			value, s = quoted[:end], quoted[end+1:]
		} else {
			end := strings.IndexAny(rest, "; \t")
			if end < 0 {
				end = len(rest)
			}
			if value, s = rest[:end], rest[end:]; !IsToken(value) {
				return nil, false
			}
		}
		if s = strings.TrimLeft(s, " \t"); s != "" && s[0] != ';' {
			return nil, false
		}
		for i := range len(value) {
			if value[i] < ' ' && value[i] != '\t' || value[i] == 0x7f {
				return nil, false
			}
		}
		params = append(params, Param{name, value})
	}
	return params, true
}

// maxParams keeps the search for equal names short.
const maxParams = 16

// trimParam drops the separators before a parameter.
func trimParam(s string) string { return strings.TrimLeft(s, "; \t") }

func get(params []Param, name string) (string, bool) {
	for _, p := range params {
		if p.Name == name {
			return p.Value, true
		}
	}
	return "", false
}

// IsToken reports whether s is a token of HTTP: letters, digits and a few
// signs.
func IsToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
