// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"iter"
)

// jsonSpace is what stands around a line's value: white space, and the mark in
// front of each text of a JSON sequence (RFC 7464).
const jsonSpace = " \t\r\x1e"

// A LineReader reads the lines of a body of JSON lines (NDJSON, JSONL) as the
// body arrives, without white space around them and without blank lines. The
// last line needs no end. Whatever way the body is cut, the lines are the same.
type LineReader struct {
	body []byte // from offset at on, as far as it is there
	at   int
	all  bool // nothing follows body
	pos  int
	seen int // up to where the next line has no end
	line Span
	from int // where the line begins with what is around it
}

// Feed hands the LineReader the body from offset at on, as far as it has come;
// all says that it has come to its end. at may not be beyond Begun. The bytes
// have to stay as they are until the next Feed.
func (r *LineReader) Feed(body []byte, at int, all bool) { r.body, r.at, r.all = body, at, all }

// Begun is the offset at which the first line begins that Next has not returned.
func (r *LineReader) Begun() int { return r.pos }

// Next reads the next line. It returns false at the end, and where the rest of
// the line has not come yet.
func (r *LineReader) Next() bool {
	for end := r.at + len(r.body); r.pos < end; {
		from := max(r.pos, r.seen)
		l, next := Span{r.pos, end}, end
		if i := bytes.IndexByte(r.body[from-r.at:], '\n'); i >= 0 {
			l.End, next = from+i, from+i+1
		} else if r.seen = end; !r.all {
			return false
		}
		r.from, r.pos = r.pos, next
		text := r.body[l.Start-r.at : l.End-r.at]
		l.Start += len(text) - len(bytes.TrimLeft(text, jsonSpace))
		if l.End = l.Start + len(bytes.Trim(text, jsonSpace)); l.Start < l.End {
			r.line = l
			return true
		}
	}
	return false
}

// Line is where the line lies that Next read.
func (r *LineReader) Line() Span { return r.line }

// Full is the line that Next read with its end and what is around it.
func (r *LineReader) Full() Span { return Span{r.from, r.pos} }

// Lines returns the places of the lines of a whole body of JSON lines.
func Lines(body []byte) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		var r LineReader
		r.Feed(body, 0, true)
		for r.Next() {
			if !yield(r.line) {
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
