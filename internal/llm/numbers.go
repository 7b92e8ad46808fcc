// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Numbers can be a text that no detector reads: token ids. They are known by
// their names, in any body and at any depth. In an answer they may stand beside
// the text that they repeat.

// enclosing is an array or object around the value that is looked at.
type enclosing struct {
	v, end int
	item   bool // an object that is the document or an array's element
	says   bool // there is a text in it
	tokens bool // there are token ids in it, and in no item within
}

// checkTokens refuses a request with token ids in it, and an answer with token
// ids that have no text beside them.
func (r *reader) checkTokens(in Input) error {
	d := r.doc
	var few [32]enclosing
	open := few[:0]
	r.step(d.Len())
	for v := range d.Len() {
		for len(open) > 0 && v >= open[len(open)-1].end {
			open = open[:len(open)-1]
		}
		switch kind := d.Kind(v); {
		case kind == strictjson.String && in.Leg == RequestLeg && bytes.HasSuffix(d.RawName(v), []byte(`embeds"`)):
			if namesTokens(d.Name(v), true) && len(d.Bytes(v)) > 0 {
				return errTokens // a text as vectors, in base64
			}
		case kind < strictjson.Array:
		case kind == strictjson.Array && len(d.RawName(v)) > 0 && r.isTokens(in.Leg, v, open):
			switch {
			case in.Leg == RequestLeg:
				return errTokens
			case strings.Contains(strings.ToLower(in.Path), "/tokenize"):
				return nil // they are of what the request said
			}
			r.numbers = r.numbers || !r.withProbs(open)
			return r.checkBeside()
		default:
			open = append(open, enclosing{v: v, end: d.Next(v)})
		}
	}
	return nil
}

// checkBeside refuses an answer with an item, such as a choice, that has token
// ids and no text. In a stream another event may have the text: see spoken.
func (r *reader) checkBeside() error {
	d := r.doc
	var few [32]enclosing
	open := few[:0]
	r.step(d.Len())
	for v := range d.Len() + 1 {
		for n := len(open) - 1; n >= 0 && (v == d.Len() || v >= open[n].end); n-- {
			if e := &open[n]; e.tokens && !e.says {
				if r.asm == nil {
					return errTokens
				}
				r.unspoken(e.v)
			}
			open = open[:n]
		}
		if v == d.Len() {
			break
		}
		switch kind := d.Kind(v); {
		case kind == strictjson.String && r.saysText(v, open):
			for n := len(open) - 1; n >= 0 && !open[n].says; n-- {
				open[n].says = true
			}
		case kind < strictjson.Array:
		case kind == strictjson.Array && len(d.RawName(v)) > 0 && r.isTokens(ResponseLeg, v, open):
			n := len(open) - 1
			for n > 0 && !open[n].item {
				n--
			}
			open[n].tokens = true
			fallthrough
		default:
			item := kind == strictjson.Object && (len(open) == 0 || r.isArray(open[len(open)-1].v))
			open = append(open, enclosing{v: v, end: d.Next(v), item: item})
		}
	}
	return nil
}

// isTokens reports whether array v, which has a name, holds token ids.
func (r *reader) isTokens(leg Leg, v int, open []enclosing) bool {
	d := r.doc
	name := d.Name(v)
	switch {
	case namesTokens(name, leg == RequestLeg):
		return r.digits(v, leg)
	case leg == RequestLeg && wraps[string(name)] && len(open) > 0 && namesTokens(d.Name(open[len(open)-1].v), true):
		return r.digits(v, leg) // an object of that name, around the ids
	case string(name) == "data" && len(open) > 0 && d.CopyOf(v) == 0: // a tensor of the open inference protocol; other readings have the copies
		of := open[len(open)-1].v
		if t := r.member(of, "datatype"); t == "" {
			return false
		} else if namesTokens([]byte(r.member(of, "name")), leg == RequestLeg) {
			return r.digits(v, leg)
		} else if strings.HasPrefix(t, "INT") || strings.HasPrefix(t, "UINT") {
			return r.count(v, minVector) >= minVector
		}
	case leg == RequestLeg && (string(name) == "instances" || len(open) == 1 && requestShape.rule(string(name)) == text):
		return r.integers(v) // in the place of a text
	}
	return false
}

// wraps are the names of what an object under a name of token ids has them in.
var wraps = wordSet(`data ids value values list content`)

// digits reports whether there is a number in array v or in an array in it. In
// a request a string of digits is one too, since servers take it for one.
func (r *reader) digits(v int, leg Leg) bool {
	d := r.doc
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		switch d.Kind(c) {
		case strictjson.Number:
			return true
		case strictjson.Array:
			if r.digits(c, leg) {
				return true
			}
		case strictjson.String:
			if s := d.Bytes(c); leg == RequestLeg && len(s) > 0 && !bytes.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' }) {
				return true
			}
		}
	}
	return false
}

