// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

const (
	// maxID is the service's limit for transaction and session ids.
	maxID = 100
	// maxLabel bounds metadata that a caller chooses, such as the model's
	// name, in bytes. The service publishes no limit.
	maxLabel = 256
)

// A plan is the calls that one scan takes.
type plan struct {
	// bodies are the bodies of the calls, all of which must be allowed. There
	// are none when there is only white space to judge.
	bodies [][]byte
	// maskable says that the scan has one turn, that its text, and nothing
	// else, was sent for judgement in one call, and that it can be replaced.
	maskable bool
	// partial says that the bodies do not hold all that is to be judged,
	// which the configuration accepts.
	partial bool
	// profile is what the calls ask to be judged under.
	profile profile
	// inResponse says that this text was sent as a response.
	inResponse bool
}

// An element is the one member of "contents". There never is a second, since
// the service judges only the last one. Empty fields are left out.
type element struct {
	prompt, response         string
	codePrompt, codeResponse string
	tool                     *toolEvent
}

// planOf makes the payloads for a scan. The failure is TooLarge when the scan
// would take more calls than it may.
func planOf(c *Config, s *scan.Scan) (plan, *scan.Failure) {
	if len(s.Turns) == 0 {
		return plan{}, &scan.Failure{Kind: scan.Degraded, Reason: reasonNothing}
	}
	chosen := c.profileOf(s)
	p, fail := planUnder(chosen, c, s)
	p.profile = chosen
	return p, fail
}

func planUnder(chosen profile, c *Config, s *scan.Scan) (plan, *scan.Failure) {
	var room [1024]byte // for most
	head, most := appendEnvelope(room[:0], chosen, c, s), max(s.MaxCalls, 1)
	if events, rest := toolEventsOf(head, c, s, most); len(events) > 0 {
		return planOfToolEvents(head, events, rest, most)
	}
	judged, context := contentOf(s)
	if judged.blank() {
		return plan{}, nil
	}
	p := plan{inResponse: judged.response != ""}
	if len(s.Turns) == 1 && s.Turns[0].Maskable {
		p.maskable = judged.prompt == s.Turns[0].Text || judged.response == s.Turns[0].Text
	}
	whole := judged
	if context != "" {
		whole.prompt, whole.codePrompt = context, fencedCode(context)
	}
	chars := c.maxChars(s)
	if judged.within(chars) {
		body := whole.fit(head)
		if body == nil && context != "" {
			body = judged.fit(head)
		}
		if body != nil {
			p.bodies = [][]byte{body}
			return p, nil
		}
	}
	bodies, all := judged.pieces(head, most, chars)
	if passEnd := isStream(s) && c.Streams.PassEnd && len(bodies) > 0; !all && !passEnd {
		return plan{}, tooMuch()
	}
	return plan{bodies: bodies, partial: !all}, nil
}

// planOfToolEvents adds to the calls for tool events the calls for the turns
// that are in none of them.
func planOfToolEvents(head []byte, events [][]byte, rest []llm.Turn, most int) (plan, *scan.Failure) {
	p := plan{bodies: events}
	text := element{prompt: unlessBlank(transcript(rest))}
	if !text.blank() {
		bodies, all := text.pieces(head, most-len(events), 0)
		if !all {
			return plan{}, tooMuch()
		}
		p.bodies = append(p.bodies, bodies...)
	}
	if len(p.bodies) > most {
		return plan{}, tooMuch()
	}
	return p, nil
}

func tooMuch() *scan.Failure {
	return &scan.Failure{Kind: scan.TooLarge, Reason: reasonTooMuch}
}

// contentOf returns what is to be judged, and what the request said before it.
// That context helps to judge an answer and may be left out. It is "" where the
// judged content has a prompt of its own, which then includes it.
func contentOf(s *scan.Scan) (judged element, context string) {
	if s.Leg == llm.RequestLeg || s.Message != nil && s.Message.Format == llm.MCP {
		// What an MCP server answers goes into a model, like a prompt.
		judged.prompt = unlessBlank(transcript(s.Turns))
		judged.codePrompt = fencedCode(judged.prompt)
		return judged, ""
	}
	out := s.Turns
	if in := turnsWhere(s.Turns, intoModel, true); len(in) > 0 {
		out = turnsWhere(s.Turns, intoModel, false)
		judged.prompt = unlessBlank(transcript(in))
		judged.codePrompt = fencedCode(judged.prompt)
		if len(s.Prompt) > 0 {
			context = transcript(turnsWhere(append(append(make([]llm.Turn, 0, len(s.Prompt)+len(in)), s.Prompt...), in...), isJoined, false))
		}
	} else if len(s.Prompt) > 0 {
		context = transcript(turnsWhere(s.Prompt, isJoined, false))
	}
	judged.response = unlessBlank(answer(out))
	judged.codeResponse = fencedCode(judged.response)
	return judged, unlessBlank(context)
}

// isJoined reports whether a turn says once more what others say. What is not
// judged need not hold such turns.
func isJoined(t llm.Turn) bool { return t.Joined }

func turnsWhere(turns []llm.Turn, is func(llm.Turn) bool, want bool) []llm.Turn {
	var some []llm.Turn
	for i := range turns {
		if is(turns[i]) == want {
			some = append(some, turns[i])
		}
	}
	return some
}

// unlessBlank turns white space into "": the service refuses texts that are
// empty, or returns a verdict on nothing.
func unlessBlank(text string) string {
	if strings.TrimSpace(text) == "" {
		return ""
	}
	return text
}

func (e *element) blank() bool { return e.prompt == "" && e.response == "" }

