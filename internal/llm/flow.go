// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"context"
	"slices"

	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A Stream reads an answer while it arrives. Whatever way the bytes are cut,
// after the last one it has found what Read finds in the whole body.
//
// Most answers are read when they are whole. Those that come as an event
// stream are read event by event: they flow. What is still to be scanned of
// such a stream is taken with Window, and what may go out with Take.
//
// A Stream is for one goroutine. It has the bounds of Limits.
type Stream struct {
	ctx      context.Context
	in       Input
	lim      Limits
	label    mediatype.Label
	labelErr error // to be told once the content coding has been taken off
	coding   *contentcoding.Decoder
	window   int // what coding takes

	held    []byte // decoded bytes from offset from on, which have not been taken
	from    int64
	edits   []change // what is to stand in places of held
	changed bool     // something was masked

	framer  framer
	events  eventstream.Reader
	frames  eventstream.FrameReader
	lines   eventstream.LineReader
	r       *reader
	prober  *reader // looks ahead; nil until it has to
	views   []*view // one for each way of choosing among equal names
	read    int64   // where the last unit ends
	tail    int     // where a broken end of lines begins, -1 for nowhere
	broken  error   // what is wrong with it
	units   []unit  // those that no window has covered
	covered int64
	last    *telling
	closed  bool
	err     error
}

// A Unit is the smallest piece of a stream that goes out as a whole: a server's
// event with its blank line, a line of JSON, a binary frame.
type Unit struct {
	// End is where it ends, counted in bytes of the decoded body.
	End int64
	// Chars is how many characters of text to be scanned it brought, 0 for one
	// that says nothing: a ping, a role, an id.
	Chars int
	// Call says that it brought a piece of a tool call which nothing has closed
	// yet, or of a long data URL.
	Call bool
	// Final says that it tells the client that the answer is complete, or comes
	// after one that did.
	Final bool
}

// A Framing is how a stream is divided into units.
type Framing uint8

// The framings.
const (
	Whole  Framing = iota // the answer is not read in pieces
	Events                // server-sent events
	Lines                 // JSON lines
	Frames                // application/vnd.amazon.eventstream
)

// unit is what is kept of a Unit, or of several that say nothing.
type unit struct {
	end   int64
	says  bool
	calls []*openCall // that no unit before it waits for
	final bool
}

// A view reads a stream as parsers do that choose among equal names in one way.
type view struct {
	*reader
	how strictjson.Reading
	err error
}

// NewStream begins to read an answer, of which in holds all but the body. The
// errors are those of Read. A Stream that is given up before Close has to be
// stopped.
func NewStream(ctx context.Context, in Input, lim Limits) (*Stream, error) {
	coding, err := contentcoding.NewDecoder(in.ContentEncoding, lim.coding())
	if err != nil {
		return nil, codingError(err)
	}
	label, err := labelOfType(in)
	if err == nil {
		err = checkType(label)
	}
	if err != nil && in.ContentEncoding == "" {
		return nil, err
	}
	s := &Stream{ctx: ctx, in: in, lim: lim, label: label, labelErr: err, coding: coding, tail: -1, framer: newFramer(in.Leg, label)}
	cs := label.Charset()
	s.framer.never = s.framer.never || err != nil || in.Cut != "" || cs != "" && cs != "utf-8" && cs != "utf8"
	s.in.Body = nil
	s.r = newReader(ctx, &Message{Leg: in.Leg}, lim)
	s.r.arena.chunk = 512
	if s.r.look(); s.r.err != nil {
		s.Stop()
		return nil, s.r.err
	}
	return s, nil
}

// Stop gives the Stream up. It can be called at any time, and more than once.
func (s *Stream) Stop() {
	s.coding.Stop()
	if s.err == nil && !s.closed {
		s.err = context.Canceled
	}
}

// fail ends the reading.
func (s *Stream) fail(err error) error {
	if s.err == nil {
		s.err = err
	}
	s.coding.Stop()
	return s.err
}

// Write takes the next bytes as they came off the wire, and returns the units
// that they complete, in order. p is the caller's. The errors are those of
// ReadContext. After one the Stream reads no more. What is returned beside an
// error was read before it.
func (s *Stream) Write(p []byte) ([]Unit, error) {
	if s.err != nil || s.closed {
		return nil, s.err
	}
	out, err := s.coding.Feed(p)
	if err != nil {
		return nil, s.fail(codingError(err))
	}
	return s.add(out, false)
}

