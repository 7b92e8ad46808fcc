// SPDX-License-Identifier: Apache-2.0

package kongschema

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// A Problem says what is wrong with one field and what to do about it. It
// never quotes the field's value, which may be a secret.
type Problem struct {
	// Field is the field's name, "" for the configuration as a whole.
	Field string
	Text  string
}

func (p Problem) Error() string {
	if p.Field == "" {
		return "config " + p.Text
	}
	return "config." + p.Field + " " + p.Text
}

// Problems is all that is wrong with a configuration.
type Problems []Problem

func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "; ")
}

// Add appends a problem. It does nothing when text is empty.
func (ps *Problems) Add(field, text string) {
	if text != "" {
		*ps = append(*ps, Problem{field, text})
	}
}

// Err returns the problems as an error, nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Given is the set of names that a configuration holds with a value other than
// null, including those that nobody declared. Names inside a nested record
// stand as "outer.inner".
type Given map[string]bool

// Decode reads a configuration into what fields bind, and lets resolve finish
// it once they are set. The error is that of Record.Decode, or what resolve
// finds wrong with the whole.
func Decode(data []byte, fields Record, resolve func(Given) Problems) error {
	given, err := fields.Decode(data)
	if err != nil {
		return err
	}
	return resolve(given).Err()
}

// Decode reads a configuration as Kong hands it to a plugin, stores the value
// of each field where the field was bound to, and its default where the
// configuration holds none or null. Kong adds keys of its own, so unknown ones
// are accepted. The error is of type Problems and lists all that is wrong;
// what was stored must not be used then.
func (r Record) Decode(data []byte) (Given, error) {
	given, problems := r.decode(data, "")
	return given, problems.Err()
}

func (r Record) decode(data jsontext.Value, prefix string) (Given, Problems) {
	values, ok := members(data)
	if !ok {
		return nil, Problems{{strings.TrimSuffix(prefix, "."), "must be one JSON object, with no name in it twice"}}
	}
	given := make(Given, len(values))
	for name := range values {
		given[prefix+name] = true
	}
	var problems Problems
	for _, f := range r {
		path := prefix + f.name
		raw, present := values[f.name]
		switch {
		case f.spec.kind == "record":
			if !present {
				raw = jsontext.Value("{}")
			}
			inner, wrong := f.spec.fields.decode(raw, path+".")
			maps.Copy(given, inner)
			problems = append(problems, wrong...)
		case present:
			value, problem := f.spec.read(raw)
			if problem != "" {
				problems.Add(path, problem)
				continue
			}
			f.store(value)
		case f.spec.def != nil:
			f.store(f.spec.def)
		case f.spec.required:
			problems.Add(path, "is required: set it")
		}
	}
	return given, problems
}

// members reads an object's members that are not null.
func members(data []byte) (map[string]jsontext.Value, bool) {
	// Strings from Kong are bytes. What is not ours need not be UTF-8. For our
	// own fields readString makes sure that it is.
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowInvalidUTF8(true))
	if open, err := dec.ReadToken(); err != nil || open.Kind() != jsontext.KindBeginObject {
		return nil, false
	}
	values := make(map[string]jsontext.Value)
	for dec.PeekKind() != jsontext.KindEndObject {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, false
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, false
		}
		if value.Kind() != jsontext.KindNull {
			values[name] = value.Clone()
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, false
	}
	_, err := dec.ReadToken()
	return values, err == io.EOF
}

// read reads a value that is not null and checks it against the rules. The
// value is a string, bool, int64, float64, []string or map[string]string. The
// problem is "" when there is none.
func (s *spec) read(raw jsontext.Value) (value any, problem string) {
	switch s.kind {
	case "string":
		return s.readString(raw)
	case "boolean":
		switch raw.Kind() {
		case jsontext.KindTrue, jsontext.KindFalse:
			return raw.Kind() == jsontext.KindTrue, ""
		}
		return nil, "must be true or false"
	case "integer", "number":
		return s.readNumber(raw)
	case "array", "set":
		return s.readList(raw)
	case "map":
		return s.readMap(raw)
	}
	return nil, "has an unknown type"
}

// vaultPrefix is how a reference to a secret begins. Kong replaces a whole
// reference by the secret, so a plugin never sees one that was resolved.
const vaultPrefix = "{vault://"

