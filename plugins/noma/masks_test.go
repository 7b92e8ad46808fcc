// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// chunk is one event of a streamed chat: what some choices say next.
func chunk(deltas ...string) string {
	var choices []string
	for i, d := range deltas {
		if d != "" {
			choices = append(choices, fmt.Sprintf(`{"index":%d,"delta":{"content":%q},"finish_reason":null}`, i, d))
		}
	}
	return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[` + strings.Join(choices, ",") + "]}\n\n"
}

const (
	usage = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],"usage":{"total_tokens":7}}` + "\n\n"
	done  = "data: [DONE]\n\n"
)

// spoken puts the text of each choice of a stream together, and fails when an
// event is not as a client expects it.
func spoken(t *testing.T, stream string) map[int]string {
	t.Helper()
	said := map[int]string{}
	events := strings.Split(strings.TrimSuffix(stream, "\n\n"), "\n\n")
	if events[len(events)-1] != "data: [DONE]" {
		t.Errorf("the stream ends with %q", events[len(events)-1])
	}
	for _, event := range events[:len(events)-1] {
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok || !gjson.Valid(data) {
			t.Fatalf("event %q", event)
		}
		for _, choice := range gjson.Get(data, "choices").Array() {
			said[int(choice.Get("index").Int())] += choice.Get("delta.content").Str
		}
	}
	return said
}

// TestMaskedStreams: sensitive data is masked in streams too, wherever its
// pieces lie, each choice by itself; the client gets a sound stream.
func TestMaskedStreams(t *testing.T) {
	dialects := map[string]fakenoma.Options{
		"the service asks":  {ClientID: "id", ClientSecret: "s3cret"},
		"the gateway masks": {ClientID: "id", ClientSecret: "s3cret", Dialect: fakenoma.ResultDialect},
	}
	for name, o := range dialects {
		h := build(t, map[string]any{"anonymize_input": o.Dialect == fakenoma.ResultDialect})
		h.noma.Configure(func(to *fakenoma.Options) { *to = o })
		for _, c := range []struct {
			name, stream string
			want         map[int]string
			status       int
		}{
			{"in one piece", chunk("mail ") + chunk("a@b.example") + chunk(" now") + usage + done, map[int]string{0: "mail ******* now"}, 200},
			{"in many", chunk("mail a") + chunk("@b.ex") + chunk("ample now") + done, map[int]string{0: "mail ******* now"}, 200},
			{"choices between each other", chunk("one a@", "two c") + chunk("b.example", "@d.example!", "three") + usage + done, map[int]string{0: "one *******", 1: "two *******!", 2: "three"}, 200},
			{"nothing to mask", chunk("all ", "is") + chunk("well", " fine") + done, map[int]string{0: "all well", 1: "is fine"}, 200},
			{"another choice is harmful", chunk("a@b.example", "how to ") + chunk("", "hack") + done, nil, 400},
		} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				h.answers("text/event-stream", c.stream)
				r := h.post(t, "/open/v1/chat/completions", `{"stream":true,`+chat(hello)[1:])
				if r.status != c.status {
					t.Fatalf("status %d: %s", r.status, r.body)
				}
				if c.status != 200 {
					if gjson.Get(r.body, "error.message").Str != "Response blocked by Noma guardrail" {
						t.Errorf("%s", r.body)
					}
					return
				}
				if got := spoken(t, r.body); fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("said %v, want %v", got, c.want)
				}
				if strings.Contains(c.stream, "total_tokens") && !strings.Contains(r.body, usage) {
					t.Errorf("the usage is lost: %s", r.body)
				}
				if c.name == "nothing to mask" && r.body != c.stream {
					t.Errorf("changed: %s", r.body)
				}
				if got := r.header.Get("Content-Type"); got != "text/event-stream" {
					t.Errorf("content type %q", got)
				}
			})
		}
	}
}

