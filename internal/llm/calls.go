// SPDX-License-Identifier: Apache-2.0

package llm

import "bytes"

// streamedCall is what a stream says of a tool call besides its arguments,
// which come in other events, or in none.
type streamedCall struct {
	name []byte
	id   string
	args bool // there are arguments
	said bool // a turn names it
}

// callKey tells the calls of a stream apart.
type callKey struct{ choice, block, call int }

func callOf(a at) callKey { return callKey{a.choice, a.block, a.call} }

// call notes the name of a tool call, whose arguments may come in pieces.
func (m *assembler) call(r *reader, a at, name []byte) {
	if m.calls == nil {
		m.calls = make(map[callKey]*streamedCall)
	}
	c := m.calls[callOf(a)]
	if c == nil {
		c = &streamedCall{}
		m.calls[callOf(a)] = c
	}
	if c.id == "" {
		c.id = a.callID
	}
	if !bytes.Equal(c.name, name) { // else said once more
		r.take(2 * len(name))
		c.name = append(c.name, name...)
	}
	a.kind = KindToolCall
	m.text(r, a, slotArguments) // the place of its turn
}

// slotArguments is the slot of a tool call's arguments.
const slotArguments = "arguments"

// wholeCall adds a call that came in one piece, as the text of its turn.
func (m *assembler) wholeCall(r *reader, a at, text string) {
	if len(m.texts) == maxTexts {
		r.fail(errTooMany)
		return
	}
	r.take(textBytes + len(text))
	s := &streamed{at: a, buf: []byte(text), whole: true}
	m.texts = append(extra(m.texts, 1), s)
	m.touch(s)
}

// markCalls notes which of the calls have arguments.
func (m *assembler) markCalls() {
	for _, s := range m.texts {
		if c := m.calls[callOf(s.at)]; c != nil && s.json && len(s.buf) > 0 {
			c.args = true
		}
	}
}

// flushCall turns the arguments of a call, or a call without any, into a turn.
func (r *reader) flushCall(s *streamed, f *flushing) {
	a := s.at
	r.arena.begin(len(s.buf))
	if s.whole {
		r.arena.buf = append(r.arena.buf, s.buf...)
	} else {
		a.kind = KindToolCall
		c := r.asm.calls[callOf(a)]
		if len(s.buf) == 0 && (c == nil || c.args || c.said) {
			return
		}
		if c != nil && (!c.said || len(c.name) <= maxIdent) { // a long name once
			a.name, a.callID, c.said = string(c.name), c.id, true
			r.line(c.name, "")
		}
		if len(bytes.TrimSpace(s.buf)) > 0 {
			r.appendInner(s.buf)
		}
	}
	if text := r.arena.end(); text != "" {
		f.turn(r, a, text, s)
	}
	r.reveal(a)
}
