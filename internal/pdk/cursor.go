// SPDX-License-Identifier: Apache-2.0

package pdk

import "google.golang.org/protobuf/encoding/protowire"

// A cursor walks over the fields of one encoded protobuf message. It works on
// bytes and on strings alike. When a reply is turned into one string, all its
// parts are substrings, without an allocation for each.
//
// The generated decoders cannot be used for what Kong sends: they refuse
// strings that are not UTF-8, and Kong hands on what clients send.
type cursor[T string | []byte] struct {
	// in is the message, and at where the next field begins. Moving on writes no
	// pointer, which costs more while the garbage collector runs.
	in T
	at int
	// num and typ are those of the current field. Its value is data when typ
	// is BytesType, varint when typ is VarintType.
	num      protowire.Number
	typ      protowire.Type
	from, to int
	varint   uint64
	bad      bool
}

// data is the value of the current field if it is of bytes.
func (c *cursor[T]) data() T { return c.in[c.from:c.to] }

// next moves to the next field. It returns false at the end and at the first
// byte that makes no sense. bad tells the two apart.
func (c *cursor[T]) next() bool {
	if c.at == len(c.in) || c.bad {
		return false
	}
	tag := c.uvarint()
	c.num, c.typ = protowire.Number(tag>>3), protowire.Type(tag&7)
	if c.bad || tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return c.fail()
	}
	c.from, c.to, c.varint = c.at, c.at, 0
	switch c.typ {
	case protowire.VarintType:
		c.varint = c.uvarint()
	case protowire.BytesType:
		c.take(c.uvarint())
	case protowire.Fixed32Type:
		c.take(4)
	case protowire.Fixed64Type:
		c.take(8)
	default: // groups: no message of the protocol has one
		return c.fail()
	}
	return !c.bad
}

func (c *cursor[T]) fail() bool {
	c.bad = true
	return false
}

func (c *cursor[T]) take(n uint64) {
	if n > uint64(len(c.in)-c.at) {
		c.bad = true
		n = 0
	}
	c.from = c.at
	c.at += int(n)
	c.to = c.at
}

func (c *cursor[T]) uvarint() uint64 {
	var v uint64
	for i, at := 0, c.at; at < len(c.in) && i < 10; i, at = i+1, at+1 {
		b := c.in[at]
		if i == 9 && b > 1 { // more than 64 bits
			break
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.at = at + 1
			return v
		}
	}
	c.bad = true
	return 0
}

// err returns ErrMalformed when the walk ended before the message did.
func (c *cursor[T]) err() error {
	if c.bad {
		return ErrMalformed
	}
	return nil
}
