// SPDX-License-Identifier: Apache-2.0

package llm

import "github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"

// TGI is the format of Hugging Face's Text Generation Inference and of the
// servers that speak it.
const TGI Format = "tgi"

var tgiAPI = api{
	format:  TGI,
	paths:   []string{"/generate", "/generate_stream"},
	streams: []string{"/generate_stream"},
	prompts: "inputs",
	answers: "generated_text",
	request: func(s signs) bool { return s.has("inputs") && !s.has("model") }, // the server has one
	answer: func(s signs) bool {
		t := s.doc.Member(s.root, "token")
		return s.has("generated_text") || t >= 0 && s.doc.Kind(t) == strictjson.Object
	},
	grammar: tgi,
	// Its clients raise a text under "error", and go by "error_type".
	refuse: func(o *object, r *Refusal) {
		o.str("error", r.Message)
		o.str("error_type", r.Code)
		o.json("details", r.Details)
	},
	// They look at nothing but data.
	end: func(_ *Refusal, body []byte, f Framing, _ string) []byte { return framed(f, "", body) },
}

// tgi adds what /generate and /generate_stream say: the text as a whole and
// token by token. A stream has an event for each token, and the whole text in
// the last one.
func tgi() {
	r := requestShape
	r.add(field{rule: other, shape: generationShape}, "parameters")
	g := generationShape
	g.add(fSetting, "best_of", "decoder_input_details", "details", "do_sample", "max_new_tokens", "max_time", "num_return_sequences",
		"repetition_penalty", "frequency_penalty", "return_full_text", "seed", "top_n_tokens", "truncate", "typical_p", "watermark")
	g.add(fName, "stop", "adapter_id")
	g.add(field{rule: other, shape: grammarShape}, "grammar")
	grammarShape.add(fEnum, "type")
	grammarShape.add(fSchema, "value") // or a regular expression

	a := answerShape
	a.add(field{rule: other, shape: tokenShape}, "token")
	a.add(fTokens, "top_tokens")
	a.add(field{rule: other, shape: sequenceShape}, "details")
	tokenShape.add(fText, "text")
	tokenShape.add(fSetting, "id", "logprob", "log_prob", "special", "special_token")

	s := sequenceShape
	s.add(field{rule: text, kind: KindText, role: RoleAssistant, slot: "text"}, "generated_text")
	s.add(field{rule: other, shape: sequenceShape, numbered: true}, "best_of_sequences")
	s.add(fTokens, "tokens", "prefill", "top_tokens")
	s.add(fSetting, "generated_tokens", "input_length", "prompt_tokens", "seed")
	s.add(fEnum, "finish_reason")
}

var (
	tokenShape    = grammar(shape{}) // a token of a stream
	sequenceShape = grammar(shape{}) // how a text was made
	grammarShape  = grammar(shape{})

	fTokens = field{rule: tokens, slot: slotOrdinary}
)

// slotOrdinary marks log probabilities that name tokens which clients may leave
// out of the text, and is the slot of the text without those.
const slotOrdinary = "ordinary"

// isSpecial reports whether token v may be one that clients leave out of the
// text. What is no boolean may be either to them.
func isSpecial(d *strictjson.Doc, v int) bool {
	for _, name := range [...]string{"special", "special_token"} {
		if c := d.Member(v, name); c >= 0 && d.Kind(c) != strictjson.False && d.Kind(c) != strictjson.Null {
			return true
		}
	}
	return false
}

// token notes that object v is a token of a stream. Special tokens come under a
// name of their own: some clients join all tokens, others all but those.
func (r *reader) token(a *at, v int) {
	a.block = 0                                         // the event's index counts tokens
	r.numbers = r.numbers || r.doc.Member(v, "id") >= 0 // which a mask would not reach
	if isSpecial(r.doc, v) {
		r.push([]byte("special"))
	}
}
