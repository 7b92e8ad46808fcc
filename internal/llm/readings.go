// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Answers may hold equal names in one object, and lone surrogates. Each client
// reads those in its own way. Models do not choose names, servers do: some
// write a name twice, and a stream cuts an emoji in two. Such an answer is read
// once with every copy in it, and once more for each of the ways in which
// parsers choose among copies. Whatever one of these readings says is scanned.

// parse makes data the reader's document, as its leg and view have it.
func (r *reader) parse(data []byte) error {
	if len(r.ready) > 0 && len(r.ready) == len(data) && &r.ready[0] == &data[0] {
		r.ready = nil
		return nil
	}
	r.ready = nil
	return r.parseTo(r.doc, data)
}

func (r *reader) parseTo(d *strictjson.Doc, data []byte) error {
	if r.strict() {
		return d.Parse(data, r.maxDepth)
	}
	err := d.ParseLenient(data, r.maxDepth)
	if err != nil || !d.Doubled() {
		return err
	}
	r.doubled = true
	if r.view == nil {
		return nil
	}
	return d.Choose(*r.view, r.maxDepth)
}

// strict reports whether equal names and lone surrogates are refused.
func (r *reader) strict() bool { return r.msg.Leg != ResponseLeg && !r.loosely }

// accepts is parse for what may well be no JSON: it looks for no reason.
func (r *reader) accepts(data []byte) bool {
	if r.strict() {
		return r.doc.Accepts(data, r.maxDepth)
	}
	return strictjson.Loose(data) && r.parse(data) == nil
}

// addReadings adds what an answer with equal names says to a client that does
// not look at every copy, where that is something else. None of its text is
// masked: a mask would have to be right for all readings.
func (r *reader) addReadings(again func(strictjson.Reading) (*reader, error)) error {
	said := make(map[string]bool)
	for i := range r.msg.Turns {
		said[r.msg.Turns[i].Text] = true
	}
	for i := range r.others {
		said[r.others[i].Text] = true
	}
	media := make(map[MediaPart]bool)
	for _, m := range r.msg.Media {
		media[m] = true
	}
	for _, how := range strictjson.Readings {
		one, err := again(how)
		if err == nil && one.err == nil {
			one.addProbs()
			one.addMentions()
		}
		r.budget = one.budget // what it cost was this body's
		switch {
		case r.err != nil:
			return r.err
		case err != nil:
			return err
		}
		for _, turns := range [...][]Turn{one.msg.Turns, one.others} {
			for i := range turns {
				if t := turns[i]; !said[t.Text] {
					said[t.Text] = true
					t.from, t.to = 0, 0
					*r.turn(at{}, "") = t
				}
			}
		}
		for _, m := range one.msg.Media {
			if !media[m] {
				media[m] = true
				r.msg.Media = append(r.msg.Media, m)
			}
		}
	}
	for i := range r.msg.Turns {
		r.msg.Turns[i].Maskable = false
	}
	return nil
}

// readAgain returns a reader of the same body, of which it has read nothing.
func (r *reader) readAgain(how strictjson.Reading) *reader {
	again := &reader{
		msg: &Message{Leg: r.msg.Leg, body: r.msg.body}, doc: r.doc,
		maxDepth: r.maxDepth, view: &how, budget: r.budget, loosely: r.loosely, archived: archived{limits: r.archived.limits},
	}
	again.arena.chunk = r.arena.chunk
	return again
}

// copyOf tells copies of a member apart, so that each is a text of its own in a
// stream. It returns a number for each way of choosing copies from the root on,
// 0 for the first ones.
func (r *reader) copyOf(outer uint64, v int) uint64 {
	n := r.doc.CopyOf(v)
	if n == 0 {
		return outer
	}
	const prime = 1099511628211 // of FNV
	h := outer
	for _, c := range r.doc.Name(v) {
		h = (h ^ uint64(c)) * prime
	}
	return (h ^ uint64(n)) * prime
}
