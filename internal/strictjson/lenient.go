// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"bytes"
	"unicode/utf16"
)

// Doubled reports whether an object of the text has two equal names. Names are
// equal if they read the same once lone surrogates are replaced.
func (d *Doc) Doubled() bool { return len(d.copies) > 0 }

// CopyOf counts the members of the same object and name that stand before v.
func (d *Doc) CopyOf(v int) int {
	if len(d.copies) == 0 {
		return 0
	}
	return int(d.copies[v])
}

// countCopies looks for equal names.
func (d *Doc) countCopies() {
	if cap(d.copies) < len(d.nodes) {
		d.copies = make([]uint32, len(d.nodes))
	}
	d.copies = d.copies[:len(d.nodes)]
	clear(d.copies)
	doubled := false
	var names nameSet
	for v := range d.nodes {
		if d.nodes[v].kind != Object || d.Next(v)-v < 3 {
			continue
		}
		names.clear()
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			if first := names.first(d.Name(c), c); first != c {
				// The first one counts them for as long as the object is read.
				d.copies[first]++
				d.copies[c] = d.copies[first]
				doubled = true
			}
		}
		for _, first := range names.firsts {
			d.copies[first] = 0
		}
	}
	if !doubled {
		d.copies = d.copies[:0]
	}
}

// A nameSet knows for each name which number came with it first. Most objects
// have few names, which are compared faster than they are hashed.
type nameSet struct {
	names  [][]byte
	firsts []int
	many   map[string]int // once there are more than fewNames
	spare  map[string]int // a map to use again
}

const fewNames = 16

func (s *nameSet) clear() {
	// To clear a map takes as long as the most that it ever held.
	if s.many != nil && len(s.many) <= 8*fewNames {
		clear(s.many)
		s.spare = s.many
	}
	s.names, s.firsts, s.many = s.names[:0], s.firsts[:0], nil
}

// first returns the number that came first with name: n if none did.
func (s *nameSet) first(name []byte, n int) int {
	if s.many != nil {
		if first, ok := s.many[string(name)]; ok {
			return first
		}
		s.many[string(name)] = n
		s.firsts = append(s.firsts, n)
		return n
	}
	for i := range s.names {
		if bytes.Equal(s.names[i], name) {
			return s.firsts[i]
		}
	}
	s.names, s.firsts = append(s.names, name), append(s.firsts, n)
	if len(s.names) > fewNames {
		if s.many, s.spare = s.spare, nil; s.many == nil {
			s.many = make(map[string]int, 4*fewNames)
		}
		for i, name := range s.names {
			s.many[string(name)] = s.firsts[i]
		}
	}
	return n
}

// A Reading is what a parser makes of equal names.
type Reading uint8

// The readings of the parsers in use.
const (
	FirstCopy Reading = iota // the first of equal names counts
	LastCopy                 // the last does
	Merged                   // the last does, but containers of one name become one, as in encoding/json
)

// Readings are all of them.
var Readings = [...]Reading{FirstCopy, LastCopy, Merged}

// Choose replaces the text by one without equal names, as one kind of parser
// reads it. Offsets are then those of the new text.
func (d *Doc) Choose(how Reading, maxDepth int) error {
	if !d.Doubled() {
		return nil
	}
	d.src = d.appendReading(make([]byte, 0, len(d.src)), how, &chosen{}, Root)
	d.nodes, d.copies = d.nodes[:0], d.copies[:0]
	return d.index(maxDepth)
}

// chosen is what a reading uses for one object after the other.
type chosen struct{ places nameSet }

// appendReading appends the last of some values, or the container that they are
// together.
func (d *Doc) appendReading(dst []byte, how Reading, w *chosen, of ...int) []byte {
	v := of[len(of)-1]
	switch {
	case d.Kind(v) == Array && len(of) > 1:
		dst = append(dst, '[')
		for _, elements := range d.byPlace(of) {
			dst = append(d.appendReading(dst, how, w, d.together(elements)...), ',')
		}
		return closed(dst, ']')
	case d.Kind(v) == Array:
		dst = append(dst, '[')
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			dst = append(d.appendReading(dst, how, w, c), ',')
		}
		return closed(dst, ']')
	case d.Kind(v) == Object && len(of) == 1 && !d.anyCopy(v):
		dst = append(dst, '{')
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			dst = append(append(dst, d.RawName(c)...), ':')
			dst = append(d.appendReading(dst, how, w, c), ',')
		}
		return closed(dst, '}')
	case d.Kind(v) == Object:
		dst = append(dst, '{')
		for _, members := range d.byName(of, w) {
			dst = append(append(dst, d.RawName(members[0])...), ':')
			switch how {
			case FirstCopy:
				members = members[:1]
			case LastCopy:
				members = members[len(members)-1:]
			case Merged:
				members = d.together(members)
			}
			dst = append(d.appendReading(dst, how, w, members...), ',')
		}
		return closed(dst, '}')
	}
	return append(dst, d.Raw(v)...)
}

