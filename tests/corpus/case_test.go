// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// marker is what the scan services of these tests object to, and nothing else:
// a phrase of ordinary words, as a detector reads them.
const marker = "the grey heron hides seven copper lanterns"

// The ways in which a body can hold the marker. The data writes $MARK for it
// as it is, and the others for what has to be decoded first.
var spell = strings.NewReplacer(
	"$MARK", marker,
	"$HEAD", marker[:len("the grey her")], "$TAIL", marker[len("the grey her"):],
	"$ESCAPED", escape(marker),
	"$BASE64", base64.StdEncoding.EncodeToString([]byte(marker)),
	"$PERCENT", percent(marker),
)

// escape writes a text with each of its characters as JSON's \uXXXX.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

// percent writes a text with each of its bytes as %XX.
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

// The names that policy gives to outcomes, as the access log has them.
const (
	blocked       = "policy_block"
	malformed     = "malformed"
	ambiguous     = "ambiguous"
	unscannable   = "unscannable"
	tooLarge      = "too_large"
	upgrade       = "upgrade_refused"
	streamRefused = "event_stream_refused"
	listenRefused = "subscription_refused"
)

const chatPath = "/v1/chat/completions"

// A message is a request or an answer as it stands on the wire.
type message struct {
	method, path string // of a request
	status       int    // of an answer
	header       []string
	body         string
}

// A testcase is one exchange and what must become of it.
type testcase struct {
	class, name string
	// attack says that it has to end with the outcome want on the answer's leg,
	// or else on the request's. What is not an attack has to pass unchanged.
	attack, onAnswer bool
	want             string
	request, answer  message
	http2            bool
	// decoded is the body of the answer before its content coding, "" if it has
	// none.
	decoded string
	// relayed says that the case is about what only the relay lets through.
	relayed bool
}

// A list gathers the cases of one class.
type list struct {
	class string
	cases []testcase
}

var completion = message{
	status: 200, header: []string{"Content-Type: application/json"},
	body: `{"id":"chatcmpl-9aXk2","object":"chat.completion","created":1760000000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Ferries run hourly.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":0}},"service_tier":"default","system_fingerprint":"fp_a1b2c3"}`,
}

var question = message{
	method: "POST", path: chatPath, header: []string{"Content-Type: application/json"},
	body: `{"model":"gpt-4o","messages":[{"role":"user","content":"When does the ferry leave?"}]}`,
}

func (l *list) add(c testcase) *testcase {
	c.class = l.class
	l.cases = append(l.cases, c)
	return &l.cases[len(l.cases)-1]
}

// ask adds an attack by a request's body, which the scan has to see.
func (l *list) ask(name, body string) *testcase {
	c := testcase{name: name, attack: true, want: blocked, request: question, answer: completion}
	c.request.body = spell.Replace(body)
	return l.add(c)
}

// say adds an attack by an answer's body, which the scan has to see.
func (l *list) say(name, body string) *testcase {
	c := testcase{name: name, attack: true, onAnswer: true, want: blocked, request: question, answer: completion}
	c.answer.body = spell.Replace(body)
	return l.add(c)
}

// stream adds an attack by an answer of server-sent events.
func (l *list) stream(name string, events ...string) *testcase {
	c := l.say(name, sse(events...))
	c.answer.header = []string{"Content-Type: text/event-stream; charset=utf-8", "Cache-Control: no-cache"}
	c.request.body = strings.Replace(c.request.body, `"model"`, `"stream":true,"model"`, 1)
	return c
}

// pass adds good traffic: a request's body and the answer's.
func (l *list) pass(name, path, request, answer string) *testcase {
	c := testcase{name: name, request: question, answer: completion}
	c.request.path, c.request.body, c.answer.body = path, request, answer
	return l.add(c)
}

// passStream adds good traffic whose answer is a stream of events.
func (l *list) passStream(name, path, request string, events ...string) *testcase {
	c := l.pass(name, path, request, sse(events...))
	c.answer.header = []string{"Content-Type: text/event-stream"}
	return c
}

func (c *testcase) must(outcome string) *testcase { c.want = outcome; return c }

func (c *testcase) to(path string) *testcase { c.request.path = path; return c }

func (c *testcase) by(method string) *testcase { c.request.method = method; return c }

// typed sets the content type of the message that the case is about, "" for
// none.
func (c *testcase) typed(contentType string) *testcase {
	var header []string
	for _, h := range c.subject().header {
		if !strings.HasPrefix(h, "Content-Type:") {
			header = append(header, h)
		}
	}
	if contentType != "" {
		header = append(header, "Content-Type: "+contentType)
	}
	c.subject().header = header
	return c
}

// with adds a header line to the message that the case is about.
func (c *testcase) with(lines ...string) *testcase {
	m := c.subject()
	m.header = append(append([]string(nil), m.header...), lines...)
	return c
}

// coded sets the message's body to what a coding makes of it.
func (c *testcase) coded(name string, encode func([]byte) []byte) *testcase {
	if c.onAnswer && c.decoded == "" {
		c.decoded = c.answer.body
	}
	c.subject().body = string(encode([]byte(c.subject().body)))
	return c.with("Content-Encoding: " + name)
}

// over sets what was asked for, where the answer is the subject.
func (c *testcase) over(path, request string) *testcase {
	c.request.path, c.request.body = path, spell.Replace(request)
	return c
}

// subject is the message that an attack is about. For good traffic it is the
// request, unless there is none.
func (c *testcase) subject() *message {
	if c.onAnswer {
		return &c.answer
	}
	return &c.request
}

// sse writes events: each is the value of a data line, or whole lines when it
// has a line feed in it or starts with a field's name.
func sse(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		switch {
		case strings.Contains(e, "\n") || strings.HasPrefix(e, "event:") || strings.HasPrefix(e, ":") || strings.HasPrefix(e, "id:"):
			b.WriteString(e)
		default:
			b.WriteString("data: " + e)
		}
		b.WriteString("\n\n")
	}
	return b.String()
}
