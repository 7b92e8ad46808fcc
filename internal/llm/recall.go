// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"unsafe"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Events of a stream are alike: the same names and ids stand at the same places
// of each. What one of them was found to be is remembered until another comes to
// its place, because finding that out takes longer than all else about an event.

// A recall is what was found out last at the places of a stream's events. A place
// is a value's number in its event. Large events have several values of one
// place, which only makes it forget: what is remembered holds for a name or a
// value wherever it stands.
type recall struct {
	names  [recallPlaces]recalledName
	values [recallPlaces]recalledValue
	// event is the name of an event. It is none of the values: words of an API
	// that are structure as a value may be text as a name.
	event recalledValue
}

const recallPlaces = 32

// A recalledName is a name in objects of a shape.
type recalledName struct {
	in    *shape
	field *field // nil for one that means nothing there
	// plain says that it is no variant of a name that means something, and
	// counted that it is a count's and adds nothing to what is noted.
	plain, counted bool
	size           uint8
	name           [29]byte
}

// A recalledValue is a string that is structure by a rule, and adds nothing to
// what is noted.
type recalledValue struct {
	rule  rule
	size  uint8
	value [62]byte
}

// startRecall lets r remember, once a stream has had an event. What is
// remembered of values leaves out what only a request is asked.
func (r *reader) startRecall() {
	if r.recall == nil && r.asm.event > 0 && r.msg.Leg == ResponseLeg {
		r.take(int(unsafe.Sizeof(recall{})))
		r.recall = new(recall)
	}
}

// recallsNow reports whether r remembers. It does not in messages that stand for
// themselves, each of which is noted anew.
func (r *reader) recallsNow() bool { return r.recall != nil && r.asm != nil }

// recallName returns what is remembered of a name at a place, nil where nothing
// can be.
func (r *reader) recallName(s *shape, place int, name []byte) *recalledName {
	if !r.recallsNow() {
		return nil
	}
	n := &r.recall.names[place%recallPlaces]
	if n.in == s && string(n.name[:n.size]) == string(name) {
		return n
	}
	if len(name) > len(n.name) {
		return nil
	}
	*n = recalledName{in: s, field: s.fields[string(name)], size: uint8(len(name))}
	copy(n.name[:], name)
	return n
}

// meaning returns what the name of value v means in s, nil for nothing.
func (r *reader) meaning(s *shape, v int, name []byte) *field {
	if n := r.recallName(s, v, name); n != nil {
		return n.field
	}
	return s.fields[string(name)]
}

// isVariant reports whether the name of value v, which means nothing, differs
// only by case from one that does.
func (r *reader) isVariant(s *shape, v int, name []byte) bool {
	n := r.recallName(s, v, name)
	if n != nil && n.plain {
		return false
	}
	is := s.variant(name)
	if n != nil {
		n.plain = !is
	}
	return is
}

// isCount reports whether the name of value v is that of a count, and notes it.
func (r *reader) isCount(s *shape, v int, name []byte) bool {
	n := r.recallName(s, v, name)
	if n != nil && n.counted {
		return true
	}
	if !isCount(name) {
		return false
	}
	noted := isEnum(name) || r.noteCount(name)
	if n != nil {
		n.counted = noted
	}
	return true
}

// recallsValue reports whether string s is remembered at a place.
func (r *reader) recallsValue(by rule, place int, s []byte) bool {
	if !r.recallsNow() {
		return false
	}
	return r.recall.values[place%recallPlaces].is(by, s)
}

// recallsMember reports whether to read value v, whose meaning is f, would find
// nothing: it is remembered, or a number, a boolean or null in the place of
// structure.
func (r *reader) recallsMember(f *field, v int) bool {
	switch {
	case !r.recallsNow(), f.rule < setting, f.rule > token:
		return false // a long text, maybe, whose escapes are not resolved for this
	case r.isString(v):
		return r.recallsValue(f.rule, v, r.doc.Bytes(v))
	}
	return r.doc.Kind(v) < strictjson.String
}

// recallValue remembers string s.
func (r *reader) recallValue(by rule, place int, s []byte) {
	if !r.recallsNow() {
		return
	}
	r.recall.values[place%recallPlaces].keep(by, s)
}

// isEventName reports whether s, the name of an event, is an API's.
func (r *reader) isEventName(s []byte) bool {
	if !r.recallsNow() {
		return isEnum(s)
	}
	if r.recall.event.is(enum, s) {
		return true
	}
	is := isEnum(s)
	if is {
		r.recall.event.keep(enum, s)
	}
	return is
}

func (v *recalledValue) is(by rule, s []byte) bool {
	return v.rule == by && string(v.value[:v.size]) == string(s)
}

func (v *recalledValue) keep(by rule, s []byte) {
	if len(s) <= len(v.value) {
		v.rule, v.size = by, uint8(copy(v.value[:], s))
	}
}
