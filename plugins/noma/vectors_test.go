// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// The test vectors of the service's public clients (TV01 to TV77) are run here
// through the real binary, in its gateway, where a gateway can reach what they
// say; TestVerdicts, TestFailures and the tests of tokens hold the scanner
// against them one by one. These do not apply, or are decided otherwise:
//
//	TV04    we leave a safe prompt as it is, as the Kong client does, though
//	        the service gives a masked text.
//	TV18,   clients that scan the last user message only, and put every mask
//	TV22    there; we scan all turns, and a mask goes to its own turn.
//	TV21    an exchange without a user message is scanned all the same if it
//	        says anything; nothing at all makes no call.
//	TV32-36 with the consumer in the place of the key's alias, and "kong".
//	TV47    our own block is never shown to a model as an answer.
//	TV48-57 another product's endpoint (/litellm/guardrail), which gets what
//	        the caller has in its memory; its words for actions are decoded.
//	        TV57's sampling of streams would let text out before its verdict.
//	TV58-62 the first API, which takes one text and is switched off; its
//	        verdicts are decoded.
//	TV64    a key or credentials are needed for the vendor's own host only;
//	        see TestDecodeErrors.
//	TV71    a scan is cancelled only by our own deadlines.
//	TV74    an assistant's text is kept beside its calls.
//	TV77    another client's idea of answers; all strings of an answer count.
func TestVectors(t *testing.T) {
	const (
		secret = "My email is test@example.com"
		hidden = "My email is *******"
		masked = `"anonymizedContent":{"anonymized":"My email is *******"}`
		fired  = `{"result":true,"probability":0.9,"status":"SUCCESS"}`
		quiet  = `{"result":false,"probability":0.1,"status":"SUCCESS"}`
	)
	image := `{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/image.jpg"}}]}]}`
	type vector struct {
		name string
		// prompt is a user's text, body a whole request instead of it.
		prompt, body, say string
		answer            string // the service's
		status            int
		// upstream is the text that the model gets, client the one that the
		// client gets, "" for the same as was sent.
		upstream, client string
	}
	for _, group := range []struct {
		name    string
		config  map[string]any
		vectors []vector
	}{
		{"prompt", map[string]any{"response_mode": "off"}, []vector{
			{name: "TV01 allowed", prompt: hello, answer: judged(false, "user", `{}`), status: 200},
			{name: "TV02 blocked", prompt: hello, answer: judged(true, "user", `{"harmfulContent":`+fired+`}`), status: 400},
			{name: "TV08 no masking", prompt: secret, answer: judged(true, "user", `{`+masked+`,"sensitiveData":{"PII":`+fired+`}}`), status: 400},
			{name: "TV27 allowed image", body: image, answer: judged(false, "user", `{"harmfulContent":`+quiet+`}`), status: 200},
			{name: "TV28 blocked image", body: image, answer: judged(true, "user", `{"harmfulContent":`+fired+`}`), status: 400},
			{name: "TV39 action allow", prompt: hello, answer: `{"aggregatedAction":"allow","scanResult":[]}`, status: 200},
			{name: "TV40 the action outranks the result", prompt: hello, answer: `{"aggregatedAction":"allow","aggregatedScanResult":true,"scanResult":[{"role":"user","results":{"blockingDetector":{"result":true}}}]}`, status: 200},
			{name: "TV41 action mask", prompt: "Name: Jane", answer: ruled("mask", "user", `{"anonymizedContent":{"anonymized":"Name: *******"}}`), status: 200, upstream: "Name: *******"},
			{name: "TV42 mask without a text", prompt: "Name: Jane", answer: ruled("mask", "user", `{}`), status: 400},
			{name: "TV43 action block", prompt: hello, answer: `{"aggregatedAction":"block","scanResult":[{"role":"user"}]}`, status: 400},
			{name: "TV44 all of it is masked", prompt: "my ssn is 123", answer: ruled("mask", "user", `{"sensitiveData":{"ssn":{"result":true}},"anonymizedContent":{"anonymized":"[REDACTED]"}}`), status: 200, upstream: "[REDACTED]"},
			{name: "TV45 no action", prompt: hello, answer: `{"aggregatedScanResult":true,"scanResult":[{"role":"user","results":{"blockingDetector":{"result":true}}}]}`, status: 400},
			{name: "TV49 another product's block", prompt: hello, answer: `{"action":"BLOCKED","blocked_reason":"blocked by policy"}`, status: 400},
			{name: "TV52 another product's unknown word", prompt: hello, answer: `{"action":"INVALID"}`, status: 503},
			{name: "TV58 the first API", prompt: hello, answer: `{"verdict":true}`, status: 200},
			{name: "TV59 the first API blocks", prompt: hello, answer: `{"verdict":false,"originalResponse":{"prompt":{"harmfulContent":{"result":true,"confidence":0.9}}}}`, status: 400},
			{name: "no verdict is no allow", prompt: hello, answer: `{}`, status: 503},
		}},
		{"prompt, masking", map[string]any{"response_mode": "off", "anonymize_input": true}, []vector{
			{name: "TV04 safe", prompt: secret, answer: judged(false, "user", `{`+masked+`,"sensitiveData":{"PII":{"result":false}}}`), status: 200},
			{name: "TV05 only sensitive data", prompt: secret, answer: judged(true, "user", `{`+masked+`,"sensitiveData":{"PII":`+fired+`},"harmfulContent":`+quiet+`}`), status: 200, upstream: hidden},
			{name: "TV06 harmful too", prompt: secret, answer: judged(true, "user", `{`+masked+`,"sensitiveData":{"PII":`+fired+`},"harmfulContent":`+fired+`}`), status: 400},
			{name: "TV10 nothing to mask with", prompt: secret, answer: judged(true, "user", `{"sensitiveData":{"PII":`+fired+`}}`), status: 400},
			{name: "TV15 a group fired", prompt: secret, answer: judged(true, "user", `{`+masked+`,"sensitiveData":{"PII":`+fired+`},"customLlm":{"topic1":`+fired+`}}`), status: 400},
			{name: "TV62 the first API", prompt: secret, answer: `{"verdict":false,"originalResponse":{"prompt":{` + masked + `,"dataDetector":{"x":{"result":true}}}}}`, status: 200, upstream: hidden},
		}},
		{"answer", map[string]any{"request_mode": "off"}, []vector{
			{name: "TV03 allowed", prompt: hello, say: "I'm doing well, thank you!", answer: judged(false, "assistant", `{}`), status: 200},
			{name: "TV43 blocked", prompt: hello, say: "x", answer: ruled("block", "assistant", `{}`), status: 400},
		}},
		{"answer, masking", map[string]any{"request_mode": "off", "anonymize_input": true}, []vector{
			{name: "TV07 only sensitive data", prompt: hello, say: "My email is admin@company.com", answer: judged(true, "assistant", `{`+masked+`,"sensitiveData":{"PCI":`+fired+`}}`), status: 200, client: hidden},
			{name: "TV11 nothing to mask with", prompt: hello, say: "x", answer: judged(true, "assistant", `{"sensitiveData":{"PCI":`+fired+`}}`), status: 400},
		}},
	} {
		t.Run(group.name, func(t *testing.T) {
			h := build(t, group.config)
			for _, v := range group.vectors {
				t.Run(v.name, func(t *testing.T) {
					h.noma.SetFault(fakenoma.ScanPath, fakenoma.Fault{Body: v.answer})
					scans, asked := len(h.noma.Requests(fakenoma.ScanPath)), len(h.prompts())
					body := v.body
					if body == "" {
						body = chat(v.prompt)
					}
					r := h.post(t, "/open/v1/chat/completions", body, v.say)
					if r.status != v.status {
						t.Fatalf("status %d, want %d: %s", r.status, v.status, r.body)
					}
					if n := len(h.noma.Requests(fakenoma.ScanPath)) - scans; n != 1 {
						t.Errorf("%d scans", n)
					}
					if v.status == 200 {
						want := body
						if v.upstream != "" {
							want = chat(v.upstream)
						}
						if got := h.prompts(); len(got) != asked+1 || got[asked] != want {
							t.Errorf("the model got %q, want %q", got[asked:], want)
						}
						said := v.say
						if v.client != "" {
							said = v.client
						}
						if r.body != completion(said) {
							t.Errorf("the client got %s", r.body)
						}
					}
				})
			}
		})
	}
}

