// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"errors"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// policyCode is the JSON-RPC error code of a block.
const policyCode = -31001

func TestMCPSession(t *testing.T) {
	for _, path := range []string{"/mcp", "/models-relay/mcp", "/models-noma-relay/mcp"} {
		t.Run(path, func(t *testing.T) { testMCPSession(t, path) })
	}
}

func testMCPSession(t *testing.T, path string) {
	promptBlocked, answerBlocked := blocks(path)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: gateway + path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if got := session.InitializeResult(); got.ServerInfo.Name != "kitchen" {
		t.Errorf("initialized with %+v", got)
	}
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 2 {
		t.Fatalf("tools %+v, %v", tools, err)
	}
	for _, tool := range tools.Tools { // one answers with JSON, one with a stream
		t.Run(tool.Name, func(t *testing.T) {
			ask := func(question string) (*mcp.CallToolResult, error) {
				return session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool.Name, Arguments: map[string]any{"question": question}})
			}
			said := func() {
				t.Helper()
				res, err := ask(harmless)
				if err != nil || len(res.Content) != 1 {
					t.Fatalf("got %+v, %v", res, err)
				}
				if text, _ := res.Content[0].(*mcp.TextContent); text == nil || text.Text != answer {
					t.Errorf("got %+v", res.Content[0])
				}
			}
			said()
			for question, want := range map[string]blocked{malicious: promptBlocked, leading: answerBlocked} {
				_, err := ask(question)
				var e *jsonrpc.Error
				if !errors.As(err, &e) || e.Code != policyCode || e.Message != want.message {
					t.Errorf("%s: got %v", question, err)
				}
			}
			said() // the session goes on after a block
		})
	}
}
