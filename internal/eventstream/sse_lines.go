// SPDX-License-Identifier: Apache-2.0

package eventstream

import "bytes"

// ambiguous reports whether clients in use see other lines here than the
// standard does, so that content appears to one of them in a form that nobody
// scanned. afterCR says that the line before ended in a CR without LF.
func ambiguous(line []byte, afterCR bool) bool {
	return afterCR && continuesJSON(line) || hasHiddenData(line)
}

// continuesJSON judges a line that follows a CR alone. Clients that end lines
// at LF only (those with Go's bufio.Scanner) read it as the rest of the line
// before, where the CR is white space of JSON. That yields JSON only when this
// line is no field or an empty name, and text only when it has a string.
func continuesJSON(line []byte) bool {
	name, _, _ := bytes.Cut(line, []byte(":"))
	switch string(name) {
	case "data", "event", "id", "retry":
		return false
	}
	return bytes.IndexByte(line, '"') >= 0
}

// hasHiddenData reports whether a "data:" stands in the line after a character
// that clients with Python's str.splitlines take for the end of a line.
func hasHiddenData(line []byte) bool {
	for rest := line; ; {
		i := bytes.Index(rest, []byte("data:"))
		if i < 0 {
			return false
		}
		before := bytes.TrimRight(rest[:i], " \t")
		if n := len(before); n > 0 {
			if c := before[n-1]; c == '\v' || c == '\f' || c >= 0x1c && c <= 0x1e {
				return true
			}
			for _, end := range []string{"\u0085", "\u2028", "\u2029"} {
				if bytes.HasSuffix(before, []byte(end)) {
					return true
				}
			}
		}
		rest = rest[i+len("data:"):]
	}
}

// LooksLike reports whether an event stream's client finds data in body,
// whatever its label says. That is so as soon as one line anywhere is a data
// line with a value, or nearly one with JSON as its value. A text that is no
// stream but has such a line is worth reading as one, since a Reader returns
// its other lines too. A body that is JSON is to be read as JSON first: none of
// its lines can start with the bare word "data".
//
// A body that has no such line can still be a stream: of comments, event names
// and empty data. It says nothing more than its plain text does.
func LooksLike(body []byte) bool {
	body = body[len(bom(body)):]
	for len(body) > 0 {
		line := body
		if i := bytes.IndexByte(body, '\n'); i >= 0 {
			line, body = body[:i], body[i+1:]
		} else {
			body = nil
		}
		if hasData(line) {
			return true
		}
	}
	return false
}

// isDataLine reports whether the client of a stream finds data in a line.
func isDataLine(line []byte) bool {
	// Most lines are long and have no name: look at their first bytes only.
	head := bytes.TrimLeft(bytes.TrimPrefix(line, utf8BOM), " \t")
	if len(head) < len("data:") || head[0]|0x20 != 'd' {
		return false
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return false
	}
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return false
	}
	return string(name) == "data" || isNearData(name) && (value[0] == '{' || value[0] == '[')
}
