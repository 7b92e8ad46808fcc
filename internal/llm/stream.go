// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// An assembler puts the pieces of a stream's texts together, separately for
// each choice, content block and tool call. A text that was cut anywhere is
// whole when it is scanned.
type assembler struct {
	texts []*streamed
	byKey map[threadKey]*streamed
	paths paths
	// class is the event's type without its "delta" or "start", for
	// formats whose clients go by the type; "" for those that go by choices.
	class   string
	classID int32 // -1 until it is asked for
	classes map[string]int32
	// begins says that the event holds what deltas of its class continue.
	begins    bool
	lastClass class
	event     int32 // counts the events
	pieces    plainText
	calls     map[callKey]*streamedCall
	// told says that the event is one of A2A. Of its threads begun counts the
	// texts, and threads says at which one each is.
	told    bool
	threads map[uint64]int
	begun   int
	*watch  // of a stream that flows
}

// A threadKey tells the texts of a stream apart. Who speaks is not part of it:
// clients join what comes under another role all the same.
type threadKey struct {
	kind                Kind
	slot                string
	class, path         int32
	choice, block, call int
	copy                uint64 // of names that stand twice: see copyOf
}

// mixedRole is the role of a text whose pieces come under several roles. The
// text is the answer's, whatever it says.
const mixedRole = RoleAssistant

// streamed is one text that arrives in pieces.
type streamed struct {
	at    at
	label string // the name, for text whose meaning is not known
	json  bool   // a tool call's arguments
	whole bool   // a tool call as it is to be read
	buf   []byte
	spans []span
	fixed bool // every piece has a span
	// halved says that buf holds halves of surrogate pairs, which cannot be
	// masked.
	halved bool
	probs  bool // log probabilities, which repeat other texts
	// group is what it shares with the texts that clients join it to, zero for
	// none. reading tells apart what several clients take one thread for.
	group   threadKey
	reading int
	last    int       // offset of the last piece's start, to drop repeated numbers
	run     run       // the last run
	runs    []run     // all runs, once there are pieces under two names
	named   *named    // of the runs, if there are any
	flow    *progress // in a Stream, nil else
}

func newAssembler() *assembler { return &assembler{byKey: make(map[threadKey]*streamed)} }

// begin prepares for the next event, of a class.
func (m *assembler) begin(class string, begins bool) {
	m.class, m.begins, m.classID, m.told = class, begins, -1, false
	m.event++
}

// text finds or makes the text that a piece belongs to.
func (m *assembler) text(r *reader, a at, slot string) (s *streamed, made bool) {
	k := threadKey{kind: a.kind, slot: slot, choice: a.choice, block: a.block, call: a.call, copy: a.copy}
	switch {
	case slot == "":
		k.class, k.path = m.classOf(r, m.class), m.paths.full(&r.budget, r.path)
	default:
		k.class, k.path = m.thread(r, slot)
	}
	return m.of(r, k, a)
}

func (m *assembler) of(r *reader, k threadKey, a at) (s *streamed, made bool) {
	if s = m.byKey[k]; s != nil {
		m.touch(s)
		if s.at.role != a.role {
			s.at.role = mixedRole
		}
		return s, false
	}
	s = &streamed{at: a, fixed: true, json: k.slot == slotArguments}
	if k.slot != "" && !a.apart {
		s.group = k
		s.group.call = 0
		if !a.event {
			s.group.block = 0
		}
	}
	if len(m.texts) == maxTexts {
		r.fail(errTooMany)
		return s, true
	}
	r.take(textBytes)
	m.byKey[k] = s
	m.texts = append(extra(m.texts, 1), s)
	m.touch(s)
	return s, true
}

// classOf returns the number of a class.
func (m *assembler) classOf(r *reader, class string) int32 {
	if class == "" {
		return 0
	}
	own := class == m.class
	if own && m.classID >= 0 {
		return m.classID
	}
	id, ok := m.classes[class]
	if !ok {
		if m.classes == nil {
			m.classes = make(map[string]int32)
		}
		r.take(len(class) + pathBytes)
		id = int32(len(m.classes) + 1)
		m.classes[class] = id
	}
	if own {
		m.classID = id
	}
	return id
}

