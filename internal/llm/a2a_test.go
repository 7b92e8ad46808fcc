// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestA2AOrMCP says by what the two protocols are told apart that speak JSON-RPC,
// and what is neither. Whichever it is, the text is read.
func TestA2AOrMCP(t *testing.T) {
	call := func(method, params string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`
	}
	result := func(result string) string { return `{"jsonrpc":"2.0","id":1,"result":` + result + `}` }
	asked := func(body string) *Message {
		m, err := Read(Input{Leg: RequestLeg, Body: []byte(body)}, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	const note = `"x":"the heron hides"`
	const status = `"status":{"state":"working"}`
	for _, c := range []struct {
		request    *Message
		leg        Leg
		path, body string
		want       Format
	}{
		{nil, RequestLeg, "/", call("message/send", `{`+note+`}`), A2A},
		{nil, RequestLeg, "/", call("SendStreamingMessage", `{`+note+`}`), A2A},
		{nil, RequestLeg, "/mcp", call("agent/getAuthenticatedExtendedCard", `{`+note+`}`), A2A},
		{nil, RequestLeg, "/", call("tasks/get", `{"id":"t",`+note+`}`), A2A},
		{nil, RequestLeg, "/", call("tasks/get", `{"taskId":"t",`+note+`}`), MCP},
		{nil, RequestLeg, "/", call("tasks/get", `{"taskId":"t","id":"t",`+note+`}`), MCP},
		{nil, RequestLeg, "/", call("tasks/list", `{`+note+`}`), MCP},
		{nil, RequestLeg, "/", call("tools/call", `{"message":{"messageId":"m","parts":[]},`+note+`}`), MCP},
		{nil, RequestLeg, "/", `[` + call("message/send", `{`+note+`}`) + `,` + call("tools/list", `{}`) + `]`, MCP},
		{nil, RequestLeg, "/v1/message:send", `{"message":{"parts":[]},` + note + `}`, A2A},
		{nil, RequestLeg, "/hook", `{"id":"t",` + status + `,` + note + `}`, A2A},
		{nil, RequestLeg, "/hook", `{"id":"t","status":"working",` + note + `}`, Unknown},
		{nil, RequestLeg, "/v1/chat", `{"message":"hi",` + note + `}`, Cohere},
		{nil, RequestLeg, "/x", `{"messages":[{"role":"user","content":"hi"}],"kind":"task",` + note + `}`, OpenAIChat},
		{nil, ResponseLeg, "/", result(`{"kind":"status-update",` + note + `}`), A2A},
		{nil, ResponseLeg, "/", result(`{"task":{"taskId":"t","status":"working"},` + note + `}`), MCP},
		{nil, ResponseLeg, "/", result(`{"task":{"id":"t",` + status + `},` + note + `}`), A2A},
		{nil, ResponseLeg, "/", result(`{"content":[],` + note + `}`), MCP},
		{asked(call("message/send", `{}`)), ResponseLeg, "/", result(`{` + note + `}`), A2A},
		{asked(call("message/send", `{}`)), ResponseLeg, "/", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"the heron hides"}}`, A2A},
		{asked(call("tools/call", `{"name":"f"}`)), ResponseLeg, "/", result(`{"kind":"task",` + note + `}`), MCP},
		{asked(call("tasks/list", `{}`)), ResponseLeg, "/", result(`{"tasks":[{"id":"t",` + status + `}],` + note + `}`), A2A},
		{nil, ResponseLeg, "/", `{"name":"a","skills":[],"capabilities":{},` + note + `}`, A2A},
	} {
		m, err := Read(Input{Leg: c.leg, Path: c.path, Body: []byte(c.body), Request: c.request}, testLimits)
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if m.Format != c.want || !strings.Contains(dump(m), "the heron hides") {
			t.Errorf("%s: not %s but\n%s", c.body, c.want, dump(m))
		}
		if c.leg == RequestLeg && c.want == A2A && m.RPC == nil && !m.Keeps {
			t.Errorf("%s: an agent that works on it is not waited for", c.body)
		}
	}
}

// TestA2ASpeakers holds who speaks: the caller in what is sent, whatever role it
// names, and else who is named.
func TestA2ASpeakers(t *testing.T) {
	sent := `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"role":"ROLE","messageId":"m","parts":[{"text":"hi"}]}}}`
	told := `{"jsonrpc":"2.0","id":1,"result":{"message":{"role":"ROLE","messageId":"m","parts":[{"text":"hi"}]}}}`
	for _, c := range []struct {
		leg        Leg
		body, role string
		want       Role
	}{
		{RequestLeg, sent, "user", RoleUser},
		{RequestLeg, sent, "ROLE_AGENT", RoleUser},
		{RequestLeg, sent, "system", RoleUser},
		{ResponseLeg, told, "user", RoleUser},
		{ResponseLeg, told, "ROLE_USER", RoleUser},
		{ResponseLeg, told, "agent", RoleAssistant},
		{ResponseLeg, told, "ROLE_AGENT", RoleAssistant},
		{ResponseLeg, told, "ROLE_UNSPECIFIED", RoleAssistant},
	} {
		m, err := Read(Input{Leg: c.leg, Body: []byte(strings.Replace(c.body, `"ROLE"`, `"`+c.role+`"`, 1))}, testLimits)
		if err != nil || len(m.Turns) == 0 || m.Turns[0].Role != c.want || m.Turns[0].Text != "hi" || !m.Turns[0].Maskable {
			t.Errorf("%s, %s: %v\n%s", c.leg, c.role, err, dump(m))
		}
	}
}

// TestA2AEndings holds how a refusal and the end of a stream name the call.
func TestA2AEndings(t *testing.T) {
	r := Refusal{Format: A2A, Status: 403, Message: "No.", Policy: true, RPC: &RPC{ID: []byte(`"q-1"`)}}
	_, body := Render(r)
	if gjson.GetBytes(body, "id").String() != "q-1" || gjson.GetBytes(body, "error.code").Int() != rpcPolicy {
		t.Errorf("refused with %s", body)
	}
	end := string(RenderEnding(r, Events, ""))
	_, data, _ := strings.Cut(end, "data: ")
	if gjson.Get(data, "id").String() != "q-1" || gjson.Get(data, "error.message").String() != "No." {
		t.Errorf("ended with %s", end)
	}
	r.RPC = &RPC{}
	if end = string(RenderEnding(r, Events, "")); !strings.Contains(end, `"id":null,"error"`) {
		t.Errorf("without an id ended with %s", end)
	}
	r.RPC = nil
	if end = string(RenderEnding(r, Events, "")); !strings.HasPrefix(end, "event: error\n") || !strings.Contains(end, "PERMISSION_DENIED") {
		t.Errorf("by its own path ended with %s", end)
	}
}
