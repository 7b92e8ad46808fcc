// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// TestPromptMissing: a conversation that says nothing lacks a prompt; one that
// gives a result, allows a call or refers to what the API keeps does not, and
// neither does a call that needs none.
func TestPromptMissing(t *testing.T) {
	const chat, responses, messages = "/v1/chat/completions", "/v1/responses", "/v1/messages"
	for _, c := range []struct {
		path, body string
		missing    bool
		media      bool // media_parts decides
	}{
		{path: chat, body: `{"model":"m","messages":[]}`, missing: true},
		{path: chat, body: `{"model":"m","messages":[{"role":"user","content":""}]}`, missing: true},
		{path: chat, body: `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":" "}]}]}`, missing: true},
		{path: chat, body: `{"model":"m","messages":[{"role":"user","content":[]},{"role":"assistant","content":null}]}`, missing: true},
		{path: chat, body: `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":""}}]}]}`, missing: true},
		{path: chat, body: `{"model":"m","messages":[{"role":"assistant","content":"","tool_calls":[]}]}`, missing: true},
		{path: responses, body: `{"model":"m","input":""}`, missing: true},
		{path: responses, body: `{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":""}]}]}`, missing: true},
		{path: "/v1beta/models/g:generateContent", body: `{"contents":[{"role":"user","parts":[{"text":""}]}]}`, missing: true},
		{path: "/api/chat", body: `{"model":"m","messages":[{"role":"user","content":""}]}`, missing: true},
		{path: chat, body: `{}`, missing: true},
		{path: "/ai", body: ` {} `, missing: true},

		{path: responses, body: `{"model":"m","input":[{"type":"function_call_output","call_id":"call_1","output":""}]}`},
		{path: responses, body: `{"model":"m","input":[{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}]}`},
		{path: responses, body: `{"model":"m","prompt":{"id":"pmpt_1","version":"2"}}`},
		{path: responses, body: `{"model":"m","previous_response_id":"resp_1","input":[]}`},
		{path: responses, body: `{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}`},
		{path: responses, body: `{"model":"m","input":[{"id":"msg_1"}]}`},
		{path: responses, body: `{"model":"m","input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAAAABx0Zq3"}]}`},
		{path: responses, body: `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]}`, media: true},
		{path: responses, body: `{"model":"m","input":[{"role":"user","content":[{"type":"input_image","file_id":"file-1","detail":"auto"}]}]}`, media: true},
		{path: responses, body: `{"model":"m","input":[{"type":"computer_call_output","call_id":"call_1","output":{"type":"computer_screenshot","file_id":"file-1"}}]}`, media: true},
		{path: chat, body: `{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`, media: true},
		{path: chat, body: `{"model":"m","messages":[{"role":"tool","tool_call_id":"call_1","content":""}]}`},
		{path: messages, body: `{"model":"m","messages":[{"role":"user","content":[{"type":"container_upload","file_id":"file_1"}]}]}`, media: true},
		{path: messages, body: `{"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}`, media: true},
		{path: messages, body: `{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1"}]}]}`},
		{path: messages, body: `{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[]}]}]}`},
		{path: "/model/m/converse", body: `{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[]}}]}]}`},
		{path: "/v1beta/models/g:generateContent", body: `{"contents":[],"cachedContent":"cachedContents/abc1"}`},
		{path: "/api/chat", body: `{"model":"m","messages":[]}`},
		{path: "/api/chat", body: `{"model":"m"}`},
		{path: "/api/generate", body: `{"model":"m"}`},
		{path: "/api/generate", body: `{"model":"m","prompt":"","keep_alive":0}`},
		{path: "/v1/conversations", body: `{}`},
		{path: "/v1/threads", body: `{}`},
		{path: "/v1/threads", body: `{"messages":[]}`},
		{path: "/v1/vector_stores", body: `{}`},
		{path: "/v1/responses/resp_1/cancel", body: `{}`},
		{path: "/v1/messages/batches/b1/cancel", body: `{}`},
		{path: "/v1beta/batches/b1:cancel", body: `{}`},
	} {
		in := llm.Input{Path: c.path, Body: []byte(c.body), ContentType: "application/json"}
		m, err := llm.Read(in, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 64})
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if !c.media && len(m.Turns) != 0 {
			t.Errorf("%s says %q", c.body, m.Turns[0].Text)
		}
		if got := promptMissing(m, &in, "POST"); got != c.missing {
			t.Errorf("%s %s: missing %v", c.path, c.body, got)
		}
		if got := len(m.Media) > 0; got != c.media {
			t.Errorf("%s: media %v", c.body, got)
		}
	}
	in := llm.Input{Path: "/ai", Body: []byte(`{}`)}
	if promptMissing(&llm.Message{Format: llm.Unknown}, &in, "DELETE") || !promptMissing(&llm.Message{Format: llm.Unknown}, &in, "PUT") {
		t.Error("an empty object by DELETE, or by PUT")
	}
}
