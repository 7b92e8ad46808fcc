// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"unicode"
	"unicode/utf8"
)

// The lengths in bytes at which Clean cuts a value and Line a line.
const (
	MaxValue = 200
	MaxLine  = 1000
)

// Clean makes a value that a stranger may have chosen (a consumer's name, a
// path, a scan id) fit to stand in a log line between double quotes: valid
// UTF-8, no control or format characters, no quote or backslash, at most
// MaxValue bytes and "...". What is replaced becomes '?', so a value can
// neither end its quotes nor start a line of its own, and Kong can encode it.
func Clean(s string) string { return clean(s, MaxValue, true) }

// Line makes a text fit to be one log line, as Clean does; quotes and
// backslashes stay.
func Line(s string) string { return clean(s, MaxLine, false) }

func clean(s string, most int, quoted bool) string {
	if len(s) <= most && plain(s, quoted) {
		return s
	}
	b := make([]byte, 0, min(len(s), most)+3)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if forbidden(r, n, quoted) {
			r = '?'
		}
		if len(b)+utf8.RuneLen(r) > most {
			return string(append(b, "..."...))
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}

// plain spares the usual value, printable ASCII, a copy.
func plain(s string, quoted bool) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || quoted && (c == '"' || c == '\\') {
			return false
		}
	}
	return true
}

func forbidden(r rune, size int, quoted bool) bool {
	switch {
	case r == utf8.RuneError && size <= 1:
		return true
	case r == '"', r == '\\':
		return quoted
	}
	// What is not graphic (controls, line separators, overrides of the
	// writing direction) forges what a reader sees.
	return r != ' ' && !unicode.IsGraphic(r)
}
