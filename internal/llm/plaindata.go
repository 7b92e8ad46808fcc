// SPDX-License-Identifier: Apache-2.0

package llm

import "github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"

// A stream can be one text whose pieces come as they are, not in JSON. Some
// pieces of such a text may be JSON by chance: a number, "true", brackets, a
// blank. They are kept for the text, and dropped where no piece of the stream
// is words.

// plainText is what the pieces of a stream say as they stand.
type plainText struct {
	words bool   // some piece is no JSON
	buf   []byte // the pieces as clients have it that take each line for one
	// broken is the same for clients that join the lines of an event with line
	// ends, once there was an event of several.
	broken []byte
	lines  bool
}

// plain adds a piece.
func (m *assembler) plain(r *reader, data []byte, words bool) {
	p := &m.pieces
	r.take(2 * len(data))
	r.step(len(data))
	p.words = p.words || words
	p.buf = append(extra(p.buf, len(data)), data...)
	if p.lines {
		r.take(2 * len(data))
		p.broken = append(extra(p.broken, len(data)), data...)
	}
}

// breakLines notes that an event of several lines begins.
func (m *assembler) breakLines(r *reader) {
	if p := &m.pieces; !p.lines {
		r.take(2 * len(p.buf))
		p.lines, p.broken = true, append([]byte(nil), p.buf...)
	}
}

// lineEnd notes that a line of the event has ended.
func (m *assembler) lineEnd(r *reader) {
	r.take(2)
	m.pieces.broken = append(m.pieces.broken, '\n')
}

// flushPlain makes turns of the text, if it is one.
func (r *reader) flushPlain(f *flushing) {
	p := &r.asm.pieces
	if !p.words {
		return
	}
	for _, buf := range [...][]byte{p.buf, p.broken} {
		r.step(len(buf))
		r.flushText(&streamed{at: at{kind: KindText, message: -1, role: RoleAssistant}, buf: buf}, f)
	}
}

// hasMembers reports whether the document has an object with members, and so
// is no piece of a text.
func (r *reader) hasMembers() bool {
	for v := range r.doc.Len() {
		if r.doc.Kind(v) == strictjson.Object && r.doc.First(v) < r.doc.Next(v) {
			return true
		}
	}
	return false
}