// count counts the numbers in array v and the arrays in it, up to most.
func (r *reader) count(v, most int) int {
	n := 0
	for c := r.doc.First(v); c < r.doc.Next(v) && n < most; c = r.doc.Next(c) {
		switch r.doc.Kind(c) {
		case strictjson.Number:
			n++
		case strictjson.Array:
			n += r.count(c, most-n)
		}
	}
	return n
}

// withProbs reports whether what is looked at stands among log probabilities,
// whose text is compared with the turns.
func (r *reader) withProbs(open []enclosing) bool {
	for i := range open {
		if string(r.doc.Name(open[i].v)) == "logprobs" {
			return true
		}
	}
	return false
}

// keepNumbers takes the places from all turns of an answer that says its text
// in token ids too, because a mask would leave those.
func (r *reader) keepNumbers() {
	if !r.numbers {
		return
	}
	for i := range r.msg.Turns {
		r.msg.Turns[i].Maskable = false
	}
}

// integers reports whether array v, with the arrays in it, holds integers and
// nothing else.
func (r *reader) integers(v int) bool {
	d := r.doc
	some := false
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		switch d.Kind(c) {
		case strictjson.Number:
			if isFraction(d.Raw(c)) {
				return false
			}
		case strictjson.Array:
			if !r.integers(c) {
				return false
			}
		default:
			return false
		}
		some = true
	}
	return some
}

// saysText reports whether string v is somebody's text by its name, or by that
// of the arrays around it.
func (r *reader) saysText(v int, open []enclosing) bool {
	if len(bytes.TrimSpace(r.doc.Bytes(v))) == 0 {
		return false
	}
	name := r.doc.Name(v)
	for n := len(open) - 1; n >= max(0, len(open)-4) && len(name) == 0 && r.isArray(open[n].v); n-- {
		name = r.doc.Name(open[n].v)
	}
	for _, s := range [...]*shape{messageShape, partShape, choiceShape, answerShape, functionShape, segmentShape} {
		if f := s.fields[string(name)]; f != nil && (f.rule == text || f.rule == args || f.rule == tokens) {
			return true
		}
	}
	return false
}

// repeats reports whether array v of an answer holds token ids of a text that
// stands beside them, as checkTokens made sure, and nothing else.
func (r *reader) repeats(v int, name []byte) bool {
	return r.msg.Leg == ResponseLeg && r.isArray(v) && namesTokens(name, false) && r.integers(v)
}

// anyChoice stands for token ids of no choice.
const anyChoice = -1

// unspoken notes that an event has token ids in item v and no text beside them.
func (r *reader) unspoken(v int) {
	choice := anyChoice
	if v != strictjson.Root {
		choice = 0
		if i := r.doc.Member(v, "index"); i >= 0 {
			choice, _ = r.place(i)
		}
	}
	if r.numbered == nil {
		r.numbered = make(map[int]bool)
	}
	if !r.numbered[choice] {
		r.take(pathBytes / 2)
	}
	r.numbered[choice] = true
	if len(r.numbered) > maxTexts {
		r.fail(errTooMany)
	}
}

// spoken refuses a stream with token ids of a choice that said no text.
func (r *reader) spoken() error {
	for i := range r.msg.Turns {
		if t := &r.msg.Turns[i]; t.Kind != KindOther {
			delete(r.numbered, t.Choice)
			delete(r.numbered, anyChoice)
		}
	}
	if len(r.numbered) > 0 {
		return errTokens
	}
	return nil
}

// The words of names for token ids. A name is such a name if it is made of
// these words only, and one of them marks it. "token" marks "prompt_token_ids"
// and "tokens". "ids" marks "input_ids", since "input" is one of the words that
// stand before no other ids. So settings with token ids, such as
// "stop_token_ids" and "logit_bias", are not such names.
var tokenWords = byLetter(
	wordIs{"tokens token tokenized tokenised toks tok", aToken},
	wordIs{"ids id", anID},
	wordIs{"embeds embeddings", aVector},
	wordIs{"inputs input prompts prompt decoder encoder outputs output generated completions completion prefix suffix", aSubject},
	wordIs{"texts text context documents document query messages message content user system assistant response answer sequences sequence", 0},
	wordIs{"draft target raw list array batch encoded all new full chat my flat values", 0},
)

// What a word of a name is, or the words of one are together.
const (
	aToken = 1 << iota
	anID
	aVector
	aSubject
	readings = 1 << iota // how many there are
)

type wordIs struct {
	words string
	is    int
}