// heldDoubles is up to where what is held doubles as it grows. A stream whose
// events go out has little more, and would be copied several times over. Room
// that is not used yet is not counted, so it has to stay within what is asked
// for at once.
const heldDoubles = growth

// add takes the next decoded bytes; all says that they are the last.
func (s *Stream) add(p []byte, all bool) ([]Unit, error) {
	s.r.take(len(p) + s.coding.Memory() - s.window)
	s.window = s.coding.Memory()
	if len(s.held) < heldDoubles {
		s.held = extra(s.held, len(p))
	}
	s.held = append(s.held, p...)
	if s.r.look(); s.r.err != nil {
		return nil, s.fail(s.r.err)
	}
	doc := strictjson.Borrow()
	defer doc.Return()
	s.r.doc = doc
	defer s.forget()
	if s.framer.framing == Whole {
		if s.framer.look(s.held); s.framer.framing == Whole {
			return nil, nil
		}
		s.r.stream(nil)
		s.r.asm.watch = newWatch()
		s.r.fixed = s.framer.framing != Frames
	}
	units, err := s.drain(all)
	if err != nil {
		return units, s.fail(err)
	}
	return units, nil
}

// forget lets go of what lies in the bytes that are held, which may be taken.
func (s *Stream) forget() {
	at := int(s.from)
	s.events.Feed(nil, at, false)
	s.frames.Feed(nil, at, false)
	s.lines.Feed(nil, at, false)
	r := s.r
	r.doc, r.ready, r.src = nil, nil, nil
	clear(r.path[:cap(r.path)])
	for _, v := range s.views {
		clear(v.path[:cap(v.path)])
	}
}

// drain reads the units that have come.
func (s *Stream) drain(all bool) (units []Unit, err error) {
	from := int(s.from)
	s.r.src, s.r.from = s.held, from
	end := from
	switch s.framer.framing {
	case Events:
		s.events.Feed(s.held, from, all)
		for err == nil && s.events.Next() {
			e := s.events.Event()
			if units, err = s.unit(units, e.End, func(r *reader) { r.probeEvent(e) }, func(r *reader) error { return r.event(s.in, e) }); err != nil {
				return units, err
			}
		}
		if s.events.Err() != nil {
			return units, &Error{Malformed, s.events.Err().Error()}
		}
		end = s.events.Begun()
	case Frames:
		s.frames.Feed(s.held, from, all)
		for s.frames.Next() {
			f := s.frames.Frame()
			if units, err = s.unit(units, f.End, func(r *reader) { r.probeFrame(f) }, func(r *reader) error { return r.frame(s.in, f) }); err != nil {
				return units, err
			}
		}
		if s.frames.Err() != nil {
			return units, &Error{Malformed, s.frames.Err().Error()}
		}
		end = s.frames.Begun()
	case Lines:
		if s.tail >= 0 {
			return nil, nil
		}
		s.lines.Feed(s.held, from, all)
		for s.lines.Next() {
			l := s.lines.Line()
			units, err = s.unit(units, s.lines.Full().End, func(r *reader) { r.probe(r.in(l)) }, func(r *reader) error { return r.jsonLine(s.in, l) })
			if err != nil && s.r.broken && s.r.err == nil {
				s.tail, s.broken = s.lines.Full().Start, err
				return units, nil
			}
			if err != nil {
				return units, err
			}
		}
		end = s.lines.Begun()
	}
	if end > int(s.read) { // blanks between units
		units = s.append(units, Unit{End: int64(end), Final: s.r.asm.final}, false)
	}
	return units, nil
}

// unit reads a unit that ends at end.
func (s *Stream) unit(units []Unit, end int, probe func(*reader), read func(*reader) error) ([]Unit, error) {
	if len(s.views) == 0 {
		if s.doubles(probe) {
			s.split()
		}
	}
	if err := read(s.r); err != nil || s.r.err != nil {
		if s.r.err != nil {
			err = s.r.err // the cause of whatever came of it
		}
		return units, err
	}
	if s.changed && s.r.numbers {
		return units, errTokens // of what was masked, maybe
	}
	u, says := s.r.settle(int64(end))
	for _, v := range s.views {
		if v.err == nil && s.each(v, read) {
			chars, more := v.settle(int64(end))
			if u.Chars == 0 {
				u.Chars = chars.Chars
			}
			u.Call = u.Call || chars.Call
			says = says || more
		}
		if s.r.err != nil {
			return units, s.r.err
		}
		u.Final = u.Final || v.err != nil // what it says is known at the end
	}
	if u.Final {
		s.r.asm.final = true
	}
	return s.append(units, u, says), nil
}

