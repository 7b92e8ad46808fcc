// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strconv"
	"strings"

	"kong-ai-guard/internal/strictjson"
)

// An assembler puts the pieces of a stream's texts together: those of each
// choice, content block and tool call by themselves, so that a text that was
// cut anywhere is whole when it is scanned.
type assembler struct {
	texts []*streamed
	byKey map[string]*streamed
	// class is the event's type without its "delta" or "start", for
	// formats whose clients go by the type; "" for those that go by choices.
	class string
	// begins tells that the event holds what deltas of its class continue.
	begins bool
	key    []byte // scratch
	// excess tells that there are more texts than are taken.
	excess bool
	calls  map[callKey]*streamedCall
}

// streamed is one text that arrives in pieces.
type streamed struct {
	at    at
	label string // the name, for text whose meaning is not known
	json  bool   // a tool call's arguments
	whole bool   // a tool call as it is to be read
	buf   []byte
	spans []span
	fixed bool // every piece has a span
	// halved tells that buf holds halves of surrogate pairs, for which there is
	// no mask.
	halved bool
	probs  bool   // log probabilities, which repeat other texts
	group  string // what it shares with the texts that clients join it to
	last   int    // offset of the last piece's start, to drop repeated numbers
}

func newAssembler() *assembler { return &assembler{byKey: make(map[string]*streamed)} }

// text finds or makes the text that a piece belongs to.
func (m *assembler) text(r *reader, a at, slot string) *streamed {
	k := m.key[:0]
	k = append(append(append(k, byte(a.kind), '|'), a.role...), '|')
	if slot != "" {
		if r != nil {
			k = m.thread(k, r.path, slot)
		}
		k = append(append(k, '#'), slot...)
	} else {
		k = append(append(append(k, m.class...), '|'), r.path...)
	}
	k = strconv.AppendInt(append(k, '|'), int64(a.choice), 10)
	k = strconv.AppendInt(append(k, '|'), int64(a.copy), 10)
	group := len(k)
	for _, n := range [...]int{a.block, a.call} {
		k = strconv.AppendInt(append(k, '|'), int64(n), 10)
	}
	m.key = k
	s := m.byKey[string(k)]
	if s == nil {
		if len(m.texts) == maxTexts {
			m.excess = true
			return &streamed{at: a}
		}
		key := string(k)
		s = &streamed{at: a, fixed: true, json: slot == slotArguments}
		if slot != "" && !a.apart {
			s.group = key[:group]
		}
		m.byKey[key] = s
		m.texts = append(m.texts, s)
	}
	return s
}

// thread appends what a piece of text shares with those that its clients join
// it to: the member of the event's root that it came through, since clients of
// one API do not see what another's look at, and the event's class for the
// APIs whose clients go by the type.
func (m *assembler) thread(k, path []byte, slot string) []byte {
	root, below, _ := bytes.Cut(bytes.TrimPrefix(path, []byte("/")), []byte("/"))
	class := m.class
	switch string(root) {
	case "choices", "candidates":
		class = ""
	case "message", "part", "item":
		// What an event begins with is continued by deltas.
		if m.begins {
			root = nil
		} else if string(root) == "message" {
			class = "" // Ollama's
		}
	case "response", "thinking":
		if len(below) == 0 {
			class = "" // Ollama's
		}
	case "delta", "content_block", "start", "contentBlockStart", "contentBlockDelta":
		root = nil
	}
	if slot == slotArguments && (m.begins || strings.HasSuffix(class, "call_arguments") || strings.HasSuffix(class, "call_input")) {
		class = "call"
	}
	return append(append(append(k, class...), '|'), root...)
}

// add adds string v as the next piece of its text.
func (m *assembler) add(r *reader, a at, slot string, v int) {
	s := m.text(r, a, slot)
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
	start, end := r.doc.Span(v)
	s.spans = append(s.spans, span{start: uint32(r.base + start), end: uint32(r.base + end), whole: len(s.spans) == 0})
}

// addText adds text that stands nowhere as it is.
func (m *assembler) addText(a at, slot string, text []byte) {
	if len(text) == 0 {
		return
	}
	a.kind = KindOther
	s := m.text(nil, a, slot)
	s.buf, s.fixed = append(s.buf, text...), false
	s.probs = slot == slotProbs || slot == slotAlternatives
}

// The slots of log probabilities: the text once more, and what else might have
// stood there.
const (
	slotProbs        = "logprobs"
	slotAlternatives = "alternatives"
)

// piece adds every string and number below v. Where its meaning is not known,
// names are content too: the label is all names from the first unknown one on.
func (r *reader) piece(a at, f field, v int) error {
	if f.rule == other || f.rule == define {
		a.kind = KindOther
	}
	return r.pieces(a, f, v, "")
}

func (r *reader) pieces(a at, f field, v int, label string) error {
	d := r.doc
	if name := d.Name(v); f.slot == "" && len(name) > 0 {
		if label != "" {
			label += "."
		}
		if len(label)+len(name) <= maxLabel {
			label += string(name)
		} else {
			r.label(a, name) // too long to repeat for each value
			label = ""
		}
	}
	switch d.Kind(v) {
	case strictjson.Object, strictjson.Array:
		if r.hasVectors() && f.rule == other && (r.vector(v) || r.repeats(v, d.Name(v)) || r.isObject(v) && r.sparse(v)) {
			if !isIdent([]byte(label)) {
				r.label(a, []byte(label))
			}
			return nil
		}
		if d.First(v) == d.Next(v) {
			r.label(a, []byte(label))
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
			err := r.pieces(a, field{rule: f.rule}, c, label)
			r.pop(depth)
			if err != nil {
				return err
			}
			n++
		}
	case strictjson.String:
		s := r.asm.text(r, a, f.slot)
		s.label = label
		r.asm.add(r, a, f.slot, v)
		if label != "" {
			s.fixed = false
		}
	case strictjson.Null:
		r.label(a, []byte(label))
	default:
		s := r.asm.text(r, a, f.slot)
		s.label, s.fixed = label, false
		if raw := d.Raw(v); !bytes.Equal(s.buf[s.last:], raw) {
			if len(s.buf) > 0 {
				s.buf = append(s.buf, ' ')
			}
			s.last = len(s.buf)
			s.buf = append(s.buf, raw...)
		}
	}
	return nil
}

