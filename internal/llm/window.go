// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A telling is what Window or Close has returned, and where its texts lie.
type telling struct {
	msg   *Message
	texts map[int][]piece // of turns that may be masked
	rpc   map[int]span    // of turns of JSON-RPC messages
	whole bool            // msg has its places itself
}

// A piece is the part of a thread that a turn says.
type piece struct {
	s   *streamed
	cut int // where it begins in the thread
}

// Window returns what the stream has said since the last Window, each text with
// up to context characters of what came before it in the same text, and where
// the last unit ends that is said with it. Tool calls stand in the Window in
// which they are whole. It is nil when nothing new was said up to there; what
// says nothing is then covered all the same. What it returns counts as said from
// now on. Replace does not take it: see Mask.
func (s *Stream) Window(context int) (m *Message, end int64) {
	if s.err != nil || s.closed || s.framer.framing == Whole {
		return nil, s.covered
	}
	n, says := 0, false
	for ; n < len(s.units) && !s.units[n].waits(); n++ {
		says = says || s.units[n].says
		s.covered = s.units[n].end
		for _, c := range s.units[n].calls {
			c.noted = false
		}
	}
	if s.units = s.units[n:]; len(s.units) == 0 {
		s.units = nil
	}
	if !says {
		return nil, s.covered
	}
	doc := strictjson.Borrow()
	defer doc.Return()
	t, flushed := s.r.windowTo(s.covered, context, doc)
	s.last = s.tell(t.msg, flushed, t)
	said := make(map[string]bool)
	for _, turns := range [...][]Turn{t.msg.Turns, t.others} {
		for i := range turns {
			said[turns[i].Text] = true
		}
	}
	for _, v := range s.views {
		if v.err != nil {
			continue
		}
		v.budget = s.r.budget
		one, _ := v.windowTo(s.covered, context, doc)
		s.r.budget = v.budget
		for _, turns := range [...][]Turn{one.msg.Turns, one.others} {
			for i := range turns {
				if turn := turns[i]; !said[turn.Text] {
					said[turn.Text] = true
					turn.from, turn.to, turn.Joined = 0, 0, false
					t.others = append(t.others, turn)
				}
			}
		}
	}
	if len(s.views) > 0 {
		for i := range t.msg.Turns {
			t.msg.Turns[i].Maskable = false
		}
	}
	m = t.msg
	m.Turns = append(m.Turns, t.others...)
	if m.Model == "" && s.in.Request != nil {
		m.Model = s.in.Request.Model
	}
	if s.r.err != nil {
		_ = s.fail(s.r.err)
	}
	return m, s.covered
}

// waits reports whether a unit is not to be covered yet.
func (u *unit) waits() bool {
	return u.final || slices.ContainsFunc(u.calls, func(c *openCall) bool { return c.open })
}

// windowTo says what came up to end and was not said, as flush would.
func (r *reader) windowTo(end int64, context int, doc *strictjson.Doc) (*reader, flushing) {
	w := r.asm.watch
	var texts []*streamed
	to := w.said
	n := 0
	for ; n < len(w.marks) && w.marks[n].end <= end; n++ {
		k := &w.marks[n]
		if k.s == nil {
			to = k.all
			continue
		}
		if k.s.flow.to = k.to; !k.s.flow.listed {
			k.s.flow.listed = true
			texts = append(texts, k.s)
		}
	}
	r.take(-n * markBytes)
	if w.marks = w.marks[n:]; len(w.marks) == 0 {
		w.marks = nil
	}
	t := &reader{
		msg: &Message{Leg: r.msg.Leg, Format: r.msg.Format, Model: r.msg.Model, ID: r.msg.ID, Stream: true, RPC: r.msg.RPC, partial: true},
		doc: doc, maxDepth: r.maxDepth, budget: r.budget, asm: newAssembler(), seen: max(r.seen, 1), view: r.view,
	}
	t.arena.chunk = 512
	used := t.used
	t.addSaid(r, w.said, to)
	t.addTails(r.asm, texts, context)
	if p := &r.asm.pieces; to.plain > w.said.plain {
		said := [...]int{w.said.plain, min(w.said.broken, to.broken)}
		t.asm.pieces = plainText{words: true, buf: tailOf(p.buf[:to.plain], said[0], context, &w.urls[0])}
		if p.lines {
			t.asm.pieces.broken = tailOf(p.broken[:to.broken], said[1], context, &w.urls[1])
		}
		w.urls[0].say(to.plain)
		w.urls[1].say(to.broken)
	}
	f := t.flush()
	t.asm = nil
	t.addProbs()
	for i := range t.msg.Turns {
		if turn := &t.msg.Turns[i]; r.numbers || w.probs[turn.Choice] {
			turn.Maskable = false // it stands there once more
		}
	}
	t.addMentions()
	if to.noted > w.said.noted {
		t.other(RoleNone, 0, string(bytes.TrimSpace(tailOf(r.noted.text[:to.noted], w.said.noted, context, nil))))
	}
	w.said = to
	for _, s := range texts {
		s.flow.listed = false
		if s.flow.base64 {
			s.flow.digits += digits(s.buf[s.flow.said:s.flow.to])
		}
		s.flow.said = s.flow.to
		s.flow.urls.say(s.flow.to)
	}
	r.budget = t.budget
	r.used = min(r.used, used) // what the window took is the caller's
	return t, f
}

