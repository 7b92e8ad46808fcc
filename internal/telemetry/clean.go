// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"unicode"
	"unicode/utf8"
)

// MaxValue is the length in bytes at which Clean cuts a value.
const MaxValue = 200

// Clean makes a value that a stranger may have chosen (a consumer's name, a
// path, a scan id) fit to stand in a log line between double quotes: valid
// UTF-8, no control or format characters, no quote or backslash, at most
// MaxValue bytes. What is replaced becomes '?', so a value can neither end
// its quotes nor start a line of its own, and Kong can encode it.
func Clean(s string) string {
	if len(s) <= MaxValue && plain(s) {
		return s
	}
	b := make([]byte, 0, min(len(s), MaxValue)+3)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if forbidden(r, n) {
			r = '?'
		}
		if len(b)+utf8.RuneLen(r) > MaxValue {
			return string(append(b, "..."...))
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}

// plain spares the usual value, printable ASCII, a copy.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func forbidden(r rune, size int) bool {
	switch {
	case r == utf8.RuneError && size <= 1, r == '"', r == '\\':
		return true
	case r == ' ':
		return false
	}
	// Format characters (such as right-to-left override) and line
	// separators forge what a reader sees.
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf)
}
