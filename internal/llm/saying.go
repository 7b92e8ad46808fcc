// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A Stamp is what tells one answer of ours from another.
type Stamp struct {
	// ID is what its ids are made of: letters and digits, which nobody can
	// guess.
	ID string
	At time.Time
}

// NewStamp returns a Stamp that no other answer has.
func NewStamp() Stamp {
	var b [12]byte
	_, _ = rand.Read(b[:]) // it never fails
	return Stamp{ID: hex.EncodeToString(b[:]), At: time.Now()}
}

// Answerable reports whether RenderTurn writes an answer to such a request. It
// is false for nil.
func (a *Asked) Answerable() bool { return voiceOf(a) != nil }

func voiceOf(a *Asked) *voice {
	if a == nil {
		return nil
	}
	if api := known.api(a.Format); api != nil {
		return api.voice
	}
	return nil
}

// framing is that in which the answer is wanted, Whole also where the API
// streams in another way. Gemini streams events only where it is told so.
func (r *Refusal) framing() Framing {
	v := voiceOf(r.Asked)
	switch {
	case v == nil || !r.Asked.Stream || r.Asked.Format == Gemini && !r.Events:
		return Whole
	case r.Asked.Carried:
		return Frames
	case r.Asked.Format == Cohere && r.Asked.First:
		return Lines
	}
	return v.framing
}

// renderTurn writes a refusal as what the model says, whole or as the stream
// that was asked for.
//
// It ends as any turn does, and with nothing that an API calls a refusal or a
// filter: Claude Code gives a session up over the stop reason "refusal", and the
// helpers of OpenAI's clients raise an error over "content_filter". It has no
// member that the API does not know, since some clients accept none.
func renderTurn(r *Refusal) (contentType string, body []byte) {
	v, f := voiceOf(r.Asked), r.framing()
	s := saying{Refusal: r, framing: f, told: Told{asked: r.Asked}}
	if f == Whole {
		v.whole(&s)
		if r.Asked.Format == Gemini && r.Asked.Stream {
			s.out = append(append([]byte{'['}, s.out...), ']')
		}
	} else {
		v.flow(&s)
	}
	return [...]string{
		Whole: "application/json", Events: "text/event-stream", Lines: "application/x-ndjson", Frames: "application/vnd.amazon.eventstream",
	}[f], s.out
}

// endTurn ends a stream of which some has gone out with the refusal, as the
// model's last words. It is nil where it is not known how.
func endTurn(r *Refusal, f Framing, id string) []byte {
	v := voiceOf(r.Asked)
	if v == nil || f != r.framing() || !r.Told.endable() || r.Told.asked != r.Asked {
		return nil
	}
	s := saying{Refusal: r, framing: f, told: *r.Told, cut: true}
	if isIdent([]byte(id)) {
		s.known = id
	}
	v.flow(&s)
	return s.out
}

// A saying is a refusal being said in the model's place.
type saying struct {
	*Refusal
	framing Framing
	// told is what has gone out before it. cut says that the answer had begun,
	// and known is its id then, "" if that is not known.
	told  Told
	cut   bool
	known string
	out   []byte
}

// id returns the answer's id.
func (s *saying) id(prefix string) string {
	if s.known != "" {
		return s.known
	}
	return prefix + s.Stamp.ID
}

// words are what a text that has begun goes on with.
func (s *saying) words() string {
	if s.cut {
		return "\n\n" + s.Message
	}
	return s.Message
}

// event writes one event of a stream: a line, or a frame, where it flows so.
func (s *saying) event(name string, o *object) {
	data := o.end()
	switch {
	case s.framing != Frames:
		s.out = append(s.out, framed(s.framing, name, data)...)
	case s.Asked.Carried:
		chunk := object{}
		chunk.str("bytes", base64.StdEncoding.EncodeToString(data))
		s.out = appendEventFrame(s.out, "chunk", chunk.end())
	default:
		s.out = appendEventFrame(s.out, name, data)
	}
}

func appendEventFrame(dst []byte, event string, payload []byte) []byte {
	return eventstream.AppendFrame(dst, [][2]string{
		{":event-type", event}, {":content-type", "application/json"}, {":message-type", "event"},
	}, payload)
}

// list writes an array of objects.
func (o *object) list(name string, n int, each func(i int, o *object)) {
	all := []byte{'['}
	for i := range n {
		if i > 0 {
			all = append(all, ',')
		}
		e := object{}
		each(i, &e)
		all = append(all, e.end()...)
	}
	o.raw(name, string(append(all, ']')))
}

// text writes a string that stays even if it is empty.
func (o *object) text(name, value string) {
	o.raw(name, string(strictjson.AppendQuote(nil, value)))
}

func (o *object) number(name string, n int64) { o.raw(name, strconv.FormatInt(n, 10)) }