// addSaid adds what JSON-RPC messages have said, which stand for themselves.
func (t *reader) addSaid(r *reader, from, to reached) {
	m := t.msg
	m.Turns = slices.Clone(r.msg.Turns[from.turns:to.turns])
	for i := range m.Turns {
		turn := &m.Turns[i]
		if !turn.Joined {
			continue
		}
		shares := r.msg.shares[turn.from:turn.to]
		turn.from = int32(len(m.shares))
		for _, s := range shares {
			s.turn -= int32(from.turns)
			m.shares = append(m.shares, s)
		}
		turn.to = int32(len(m.shares))
	}
	m.Media = slices.Clone(r.msg.Media[from.media:to.media])
	t.others = slices.Clone(r.others[from.others:to.others])
	t.probs = slices.Clone(r.probs[from.probs:to.probs])
	t.mentioned = slices.Clone(r.mentioned[from.mentioned:to.mentioned])
	t.mentions = make(map[string]bool, len(t.mentioned))
	for i := range t.mentioned {
		t.mentions[t.mentioned[i].Text] = true
	}
}

// addTails adds the tails of texts to the assembler, and those of their
// neighbours that clients join them to.
func (t *reader) addTails(m *assembler, texts []*streamed, context int) {
	type tail struct {
		order int
		*streamed
	}
	var tails []tail
	var told []*streamed
	near := make(map[*streamed]bool)
	grouped := make(map[threadKey][]*streamed)
	for _, s := range texts {
		tails = append(tails, tail{s.flow.order, s.tail(context)})
		if s.json {
			if c := m.calls[callOf(s.at)]; c != nil {
				if t.asm.calls == nil {
					t.asm.calls = make(map[callKey]*streamedCall)
				}
				// A long name is said once.
				t.asm.calls[callOf(s.at)] = &streamedCall{name: c.name, id: c.id, said: s.flow.call != nil && s.flow.call.told == len(c.name) && len(c.name) > maxIdent}
				told = append(told, s)
			}
			continue
		}
		if s.probs || len(s.buf) == 0 || len(m.groups[s.group]) < 2 {
			continue
		}
		for _, n := range m.before(s, context, false) {
			if !near[n.of] {
				near[n.of] = true
				tails = append(tails, tail{n.of.flow.order, n.tail()})
			}
		}
		grouped[s.group] = append(grouped[s.group], s)
	}
	for _, s := range texts {
		if list := grouped[s.group]; len(list) > 0 {
			delete(grouped, s.group)
			slices.SortStableFunc(list, byPlace)
			for _, seam := range m.seams(list, context) {
				tails = append(tails, tail{s.flow.order, seam})
			}
		}
	}
	for _, s := range told {
		if s.flow.call != nil {
			s.flow.call.told = len(m.calls[callOf(s.at)].name)
		}
	}
	slices.SortStableFunc(tails, func(a, b tail) int { return cmp.Compare(a.order, b.order) })
	for _, s := range tails {
		t.asm.texts = append(t.asm.texts, s.streamed)
	}
}

