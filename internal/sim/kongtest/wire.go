// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"errors"
	"math"
	"slices"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"
)

// The messages of PDK calls are written and read by hand, because Kong puts
// any bytes into protobuf strings and Go's encoder refuses what is not UTF-8.
//
// A value of Kong's Lua world is nil, bool, float64, string, []any or
// map[string]any here.

var errWire = errors.New("arguments do not decode")

func appendString(b []byte, field protowire.Number, s string) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// appendText leaves an empty string out, as Kong leaves a nil out.
func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(b, field, s)
}

func appendTexts(b []byte, field protowire.Number, list []string) []byte {
	for _, s := range list {
		b = appendString(b, field, s)
	}
	return b
}

func appendInt(b []byte, field protowire.Number, n int64) []byte {
	if n == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(n))
}

// appendBool writes false too: Kong's encoder does.
func appendBool(b []byte, field protowire.Number, v bool) []byte {
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, protowire.EncodeBool(v))
}

func appendDouble(b []byte, field protowire.Number, f float64) []byte {
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(f))
}

func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, message)
}

// encodeString is a String or ByteString; nothing for "".
func encodeString(s string) []byte { return appendText(nil, 1, s) }

// encodeInt is an Int.
func encodeInt(n int) []byte { return appendInt(nil, 1, int64(n)) }

// encodeValue encodes a google.protobuf.Value. Kong writes nil as the null
// value with the number 1, and an empty table always as a struct.
func encodeValue(v any) []byte {
	switch v := v.(type) {
	case bool:
		return appendBool(nil, 4, v)
	case float64:
		return appendDouble(nil, 2, v)
	case string:
		return appendString(nil, 3, v)
	case []any:
		if len(v) == 0 {
			return appendMessage(nil, 5, nil)
		}
		return appendMessage(nil, 6, encodeList(v))
	case map[string]any:
		return appendMessage(nil, 5, encodeStruct(v))
	}
	return appendInt(nil, 1, 1)
}

func encodeList(list []any) []byte {
	var b []byte
	for _, v := range list {
		b = appendMessage(b, 1, encodeValue(v))
	}
	return b
}

// encodeStruct is a google.protobuf.Struct with its names in order.
func encodeStruct(m map[string]any) []byte {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	var b []byte
	for _, name := range names {
		b = appendEntry(b, name, m[name])
	}
	return b
}

func appendEntry(b []byte, name string, v any) []byte {
	entry := appendString(nil, 1, name)
	if v == (luaFunction{}) {
		return appendMessage(b, 1, entry)
	}
	return appendMessage(b, 1, appendMessage(entry, 2, encodeValue(v)))
}

// A field is one field of a message as it stands on the wire.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bytes  []byte
	bits   uint64
}

// fields calls f for each field of a message.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		fd := field{number: number, kind: kind}
		switch kind {
		case protowire.BytesType:
			fd.bytes, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			fd.bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			fd.bits, n = protowire.ConsumeFixed64(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if err := f(fd); err != nil {
			return err
		}
	}
	return nil
}

// decodeString reads a String or ByteString.
func decodeString(b []byte) (s string, err error) {
	err = fields(b, func(f field) error {
		if f.number == 1 {
			s = string(f.bytes)
		}
		return nil
	})
	return s, err
}

// decodeInt reads an Int.
func decodeInt(b []byte) (n int, err error) {
	err = fields(b, func(f field) error {
		if f.number == 1 {
			n = int(int32(f.bits))
		}
		return nil
	})
	return n, err
}

// maxValueDepth bounds the nesting of values that a plugin sends.
const maxValueDepth = 100

// decodeValue reads a google.protobuf.Value as Kong's Lua code does: a
// boolean false is lost and becomes nil.
func decodeValue(b []byte, depth int) (v any, err error) {
	if depth > maxValueDepth {
		return nil, errWire
	}
	err = fields(b, func(f field) (err error) {
		switch f.number {
		case 1:
			v = "NULL_VALUE"
		case 2:
			v = math.Float64frombits(f.bits)
		case 3:
			v = string(f.bytes)
		case 4:
			v = nil
			if f.bits != 0 {
				v = true
			}
		case 5:
			v, err = decodeStruct(f.bytes, depth+1)
		case 6:
			v, err = decodeList(f.bytes, depth+1)
		}
		return err
	})
	return v, err
}

func decodeList(b []byte, depth int) ([]any, error) {
	list := []any{}
	err := fields(b, func(f field) error {
		v, err := decodeValue(f.bytes, depth)
		list = append(list, v)
		return err
	})
	return list, err
}

func decodeStruct(b []byte, depth int) (map[string]any, error) {
	m := map[string]any{}
	err := fields(b, func(f field) error {
		name, v, err := decodeEntry(f.bytes, depth)
		if v != nil {
			m[name] = v
		}
		return err
	})
	return m, err
}

// decodeEntry reads a KV, or an entry of a Struct, which has the same form.
func decodeEntry(b []byte, depth int) (name string, v any, err error) {
	err = fields(b, func(f field) (err error) {
		switch f.number {
		case 1:
			name = string(f.bytes)
		case 2:
			v, err = decodeValue(f.bytes, depth)
		}
		return err
	})
	return name, v, err
}

// exitArgs are the arguments of kong.response.exit.
type exitArgs struct {
	status  int
	body    []byte
	headers map[string]any
}

func decodeExit(b []byte) (e exitArgs, err error) {
	err = fields(b, func(f field) (err error) {
		switch f.number {
		case 1:
			e.status = int(int32(f.bits))
		case 2:
			e.body = slices.Clone(f.bytes)
		case 3:
			e.headers, err = decodeStruct(f.bytes, 0)
		}
		return err
	})
	return e, err
}

// decodeTarget reads a Target.
func decodeTarget(b []byte) (host string, port int, err error) {
	err = fields(b, func(f field) error {
		switch f.number {
		case 1:
			host = string(f.bytes)
		case 2:
			port = int(int32(f.bits))
		}
		return nil
	})
	return host, port, err
}

// truthy reports whether Lua takes a value for true: everything but nil and
// false.
func truthy(v any) bool {
	b, isBool := v.(bool)
	return v != nil && (!isBool || b)
}
