// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"encoding/base64"
	"strconv"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Told is what has gone out of a stream, as far as whoever goes on with it in the
// model's place has to know. It takes no more memory for a longer stream.
type Told struct {
	asked *Asked
	// begun says that the answer's first event has gone out.
	begun bool
	// open is the block that has begun and not ended, counted from 1; 0 for
	// none. sealed says that it is one which only the API can end: a thought
	// without its signature is refused when it comes back. next is the number of
	// the next.
	open, next int
	sealed     bool
	// sequence is the number of the next event, where events have one.
	sequence int
	// called says that a call of a tool has gone out. A turn that ends without
	// waiting for its result is refused when it comes back, and one that waits
	// would have a call run that belongs to a blocked answer.
	called bool
	// lost says that something went out that could not be read.
	lost bool
}

// endable reports whether the stream can be ended as a turn.
func (t *Told) endable() bool {
	return t != nil && !t.lost && !t.called && (t.open == 0 || !t.sealed)
}

// NewTold returns what is told of an answer of which nothing has gone out. It is
// nil for a request that no turn of a model answers.
func NewTold(a *Asked) *Told {
	if !a.Answerable() {
		return nil
	}
	return &Told{asked: a}
}

// maxBlock is the largest number of a block, or of an event, with which a stream
// can be gone on with. It is far beyond any that a model gives.
const maxBlock = 1 << 24

// toldDepth is the deepest nesting of an event that is read.
const toldDepth = 64

// Note notes what goes out: whole units of a stream of this framing.
func (t *Told) Note(f Framing, units []byte) {
	if t == nil || t.lost {
		return
	}
	switch f {
	case Lines:
		for line := range bytes.Lines(units) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				t.event("", line)
			}
		}
	case Events:
		r := eventstream.NewReader(units)
		for r.Next() {
			if e := r.Event(); len(e.Data) > 0 {
				t.event("", e.Data)
			}
		}
		t.lost = t.lost || r.Err() != nil
	case Frames:
		r := eventstream.NewFrameReader(units)
		for r.Next() {
			t.frame(r.Frame(), units)
		}
		t.lost = t.lost || r.Err() != nil
	}
}

func (t *Told) frame(f *eventstream.Frame, units []byte) {
	name := ""
	for _, h := range f.Headers {
		if string(h.Name) == ":event-type" {
			name = string(h.Value)
		}
	}
	if !t.asked.Carried {
		t.event(name, f.Payload.In(units))
		return
	}
	d := strictjson.Borrow()
	defer d.Return()
	if d.ParseLenient(f.Payload.In(units), toldDepth) != nil || d.Kind(strictjson.Root) != strictjson.Object {
		t.lost = true
		return
	}
	v := d.Member(strictjson.Root, "bytes")
	if v < 0 || d.Kind(v) != strictjson.String {
		return
	}
	data, err := base64.StdEncoding.DecodeString(string(d.Bytes(v)))
	if err != nil {
		t.lost = true
		return
	}
	t.event("", data)
}

// event notes one event. Its name is its type where it has none of its own.
func (t *Told) event(name string, data []byte) {
	if string(data) == lastEvent {
		return
	}
	d := strictjson.Borrow()
	defer d.Return()
	if d.ParseLenient(data, toldDepth) != nil || d.Kind(strictjson.Root) != strictjson.Object || d.Doubled() {
		t.lost = true
		return
	}
	t.called = t.called || calls(d)
	if v := d.Member(strictjson.Root, "type"); name == "" && v >= 0 && d.Kind(v) == strictjson.String {
		name = string(d.Bytes(v))
	}
	switch name {
	case "message_start", "messageStart", "message-start", "response.created":
		t.begun = true
	case "content_block_start":
		t.opens(d, "index")
		t.sealed = member(d, "content_block", "type") != "text"
	case "content-start":
		t.opens(d, "index")
		t.sealed = false
	case "contentBlockDelta":
		t.opens(d, "contentBlockIndex")
		delta := d.Member(strictjson.Root, "delta")
		t.sealed = delta < 0 || d.Member(delta, "text") < 0
	case "content_block_stop", "contentBlockStop", "content-end":
		t.open = 0
	case "response.output_item.added":
		t.opens(d, "output_index")
	}
	if t.asked.Format == OpenAIResponses {
		if n, ok := t.number(d, "sequence_number"); ok {
			t.sequence = max(t.sequence, n+1)
		}
	}
}

// opens notes that a block has begun.
func (t *Told) opens(d *strictjson.Doc, name string) {
	if n, ok := t.number(d, name); ok {
		t.open, t.next = n+1, max(t.next, n+1)
	}
}

func (t *Told) number(d *strictjson.Doc, name string) (n int, ok bool) {
	v := d.Member(strictjson.Root, name)
	if v < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(d.Raw(v)))
	if err != nil || n < 0 || n > maxBlock {
		t.lost = true
		return 0, false
	}
	return n, true
}

// member returns a string in an object in the root, "" if there is none.
func member(d *strictjson.Doc, object, name string) string {
	v := d.Member(strictjson.Root, object)
	if v < 0 || d.Kind(v) != strictjson.Object {
		return ""
	}
	if v = d.Member(v, name); v < 0 || d.Kind(v) != strictjson.String {
		return ""
	}
	return string(d.Bytes(v))
}

// calls reports whether there is a call of a tool in an event: a member that
// holds one, or a part of such a type.
func calls(d *strictjson.Doc) bool {
	for v := range d.Len() {
		switch string(d.Name(v)) {
		case "tool_calls", "tool_call_delta", "function_call", "functionCall", "toolUse", "executableCode":
			if d.Kind(v) != strictjson.Null && (d.Kind(v) != strictjson.Array || d.First(v) < d.Next(v)) {
				return true
			}
		case "type":
			if d.Kind(v) == strictjson.String && callType(d.Bytes(v)) {
				return true
			}
		}
	}
	return false
}

// callType reports whether an item or part of such a type is a call, as
// "tool_use", "mcp_tool_use", "tool-call-start" and "function_call" are, or one
// that waits for somebody's leave.
func callType(t []byte) bool {
	return string(t) == "mcp_approval_request" || bytes.HasSuffix(t, []byte("tool_use")) || bytes.HasSuffix(t, []byte("_call")) || bytes.HasPrefix(t, []byte("tool-call"))
}
