// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"strings"
)

// AppendEvent appends an event with the given data to dst, ended by a blank
// line, and gives the longer slice. An empty name or id is left out. Every line
// of data, whichever way it ends, becomes a data line; names and ids have one
// line, so what would end it in them is written as a space.
func AppendEvent(dst []byte, name, id string, data []byte) []byte {
	dst = appendField(dst, "event", name)
	dst = appendField(dst, "id", id)
	for more := true; more; {
		line := data
		if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
			line = data[:i]
			if bytes.HasPrefix(data[i:], []byte("\r\n")) {
				i++
			}
			data = data[i+1:]
		} else {
			more = false
		}
		dst = append(dst, "data: "...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
	}
	return append(dst, '\n')
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")

func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, oneLine.Replace(value)...)
	return append(dst, '\n')
}
