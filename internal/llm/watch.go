// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A watch notes what each unit of a stream brings, for windows.
type watch struct {
	event   int32 // counts the units
	touched []*streamed
	marks   []mark // what windows have not said, in the order of the stream
	placed  []placed
	groups  map[threadKey][]*streamed // texts that clients join and that say something, in their order
	starts  map[string][]*streamed    // texts by what they begin with

	// What of it was marked, and said.
	marked, said reached

	// What the unit says about its end.
	seen    map[int]bool // choices; true for those that have finished
	going   int          // how many have not
	ended   []int        // those that have finished in this unit
	probs   map[int]bool // choices that have log probabilities
	final   bool
	closing bool // calls end here
	byCall  map[callKey]*openCall
	open    map[int]*openCall // the last one of each choice that may be closed
	waits   []*openCall       // those that this unit is the first to wait for
	urls    [2]dataURLs       // of what is no thread: plain and broken
	flushed flushing
}

// reached is how far texts have come that are no threads.
type reached struct{ plain, broken, noted, turns, others, mentioned, probs, media int }

// A mark says that a unit brought something new. It is kept until a window has
// said that, and takes markBytes.
type mark struct {
	end int64
	s   *streamed // nil for what is no thread
	to  int       // how long the text is then
	all reached
}

// placed is a piece of a text in the body.
type placed struct {
	s   *streamed
	end int
}

// An openCall is a tool call, or something else that is to be scanned as a
// whole, while it comes in pieces.
type openCall struct {
	open   bool // it may go on
	noted  bool // a unit that waits for it has been noted
	opened int  // how often it began to
	name   int  // the length of its name
	told   int  // and of the one that windows have said
}

// progress is what a Stream knows of a text.
type progress struct {
	event   int32
	order   int
	before  int // its length before the unit
	checked int // and up to which it has been looked at; -1 at first
	marked  int
	to      int // up to where the next window says it
	said    int // up to where windows have said it
	listed  bool
	news    bool // the unit brought something new
	first   bool // no copy of another text
	copyOf  *streamed
	copies  []*streamed
	keyed   bool
	grouped bool
	repeats *streamed // that log probabilities have repeated up to now
	upTo    int       // and up to where
	differs bool      // they have said something else
	urls    dataURLs
	mixed   openCall // open for good once clients read different texts in it
	runs    int      // how many runs were looked at for that

	call *openCall // that it is a part of

	base64 bool // it has no other characters
	digits int  // and so many before said

	piece    int   // where the next piece begins in the text
	starts   []int // where those begin that have a place
	dropped  bool  // places of it were taken
	unplaced bool  // it has no places any more

	of  *streamed // for a tail: of which text
	cut int       // and from where on
}

func newWatch() *watch {
	return &watch{
		event: 1, groups: make(map[threadKey][]*streamed), starts: make(map[string][]*streamed),
		seen: make(map[int]bool), probs: make(map[int]bool), byCall: make(map[callKey]*openCall), open: make(map[int]*openCall),
	}
}

// touch notes that the unit speaks of a text.
func (m *assembler) touch(s *streamed) {
	w := m.watch
	if w == nil {
		return
	}
	if s.flow == nil {
		s.flow = &progress{order: len(m.texts) - 1, checked: -1, base64: true}
	}
	if s.flow.event != w.event {
		s.flow.event, s.flow.before, s.flow.news = w.event, max(s.flow.checked, 0), false
		w.touched = append(w.touched, s)
	}
}

// group puts a text that has begun among those that clients join it to.
func (w *watch) group(s *streamed) {
	if s.group == (threadKey{}) {
		return
	}
	g := w.groups[s.group]
	i, _ := slices.BinarySearchFunc(g, s, byPlace)
	for i < len(g) && byPlace(g[i], s) == 0 {
		i++
	}
	w.groups[s.group] = slices.Insert(g, i, s)
}

// byPlace is the order in which clients join texts.
func byPlace(a, b *streamed) int {
	return cmp.Or(cmp.Compare(a.at.block, b.at.block), cmp.Compare(a.at.call, b.at.call))
}

