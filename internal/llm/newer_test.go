// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestNewerFormats says by which paths and signs conversations, sessions and
// interactions are known, and what is not taken for them.
func TestNewerFormats(t *testing.T) {
	for _, c := range []struct {
		leg        Leg
		path, body string
		want       Format
	}{
		{RequestLeg, "/v1/conversations", `{"items":[]}`, OpenAIConversations},
		{RequestLeg, "/v1/conversations/conv_1/items", `{"items":["hi"]}`, OpenAIConversations},
		{RequestLeg, "/kept", `{"items":[{"role":"user","content":"hi"}]}`, OpenAIConversations},
		{RequestLeg, "/kept", `{"items":[{"type":"function_call_output","output":"hi"}]}`, OpenAIConversations},
		{RequestLeg, "/cart", `{"items":[{"sku":"hi"}]}`, Unknown},
		{RequestLeg, "/cart", `{"items":["hi"]}`, Unknown},
		{RequestLeg, "/cart", `{"session":"abc","workflow":"hi"}`, Unknown},
		{RequestLeg, "/v1/chatkit/sessions", `{"user":"u","workflow":{"id":"wf_1"}}`, OpenAIConversations},
		{RequestLeg, "/v1/realtime/client_secrets", `{"session":{"type":"realtime"}}`, OpenAIConversations},
		{RequestLeg, "/rt", `{"session":{"type":"transcription"}}`, OpenAIConversations},
		{RequestLeg, "/v1/responses", `{"model":"m","input":[{"role":"user","content":"hi"}]}`, OpenAIResponses},
		{RequestLeg, "/v1/responses", `{"model":"m","input":[{"type":"user_input"}],"previous_interaction_id":"x"}`, OpenAIResponses},
		{RequestLeg, "/ask", `{"model":"m","input":[{"role":"user","content":"hi"}],"instructions":"be kind"}`, OpenAIResponses},
		{RequestLeg, "/v1beta/interactions", `{"model":"m","input":"hi"}`, GeminiInteractions},
		{RequestLeg, "/v1beta1/projects/p/locations/l/interactions", `{"model":"m","input":"hi"}`, GeminiInteractions},
		{RequestLeg, "/ask", `{"model":"m","input":"hi","previous_interaction_id":"v1_1"}`, GeminiInteractions},
		{RequestLeg, "/ask", `{"model":"m","input":[{"role":"model","content":"hi"}]}`, GeminiInteractions},
		{RequestLeg, "/ask", `{"model":"m","input":"hi"}`, OpenAIOther},
		{RequestLeg, "/ask", `{"system_instruction":{"parts":[{"text":"a"}]},"contents":[]}`, Gemini},
		{RequestLeg, "/score", `{"text_1":"a","text_2":"b"}`, OpenAIOther},
		{RequestLeg, "/compare", `{"text_1":"a","text_2":"b"}`, Unknown},
		{ResponseLeg, "", `{"object":"list","data":[{"type":"message","role":"user","content":[]}]}`, OpenAIConversations},
		{ResponseLeg, "", `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}`, OpenAIOther},
		{ResponseLeg, "", `{"object":"list","data":[{"id":"gpt-5","object":"model"}]}`, OpenAIOther},
		{ResponseLeg, "", `{"id":"v1_1","status":"completed","steps":[]}`, GeminiInteractions},
		{ResponseLeg, "", `{"id":"resp_1","object":"response","output":[]}`, OpenAIResponses},
		{ResponseLeg, "", `{"outputs":[{"text":"hi","stop_reason":"stop"}]}`, BedrockInvoke},
	} {
		m, err := Read(Input{Leg: c.leg, Path: c.path, Body: []byte(c.body)}, testLimits)
		if err != nil || m.Format != c.want {
			t.Errorf("%s %s: %v, want %s: %v", c.path, c.body, m, c.want, err)
		}
	}
}

// TestKept: what comes to a conversation is kept for others, and a call that
// makes an empty one does not lack a prompt.
func TestKept(t *testing.T) {
	for _, body := range []string{`{"items":[{"role":"user","content":"hi"}]}`, `{"items":[]}`} {
		m, err := Read(Input{Path: "/v1/conversations", Body: []byte(body)}, testLimits)
		if err != nil || !m.Keeps || m.Chat {
			t.Errorf("%s: %+v, %v", body, m, err)
		}
	}
}

