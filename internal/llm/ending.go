// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"unicode/utf8"
)

// RenderEnding writes what ends a stream after some of it has gone out, in the
// form in which the API's clients raise an error: the last event, line or frame
// of the stream, or several where it takes more to tell them. It follows a whole
// unit. id is the answer's own id, "" if it is not known. It is nil for Whole,
// of which nothing has gone out: see Render.
//
// An event stream of no known API ends with an event called "error". Some
// clients ignore that, so its connection has to be cut.
//
// A refusal with Asked ends the stream as the model's last words, where what Told
// says allows it.
func RenderEnding(r Refusal, f Framing, id string) []byte {
	if r.Asked != nil && f != Whole {
		if out := endTurn(&r, f, id); out != nil {
			return out
		}
		r.Asked = nil
	}
	end := endNamed
	switch {
	case f == Whole:
		return nil
	case f == Frames:
		return exceptionFrame(&r)
	case r.RPC != nil:
		end = endRPC
	default:
		if a := known.api(r.Format); a != nil && a.end != nil {
			end = a.end
		}
	}
	_, body := Render(r)
	return end(&r, body, f, id)
}

// endNamed ends a stream with the refusal, in an event that is called "error".
func endNamed(_ *Refusal, body []byte, f Framing, _ string) []byte { return framed(f, "error", body) }

// framed writes JSON as a line, or as an event; an event without a name if name
// is "".
func framed(f Framing, name string, data []byte) []byte {
	data = oneLine(data)
	if f == Lines {
		return append(data, '\n')
	}
	var out []byte
	if name != "" {
		out = append(append(append(out, "event: "...), name...), '\n')
	}
	return append(append(append(out, "data: "...), data...), "\n\n"...)
}

// oneLine writes JSON without the line ends that stood between its values, and
// with escapes for the characters that only some clients take for line ends.
func oneLine(data []byte) []byte {
	out := make([]byte, 0, len(data)+len("\n"))
	for len(data) > 0 {
		c, n := utf8.DecodeRune(data)
		switch c {
		case '\r', '\n':
			out = append(out, ' ')
		case '\u0085':
			out = append(out, `\u0085`...)
		case '\u2028':
			out = append(out, `\u2028`...)
		case '\u2029':
			out = append(out, `\u2029`...)
		default:
			out = append(out, data[:n]...)
		}
		data = data[n:]
	}
	return bytes.TrimSpace(out)
}