// place notes where the piece lies that was added last.
func (m *assembler) place(s *streamed, end int) {
	if s.flow != nil {
		s.flow.starts = append(s.flow.starts, s.flow.piece)
		m.placed = append(m.placed, placed{s, end})
	}
}

// unplace forgets where a text lies.
func (s *streamed) unplace() {
	s.flow.unplaced, s.fixed, s.spans, s.flow.starts = true, false, nil, nil
}

// take forgets the places up to end, which have gone out.
func (w *watch) take(end int) {
	n := 0
	for ; n < len(w.placed) && w.placed[n].end <= end; n++ {
		s := w.placed[n].s
		if s.flow.unplaced {
			continue
		}
		if s.flow.dropped = true; s.runs != nil {
			s.unplace()
			continue
		}
		s.spans, s.flow.starts = s.spans[1:], s.flow.starts[1:]
		s.run.span = max(s.run.span-1, 0)
	}
	w.placed = w.placed[n:]
	if len(w.placed) == 0 {
		w.placed = nil
	}
}

// settle ends a unit, and returns what it brought.
func (r *reader) settle(end int64) (u Unit, says bool) {
	m, w := r.asm, r.asm.watch
	u.End = end
	marks := len(w.marks)
	for _, pass := range [...]bool{false, true} { // what may repeat the others comes last
		for _, s := range w.touched {
			if s.probs == pass {
				u.Chars += m.settleText(s, end)
			}
			if s.probs {
				w.probs[s.at.choice] = true
			}
		}
	}
	u.Chars += r.settleRest(end)
	for _, s := range w.touched {
		if s.at.kind != KindOther && s.flow.news {
			w.follow(s)
		}
	}
	if w.closing {
		for choice := range w.open {
			w.close(choice)
		}
	}
	for _, choice := range w.ended {
		w.close(choice)
	}
	for _, s := range w.touched {
		if w.seen[s.at.choice] {
			w.close(s.at.choice)
		}
	}
	w.waits = nil
	for _, s := range w.touched {
		if s.flow.news {
			u.Call = w.wait(s.flow.call) || u.Call
			u.Call = w.wait(&s.flow.urls.held) || u.Call
			u.Call = w.wait(&s.flow.mixed) || u.Call
		}
	}
	for i := range w.urls {
		u.Call = w.wait(&w.urls[i].held) || u.Call
	}
	u.Final = w.final
	w.touched, w.ended, w.closing = w.touched[:0], w.ended[:0], false
	w.event++
	r.take((len(w.marks) - marks) * markBytes)
	return u, len(w.marks) > marks
}

// wait notes that the unit waits for a call, if that is open.
func (w *watch) wait(c *openCall) bool {
	if c == nil || !c.open {
		return false
	}
	if !c.noted {
		c.noted = true
		w.waits = append(w.waits, c)
	}
	return true
}

// settleText marks what is new in a text, and returns how many characters.
func (m *assembler) settleText(s *streamed, end int64) (chars int) {
	w, p, n := m.watch, s.flow, len(s.buf)
	grew := 0 // the call's name
	if s.json {
		key := callOf(s.at)
		if p.call = w.byCall[key]; p.call == nil {
			p.call = new(openCall)
			w.byCall[key] = p.call
		}
		if c := m.calls[key]; c != nil {
			grew = len(c.name) - p.call.name
			p.call.name = len(c.name)
		}
	}
	first := p.checked < 0
	if n == p.checked && grew == 0 || first && n == 0 && grew == 0 && s.label == "" {
		return 0
	}
	fresh := s.buf[max(p.checked, 0):n]
	if !p.grouped && n > 0 {
		p.grouped = true
		w.group(s)
	}
	p.base64 = p.base64 && base64Alphabet(string(fresh))
	if !s.json {
		p.urls.look(s.buf)
	}
	if s.runs != nil && !p.mixed.open {
		p.mixed.open = s.named.apart && s.mixes()
	}
	p.checked = n
	if len(fresh) > 0 && grew == 0 && (s.probs && w.repeats(s, fresh) || !s.probs && m.copies(s)) {
		if s.probs && p.said == p.before {
			p.said, p.marked = n, n
		}
		return 0
	}
	p.first, p.news = true, true
	w.marks = append(w.marks, mark{end: end, s: s, to: n})
	chars = utf8.RuneCount(s.buf[p.marked:n]) + max(grew, 0)
	if first {
		chars += utf8.RuneCountInString(s.label)
	}
	p.marked = n
	if !p.keyed && n >= beginning && !s.probs {
		key := string(s.buf[:beginning])
		if p.keyed = true; len(w.starts[key]) < maxCopies {
			w.starts[key] = append(w.starts[key], s)
		}
	}
	return chars
}

