// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// The bounds of what scan reads. Its index is built before it is known that the
// text is JSON, so that of a large text does not grow.
const (
	scanBytes   = 1 << 20
	scanGrows   = 64 << 10
	scanDepth   = 32
	scanMembers = 32 // of an object
)

// A container is an array or object that scan is in.
type container struct {
	node    int
	members int
	// names has a bit for each of its names, by which most are known to be new.
	names uint64
}

// scan checks and indexes a text in one pass. It only knows what most texts are
// made of, and gives up on all else, sound or not: jsontext then decides. What
// it accepts jsontext accepts, too.
func (d *Doc) scan(maxDepth int) bool {
	src := d.src
	if len(src) > scanBytes {
		return false
	}
	var stack [scanDepth]container
	depth := 0
	var name, nameEnd uint32
	i := 0
	for {
		// A value.
		i = afterBlanks(src, i)
		if i == len(src) || len(d.nodes) == cap(d.nodes) && len(src) > scanGrows {
			return false
		}
		switch c := src[i]; c {
		case '"':
			end, escaped := scanString(src, i)
			if end == 0 {
				return false
			}
			d.add(String, i, end, name, nameEnd)
			d.nodes[len(d.nodes)-1].escaped = escaped
			i = end
		case '{', '[':
			if depth == min(maxDepth, scanDepth) {
				return false
			}
			kind := Array
			if c == '{' {
				kind = Object
			}
			stack[depth] = container{node: len(d.nodes)}
			depth++
			d.add(kind, i, i+1, name, nameEnd)
			name, nameEnd = 0, 0
			i = afterBlanks(src, i+1)
			switch {
			case i < len(src) && src[i] == c+2: // it is empty, and closed below
			case kind == Array:
				continue
			default:
				if name, nameEnd, i = d.scanName(&stack[depth-1], i); i == 0 {
					return false
				}
				continue
			}
		default:
			kind, end := scanScalar(src, i)
			if end == 0 {
				return false
			}
			d.add(kind, i, end, name, nameEnd)
			i = end
		}
		name, nameEnd = 0, 0
		// What follows it, up to the next value.
		for {
			i = afterBlanks(src, i)
			if depth == 0 || i == len(src) {
				return depth == 0 && i == len(src)
			}
			top := &stack[depth-1]
			kind := d.nodes[top.node].kind
			if src[i] == ',' {
				if i++; kind == Object {
					if name, nameEnd, i = d.scanName(top, i); i == 0 {
						return false
					}
				}
				break
			}
			if kind == Object && src[i] != '}' || kind == Array && src[i] != ']' {
				return false
			}
			i++
			d.nodes[top.node].end, d.nodes[top.node].next = uint32(i), int32(len(d.nodes))
			depth--
		}
	}
}

// scanName reads the name that follows from start on in an object, and its
// colon. next is 0 where it gives up: on a name with escapes, too.
func (d *Doc) scanName(in *container, start int) (name, nameEnd uint32, next int) {
	src := d.src
	start = afterBlanks(src, start)
	if start == len(src) || src[start] != '"' || in.members == scanMembers {
		return 0, 0, 0
	}
	end, escaped := scanString(src, start)
	if end == 0 || escaped {
		return 0, 0, 0
	}
	s := src[start+1 : end-1]
	bit := uint64(1) // of the name's length and ends
	if n := len(s); n > 0 {
		bit <<= (uint(n) ^ uint(s[0])<<2 ^ uint(s[n-1])) & 63
	}
	if in.names&bit != 0 {
		for c := d.First(in.node); c < len(d.nodes); c = d.Next(c) {
			if bytes.Equal(d.Name(c), s) {
				return 0, 0, 0
			}
		}
	}
	in.names |= bit
	in.members++
	next = afterBlanks(src, end)
	if next == len(src) || src[next] != ':' {
		return 0, 0, 0
	}
	return uint32(start), uint32(end), next + 1
}

// afterBlanks returns the index of the first byte from i on that is no white
// space.
func afterBlanks(src []byte, i int) int {
	for i < len(src) && (src[i] == ' ' || src[i] == '\n' || src[i] == '\r' || src[i] == '\t') {
		i++
	}
	return i
}

// scanString returns the index after the string that begins at start, 0 where
// there is none, and whether it has escapes.
func scanString(src []byte, start int) (end int, escaped bool) {
	wide := false // there is a character beyond ASCII
	for i := start + 1; i < len(src); i++ {
		c := src[i]
		if !stops[c] {
			continue
		}
		switch {
		case c == '"':
			if wide && !utf8.Valid(src[start:i]) {
				return 0, false
			}
			return i + 1, escaped
		case c >= utf8.RuneSelf:
			wide = true
		case c == '\\':
			n := scanEscape(src[i:])
			if n == 0 {
				return 0, false
			}
			escaped = true
			i += n - 1
		default:
			return 0, false // a control character
		}
	}
	return 0, false
}

// stops are the bytes in a string that do not simply stand for themselves.
var stops = func() (t [256]bool) {
	for c := range t {
		t[c] = c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf
	}
	return t
}()

// scanEscape returns the length of the escape that s begins with, both halves of
// a surrogate pair together, 0 where there is none.
func scanEscape(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if !isHex4(s[2:]) {
			return 0
		}
		r := hex4(s[2:])
		if !utf16.IsSurrogate(r) {
			return 6
		}
		if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' && isHex4(s[8:]) && utf16.DecodeRune(r, hex4(s[8:])) != utf8.RuneError {
			return 12
		}
	}
	return 0
}

// isHex4 reports whether s begins with four hexadecimal digits.
func isHex4(s []byte) bool {
	if len(s) < 4 {
		return false
	}
	for _, c := range s[:4] {
		if c-'0' >= 10 && (c|0x20)-'a' >= 6 {
			return false
		}
	}
	return true
}

// scanScalar returns what the word or number is that begins at start, and the
// index after it, 0 where there is none.
func scanScalar(src []byte, start int) (Kind, int) {
	rest := src[start:]
	switch {
	case len(rest) >= 4 && string(rest[:4]) == "null":
		return Null, start + 4
	case len(rest) >= 4 && string(rest[:4]) == "true":
		return True, start + 4
	case len(rest) >= 5 && string(rest[:5]) == "false":
		return False, start + 5
	}
	i := start
	if src[i] == '-' {
		i++
	}
	end := afterDigits(src, i)
	if end == i || end > i+1 && src[i] == '0' {
		return Number, 0
	}
	if end < len(src) && src[end] == '.' {
		i = end + 1
		if end = afterDigits(src, i); end == i {
			return Number, 0
		}
	}
	if end < len(src) && src[end]|0x20 == 'e' {
		i = end + 1
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		if end = afterDigits(src, i); end == i {
			return Number, 0
		}
	}
	return Number, end
}

// afterDigits returns the index of the first byte from i on that is no digit.
func afterDigits(src []byte, i int) int {
	for i < len(src) && src[i]-'0' < 10 {
		i++
	}
	return i
}