// tail returns what is new of a text, behind up to context characters of it.
func (s *streamed) tail(context int) *streamed {
	p := s.flow
	cut := 0 // calls are read as a whole
	if !s.json && !s.whole {
		cut = p.urls.cut(back(s.buf[:p.said], context), p.said)
	}
	if p.base64 && cut > 0 {
		// Base64 is read from where four characters make three bytes, and those
		// of it that have four bytes to a character whole characters.
		for n := (p.digits - digits(s.buf[cut:p.said])) % 16; n > 0 && cut > 0; {
			if cut--; s.buf[cut] != '\r' && s.buf[cut] != '\n' {
				n--
			}
		}
	}
	t := &streamed{at: s.at, label: s.label, json: s.json, whole: s.whole, probs: s.probs, group: s.group, fixed: s.fixed && !s.halved && s.runs == nil}
	if s.runs != nil {
		cut = t.cutRuns(s, cut, p.to)
	}
	t.buf = s.buf[cut:p.to:p.to]
	if s.halved {
		t.halved, t.buf = true, slices.Clone(t.buf)
	}
	t.flow = &progress{of: s, cut: cut}
	return t
}

// cutRuns gives t the runs of s from about cut on, up to to, and returns where
// they begin. What came in one event stays together.
func (t *streamed) cutRuns(s *streamed, cut, to int) int {
	first := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].buf > cut }) - 1
	first = max(first, 0)
	for first > 0 && s.runs[first].event >= 0 && s.runs[first-1].event == s.runs[first].event {
		first--
	}
	if s.runs[first].event >= 0 {
		cut = s.runs[first].buf
	}
	for _, r := range s.runs[first:] {
		if r.buf >= to {
			break
		}
		r.buf, r.span = max(r.buf-cut, 0), 0
		t.runs = append(t.runs, r)
	}
	t.run, t.named = s.run, s.named
	return cut
}

// back returns where the last n characters of b begin.
func back(b []byte, n int) int {
	i := len(b)
	for ; n > 0 && i > 0; n-- {
		i--
		for i > 0 && !utf8.RuneStart(b[i]) {
			i--
		}
	}
	return i
}

// tailOf returns b from context characters before from on, or from where the data
// URL begins that is there.
func tailOf(b []byte, from, context int, urls *dataURLs) []byte {
	cut := back(b[:from], context)
	if urls != nil {
		cut = urls.cut(cut, from)
	}
	return b[cut:len(b):len(b)]
}

// digits counts the characters of base64 that are no line ends.
func digits(b []byte) int {
	return len(b) - bytes.Count(b, []byte{'\n'}) - bytes.Count(b, []byte{'\r'})
}

// A neighbour is the part of a text that clients put beside another.
type neighbour struct {
	of       *streamed
	from, to int
}

// before returns the ends of the texts that clients put before s, as far as
// context goes, the nearest first. Unless all of them are wanted, they end where
// the window says what came before that by itself.
func (m *assembler) before(s *streamed, context int, all bool) (near []neighbour) {
	g := m.groups[s.group]
	left := context - utf8.RuneCount(s.buf[back(s.buf[:s.flow.said], context):s.flow.said])
	for j := indexIn(g, s) - 1; j >= 0 && left > 0 && (all || !g[j].flow.listed); j-- {
		of := g[j]
		to := of.known()
		n := neighbour{of, back(of.buf[:to], left), to}
		if left -= utf8.RuneCount(of.buf[n.from:to]); n.from < to {
			near = append(near, n)
		}
	}
	return near
}

// indexIn returns where s is among the texts that it is joined to.
func indexIn(g []*streamed, s *streamed) int {
	i, _ := slices.BinarySearchFunc(g, s, byPlace)
	for g[i] != s {
		i++
	}
	return i
}

// seams returns what clients read where texts of one group end and those behind
// them begin, which were there before and are not said from their beginning on:
// blocks that grow side by side. list is in order. Where white space separates
// all of them, nothing is to be said.
func (m *assembler) seams(list []*streamed, context int) (seams []*streamed) {
	g := m.groups[list[0].group]
	said := -1 // up to which one the last seam has all that it needs
	for _, s := range list {
		i := indexIn(g, s)
		if i <= said || i+1 == len(g) || g[i+1].flow.listed && g[i+1].flow.said == 0 {
			continue
		}
		var text []byte
		for _, n := range slices.Backward(m.before(s, context, true)) {
			text = append(text, n.of.buf[n.from:n.to]...)
		}
		text = append(text, s.buf[back(s.buf[:s.flow.said], context):s.flow.to]...)
		last, _ := utf8.DecodeLastRune(text)
		tight, left := false, context
		for j := i + 1; j < len(g) && left > 0; j++ {
			known := g[j].buf[:g[j].known()]
			to := 0
			for ; left > 0 && to < len(known); left-- {
				_, size := utf8.DecodeRune(known[to:])
				to += size
			}
			if to > 0 {
				first, _ := utf8.DecodeRune(known)
				tight = tight || !unicode.IsSpace(last) && !unicode.IsSpace(first)
				text = append(text, known[:to]...)
				last, _ = utf8.DecodeLastRune(known[:to])
			}
			if to < len(known) {
				break
			}
			if g[j].flow.listed {
				left, said = context, j // what follows it is new to it, too
			}
		}
		if tight {
			seams = append(seams, &streamed{at: s.at, buf: text, halved: s.halved})
		}
	}
	return seams
}

