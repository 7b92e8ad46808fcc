// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"strings"

	"kong-ai-guard/internal/strictjson"
)

// tokens reads log probabilities: the text once more, piece by piece, with
// the pieces that might have stood there instead. What repeats the text is
// dropped at the end; the rest is content.
func (r *reader) tokens(a at, v int) {
	var p probs
	p.read(r.doc, v, false)
	if r.asm != nil {
		r.asm.addText(a, slotProbs, p.text)
		r.asm.addText(a, slotAlternatives, p.other)
		return
	}
	r.probs = append(r.probs, prob{a.choice, string(p.text)}, prob{a.choice, string(p.other)})
}

// A prob is a text put together of log probabilities.
type prob struct {
	choice int
	text   string
}

type probs struct {
	text, other []byte
	chosen      []byte // the token that stands first among its alternatives
}

func (p *probs) read(d *strictjson.Doc, v int, alternative bool) {
	switch d.Kind(v) {
	case strictjson.String:
		p.add(d.Bytes(v), alternative)
	case strictjson.Array:
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			p.read(d, c, alternative)
		}
	case strictjson.Object:
		if t := d.Member(v, "token"); t >= 0 && !alternative && d.Kind(t) == strictjson.String {
			p.chosen = d.Bytes(t)
		}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			switch name := d.Name(c); string(name) {
			case "top_logprobs", "topCandidates":
				p.read(d, c, true)
			case "bytes":
				p.bytes(d, c, v)
			case "content", "refusal", "tokens", "token", "chosenCandidates", "candidates", "logprobs",
				"text_offset", "token_logprobs", "logprob", "logProbability", "tokenId", "token_id", "token_ids", "text", "rank":
				p.read(d, c, alternative)
			default:
				// The completions API has the tokens as names.
				p.add(name, true)
				p.read(d, c, true)
			}
		}
	}
}

func (p *probs) add(s []byte, alternative bool) {
	if alternative {
		if string(s) == string(p.chosen) {
			return
		}
		p.other = append(append(p.other, s...), ' ')
	} else {
		p.text = append(p.text, s...)
	}
}

// bytes reads the bytes of the token in object of: content only when they are
// not those of its text.
func (p *probs) bytes(d *strictjson.Doc, v, of int) {
	if d.Kind(v) != strictjson.Array {
		p.read(d, v, true)
		return
	}
	var b []byte
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if d.Kind(c) == strictjson.Number {
			b = append(b, byte(number(d.Raw(c))))
		} else {
			p.read(d, c, true)
		}
	}
	if t := d.Member(of, "token"); t < 0 || d.Kind(t) != strictjson.String || string(d.Bytes(t)) != string(b) {
		p.add([]byte(strings.ToValidUTF8(string(b), "")), true)
	}
}

// addProbs adds the texts of log probabilities that no turn of their choice
// says already.
func (r *reader) addProbs() {
	if len(r.probs) == 0 {
		return
	}
	said := make(map[int][]*Turn)
	for i := range r.msg.Turns {
		t := &r.msg.Turns[i]
		if len(said[t.Choice]) < 16 { // a choice has few texts; more are not worth comparing
			said[t.Choice] = append(said[t.Choice], t)
		}
	}
next:
	for _, p := range r.probs {
		text := strings.TrimSpace(p.text)
		if text == "" {
			continue
		}
		for _, t := range said[p.choice] {
			if strings.Contains(t.Text, text) {
				t.Maskable = false // a mask would not reach the probabilities
				continue next
			}
		}
		r.other(RoleAssistant, p.choice, text)
	}
}
