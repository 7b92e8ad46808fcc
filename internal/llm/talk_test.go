// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestNew: what came after the model's last turn is taken in each format, with
// system text, definitions and all that is no message of the conversation.
func TestNew(t *testing.T) {
	for _, tc := range []struct {
		name, path, body string
		left             string // words that are not taken
	}{
		{"OpenAI chat", "/v1/chat/completions", `{"messages":[{"role":"system","content":"kind"},{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}],"tools":[{"type":"function","function":{"name":"f","description":"tooling"}}],"x":"odd place"}`, "one,two"},
		{"a call and its result", "/v1/chat/completions", `{"messages":[{"role":"user","content":"one"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":\"two\"}"}}]},{"role":"tool","tool_call_id":"c","content":"three"}]}`, "one,two"},
		{"developer text in the middle", "/v1/chat/completions", `{"messages":[{"role":"user","content":"one"},{"role":"developer","content":"two"},{"role":"assistant","content":"three"},{"role":"user","content":"four"}]}`, "one,three"},
		{"Responses", "/v1/responses", `{"model":"m","instructions":"kind","input":[{"role":"user","content":"one"},{"type":"reasoning","summary":[{"type":"summary_text","text":"two"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":\"three\"}"},{"type":"function_call_output","call_id":"c","output":"four"}]}`, "one,two,three"},
		{"Anthropic", "/v1/messages", `{"model":"m","max_tokens":9,"system":"kind","messages":[{"role":"user","content":"one"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":"two"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"three"},{"type":"text","text":"four"}]}]}`, "one,two"},
		{"Gemini", "/v1beta/models/g:generateContent", `{"systemInstruction":{"parts":[{"text":"kind"}]},"contents":[{"role":"user","parts":[{"text":"one"}]},{"role":"model","parts":[{"text":"two"}]},{"role":"user","parts":[{"text":"three"}]}]}`, "one,two"},
		{"Converse", "/model/m/converse", `{"system":[{"text":"kind"}],"messages":[{"role":"user","content":[{"text":"one"}]},{"role":"assistant","content":[{"text":"two"}]},{"role":"user","content":[{"text":"three"}]}]}`, "one,two"},
		{"Cohere", "/v1/chat", `{"message":"three","chat_history":[{"role":"USER","message":"one"},{"role":"CHATBOT","message":"two"}]}`, ""},
		{"Ollama", "/api/chat", `{"model":"m","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, "one,two"},

		{"the first turn", "/v1/chat/completions", `{"messages":[{"role":"user","content":"one"}]}`, ""},
		{"several turns of the model", "/v1/chat/completions", `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"assistant","content":"three"},{"role":"user","content":"four"}]}`, "one,two,three"},
		{"begun for the model", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"},{"role":"assistant","content":"four"}]}`, "one,two"},
		{"only begun for the model", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"assistant","content":"three"}]}`, ""},
		{"the model alone", "/v1/chat/completions", `{"messages":[{"role":"assistant","content":"one"}]}`, ""},
		{"a model's turn inside of the user's", "/v1/chat/completions", `{"messages":[{"role":"user","content":"one","message":{"role":"assistant","content":"two"},"x":{"role":"user","content":"three"}}]}`, ""},
		{"inside of the last", "/v1/chat/completions", `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three","message":{"role":"assistant","content":"four"}}]}`, "one,two"},
		{"a second list", "/v1/chat/completions", `{"input":[{"role":"user","content":"one"}],"messages":[{"role":"user","content":"two"},{"role":"assistant","content":"three"},{"role":"user","content":"four"}]}`, ""},
		{"a batch", "/v1/messages/batches", `{"requests":[{"custom_id":"a","params":{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"one"}]}},{"custom_id":"b","params":{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"two"},{"role":"assistant","content":"three"},{"role":"user","content":"four"}]}}]}`, ""},
		{"a batch beside a conversation", "/v1/messages", `{"requests":[{"custom_id":"a","params":{"messages":[{"role":"user","content":"one"}]}}],"model":"m","max_tokens":9,"messages":[{"role":"user","content":"two"},{"role":"assistant","content":"three"},{"role":"user","content":"four"}]}`, "two,three"},
		{"messages in a text", "/v1/completions", `{"prompt":"{\"messages\":[{\"role\":\"user\",\"content\":\"one\"},{\"role\":\"assistant\",\"content\":\"two\"},{\"role\":\"user\",\"content\":\"three\"}]}"}`, ""},
		{"a tool's result called the model's", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"one"},{"role":"assistant","content":[{"type":"tool_result","tool_use_id":"t","content":"two"}]}]}`, ""},
		{"items of a new conversation", "/v1/conversations", `{"items":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"items for a conversation", "/v1/conversations/conv_1/items", `{"items":[{"type":"message","role":"user","content":"one"},{"type":"message","role":"assistant","content":"two"},{"type":"message","role":"user","content":"three"}]}`, ""},
		{"messages of a new thread", "/v1/threads", `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"after a response that is kept", "/v1/responses", `{"model":"m","previous_response_id":"resp_1","input":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"in a conversation that is kept", "/v1/responses", `{"model":"m","conversation":{"id":"conv_1"},"input":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"after an interaction that is kept", "/v1beta/interactions", `{"model":"m","previous_interaction_id":"v1_a","input":[{"type":"user_input","content":[{"type":"text","text":"one"}]},{"type":"model_output","content":[{"type":"text","text":"two"}]},{"type":"user_input","content":[{"type":"text","text":"three"}]}]}`, ""},
		{"in a chat that is kept", "/v1/chat/completions", `{"model":"m","conversation_id":"c1","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"in a chat, named another way", "/v1/chat/completions", `{"model":"m","conversationId":"c1","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"in a thread that is kept", "/v1/chat/completions", `{"model":"m","thread_id":"t1","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"in a session that is kept", "/v1/chat/completions", `{"model":"m","session_id":"s1","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"in a chat by its id", "/v1/chat/completions", `{"model":"m","chat_id":"c1","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"in a session by its name", "/v1/chat/completions", `{"model":"m","session":"s1","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, ""},
		{"in no thread", "/v1/chat/completions", `{"model":"m","thread_id":null,"session_id":"","messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, "one,two"},
		{"with a file that is kept", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"one"},{"type":"file","file":{"file_id":"file-1"}}]},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, "one,two"},
		{"after no response", "/v1/responses", `{"model":"m","previous_response_id":null,"conversation":"","input":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"}]}`, "one,two"},
		{"a part of the model's in a user's turn", "/v1beta/models/g:generateContent", `{"contents":[{"role":"user","parts":[{"text":"one"}]},{"role":"model","parts":[{"text":"two"}]},{"role":"user","parts":[{"executableCode":{"language":"PYTHON","code":"print(1)"}},{"text":"three"}]},{"role":"user","parts":[{"text":"four"}]}]}`, "one,two"},
		{"two names for who speaks", "/v1/chat/completions", `{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","author":"assistant","content":"three"},{"role":"user","content":"four"}]}`, "one,two"},
		{"bare strings", "/v1/responses", `{"model":"m","input":["one",{"role":"assistant","content":"two"},"three",{"role":"user","content":"four"}]}`, "two"},
	} {
		m, err := Read(Input{Path: tc.path, Body: []byte(tc.body)}, testLimits)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var taken strings.Builder
		for _, i := range m.Select(New) {
			taken.WriteString(m.Turns[i].Text + "\n")
		}
		var left []string
		for _, word := range []string{"kind", "tooling", "odd place", "one", "two", "three", "four"} {
			if strings.Contains(tc.body, word) && !strings.Contains(taken.String(), word) {
				left = append(left, word)
			}
		}
		if got := strings.Join(left, ","); got != tc.left {
			t.Errorf("%s: %q is left out, want %q", tc.name, got, tc.left)
		}
	}
}

