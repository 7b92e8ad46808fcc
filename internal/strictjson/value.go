// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Root is the index of the text's outermost value.
const Root = 0

// Len returns how many values the text has.
func (d *Doc) Len() int { return len(d.nodes) }

// Kind returns what value v is.
func (d *Doc) Kind(v int) Kind { return d.nodes[v].kind }

// First returns the index of v's first child. It is a child of v only when it
// is less than Next(v).
func (d *Doc) First(v int) int { return v + 1 }

// Next returns the index that follows v and all inside it: its next sibling,
// if it has one.
func (d *Doc) Next(v int) int { return int(d.nodes[v].next) }

// Span returns the offsets of v in the text: v's bytes are src[start:end].
func (d *Doc) Span(v int) (start, end int) {
	return int(d.nodes[v].start), int(d.nodes[v].end)
}

// NameSpan returns the offsets of member v's name in the text, with its
// quotes; both are 0 for a value without a name.
func (d *Doc) NameSpan(v int) (start, end int) {
	return int(d.nodes[v].name), int(d.nodes[v].nameEnd)
}

// Raw returns v's bytes as they stand in the text, without a copy.
func (d *Doc) Raw(v int) []byte {
	n := &d.nodes[v]
	return d.src[n.start:n.end:n.end]
}

// RawName returns the name of member v as it stands in the text, with its
// quotes; nil for a value that is not an object's member.
func (d *Doc) RawName(v int) []byte {
	n := &d.nodes[v]
	if n.nameEnd == 0 {
		return nil
	}
	return d.src[n.name:n.nameEnd:n.nameEnd]
}

// Name returns member v's name, escapes resolved: the text's own bytes where
// there is no escape, else new ones. It is nil for a value without a name.
func (d *Doc) Name(v int) []byte {
	n := &d.nodes[v]
	switch {
	case n.nameEnd == 0:
		return nil
	case n.nameEscaped:
		return AppendString(nil, d.src[n.name:n.nameEnd])
	}
	return d.src[n.name+1 : n.nameEnd-1 : n.nameEnd-1]
}

// Bytes returns string v, escapes resolved: the text's own bytes where there
// is no escape, else new ones. v must be a String.
func (d *Doc) Bytes(v int) []byte {
	n := &d.nodes[v]
	if n.escaped {
		return AppendString(nil, d.src[n.start:n.end])
	}
	return d.src[n.start+1 : n.end-1 : n.end-1]
}

// Append appends string v, escapes resolved. v must be a String.
func (d *Doc) Append(dst []byte, v int) []byte {
	n := &d.nodes[v]
	if n.escaped {
		return AppendString(dst, d.src[n.start:n.end])
	}
	return append(dst, d.src[n.start+1:n.end-1]...)
}

// Member returns the member of object v that has this name, the first if there
// are more, or -1.
func (d *Doc) Member(v int, name string) int {
	if d.nodes[v].kind != Object {
		return -1
	}
	for c, end := v+1, d.Next(v); c < end; c = d.Next(c) {
		n := &d.nodes[c]
		if n.nameEscaped {
			if string(d.Name(c)) == name {
				return c
			}
		} else if int(n.nameEnd-n.name) == len(name)+2 && string(d.src[n.name+1:n.nameEnd-1]) == name {
			return c
		}
	}
	return -1
}

// AppendString appends what the JSON string literal raw stands for. Parse or
// Loose must have accepted it; a lone surrogate becomes U+FFFD.
func AppendString(dst, raw []byte) []byte { return appendString(dst, raw, false) }

// appendString is AppendString, but keeps the halves of surrogate pairs if
// halves is set.
func appendString(dst, raw []byte, halves bool) []byte {
	if len(raw) < 2 {
		return dst
	}
	for rest := raw[1 : len(raw)-1]; ; {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 {
			return append(dst, rest...)
		}
		dst = append(dst, rest[:i]...)
		c := rest[i+1]
		rest = rest[i+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(rest)
			rest = rest[4:]
			if utf16.IsSurrogate(r) && len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
				if pair := utf16.DecodeRune(r, hex4(rest[2:])); pair != utf8.RuneError {
					r, rest = pair, rest[6:]
				}
			}
			if halves && utf16.IsSurrogate(r) {
				dst = append(dst, byte(0xE0|r>>12), byte(0x80|r>>6&0x3F), byte(0x80|r&0x3F))
				continue
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

// hex4 reads the four hexadecimal digits of an accepted escape.
func hex4(s []byte) (r rune) {
	for _, c := range s[:4] {
		if c -= '0'; c > 9 {
			c = (c + '0') | 0x20 - 'a' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