// appendEnvelope begins a payload up to the inside the contents array.
func appendEnvelope(b []byte, p profile, c *Config, s *scan.Scan) []byte {
	b = append(b, '{')
	// The service takes tr_id for a session when no session_id is sent, so
	// it is left out beside one.
	if session := sessionOf(c, s); session != "" {
		b = appendMember(b, "session_id", shortID(session))
	} else {
		b = appendMember(b, "tr_id", shortID(s.RequestID))
	}
	b = appendMember(b, "transaction_id", shortID(s.RequestID))
	// Without it the service takes the profile that the key is linked to.
	if p.id != "" || p.name != "" {
		b = append(b, `"ai_profile":{`...)
		b = appendMember(b, "profile_id", p.id)
		b = append(closeObject(appendMember(b, "profile_name", p.name)), ',')
	}
	b = append(b, `"metadata":{`...)
	b = appendMember(b, "app_name", appName(c))
	b = appendMember(b, "app_user", clip(appUser(c, s)))
	b = appendMember(b, "ai_model", clip(s.Model))
	b = appendMember(b, "user_ip", clip(s.Identity.ClientIP))
	b = closeObject(b)
	return append(b, `,"contents":[`...)
}

// sessionOf names the conversation an exchange belongs to, "" if it is not
// known. A caller chooses it, so it is only a label, and nothing depends on it.
func sessionOf(c *Config, s *scan.Scan) string {
	if c.SessionIDHeader != "" {
		if id := s.Header.Get(c.SessionIDHeader); id != "" {
			return id
		}
	}
	return s.Session()
}

// appUser names the user, as far as Kong knows one.
func appUser(c *Config, s *scan.Scan) string {
	if consumer := s.Identity.Consumer; c.AppUserIsConsumer && consumer != (scan.Consumer{}) {
		return cmp.Or(consumer.Username, consumer.CustomID, consumer.ID)
	}
	return s.Identity.Service
}

func appName(c *Config) string {
	if c.AppName == "" {
		return "kong"
	}
	return "kong-" + c.AppName
}

// appendMember appends a string member and a comma, or nothing for "". The
// service takes an absent field for absent and an empty one for a value.
func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	b = strictjson.AppendQuote(b, value)
	return append(b, ',')
}

// closeObject ends an object whose last member left a comma.
func closeObject(b []byte) []byte {
	if n := len(b) - 1; b[n] == ',' {
		b = b[:n]
	}
	return append(b, '}')
}

// append appends the element, an object.
func (e *element) append(b []byte) []byte {
	b = append(b, '{')
	if e.tool != nil {
		b = e.tool.append(b)
	}
	b = appendMember(b, "prompt", e.prompt)
	b = appendMember(b, "response", e.response)
	b = appendMember(b, "code_prompt", e.codePrompt)
	b = appendMember(b, "code_response", e.codeResponse)
	return closeObject(b)
}

const tail = "]}"

// fit returns the whole payload, nil if the service would find it too large. It
// is a buffer of scanhttp's, for judge to give back.
func (e *element) fit(head []byte) []byte {
	raw := len(e.prompt) + len(e.response) + len(e.codePrompt) + len(e.codeResponse)
	if e.tool != nil {
		raw += len(e.tool.input) + len(e.tool.output)
	}
	if len(head)+raw > maxBody || e.urls() > maxURLs {
		return nil
	}
	// Most texts fit into the buffer: an eighth more for what is escaped.
	b := append(scanhttp.Buffer(len(head)+raw+raw/8+256), head...)
	b = append(e.append(b), tail...)
	if len(b) > maxBody {
		scanhttp.Recycle(b)
		return nil
	}
	return b
}

func (e *element) urls() int {
	n := countURLs(e.prompt) + countURLs(e.response) + countURLs(e.codePrompt) + countURLs(e.codeResponse)
	if e.tool != nil {
		n += countURLs(e.tool.input) + countURLs(e.tool.output)
	}
	return n
}

// within reports whether no text of the element has more than chars characters;
// 0 is no limit.
func (e *element) within(chars int) bool {
	for _, text := range []string{e.prompt, e.response} {
		if chars > 0 && len(text) > chars && utf8.RuneCountInString(text) > chars {
			return false
		}
	}
	return true
}

// pieces returns the payloads of an element that takes more than one call.
// There are at most most of them, each with at most chars characters of its
// text, 0 for no limit. Each field goes on its own. all reports whether they
// hold all of it. If not, the payloads stop at the last one that there is room
// for.
func (e *element) pieces(head []byte, most, chars int) (bodies [][]byte, all bool) {
	for _, member := range []struct {
		text string
		of   func(piece string) element
	}{
		{e.prompt, func(p string) element { return element{prompt: p} }},
		{e.response, func(p string) element { return element{response: p} }},
		{e.codePrompt, func(p string) element { return element{codePrompt: p} }},
		{e.codeResponse, func(p string) element { return element{codeResponse: p} }},
	} {
		if member.text == "" {
			continue
		}
		room := maxBody - len(head) - len(`{"code_response":""}`) - len(tail)
		texts, ok := split(member.text, room, chars, most-len(bodies))
		for _, text := range texts {
			if unlessBlank(text) == "" {
				continue
			}
			one := member.of(text)
			body := one.fit(head)
			if body == nil {
				return bodies, false
			}
			bodies = append(bodies, body)
		}
		if !ok {
			return bodies, false
		}
	}
	return bodies, true
}

// shortID is id within the service's limit; a longer one is hashed, so that it
// still tells exchanges apart.
func shortID(id string) string {
	if len(id) <= maxID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// clip shortens a label to maxLabel bytes, on a character's boundary.
func clip(s string) string {
	if len(s) <= maxLabel {
		return s
	}
	n := maxLabel
	for n > maxLabel-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