func (s *spec) readString(raw jsontext.Value) (any, string) {
	if raw.Kind() != jsontext.KindString {
		return nil, "must be a string"
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil || !utf8.Valid(raw) {
		return nil, "must be valid UTF-8"
	}
	value := string(text)
	switch {
	case strings.Contains(value, vaultPrefix) && s.referenceable:
		return nil, "still holds a vault reference that Kong did not resolve: check the reference and its vault, and that Kong runs with this plugin version's schema"
	case strings.Contains(value, vaultPrefix):
		return nil, "cannot be a vault reference: Kong does not resolve them in this field, so set the value itself"
	case value == "" && s.referenceable:
		return nil, "is empty: if it is a vault reference, the vault has no such secret (for {vault://env/my-key} set MY_KEY in Kong's environment)"
	}
	if problem := s.checkLen(len(value), "bytes"); problem != "" {
		return nil, problem
	}
	switch {
	case s.oneOf != nil && !slices.Contains(s.oneOf, value):
		return nil, "must be one of: " + strings.Join(s.oneOf, ", ")
	case !strings.HasPrefix(value, s.startsWith):
		return nil, "must start with " + s.startsWith
	case s.matches != nil && !s.matches(value):
		return nil, "must match the Lua pattern " + s.match
	}
	return value, ""
}

// maxExact is the largest whole number that JSON readers agree on, Kong's
// among them: its numbers are doubles.
const maxExact = 1 << 53

func (s *spec) readNumber(raw jsontext.Value) (any, string) {
	if raw.Kind() != jsontext.KindNumber {
		return nil, "must be a number"
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err != nil || math.IsInf(n, 0):
		return nil, "must be a number of sensible size"
	case s.kind == "integer" && (n != math.Trunc(n) || math.Abs(n) > maxExact):
		return nil, "must be a whole number"
	case s.between != nil && (n < float64(s.between[0]) || n > float64(s.between[1])):
		return nil, fmt.Sprintf("must be between %d and %d", s.between[0], s.between[1])
	case s.gt != nil && n <= float64(*s.gt):
		return nil, fmt.Sprintf("must be greater than %d", *s.gt)
	case s.kind == "integer":
		return int64(n), ""
	}
	return n, ""
}

func (s *spec) readList(raw jsontext.Value) (any, string) {
	dec := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowInvalidUTF8(true))
	// Kong's encoder writes an empty table as {} when it does not know
	// better, so that is an empty list.
	if open, err := dec.ReadToken(); err != nil || open.Kind() != jsontext.KindBeginArray {
		if empty, ok := members(raw); ok && len(empty) == 0 {
			return []string(nil), s.checkLen(0, "elements")
		}
		return nil, "must be a list"
	}
	var values []string
	for dec.PeekKind() != jsontext.KindEndArray {
		element, err := dec.ReadValue()
		if err != nil {
			return nil, "must be a list"
		}
		value, problem := s.elements.spec.read(element)
		if problem != "" {
			return nil, "has an element that " + problem
		}
		if s.kind == "set" && slices.Contains(values, value.(string)) {
			continue
		}
		values = append(values, value.(string))
	}
	return values, s.checkLen(len(values), "elements")
}

func (s *spec) readMap(raw jsontext.Value) (any, string) {
	entries, ok := members(raw)
	if !ok {
		// The other way round: an empty map may come as [].
		if elements, problem := (&spec{elements: Each()}).readList(raw); problem == "" && len(elements.([]string)) == 0 {
			return map[string]string(nil), s.checkLen(0, "entries")
		}
		return nil, "must be a map"
	}
	values := make(map[string]string, len(entries))
	for name, entry := range entries {
		key, problem := s.keys.spec.read(encode(name))
		if problem != "" {
			return nil, "has a key that " + problem
		}
		value, problem := s.values.spec.read(entry)
		if problem != "" {
			return nil, "has a value that " + problem
		}
		values[key.(string)] = value.(string)
	}
	return values, s.checkLen(len(values), "entries")
}

func (s *spec) checkLen(n int, unit string) string {
	low, high := 0, math.MaxInt
	if s.kind == "string" {
		low = 1 // as Kong has it: a text is not empty unless its rule says so
	}
	if s.lenMin != nil {
		low = *s.lenMin
	}
	if s.lenMax != nil {
		high = *s.lenMax
	}
	switch {
	case n == 0 && low > 0:
		return "must not be empty"
	case n < low:
		return fmt.Sprintf("must have at least %d %s", low, unit)
	case n > high:
		return fmt.Sprintf("must have at most %d %s", high, unit)
	}
	return ""
}