// known is how much of a text windows have said, of a copy how much it has.
func (s *streamed) known() int {
	switch p := s.flow; {
	case p.listed:
		return p.to
	case p.copyOf != nil:
		return max(p.checked, 0)
	default:
		return p.said
	}
}

func (n neighbour) tail() *streamed {
	s := n.of
	t := &streamed{at: s.at, label: s.label, group: s.group, buf: s.buf[n.from:n.to:n.to], fixed: s.fixed && !s.halved && s.runs == nil, flow: &progress{of: s, cut: n.from}}
	if s.halved {
		t.halved, t.buf = true, slices.Clone(t.buf)
	}
	return t
}

// tell notes where the texts of a Message lie. of is the reader of a window, nil
// for the whole.
func (s *Stream) tell(m *Message, f flushing, of *reader) *telling {
	t := &telling{msg: m, texts: make(map[int][]piece), rpc: make(map[int]span)}
	for _, c := range f.order {
		if !m.Turns[c.turn].Maskable {
			continue
		}
		for _, text := range c.texts {
			p := piece{s: text}
			if text.flow != nil && text.flow.of != nil {
				p = piece{text.flow.of, text.flow.cut}
			}
			t.texts[c.turn] = append(t.texts[c.turn], p)
		}
	}
	for i := range m.Turns {
		turn := &m.Turns[i]
		if !turn.Maskable || turn.Joined || t.texts[i] != nil {
			continue
		}
		spans := s.r.msg.spans[turn.from:turn.to]
		if len(spans) == 1 {
			t.rpc[i] = spans[0]
		} else {
			turn.Maskable = false
		}
	}
	return t
}

// holds reports whether some of a turn has not been taken.
func (s *Stream) holds(turn int) bool {
	for _, p := range s.last.texts[turn] {
		if len(p.s.spans) > 0 {
			return true
		}
	}
	at, ok := s.last.rpc[turn]
	return ok && int64(at.start) >= s.from
}

// A change puts a text in place of some bytes of the body.
type change struct {
	span
	text []byte // in the notation of its place
}

// A masking is what a mask does to a thread.
type masking struct {
	s        *streamed
	from, to int // of its pieces
	text     string
	rest     int // where what follows the window begins
	start    int // where the text of the first piece begins
}

// Mask puts texts in place of turns of the last Window, or of Close's Message.
// The error is ErrNotCertain: a text would change where it has gone out
// already, or its place is not certain. Then nothing was changed.
func (s *Stream) Mask(rs []Replacement) error {
	last := s.last
	if last == nil || s.err != nil {
		return ErrNotCertain
	}
	if last.whole {
		return s.maskWhole(rs)
	}
	m := last.msg
	done := make(map[int]string, len(rs))
	var all []masking
	var changes []change
	for _, r := range rs {
		if r.Turn < 0 || r.Turn >= len(m.Turns) {
			return ErrNotCertain
		}
		t := &m.Turns[r.Turn]
		if _, twice := done[r.Turn]; twice || !t.Maskable && !t.Joined {
			return ErrNotCertain
		}
		done[r.Turn] = r.Text
		if t.Joined || r.Text == t.Text {
			continue
		}
		if at, ok := last.rpc[r.Turn]; ok {
			if int64(at.start) < s.from {
				return ErrNotCertain
			}
			changes = append(changes, change{at, at.appendText(nil, r.Text)})
			continue
		}
		if len(last.texts[r.Turn]) == 0 {
			return ErrNotCertain
		}
		for _, p := range last.texts[r.Turn] {
			one, ok := p.s.mask(p.cut, t.Text, r.Text)
			if !ok {
				return ErrNotCertain
			}
			all = append(all, one)
			for _, c := range p.s.flow.copies {
				if c.flow.copyOf != p.s {
					continue
				}
				// It says the same and has to change with it.
				one, ok := c.mask(p.cut, t.Text, r.Text)
				if !ok {
					return ErrNotCertain
				}
				all = append(all, one)
			}
		}
	}
	for _, r := range rs {
		if t := &m.Turns[r.Turn]; t.Joined && !m.joinedAs(t, r.Text, done) {
			return ErrNotCertain
		}
	}
	seen := make(map[*streamed]bool)
	for _, one := range all {
		if seen[one.s] {
			return ErrNotCertain
		}
		seen[one.s] = true
	}
	s.changed = s.changed || len(all) > 0 || len(changes) > 0
	for _, one := range all {
		changes = append(changes, one.apply()...)
		more := one.start + len(one.text) - one.rest
		for i := range s.r.asm.marks {
			if k := &s.r.asm.marks[i]; k.s == one.s {
				k.to += more // all of them come after the window
			}
		}
	}
	for _, c := range changes {
		i, same := slices.BinarySearchFunc(s.edits, c.start, func(e change, start uint32) int { return cmp.Compare(e.start, start) })
		if same {
			s.edits[i] = c
		} else {
			s.edits = slices.Insert(s.edits, i, c)
		}
	}
	return nil
}

