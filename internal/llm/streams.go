// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"

	"kong-ai-guard/internal/eventstream"
	"kong-ai-guard/internal/mediatype"
	"kong-ai-guard/internal/strictjson"
)

// events reads a body of server-sent events.
func (r *reader) events(in Input, body []byte) error {
	m := r.msg
	m.Stream = true
	r.asm = newAssembler()
	er := eventstream.NewReader(body)
	for er.Next() {
		e := er.Event()
		if err := r.event(in, e); err != nil {
			return err
		}
		if r.step(e.End - e.Start); r.err != nil {
			return r.err
		}
	}
	if er.Err() != nil {
		return &Error{Malformed, er.Err().Error()}
	}
	return r.endStream(in)
}

// event reads one event: its data, and whatever else a client could show.
func (r *reader) event(in Input, e *eventstream.Event) error {
	tried := 0 // fields that were looked at for a value of several lines
	for i := 0; i < len(e.Fields); i++ {
		f := e.Fields[i]
		s := r.msg.body[f.Text.Start:f.Text.End]
		plain := false
		switch f.Kind {
		case eventstream.EventName:
			plain = isEnum(s)
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
			r.asm.plain(r, r.msg.body[l.Start:l.End], false)
		}
		return nil
	}
	if string(bytes.TrimSpace(data)) == "[DONE]" {
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
		line := r.msg.body[l.Start:l.End]
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
		if enclosed && strictjson.Loose(data) || err == strictjson.ErrDepth || err == strictjson.ErrTooLarge || mayBeJSON(in.Leg, data) {
			return r.jsonError(err)
		}
		if !mediatype.Text(data) {
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
	if rpc {
		r.asm = nil // each message stands for itself
	}
	if err := r.checkTokens(in); err != nil {
		return err
	}
	if rpc {
		r.msg.Format = MCP
		return r.walkRPC()
	}
	if f := answerFormat(r.doc, in.Request); r.msg.Format == None || r.msg.Format == Unknown {
		r.msg.Format = f
	}
	const root = strictjson.Root
	if r.msg.ID == "" {
		r.msg.ID = idOf(r.doc)
	}
	asm.begin(classOf(r.doc))
	a := at{kind: kindOf(asm.class), message: -1, role: RoleAssistant}
	r.path = r.path[:0]
	if !r.isObject(root) {
		if r.isString(root) {
			r.text(a, fText, root)
			return nil
		}
		return r.value(a, field{rule: other, shape: answerShape}, root)
	}
	return r.object(a, answerShape, root)
}

// endStream makes turns of what the stream said.
func (r *reader) endStream(in Input) error {
	asm := r.asm
	r.flush()
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
		r.msg.Stream = true
		r.asm = newAssembler()
		for l := range eventstream.Lines(body) {
			if err := r.chunk(in, body[l.Start:l.End], l.Start, true); err != nil {
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

// frames reads a body of AWS event stream frames.
func (r *reader) frames(in Input, body []byte) error {
	r.msg.Stream = true
	r.asm = newAssembler()
	r.fixed = false // a mask would have to be framed anew
	fr := eventstream.NewFrameReader(body)
	for fr.Next() {
		f := fr.Frame()
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
		payload := body[f.Payload.Start:f.Payload.End]
		if len(payload) == 0 {
			continue
		}
		inner, alone := r.invokeChunk(payload)
		if inner != nil {
			if err := r.chunk(in, inner, 0, false); err != nil {
				return err
			}
		}
		if !alone {
			if err := r.chunk(in, payload, 0, false); err != nil {
				return err
			}
		}
	}
	if fr.Err() != nil {
		return &Error{Malformed, fr.Err().Error()}
	}
	return r.endStream(in)
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
