// SPDX-License-Identifier: Apache-2.0

package pdk

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Text decodes a reply that is one text, "" for nil. The bytes are as they
// came from Kong and need not be UTF-8.
func (c *Call) Text() (string, error) {
	b, err := c.Bytes()
	return string(b), err
}

// Bytes decodes a reply that is one text or one body, nil for nil. The bytes
// lie in Reply and are valid as long as it is.
func (c *Call) Bytes() ([]byte, error) {
	if c.Err != nil {
		return nil, c.Err
	}
	var v []byte
	cur := cursor[[]byte]{in: c.Reply}
	for cur.next() {
		if cur.num == 1 && cur.typ == protowire.BytesType {
			v = cur.data()
		}
	}
	if err := cur.err(); err != nil {
		return nil, err
	}
	return v, nil
}

// Int decodes a reply that is a number without a fraction, 0 for nil.
func (c *Call) Int() (int, error) {
	if c.Err != nil {
		return 0, c.Err
	}
	var v int
	cur := cursor[[]byte]{in: c.Reply}
	for cur.next() {
		if cur.num == 1 && cur.typ == protowire.VarintType {
			v = int(int32(cur.varint)) // as protobuf reads an int32
		}
	}
	if err := cur.err(); err != nil {
		return 0, err
	}
	return v, nil
}

// Bool decodes a reply that is yes or no, false for nil.
func (c *Call) Bool() (bool, error) {
	if c.Err != nil {
		return false, c.Err
	}
	var v bool
	cur := cursor[[]byte]{in: c.Reply}
	for cur.next() {
		if cur.num == 1 && cur.typ == protowire.VarintType {
			v = cur.varint != 0
		}
	}
	if err := cur.err(); err != nil {
		return false, err
	}
	return v, nil
}

// A RawBody is a client's body as Kong hands it over: in Content, or in the
// file at Path when it is over Kong's client_body_buffer_size. Content lies in
// the reply and is valid as long as it is.
type RawBody struct {
	Content []byte
	Path    string
}

// RawBody decodes the reply to RequestRawBody.
func (c *Call) RawBody() (RawBody, error) {
	if c.Err != nil {
		return RawBody{}, c.Err
	}
	var body RawBody
	var err error
	cur := cursor[[]byte]{in: c.Reply}
	for cur.next() {
		if cur.typ != protowire.BytesType {
			continue
		}
		switch cur.num { // one of them: the last one counts
		case 1:
			body, err = RawBody{Content: cur.data()}, nil
		case 2:
			body, err = RawBody{Path: string(cur.data())}, nil
		case 3:
			body, err = RawBody{}, ErrUnreadableBody
		}
	}
	if cur.bad {
		return RawBody{}, ErrMalformed
	}
	return body, err
}

// A ValueKind says what a Value is.
type ValueKind uint8

// The kinds of values.
const (
	ValueNil ValueKind = iota
	ValueBool
	ValueNumber
	ValueText
	ValueTable
)

// A Value is a Lua value. The field that its Kind names holds it, the others
// are zero. What a table holds is not read.
type Value struct {
	Kind   ValueKind
	Bool   bool
	Number float64
	Text   string
}

// Value decodes a reply that may be a value of any kind.
func (c *Call) Value() (Value, error) {
	if c.Err != nil {
		return Value{}, c.Err
	}
	var v Value
	cur := cursor[[]byte]{in: c.Reply}
	for cur.next() {
		switch {
		case cur.num == valueNull && cur.typ == protowire.VarintType:
			v = Value{}
		case cur.num == valueNumber && cur.typ == protowire.Fixed64Type:
			v = Value{Kind: ValueNumber, Number: math.Float64frombits(binary.LittleEndian.Uint64(cur.data()))}
		case cur.num == valueText && cur.typ == protowire.BytesType:
			v = Value{Kind: ValueText, Text: string(cur.data())}
		case cur.num == valueBool && cur.typ == protowire.VarintType:
			v = Value{Kind: ValueBool, Bool: cur.varint != 0}
		case (cur.num == valueStruct || cur.num == valueList) && cur.typ == protowire.BytesType:
			v = Value{Kind: ValueTable}
		}
	}
	if err := cur.err(); err != nil {
		return Value{}, err
	}
	return v, nil
}