// closed puts the end of a container in the place of the last comma.
func closed(dst []byte, end byte) []byte {
	if n := len(dst) - 1; dst[n] == ',' {
		dst = dst[:n]
	}
	return append(dst, end)
}

// byName returns the members of some objects, grouped by name, in the order in
// which the names first occur.
func (d *Doc) byName(objects []int, w *chosen) [][]int {
	places, n := &w.places, 0
	places.clear()
	for _, v := range objects {
		n += d.Next(v) - d.First(v)
	}
	// Most names come once: their members share one array.
	members, single := make([][]int, 0, min(n, fewNames)), make([]int, 0, min(n, 4*fewNames))
	for _, v := range objects {
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			i := places.first(d.Name(c), len(members))
			if i < len(members) {
				members[i] = append(members[i], c)
				continue
			}
			if len(single) == cap(single) {
				single = make([]int, 0, 4*fewNames)
			}
			single = append(single, c)
			members = append(members, single[len(single)-1:len(single):len(single)])
		}
	}
	return members
}

// anyCopy reports whether object v has equal names.
func (d *Doc) anyCopy(v int) bool {
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if d.CopyOf(c) > 0 {
			return true
		}
	}
	return false
}

// byPlace returns the elements of some arrays, grouped by place, as many groups
// as the last array has elements.
func (d *Doc) byPlace(arrays []int) [][]int {
	var elements [][]int
	last := arrays[len(arrays)-1]
	for c := d.First(last); c < d.Next(last); c = d.Next(c) {
		elements = append(elements, nil)
	}
	for _, v := range arrays {
		c := d.First(v)
		for i := 0; i < len(elements) && c < d.Next(v); i++ {
			elements[i] = append(elements[i], c)
			c = d.Next(c)
		}
	}
	return elements
}

// together returns those of some values that form one container with the last
// one, or the last value alone.
func (d *Doc) together(values []int) []int {
	last := values[len(values)-1:]
	kind := d.Kind(last[0])
	if kind < Array || len(values) == 1 {
		return last
	}
	var all []int
	for _, v := range values {
		if d.Kind(v) == kind {
			all = append(all, v)
		}
	}
	return all
}

// Halved reports whether string v has a lone surrogate.
func (d *Doc) Halved(v int) bool { return d.lenient && loneSurrogate(d.Raw(v)) >= 0 }

// AppendHalves is like Append, but a lone surrogate stays one until JoinHalves,
// in three bytes that are not UTF-8.
func (d *Doc) AppendHalves(dst []byte, v int) []byte { return appendString(dst, d.Raw(v), true) }

// JoinHalves turns the surrogates that AppendHalves kept into characters: one
// for each pair, and U+FFFD for one that stays alone. It overwrites s.
func JoinHalves(s []byte) []byte {
	out := s[:0]
	for len(s) > 0 {
		i := bytes.IndexByte(s, 0xED)
		if i < 0 {
			i = len(s)
		}
		out = append(out, s[:i]...)
		s = s[i:]
		r, n := half(s)
		if n == 0 {
			n = min(1, len(s))
			out = append(out, s[:n]...)
			s = s[n:]
			continue
		}
		if low, m := half(s[n:]); m > 0 {
			if pair := utf16.DecodeRune(r, low); pair != '\uFFFD' {
				r, n = pair, n+m
			}
		}
		s = s[n:]
		out = append(out, string(r)...) // of a surrogate: U+FFFD
	}
	return out
}

// half returns the surrogate that s starts with, and its length, 0 for none.
func half(s []byte) (r rune, n int) {
	if len(s) < 3 || s[0] != 0xED || s[1] < 0xA0 {
		return 0, 0
	}
	return 0xD000 | rune(s[1]&0x3F)<<6 | rune(s[2]&0x3F), 3
}

// loneSurrogate returns the offset of the first escape in raw that is half of a
// pair, -1 for none.
func loneSurrogate(raw []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(raw[at:], '\\')
		if i < 0 || at+i+1 >= len(raw) {
			return -1
		}
		at += i
		if raw[at+1] != 'u' {
			at += 2
			continue
		}
		r := hex4(raw[at+2:])
		switch {
		case !utf16.IsSurrogate(r):
			at += 6
		case len(raw) > at+12 && raw[at+6] == '\\' && raw[at+7] == 'u' && utf16.DecodeRune(r, hex4(raw[at+8:])) != '\uFFFD':
			at += 12
		default:
			return at
		}
	}
}
