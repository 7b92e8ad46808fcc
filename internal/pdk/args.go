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
	b := make([]byte, 0, textSize(len(key))+textSize(len(value)))
	if key != "" {
		b = appendText(b, 1, key)
	}
	return appendText(b, 2, value)
}

func appendText[T string | []byte](b []byte, num protowire.Number, v T) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(v)))
	return append(b, v...)
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

func numberValue(v float64) []byte {
	b := protowire.AppendTag(make([]byte, 0, 9), valueNumber, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(v))
}
