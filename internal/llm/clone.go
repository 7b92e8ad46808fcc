// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"maps"
	"slices"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// cloneFor returns a reader that has read what r has read, and reads on as
// parsers do that choose among equal names in one way. There were no equal names
// up to now, so that all of them have read the same. It masks nothing.
func (r *reader) cloneFor(how strictjson.Reading) *reader {
	m := *r.msg
	m.Turns, m.Media, m.shares = slices.Clone(m.Turns), slices.Clone(m.Media), slices.Clone(m.shares)
	m.spans = nil
	for i := range m.Turns {
		if t := &m.Turns[i]; !t.Joined {
			t.Maskable, t.from, t.to = false, 0, 0
		}
	}
	if m.RPC != nil {
		rpc := *m.RPC
		m.RPC = &rpc
	}
	one := &reader{
		msg: &m, view: &how, maxDepth: r.maxDepth, budget: r.budget, seen: r.seen,
		others: slices.Clone(r.others), probs: slices.Clone(r.probs), foundBytes: r.foundBytes,
		mentions: maps.Clone(r.mentions), mentioned: slices.Clone(r.mentioned), numbered: maps.Clone(r.numbered), numbers: r.numbers,
	}
	one.arena.chunk = r.arena.chunk
	if r.decoder != nil {
		d := *r.decoder
		one.decoder = &d
	}
	one.asm = r.asm.clone(r)
	return one
}

// clone returns an assembler that puts together what m does, and more.
func (m *assembler) clone(r *reader) *assembler {
	w := newWatch()
	one := &assembler{
		byKey: make(map[threadKey]*streamed, len(m.byKey)), paths: m.paths.clone(), class: m.class, classID: m.classID,
		classes: maps.Clone(m.classes), begins: m.begins, event: m.event, watch: w,
	}
	one.told, one.threads, one.begun = m.told, maps.Clone(m.threads), m.begun
	one.pieces = m.pieces
	one.pieces.buf, one.pieces.broken = slices.Clip(m.pieces.buf), slices.Clip(m.pieces.broken)
	if m.calls != nil {
		one.calls = make(map[callKey]*streamedCall, len(m.calls))
		for k, c := range m.calls {
			call := *c
			call.name = slices.Clip(call.name)
			one.calls[k] = &call
		}
	}
	copyOf := make(map[*streamed]*streamed, len(m.texts))
	for _, s := range m.texts {
		t := *s
		t.fixed, t.spans = false, nil
		t.buf, t.runs = slices.Clip(s.buf), slices.Clip(s.runs)
		if s.halved {
			t.buf = slices.Clone(s.buf) // which are joined in their place
		}
		if s.named != nil {
			n := *s.named
			n.names = slices.Clip(n.names)
			t.named = &n
		}
		if s.flow != nil {
			p := *s.flow
			p.copies, p.starts, p.unplaced, p.call = nil, nil, true, nil
			p.urls.runs, p.urls.held, p.mixed = slices.Clone(p.urls.runs), openCall{}, openCall{open: p.mixed.open}
			t.flow = &p
		}
		copyOf[s] = &t
		one.texts = append(one.texts, &t)
		r.take(textBytes)
	}
	for k, s := range m.byKey {
		one.byKey[k] = copyOf[s]
	}
	for _, t := range one.texts {
		if t.flow != nil {
			t.flow.copyOf, t.flow.repeats = copyOf[t.flow.copyOf], copyOf[t.flow.repeats]
		}
	}
	for k, g := range m.groups {
		for _, s := range g {
			w.groups[k] = append(w.groups[k], copyOf[s])
		}
	}
	for k, g := range m.starts {
		for _, s := range g {
			w.starts[k] = append(w.starts[k], copyOf[s])
		}
	}
	for _, k := range m.marks {
		if k.s != nil {
			k.s = copyOf[k.s]
		}
		k.all.noted = 0 // see below
		w.marks = append(w.marks, k)
	}
	for i, u := range m.urls {
		u.runs, u.held = slices.Clone(u.runs), openCall{}
		w.urls[i] = u
	}
	w.event, w.marked, w.said = m.watch.event, m.marked, m.said
	// What is noted is told once, by the reader that this one is a clone of.
	w.marked.noted, w.said.noted = 0, 0
	return one
}

func (p *paths) clone() paths {
	one := paths{ids: maps.Clone(p.ids), count: p.count}
	for _, block := range p.nodes {
		one.nodes = append(one.nodes, append(make([]pathNode, 0, cap(block)), block...))
	}
	return one
}
