// SPDX-License-Identifier: Apache-2.0

package pdk

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The encoders below write the messages of go-pdk's pluginsocket.proto and of
// google/protobuf/struct.proto field by field. The generated ones would need
// a tree of objects for each call and refuse strings that are not UTF-8.

// textArgs encodes a String or ByteString, which look the same on the wire.
func textArgs[T string | []byte](v T) []byte {
	if len(v) == 0 {
		return nil
	}
	return appendText(make([]byte, 0, textSize(len(v))), 1, v)
}

// intArgs encodes an Int.
func intArgs(v int32) []byte {
	if v == 0 {
		return nil
	}
	b := protowire.AppendTag(nil, 1, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

// pairArgs encodes a KV whose value is an encoded Value.
func pairArgs(key string, value []byte) []byte {
	b := make([]byte, 0, pairSize(key, len(value)))
	return append(appendPair(b, key, len(value)), value...)
}

// textPairArgs encodes a KV whose value is a text.
func textPairArgs(key, value string) []byte {
	size := textSize(len(value))
	b := appendPair(make([]byte, 0, pairSize(key, size)), key, size)
	return appendText(b, valueText, value)
}

// appendPair begins a KV, or an entry of a Struct's map: an encoded Value of
// size bytes has to follow.
func appendPair(b []byte, key string, size int) []byte {
	if key != "" {
		b = appendText(b, 1, key)
	}
	return appendLength(b, 2, size)
}

// pairSize is how many bytes a KV takes whose value takes size bytes.
func pairSize(key string, size int) int {
	if key == "" {
		return textSize(size)
	}
	return textSize(len(key)) + textSize(size)
}

func appendText[T string | []byte](b []byte, num protowire.Number, v T) []byte {
	return append(appendLength(b, num, len(v)), v...)
}

// appendLength begins a field of n bytes, which have to follow.
func appendLength(b []byte, num protowire.Number, n int) []byte {
	tag := byte(protowire.EncodeTag(num, protowire.BytesType)) // all of ours are below 16
	if n < 0x80 {
		return append(b, tag, byte(n))
	}
	return protowire.AppendVarint(append(b, tag), uint64(n))
}

// textSize is how many bytes appendText takes for n bytes, with a tag of one byte.
func textSize(n int) int { return 1 + protowire.SizeBytes(n) }

// Numbers of the fields of google.protobuf.Value.
const (
	valueNull protowire.Number = iota + 1
	valueNumber
	valueText
	valueBool
	valueStruct
	valueList
)

func textValue(v string) []byte {
	return appendText(make([]byte, 0, textSize(len(v))), valueText, v)
}

func boolValue(v bool) []byte {
	b := protowire.AppendTag(nil, valueBool, protowire.VarintType)
	return protowire.AppendVarint(b, protowire.EncodeBool(v))
}

// numberSize is how many bytes appendNumber takes.
const numberSize = 9

// appendNumber appends a Value.
func appendNumber(b []byte, v float64) []byte {
	b = protowire.AppendTag(b, valueNumber, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(v))
}