// TestSpeakers says who speaks in items whose type or role says so. A server
// that goes by roles does not look at types, so a role decides.
func TestSpeakers(t *testing.T) {
	for _, c := range []struct {
		body string
		role Role
		kind Kind
	}{
		{`{"input":[{"type":"user_input","content":"hi"}]}`, RoleUser, KindText},
		{`{"input":[{"type":"model_output","content":"hi"}]}`, RoleAssistant, KindText},
		{`{"input":[{"type":"model_output","role":"user","content":"hi"}]}`, RoleUser, KindText},
		{`{"input":[{"role":"user","type":"model_output","content":"hi"}]}`, RoleUser, KindText},
		{`{"input":[{"type":"thought","summary":[{"type":"text","text":"hi"}]}]}`, RoleAssistant, KindReasoning},
		{`{"input":[{"type":"function_result","result":"hi"}]}`, RoleTool, KindToolResult},
		{`{"input":[{"type":"function_result","result":["hi"]}]}`, RoleTool, KindToolResult},
		{`{"input":[{"type":"function_result","result":[{"type":"text","text":"hi"}]}]}`, RoleTool, KindToolResult},
		{`{"input":[{"type":"mcp_call","name":"f","error":"hi"}]}`, RoleTool, KindToolResult},
		{`{"input":[{"type":"mcp_call","name":"f","error":{"content":[{"type":"text","text":"hi"}]}}]}`, RoleTool, KindToolResult},
		{`{"input":[{"type":"mcp_approval_response","approve":true,"reason":"hi"}]}`, RoleUser, KindText},
		{`{"prompt":{"id":"p","variables":{"a":"hi"}}}`, RoleUser, KindText},
		{`{"items":[{"role":"developer","content":"hi"}]}`, RoleSystem, KindText},
		{`{"messages":[],"chat_template":"hi"}`, RoleSystem, KindText},
		{`{"messages":[],"chat_template_kwargs":{"a":"hi"}}`, RoleSystem, KindText},
		{`{"messages":[],"guided_choice":["hi"]}`, RoleNone, KindToolDef},
	} {
		m, err := Read(Input{Body: []byte(c.body)}, testLimits)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		i := slices.IndexFunc(m.Turns, func(turn Turn) bool { return turn.Text == "hi" })
		if i < 0 || m.Turns[i].Role != c.role || m.Turns[i].Kind != c.kind {
			t.Errorf("%s: want %s, %s:\n%s", c.body, c.role, c.kind, dump(m))
		}
	}
}

// TestProgramsAreNotMasked: with a mask in it, a template is another program,
// and so is a grammar. Texts beside them are masked.
func TestProgramsAreNotMasked(t *testing.T) {
	body := `{"messages":[{"role":"user","content":"secret"}],"chat_template":"the secret","chat_template_kwargs":{"a":"a secret"},"guided_regex":"secret+","structured_outputs":{"grammar":"root ::= secret","choice":["one secret"]},"template":"secret program"}`
	m, err := Read(Input{Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	masked := []string{"secret", "one secret"}
	found := 0
	for i := range m.Turns {
		turn := &m.Turns[i]
		if turn.Joined || !strings.Contains(turn.Text, "secret") {
			continue
		}
		found++
		_, err := m.Replace([]Replacement{{i, "x"}})
		if want := slices.Contains(masked, turn.Text); want != (err == nil) || err != nil && !errors.Is(err, ErrNotCertain) {
			t.Errorf("%q: %v", turn.Text, err)
		}
	}
	if found != 7 {
		t.Errorf("%d texts in\n%s", found, dump(m))
	}
}

// TestStepsInPieces: what an interaction's step begins, its deltas continue,
// whatever type they claim, and steps beside each other are apart.
func TestStepsInPieces(t *testing.T) {
	const start = `{"event_type":"step.start","index":0,"step":{"type":"model_output","content":[{"type":"text","text":"One "}]}}`
	delta := func(delta string) string { return `{"event_type":"step.delta","index":0,"delta":` + delta + `}` }
	for name, events := range map[string][]string{
		"start and deltas":    {start, delta(`{"type":"text","text":"two "}`), delta(`{"type":"text","text":"three"}`)},
		"types that change":   {start, delta(`{"type":"thought","text":"two "}`), delta(`{"type":"function_call","text":"three"}`)},
		"another step beside": {start, `{"event_type":"step.delta","index":1,"delta":{"type":"text","text":"x"}}`, delta(`{"text":"two three"}`)},
		"before steps":        {`{"event_type":"content.start","index":0,"content":{"type":"text","text":"One "}}`, `{"event_type":"content.delta","index":0,"delta":{"type":"text","text":"two three"}}`},
	} {
		body := "data: " + strings.Join(events, "\n\ndata: ") + "\n\n"
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body), ContentType: "text/event-stream"}, testLimits)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		i := slices.IndexFunc(m.Turns, func(turn Turn) bool { return turn.Text == "One two three" && turn.Kind == KindText })
		if i < 0 || !m.Turns[i].Maskable {
			t.Errorf("%s:\n%s", name, dump(m))
		}
	}
}
