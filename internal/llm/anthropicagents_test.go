// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"slices"
	"strings"
	"testing"
)

// TestAnthropicPaths: the paths of Anthropic's other APIs show their format, and
// those of other vendors do not.
func TestAnthropicPaths(t *testing.T) {
	for path, want := range map[string]Format{
		"/v1/messages/batches":                       AnthropicMessages,
		"/proxy/v1/messages/batches/":                AnthropicMessages,
		"/v1/messages/batches/msgbatch_1/results":    AnthropicMessages,
		"/v1/sessions":                               AnthropicAgents,
		"/v1/sessions/sesn_1":                        AnthropicAgents,
		"/v1/sessions/sesn_1/events":                 AnthropicAgents,
		"/claude/v1/sessions/sesn_1/events/stream":   AnthropicAgents,
		"/v1/sessions/sesn_1/threads/sthr_1/events":  AnthropicAgents,
		"/v1/sessions//events":                       OpenAIChat,
		"/v1/sessions/a/b/events":                    OpenAIChat,
		"/v1/realtime/sessions":                      OpenAIConversations,
		"/v1/agents":                                 OpenAIChat,
		"/events":                                    OpenAIChat,
		"/v1/other/sesn_1/events":                    OpenAIChat,
		"/v1/messages/batches/a/b/results":           OpenAIChat,
		"/v1/messages/batches/msgbatch_1/results/no": OpenAIChat,
	} {
		if got := FormatOf(path); got != want {
			t.Errorf("%s is %s, not %s", path, got, want)
		}
	}
}

// TestAnthropicSigns: without a path, bodies show their format by their names.
func TestAnthropicSigns(t *testing.T) {
	message := `{"type":"user.message","content":[{"type":"text","text":"hi"}]}`
	for _, tt := range []struct {
		name, body string
		leg        Leg
		want       Format
	}{
		{"batch", `{"requests":[{"custom_id":"1","params":{"messages":[]}}]}`, RequestLeg, AnthropicMessages},
		{"Gemini's embeddings", `{"requests":[{"model":"m","content":{"parts":[{"text":"a"}]}}]}`, RequestLeg, Gemini},
		{"no batch", `{"requests":[{"custom_id":"1"}]}`, RequestLeg, Gemini},
		{"events", `{"events":[` + message + `]}`, RequestLeg, AnthropicAgents},
		{"first events", `{"agent":"a","initial_events":[` + message + `],"environment_id":"e"}`, RequestLeg, AnthropicAgents},
		{"session", `{"agent":"agent_1","environment_id":"env_1"}`, RequestLeg, AnthropicAgents},
		{"agent", `{"name":"a","model":"m","system":"s"}`, RequestLeg, AnthropicAgents},
		{"somebody's events", `{"events":[{"type":"click","Messages":"x"}]}`, RequestLeg, Unknown},
		{"events that are none", `{"events":"user.message"}`, RequestLeg, Unknown},
		{"a conversation with a name", `{"name":"a","model":"m","system":"s","messages":[]}`, RequestLeg, AnthropicMessages},
		{"edits of the context", `{"messages":[],"context_management":{"edits":[]}}`, RequestLeg, AnthropicMessages},
		{"a list of events", `{"data":[` + message + `]}`, ResponseLeg, AnthropicAgents},
		{"embeddings", `{"object":"list","data":[{"object":"embedding","embedding":[0.1]}]}`, ResponseLeg, OpenAIOther},
		{"a result", `{"custom_id":"1","result":{"type":"expired"}}`, ResponseLeg, AnthropicMessages},
	} {
		m, err := Read(Input{Leg: tt.leg, Body: []byte(tt.body)}, testLimits)
		if err != nil || m.Format != tt.want {
			t.Errorf("%s: %v, %+v", tt.name, err, m)
			continue
		}
		if tt.want == AnthropicAgents && tt.leg == RequestLeg && !m.Keeps {
			t.Errorf("%s: not said to be kept", tt.name)
		}
	}
}