// each has a view read, at the cost of the stream.
func (s *Stream) each(v *view, read func(*reader) error) bool {
	v.doc, v.src, v.from, v.budget = s.r.doc, s.r.src, s.r.from, s.r.budget
	v.err = read(v.reader)
	s.r.budget = v.budget
	v.doc, v.src = nil, nil
	return v.err == nil && s.r.err == nil
}

// append notes a unit.
func (s *Stream) append(units []Unit, u Unit, says bool) []Unit {
	s.read = u.End
	next := unit{end: u.End, says: says, final: u.Final}
	if u.Call {
		next.calls, s.r.asm.waits = s.r.asm.waits, nil
		for _, v := range s.views {
			next.calls, v.asm.waits = append(next.calls, v.asm.waits...), nil
		}
	}
	if n := len(s.units); n > 0 && (u.Final && s.units[n-1].final || !says && !u.Final && !u.Call) {
		s.units[n-1].end = u.End // it says nothing, or waits for the same
	} else {
		s.units = append(s.units, next)
	}
	return append(units, u)
}

// doubles reports whether an object in the next unit has equal names.
func (s *Stream) doubles(probe func(*reader)) bool {
	d := strictjson.Borrow()
	defer d.Return()
	if s.prober == nil {
		s.prober = &reader{maxDepth: s.r.maxDepth, budget: budget{ctx: s.ctx, next: 1 << 62}}
	}
	p := s.prober
	p.msg, p.doc, p.src, p.from, p.ready = s.r.msg, d, s.r.src, s.r.from, nil
	probe(p)
	if p.ready != nil && !p.doubled {
		// What the unit begins with is parsed, so that the reader need not.
		*s.r.doc, *d = *d, *s.r.doc
		s.r.ready = p.ready
	}
	p.doc, p.src, p.ready = nil, nil, nil
	return p.doubled
}

// split begins to read the stream once more for each way of choosing among equal
// names.
func (s *Stream) split() {
	for _, how := range strictjson.Readings {
		s.views = append(s.views, &view{reader: s.r.cloneFor(how), how: how})
	}
}

// probe parses a text, to see whether it has equal names.
func (r *reader) probe(data []byte) {
	if !encloses(data) {
		return
	}
	if r.parse(data) == nil {
		r.ready = data
	} else {
		r.ready = nil
	}
}

// probeEvent parses all that event reads.
func (r *reader) probeEvent(e *eventstream.Event) {
	tried := 0
	for i := 0; i < len(e.Fields); i++ {
		f := e.Fields[i]
		s := r.in(f.Text)
		switch f.Kind {
		case eventstream.NearData:
			r.accepts(s)
		case eventstream.Unknown:
			if i >= tried {
				if _, n := r.bare(e.Fields[i:]); n > 0 {
					i += n - 1
					continue
				}
				tried = len(e.Fields)
			}
			if opensJSON(s) {
				r.probe(s)
			}
		}
	}
	r.ready = nil
	if len(e.Lines) > 1 {
		for _, l := range e.Lines {
			r.probe(r.in(l))
		}
		r.accepts(e.Data)
		r.ready = nil
	} else if len(e.Lines) == 1 {
		r.probe(e.Data)
	}
}

// probeFrame parses all that frame reads.
func (r *reader) probeFrame(f *eventstream.Frame) {
	payload := r.in(f.Payload)
	if len(payload) == 0 {
		return
	}
	if inner, _ := r.invokeChunk(payload); inner != nil {
		r.probe(inner)
	}
	r.probe(payload)
	r.ready = nil
}

// Framing is how the answer flows, Whole while that is not known, and for an
// answer that does not.
func (s *Stream) Framing() Framing { return s.framer.framing }

