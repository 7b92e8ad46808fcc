// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"testing"

	"github.com/tidwall/gjson"
)

func TestA2A(t *testing.T) {
	s := New(Options{})
	rpc := func(method, message string) string {
		return `{"jsonrpc":"2.0","id":"q-1","method":"` + method + `","params":{"message":` + message + `}}`
	}
	const (
		old   = `{"kind":"message","role":"user","messageId":"m","parts":[{"kind":"text","text":"What is 2+2?"}]}`
		newer = `{"message":{"role":"ROLE_USER","messageId":"m","parts":[{"text":"What is 2+2?"}]}}`
		want  = "2 + 2 = 4."
	)
	for _, tt := range []struct{ method, path, body, at, want string }{
		{"POST", "/a2a", rpc("message/send", old), "result.parts.0.text", want},
		{"POST", "/a2a", rpc("message/send", old), "id", "q-1"},
		{"POST", "/v1/message:send", newer, "message.parts.0.text", want},
		{"GET", "/.well-known/agent-card.json", "", "skills.0.id", "answer"},
		{"POST", "/a2a", `{`, "error.code", "-32700"},
		{"POST", "/a2a", `{"jsonrpc":"1.0","id":1}`, "error.code", "-32600"},
		{"POST", "/a2a", rpc("tools/call", old), "error.code", "-32601"},
		{"POST", "/a2a", rpc("message/send", `{"role":"agent"}`), "error.code", "-32602"},
		{"POST", "/v1/message:send", `{"message":{"role":"user","messageId":"m","parts":[{"text":"hi"}]}}`, "error.status", "INVALID_ARGUMENT"},
	} {
		if got := gjson.Get(ask(t, s, tt.method, tt.path, tt.body).Body.String(), tt.at).String(); got != tt.want {
			t.Errorf("%s %s: %s is %q, want %q", tt.path, tt.body, tt.at, got, tt.want)
		}
	}
	for _, tt := range []struct{ path, body, at, last string }{
		{"/a2a", rpc("message/stream", old), "result.artifact.parts.0.text", "result.final"},
		{"/v1/message:stream", newer, "artifactUpdate.artifact.parts.0.text", "statusUpdate.status.state"},
	} {
		events := data(t, ask(t, s, "POST", tt.path, tt.body))
		if got := joined(events, tt.at); got != want || !gjson.Get(events[len(events)-1], tt.last).Exists() {
			t.Errorf("%s: %q in %q", tt.path, got, events)
		}
	}
}
