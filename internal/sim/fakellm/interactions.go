// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// interactionNames are the parameters of Google's Interactions API.
var interactionNames = strings.Fields(`model input system_instruction tools generation_config previous_interaction_id response_format
response_mime_type response_modalities stream store background service_tier labels`)

type interactionRequest struct {
	Model  string         `json:"model"`
	Input  jsontext.Value `json:"input"`
	Tools  jsontext.Value `json:"tools"`
	Stream bool           `json:"stream"`
}

type interactionStep struct {
	Type    string         `json:"type"`
	Role    string         `json:"role"`
	Text    string         `json:"text"`
	Content jsontext.Value `json:"content"`
	Result  jsontext.Value `json:"result"`
}

// last reads the input, which is a text, a content, contents, turns or steps,
// and returns what was said last.
func (q *interactionRequest) last(c *call) (last turn, ok bool) {
	var steps []interactionStep
	switch q.Input.Kind() {
	case '"':
		last.text, ok = textOf(q.Input)
		return last, ok
	case '{':
		steps = make([]interactionStep, 1)
		ok = json.Unmarshal(q.Input, &steps[0]) == nil
	case '[':
		ok = json.Unmarshal(q.Input, &steps) == nil && len(steps) > 0
	}
	if !ok {
		c.invalid("input", "The 'input' must be a string, content, or an array of contents or steps.")
		return last, false
	}
	for i, step := range steps {
		switch {
		case step.Type == "text":
			last = turn{text: step.Text}
		case step.Type == "user_input" || step.Type == "model_output" || step.Type == "" && (step.Role == "user" || step.Role == "model"):
			last.tool = false
			if last.text, ok = textOf(step.Content, "text", "image", "document"); !ok {
				c.invalid("input", fmt.Sprintf("Invalid content at 'input[%d]'.", i))
				return last, false
			}
		case step.Type == "function_result":
			last.tool = true
			if last.text, ok = textOf(step.Result, "text", "image"); !ok {
				last.text = string(step.Result)
			}
		case step.Type == "function_call" || step.Type == "thought" || step.Type == "image" || step.Type == "document":
		default:
			c.invalid("input", fmt.Sprintf("Unknown type at 'input[%d]'.", i))
			return last, false
		}
	}
	return last, true
}

func (s *Server) interactions(c *call) {
	var q interactionRequest
	if !c.read(&q, interactionNames...) || !c.knows(q.Model) {
		return
	}
	if null(q.Input) {
		c.missing("input")
		return
	}
	last, ok := q.last(c)
	if !ok {
		return
	}
	a := interactionAnswer{q: &q, id: s.id("v1_"), text: last.reply()}
	tools := responseRequest{Tools: q.Tools} // functions are offered as they are there
	if f := tools.tool(); f != nil && !last.tool {
		a.function, a.callID = f, s.id("call_")
	}
	if q.Stream {
		a.stream(s.stream(c, eventStream))
		return
	}
	c.send(a.json("completed", `,"steps":[`+a.step(a.text, a.arguments())+`]`))
}

// An interactionAnswer is an interaction that is to be written.
type interactionAnswer struct {
	q        *interactionRequest
	id, text string
	function *function
	callID   string
}

func (a *interactionAnswer) arguments() string {
	if a.function == nil {
		return "{}"
	}
	return a.function.arguments()
}

func (a *interactionAnswer) json(status, rest string) string {
	if status == "completed" {
		if a.function != nil {
			status = "requires_action"
		}
		in, out := tokens(string(a.q.Input)), tokens(a.text)
		rest += fmt.Sprintf(`,"usage":{"total_input_tokens":%d,"total_output_tokens":%d,"total_tokens":%d}`, in, out, in+out)
	}
	return fmt.Sprintf(`{"id":%q,"object":"interaction","model":%s,"status":%q,"created":"2026-03-30T22:20:00Z","updated":"2026-03-30T22:20:00Z"%s}`,
		a.id, quote(a.q.Model), status, rest)
}

// step is the one step that the model takes.
func (a *interactionAnswer) step(text, arguments string) string {
	if a.function != nil {
		return fmt.Sprintf(`{"type":"function_call","id":%q,"name":%s,"arguments":%s}`, a.callID, quote(a.function.Name), arguments)
	}
	if text == "" {
		return `{"type":"model_output"}`
	}
	return fmt.Sprintf(`{"type":"model_output","content":[{"type":"text","text":%s}]}`, quote(text))
}

func (a *interactionAnswer) stream(s *stream) {
	send := func(kind, rest string) { s.event(kind, `{"event_type":%q,%s}`, kind, rest) }
	send("interaction.created", `"interaction":`+a.json("in_progress", ""))
	send("step.start", `"index":0,"step":`+a.step("", "{}"))
	if a.function != nil {
		for p := range s.words(a.arguments()) {
			send("step.delta", `"index":0,"delta":{"type":"arguments_delta","arguments":`+quote(p)+`}`)
		}
	} else {
		for p := range s.words(a.text) {
			send("step.delta", `"index":0,"delta":{"type":"text","text":`+quote(p)+`}`)
		}
	}
	send("step.stop", `"index":0`)
	send("interaction.completed", `"interaction":`+a.json("completed", ""))
	s.event("done", "[DONE]")
}

// interactionProblem is the form of the Interactions API.
func interactionProblem(status int, p problem) (contentType, body string) {
	code := "invalid_request"
	switch status {
	case http.StatusUnauthorized:
		code = "unauthenticated"
	case http.StatusNotFound:
		code = "not_found"
	}
	return "application/json; charset=UTF-8", fmt.Sprintf(`{"error":{"message":%s,"code":%q}}`, quote(p.message), code)
}