// maskWhole masks an answer that was read as a whole.
func (s *Stream) maskWhole(rs []Replacement) error {
	if s.from > 0 {
		return ErrNotCertain
	}
	out, err := s.last.msg.Replace(rs)
	if err != nil {
		return err
	}
	s.held, s.last = out, nil
	return nil
}

// mask returns what it takes to put text in place of old, which begins at cut,
// and whether that can be.
func (s *streamed) mask(cut int, old, text string) (masking, bool) {
	p := s.flow
	end := cut + len(old)
	if p == nil || p.unplaced || !s.fixed || s.halved || s.runs != nil || len(s.spans) == 0 || len(s.spans) != len(p.starts) {
		return masking{}, false
	}
	if s.buf != nil && (end > len(s.buf) || string(s.buf[cut:end]) != old) {
		return masking{}, false // a copy that is behind, or has been masked
	}
	from := 0
	if b := p.starts[0]; b >= cut {
		if b >= end || !strings.HasPrefix(text, old[:b-cut]) {
			return masking{}, false
		}
		text = text[b-cut:]
	} else {
		for from+1 < len(p.starts) && p.starts[from+1] <= cut {
			from++
		}
		text = string(s.buf[p.starts[from]:cut]) + text
	}
	to := from
	for to < len(p.starts) && p.starts[to] < end {
		to++
	}
	return masking{s: s, from: from, to: to, text: text, rest: end, start: p.starts[from]}, true
}

// apply changes the thread, and returns how the body changes.
func (k masking) apply() (changes []change) {
	s, p := k.s, k.s.flow
	for i := k.from; i < k.to; i++ {
		text := ""
		if i == k.from {
			text = k.text
		} else {
			p.starts[i] = k.start + len(k.text)
		}
		changes = append(changes, change{s.spans[i], s.spans[i].appendText(nil, text)})
	}
	more := k.start + len(k.text) - k.rest
	for i := k.to; i < len(p.starts); i++ {
		p.starts[i] += more
	}
	moved := func(at *int) {
		switch {
		case *at >= k.rest:
			*at += more
		case *at > k.start:
			*at = k.start + len(k.text)
		}
	}
	for _, at := range [...]*int{&p.before, &p.checked, &p.marked, &p.to, &p.said, &p.piece, &s.run.buf, &p.urls.looked} {
		moved(at)
	}
	for i := range p.urls.runs {
		moved(&p.urls.runs[i].start)
		moved(&p.urls.runs[i].end)
	}
	p.base64 = false
	if s.buf != nil {
		s.buf = slices.Concat(s.buf[:k.start], []byte(k.text), s.buf[k.rest:])
	}
	return changes
}

// masked returns bytes of the stream up to end, with their masks.
func (s *Stream) masked(b []byte, end int64) []byte {
	n := 0
	for n < len(s.edits) && int64(s.edits[n].end) <= end {
		n++
	}
	if n == 0 {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	at := s.from
	for _, e := range s.edits[:n] {
		out = append(out, b[at-s.from:int64(e.start)-s.from]...)
		out = append(out, e.text...)
		at = int64(e.end)
	}
	s.edits = s.edits[n:]
	return append(out, b[at-s.from:]...)
}
