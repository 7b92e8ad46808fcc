// SPDX-License-Identifier: Apache-2.0

// Package eventstream reads the three framings in which models stream their
// answers: server-sent events (WHATWG HTML, section 9.2), JSON lines, and the
// binary frames of application/vnd.amazon.eventstream.
//
// The readers are pure. They are fed a body as it comes, copy only what they
// must, and say where in the body each piece lies, so that a text can be
// replaced and all other bytes kept. What they return is complete: every byte of an accepted
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

// A Reader reads the events of a stream in order, as the stream arrives. The
// last event needs no blank line, and the last line needs no end: browsers drop
// such an event, the clients of models show it.
//
// Whatever way the stream is cut, the events and the error are the same, and no
// byte of a line is looked at twice for the line's end. An event is handed out
// once all of its lines are known to be sound.
type Reader struct {
	body []byte // the stream from offset at on, as far as it is there
	at   int
	all  bool // nothing follows body

	begun   bool // the byte order mark was looked for
	pos     int  // where the next line begins
	lf      int  // where the next LF at or after pos is; where the search ended if there is none
	cr      int  // up to where the next line has no CR
	afterCR bool // the line before this one ended in a CR without LF
	open    bool // event has begun and not ended
	event   Event
	name    Span // of event, where it has them
	id      Span
	hasName bool
	hasID   bool
	joined  []byte
	err     error
}

// NewReader returns a Reader for a whole stream.
func NewReader(body []byte) *Reader {
	r := new(Reader)
	r.Feed(body, 0, true)
	return r
}

// Feed hands the Reader the stream from offset at on, as far as it has come;
// all says that it has come to its end. at may not be beyond Begun. The bytes
// have to stay as they are until the next Feed. The zero Reader can be fed.
func (r *Reader) Feed(body []byte, at int, all bool) {
	r.body, r.at, r.all = body, at, all
	r.event.Name, r.event.ID, r.event.Data = nil, nil, nil // what they lie in need not be kept
}

// Begun is the offset from which on the Reader still needs the stream: where
// the first event begins that Next has not returned.
func (r *Reader) Begun() int {
	if r.open {
		return r.event.Start
	}
	return r.pos
}

// in returns the bytes of a span of the stream.
func (r *Reader) in(s Span) []byte { return r.body[s.Start-r.at : s.End-r.at : s.End-r.at] }

var utf8BOM = []byte("\uFEFF")

// bom returns the byte order mark in front of body, of which clients drop one.
func bom(body []byte) []byte {
	if bytes.HasPrefix(body, utf8BOM) {
		return body[:len(utf8BOM)]
	}
	return nil
}

// Next reads the next event. It returns false at the end, on an error, and
// where the rest of the event has not come yet.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	if !r.begun {
		if len(r.body) < len(utf8BOM) && !r.all && bytes.HasPrefix(utf8BOM, r.body) {
			return false
		}
		r.begun, r.pos = true, len(bom(r.body))
	}
	e := &r.event
	if !r.open {
		*e = Event{Lines: e.Lines[:0], Fields: e.Fields[:0]}
		r.hasName, r.hasID = false, false
	}
	for {
		start := r.pos
		line, ok := r.line()
		switch {
		case r.err != nil, !ok && (!r.open || !r.all):
			return false
		case !ok, line.Start == line.End && r.open:
			e.End, r.open = r.pos, false
			r.join()
			return true
		case line.Start == line.End: // blank lines between events say nothing
			continue
		}
		if !r.open {
			r.open, e.Start = true, start
		}
		if len(e.Lines)+len(e.Fields) == maxLines {
			r.err = ErrTooManyLines
			return false
		}
		r.field(line)
	}
}

// Event is the event that Next read. It is valid until the next call of Next or
// Feed.
func (r *Reader) Event() *Event { return &r.event }

// Err is the error that ended the reading, nil at the end of the stream and
// where more of it is to come.
func (r *Reader) Err() error { return r.err }

// line reads the next line: up to LF, CRLF, CR, or the end of the stream.
func (r *Reader) line() (Span, bool) {
	end := r.at + len(r.body)
	if r.pos >= end {
		return Span{}, false
	}
	// What was searched is remembered, because searching it again for each line
	// of a stream with CR alone, or for each piece of a line, would take
	// quadratic time.
	if r.lf < r.pos {
		r.lf = r.pos
	}
	found := r.lf < end && r.body[r.lf-r.at] == '\n'
	if !found {
		if i := bytes.IndexByte(r.body[r.lf-r.at:], '\n'); i >= 0 {
			found, r.lf = true, r.lf+i
		} else {
			r.lf = end
		}
	}
	l := Span{r.pos, r.lf}
	from := max(r.pos, r.cr)
	cr := false
	if from < r.lf {
		if i := bytes.IndexByte(r.body[from-r.at:r.lf-r.at], '\r'); i >= 0 {
			cr, l.End = true, from+i
		}
	}
	r.cr = l.End
	if !r.all && (!cr && !found || cr && l.End+1 == end) {
		return Span{}, false // the line goes on, or an LF follows its CR
	}
	text := r.in(l)
	if !utf8.Valid(text) {
		r.err = ErrNotUTF8
		return Span{}, false
	}
	afterCR := r.afterCR
	r.afterCR = false
	switch {
	case cr && found && l.End+1 == r.lf:
		r.pos = l.End + 2
	case cr:
		r.pos = l.End + 1
		r.afterCR = r.pos < end
	case found:
		r.pos = l.End + 1
	default:
		r.pos = l.End
	}
	r.cr = r.pos
	if ambiguous(text, afterCR) {
		r.err = ErrAmbiguousLines
		return Span{}, false
	}
	return l, true
}

// field sorts a line into the event.
func (r *Reader) field(l Span) {
	e := &r.event
	line := r.in(l)
	name, value := line, Span{l.End, l.End}
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value.Start = line[:i], l.Start+i+1
		if value.Start < l.End && line[i+1] == ' ' {
			value.Start++
		}
	}
	switch string(name) {
	case "data":
		e.Lines = append(e.Lines, value)
	case "":
		e.Fields = append(e.Fields, Field{Comment, value})
	case "event":
		r.name, r.hasName = value, true
		e.Fields = append(e.Fields, Field{EventName, value})
	case "id":
		if bytes.IndexByte(r.in(value), 0) < 0 {
			r.id, r.hasID = value, true
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

// join makes the event's name, id and data from its lines.
func (r *Reader) join() {
	e := &r.event
	if r.hasName {
		e.Name = r.in(r.name)
	}
	if r.hasID {
		e.ID = r.in(r.id)
	}
	switch len(e.Lines) {
	case 0:
	case 1:
		e.Data = r.in(e.Lines[0])
	default:
		r.joined = r.joined[:0]
		for i, l := range e.Lines {
			if i > 0 {
				r.joined = append(r.joined, '\n')
			}
			r.joined = append(r.joined, r.in(l)...)
		}
		e.Data = r.joined
	}
}
