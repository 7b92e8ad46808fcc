// SPDX-License-Identifier: Apache-2.0

package mediatype

import "unicode/utf8"

// Text reports whether b reads as text: it is UTF-8, and at most one byte in
// ten is a control character other than white space and the escape of
// terminals. A few of them keep nobody from reading a text, so they must not
// turn it into something that is not scanned. An empty b is text too.
func Text(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	return controls(b) <= len(b)/10
}

func isControl(c byte) bool {
	switch c {
	case '\t', '\n', '\v', '\f', '\r', 0x1b:
		return false
	}
	return c < ' ' || c == 0x7f
}

// junk counts the bytes of b that text does not have: control characters and
// what is not UTF-8.
func junk(b []byte) (n int) {
	for len(b) > 0 {
		if c := b[0]; c < utf8.RuneSelf {
			if isControl(c) {
				n++
			}
			b = b[1:]
			continue
		}
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			n++
		}
		b = b[size:]
	}
	return n
}
