// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"unsafe"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Streams that an upstream breaks off with an error of its own. The error comes
// after what was sent before, outside its framing. Clients show it, so it is
// read like everything else.

// endInError returns the places of the objects of a body that is not JSON as a
// whole: objects one after the other, in an array that may or may not be
// closed, the last of which is an error. It returns nil for all else.
func (r *reader) endInError(body []byte) (values []eventstream.Span) {
	if !bytes.Contains(body, []byte(`"error"`)) {
		return nil
	}
	for pos := 0; pos < len(body); {
		switch body[pos] {
		case ' ', '\t', '\r', '\n', ',', '[', ']':
			pos++
		case '{':
			n := objectLen(body[pos:])
			r.step(n)
			r.take(2 * int(unsafe.Sizeof(eventstream.Span{})))
			if n == 0 || r.err != nil {
				return nil
			}
			values = append(extra(values, 1), eventstream.Span{Start: pos, End: pos + n})
			pos += n
		default:
			return nil
		}
	}
	if len(values) == 0 {
		return nil
	}
	last := values[len(values)-1]
	if r.parse(last.In(body)) != nil || r.doc.Member(strictjson.Root, "error") < 0 {
		return nil
	}
	return values
}

// objectLen returns the length of the object at the start of b, 0 if it has no
// end. The parser says whether it is sound.
func objectLen(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// encloses reports whether a text begins and ends as one JSON value does. It
// spares the parser what is not a value, since a stream can have many lines.
func encloses(s []byte) bool {
	if s = bytes.TrimSpace(s); len(s) == 0 {
		return false
	}
	switch last := s[len(s)-1]; s[0] {
	case '{', '[':
		return last == s[0]+2
	case '"':
		return last == '"' && len(s) > 1
	case 't', 'f', 'n':
		return len(s) <= len("false")
	default:
		return (s[0] == '-' || isDigit(s[0])) && isDigit(last)
	}
}

// values reads the values of a broken stream.
func (r *reader) values(in Input, body []byte, values []eventstream.Span) error {
	r.stream(body)
	if err := r.objects(in, body, 0, values); err != nil {
		return err
	}
	return r.endStream(in)
}

// objects reads values, which lie in body, which begins at offset at.
func (r *reader) objects(in Input, body []byte, at int, values []eventstream.Span) error {
	for _, v := range values {
		r.seen = at + v.End
		if err := r.chunk(in, v.In(body), at+v.Start, true); err != nil {
			return err
		}
	}
	return nil
}

// bare returns the lines from fields[0] on that follow each other in the body
// and together are one JSON value: something that stands in a stream without a
// field's name. It returns 0 for a single line.
func (r *reader) bare(fields []eventstream.Field) (value []byte, n int) {
	if !opensJSON(r.in(fields[0].Text)) {
		return nil, 0
	}
	end := fields[0].Text.End
	for n = 1; n < len(fields); n++ {
		next := fields[n].Text
		if fields[n].Kind != eventstream.Unknown || len(bytes.TrimLeft(r.in(eventstream.Span{Start: end, End: next.Start}), "\r\n")) > 0 {
			break
		}
		end = next.End
	}
	value = r.in(eventstream.Span{Start: fields[0].Text.Start, End: end})
	if n < 2 || !encloses(value) || r.parse(value) != nil && !strictjson.Loose(value) {
		return nil, 0
	}
	return value, n
}