// Take removes the bytes up to end from what the stream holds, and returns
// them, with their masks. They are decoded.
func (s *Stream) Take(end int64) []byte {
	most := s.read
	if s.closed && s.framer.framing == Whole && end >= most {
		most = s.from + int64(len(s.held)) // a mask may have changed its length
		end = most
	}
	end = min(end, most)
	for _, e := range s.edits {
		if int64(e.start) < end && int64(e.end) > end {
			end = int64(e.start) // no piece of what is masked goes out
		}
	}
	if end <= s.from {
		return nil
	}
	n := int(end - s.from)
	out := s.held[:n:n]
	if s.held = s.held[n:]; len(s.held) == 0 {
		s.held = nil
	} else if cap(s.held) > 4*len(s.held)+4<<10 {
		s.held = slices.Clone(s.held)
	}
	out = s.masked(out, end)
	s.from = end
	s.r.used = max(s.r.used-int64(n), 0)
	if s.r.asm != nil {
		s.r.asm.take(int(end))
	}
	return out
}

// Held is how many bytes it holds that were not taken.
func (s *Stream) Held() int { return len(s.held) }

// Close says that the answer is whole. The Message is what Read returns; of
// units that were taken it has no places. The errors are those of ReadContext.
// The last unit of a stream needs no end: Close may add one more to what Take
// can take.
func (s *Stream) Close() (*Message, error) {
	if s.err != nil || s.closed {
		return nil, s.err
	}
	out, err := s.coding.End()
	if err != nil {
		return nil, s.fail(codingError(err))
	}
	if _, err := s.add(out, true); err != nil {
		return nil, err
	}
	if s.framer.framing == Whole {
		err = s.closeWhole()
	} else {
		err = s.closeFlow()
	}
	if err != nil {
		return nil, s.fail(err)
	}
	s.closed = true
	s.read = s.from + int64(len(s.held))
	return s.r.msg, nil
}

// closeWhole reads an answer that does not flow.
func (s *Stream) closeWhole() error {
	if s.labelErr != nil {
		return s.labelErr
	}
	lim, b := s.lim, &s.r.budget
	lim.Held = max(b.held-b.used, 0)
	in := s.in
	in.ContentEncoding = "" // whose memory has been counted
	m, _, err := readDecoded(s.ctx, in, s.label, s.held, lim)
	if err != nil {
		return err
	}
	s.r.msg = m
	s.last = &telling{msg: m, whole: true}
	return nil
}

// closeFlow ends the reading of an answer that flows.
func (s *Stream) closeFlow() error {
	r := s.r
	r.doc = strictjson.Borrow()
	defer func() { r.doc.Return(); r.doc, r.src = nil, nil }()
	r.src, r.from = s.held, int(s.from)
	r.msg.body = s.held
	if s.tail >= 0 {
		if len(s.views) == 0 {
			s.split() // there is no looking ahead
		}
		if err := s.closeTail(); err != nil {
			return err
		}
	}
	asm := r.asm
	err := r.endStream(s.in)
	flushed := asm.flushed
	err = r.conclude(s.in, err, func(how strictjson.Reading) (*reader, error) {
		v := s.views[slices.IndexFunc(s.views, func(v *view) bool { return v.how == how })]
		if v.err == nil {
			s.each(v, func(v *reader) error { return v.endStream(s.in) })
		}
		v.doc, v.budget = r.doc, r.budget
		return v.reader, v.err
	})
	if err != nil {
		return err
	}
	r.asm = asm
	s.last = s.tell(r.msg, flushed, nil)
	s.rebase()
	return nil
}

// closeTail reads the broken end of a stream of lines.
func (s *Stream) closeTail() error {
	read := func(r *reader) error { return r.tail(s.in, s.held, int(s.from), s.tail, s.broken) }
	if err := read(s.r); err != nil {
		return err
	}
	for _, v := range s.views {
		if v.err == nil {
			s.each(v, read)
		}
	}
	return s.r.err
}

// rebase makes the places of the Message those in the bytes that are held, and
// takes them from turns of which nothing is held.
func (s *Stream) rebase() {
	m := s.r.msg
	if s.from == 0 && len(s.edits) == 0 {
		return
	}
	m.partial = true
	for i := range m.Turns {
		if t := &m.Turns[i]; t.Maskable && !s.holds(i) {
			t.Maskable = false
		}
	}
}