// mixes reports whether the pieces under the names of a text, which are to be
// told apart, are no copies of each other. What a client reads that takes those
// of one name can then be few characters among many, in none of the windows. So
// such a text is held to its end.
func (s *streamed) mixes() bool {
	piece := func(i int) []byte {
		if i+1 < len(s.runs) {
			return s.buf[s.runs[i].buf:s.runs[i+1].buf]
		}
		return s.buf[s.runs[i].buf:]
	}
	for i := s.flow.runs; i < len(s.runs); {
		event, first, names := s.runs[i].event, piece(i), 0
		for ; i < len(s.runs) && s.runs[i].event == event; i++ {
			if !bytes.Equal(piece(i), first) {
				return true
			}
			names++
		}
		if len(first) > 0 && names != len(s.named.names) {
			return true
		}
	}
	s.flow.runs = len(s.runs)
	return false
}

// repeats reports whether log probabilities say what a text of their choice says
// in the same unit, and have said nothing but that text up to now: what they
// leave out, clients that join them do not see.
func (w *watch) repeats(s *streamed, fresh []byte) bool {
	p := s.flow
	if s.group.slot != slotProbs || p.differs {
		return false
	}
	if t := p.repeats; t != nil {
		if w.touches(t) && t.runs == nil && p.upTo <= len(t.buf) && bytes.HasPrefix(t.buf[p.upTo:], fresh) {
			p.upTo += len(fresh)
			return true
		}
		p.differs = true
		return false
	}
	for _, t := range w.touched {
		if t.probs || t.at.choice != s.at.choice || t.at.kind == KindOther || t.json || t.runs != nil {
			continue
		}
		from := min(t.flow.before, len(t.buf))
		if i := bytes.Index(t.buf[from:], fresh); i >= 0 {
			p.repeats, p.upTo = t, from+i+len(fresh)
			return true
		}
	}
	p.differs = true
	return false
}

// touches reports whether the unit speaks of a text.
func (w *watch) touches(s *streamed) bool { return s.flow.event == w.event }

const (
	beginning = 16 // bytes by which texts are looked up
	shortOnes = 64 // texts that a shorter one is compared with
	maxOpened = 8  // how often a call may go on after it was closed
)

// copies reports whether a text has said nothing, up to now, but what another
// one at its place says from its beginning on. "Done" events bring such copies.
func (m *assembler) copies(s *streamed) bool {
	p := s.flow
	// Where clients join several texts, they may be copies and what is read
	// over their seam none.
	alone := len(m.groups[s.group]) < 2 && s.runs == nil
	if p.copyOf != nil {
		of := p.copyOf.buf
		if alone && p.copyOf.runs == nil && len(of) >= p.checked && bytes.Equal(of[p.before:p.checked], s.buf[p.before:p.checked]) {
			return true
		}
		p.copyOf = nil
		return false
	}
	if p.first || p.before > 0 || !alone {
		return false
	}
	candidates := m.texts[:min(len(m.texts), shortOnes)]
	if len(s.buf) >= beginning {
		candidates = m.starts[string(s.buf[:beginning])]
	}
	for _, t := range candidates {
		if t == s || t.flow == nil || !t.flow.first || t.probs || t.json != s.json || t.label != s.label || (t.at.kind == KindOther) != (s.at.kind == KindOther) ||
			t.at.choice != s.at.choice || t.runs != nil || !bytes.HasPrefix(t.buf, s.buf) {
			continue
		}
		if s.group != (threadKey{}) && byPlace(s, t) != 0 {
			continue
		}
		p.copyOf = t
		t.flow.copies = append(t.flow.copies, s)
		return true
	}
	return false
}

