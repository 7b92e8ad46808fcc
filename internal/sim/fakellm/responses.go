// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// responseNames are the parameters of the Responses API.
var responseNames = strings.Fields(`model input background conversation include instructions max_output_tokens
max_tool_calls metadata parallel_tool_calls previous_response_id prompt prompt_cache_key reasoning safety_identifier
service_tier store stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user`)

type responseRequest struct {
	Model        string         `json:"model"`
	Input        jsontext.Value `json:"input"`
	Instructions jsontext.Value `json:"instructions"`
	Tools        jsontext.Value `json:"tools"`
	Stream       bool           `json:"stream"`
}

type responseItem struct {
	Type    string         `json:"type"`
	Role    string         `json:"role"`
	Content jsontext.Value `json:"content"`
	CallID  string         `json:"call_id"`
	Output  jsontext.Value `json:"output"`
}

// last reads the input and returns what was said last.
func (q *responseRequest) last(c *call) (last turn, ok bool) {
	if null(q.Input) {
		c.missing("input")
		return last, false
	}
	if q.Input.Kind() == '"' {
		last.text, ok = textOf(q.Input)
		return last, ok
	}
	var items []responseItem
	if json.Unmarshal(q.Input, &items) != nil || len(items) == 0 {
		c.invalid("input", "Invalid type for 'input': expected a string or an array of input items.")
		return last, false
	}
	for i, it := range items {
		at := fmt.Sprintf("input[%d]", i)
		switch {
		case it.Type == "function_call" || it.Type == "reasoning" || it.Type == "item_reference":
		case it.Type == "function_call_output" && it.CallID != "":
			last.tool = true
			if last.text, ok = textOf(it.Output, "input_text", "input_image", "input_file"); !ok {
				c.invalid(at+".output", "Invalid value for 'output'.")
				return last, false
			}
		case it.Type == "message" || it.Type == "":
			switch it.Role {
			case "user", "assistant", "system", "developer":
			default:
				c.invalid(at+".role", "Invalid value: '"+it.Role+"'.")
				return last, false
			}
			last.tool = false
			if last.text, ok = textOf(it.Content, "input_text", "output_text", "input_image", "input_file", "refusal"); !ok {
				c.invalid(at+".content", "Invalid value for 'content'.")
				return last, false
			}
		default:
			c.invalid(at+".type", "Invalid value: '"+it.Type+"'.")
			return last, false
		}
	}
	return last, true
}

// tool returns the first function that is offered, nil for none.
func (q *responseRequest) tool() *function {
	var tools []struct {
		Type string `json:"type"`
		function
	}
	if null(q.Tools) || json.Unmarshal(q.Tools, &tools) != nil {
		return nil
	}
	for i := range tools {
		if tools[i].Type == "function" && tools[i].Name != "" {
			return &tools[i].function
		}
	}
	return nil
}

func (s *Server) responses(c *call) {
	var q responseRequest
	if !c.read(&q, responseNames...) || !c.knows(q.Model) {
		return
	}
	last, ok := q.last(c)
	if !ok {
		return
	}
	a := responseAnswer{q: &q, id: s.id("resp_"), item: s.id("msg_"), created: time.Now().Unix(), text: last.reply()}
	if f := q.tool(); f != nil && !last.tool {
		a.function, a.item, a.callID = f, s.id("fc_"), s.id("call_")
	}
	if q.Stream {
		a.stream(s.stream(c, eventStream))
		return
	}
	c.send(a.json("completed", a.output("completed", a.text, a.arguments()), true))
}

// A responseAnswer is an answer of the Responses API that is to be written.
type responseAnswer struct {
	q              *responseRequest
	id, item, text string
	created        int64
	function       *function
	callID         string
}

func (a *responseAnswer) arguments() string {
	if a.function == nil {
		return ""
	}
	return a.function.arguments()
}

func (a *responseAnswer) json(status, output string, done bool) string {
	usage := "null"
	if done {
		in, out := tokens(string(a.q.Input)), tokens(a.text)
		usage = fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}`, in, out, in+out)
	}
	return fmt.Sprintf(`{"id":%q,"object":"response","created_at":%d,"status":%q,"background":false,"error":null,"incomplete_details":null,"instructions":%s,"max_output_tokens":null,"max_tool_calls":null,"model":%s,"output":[%s],"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"service_tier":"default","store":true,"temperature":1.0,"text":{"format":{"type":"text"},"verbosity":"medium"},"tool_choice":"auto","tools":%s,"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":%s,"user":null,"metadata":{}}`,
		a.id, a.created, status, or(a.q.Instructions, "null"), quote(a.q.Model), output, or(a.q.Tools, "[]"), usage)
}

func or(v jsontext.Value, other string) string {
	if len(v) == 0 {
		return other
	}
	return string(v)
}

// output is the one item that the model returns.
func (a *responseAnswer) output(status, text, arguments string) string {
	if a.function != nil {
		return fmt.Sprintf(`{"id":%q,"type":"function_call","status":%q,"arguments":%s,"call_id":%q,"name":%s}`,
			a.item, status, quote(arguments), a.callID, quote(a.function.Name))
	}
	content := ""
	if status == "completed" {
		content = outputText(text)
	}
	return fmt.Sprintf(`{"id":%q,"type":"message","status":%q,"content":[%s],"role":"assistant"}`, a.item, status, content)
}

func outputText(text string) string {
	return fmt.Sprintf(`{"type":"output_text","annotations":[],"logprobs":[],"text":%s}`, quote(text))
}

func (a *responseAnswer) stream(s *stream) {
	number := -1
	send := func(kind, rest string) {
		number++
		s.event(kind, `{"type":%q,"sequence_number":%d,%s}`, kind, number, rest)
	}
	send("response.created", `"response":`+a.json("in_progress", "", false))
	send("response.in_progress", `"response":`+a.json("in_progress", "", false))
	send("response.output_item.added", `"output_index":0,"item":`+a.output("in_progress", "", ""))
	at := fmt.Sprintf(`"item_id":%q,"output_index":0`, a.item)
	if a.function != nil {
		for p := range s.words(a.arguments()) {
			send("response.function_call_arguments.delta", at+`,"delta":`+quote(p))
		}
		send("response.function_call_arguments.done", at+`,"arguments":`+quote(a.arguments()))
	} else {
		at += `,"content_index":0`
		send("response.content_part.added", at+`,"part":`+outputText(""))
		for p := range s.words(a.text) {
			send("response.output_text.delta", at+`,"delta":`+quote(p)+`,"logprobs":[]`)
		}
		send("response.output_text.done", at+`,"text":`+quote(a.text)+`,"logprobs":[]`)
		send("response.content_part.done", at+`,"part":`+outputText(a.text))
	}
	done := a.output("completed", a.text, a.arguments())
	send("response.output_item.done", `"output_index":0,"item":`+done)
	send("response.completed", `"response":`+a.json("completed", done, true))
}
