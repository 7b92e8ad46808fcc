// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const mcpPath = "/mcp"

// mcpVersions are the protocol's versions that are spoken, newest first.
var mcpVersions = []string{"2025-06-18", "2025-03-26"}

// JSON-RPC's error codes.
const (
	rpcParse          = -32700
	rpcInvalidRequest = -32600
	rpcNoMethod       = -32601
	rpcInvalidParams  = -32602
)

// mcpTools are the tools that are offered: the first answers with JSON, the
// second with an event stream.
const mcpTools = `{"tools":[` +
	`{"name":"ask_cook","title":"Ask the cook","description":"Ask the cook a question and get the answer.","inputSchema":{"type":"object","properties":{"question":{"type":"string","description":"What to ask"}},"required":["question"]}},` +
	`{"name":"ask_cook_slowly","title":"Ask the cook slowly","description":"The same, with progress on the way.","inputSchema":{"type":"object","properties":{"question":{"type":"string","description":"What to ask"}},"required":["question"]}}]}`

// Greeting is the one message that the server sends by itself.
const Greeting = "The kitchen is open."

type rpcRequest struct {
	Version string         `json:"jsonrpc"`
	ID      jsontext.Value `json:"id"`
	Method  string         `json:"method"`
	Params  jsontext.Value `json:"params"`
}

// mcp answers a call to the MCP server: streamable HTTP with sessions.
func (s *Server) mcp(c *call) {
	switch c.r.Method {
	case http.MethodPost:
		s.mcpPost(c)
	case http.MethodGet:
		s.mcpGet(c)
	case http.MethodDelete:
		if s.endSession(c) {
			c.w.WriteHeader(http.StatusNoContent)
		}
	default:
		c.w.Header().Set("Allow", "GET, POST, DELETE")
		http.Error(c.w, "Method Not Allowed", http.StatusMethodNotAllowed)
	}
}

// mcpGet is the stream of the server's own messages: a greeting when it is
// time for a word, and then nothing until the session ends or the client leaves.
func (s *Server) mcpGet(c *call) {
	if !strings.Contains(strings.Join(c.r.Header.Values("Accept"), ","), "text/event-stream") {
		http.Error(c.w, "Accept must contain 'text/event-stream'", http.StatusNotAcceptable)
		return
	}
	over := s.inSession(c)
	if over == nil {
		return
	}
	out := s.stream(c, eventStream)
	_ = out.flush.Flush() // the head: the client waits for it
	if !s.tempo.wait(c.r.Context()) {
		return
	}
	out.event("message", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":%s}}`, quote(Greeting))
	select {
	case <-over:
	case <-c.r.Context().Done():
	}
}

func (s *Server) mcpPost(c *call) {
	accept := strings.Join(c.r.Header.Values("Accept"), ",")
	var q rpcRequest
	switch {
	case mediaType(c.r) != "application/json":
		http.Error(c.w, "Content-Type must be 'application/json'", http.StatusUnsupportedMediaType)
		return
	case !strings.Contains(accept, "application/json") || !strings.Contains(accept, "text/event-stream"):
		http.Error(c.w, "Accept must contain both 'application/json' and 'text/event-stream'", http.StatusNotAcceptable)
		return
	case !jsontext.Value(c.body).IsValid():
		c.rpcError(http.StatusBadRequest, nil, rpcParse, "Parse error")
		return
	case json.Unmarshal(c.body, &q, json.RejectUnknownMembers(true)) != nil || q.Version != "2.0" || q.Method == "":
		c.rpcError(http.StatusBadRequest, nil, rpcInvalidRequest, "Invalid Request")
		return
	}
	if q.Method == "initialize" && len(q.ID) > 0 {
		s.mcpInitialize(c, &q)
		return
	}
	if s.inSession(c) == nil {
		return
	}
	if len(q.ID) == 0 { // a notification
		c.w.WriteHeader(http.StatusAccepted)
		return
	}
	switch q.Method {
	case "ping":
		c.rpcResult(q.ID, "{}")
	case "tools/list":
		c.rpcResult(q.ID, mcpTools)
	case "tools/call":
		s.mcpCall(c, &q)
	default:
		c.rpcError(http.StatusOK, q.ID, rpcNoMethod, "Method not found")
	}
}

func (s *Server) mcpInitialize(c *call, q *rpcRequest) {
	var params struct {
		Version string `json:"protocolVersion"`
	}
	if json.Unmarshal(q.Params, &params) != nil || params.Version == "" {
		c.rpcError(http.StatusOK, q.ID, rpcInvalidParams, "Invalid params")
		return
	}
	version := mcpVersions[0]
	if slices.Contains(mcpVersions, params.Version) {
		version = params.Version
	}
	session := s.id("session-")
	s.mu.Lock()
	s.sessions[session] = make(chan struct{})
	s.mu.Unlock()
	c.w.Header().Set("Mcp-Session-Id", session)
	c.rpcResult(q.ID, fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{"tools":{"listChanged":false}},"serverInfo":{"name":"kitchen","title":"The kitchen","version":"1.0.0"},"instructions":"Ask the cook about recipes."}`, version))
}

// inSession returns what ends with the call's session, nil after a call without
// a living one was refused.
func (s *Server) inSession(c *call) (over <-chan struct{}) {
	session := c.r.Header.Get("Mcp-Session-Id")
	s.mu.Lock()
	over = s.sessions[session]
	s.mu.Unlock()
	c.refuseWithout(session, over != nil)
	return over
}

// endSession ends the call's session. It is false after a call without a
// living one was refused.
func (s *Server) endSession(c *call) bool {
	session := c.r.Header.Get("Mcp-Session-Id")
	s.mu.Lock()
	over := s.sessions[session]
	delete(s.sessions, session)
	s.mu.Unlock()
	c.refuseWithout(session, over != nil)
	if over == nil {
		return false
	}
	close(over)
	return true
}

func (c *call) refuseWithout(session string, alive bool) {
	switch {
	case session == "":
		http.Error(c.w, "Bad Request: Mcp-Session-Id header is required", http.StatusBadRequest)
	case !alive:
		http.Error(c.w, "session not found", http.StatusNotFound)
	}
}

func (s *Server) mcpCall(c *call, q *rpcRequest) {
	var params struct {
		Name      string `json:"name"`
		Arguments struct {
			Question string `json:"question"`
		} `json:"arguments"`
		Meta jsontext.Value `json:"_meta"`
	}
	if json.Unmarshal(q.Params, &params, json.RejectUnknownMembers(true)) != nil {
		c.rpcError(http.StatusOK, q.ID, rpcInvalidParams, "Invalid params")
		return
	}
	result := fmt.Sprintf(`{"content":[{"type":"text","text":%s}],"isError":false}`, quote(reply(params.Arguments.Question)))
	switch params.Name {
	case "ask_cook":
		c.rpcResult(q.ID, result)
	case "ask_cook_slowly":
		out := s.stream(c, "text/event-stream")
		for message := range out.each([]string{
			`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"The cook is thinking."}}`,
			fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, q.ID, result),
		}) {
			out.event("message", "%s", message)
		}
	default:
		c.rpcError(http.StatusOK, q.ID, rpcInvalidParams, "Unknown tool: "+params.Name)
	}
}

func (c *call) rpcResult(id jsontext.Value, result string) {
	c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result))
}

func (c *call) rpcError(status int, id jsontext.Value, code int, message string) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = fmt.Fprintf(c.w, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s}}`, or(id, "null"), code, quote(message)) // a caller that left is no news
}
