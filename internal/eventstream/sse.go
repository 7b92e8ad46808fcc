// SPDX-License-Identifier: Apache-2.0

// Package eventstream reads the three framings in which models stream their
// answers: server-sent events (WHATWG HTML, section 9.2), JSON lines, and the
// binary frames of application/vnd.amazon.eventstream.
//
// The readers are pure. They take a whole body, copy only what they must, and
// say where in the body each piece lies, so that a text can be replaced and all
// other bytes kept. What they return is complete: every byte of an accepted
// body is framing, or lies in a piece that is handed out.
package eventstream

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// The errors of Reader. Their texts are fixed and quote nothing.
var (
	// ErrNotUTF8 means that the stream is not UTF-8, the only charset that
	// server-sent events have. Clients put replacement characters there, so
	// what they show is not what was scanned.
	ErrNotUTF8 = errors.New("event stream is not UTF-8")
	// ErrAmbiguousLines means that clients in use divide the stream into
	// different lines, such that one of them finds content where others see
	// none.
	ErrAmbiguousLines = errors.New("event stream has lines that clients read differently")
	// ErrTooManyLines means that one event has more than 100,000 lines. With
	// the shortest lines, their list takes many times the memory of the body.
	ErrTooManyLines = errors.New("event stream has an event of too many lines")
)

const maxLines = 100_000

// A Span is the range of bytes from Start up to, not including, End.
type Span struct{ Start, End int }

// In returns the bytes of the span in b.
func (s Span) In(b []byte) []byte { return b[s.Start:s.End:s.End] }

// A FieldKind says what a line other than a data line is.
type FieldKind uint8

// The kinds of fields.
const (
	Comment   FieldKind = iota // ": text"
	EventName                  // "event: name"
	EventID                    // "id: value"
	Retry                      // "retry: value"
	// NearData is a line that the standard ignores, but that a careless
	// client takes for data: "Data: x", " data: x", "data : x".
	NearData
	// Unknown is any other line. Clients ignore it; someone may show it.
	Unknown
)

// A Field is a line of an event that is not a data line.
type Field struct {
	Kind FieldKind
	// Text is what the line says: what follows the colon, without one
	// leading space, or the whole line of an Unknown field.
	Text Span
}

// An Event is a run of lines up to a blank line or the end of the stream. It
// may have no data: a comment alone is an event too.
type Event struct {
	// Span is the whole event with its blank line.
	Span
	// Name is the event's name, nil when it has none.
	Name []byte
	// ID is what the event sets the last event id to, nil when it does not.
	ID []byte
	// Data is the values of the data lines joined by line feeds. It is a
	// piece of the body when there is one data line, and nil without any.
	Data []byte
	// Lines says where each data line's value lies. Many clients handle
	// every data line by itself, so that each can be a message of its own.
	Lines []Span
	// Fields holds every other line, in order, including those that Name and ID
	// come from and those that a later line overrides.
	Fields []Field
}

// Offset returns where in the body the byte i of Data lies. The line feeds that
// join lines lie where a line's value ends. It needs 0 <= i <= len(Data) and an
// event with data.
func (e *Event) Offset(i int) int {
	for _, l := range e.Lines {
		if l.Start+i <= l.End {
			return l.Start + i
		}
		i -= l.End - l.Start + len("\n")
	}
	panic("eventstream: offset outside of the event's data")
}

// A Reader reads the events of a stream in order. The last event needs no blank
// line, and the last line needs no end: browsers drop such an event, the
// clients of models show it.
type Reader struct {
	body    []byte
	pos     int
	lf      int  // where the next LF at or after pos is, len(body) if nowhere
	afterCR bool // the line before this one ended in a CR without LF
	event   Event
	joined  []byte
	err     error
}

// NewReader returns a Reader for a whole stream.
func NewReader(body []byte) *Reader {
	r := &Reader{body: body, lf: -1}
	if !utf8.Valid(body) {
		r.err = ErrNotUTF8
		return r
	}
	r.pos = len(bom(body))
	return r
}

var utf8BOM = []byte("\uFEFF")