const maxLabel = 256

// label adds names that have no value to stand beside.
func (r *reader) label(a at, name []byte) {
	if len(name) == 0 {
		return
	}
	s := r.asm.text(r, a, "names:"+string(name[:min(len(name), maxLabel)]))
	if !bytes.Contains(s.buf, name) {
		s.buf, s.fixed = append(append(s.buf, name...), '\n'), false
	}
}

// push and pop keep the path while a stream is read.
func (r *reader) push(name []byte) int {
	n := len(r.path)
	if r.asm != nil {
		r.path = append(append(r.path, '/'), name...)
	}
	return n
}

// pushElement puts an array's element into the path: by its own index if it
// has one, since chunks hold parts of arrays.
func (r *reader) pushElement(v, position int) int {
	n := len(r.path)
	if i := r.doc.Member(v, "index"); i >= 0 {
		if n, ok := r.place(i); ok {
			position = n
		}
	}
	r.path = strconv.AppendInt(append(r.path, '/'), int64(position), 10)
	return n
}

func (r *reader) pop(n int) { r.path = r.path[:n] }

// beginnings are the events that hold the first piece of a text, and the class
// of those that bring the others.
var beginnings = map[string]string{
	"message_start":                         "content_block",
	"response.output_item.added":            "response.output_text",
	"response.content_part.added":           "response.output_text",
	"response.reasoning_summary_part.added": "response.reasoning_summary_text",
}

// classOf gives the class of an event from its type: events that continue one
// another share it, those that say all once more ("done") have their own.
func classOf(d *strictjson.Doc) (class string, begins bool) {
	for _, name := range [...]string{"type", "event_type"} {
		if t := d.Member(strictjson.Root, name); t >= 0 && d.Kind(t) == strictjson.String {
			s := string(d.Bytes(t))
			if class, ok := beginnings[s]; ok {
				return class, true
			}
			for _, end := range [...]string{"delta", "start", "stop", "end"} {
				if rest, ok := bytes.CutSuffix([]byte(s), []byte(end)); ok && len(rest) > 0 {
					return string(rest[:len(rest)-1]), false
				}
			}
			return s, false
		}
	}
	return "", false
}

// kindOf gives the kind of text that events of a class bring, for formats that
// say it in the type: "response.function_call_arguments".
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

// idOf gives the id of the answer that an event belongs to: the event's own,
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
func (r *reader) flush() {
	r.excess = r.excess || r.asm.excess
	r.asm.markCalls()
	for _, s := range r.asm.texts {
		if s.halved {
			s.buf = strictjson.JoinHalves(s.buf)
		}
	}
	seen, said, parts := make(map[string]*copies), make(map[string]bool), streamedParts{}
	for _, s := range r.asm.texts {
		if s.json || s.whole {
			r.flushCall(s, seen)
			continue
		}
		if len(s.buf) == 0 && s.label == "" {
			continue
		}
		if s.at.kind == KindOther || s.label != "" {
			r.flushOther(s, said)
			continue
		}
		text := string(s.buf)
		if c := seen[text]; c != nil {
			r.repeat(c, s)
			parts.add(s, c.turn)
			continue
		}
		parts.add(s, len(r.msg.Turns))
		seen[text] = &copies{turn: len(r.msg.Turns)}
		t := r.turn(s.at, text)
		if s.fixed {
			t.Maskable = true
			t.from = int32(len(r.msg.spans))
			r.msg.spans = append(r.msg.spans, s.spans...)
			t.to = int32(len(r.msg.spans))
		}
		r.hidden(s.buf)
		r.reveal(s.at)
	}
	for _, group := range parts.order {
		r.joinStreamed(group, seen)
	}
	for _, s := range r.asm.texts {
		s.buf = nil
	}
}

// copies counts how often a stream says what a turn says.
type copies struct{ turn, more int }

// maxCopies is how many more copies of a text are masked with it.
const maxCopies = 8

// repeat notes that s says once more what a turn says.
func (r *reader) repeat(c *copies, s *streamed) {
	t := &r.msg.Turns[c.turn]
	if c.more++; !t.Maskable || !s.fixed || c.more > maxCopies {
		t.Maskable = false // a mask would not reach every copy
		return
	}
	// A turn's spans stand in one row; move it to the end to make it longer.
	from := int32(len(r.msg.spans))
	r.msg.spans = append(r.msg.spans, r.msg.spans[t.from:t.to]...)
	r.msg.spans = append(r.msg.spans, s.spans...)
	t.from, t.to = from, int32(len(r.msg.spans))
}

// flushOther adds a text whose meaning is not known, unless it was said.
func (r *reader) flushOther(s *streamed, said map[string]bool) {
	text := string(bytes.TrimSpace(s.buf))
	if s.probs {
		r.probs = append(r.probs, prob{s.at.choice, text})
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
