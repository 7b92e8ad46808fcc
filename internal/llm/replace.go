// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"cmp"
	"errors"
	"slices"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// ErrNotCertain says that a replacement has no certain place. The exchange is
// to be blocked instead.
var ErrNotCertain = errors.New("the text to mask has no certain place")

// Replace returns the body with other texts in place of turns, and every other
// byte as it was. Replacement.Turn counts in m.Turns. In a stream the new text
// stands where the first piece was, and the other pieces are empty. The body
// is without content encoding. The error is ErrNotCertain, also for a Message of a
// Stream of which something was taken.
func (m *Message) Replace(rs []Replacement) ([]byte, error) {
	type edit struct {
		span
		text string
	}
	var edits []edit
	if m.partial {
		return nil, ErrNotCertain // Stream.Mask can
	}
	done := make(map[int]string, len(rs))
	for _, r := range rs {
		if r.Turn < 0 || r.Turn >= len(m.Turns) {
			return nil, ErrNotCertain
		}
		t := &m.Turns[r.Turn]
		if _, twice := done[r.Turn]; twice || !t.Maskable && !t.Joined {
			return nil, ErrNotCertain
		}
		done[r.Turn] = r.Text
		if t.Joined {
			continue
		}
		for _, s := range m.spans[t.from:t.to] {
			edits = append(edits, edit{s, r.Text})
		}
	}
	for _, r := range rs {
		if t := &m.Turns[r.Turn]; t.Joined && !m.joinedAs(t, r.Text, done) {
			return nil, ErrNotCertain
		}
	}
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	out := make([]byte, 0, len(m.body)+64)
	at := uint32(0)
	for _, e := range edits {
		if e.start < at || int(e.end) > len(m.body) {
			return nil, ErrNotCertain
		}
		out = append(out, m.body[at:e.start]...)
		if e.whole {
			out = e.appendText(out, e.text)
		} else {
			out = append(out, '"', '"')
		}
		at = e.end
	}
	return append(out, m.body[at:]...), nil
}

// Detach lets go of the body, which may be memory that is another's soon. What
// the Message says stays; Replace finds no place in it any more, Separate does.
func (m *Message) Detach() {
	m.body, m.spans, m.partial = nil, nil, true
}

// appendText appends a text in the notation of the place it goes to. The
// message's format does not decide that, since it may be the request's.
func (s span) appendText(dst []byte, text string) []byte {
	if s.plain {
		return append(dst, text...)
	}
	return strictjson.AppendQuote(dst, text)
}
