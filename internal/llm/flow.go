// SPDX-License-Identifier: Apache-2.0

package llm

import "context"

// A Stream reads an answer while it arrives. Whatever way the bytes are cut,
// after the last one it has found what Read finds in the whole body.
//
// Most answers are read when they are whole. Those that come as an event
// stream are read event by event: they flow. What is still to be scanned of
// such a stream is taken with Window, and what may go out with Take.
//
// A Stream is for one goroutine. It has the bounds of Limits.
type Stream struct{}

// A Unit is the smallest piece of a stream that goes out as a whole: a server's
// event with its blank line, a line of JSON, a binary frame.
type Unit struct {
	// End is where it ends, counted in bytes of the decoded body.
	End int64
	// Chars is how many characters of text to be scanned it brought, 0 for one
	// that says nothing: a ping, a role, an id.
	Chars int
	// Call says that it brought a piece of a tool call which nothing has closed
	// yet.
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

// NewStream begins to read an answer, of which in holds all but the body. The
// errors are those of Read.
func NewStream(ctx context.Context, in Input, lim Limits) (*Stream, error) { return &Stream{}, nil }

// Write takes the next bytes as they came off the wire, and returns the units
// that they complete, in order. p is the caller's. The errors are those of
// ReadContext. After one the Stream reads no more.
func (s *Stream) Write(p []byte) ([]Unit, error) { return nil, nil }

// Framing is how the answer flows, Whole while that is not known, and for an
// answer that does not.
func (s *Stream) Framing() Framing { return Whole }

// Window returns what the stream has said since the last Window, each text with
// up to context characters of what came before it in the same text, and where
// the last unit ends that is said with it. Tool calls stand in the Window in
// which they are whole. It is nil when nothing new was said up to there. What it returns counts
// as said from now on.
func (s *Stream) Window(context int) (m *Message, end int64) { return nil, 0 }

// Mask puts texts in place of turns of the last Window. The error is
// ErrNotCertain: a text would change where it has gone out already, or its
// place is not certain.
func (s *Stream) Mask(rs []Replacement) error { return ErrNotCertain }

// Take removes the bytes up to end from what the stream holds, and returns
// them, with their masks. They are decoded.
func (s *Stream) Take(end int64) []byte { return nil }

// Held is how many bytes it holds that were not taken.
func (s *Stream) Held() int { return 0 }

// Close says that the answer is whole. The Message is what Read returns; of
// units that were taken it has no places. The errors are those of ReadContext.
// The last unit of a stream needs no end: Close may add one more to what Take
// can take.
func (s *Stream) Close() (*Message, error) { return nil, nil }