// bom returns the byte order mark in front of body, of which clients drop one.
func bom(body []byte) []byte {
	if bytes.HasPrefix(body, utf8BOM) {
		return body[:len(utf8BOM)]
	}
	return nil
}

// Next reads the next event. It returns false at the end and on an error.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	e := &r.event
	*e = Event{Lines: e.Lines[:0], Fields: e.Fields[:0]}
	for started := false; ; {
		start := r.pos
		line, ok := r.line()
		switch {
		case r.err != nil:
			return false
		case !ok && !started:
			return false
		case !ok, line.Start == line.End && started:
			e.End = r.pos
			r.join()
			return true
		case line.Start == line.End: // blank lines between events say nothing
			continue
		}
		if !started {
			started, e.Start = true, start
		}
		if len(e.Lines)+len(e.Fields) == maxLines {
			r.err = ErrTooManyLines
			return false
		}
		r.field(line)
	}
}

// Event is the event that Next read. It is valid until the next call of Next.
func (r *Reader) Event() *Event { return &r.event }

// Err is the error that ended the reading, nil at the end of the stream.
func (r *Reader) Err() error { return r.err }

// line reads the next line: up to LF, CRLF, CR, or the end of the body.
func (r *Reader) line() (Span, bool) {
	if r.pos >= len(r.body) {
		return Span{}, false
	}
	if r.lf < r.pos {
		// Remembered, because searching it for each line of a stream with CR
		// alone would take quadratic time.
		if i := bytes.IndexByte(r.body[r.pos:], '\n'); i >= 0 {
			r.lf = r.pos + i
		} else {
			r.lf = len(r.body)
		}
	}
	l := Span{r.pos, r.lf}
	if i := bytes.IndexByte(r.body[r.pos:r.lf], '\r'); i >= 0 {
		l.End = r.pos + i
	}
	afterCR := r.afterCR
	r.afterCR = l.End < r.lf && l.End+1 != r.lf
	switch {
	case l.End == len(r.body):
		r.pos = l.End
	case l.End == r.lf:
		r.pos = l.End + 1
	case l.End+1 == r.lf && r.lf < len(r.body):
		r.pos = l.End + 2
	default:
		r.pos = l.End + 1
	}
	if ambiguous(l.In(r.body), afterCR) {
		r.err = ErrAmbiguousLines
		return Span{}, false
	}
	return l, true
}

// field sorts a line into the event.
func (r *Reader) field(l Span) {
	e := &r.event
	line := l.In(r.body)
	name, value := line, Span{l.End, l.End}
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value.Start = line[:i], l.Start+i+1
		if value.Start < l.End && r.body[value.Start] == ' ' {
			value.Start++
		}
	}
	switch string(name) {
	case "data":
		e.Lines = append(e.Lines, value)
	case "":
		e.Fields = append(e.Fields, Field{Comment, value})
	case "event":
		e.Name = value.In(r.body)
		e.Fields = append(e.Fields, Field{EventName, value})
	case "id":
		if id := value.In(r.body); bytes.IndexByte(id, 0) < 0 {
			e.ID = id
		}
		e.Fields = append(e.Fields, Field{EventID, value})
	case "retry":
		e.Fields = append(e.Fields, Field{Retry, value})
	default:
		if isNearData(name) {
			e.Fields = append(e.Fields, Field{NearData, value})
		} else {
			e.Fields = append(e.Fields, Field{Unknown, l})
		}
	}
}

// isNearData reports whether a careless client takes a field's name for "data".
func isNearData(name []byte) bool {
	return bytes.EqualFold(bytes.TrimSpace(bytes.TrimPrefix(name, utf8BOM)), []byte("data"))
}

// join makes the event's data from its lines.
func (r *Reader) join() {
	e := &r.event
	switch len(e.Lines) {
	case 0:
	case 1:
		e.Data = e.Lines[0].In(r.body)
	default:
		r.joined = r.joined[:0]
		for i, l := range e.Lines {
			if i > 0 {
				r.joined = append(r.joined, '\n')
			}
			r.joined = append(r.joined, l.In(r.body)...)
		}
		e.Data = r.joined
	}
}
