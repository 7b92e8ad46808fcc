// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// stream begins to read a stream, which body holds.
func (r *reader) stream(body []byte) {
	r.msg.Stream = true
	r.asm = newAssembler()
	r.src, r.from = body, 0
}

// events reads a body of server-sent events.
func (r *reader) events(in Input, body []byte) error {
	r.stream(body)
	er := eventstream.NewReader(body)
	for er.Next() {
		if err := r.event(in, er.Event()); err != nil {
			return err
		}
	}
	if er.Err() != nil {
		return &Error{Malformed, er.Err().Error()}
	}
	return r.endStream(in)
}

// event reads one event: its data, and whatever else a client could show.
func (r *reader) event(in Input, e *eventstream.Event) error {
	r.seen = e.End
	if err := r.fields(in, e); err != nil {
		return err
	}
	if err := r.data(in, e); err != nil {
		return err
	}
	r.step(e.End - e.Start)
	return r.err
}

// fields reads the lines of an event that are no data.
func (r *reader) fields(in Input, e *eventstream.Event) error {
	tried := 0 // fields that were looked at for a value of several lines
	for i := 0; i < len(e.Fields); i++ {
		f := e.Fields[i]
		s := r.in(f.Text)
		plain := false
		switch f.Kind {
		case eventstream.EventName:
			plain = r.isEventName(s)
		case eventstream.EventID:
			if plain = isIdent(s); plain {
				r.note(s)
			}
		case eventstream.NearData:
			// A careless client takes it for data.
			if r.accepts(s) {
				if err := r.chunk(in, s, 0, false); err != nil {
					return err
				}
				plain = true
			}
		case eventstream.Unknown:
			// No client of streams sees it, but one of JSON may: an upstream's
			// error comes this way.
			if i >= tried {
				value, n := r.bare(e.Fields[i:])
				if n > 0 {
					if err := r.chunk(in, value, 0, false); err != nil {
						return err
					}
					i += n - 1
					continue
				}
				tried = len(e.Fields)
			}
			if opensJSON(s) {
				if err := r.chunk(in, s, 0, false); err != nil {
					return err
				}
				plain = true
			}
		case eventstream.Retry, eventstream.Comment:
			plain = isEnum(bytes.TrimSpace(s)) || only(s, "") && words(s) == 0 || bytes.Equal(bytes.TrimSpace(s), []byte("OPENROUTER PROCESSING"))
		}
		if !plain {
			r.asm.addText(r, at{message: -1}, "field", append(bytes.Clone(s), '\n'))
			r.escaped(s)
		}
	}
	return nil
}

// data reads the data of an event.
func (r *reader) data(in Input, e *eventstream.Event) error {
	data := e.Data
	if len(bytes.TrimSpace(data)) == 0 {
		// A blank or a line's end between words.
		if len(e.Lines) > 1 {
			r.asm.breakLines(r)
		}
		for i, l := range e.Lines {
			if i > 0 {
				r.asm.lineEnd(r)
			}
			r.asm.plain(r, r.in(l), false)
		}
		return nil
	}
	if string(bytes.TrimSpace(data)) == "[DONE]" {
		r.asm.done()
		return nil
	}
	if len(e.Lines) == 1 {
		return r.chunk(in, data, e.Offset(0), true)
	}
	// Some clients join the lines, others take each for a message.
	joined := r.accepts(data)
	if joined {
		if err := r.chunk(in, data, 0, false); err != nil {
			return err
		}
	}
	r.asm.breakLines(r)
	for i, l := range e.Lines {
		line := r.in(l)
		if i > 0 && !joined {
			r.asm.lineEnd(r)
		}
		switch {
		case joined && (!opensJSON(line) || !encloses(line) || !r.accepts(line) || r.doc.Len() < 2):
			continue
		case len(bytes.TrimSpace(line)) == 0:
			r.asm.plain(r, line, false)
			continue
		case string(bytes.TrimSpace(line)) == "[DONE]":
			r.asm.done()
			continue
		}
		if err := r.chunk(in, line, l.Start, !joined); err != nil {
			return err
		}
	}
	return nil
}

