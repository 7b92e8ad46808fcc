// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

func TestCut(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"hello"}]`
	for _, c := range []struct{ name, body, value, want string }{
		{"first", `{ "guardrails" : {"a":1} , ` + messages + `}`, `{"a":1}`, `{ ` + messages + `}`},
		{"middle", `{"model":"m", "guardrails":{}, ` + messages + `}`, `{}`, `{"model":"m", ` + messages + `}`},
		{"last", `{` + messages + ` , "guardrails":{"a":{"b":[1,2]}} }`, `{"a":{"b":[1,2]}}`, `{` + messages + ` }`},
		{"alone", `{"guardrails":{}}`, `{}`, `{}`},
		{"escaped name", `{"\u0067uardrails":{},` + messages + `}`, `{}`, `{` + messages + `}`},
		{"another type", `{"guardrails":["a"],` + messages + `}`, ``, `{"guardrails":["a"],` + messages + `}`},
		{"another place", `{"metadata":{"guardrails":{}},` + messages + `}`, ``, `{"metadata":{"guardrails":{}},` + messages + `}`},
		{"no such member", `{` + messages + `}`, ``, `{` + messages + `}`},
		{"an array", `[{"guardrails":{}}]`, ``, `[{"guardrails":{}}]`},
		{"plain text", `guardrails`, ``, `guardrails`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Read(Input{Leg: RequestLeg, Path: "/v1/chat/completions", Cut: "guardrails", Body: []byte(c.body)}, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			if string(m.Cut) != c.value {
				t.Errorf("cut %q, want %q", m.Cut, c.value)
			}
			if got, err := m.Replace(nil); string(got) != c.want || err != nil {
				t.Errorf("left %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// What is cut is not said, and masks go where they belong beside it.
func TestCutAndMask(t *testing.T) {
	m, err := Read(Input{Leg: RequestLeg, Path: "/v1/chat/completions", Cut: "guardrails", Body: []byte(
		`{"guardrails":{"g":{"extra_body":{"application_id":"a@b.example"}}},"messages":[{"role":"user","content":"I am a@b.example"}]}`)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Turns) != 1 || m.Turns[0].Text != "I am a@b.example" {
		t.Fatalf("turns %+v", m.Turns)
	}
	got, err := m.Replace([]Replacement{{0, "***"}})
	if want := `{"messages":[{"role":"user","content":"***"}]}`; string(got) != want || err != nil {
		t.Errorf("%s, %v", got, err)
	}
}

// FuzzCut: what is left of a JSON object is the same without the member.
func FuzzCut(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"cut":{"b":"c"},"d":"e"}`, `{"cut":{}}`, `{"a":1 , "cut":{}}`, `{"cut":{},"a":[{}]}`, `{"\u0063ut":{"cut":{}},"":null}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Read(Input{Leg: RequestLeg, Body: body, Cut: "cut"}, testLimits)
		if err != nil || m.Cut == nil {
			return
		}
		got, err := m.Replace(nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := strictjson.Parse(got, DefaultDepth)
		if err != nil {
			t.Fatalf("%q became %q", body, got)
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal(body, &before) != nil || json.Unmarshal(got, &after) != nil {
			t.Fatalf("%q became %q", body, got)
		}
		delete(before, "cut")
		if d.Member(strictjson.Root, "cut") >= 0 || len(before) != len(after) {
			t.Fatalf("%q became %q", body, got)
		}
		for name, value := range before {
			if string(after[name]) != string(value) {
				t.Fatalf("%q became %q", body, got)
			}
		}
	})
}

func TestRenderDetails(t *testing.T) {
	for format, place := range map[Format]string{
		OpenAIChat: "error.details", OpenAIResponses: "error.details", Unknown: "error.details",
		AnthropicMessages: "error.details", Gemini: "error.details.0", MCP: "error.data.details",
		BedrockConverse: "details", BedrockInvoke: "details", Cohere: "details", Ollama: "details", TGI: "details",
	} {
		r := Refusal{Format: format, Status: 400, Message: "blocked", Code: "policy_violation", Details: []byte(`{"prompt":{"x":{"result":true}}}`)}
		_, body := Render(r)
		if !gjson.ValidBytes(body) || gjson.GetBytes(body, place+".prompt.x.result").Raw != "true" {
			t.Errorf("%s: %s", format, body)
		}
		r.Details = nil
		if _, body = Render(r); !gjson.ValidBytes(body) || gjson.GetBytes(body, "error.details").Exists() || gjson.GetBytes(body, "details").Exists() {
			t.Errorf("%s without details: %s", format, body)
		}
	}
}
