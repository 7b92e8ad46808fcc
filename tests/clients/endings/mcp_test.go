// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// policyCode is the JSON-RPC error code of a block.
const policyCode = -31001

const progress = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"looking\"}}\n\n"

// serveMCP is a server of one tool. Its call is blocked while the answer
// streams, or before. The stream that a client keeps open for the server's own
// messages is broken off, too.
func serveMCP(w http.ResponseWriter, req *http.Request, streamed bool) {
	body, _ := io.ReadAll(req.Body)
	r := llm.Refusal{Format: llm.MCP, Status: http.StatusForbidden, Message: message, Code: "policy_violation", Policy: true}
	send := func(status int, kind string, parts ...[]byte) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		for _, p := range parts {
			_, _ = w.Write(p)
			_ = http.NewResponseController(w).Flush()
		}
	}
	if req.Method == http.MethodGet {
		send(http.StatusOK, "text/event-stream", []byte(progress), llm.RenderEnding(r, llm.Events, ""))
		return
	}
	var call struct {
		ID     json.RawMessage
		Method string
	}
	_ = json.Unmarshal(body, &call)
	m, err := llm.Read(llm.Input{Leg: llm.RequestLeg, Path: req.URL.Path, Body: body}, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 100})
	if err != nil {
		send(http.StatusBadRequest, "text/plain")
		return
	}
	r.RPC = m.RPC
	switch {
	case call.Method == "initialize":
		send(http.StatusOK, "application/json", fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"harbour","version":"1"}}}`, call.ID))
	case call.Method == "ping":
		send(http.StatusOK, "application/json", fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{}}`, call.ID))
	case call.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	case streamed:
		send(http.StatusOK, "text/event-stream", []byte(progress), llm.RenderEnding(r, llm.Events, ""))
	default:
		kind, refusal := llm.Render(r)
		send(r.Status, kind, refusal)
	}
}

func TestMCP(t *testing.T) {
	for name, streamed := range map[string]bool{"in mid-stream": true, "before the stream": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { serveMCP(w, req, streamed) }))
			defer server.Close()
			logged := make(chan string, 16)
			c := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
				//lint:ignore SA1019 newer versions of the protocol name nothing that a server can say instead
				LoggingMessageHandler: func(_ context.Context, req *mcp.LoggingMessageRequest) {
					if said, ok := req.Params.Data.(map[string]any); ok && req.Params.Level == "error" {
						select {
						case logged <- fmt.Sprint(said["message"]):
						default:
						}
					}
				},
			})
			session, err := c.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: server.URL + "/mcp"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			for range 2 { // the session goes on after a block
				_, err = session.CallTool(ctx, &mcp.CallToolParams{Name: "timetable"})
				var e *jsonrpc.Error
				if !errors.As(err, &e) || e.Code != policyCode || e.Message != message {
					t.Fatalf("%T %v", err, err)
				}
			}
			// The client's own stream was broken off, too: it was told, and lives.
			select {
			case said := <-logged:
				if said != message {
					t.Errorf("logged %q", said)
				}
			case <-ctx.Done():
				t.Fatal("the client was not told why its stream ended")
			}
			if err := session.Ping(ctx, nil); err != nil {
				t.Error(err)
			}
		})
	}
}