// thread returns what a piece of text shares with those that its clients join
// it to: the member of the event's root that it came through, since clients of
// one API do not see what another's look at, and the event's class for the
// APIs whose clients go by the type.
func (m *assembler) thread(r *reader, slot string) (classID, pathID int32) {
	path := r.path
	class, through := m.class, len(path) > 0 && !m.told
	if through {
		switch root := path[0].name; string(root) {
		case "choices", "candidates":
			class = ""
		case "message", "part", "item":
			// What an event begins with is continued by deltas.
			if m.begins {
				through = false
			} else if string(root) == "message" {
				class = "" // Ollama's
			}
		case "response", "thinking":
			if len(path) == 1 {
				class = "" // Ollama's
			}
		case "delta", "content_block", "start", "contentBlockStart", "contentBlockDelta":
			through = false
		case "step", "content":
			// Gemini's interactions: deltas continue what it begins.
			through = !m.stepwise()
		}
	}
	if slot == slotArguments && (m.begins || strings.HasSuffix(class, "call_arguments") || strings.HasSuffix(class, "call_input")) {
		class = "call"
	}
	if through {
		pathID = m.paths.names(&r.budget, path[:1])
	}
	return m.classOf(r, class), pathID
}

// add adds string v as the next piece of its text.
func (m *assembler) add(r *reader, a at, slot string, v int) {
	s, _ := m.text(r, a, slot)
	if slot != "" {
		name := m.paths.names(&r.budget, r.path)
		if m.told { // clients that go by an artifact's task read its pieces alone
			name = m.paths.child(&r.budget, name, []byte(a.task), -1)
		}
		s.under(r, name, a.role)
	}
	s.piece(r, v)
	if slot == slotTranscript || strings.HasSuffix(m.class, "audio_transcript") {
		s.fixed = false
	}
}

func (s *streamed) piece(r *reader, v int) {
	raw := r.doc.Raw(v)
	r.step(len(raw))
	r.take(2*len(raw) + spanBytes) // the memory grows in steps
	s.buf = extra(s.buf, len(raw))
	if s.flow != nil {
		s.flow.piece = len(s.buf)
	}
	halved := r.doc.Halved(v)
	if halved {
		s.buf, s.halved = r.doc.AppendHalves(s.buf, v), true
	} else {
		s.buf = r.doc.Append(s.buf, v)
	}
	if !r.fixed || halved {
		s.fixed = false
		return
	}
	if s.flow != nil && s.flow.unplaced {
		return
	}
	start, end := r.doc.Span(v)
	s.spans = append(extra(s.spans, 1), span{start: uint32(r.base + start), end: uint32(r.base + end), whole: len(s.spans) == 0})
	if r.asm.watch != nil {
		r.asm.place(s, r.base+end)
	}
}

// addText adds text that stands nowhere as it is.
func (m *assembler) addText(r *reader, a at, slot string, text []byte) {
	if len(text) == 0 {
		return
	}
	a.kind = KindOther
	r.step(len(text))
	r.take(2 * len(text))
	s, _ := m.of(r, threadKey{kind: a.kind, slot: slot, choice: a.choice, block: a.block, call: a.call, copy: a.copy}, a)
	s.buf, s.fixed = append(extra(s.buf, len(text)), text...), false
	s.probs = strings.HasPrefix(slot, slotProbs) || strings.HasPrefix(slot, slotOrdinary) || slot == slotAlternatives
}

// The slots of log probabilities: the text once more, and what else might have
// stood there.
const (
	slotProbs        = "logprobs"
	slotAlternatives = "alternatives"
	slotNames        = "names"
	// slotRepeated is of what each event says once more, and nobody joins.
	slotRepeated = "repeated"
)

// piece adds every string and number below v. Where its meaning is not known,
// names are content too. The label is then all names from the first unknown one
// on.
func (r *reader) piece(a at, f field, v int) error {
	if f.rule == other || f.rule == define {
		a.kind = KindOther
	}
	return r.pieces(a, f, v, label{})
}

// A label is the names of the path from an index on; size is their length, 0
// for none.
type label struct{ from, size int }