// chunk reads one event's or line's data, which starts at base in the body if
// fixed.
func (r *reader) chunk(in Input, data []byte, base int, fixed bool) error {
	outer, asm := r.fixed, r.asm
	if r.step(len(data)); r.err != nil {
		return r.err
	}
	r.base, r.fixed = base, fixed && outer
	defer func() { r.fixed, r.base, r.asm = outer, 0, asm }()
	err := error(strictjson.ErrSyntax)
	enclosed := encloses(data)
	if enclosed {
		err = r.parse(data)
	}
	if err != nil {
		if r.broken = true; enclosed && strictjson.Loose(data) || err == strictjson.ErrDepth || err == strictjson.ErrTooLarge || mayBeJSON(in.Leg, data) {
			return r.jsonError(err)
		}
		if r.broken = false; !mediatype.Text(data) {
			return &Error{Malformed, "text that is not UTF-8"}
		}
		asm.plain(r, data, true)
		r.escaped(data)
		return nil
	}
	if !r.hasMembers() {
		asm.plain(r, data, false)
	}
	rpc := r.isRPC()
	told := rpc && r.speaksA2A(in)
	if rpc && !told {
		r.asm = nil // each message stands for itself
	} else {
		r.startRecall()
	}
	if err := r.checkTokens(in); err != nil {
		return err
	}
	if rpc {
		if r.path = r.path[:0]; told {
			asm.tell()
		}
		return r.walkRPC(told)
	}
	if s := r.plainA2A(in); s != nil {
		asm.tell()
		r.msg.Format, r.path = A2A, r.path[:0]
		return r.object(at{kind: KindText, message: -1, role: RoleAssistant}, s, strictjson.Root)
	}
	if r.msg.Format == None || r.msg.Format == Unknown {
		r.msg.Format = answerFormat(r.doc, in.Request)
	}
	const root = strictjson.Root
	if asm.watch != nil {
		asm.signs(r)
	}
	if r.msg.ID == "" {
		r.msg.ID = idOf(r.doc)
	}
	class := asm.classed(typeOf(r.doc))
	asm.begin(class.name, class.begins)
	a := at{kind: class.kind, message: -1, role: RoleAssistant}
	r.path = r.path[:0]
	if !r.isObject(root) {
		if r.isString(root) {
			r.text(a, fText, root)
			return nil
		}
		return r.value(a, field{rule: other, shape: answerShape}, root)
	}
	if isSessionEvent(r.doc, root) {
		return r.object(a, eventShape, root)
	}
	return r.object(a, answerShape, root)
}

// endStream makes turns of what the stream said.
func (r *reader) endStream(in Input) error {
	asm := r.asm
	if r.src != nil {
		r.seen = r.from + len(r.src)
	}
	f := r.flush()
	if r.asm.watch != nil {
		r.asm.flushed = f
	}
	r.asm = nil
	if r.err != nil {
		return r.err
	}
	if r.msg.Format == None {
		r.msg.Format = Unknown
		if len(asm.texts) > 0 {
			r.msg.Format = Text
		}
	}
	if r.msg.Format == Text && r.msg.Stream {
		r.msg.Format = Unknown
	}
	return r.spoken()
}

// lines reads a body of JSON lines.
func (r *reader) lines(in Input, body []byte) error {
	if in.Leg == ResponseLeg {
		r.stream(body)
		var lr eventstream.LineReader
		lr.Feed(body, 0, true)
		for lr.Next() {
			err := r.jsonLine(in, lr.Line())
			if err != nil && r.broken {
				err = r.tail(in, body, 0, lr.Full().Start, err)
				if err == nil {
					break
				}
			}
			if err != nil {
				return err
			}
		}
		return r.endStream(in)
	}
	// A batch file: each line is a request of its own.
	for l := range eventstream.Lines(body) {
		r.base = l.Start
		if r.step(l.End - l.Start); r.err != nil {
			return r.err
		}
		if err := r.parse(body[l.Start:l.End]); err != nil {
			return r.jsonError(err)
		}
		if err := r.document(in); err != nil {
			return err
		}
	}
	r.base = 0
	return nil
}

