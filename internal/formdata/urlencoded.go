// SPDX-License-Identifier: Apache-2.0

package formdata

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// A Field is a field of a form that is not multipart.
type Field struct {
	// Name and Value are decoded. A field without "=" has an empty value.
	Name, Value string
	// At is where the encoded value lies in the body. What is put there has to
	// be encoded as url.QueryEscape does it.
	At Span
}

// ParseURLEncoded reads application/x-www-form-urlencoded. The fields come in
// order; a name may come several times. The error is always an *Error. It
// refuses a literal ";" (some readers separate at it), bad escapes, literal
// control characters, and what is not UTF-8 after decoding.
func ParseURLEncoded(body []byte) ([]Field, error) {
	if len(body) == 0 {
		return nil, nil
	}
	for _, c := range body {
		if c == ';' || c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f {
			return nil, errSeparator
		}
	}
	var fields []Field
	for pos := 0; pos <= len(body); {
		end := len(body)
		if i := bytes.IndexByte(body[pos:], '&'); i >= 0 {
			end = pos + i
		}
		pair := body[pos:end]
		pos = end + 1
		if len(pair) == 0 {
			continue
		}
		if len(fields) == MaxParts {
			return nil, errTooMany
		}
		name, value, _ := bytes.Cut(pair, []byte("="))
		f := Field{At: Span{end - len(value), end}}
		var err error
		if f.Name, err = unescape(name); err != nil {
			return nil, err
		}
		if f.Value, err = unescape(value); err != nil {
			return nil, err
		}
		if f.Name == charsetField && !isUTF8Name(f.Value) {
			return nil, errCharset
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// unescape decodes %XX, and "+" as a space.
func unescape(b []byte) (string, error) {
	var s strings.Builder
	s.Grow(len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '+':
			s.WriteByte(' ')
		case '%':
			if i+2 >= len(b) {
				return "", errEscape
			}
			hi, lo := hex(b[i+1]), hex(b[i+2])
			if hi < 0 || lo < 0 {
				return "", errEscape
			}
			s.WriteByte(byte(hi<<4 | lo))
			i += 2
		default:
			s.WriteByte(c)
		}
	}
	if !utf8.ValidString(s.String()) {
		return "", errNotUTF8
	}
	return s.String(), nil
}

// hex is the value of a hexadecimal digit, -1 for anything else.
func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