func (r *reader) pieces(a at, f field, v int, l label) error {
	if r.step(1); r.err != nil {
		return r.err
	}
	d := r.doc
	if name := d.Name(v); f.slot == "" && len(name) > 0 {
		if l.size == 0 {
			l = label{from: len(r.path) - 1, size: len(name)}
		} else {
			l.size += len(".") + len(name)
		}
		if l.size > maxLabel {
			r.name(a, name) // too long to repeat for each value
			l = label{}
		}
	}
	switch d.Kind(v) {
	case strictjson.Object, strictjson.Array:
		if r.hasVectors() && f.rule == other && (r.vector(v) || r.repeats(v, d.Name(v)) || r.isObject(v) && r.sparse(v)) {
			if names := r.label(l); !isIdent(names) {
				r.name(a, names)
			}
			return nil
		}
		if d.First(v) == d.Next(v) {
			r.name(a, r.label(l))
		}
		n := 0
		outer := a.copy
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			if r.doubled {
				a.copy = r.copyOf(outer, c)
			}
			var depth int
			if name := d.Name(c); name != nil {
				depth = r.push(name)
			} else {
				depth = r.pushElement(c, n)
			}
			err := r.pieces(a, field{rule: f.rule}, c, l)
			r.pop(depth)
			if err != nil {
				return err
			}
			n++
		}
	case strictjson.String:
		s := r.labelled(a, f.slot, l)
		if r.asm.told && l.size > 0 { // each event repeats what belongs to all
			said := d.Bytes(v)
			if len(said) > 0 && bytes.Equal(s.buf[s.last:], said) {
				return nil
			}
			s.last = len(s.buf)
		}
		if f.slot != "" {
			s.under(r, r.asm.paths.names(&r.budget, r.path), a.role)
		}
		s.piece(r, v)
		if l.size > 0 {
			s.fixed = false
		}
	case strictjson.Null:
		r.name(a, r.label(l))
	default:
		s := r.labelled(a, f.slot, l)
		s.fixed = false
		if raw := d.Raw(v); !bytes.Equal(s.buf[s.last:], raw) {
			if len(s.buf) > 0 {
				s.buf = append(s.buf, ' ')
			}
			r.take(2 * len(raw))
			s.last = len(s.buf)
			s.buf = append(s.buf, raw...)
		}
	}
	return r.err
}

// labelled is asm.text for a text with a label, which is made once.
func (r *reader) labelled(a at, slot string, l label) *streamed {
	s, made := r.asm.text(r, a, slot)
	if made && l.size > 0 {
		s.label = string(r.label(l))
	}
	return s
}

const maxLabel = 256

// label writes out a label.
func (r *reader) label(l label) []byte {
	if l.size == 0 {
		return nil
	}
	r.step(l.size)
	r.take(l.size)
	out := make([]byte, 0, l.size)
	for _, s := range r.path[l.from:] {
		if len(s.name) > 0 {
			if len(out) > 0 {
				out = append(out, '.')
			}
			out = append(out, s.name...)
		}
	}
	return out
}

// once adds a text that nobody joins to another, unless it was said.
func (r *reader) once(a at, text []byte) {
	if len(text) == 0 {
		return
	}
	a.block, a.call, a.apart = 0, 0, true
	m := r.asm
	s, made := m.of(r, threadKey{kind: a.kind, slot: slotRepeated, path: m.paths.child(&r.budget, namesRoot, text, -1), choice: a.choice, copy: a.copy}, a)
	if made {
		r.take(len(text))
		s.buf, s.fixed = append(s.buf, text...), false
	}
}

// name adds names that have no value to stand beside.
func (r *reader) name(a at, name []byte) {
	if len(name) == 0 {
		return
	}
	m := r.asm
	s, made := m.of(r, threadKey{kind: a.kind, slot: slotNames, path: m.paths.child(&r.budget, namesRoot, name, -1), choice: a.choice, block: a.block, call: a.call, copy: a.copy}, a)
	if made {
		r.take(len(name))
		s.buf, s.fixed = append(append(s.buf, name...), '\n'), false
	}
}

// beginnings are the events that hold the first piece of a text, and the class
// of those that bring the others.
var beginnings = map[string]string{
	"message_start":                         "content_block",
	"response.output_item.added":            "response.output_text",
	"response.content_part.added":           "response.output_text",
	"response.reasoning_summary_part.added": "response.reasoning_summary_text",
}

// typeOf returns the type of an event, nil for none.
func typeOf(d *strictjson.Doc) []byte {
	for _, name := range [...]string{"type", "event_type"} {
		if t := d.Member(strictjson.Root, name); t >= 0 && d.Kind(t) == strictjson.String {
			return d.Bytes(t)
		}
	}
	return nil
}

// A class is what a type says of an event.
type class struct {
	of     string // the type
	name   string
	begins bool // see assembler
	kind   Kind // of the text that its events bring
}

// classed returns the class of an event of this type. Most events have the type
// of the one before.
func (m *assembler) classed(of []byte) *class {
	if c := &m.lastClass; c.of != string(of) {
		c.of = string(of)
		c.name, c.begins = classOf(c.of)
		c.kind = kindOf(c.name)
	}
	return &m.lastClass
}

// classOf returns the class of events of a type. Events that continue one another
// share a class. Those that say everything once more ("done") have their own.
func classOf(of string) (class string, begins bool) {
	if class, ok := beginnings[of]; ok {
		return class, true
	}
	for _, end := range [...]string{"delta", "start", "stop", "end"} {
		if rest, ok := strings.CutSuffix(of, end); ok && rest != "" {
			return rest[:len(rest)-1], false
		}
	}
	return of, false
}