// errMixed refuses JSON lines with a line among them that is data for the
// clients of event streams.
var errMixed = &Error{Malformed, "lines of JSON and of an event stream"}

// jsonLine reads a line of an answer. After an error broken says whether it is
// no sound JSON.
func (r *reader) jsonLine(in Input, l eventstream.Span) error {
	r.broken = false
	r.seen = l.End
	line := r.in(l)
	if eventstream.LooksLike(line) {
		return errMixed
	}
	err := r.chunk(in, line, l.Start, true)
	r.broken = r.broken && err != nil
	return err
}

// tail reads what comes from offset start on, in a body that begins at offset at:
// the end of a broken stream of lines, in which an error stands in lines of its
// own. broken is the error if it is none.
func (r *reader) tail(in Input, body []byte, at, start int, broken error) error {
	rest := body[start-at:]
	values := r.endInError(rest)
	if r.err != nil {
		return r.err
	}
	if values == nil {
		return broken
	}
	return r.objects(in, rest, start, values)
}

// frames reads a body of AWS event stream frames.
func (r *reader) frames(in Input, body []byte) error {
	r.stream(body)
	r.fixed = false // a mask would have to be framed anew
	fr := eventstream.NewFrameReader(body)
	for fr.Next() {
		if err := r.frame(in, fr.Frame()); err != nil {
			return err
		}
	}
	if fr.Err() != nil {
		return &Error{Malformed, fr.Err().Error()}
	}
	return r.endStream(in)
}

// frame reads one frame: its headers and its payload.
func (r *reader) frame(in Input, f *eventstream.Frame) error {
	r.seen = f.End
	for _, h := range f.Headers {
		if h.Type == eventstream.HeaderString && !isEnum(h.Value) && !isModel(h.Value) {
			r.asm.addText(r, at{message: -1}, "header", append(bytes.Clone(h.Value), '\n'))
		}
		if !isEnum(bytes.TrimPrefix(h.Name, []byte(":"))) {
			r.asm.addText(r, at{message: -1}, "header", append(bytes.Clone(h.Name), '\n'))
		}
	}
	if r.step(f.End - f.Start); r.err != nil {
		return r.err
	}
	payload := r.in(f.Payload)
	if len(payload) == 0 {
		return nil
	}
	inner, alone := r.invokeChunk(payload)
	if inner != nil {
		if err := r.chunk(in, inner, 0, false); err != nil {
			return err
		}
	}
	if alone {
		return nil
	}
	return r.chunk(in, payload, 0, false)
}

// invokeChunk takes the model's own event out of a chunk of
// InvokeModelWithResponseStream: {"bytes":"<base64>","p":"<padding>"}. alone
// says that the chunk says nothing else. Clients ignore all else.
func (r *reader) invokeChunk(payload []byte) (inner []byte, alone bool) {
	d := strictjson.Borrow()
	defer d.Return()
	// Where a name stands twice, each reading has a chunk of its own.
	if r.parseTo(d, payload) != nil || d.Doubled() || d.Kind(strictjson.Root) != strictjson.Object {
		return nil, false
	}
	v := d.Member(strictjson.Root, "bytes")
	if v < 0 || d.Kind(v) != strictjson.String {
		return nil, false
	}
	alone = true
	for c := d.First(strictjson.Root); c < d.Next(strictjson.Root); c = d.Next(c) {
		if name := string(d.Name(c)); name != "bytes" && (name != "p" || d.Kind(c) != strictjson.String || !isOpaque(d.Bytes(c))) {
			alone = false
		}
	}
	if inner = mediatype.Base64(string(d.Bytes(v))); !alone && !encloses(inner) {
		return nil, false // some other event
	}
	return inner, alone
}
