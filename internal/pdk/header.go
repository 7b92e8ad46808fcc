// SPDX-License-Identifier: Apache-2.0

package pdk

import (
	"iter"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Header holds headers as Kong gave them: values as bytes that need not be
// UTF-8, every value of a repeated header in the order in which it came. The
// zero value is empty.
type Header struct {
	fields []headerField
}

type headerField struct{ name, value string }

// Headers decodes the reply to RequestHeaders, with canonical names. Full says
// that Kong may have left out headers, since it gave as many as it was asked
// for. What it returns does not lie in the reply.
func (c *Call) Headers() (header http.Header, full bool, err error) {
	if c.Err != nil {
		return nil, false, c.Err
	}
	var room [40]headerField // for those of most requests
	fields, err := appendHeaders(room[:0], c.Reply, false)
	if err != nil {
		return nil, false, err
	}
	return httpHeader(fields), len(fields) >= MaxHeaders, nil
}

// appendHeaders appends what a Struct holds. With numbers, those that are one are
// left out; else they are an error.
func appendHeaders(fields []headerField, encoded []byte, numbers bool) (_ []headerField, err error) {
	// One string for all: names and values are parts of it.
	entries := cursor[string]{in: string(encoded)}
	for entries.next() {
		if entries.num != 1 || entries.typ != protowire.BytesType {
			continue
		}
		if fields, err = appendEntry(fields, entries.data(), numbers); err != nil {
			return nil, err
		}
	}
	return fields, entries.err()
}

// appendEntry appends what one entry of the encoded map holds: a name, and a
// Value that is a text or a list of texts.
func appendEntry(fields []headerField, entry string, numbers bool) ([]headerField, error) {
	var name, value string
	cur := cursor[string]{in: entry}
	for cur.next() {
		if cur.typ != protowire.BytesType {
			continue
		}
		switch cur.num {
		case 1:
			name = cur.data()
		case 2:
			value = cur.data()
		}
	}
	if cur.bad {
		return nil, ErrMalformed
	}
	if numbers && isNumber(value) {
		return fields, nil
	}
	return appendValue(fields, name, value, true)
}

// isNumber reports whether an encoded Value is one number.
func isNumber(encoded string) bool {
	cur := cursor[string]{in: encoded}
	if !cur.next() {
		return false
	}
	number := cur.num == valueNumber && cur.typ == protowire.Fixed64Type
	return number && !cur.next() && !cur.bad
}

// appendValue appends an encoded Value. A kind of header that Kong does not send
// is an error: nothing that a client sent may stay unseen.
func appendValue(fields []headerField, name, encoded string, listAllowed bool) (_ []headerField, err error) {
	cur := cursor[string]{in: encoded}
	if !cur.next() { // no kind at all: the empty text
		return append(fields, headerField{name: name}), cur.err()
	}
	num, isBytes, data := cur.num, cur.typ == protowire.BytesType, cur.data()
	if cur.next() || cur.bad { // more than one kind
		return nil, ErrMalformed
	}
	switch {
	case num == valueText && isBytes:
		return append(fields, headerField{name, data}), nil
	case num == valueList && isBytes && listAllowed:
		list := cursor[string]{in: data}
		for list.next() {
			if list.num != 1 || list.typ != protowire.BytesType {
				return nil, ErrMalformed
			}
			if fields, err = appendValue(fields, name, list.data(), false); err != nil {
				return nil, err
			}
		}
		return fields, list.err()
	default:
		return nil, ErrMalformed
	}
}

// Get returns the first value of a header, "" if there is none. Names are equal
// whatever the case of their ASCII letters.
func (h Header) Get(name string) string {
	for i := range h.fields {
		if equalFold(h.fields[i].name, name) {
			return h.fields[i].value
		}
	}
	return ""
}

// Repeated reports whether a header stands there more than once.
func (h Header) Repeated(name string) bool {
	n := 0
	for range h.Values(name) {
		n++
	}
	return n > 1
}

// Values runs over all values of a header.
func (h Header) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range h.fields {
			if equalFold(h.fields[i].name, name) && !yield(h.fields[i].value) {
				return
			}
		}
	}
}

// httpHeader returns headers with canonical names.
func httpHeader(fields []headerField) http.Header {
	header := make(http.Header, len(fields))
	values := make([]string, len(fields))
	// One piece of memory for all names: they are the client's, so no table of
	// known ones has them.
	var room [512]byte // for those of most requests
	canonical := room[:0]
	for _, f := range fields {
		canonical = appendCanonical(canonical, f.name)
	}
	names := string(canonical)
	for i, f := range fields {
		name := names[:len(f.name)]
		names = names[len(f.name):]
		if prev, ok := header[name]; ok {
			header[name] = append(prev, f.value)
			continue
		}
		values[i] = f.value
		header[name] = values[i : i+1 : i+1]
	}
	return header
}

// appendCanonical appends a name as http.CanonicalHeaderKey has it.
func appendCanonical(to []byte, name string) []byte {
	start := len(to)
	to = append(to, name...)
	first := true // of a word
	for i, c := range to[start:] {
		small := smallOfToken[c]
		if small == 0 {
			return append(to[:start], name...)
		}
		if first && 'a' <= small && small <= 'z' {
			small -= 'a' - 'A'
		}
		to[start+i] = small
		first = c == '-'
	}
	return to
}

// smallOfToken has the bytes that the name of a header can have (RFC 9110,
// section 5.6.2), with small letters for capitals, and 0 for all others.
var smallOfToken = func() (small [256]byte) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		small[c] = c
	}
	for c := byte('A'); c <= 'Z'; c++ {
		small[c] = lower(c)
	}
	return small
}()

// equalFold compares header names. strings.EqualFold would take letters
// outside ASCII for ASCII ones, which HTTP does not.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