func byLetter(groups ...wordIs) (table ['z' + 1][]wordIs) {
	for _, g := range groups {
		for w := range strings.FieldsSeq(g.words) {
			table[w[0]] = append(table[w[0]], wordIs{w, g.is})
		}
	}
	return table
}

// maxTokenName is the longest name that is looked at, in bytes.
const maxTokenName = 48

// namesTokens reports whether a name is one for token ids. Of a request's name
// it also reports whether it is that of a prompt, or of a text's vectors that
// go to a model.
func namesTokens(name []byte, request bool) bool {
	if len(name) == 0 || len(name) > maxTokenName {
		return false
	}
	var buf [maxTokenName]byte
	s := buf[:0]
	for _, c := range name {
		switch {
		case isUpper(c):
			s = append(s, c+'a'-'A')
		case isLower(c):
			s = append(s, c)
		case c >= 0x80:
			return false
		}
	}
	if request && (string(s) == "prompt" || string(s) == "prompts") {
		return true
	}
	if !bytes.Contains(s, []byte("tok")) && !bytes.Contains(s, []byte("id")) && !bytes.Contains(s, []byte("embed")) {
		return false
	}
	var reach [maxTokenName + 1]uint16 // by place, the readings of what stands before it
	reach[0] = 1
	for i, c := range s {
		if reach[i] == 0 {
			continue
		}
		for _, w := range tokenWords[c] {
			if !strings.HasPrefix(string(s[i:]), w.words) {
				continue
			}
			for is := range readings {
				if reach[i]&(1<<is) != 0 {
					reach[i+len(w.words)] |= 1 << (is | w.is)
				}
			}
		}
	}
	for is := range readings {
		switch {
		case reach[len(s)]&(1<<is) == 0 || is&aVector != 0 && !request:
		case is&aToken != 0 || is&aSubject != 0 && is&(anID|aVector) != 0:
			return true
		}
	}
	return false
}

// An embedding is a row of numbers and not text. In an answer a row of
// fractions is one wherever it stands, except in what tools are called with and
// return. A row of integers is one only under a name for embeddings.

// minVector is the least length of a row that is taken for a vector.
const minVector = 8

// hasVectors reports whether vectors are told from text in this body: in an
// answer, but not in an MCP server's or another agent's, which an agent reads.
func (r *reader) hasVectors() bool {
	return r.msg.Leg == ResponseLeg && r.msg.Format != MCP && r.msg.Format != A2A
}

// vector reports whether v is an array of nothing but numbers, most of them
// fractions where they are not zero.
func (r *reader) vector(v int) bool {
	d := r.doc
	if d.Kind(v) != strictjson.Array {
		return false
	}
	n, whole, fractions := 0, 0, 0
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if d.Kind(c) != strictjson.Number {
			return false
		}
		n++
		if isFraction(d.Raw(c)) {
			fractions++
		} else if !isZero(d.Raw(c)) {
			whole++
		}
	}
	return n >= minVector && fractions >= whole
}

// sparse reports whether object v is a sparse vector, or a place of one.
func (r *reader) sparse(v int) bool {
	d := r.doc
	indices, values, index, value := -1, -1, false, false
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		number := d.Kind(c) == strictjson.Number
		switch name := d.Name(c); {
		case string(name) == "indices" && d.Kind(c) == strictjson.Array:
			indices = c
		case string(name) == "values" && d.Kind(c) == strictjson.Array:
			values = c
		case string(name) == "index" && number:
			index = true
		case string(name) == "value" && number:
			value = true
		default:
			return false
		}
	}
	if indices < 0 || values < 0 {
		return index && value
	}
	// Integers that stand for themselves would be token ids.
	return !index && !value && r.integers(indices) && r.flat(indices) && r.row(values) && d.Next(indices)-indices == d.Next(values)-values
}

// row reports whether array v holds nothing but numbers, at least half of them
// fractions.
func (r *reader) row(v int) bool {
	d := r.doc
	fractions, n := 0, 0
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if d.Kind(c) != strictjson.Number {
			return false
		}
		n++
		if isFraction(d.Raw(c)) {
			fractions++
		}
	}
	return 2*fractions >= n
}

// isFraction reports whether a number is written with a fraction that is not
// zero, or with a negative power of ten.
func isFraction(raw []byte) bool {
	_, fraction, _ := bytes.Cut(raw, []byte("."))
	fraction, _, _ = bytes.Cut(bytes.ToLower(fraction), []byte("e"))
	return len(bytes.Trim(fraction, "0")) > 0 || bytes.Contains(raw, []byte("e-")) || bytes.Contains(raw, []byte("E-"))
}

func isZero(raw []byte) bool { return len(bytes.Trim(raw, "-0.")) == 0 }