// settleRest marks what is new and no thread's.
func (r *reader) settleRest(end int64) (chars int) {
	m, w := r.asm, r.asm.watch
	now := w.marked
	if p := &m.pieces; p.words {
		chars += utf8.RuneCount(p.buf[min(now.plain, len(p.buf)):])
		now.plain, now.broken = len(p.buf), len(p.broken)
		w.urls[0].look(p.buf)
		w.urls[1].look(p.broken)
	}
	if n := &r.noted; n.weight >= enoughWeight {
		chars += utf8.RuneCount(n.text[now.noted:])
		now.noted = len(n.text)
	}
	for _, t := range r.msg.Turns[now.turns:] {
		chars += utf8.RuneCountInString(t.Text)
	}
	for _, t := range r.others[now.others:] {
		chars += utf8.RuneCountInString(t.Text)
	}
	for _, t := range r.mentioned[now.mentioned:] {
		chars += utf8.RuneCountInString(t.Text)
	}
	for _, p := range r.probs[now.probs:] {
		chars += utf8.RuneCountInString(p.text)
	}
	// Whoever judges media, or lets none pass, has to see each before it goes out.
	chars += len(r.msg.Media) - now.media
	now.turns, now.others, now.mentioned, now.probs, now.media = len(r.msg.Turns), len(r.others), len(r.mentioned), len(r.probs), len(r.msg.Media)
	if now != w.marked {
		w.marks = append(w.marks, mark{end: end, all: now})
		w.marked = now
	}
	return chars
}

// follow notes that a text goes on, which ends the call before it. A call that
// was closed too often stays open.
func (w *watch) follow(s *streamed) {
	choice, c := s.at.choice, s.flow.call
	if w.open[choice] != c {
		w.close(choice)
	}
	if c != nil && !c.open {
		c.open = true
		if c.opened++; c.opened <= maxOpened {
			w.open[choice] = c
		}
	}
}

// close ends the last call of a choice.
func (w *watch) close(choice int) {
	if c := w.open[choice]; c != nil {
		c.open = false
		delete(w.open, choice)
	}
}

// done notes that the stream says that it is complete.
func (m *assembler) done() {
	if m.watch != nil {
		m.final = true
	}
}

// signs takes in what the document says about ends: of calls, of choices, of
// the answer.
func (m *assembler) signs(r *reader) {
	d := r.doc
	if d.Kind(strictjson.Root) != strictjson.Object {
		return
	}
	for c := d.First(strictjson.Root); c < d.Next(strictjson.Root); c = d.Next(c) {
		says := d.Kind(c) == strictjson.String && len(d.Bytes(c)) > 0
		switch string(d.Name(c)) {
		case "type", "event_type":
			if says {
				m.sign(string(d.Bytes(c)))
			}
		case "stop_reason", "stopReason", "finish_reason", "completionReason":
			m.final = m.final || says
		case "done", "is_finished":
			m.final = m.final || d.Kind(c) == strictjson.True
		case "delta":
			m.final = m.final || d.Kind(c) == strictjson.Object && r.member(c, "stop_reason") != ""
		case "choices", "candidates":
			m.choices(r, c)
		}
	}
}

// sign takes in the type of an event.
func (m *assembler) sign(kind string) {
	switch kind {
	case "message_stop", "message-end", "stream-end", "response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done":
		m.final = true
	}
	for _, end := range [...]string{"stop", "done", "end"} {
		m.closing = m.closing || strings.HasSuffix(kind, end)
	}
}

// choices takes in which choices there are, and which have finished. Once all
// have, the answer is complete.
func (m *assembler) choices(r *reader, v int) {
	d := r.doc
	if d.Kind(v) != strictjson.Array {
		return
	}
	finished := false
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if d.Kind(c) != strictjson.Object {
			continue
		}
		n := 0
		if i := d.Member(c, "index"); i >= 0 {
			n, _ = r.place(i)
		}
		done := r.member(c, "finish_reason", "finishReason") != ""
		finished = finished || done
		before, known := m.seen[n]
		if len(m.seen) == maxTexts && !known || before {
			continue
		}
		m.seen[n] = done
		switch {
		case done:
			m.ended = append(m.ended, n)
			if known {
				m.going--
			}
		case !known:
			m.going++
		}
	}
	m.final = m.final || finished && m.going == 0
}
