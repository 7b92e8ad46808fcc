// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"slices"
)

// A run is a row of a text's pieces that came in one event under one name.
type run struct {
	name  int32 // 0 for none
	role  Role
	event int32
	buf   int // where it begins in the text
	span  int // and in the spans
}

// under notes under which name the next piece comes.
func (s *streamed) under(r *reader, name int32, role Role) {
	next := run{name: name, role: role, event: r.asm.event, buf: len(s.buf), span: len(s.spans)}
	switch {
	case s.run.name == name && s.run.event == r.asm.event && s.run.role == role:
		return
	case s.runs == nil && s.run.name == 0:
	case s.runs == nil && s.run.name == name:
		// One name so far, as nearly always: only the last event's run counts.
		if s.run.role != role {
			next.role = mixedRole
		}
	default:
		if s.runs == nil {
			first := run{name: s.run.name, role: s.run.role, event: -1}
			s.named = new(named)
			s.named.meet(first)
			s.named.meet(s.run)
			if s.flow != nil && s.flow.dropped {
				s.unplace() // the runs count on all spans
			}
			s.runs = append(s.runs, first, s.run)
		}
		s.named.meet(next)
		s.runs = append(extra(s.runs, 1), next)
		r.take(2 * spanBytes)
	}
	s.run = next
}

// maxNames is how many names may feed one text side by side. Of the names in
// use at most four do.
const maxNames = 6

// readings returns the texts that clients may take a thread's pieces for.
// Pieces under one name are one text. So are those under several if each name
// takes up where another ended, as when deltas continue what an event began.
// Where two names come in one event, or take turns, a client reads one of them
// alone, or prefers one and takes what there is where it is missing: each is
// scanned.
func (s *streamed) readings(b *budget) []*streamed {
	if s.runs == nil {
		return []*streamed{s}
	}
	names, apart := s.named.names, s.named.apart
	if len(names) > maxNames {
		if apart {
			b.fail(errTooMany)
		}
		return []*streamed{s}
	}
	var all []*streamed
	for _, name := range names {
		all = append(all, s.pick(b, func(r run) bool { return r.name == name }))
	}
	if !apart {
		for _, one := range all[1:] {
			if !bytes.Equal(one.buf, all[0].buf) {
				return []*streamed{s}
			}
		}
		return all // copies of one text
	}
	same := true
	for _, one := range all[1:] {
		same = same && bytes.Equal(one.buf, all[0].buf)
	}
	for i := range all {
		// A mask leaves empty pieces, where clients would take another name's.
		all[i].fixed = all[i].fixed && (same || len(all[i].spans) == 1)
	}
	for _, name := range names {
		has := make(map[int32]bool)
		b.step(len(s.runs))
		for _, r := range s.runs {
			if r.name == name {
				b.take(spanBytes)
				has[r.event] = true
			}
		}
		preferred := s.pick(b, func(r run) bool { return r.name == name || !has[r.event] })
		preferred.fixed, preferred.spans = false, nil
		if !holds(all, preferred.buf) {
			all = append(all, preferred)
		}
	}
	return all
}

func holds(texts []*streamed, text []byte) bool {
	for _, s := range texts {
		if bytes.Equal(s.buf, text) {
			return true
		}
	}
	return false
}

// named is what the runs of a text say together.
type named struct {
	last  run
	names []int32 // at most one more than are taken
	// apart says that the names are to be told apart: two come in one event, or
	// one comes again after another.
	apart bool
}

// meet takes in the next run.
func (n *named) meet(next run) {
	last := n.last
	n.last = next
	if next.name == last.name {
		return
	}
	n.apart = n.apart || last.name != 0 && next.event == last.event
	if slices.Contains(n.names, next.name) {
		n.apart = true
	} else if len(n.names) <= maxNames {
		n.names = append(n.names, next.name)
	}
}

// pick returns a text of some of the runs.
func (s *streamed) pick(b *budget, takes func(run) bool) *streamed {
	one := *s
	one.buf, one.spans, one.runs = nil, nil, nil
	first := true
	for i, r := range s.runs {
		if !takes(r) {
			continue
		}
		if first {
			first, one.at.role = false, r.role
		} else if r.role != one.at.role {
			one.at.role = mixedRole
		}
		buf, spans := len(s.buf), len(s.spans)
		if i+1 < len(s.runs) {
			buf, spans = s.runs[i+1].buf, s.runs[i+1].span
		}
		b.step(buf - r.buf)
		b.take(2*(buf-r.buf) + spanBytes*max(spans-r.span, 0))
		one.buf = append(extra(one.buf, buf-r.buf), s.buf[r.buf:buf]...)
		if one.fixed {
			one.spans = append(extra(one.spans, spans-r.span), s.spans[r.span:spans]...)
		}
	}
	for i := range one.spans {
		one.spans[i].whole = i == 0
	}
	return &one
}
