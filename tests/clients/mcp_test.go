// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/tidwall/gjson"
)

// policyCode is the JSON-RPC error code of a block.
const policyCode = -31001

// mcpPaths are where both services are met, in Kong's phases and relayed.
var mcpPaths = []string{"/mcp", "/models-noma/mcp", "/models-relay/mcp", "/models-noma-relay/mcp"}

// The protocol's versions: the last is without sessions.
var mcpVersions = []string{"2025-06-18", "2025-11-25", stateless}

const stateless = "2026-07-28"

// connects is how long a client may take to connect on the slowest of machines.
// One that waits for an answer that is held takes a minute.
const connects = 20 * time.Second

// withSessions has a client speak the last version that has sessions.
func withSessions() *mcp.ClientSessionOptions {
	return &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"}
}

// TestMCPSession: a client of each version of the protocol connects at once,
// whether it wants to hear of changes or not; calls are answered and blocked;
// and the session lives on. Where answers are relayed, changes are heard of.
func TestMCPSession(t *testing.T) {
	for _, path := range mcpPaths {
		for _, version := range mcpVersions {
			for _, listens := range []bool{false, true} {
				name := path + " " + version
				if listens {
					name += " with a handler"
				}
				t.Run(name, func(t *testing.T) { testMCPSession(t, path, version, listens) })
			}
		}
	}
}

func testMCPSession(t *testing.T, path, version string, listens bool) {
	promptBlocked, answerBlocked := blocks(path)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	changed := make(chan struct{}, 16)
	options := &mcp.ClientOptions{}
	if listens {
		options.ToolListChangedHandler = func(context.Context, *mcp.ToolListChangedRequest) { changed <- struct{}{} }
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, options)
	start := time.Now()
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: gateway + path}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	took := time.Since(start)
	t.Logf("connected after %s", took)
	if took > connects {
		t.Errorf("it took %s to connect", took)
	}
	if got := session.InitializeResult(); got.ServerInfo.Name != "kitchen" || got.ProtocolVersion != version {
		t.Errorf("connected to %+v, version %s", got.ServerInfo, got.ProtocolVersion)
	}
	if listens && version == stateless && slices.ContainsFunc(relayed, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Error("no word of the change")
		}
	}
	tools, err := session.ListTools(ctx, nil)
	if err != nil || len(tools.Tools) != 2 {
		t.Fatalf("tools %+v, %v", tools, err)
	}
	for _, tool := range tools.Tools { // one answers with JSON, one with a stream
		t.Run(tool.Name, func(t *testing.T) {
			ask := func(question string) (*mcp.CallToolResult, error) {
				return session.CallTool(ctx, &mcp.CallToolParams{Name: tool.Name, Arguments: map[string]any{"question": question}})
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

// TestMCPListenThroughPhases: what a client that subscribes is told where the
// stream would be held.
func TestMCPListenThroughPhases(t *testing.T) {
	for _, path := range []string{"/mcp", "/models-noma/mcp"} {
		body := `{"jsonrpc":"2.0","id":"listen-1","method":"subscriptions/listen","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"` + stateless + `"},"notifications":{"toolsListChanged":true}}}`
		ctx, cancel := context.WithTimeout(t.Context(), connects)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
			"MCP-Protocol-Version": stateless, "Mcp-Method": "subscriptions/listen",
		} {
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(res.Body)
		res.Body.Close()
		got := gjson.ParseBytes(raw)
		if err != nil || res.StatusCode != http.StatusNotFound || got.Get("error.code").Int() != jsonrpc.CodeMethodNotFound || got.Get("id").String() != "listen-1" {
			t.Errorf("%s: %s %s, %v", path, res.Status, raw, err)
		}
	}
}
