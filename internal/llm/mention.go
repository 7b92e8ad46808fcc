// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"slices"
	"strings"
)

// mention reads string v, which should name a tool that is defined or called
// elsewhere. The name is content, but only once.
func (r *reader) mention(a at, v int) {
	if r.asm != nil {
		a.kind = KindOther
		s, made := r.asm.text(r, a, "")
		if s.fixed = false; made {
			s.label = string(r.doc.Name(v))
		}
		if piece := r.doc.Bytes(v); string(s.buf) != string(piece) { // else each chunk says it
			r.take(2 * len(piece))
			s.buf = append(s.buf, piece...)
		}
		return
	}
	if r.mentions == nil {
		r.mentions = make(map[string]bool)
	}
	s := string(r.doc.Bytes(v))
	if r.mentions[s] || strings.TrimSpace(s) == "" {
		return
	}
	if len(r.mentions) == maxTexts {
		r.fail(errTooMany)
		return
	}
	r.take(turnBytes + 2*len(s))
	r.mentions[s] = true
	r.mentioned = append(extra(r.mentioned, 1), Turn{Role: a.role, Kind: KindOther, Message: -1, Choice: a.choice, Text: s, Name: string(r.doc.Name(v))})
}

// addMentions adds the names that no definition or call has on a line of its
// own. A line that can be masked does not count: the mask would not reach the
// name.
func (r *reader) addMentions() {
	if len(r.mentioned) == 0 {
		return
	}
	for i := range r.msg.Turns {
		t := &r.msg.Turns[i]
		if t.Maskable || t.Kind != KindToolDef && t.Kind != KindToolCall {
			continue
		}
		for line := range strings.SplitSeq(t.Text, "\n") {
			delete(r.mentions, line)
		}
	}
	r.others = slices.Grow(r.others, len(r.mentions))
	r.addDisordered()
	for _, t := range r.mentioned {
		if !r.mentions[t.Text] {
			continue
		}
		if t.Name != "" {
			t.Text, t.Name = t.Name+": "+t.Text, ""
		}
		r.others = append(r.others, t)
	}
}

// addDisordered adds the names that stand elsewhere, as one text, if they do
// not come in the order in which definitions and calls say them. In another
// order they could be a sentence. Two names cannot.
func (r *reader) addDisordered() {
	var said []string
	for i := range r.mentioned {
		if t := &r.mentioned[i]; !r.mentions[t.Text] {
			said = append(said, t.Text)
		}
	}
	if len(said) < 3 {
		return
	}
	next := 0
	for i := range r.msg.Turns {
		t := &r.msg.Turns[i]
		if t.Maskable || t.Kind != KindToolDef && t.Kind != KindToolCall {
			continue
		}
		for line := range strings.SplitSeq(t.Text, "\n") {
			if line == said[next] {
				if next++; next == len(said) {
					return
				}
			}
		}
	}
	r.other(RoleNone, 0, strings.Join(said, "\n"))
}
