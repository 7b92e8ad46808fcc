// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"
)

// A format is a way of asking the model that the page offers.
type format struct {
	Name, Title string
	path        string // at the model
	// header is what a call has beside its Content-Type.
	header func(stream bool) map[string]string
	body   func(prompt string, stream bool) any
	// prompts is where a request has its texts, said where an answer has its
	// text, and word where an event of a stream has a piece of it, as paths of
	// gjson.
	prompts, said, word string
	// event is the type of the events that have a piece, "" for any.
	event string
}

type object = map[string]any

// chatOf is a conversation of one turn, as most APIs write it.
func chatOf(prompt string) []object { return []object{{"role": "user", "content": prompt}} }

// mcpVersion is the first version of MCP that needs no session: a call is one
// request.
const mcpVersion = "2026-07-28"

func mcpTool(stream bool) string {
	if stream {
		return "ask_cook_slowly"
	}
	return "ask_cook"
}

var formats = []format{
	{
		Name: "chat", Title: "OpenAI chat", path: "/v1/chat/completions",
		body: func(prompt string, stream bool) any {
			return object{"model": "gpt-3.5-turbo", "messages": chatOf(prompt), "stream": stream}
		},
		prompts: "messages.#.content", said: "choices.0.message.content", word: "choices.0.delta.content",
	},
	{
		Name: "responses", Title: "OpenAI responses", path: "/v1/responses",
		body: func(prompt string, stream bool) any {
			return object{"model": "gpt-4o-mini", "input": prompt, "stream": stream}
		},
		prompts: "input", said: "output.0.content.0.text", word: "delta", event: "response.output_text.delta",
	},
	{
		Name: "messages", Title: "Anthropic messages", path: "/v1/messages",
		body: func(prompt string, stream bool) any {
			return object{"model": "claude-sonnet-4-5", "max_tokens": 1024, "messages": chatOf(prompt), "stream": stream}
		},
		header:  func(bool) map[string]string { return map[string]string{"Anthropic-Version": "2023-06-01"} },
		prompts: "messages.#.content", said: "content.0.text", word: "delta.text",
	},
	{
		Name: "interactions", Title: "Google interactions", path: "/v1beta/interactions",
		body: func(prompt string, stream bool) any {
			return object{"model": "gemini-2.5-flash", "input": prompt, "stream": stream}
		},
		prompts: "input", said: "steps.0.content.0.text", word: "delta.text",
	},
	{
		Name: "ollama", Title: "Ollama chat", path: "/api/chat",
		body: func(prompt string, stream bool) any {
			return object{"model": "llama3.2", "messages": chatOf(prompt), "stream": stream}
		},
		prompts: "messages.#.content", said: "message.content", word: "message.content",
	},
	{
		Name: "mcp", Title: "MCP tools/call", path: "/mcp",
		header: func(stream bool) map[string]string {
			return map[string]string{
				"Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": mcpVersion,
				"Mcp-Method": "tools/call", "Mcp-Name": mcpTool(stream),
			}
		},
		body: func(prompt string, stream bool) any {
			return object{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": object{
				"name": mcpTool(stream), "arguments": object{"question": prompt},
				"_meta": object{
					"io.modelcontextprotocol/protocolVersion": mcpVersion,
					"io.modelcontextprotocol/clientInfo":      object{"name": "sandbox", "version": "1.0.0"},
				},
			}}
		},
		prompts: "params.arguments.question", said: "result.content.0.text", word: "result.content.0.text",
	},
	{
		Name: "a2a", Title: "A2A message", path: "/a2a",
		body: func(prompt string, stream bool) any {
			method := "message/send"
			if stream {
				method = "message/stream"
			}
			return object{"jsonrpc": "2.0", "id": 1, "method": method, "params": object{"message": object{
				"kind": "message", "role": "user", "messageId": "m-1", "parts": []object{{"kind": "text", "text": prompt}},
			}}}
		},
		prompts: "params.message.parts.#.text", said: "result.parts.0.text", word: "result.artifact.parts.0.text",
	},
}

// formatOf returns the format of calls to a path, nil if it is not one that the
// page knows. What stands before an API's path is the route's.
func formatOf(path string) *format {
	for i := range formats {
		if strings.HasSuffix(path, formats[i].path) {
			return &formats[i]
		}
	}
	return nil
}

func formatNamed(name string) *format {
	for i := range formats {
		if formats[i].Name == name {
			return &formats[i]
		}
	}
	return nil
}

func (f *format) request(prompt string, stream bool) ([]byte, error) {
	return json.Marshal(f.body(prompt, stream))
}

// asked returns what a request says, none where its texts are not where a plain
// conversation has them.
func (f *format) asked(body []byte) (texts []string) {
	for _, text := range gjson.GetBytes(body, f.prompts).Array() {
		if text.Type != gjson.String {
			return nil
		}
		texts = append(texts, text.Str)
	}
	return texts
}

// answered returns the text of an answer or the message of a refusal, "" for
// neither.
func (f *format) answered(body []byte) string {
	if text := gjson.GetBytes(body, f.said); text.Type == gjson.String {
		return text.Str
	}
	return complaint(gjson.ParseBytes(body))
}

// complaint is the message of an error in the form of any API.
func complaint(answer gjson.Result) string {
	for _, path := range [...]string{"error.message", "response.error.message", "error", "message"} {
		if message := answer.Get(path); message.Type == gjson.String {
			return message.Str
		}
	}
	return ""
}

// streamed returns the piece of the text that a line of a stream has, and the
// error that it ends the stream with.
func (f *format) streamed(line string) (word, failure string) {
	data, isEvent := strings.CutPrefix(line, "data:")
	if data = strings.TrimSpace(data); !strings.HasPrefix(data, "{") || !gjson.Valid(data) {
		return "", ""
	}
	event := gjson.Parse(data)
	if f.event == "" || event.Get("type").Str == f.event {
		if text := event.Get(f.word); text.Type == gjson.String {
			return text.Str, ""
		}
	}
	if failed := event.Get("error"); failed.Exists() && failed.Type != gjson.Null || event.Get("type").Str == "response.failed" || !isEvent && event.Get("message").Type == gjson.String {
		return "", complaint(event)
	}
	return "", ""
}