// TestMaskedPrompts: a mask goes to the turn that it was made of and to no
// other, and where its place is not certain the exchange is blocked.
func TestMaskedPrompts(t *testing.T) {
	const before, after = "I am a@b.example", "I am *******"
	h := build(t, nil)
	for _, c := range []struct{ name, body, want string }{
		{
			"every turn its own",
			`{"messages":[{"role":"system","content":"For c@d.example only"},{"role":"user","content":"` + before + `"},{"role":"assistant","content":"Hello!"},{"role":"user","content":"Who am I?"}]}`,
			`{"messages":[{"role":"system","content":"For ******* only"},{"role":"user","content":"` + after + `"},{"role":"assistant","content":"Hello!"},{"role":"user","content":"Who am I?"}]}`,
		},
		{
			"one text among parts",
			`{"messages":[{"role":"user","content":[{"type":"text","text":"` + before + `"},{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"type":"text","text":"` + after + `"},{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}`,
		},
		{"one of two texts", `{"messages":[{"role":"user","content":[{"type":"text","text":"` + before + `"},{"type":"text","text":"Who am I?"}]}]}`, ""},
		{"a tool's arguments", `{"messages":[{"role":"user","content":"mail"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"mail","arguments":"{\"to\":\"a@b.example\"}"}}]}]}`, ""},
		{"a place that nobody knows", `{"messages":[{"role":"user","content":"hi"}],"x":"a@b.example"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := len(h.prompts())
			r := h.post(t, "/open/v1/chat/completions", c.body, "fine")
			prompts := h.prompts()[asked:]
			if c.want == "" {
				if r.status != 400 || len(prompts) != 0 {
					t.Errorf("status %d, the model got %q", r.status, prompts)
				}
				return
			}
			if r.status != 200 || len(prompts) != 1 || prompts[0] != c.want {
				t.Errorf("status %d, the model got %q", r.status, prompts)
			}
		})
	}
}

// TestMasksOfOtherTurns: what the service says of another turn than the one it
// names, or of one too few, is never taken for a mask (a known defect of the
// public clients).
func TestMasksOfOtherTurns(t *testing.T) {
	const body = `{"messages":[{"role":"user","content":"first a@b.example"},{"role":"assistant","content":"ok"},{"role":"user","content":"second"}]}`
	one := `{"role":"user","results":{"sensitiveData":{"PII":{"result":true}},"anonymizedContent":{"anonymized":"first *******"}}}`
	h := build(t, map[string]any{"response_mode": "off"})
	for name, entries := range map[string]string{
		"one entry for two turns of the role": one,
		"in another order":                    `{"role":"assistant","results":{}},` + one + `,{"role":"user","results":{}}`,
		"one entry too many":                  one + `,{"role":"assistant","results":{}},{"role":"user","results":{}},{"role":"user","results":{}}`,
	} {
		h.noma.SetFault(fakenoma.ScanPath, fakenoma.Fault{Body: `{"aggregatedAction":"mask","scanResult":[` + entries + `]}`})
		if r := h.post(t, "/open/v1/chat/completions", body, "x"); r.status != 400 {
			t.Errorf("%s: status %d, the model got %q", name, r.status, h.prompts())
		}
	}
}

// TestMasksOfParts: what lies in one of the parts that clients join is masked
// there, and what lies across them is blocked, since it has no place.
func TestMasksOfParts(t *testing.T) {
	result := func(parts ...string) string {
		var texts []string
		for _, p := range parts {
			texts = append(texts, fmt.Sprintf(`{"type":"text","text":%q}`, p))
		}
		return `{"jsonrpc":"2.0","id":7,"result":{"content":[` + strings.Join(texts, ",") + `]}}`
	}
	h := build(t, nil)
	for _, c := range []struct {
		name, answer, want string
	}{
		{"in one of them", result("Ask a@b.example", "(or not)"), result("Ask *******", "(or not)")},
		{"in both", result("Ask a@b.example", "(or c@d.example)"), result("Ask *******", "(or *******)")},
		{"across them", result("Ask a@b", ".example now"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.answers("application/json", c.answer)
			r := h.post(t, "/open/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"find","arguments":{"who":"staff"}}}`)
			if c.want == "" {
				if r.status != 400 || strings.Contains(r.body, "example") {
					t.Errorf("status %d: %s", r.status, r.body)
				}
				return
			}
			if r.status != 200 || r.body != c.want {
				t.Errorf("status %d: %s", r.status, r.body)
			}
		})
	}
}