// TestNewLeavesNoConversationUnseen plays conversations as they grow: each text
// of the caller's and of tools is taken once at least, and nearly all once only.
func TestNewLeavesNoConversationUnseen(t *testing.T) {
	var messages []string
	times := map[string]int{}
	var said []string
	say := func(role, text string) {
		messages = append(messages, fmt.Sprintf(`{"role":%q,"content":%q}`, role, text))
		if role != "assistant" {
			said = append(said, text)
		}
	}
	for turn := range 20 {
		say("user", fmt.Sprintf("asks-%d-", turn))
		for call := range turn % 3 {
			body := `{"messages":[` + strings.Join(messages, ",") + `]}`
			count(t, body, said, times)
			say("assistant", fmt.Sprintf("calls-%d-%d-", turn, call))
			say("tool", fmt.Sprintf("finds-%d-%d-", turn, call))
		}
		count(t, `{"messages":[`+strings.Join(messages, ",")+`]}`, said, times)
		say("assistant", fmt.Sprintf("answers-%d-", turn))
	}
	for _, text := range said {
		if times[text] != 1 {
			t.Errorf("%s was taken %d times", text, times[text])
		}
	}
}

func count(t *testing.T, body string, said []string, times map[string]int) {
	t.Helper()
	m, err := Read(Input{Path: "/v1/chat/completions", Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range m.Select(New) {
		if j := slices.IndexFunc(said, func(text string) bool { return strings.Contains(m.Turns[i].Text, text) }); j >= 0 {
			times[said[j]]++
		}
	}
}
