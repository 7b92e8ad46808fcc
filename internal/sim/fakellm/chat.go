// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// chatNames are the parameters of a chat completion.
var chatNames = strings.Fields(`model messages audio frequency_penalty function_call functions logit_bias logprobs
max_completion_tokens max_tokens metadata modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key
reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options temperature
tool_choice tools top_logprobs top_p user verbosity web_search_options`)

const maxChoices = 128

type chatRequest struct {
	Model         string         `json:"model"`
	Messages      []chatMessage  `json:"messages"`
	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options"`
	N             *int           `json:"n"`
	Tools         []chatTool     `json:"tools"`
	ToolChoice    jsontext.Value `json:"tool_choice"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type chatMessage struct {
	Role       string         `json:"role"`
	Content    jsontext.Value `json:"content"`
	ToolCalls  []chatToolCall `json:"tool_calls"`
	ToolCallID string         `json:"tool_call_id"`
}

type chatToolCall struct {
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type chatTool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

// check refuses what the real one refuses, and returns the last turn and the
// text of all.
func (q *chatRequest) check(c *call) (last turn, all string, ok bool) {
	if len(q.Messages) == 0 {
		c.missing("messages")
		return last, "", false
	}
	for i, m := range q.Messages {
		at := fmt.Sprintf("messages[%d].", i)
		switch m.Role {
		case "system", "developer", "user", "assistant", "tool", "function":
		default:
			c.invalid(at+"role", "Invalid value: '"+m.Role+"'.")
			return last, "", false
		}
		if m.Role == "tool" && m.ToolCallID == "" {
			c.missing(at + "tool_call_id")
			return last, "", false
		}
		text := ""
		if !null(m.Content) {
			if text, ok = textOf(m.Content, "text", "refusal", "image_url", "input_audio", "file"); !ok {
				c.invalid(at+"content", "Invalid content.")
				return last, "", false
			}
		} else if m.Role != "assistant" {
			c.invalid(at+"content", "Invalid value for 'content': expected a string, got null.")
			return last, "", false
		}
		last = turn{text: text, tool: m.Role == "tool" || m.Role == "function"}
		all += text
	}
	for i, t := range q.Tools {
		if t.Type != "function" || t.Function.Name == "" {
			c.missing(fmt.Sprintf("tools[%d].function", i))
			return last, "", false
		}
	}
	if q.N != nil && (*q.N < 1 || *q.N > maxChoices) {
		c.invalid("n", "Invalid 'n': must be between 1 and 128.")
		return last, "", false
	}
	return last, all, true
}

// calls reports whether the model calls its first tool: when it has one and the
// user spoke last.
func (q *chatRequest) calls(last turn) bool {
	return len(q.Tools) > 0 && !last.tool && string(q.ToolChoice) != `"none"`
}

func (s *Server) chat(c *call) {
	var q chatRequest
	if !c.read(&q, chatNames...) || !c.knows(q.Model) {
		return
	}
	last, all, ok := q.check(c)
	if !ok {
		return
	}
	a := chatAnswer{
		id: s.id("chatcmpl-"), model: q.Model, created: time.Now().Unix(), text: last.reply(),
		choices: 1, prompt: tokens(all),
	}
	if q.N != nil {
		a.choices = *q.N
	}
	if q.calls(last) {
		a.function, a.callID = &q.Tools[0].Function, s.id("call_")
	}
	if q.Stream {
		a.stream(s.stream(c, eventStream), q.StreamOptions != nil && q.StreamOptions.IncludeUsage)
		return
	}
	c.send(a.json())
}

// A chatAnswer is a completion that is to be written. With a function it
// calls that instead of saying the text.
type chatAnswer struct {
	id, model, text string
	created         int64
	choices, prompt int
	function        *function
	callID          string
}

func (a *chatAnswer) json() string {
	var choices []string
	for i := range a.choices {
		message := fmt.Sprintf(`{"role":"assistant","content":%s,"refusal":null,"annotations":[]}`, quote(a.text))
		finish := "stop"
		if a.function != nil {
			finish = "tool_calls"
			message = fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":%q,"type":"function","function":{"name":%s,"arguments":%s}}],"refusal":null,"annotations":[]}`,
				a.callID, quote(a.function.Name), quote(a.function.arguments()))
		}
		choices = append(choices, fmt.Sprintf(`{"index":%d,"message":%s,"logprobs":null,"finish_reason":%q}`, i, message, finish))
	}
	return fmt.Sprintf(`{"id":%q,"object":"chat.completion","created":%d,"model":%s,"choices":[%s],"usage":%s,"service_tier":"default","system_fingerprint":"fp_b376dfbbd5"}`,
		a.id, a.created, quote(a.model), strings.Join(choices, ","), a.usage())
}

func (a *chatAnswer) usage() string {
	said := tokens(a.text) * a.choices
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`,
		a.prompt, said, a.prompt+said)
}

// stream sends the chunks of all choices in turn, word by word.
func (a *chatAnswer) stream(s *stream, withUsage bool) {
	chunk := func(choices, usage string) {
		if !withUsage {
			usage = ""
		}
		s.event("", `{"id":%q,"object":"chat.completion.chunk","created":%d,"model":%s,"service_tier":"default","system_fingerprint":"fp_b376dfbbd5","choices":[%s]%s}`,
			a.id, a.created, quote(a.model), choices, usage)
	}
	delta := func(i int, delta, finish string) {
		chunk(fmt.Sprintf(`{"index":%d,"delta":%s,"logprobs":null,"finish_reason":%s}`, i, delta, finish), `,"usage":null`)
	}
	each := func(text, finish string) {
		for i := range a.choices {
			delta(i, text, finish)
		}
	}
	finish := `"stop"`
	if a.function != nil {
		finish = `"tool_calls"`
		each(fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":%q,"type":"function","function":{"name":%s,"arguments":""}}],"refusal":null}`,
			a.callID, quote(a.function.Name)), "null")
		for p := range s.words(a.function.arguments()) {
			each(fmt.Sprintf(`{"tool_calls":[{"index":0,"function":{"arguments":%s}}]}`, quote(p)), "null")
		}
	} else {
		each(`{"role":"assistant","content":"","refusal":null}`, "null")
		for p := range s.words(a.text) {
			each(fmt.Sprintf(`{"content":%s}`, quote(p)), "null")
		}
	}
	each("{}", finish)
	if withUsage {
		chunk("", `,"usage":`+a.usage())
	}
	s.event("", "[DONE]")
}
