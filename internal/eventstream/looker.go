// SPDX-License-Identifier: Apache-2.0

package eventstream

import "bytes"

// A Looker is LooksLike, and Begins, for a body that arrives. It looks at each
// line once, when it is whole.
type Looker struct {
	// Data says that a line is data: LooksLike of the whole body is true,
	// whatever follows.
	Data bool
	// Begins says that the first line is one of an event stream.
	Begins bool

	pos   int // where the next line begins
	seen  int // up to where it has no end
	first bool
}

// Look takes the body as far as it has come.
func (l *Looker) Look(body []byte) {
	if l.pos == 0 {
		if len(body) < len(utf8BOM) {
			return
		}
		l.pos = len(bom(body))
	}
	for !l.Data {
		from := max(l.pos, l.seen)
		i := bytes.IndexByte(body[from:], '\n')
		if i < 0 {
			l.seen = len(body)
			return
		}
		line := body[l.pos : from+i]
		l.pos = from + i + 1
		if !l.first && len(bytes.TrimRight(line, "\r")) > 0 {
			l.first, l.Begins = true, isFieldLine(line)
		}
		l.Data = hasData(line)
	}
}

// isFieldLine reports whether a line is a comment or has the name of a field.
func isFieldLine(line []byte) bool {
	line = bytes.TrimLeft(line, "\r")
	line, _, _ = bytes.Cut(line, []byte("\r"))
	name, _, _ := bytes.Cut(line, []byte(":"))
	switch string(name) {
	case "data", "event", "id", "retry":
		return true
	}
	return len(name) == 0
}

// hasData reports whether a client finds data in what LF divides from the rest.
func hasData(line []byte) bool {
	for more := true; more; {
		var piece []byte
		piece, line, more = bytes.Cut(line, []byte("\r"))
		if isDataLine(piece) || hasHiddenData(piece) {
			return true
		}
	}
	return false
}
