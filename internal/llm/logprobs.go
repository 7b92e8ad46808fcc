// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// tokens reads log probabilities: the text once more, piece by piece, with the
// pieces that might have stood there instead. What repeats the text is dropped
// at the end. The rest is content.
func (r *reader) tokens(a at, f field, v int) {
	p := probs{marked: f.slot == slotOrdinary}
	p.read(r.doc, v, string(r.doc.Name(v)) == "top_tokens")
	if r.step(len(p.text) + len(p.other)); r.err != nil {
		return
	}
	if r.asm != nil {
		if p.marked {
			// A text for each of the lists that one event has.
			name := "." + string(r.label(label{size: maxLabel}))
			r.asm.addText(r, a, slotProbs+name, p.text)
			r.asm.addText(r, a, slotOrdinary+name, p.ordinary)
		} else {
			r.asm.addText(r, a, slotProbs, p.text)
		}
		r.asm.addText(r, a, slotAlternatives, p.other)
		return
	}
	r.take(turnBytes + 3*(len(p.text)+len(p.ordinary)+len(p.other)))
	r.probs = append(extra(r.probs, 2), prob{choice: a.choice, text: string(p.text)}, prob{choice: a.choice, text: string(p.other)})
	if len(p.ordinary) < len(p.text) {
		r.probs = append(extra(r.probs, 1), prob{choice: a.choice, text: string(p.ordinary)})
	}
}

// A prob is a text put together of log probabilities.
type prob struct {
	choice int
	text   string
	listed bool // the words or segments of a transcript
}

// gather makes one text of the pieces from start on, which are what an array
// says. Taken one by one, each of them may stand anywhere in a text.
func (r *reader) gather(start int) {
	n := 0
	for _, p := range r.probs[start:] {
		n += len(p.text) + 1
	}
	if len(r.probs)-start <= 2 {
		return
	}
	if r.take(n); r.err != nil {
		return
	}
	whole := prob{choice: r.probs[start].choice, listed: true}
	var b strings.Builder
	b.Grow(n)
	for _, p := range r.probs[start:] {
		if p.text != "" && p.text[0] != ' ' && b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.text)
	}
	whole.text = b.String()
	r.probs = append(r.probs[:start], whole)
}

// bare returns s without white space and punctuation, which the words of a
// transcript lack.
func bare(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || unicode.IsPunct(c) {
			return -1
		}
		return c
	}, s)
}

type probs struct {
	text, other []byte
	chosen      []byte // the token that stands first among its alternatives

	// marked says that tokens may be marked as special. ordinary is the text
	// without those.
	marked   bool
	ordinary []byte
	special  bool // that the token is which is read
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
		var token []byte
		if t := d.Member(v, "token"); t >= 0 && d.Kind(t) == strictjson.String {
			if token = d.Bytes(t); !alternative {
				p.chosen = token
			}
		}
		if p.marked {
			p.special = isSpecial(d, v)
		}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			switch name := d.Name(c); string(name) {
			case "id", "special", "special_token", "log_prob":
				if !p.marked {
					p.add(name, true)
				}
				p.read(d, c, true)
			case "top_logprobs", "topCandidates":
				p.read(d, c, true)
			case "bytes":
				p.bytes(d, c, token)
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
		return
	}
	p.text = append(p.text, s...)
	if p.marked && !p.special {
		p.ordinary = append(p.ordinary, s...)
	}
}

// bytes reads the bytes of a token. They are content only when they are not
// those of its text.
func (p *probs) bytes(d *strictjson.Doc, v int, token []byte) {
	if d.Kind(v) != strictjson.Array {
		p.read(d, v, true)
		return
	}
	var b []byte
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if d.Kind(c) == strictjson.Number {
			if f, err := strconv.ParseFloat(string(d.Raw(c)), 64); err == nil && f >= 0 && f < 256 {
				b = append(b, byte(f)) // 116, 116.0 and 1.16e2 are one
			}
		} else {
			p.read(d, c, true)
		}
	}
	if len(b) > 0 && !bytes.Equal(b, token) {
		p.add([]byte(strings.ToValidUTF8(string(b), "")), true)
	}
}

// addProbs adds the texts of log probabilities that no turn of their choice
// says already.
func (r *reader) addProbs() {
	if len(r.probs) == 0 {
		return
	}
	said := make(map[int][]*told)
	for i := range r.msg.Turns {
		t := &r.msg.Turns[i]
		if len(said[t.Choice]) < 16 { // a choice has few texts; more are not worth comparing
			said[t.Choice] = append(said[t.Choice], &told{turn: t})
		}
	}
	left := searchPerByte * r.size()
	for _, p := range r.probs {
		text := strings.TrimSpace(p.text)
		if text == "" {
			continue
		}
		tell := r.teller
		if p.listed {
			tell = r.transcript
		}
		if t := tell(said[p.choice], text, &left); t != nil {
			t.Maskable = false // a mask would not reach the probabilities
			continue
		}
		if r.other(RoleAssistant, p.choice, text); r.err != nil {
			return
		}
	}
}

// searchPerByte is how many bytes of texts are searched for log probabilities,
// for each byte of the body. What is left then is content.
const searchPerByte = 8

// transcript returns the turn that says text but for its marks, nil for none.
func (r *reader) transcript(turns []*told, text string, left *int) *Turn {
	r.take(len(text))
	text = bare(text)
	for _, t := range turns {
		if *left -= len(t.turn.Text); *left < 0 {
			return nil
		}
		r.step(2 * len(t.turn.Text))
		r.take(len(t.turn.Text))
		if strings.Contains(bare(t.turn.Text), text) {
			return t.turn
		}
	}
	return nil
}

// told is a turn up to which log probabilities have told its text again.
type told struct {
	turn *Turn
	at   int
}

// aside is how far the next piece may lie from the last, in bytes: words of a
// transcript come without the marks between them.
const aside = 64

// teller returns the turn that says text, nil for none. Pieces come in the
// order of their text, so each is looked for behind the last one first, and
// only then everywhere.
func (r *reader) teller(turns []*told, text string, left *int) *Turn {
	for _, t := range turns {
		from := t.at
		for range 2 {
			near := t.turn.Text[from:min(from+len(text)+aside, len(t.turn.Text))]
			r.step(len(near))
			if i := strings.Index(near, text); i >= 0 {
				t.at = from + i + len(text)
				return t.turn
			}
			if from == 0 {
				break
			}
			from = 0 // a second list begins anew
		}
	}
	for _, t := range turns {
		if *left -= len(t.turn.Text); *left < 0 {
			return nil
		}
		r.step(len(t.turn.Text))
		if i := strings.Index(t.turn.Text, text); i >= 0 {
			t.at = i + len(text)
			return t.turn
		}
	}
	return nil
}
