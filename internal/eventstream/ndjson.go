// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"iter"
)

// jsonSpace is what stands around a line's value: white space, and the mark in
// front of each text of a JSON sequence (RFC 7464).
const jsonSpace = " \t\r\x1e"

// Lines returns the places of the lines of a body of JSON lines (NDJSON,
// JSONL), without white space around them and without blank lines. The last
// line needs no end.
func Lines(body []byte) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		for pos := 0; pos < len(body); {
			l := Span{pos, len(body)}
			if i := bytes.IndexByte(body[pos:], '\n'); i >= 0 {
				l.End = pos + i
			}
			pos = l.End + 1
			text := l.In(body)
			l.Start += len(text) - len(bytes.TrimLeft(text, jsonSpace))
			if l.End = l.Start + len(bytes.Trim(text, jsonSpace)); l.Start == l.End {
				continue
			}
			if !yield(l) {
				return
			}
		}
	}
}

// LooksLikeLines reports whether body, which is not one JSON value, looks like
// JSON lines: its first line begins and ends as an object or array, and its
// second begins as one. A body that begins like JSON and is neither JSON nor
// this is not plain text either: a client may well read its first line.
func LooksLikeLines(body []byte) bool {
	first := true
	for l := range Lines(body) {
		text := l.In(body)
		if text[0] != '{' && text[0] != '[' {
			return false
		}
		if !first {
			return true
		}
		first = false
		// A first line with an open end is the start of indented JSON.
		if last := text[len(text)-1]; last != text[0]+2 {
			return false
		}
	}
	return false
}
