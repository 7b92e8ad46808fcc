// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// flowing returns how a body flows, Whole if it does not. The body is no JSON as
// a whole.
func flowing(leg Leg, label mediatype.Label, body []byte) Framing {
	if leg != ResponseLeg {
		if label.Type == framesType && eventstream.LooksLikeFrames(body) {
			return Frames
		}
		return Whole
	}
	f := newFramer(leg, label)
	f.look(body)
	return f.framing
}

// A framer finds out how an answer flows, as it arrives. Once it says more than
// Whole, nothing that may follow would make Read take the answer for something
// else. So what it can tell from the beginning of an answer decides.
type framer struct {
	framing  Framing
	never    bool // the answer does not flow, whatever comes
	label    mediatype.Label
	looker   eventstream.Looker
	blank    int // how many blanks it begins with, or the part that was looked at
	lead     int // where its first line begins, what is around it left out
	line     int // where the first line of what begins as JSON ends, 0 for not known
	searched int // up to where nothing else is to be found
}

// newFramer returns a framer for bodies with a label.
func newFramer(leg Leg, label mediatype.Label) framer {
	return framer{label: label, never: leg != ResponseLeg || label.Type == formType || bytes.HasPrefix([]byte(label.Type), []byte("multipart/"))}
}

// look takes the body as far as it has come.
func (f *framer) look(body []byte) {
	if f.never || f.framing != Whole {
		return
	}
	if f.blank == 0 && bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		f.blank = 3
	}
	for f.blank < len(body) && firstByte(body[f.blank:f.blank+1]) == 0 && body[f.blank] != 0 {
		f.blank++
	}
	var first byte
	if f.blank < len(body) {
		first = body[f.blank]
	}
	switch {
	case first == 0 && len(body) < frameHead:
		return // blanks, or the beginning of a frame
	case len(body) >= frameHead && body[0] == 0 && eventstream.LooksLikeFrames(body):
		f.framing = Frames // a length of less than 16 MiB, and no JSON
		return
	}
	if beginsJSON(first) || first == recordMark {
		f.lookForLines(body)
		return
	}
	f.looker.Look(body)
	if f.looker.Data || f.looker.Begins && f.label.Type == eventsType {
		f.framing = Events
	}
}

const (
	frameHead  = 16   // bytes by which a frame is known
	recordMark = 0x1e // in front of each text of a JSON sequence
)

// beginsJSON reports whether a JSON value may begin with c.
func beginsJSON(c byte) bool {
	return c == '{' || c == '[' || c == '"' || c == '-' || c == 't' || c == 'f' || c == 'n' || isDigit(c)
}

// lookForLines looks for JSON lines: once the second one begins, no JSON value
// and no indented one can come of it.
func (f *framer) lookForLines(body []byte) {
	if f.label.Type == eventsType {
		f.never = true // as a whole
		return
	}
	if f.line == 0 {
		f.lead = f.skip(body, max(f.blank, f.lead))
		from := max(f.lead, f.searched)
		i := bytes.IndexByte(body[from:], '\n')
		if i < 0 {
			f.searched = len(body)
			return
		}
		f.line, f.searched = from+i+1, from+i+1
	}
	if f.searched = f.skip(body, f.searched); f.searched == len(body) {
		return
	}
	if f.never = !eventstream.LooksLikeLines(body); !f.never {
		f.framing = Lines
	}
}

// skip returns where what stands around JSON lines ends, from an offset on.
func (f *framer) skip(body []byte, from int) int {
	for from < len(body) && (body[from] <= ' ' && firstByte(body[from:from+1]) == 0 && body[from] != 0 || body[from] == recordMark) {
		from++
	}
	return from
}
