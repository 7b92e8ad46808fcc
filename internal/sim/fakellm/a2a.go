// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// a2aPath is where the agent is called by JSON-RPC, as version 0.3 of A2A has it.
const a2aPath = "/a2a"

// a2aCard is the card of the agent.
const a2aCard = `{"protocolVersion":"0.3.0","name":"Cook","description":"Answers questions.","url":"http://localhost:8000/models/a2a",` +
	`"preferredTransport":"JSONRPC","version":"1.0.0","capabilities":{"streaming":true},"defaultInputModes":["text/plain"],"defaultOutputModes":["text/plain"],` +
	`"skills":[{"id":"answer","name":"Answer","description":"Answers a question about cooking.","tags":["cooking"],"examples":["How long does an egg boil?"]}]}`

type a2aParams struct {
	Message struct {
		Role      string `json:"role"`
		MessageID string `json:"messageId"`
		Parts     []struct {
			Kind string `json:"kind"`
			Text string `json:"text"`
		} `json:"parts"`
	} `json:"message"`
}

// text is what was said, and not ok is a message that the protocol does not
// allow. Only version 0.3 says of a part what it is.
func (p *a2aParams) text(role, kind string) (text string, ok bool) {
	m := &p.Message
	if m.Role != role || m.MessageID == "" || len(m.Parts) == 0 {
		return "", false
	}
	var texts []string
	for _, part := range m.Parts {
		if part.Kind != kind {
			return "", false
		}
		texts = append(texts, part.Text)
	}
	return strings.Join(texts, "\n"), true
}

// a2a answers a call by JSON-RPC: with a message, or with the events of a task
// whose artifact comes word by word.
func (s *Server) a2a(c *call) {
	var q rpcRequest
	switch {
	case !jsontext.Value(c.body).IsValid():
		c.rpcError(http.StatusOK, nil, rpcParse, "Parse error")
		return
	case json.Unmarshal(c.body, &q, json.RejectUnknownMembers(true)) != nil || q.Version != "2.0" || len(q.ID) == 0:
		c.rpcError(http.StatusOK, nil, rpcInvalidRequest, "Invalid Request")
		return
	case q.Method != "message/send" && q.Method != "message/stream":
		c.rpcError(http.StatusOK, q.ID, rpcNoMethod, "Method not found")
		return
	}
	var p a2aParams
	text, ok := "", json.Unmarshal(q.Params, &p) == nil
	if ok {
		text, ok = p.text("user", "text")
	}
	switch {
	case !ok:
		c.rpcError(http.StatusOK, q.ID, rpcInvalidParams, "Invalid params")
	case q.Method == "message/send":
		c.rpcResult(q.ID, fmt.Sprintf(`{"kind":"message","role":"agent","messageId":%q,"parts":[{"kind":"text","text":%s}]}`, s.id("m-"), quote(reply(text))))
	default:
		s.a2aStream(c, string(q.ID), reply(text))
	}
}

func (s *Server) a2aStream(c *call, id, text string) {
	task, context := s.id("t-"), s.id("c-")
	out := s.stream(c, eventStream)
	send := func(kind, rest string) {
		out.event("", `{"jsonrpc":"2.0","id":%s,"result":{"kind":%q,"contextId":%q,%s}}`, id, kind, context, rest)
	}
	send("task", fmt.Sprintf(`"id":%q,"status":{"state":"submitted"}`, task))
	more := false
	for word := range out.words(text) {
		send("artifact-update", fmt.Sprintf(`"taskId":%q,"append":%t,"artifact":{"artifactId":"answer","name":"Answer","parts":[{"kind":"text","text":%s}]}`, task, more, quote(word)))
		more = true
	}
	send("status-update", fmt.Sprintf(`"taskId":%q,"status":{"state":"completed"},"final":true`, task))
}

// a2aSend answers a call by HTTP with JSON, as version 1.0 has it.
func (s *Server) a2aSend(c *call) {
	if text, ok := c.a2aSent(); ok {
		c.send(fmt.Sprintf(`{"message":{"role":"ROLE_AGENT","messageId":%q,"parts":[{"text":%s}]}}`, s.id("m-"), quote(reply(text))))
	}
}

// a2aSendStreaming is a2aSend with the events of a task.
func (s *Server) a2aSendStreaming(c *call) {
	text, ok := c.a2aSent()
	if !ok {
		return
	}
	ids := fmt.Sprintf(`"taskId":%q,"contextId":%q`, s.id("t-"), s.id("c-"))
	out := s.stream(c, eventStream)
	out.event("", `{"statusUpdate":{%s,"status":{"state":"TASK_STATE_WORKING"}}}`, ids)
	more := false
	for word := range out.words(reply(text)) {
		out.event("", `{"artifactUpdate":{%s,"append":%t,"artifact":{"artifactId":"answer","parts":[{"text":%s}]}}}`, ids, more, quote(word))
		more = true
	}
	out.event("", `{"statusUpdate":{%s,"status":{"state":"TASK_STATE_COMPLETED"}}}`, ids)
}

// a2aSent returns what a call by HTTP with JSON says. It is not ok after the call
// was refused.
func (c *call) a2aSent() (text string, ok bool) {
	var p a2aParams
	if !c.read(&p, "message", "configuration", "metadata", "tenant") {
		return "", false
	}
	if text, ok = p.text("ROLE_USER", ""); !ok {
		c.invalid("message", "Invalid message.")
	}
	return text, ok
}

func (s *Server) a2aCard(c *call) { c.send(a2aCard) }

// a2aProblem is the form of A2A's binding to HTTP with JSON.
func a2aProblem(status int, p problem) (contentType, body string) {
	name := "INVALID_ARGUMENT"
	switch status {
	case http.StatusUnauthorized:
		name = "UNAUTHENTICATED"
	case http.StatusNotFound:
		name = "NOT_FOUND"
	}
	return "application/json", fmt.Sprintf(`{"error":{"code":%d,"status":%q,"message":%s}}`, status, name, quote(p.message))
}
