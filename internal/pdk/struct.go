// SPDX-License-Identifier: Apache-2.0

package pdk

import "strings"

// A Struct collects named values for Kong, which sees them as a Lua table.
// There is no boolean: Kong loses false on the way. Bytes that are not UTF-8
// become U+FFFD, since what is put here is shown to people. The zero value is
// an empty Struct.
type Struct struct {
	encoded []byte
}

// structBytes is what a Struct has room for at first: the access log's value has
// not much more.
const structBytes = 128

// Reset makes the Struct empty, for others that take its memory.
func (s *Struct) Reset() { s.encoded = s.encoded[:0] }

// Text adds a text.
func (s *Struct) Text(name, value string) {
	value = strings.ToValidUTF8(value, "\uFFFD")
	s.begin(name, textSize(len(value)))
	s.encoded = appendText(s.encoded, valueText, value)
}

// Number adds a number.
func (s *Struct) Number(name string, value float64) {
	s.begin(name, numberSize)
	s.encoded = appendNumber(s.encoded, value)
}

// Struct adds another Struct as it is now.
func (s *Struct) Struct(name string, value Struct) {
	s.begin(name, value.size())
	s.encoded = value.append(s.encoded)
}

// begin begins an entry: an encoded Value of size bytes has to follow.
func (s *Struct) begin(name string, size int) {
	name = strings.ToValidUTF8(name, "\uFFFD")
	entry := pairSize(name, size)
	if s.encoded == nil {
		s.encoded = make([]byte, 0, max(structBytes, textSize(entry)))
	}
	s.encoded = appendPair(appendLength(s.encoded, 1, entry), name, size)
}

// size is how many bytes append takes.
func (s *Struct) size() int { return textSize(len(s.encoded)) }

// append appends the Struct as a Value.
func (s *Struct) append(b []byte) []byte { return appendText(b, valueStruct, s.encoded) }

// pairArgs encodes a KV whose value is the Struct.
func (s *Struct) pairArgs(key string) []byte {
	b := make([]byte, 0, pairSize(key, s.size()))
	return s.append(appendPair(b, key, s.size()))
}
