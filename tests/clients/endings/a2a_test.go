// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/a2aclient"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// serveA2A is an agent whose answer is blocked while it streams, or before.
func serveA2A(t *testing.T, w http.ResponseWriter, req *http.Request, streamed bool) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Error(err)
	}
	m, err := llm.Read(llm.Input{Leg: llm.RequestLeg, Path: req.URL.Path, Body: body}, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 100})
	if err != nil || m.Format != llm.A2A || m.RPC == nil {
		t.Errorf("%s: %v", body, err)
		return
	}
	r := llm.Refusal{Format: m.Format, RPC: m.RPC, Status: http.StatusForbidden, Message: message, Code: "policy_violation", Policy: true}
	if !streamed {
		kind, refusal := llm.Render(r)
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(r.Status)
		_, _ = w.Write(refusal)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, `data: {"jsonrpc":"2.0","id":`+string(m.RPC.ID)+`,"result":{"kind":"artifact-update","taskId":"t","contextId":"c","artifact":{"artifactId":"a","parts":[{"kind":"text","text":"`+said+`"}]}}}`+"\n\n")
	_, _ = w.Write(llm.RenderEnding(r, llm.Events, ""))
}

// TestA2A: a2a-go raises the ending with our message. Before a stream it looks at
// the status alone.
func TestA2A(t *testing.T) {
	for name, streamed := range map[string]bool{"in mid-stream": true, "before the stream": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { serveA2A(t, w, req, streamed) }))
			defer server.Close()
			c, err := a2aclient.NewFromEndpoints(ctx, []a2a.AgentInterface{{URL: server.URL, Transport: a2a.TransportProtocolJSONRPC}})
			if err != nil {
				t.Fatal(err)
			}
			wantText, wantError := "", http.StatusText(http.StatusForbidden)
			if streamed {
				wantText, wantError = said, message
			}
			text := ""
			for event, e := range c.SendStreamingMessage(ctx, &a2a.MessageSendParams{Message: a2a.NewMessage(a2a.MessageRoleUser, a2a.TextPart{Text: "When?"})}) {
				if err = e; err != nil {
					break
				}
				text += event.(*a2a.TaskArtifactUpdateEvent).Artifact.Parts[0].(a2a.TextPart).Text
			}
			if text != wantText || err == nil || !strings.Contains(err.Error(), wantError) {
				t.Errorf("streamed %q, raised %v", text, err)
			}
		})
	}
}
