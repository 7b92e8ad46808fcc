// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// messageNames are the parameters of Anthropic's messages.
var messageNames = strings.Fields(`model messages max_tokens container context_management mcp_servers metadata
service_tier stop_sequences stream system temperature thinking tool_choice tools top_k top_p`)

type messageRequest struct {
	Model     string         `json:"model"`
	MaxTokens int            `json:"max_tokens"`
	System    jsontext.Value `json:"system"`
	Messages  []struct {
		Role    string         `json:"role"`
		Content jsontext.Value `json:"content"`
	} `json:"messages"`
	Stream bool `json:"stream"`
	Tools  []struct {
		Name   string         `json:"name"`
		Schema jsontext.Value `json:"input_schema"`
	} `json:"tools"`
}

// wrong says why a request is refused, "" if it is not, and returns the last
// turn.
func (q *messageRequest) wrong() (last turn, wrong string) {
	switch {
	case q.Model == "":
		return last, "model: Field required"
	case q.MaxTokens < 1:
		return last, "max_tokens: Field required"
	case len(q.Messages) == 0:
		return last, "messages: at least one message is required"
	}
	if !null(q.System) {
		if _, ok := textOf(q.System, "text"); !ok {
			return last, "system: Input should be a valid list"
		}
	}
	for i, m := range q.Messages {
		if m.Role != "user" && m.Role != "assistant" {
			return last, fmt.Sprintf(`messages: Unexpected role "%s". The Messages API accepts a top-level `+"`system`"+` parameter, not "system" as an input message role.`, m.Role)
		}
		text, ok := textOf(m.Content, "text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result")
		if !ok {
			return last, fmt.Sprintf("messages.%d.content: Input should be a valid list", i)
		}
		last = turn{text, isToolResult(m.Content)}
	}
	for i, t := range q.Tools {
		if t.Name == "" {
			return last, fmt.Sprintf("tools.%d.name: Field required", i)
		}
	}
	return last, ""
}

func isToolResult(content jsontext.Value) bool {
	var parts []part
	return content.Kind() == '[' && json.Unmarshal(content, &parts) == nil && parts[0].Type == "tool_result"
}

func (s *Server) messages(c *call) {
	if c.r.Header.Get("Anthropic-Version") == "" {
		c.fail(http.StatusBadRequest, problem{message: "anthropic-version: header is required"})
		return
	}
	var q messageRequest
	if !c.read(&q, messageNames...) {
		return
	}
	last, wrong := q.wrong()
	if wrong != "" {
		c.fail(http.StatusBadRequest, problem{message: wrong})
		return
	}
	if q.Model == noSuchModel {
		c.fail(http.StatusNotFound, problem{message: "model: " + q.Model})
		return
	}
	a := s.messageAnswer(&q, last, string(c.body))
	c.w.Header().Set("Request-Id", s.id("req_"))
	if q.Stream {
		a.stream(s.stream(c, eventStream))
		return
	}
	c.send(a.json())
}

// messageAnswer answers a sound request, whose last turn this is.
func (s *Server) messageAnswer(q *messageRequest, last turn, body string) messageAnswer {
	a := messageAnswer{id: s.id("msg_"), model: q.Model, text: last.reply(), in: tokens(body)}
	if len(q.Tools) > 0 && !last.tool {
		a.function, a.toolID = &function{q.Tools[0].Name, q.Tools[0].Schema}, s.id("toolu_")
	}
	return a
}

// A messageAnswer is a message that is to be written.
type messageAnswer struct {
	id, model, text string
	in              int
	function        *function
	toolID          string
}

func (a *messageAnswer) stop() string {
	if a.function != nil {
		return "tool_use"
	}
	return "end_turn"
}

// block is the one content block, whole or as a stream begins it.
func (a *messageAnswer) block(text, input string) string {
	if a.function != nil {
		return fmt.Sprintf(`{"type":"tool_use","id":%q,"name":%s,"input":%s}`, a.toolID, quote(a.function.Name), input)
	}
	return fmt.Sprintf(`{"type":"text","text":%s}`, quote(text))
}

func (a *messageAnswer) message(content, stop string, out int) string {
	return fmt.Sprintf(`{"id":%q,"type":"message","role":"assistant","model":%s,"content":[%s],"stop_reason":%s,"stop_sequence":null,"usage":{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":%d,"service_tier":"standard"}}`,
		a.id, quote(a.model), content, stop, a.in, out)
}

func (a *messageAnswer) json() string {
	input := ""
	if a.function != nil {
		input = a.function.arguments()
	}
	return a.message(a.block(a.text, input), quote(a.stop()), tokens(a.text))
}

func (a *messageAnswer) stream(s *stream) {
	s.event("message_start", `{"type":"message_start","message":%s}`, a.message("", "null", 1))
	s.event("content_block_start", `{"type":"content_block_start","index":0,"content_block":%s}`, a.block("", "{}"))
	s.event("ping", `{"type": "ping"}`)
	kind, name, all := "text_delta", "text", a.text
	if a.function != nil {
		kind, name, all = "input_json_delta", "partial_json", a.function.arguments()
	}
	for p := range s.words(all) {
		s.event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":%q,%q:%s}}`, kind, name, quote(p))
	}
	s.event("content_block_stop", `{"type":"content_block_stop","index":0}`)
	s.event("message_delta", `{"type":"message_delta","delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":%d}}`, a.stop(), tokens(all))
	s.event("message_stop", `{"type":"message_stop"}`)
}