// kindOf returns the kind of text that events of a class bring, for formats
// that say it in the type: "response.function_call_arguments".
func kindOf(class string) Kind {
	has := func(s string) bool { return strings.Contains(class, s) }
	switch {
	case has("reasoning"):
		return KindReasoning
	case has("refusal"):
		return KindRefusal
	case has("call_arguments"), has("call_code"), has("call_input"):
		return KindToolCall
	case class == "error":
		return KindOther
	}
	return KindText
}

// idOf returns the id of the answer that an event belongs to: the event's own,
// or that of the message or response it begins.
func idOf(d *strictjson.Doc) string {
	for _, name := range [...]string{"", "message", "response"} {
		v := strictjson.Root
		if name != "" {
			v = d.Member(v, name)
		}
		if v < 0 || d.Kind(v) != strictjson.Object {
			continue
		}
		if id := d.Member(v, "id"); id >= 0 && d.Kind(id) == strictjson.String {
			return string(d.Bytes(id))
		}
	}
	return ""
}

// flush turns the texts of a stream into turns. A text that repeats another
// becomes no turn of its own, but is masked with it.
func (r *reader) flush() flushing {
	r.asm.markCalls()
	f := flushing{seen: make(map[string]*copies, len(r.asm.texts)), said: make(map[string]bool)}
	for _, thread := range r.asm.texts {
		for i, s := range thread.readings(&r.budget) {
			s.reading = i
			if r.step(len(s.buf)); r.err != nil {
				return f
			}
			if s.halved {
				s.buf = strictjson.JoinHalves(bytes.Clone(s.buf)) // others may hold the bytes too
			}
			if s.at.role == RoleTool && s.at.kind == KindText {
				s.at.kind = KindToolResult
			}
			r.flushText(s, &f)
		}
		// The turns keep the memory that they stand on. The rest can go.
		thread.buf, thread.runs = nil, nil
	}
	r.flushPlain(&f)
	for _, group := range f.parts.order {
		r.joinStreamed(group, &f)
	}
	for _, c := range f.order {
		t := &r.msg.Turns[c.turn]
		if !t.Maskable {
			continue
		}
		t.from = int32(len(r.msg.spans))
		for _, s := range c.texts {
			r.msg.spans = append(extra(r.msg.spans, len(s.spans)), s.spans...)
		}
		t.to = int32(len(r.msg.spans))
	}
	return f
}

// flushing is what flush knows of the texts that it has turned into turns.
type flushing struct {
	seen  map[string]*copies
	order []*copies
	said  map[string]bool
	parts streamedParts
}

func (r *reader) flushText(s *streamed, f *flushing) {
	switch {
	case s.json || s.whole:
		r.flushCall(s, f)
	case len(s.buf) == 0 && s.label == "":
	case s.at.kind == KindOther || s.label != "":
		r.flushOther(s, f.said)
	default:
		// Nobody writes to the text any more.
		text := unsafe.String(unsafe.SliceData(s.buf), len(s.buf))
		said := f.turn(r, s.at, text, s)
		if c := f.seen[text]; c != nil {
			f.parts.add(s, c.turn)
		}
		if said {
			r.hidden(s.buf)
			r.reveal(s.at)
		}
	}
}

// copies are the texts of a stream that say what a turn says.
type copies struct {
	turn  int
	texts []*streamed
}

// maxCopies is how many more copies of a text are masked with it.
const maxCopies = 8

// turn adds a turn that says text, unless there is one, of which s then is one
// more copy. It reports whether there was none.
func (f *flushing) turn(r *reader, a at, text string, s *streamed) bool {
	if c := f.seen[text]; c != nil {
		t := &r.msg.Turns[c.turn]
		if !t.Maskable || !s.fixed || len(c.texts) > maxCopies {
			t.Maskable = false // a mask would not reach every copy
			return false
		}
		c.texts = append(c.texts, s)
		return false
	}
	n := len(r.msg.Turns)
	t := r.turn(a, text)
	if r.err != nil {
		return false
	}
	t.Maskable = s.fixed && !s.json && !s.whole
	c := &copies{turn: n, texts: []*streamed{s}}
	f.seen[text] = c
	f.order = append(extra(f.order, 1), c)
	return true
}

// flushOther adds a text whose meaning is not known, unless it was said.
func (r *reader) flushOther(s *streamed, said map[string]bool) {
	text := string(bytes.TrimSpace(s.buf))
	if s.probs {
		r.probs = append(r.probs, prob{choice: s.at.choice, text: text})
		return
	}
	if s.label != "" {
		text = strings.TrimSuffix(s.label+": "+text, ": ")
	}
	if text == "" || said[text] {
		return // a "done" event says it once more
	}
	said[text] = true
	r.other(s.at.role, s.at.choice, text)
	r.hidden(s.buf)
	r.reveal(s.at)
}