// events writes data lines.
func dataLines(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

// TestSessionStreams: pieces of one event are one text, whatever comes between
// them, and two events are two.
func TestSessionStreams(t *testing.T) {
	delta := func(id, index, text string) string {
		return `{"type":"event_delta","event_id":"` + id + `","delta":{"type":"content_delta","index":` + index + `,"content":{"type":"text","text":"` + text + `"}}}`
	}
	whole := func(id, content string) string {
		return `{"type":"agent.message","id":"` + id + `","content":` + content + `}`
	}
	for _, tt := range []struct {
		name, body string
		want       []string // texts that a turn has, with nothing else in it
	}{
		{"pieces", dataLines(delta("a", "0", "one "), delta("a", "0", "text")), []string{"one text"}},
		{"two events", dataLines(delta("a", "0", "one"), delta("b", "0", "other"), delta("a", "0", " text")), []string{"one text", "other"}},
		{"blocks of an event", dataLines(delta("a", "1", "er"), delta("a", "0", "oth")), []string{"oth", "er", "other"}},
		{"an index that is no number", dataLines(delta("a", `"0"`, "one "), delta("a", "0.0", "text")), []string{"one text"}},
		{"no id", dataLines(strings.Replace(delta("a", "0", "one "), `"event_id":"a",`, "", 1), strings.Replace(delta("a", "0", "text"), `"event_id":"a",`, "", 1)), []string{"one text"}},
		{"an id that is a number", dataLines(strings.Replace(delta("a", "0", "one "), `"a"`, "1", 1), strings.Replace(delta("a", "0", "text"), `"a"`, "1", 1)), []string{"one text"}},
		{"whole messages", dataLines(whole("a", `[{"type":"text","text":"one"}]`), whole("b", `[{"type":"text","text":"two"}]`)), []string{"one", "two"}},
		{"one message in two events", dataLines(whole("a", `[{"type":"text","text":"one "}]`), whole("a", `[{"type":"text","text":"text"}]`)), []string{"one text"}},
		{"blocks of a message", dataLines(whole("a", `[{"type":"text","text":"oth"},{"type":"text","text":"er"}]`)), []string{"oth", "er", "other"}},
		{"a text that is no block", dataLines(whole("a", `"one "`), whole("b", `"text"`)), []string{"one text"}},
		// Clients of other APIs look at no type.
		{"a chat's choices", dataLines(`{"type":"agent.message","id":"a","choices":[{"delta":{"content":"one "}}]}`, `{"type":"user.message","id":"b","choices":[{"delta":{"content":"text"}}]}`), []string{"one text"}},
		{"Ollama's message", dataLines(`{"type":"agent.message","id":"a","message":{"content":"one "}}`, `{"type":"agent.message","id":"b","message":{"content":"text"}}`), []string{"one text"}},
		{"Ollama's response", dataLines(`{"type":"agent.message","id":"a","response":"one "}`, `{"type":"session.error","id":"b","response":"text"}`), []string{"one text"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Read(Input{Leg: ResponseLeg, ContentType: "text/event-stream", Body: []byte(tt.body)}, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, turn := range m.Turns {
				if turn.Kind != KindOther && turn.Message == -1 {
					got = append(got, turn.Text)
				}
			}
			for _, want := range tt.want {
				if !slices.Contains(got, want) {
					t.Errorf("%q is not among %q", want, got)
				}
			}
			checkStream(t, flowBody{name: tt.name, label: "text/event-stream", body: []byte(tt.body)}, fixedCut(1), fixedCut(7), fixedCut(1<<20))
		})
	}
}

func fixedCut(n int) func() int { return func() int { return n } }

// TestBatchResults: each line is the answer to a request of its own, and the
// blocks of one answer are joined.
func TestBatchResults(t *testing.T) {
	line := func(id, content string) string {
		return `{"custom_id":"` + id + `","result":{"type":"succeeded","message":{"id":"msg_` + id + `","type":"message","role":"assistant","content":[` + content + `]}}}` + "\n"
	}
	text := func(s string) string { return `{"type":"text","text":"` + s + `"}` }
	body := line("a", text("oth")+","+text("er")) + line("b", text("apart"))
	in := Input{Leg: ResponseLeg, ContentType: "application/x-jsonl", Body: []byte(body)}
	m, err := Read(in, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, turn := range m.Turns {
		if turn.Role == RoleAssistant && turn.Kind == KindText {
			got = append(got, turn.Text)
		}
	}
	if want := []string{"oth", "er", "apart", "other"}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
	out, err := m.Replace([]Replacement{{Turn: 2, Text: "masked"}})
	if want := strings.Replace(body, "apart", "masked", 1); err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
	checkStream(t, flowBody{name: "results", label: in.ContentType, body: in.Body}, fixedCut(1), fixedCut(7), fixedCut(1<<20))
}

// TestMaskedEvents: the places of a session's texts are certain, streamed too.
func TestMaskedEvents(t *testing.T) {
	body := `{"events":[{"type":"user.message","content":[{"type":"text","text":"secret one"}]},{"type":"user.tool_confirmation","tool_use_id":"t","result":"deny","deny_message":"secret two"}]}`
	m, err := Read(Input{Leg: RequestLeg, Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Replace([]Replacement{{Turn: 0, Text: "1"}, {Turn: 1, Text: "2"}})
	if want := strings.NewReplacer("secret one", "1", "secret two", "2").Replace(body); err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}

	stream := dataLines(
		`{"type":"event_delta","event_id":"a","delta":{"type":"content_delta","index":0,"content":{"type":"text","text":"secret "}}}`,
		`{"type":"event_delta","event_id":"a","delta":{"type":"content_delta","index":0,"content":{"type":"text","text":"one"}}}`,
		`{"type":"agent.message","id":"a","content":[{"type":"text","text":"secret one"}]}`)
	m, err = Read(Input{Leg: ResponseLeg, ContentType: "text/event-stream", Body: []byte(stream)}, testLimits)
	if err != nil || len(m.Turns) == 0 || m.Turns[0].Text != "secret one" {
		t.Fatalf("%v: %+v", err, m)
	}
	out, err = m.Replace([]Replacement{{Turn: 0, Text: "1"}})
	want := strings.NewReplacer(`"secret "`, `"1"`, `"one"`, `""`, `"secret one"`, `"1"`).Replace(stream)
	if err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
}
