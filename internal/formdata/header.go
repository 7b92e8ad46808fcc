// SPDX-License-Identifier: Apache-2.0

package formdata

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

const (
	maxHeaderBytes = 16 << 10 // of a part, with line ends
	maxHeaders     = 32
)

// A header is what the header of a part says.
type header struct {
	name, filename string
	label          mediatype.Label
	length         string // Content-Length, "" for none
	extra          []Extra
}

// readHeader reads the header in front of a part and returns its length,
// including the blank line. In a form each part needs a name.
func readHeader(part []byte, form bool) (h header, n int, err error) {
	if bytes.HasPrefix(part, []byte("\r\n")) {
		if form {
			return h, 0, errDisposition
		}
		return h, 2, nil
	}
	end := bytes.Index(part[:min(len(part), maxHeaderBytes)], []byte("\r\n\r\n"))
	if end < 0 {
		return h, 0, errHeader
	}
	var seen []string
	for line := range bytes.SplitSeq(part[:end], []byte("\r\n")) {
		name, value, ok := headerLine(line)
		if !ok || slices.Contains(seen, name) || len(seen) == maxHeaders {
			return h, 0, errHeader
		}
		seen = append(seen, name)
		if err := h.field(name, value, form); err != nil {
			return h, 0, err
		}
	}
	if form && !slices.Contains(seen, "content-disposition") {
		return h, 0, errDisposition
	}
	return h, end + 4, nil
}

// headerLine reads a line of a header: its lower-case name and its value.
func headerLine(line []byte) (name, value string, ok bool) {
	name, value, ok = strings.Cut(string(line), ":")
	if !ok || !mediatype.IsToken(name) || !utf8.ValidString(value) { // a folded line has no token
		return "", "", false
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", "", false
		}
	}
	return strings.ToLower(name), strings.Trim(value, " \t"), true
}

// field takes in one field of the header.
func (h *header) field(name, value string, form bool) error {
	switch name {
	case "content-disposition":
		return h.disposition(value, form)
	case "content-type":
		label, err := mediatype.ParseLabel(value)
		if err != nil {
			return errHeader
		}
		h.label = label
		for _, p := range label.Params {
			if p.Name != "charset" && p.Name != "boundary" {
				h.extra = append(h.extra, Extra(p))
			}
		}
	case "content-length":
		h.length = value
		if value == "" {
			return errLength
		}
	case "content-transfer-encoding":
		if v := strings.ToLower(value); v != "7bit" && v != "8bit" && v != "binary" {
			return errEncoding
		}
	case "content-encoding":
		if value != "" && !strings.EqualFold(value, "identity") {
			return errEncoding
		}
	default:
		h.extra = append(h.extra, Extra{name, value})
	}
	return nil
}

// disposition reads a Content-Disposition.
func (h *header) disposition(value string, form bool) error {
	kind, rest, _ := strings.Cut(value, ";")
	kind = strings.TrimRight(kind, " \t")
	params, ok := mediatype.ParseParams(rest)
	if !ok || !mediatype.IsToken(kind) || form && !strings.EqualFold(kind, "form-data") {
		return errDisposition
	}
	var (
		named       bool
		files       int
		plain, star string // the file's name, and as an extended parameter
	)
	for _, p := range params {
		switch p.Name {
		case "name":
			if strings.Contains(p.Value, `\`) { // an escape, or not
				return errDisposition
			}
			h.name, named = p.Value, true
		case "filename":
			plain = p.Value
			files++
		case "filename*":
			if star, ok = extended(p.Value); !ok {
				return errDisposition
			}
			files++
		default:
			if strings.Contains(p.Name, "*") {
				return errDisposition
			}
			h.extra = append(h.extra, Extra(p))
		}
	}
	if h.filename = cmp.Or(star, plain); files > 1 {
		// .NET's clients send both. Readers take the one or the other, but it
		// has to be a file for all of them.
		if plain == "" || star == "" {
			return errDisposition
		}
		if plain != star {
			h.extra = append(h.extra, Extra{"filename", plain})
		}
	}
	if form && !named {
		return errDisposition
	}
	if !strings.EqualFold(kind, "form-data") {
		h.extra = append(h.extra, Extra{"content-disposition", kind})
	}
	return nil
}

// extended decodes an extended parameter (RFC 8187) in UTF-8.
func extended(value string) (string, bool) {
	charset, rest, _ := strings.Cut(value, "'")
	_, text, ok := strings.Cut(rest, "'")
	if !ok || !isUTF8Name(charset) {
		return "", false
	}
	// A plus stands for itself here.
	text, err := unescape([]byte(strings.ReplaceAll(text, "+", "%2B")))
	return text, err == nil
}

// checkBody checks the body of a part against its header.
func (h *header) checkBody(body []byte) error {
	if h.length != "" && h.length != strconv.Itoa(len(body)) {
		return errLength
	}
	switch charset := h.label.Charset(); {
	case charset == "", isUTF8Name(charset):
	case charset == "us-ascii", charset == "ascii", strings.HasPrefix(charset, "iso-8859-"), strings.HasPrefix(charset, "windows-125"):
		// Old clients label every text so. In ASCII they all mean the same.
		for _, c := range body {
			if c >= utf8.RuneSelf {
				return errCharset
			}
		}
	default:
		return errCharset
	}
	if h.name == charsetField && !isUTF8Name(string(body)) {
		return errCharset
	}
	return nil
}
