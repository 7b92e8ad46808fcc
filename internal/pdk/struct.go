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

// Text adds a text.
func (s *Struct) Text(name, value string) {
	s.add(name, textValue(strings.ToValidUTF8(value, "\uFFFD")))
}

// Number adds a number.
func (s *Struct) Number(name string, value float64) {
	s.add(name, numberValue(value))
}

// Struct adds another Struct as it is now.
func (s *Struct) Struct(name string, value Struct) {
	s.add(name, value.value())
}

func (s *Struct) add(name string, value []byte) {
	name = strings.ToValidUTF8(name, "\uFFFD")
	s.encoded = appendText(s.encoded, 1, pairArgs(name, value))
}

func (s *Struct) value() []byte {
	return appendText(make([]byte, 0, textSize(len(s.encoded))), valueStruct, s.encoded)
}