// TestChoicesOfAnAnswer covers TV29 and TV30.
func TestChoicesOfAnAnswer(t *testing.T) {
	h := build(t, map[string]any{"request_mode": "off"})
	r := h.post(t, "/open/v1/chat/completions", chat(hello), "allowed", "how to hack")
	if r.status != 400 {
		t.Errorf("TV29: status %d", r.status)
	}
	h.answers("application/json", strings.Replace(completion("first a@b.example", "second c@d.example", "third"), `"content":"third"`, `"content":null`, 1))
	r = h.post(t, "/open/v1/chat/completions", chat(hello))
	if want := strings.Replace(completion("first *******", "second *******", "third"), `"content":"third"`, `"content":null`, 1); r.status != 200 || r.body != want {
		t.Errorf("TV30: %d %s", r.status, r.body)
	}
}

// TestClientNamesTheApplication covers TV32 to TV36: who may say which
// application an exchange is reported under, on both legs, and what becomes of
// the body that says it.
func TestClientNamesTheApplication(t *testing.T) {
	const (
		said = `"guardrails":{"noma-guard":{"extra_body":{"application_id":"dynamic-app"}}}`
		rest = `"messages":[{"role":"user","content":"Hello, how are you?"}]`
		full = `{"model":"gpt-4o", ` + said + `, ` + rest + `}`
	)
	header := func(id string) http.Header { return http.Header{"X-Noma-Application-Id": {id}} }
	for _, group := range []struct {
		name   string
		config map[string]any
		cases  []struct {
			name, route, body string
			header            http.Header
			application, got  string
		}
	}{
		{"trusted", map[string]any{"trust_client_application_id": true, "application_ID": "config-app"}, []struct {
			name, route, body string
			header            http.Header
			application, got  string
		}{
			{"TV32 the body says", "/keyed", full, header("header-app"), "dynamic-app", `{"model":"gpt-4o", ` + rest + `}`},
			{"at the end", "/keyed", `{` + rest + ` , ` + said + ` }`, nil, "dynamic-app", `{` + rest + ` }`},
			{"nothing useful", "/keyed", `{"guardrails":{"g":{"extra_body":{"application_id":" "}}},` + rest + `}`, nil, "config-app", `{` + rest + `}`},
			{"another type is left alone", "/keyed", `{"guardrails":["noma-guard"],` + rest + `}`, nil, "config-app", `{"guardrails":["noma-guard"],` + rest + `}`},
			{"TV33 the header says", "/keyed", chat(hello), header("header-app"), "header-app", chat(hello)},
			{"TV34 the configuration", "/keyed", chat(hello), nil, "config-app", chat(hello)},
			{"with a mask", "/keyed", `{` + said + `,"messages":[{"role":"user","content":"I am a@b.example"}]}`, nil, "dynamic-app", `{"messages":[{"role":"user","content":"I am *******"}]}`},
		}},
		{"not trusted", nil, []struct {
			name, route, body string
			header            http.Header
			application, got  string
		}{
			{"the body says", "/keyed", full, nil, "alice", full},
			{"TV35 the header says", "/keyed", chat(hello), header("header-app"), "alice", chat(hello)},
			{"TV36 nobody says", "/open", chat(hello), header("header-app"), "kong", chat(hello)},
		}},
		{"monitored", map[string]any{"trust_client_application_id": true, "monitor_mode": true}, []struct {
			name, route, body string
			header            http.Header
			application, got  string
		}{
			{"the body says, and goes on as it is", "/keyed", full, nil, "dynamic-app", full},
		}},
	} {
		t.Run(group.name, func(t *testing.T) {
			h := build(t, group.config)
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					scans, asked := len(h.noma.Requests(fakenoma.ScanPath)), len(h.prompts())
					if c.header == nil {
						c.header = http.Header{}
					}
					c.header.Set("X-Say", "fine")
					if r := h.send(t, c.route+"/v1/chat/completions", c.body, c.header); r.status != 200 {
						t.Fatalf("status %d: %s", r.status, r.body)
					}
					eventually(t, "both legs are scanned", func() bool { return len(h.noma.Requests(fakenoma.ScanPath)) == scans+2 })
					for _, r := range h.noma.Requests(fakenoma.ScanPath)[scans:] {
						if id := gjson.GetBytes(r.Body, "x-noma-context.applicationId").Str; id != c.application {
							t.Errorf("application %q, want %q", id, c.application)
						}
					}
					if got := h.prompts(); got[asked] != c.got {
						t.Errorf("the model got %s, want %s", got[asked], c.got)
					}
				})
			}
		})
	}
}
