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

// mcpVersions are the protocol's versions with sessions that are spoken, newest
// first.
var mcpVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26"}

// mcpStateless is the first version without sessions: each request says what
// its client is.
const mcpStateless = "2026-07-28"

// JSON-RPC's error codes.
const (
	rpcParse          = -32700
	rpcInvalidRequest = -32600
	rpcNoMethod       = -32601
	rpcInvalidParams  = -32602
	// Those of the stateless protocol.
	rpcHeaderMismatch = -32020
	rpcVersion        = -32022
)

// mcpTools are the tools that are offered: the first answers with JSON, the
// second with an event stream.
const mcpTools = `"tools":[` +
	`{"name":"ask_cook","title":"Ask the cook","description":"Ask the cook a question and get the answer.","inputSchema":{"type":"object","properties":{"question":{"type":"string","description":"What to ask"}},"required":["question"]}},` +
	`{"name":"ask_cook_slowly","title":"Ask the cook slowly","description":"The same, with progress on the way.","inputSchema":{"type":"object","properties":{"question":{"type":"string","description":"What to ask"}},"required":["question"]}}]`

// mcpComplete begins the results of the stateless protocol.
const mcpComplete = `"resultType":"complete",`

// Greeting is the one message that the server sends by itself.
const Greeting = "The kitchen is open."

type rpcRequest struct {
	Version string         `json:"jsonrpc"`
	ID      jsontext.Value `json:"id"`
	Method  string         `json:"method"`
	Params  jsontext.Value `json:"params"`
}

// mcp answers a call to the MCP server: streamable HTTP, with sessions or in the
// version without.
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
	if c.r.Header.Get("Mcp-Protocol-Version") >= mcpStateless {
		s.mcpWithoutSession(c, &q)
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
		c.rpcResult(q.ID, "{"+mcpTools+"}")
	case "tools/call":
		s.mcpCall(c, &q, "")
	default:
		c.rpcError(http.StatusOK, q.ID, rpcNoMethod, "Method not found")
	}
}

// mcpWithoutSession answers a call of the stateless protocol. Its headers say
// again what the body says.
func (s *Server) mcpWithoutSession(c *call, q *rpcRequest) {
	var params struct {
		Name          string `json:"name"`
		Notifications struct {
			Tools bool `json:"toolsListChanged"`
		} `json:"notifications"`
		Meta struct {
			Version string `json:"io.modelcontextprotocol/protocolVersion"`
		} `json:"_meta"`
	}
	header := c.r.Header
	switch {
	case len(q.ID) == 0:
		c.w.WriteHeader(http.StatusAccepted)
		return
	case json.Unmarshal(q.Params, &params) != nil:
		c.rpcError(http.StatusBadRequest, q.ID, rpcInvalidParams, "Invalid params")
		return
	case params.Meta.Version != header.Get("Mcp-Protocol-Version"), q.Method != header.Get("Mcp-Method"),
		q.Method == "tools/call" && params.Name != header.Get("Mcp-Name"):
		c.rpcError(http.StatusBadRequest, q.ID, rpcHeaderMismatch, "Header mismatch")
		return
	case params.Meta.Version != mcpStateless:
		c.rpcErrorWith(http.StatusBadRequest, q.ID, rpcVersion, "Unsupported protocol version",
			fmt.Sprintf(`{"supported":[%q],"requested":%s}`, mcpStateless, quote(params.Meta.Version)))
		return
	}
	switch q.Method {
	case "server/discover":
		c.rpcResult(q.ID, fmt.Sprintf(`{%s"supportedVersions":[%q],"capabilities":{"tools":{"listChanged":true}},"instructions":"Ask the cook about recipes.","ttlMs":60000,"cacheScope":"public",`+
			`"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"kitchen","title":"The kitchen","version":"1.0.0"}}}`, mcpComplete, mcpStateless))
	case "tools/list":
		c.rpcResult(q.ID, "{"+mcpComplete+mcpTools+`,"ttlMs":60000,"cacheScope":"public"}`)
	case "tools/call":
		s.mcpCall(c, q, mcpComplete)
	case "subscriptions/listen":
		s.mcpListen(c, q.ID, params.Notifications.Tools)
	default:
		c.rpcError(http.StatusNotFound, q.ID, rpcNoMethod, "Method not found")
	}
}

// mcpListen is the stream of the stateless server's own messages: what it will
// tell of, that the list of tools has changed when it is time for a word, and
// then nothing until the client leaves.
func (s *Server) mcpListen(c *call, id jsontext.Value, tools bool) {
	meta := fmt.Sprintf(`"_meta":{"io.modelcontextprotocol/subscriptionId":%s}`, id)
	agreed := "{}"
	if tools {
		agreed = `{"toolsListChanged":true}`
	}
	out := s.stream(c, eventStream)
	out.event("message", `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{%s,"notifications":%s}}`, meta, agreed)
	if !s.tempo.wait(c.r.Context()) {
		return
	}
	if tools {
		out.event("message", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{%s}}`, meta)
	}
	<-c.r.Context().Done()
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

// mcpCall answers the call of a tool. What its result begins with is complete.
func (s *Server) mcpCall(c *call, q *rpcRequest, complete string) {
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
	result := fmt.Sprintf(`{%s"content":[{"type":"text","text":%s}],"isError":false}`, complete, quote(reply(params.Arguments.Question)))
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
	c.rpcErrorWith(status, id, code, message, "null")
}

func (c *call) rpcErrorWith(status int, id jsontext.Value, code int, message, data string) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = fmt.Fprintf(c.w, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s,"data":%s}}`, or(id, "null"), code, quote(message), data) // a caller that left is no news
}
