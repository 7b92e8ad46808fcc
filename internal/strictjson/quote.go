// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"math/bits"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendQuote appends s as a JSON string literal that stays one line of valid
// UTF-8 whatever s holds: invalid bytes become U+FFFD. It writes what
// jsontext.AppendQuote does, and looks at eight bytes at a time.
func AppendQuote(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		dst, _ = jsontext.AppendQuote(dst, s)
		return dst
	}
	dst = append(slices.Grow(dst, len(s)+2), '"')
	from := 0 // what stands before it is written
	for i := 0; i < len(s); i++ {
		if i += plainPrefix(s[i:]); i == len(s) {
			break
		}
		dst = append(dst, s[from:i]...)
		for ; i < len(s) && (s[i] < ' ' || s[i] == '"' || s[i] == '\\'); i++ {
			dst = appendEscape(dst, s[i])
		}
		from = i // the character there is no special one
	}
	return append(append(dst, s[min(from, len(s)):]...), '"')
}

// short has the letters of escapes of two characters, by what they stand for.
var short = [...]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// appendEscape appends the shortest escape of an ASCII character that cannot
// stand in a JSON string as it is.
func appendEscape(dst []byte, c byte) []byte {
	if e := short[c]; e != 0 {
		return append(dst, '\\', e)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x8080808080808080
)

// plainPrefix returns how many of s's first bytes stand in a JSON string as they
// are: all before a quote, a backslash or a control character. Of bytes beyond
// ASCII it knows nothing.
func plainPrefix(s string) int {
	n := 0
	for ; len(s)-n >= 8; n += 8 {
		if found := special(word(s, n)); found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(s); n++ {
		if c := s[n]; c < ' ' || c == '"' || c == '\\' {
			return n
		}
	}
	return n
}

// word returns the eight bytes of s that begin at n, the first one lowest. The
// compiler makes one load of it.
func word(s string, n int) uint64 {
	s = s[n : n+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// special marks the high bits of the bytes of w that are a quote, a backslash or
// a control character. The lowest mark is right. One above it may be wrong,
// since a subtraction borrows from the byte above.
func special(w uint64) uint64 {
	quote := w ^ '"'*everyByte
	backslash := w ^ '\\'*everyByte
	return ((w-' '*everyByte)&^w | (quote-everyByte)&^quote | (backslash-everyByte)&^backslash) & highBits
}
