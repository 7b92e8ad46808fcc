// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"net/http"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// AnthropicMessages is the format of Anthropic's Messages API.
const AnthropicMessages Format = "anthropic.messages"

var anthropicAPI = api{
	format:  AnthropicMessages,
	paths:   []string{"/messages", "/messages/count_tokens", "/messages/batches", "/messages/batches/*/results"},
	prompts: "messages system",
	answers: "type content content_block message delta usage error custom_id",
	request: func(s signs) bool {
		return s.has("messages") && (s.has("system") || s.has("anthropic_version") || s.has("context_management")) || s.begins("requests", isBatched)
	},
	answer: func(s signs) bool {
		return s.has("content_block") || s.has("content") && s.has("role") || s.typed("message_") || s.typed("content_block_") ||
			s.has("custom_id") && s.has("result")
	},
	grammar: anthropic,
	refuse:  refuseAnthropic,
	end:     endAnthropic,
	voice:   &voice{[]string{"/messages"}, messagesAsked, Events, sayMessage, flowMessage},
}

func refuseAnthropic(o *object, r *Refusal) {
	o.str("type", "error")
	o.open("error")
	o.str("type", anthropicType(r.Status))
	o.str("message", r.Message)
	o.json("details", r.Details)
	o.close()
}

// endAnthropic ends a stream with an event called "error". Only a batch's
// results come as lines. Their clients raise nothing for a line that is no
// result, so it is the result of a request that failed.
func endAnthropic(r *Refusal, body []byte, f Framing, _ string) []byte {
	if f != Lines {
		return framed(f, "error", body)
	}
	o := object{}
	o.raw("custom_id", `""`)
	o.open("result")
	o.str("type", "errored")
	o.open("error")
	refuseAnthropic(&o, r)
	o.str("request_id", r.RequestID)
	o.close()
	o.close()
	o.shared(r)
	return framed(f, "", o.end())
}

// isBatched reports whether v is one of a batch's requests.
func isBatched(d *strictjson.Doc, v int) bool {
	return d.Kind(v) == strictjson.Object && d.Member(v, "custom_id") >= 0 && d.Member(v, "params") >= 0
}

func messagesAsked(s signs, _ string) *Asked {
	if !s.has("messages") {
		return nil
	}
	return &Asked{}
}

// noAnthropicTokens is the use of tokens of what no model has said.
const noAnthropicTokens = `{"input_tokens":0,"output_tokens":0}`

// message writes what a message has besides its text.
func (s *saying) message(o *object, content string, stop string) {
	o.str("id", s.id("msg_"))
	o.str("type", "message")
	o.str("role", "assistant")
	o.text("model", s.Model)
	o.raw("content", content)
	o.raw("stop_reason", stop)
	o.raw("stop_sequence", "null")
	o.raw("usage", noAnthropicTokens)
}

func sayMessage(s *saying) {
	part := object{}
	part.str("type", "text")
	part.text("text", s.Message)
	o := object{}
	s.message(&o, "["+string(part.end())+"]", `"end_turn"`)
	s.out = o.end()
}

// flowMessage says it in a block of its own, behind those that have gone out.
func flowMessage(s *saying) {
	if !s.told.begun {
		s.typed("message_start", func(o *object) {
			o.open("message")
			s.message(o, "[]", "null")
			o.close()
		})
	}
	if s.told.open > 0 {
		s.typed("content_block_stop", func(o *object) { o.number("index", int64(s.told.open-1)) })
	}
	index := int64(s.told.next)
	s.typed("content_block_start", func(o *object) {
		o.number("index", index)
		o.raw("content_block", `{"type":"text","text":""}`)
	})
	s.typed("content_block_delta", func(o *object) {
		o.number("index", index)
		o.open("delta")
		o.str("type", "text_delta")
		o.text("text", s.Message)
		o.close()
	})
	s.typed("content_block_stop", func(o *object) { o.number("index", index) })
	s.typed("message_delta", func(o *object) {
		o.raw("delta", `{"stop_reason":"end_turn","stop_sequence":null}`)
		o.raw("usage", `{"output_tokens":0}`)
	})
	s.typed("message_stop", func(*object) {})
}

// typed writes an event that has its name for its type too.
func (s *saying) typed(name string, rest func(*object)) {
	o := object{}
	o.str("type", name)
	rest(&o)
	s.event(name, &o)
}

func anthropicType(status int) string {
	switch {
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case status >= 500:
		return "api_error"
	}
	return "invalid_request_error"
}

// anthropic adds what Anthropic's Messages API says, and its streamed events.
func anthropic() {
	r := requestShape
	r.add(fSystem, "system")
	r.add(fSetting, "thinking", "output_config", "speed", "context_management")
	r.add(field{rule: setting, shape: settingsShape}, "compaction")
	settingsShape.add(fSystem, "instructions") // of a compaction
	settingsShape.add(fSetting, "pause_after_compaction", "cleared_input_tokens", "cleared_tool_uses", "cleared_thinking_turns", "original_input_tokens")
	r.add(field{rule: other, shape: serverShape}, "mcp_servers")
	serverShape.add(fEnum, "type")
	serverShape.add(fName, "url", "name", "allowed_tools")
	serverShape.add(field{rule: other, shape: serverShape}, "tool_configuration")
	serverShape.add(fSetting, "enabled")
	serverShape.add(fSecret, "authorization_token")
	settingsShape.add(field{rule: setting, shape: settingsShape}, "applied_edits", "edits", "trigger", "keep", "clear_at_least", "exclude_tools", "value")
	r.add(fIdent, "anthropic_version", "inference_geo")
	r.add(field{rule: ident, shape: containerShape}, "container")
	containerShape.add(fIdent, "id", "expires_at")
	containerShape.add(field{rule: other, shape: skillShape}, "skills")
	r.add(fEnum, "anthropic_beta")

	// A batch of requests.
	r.add(field{rule: other, shape: requestShape}, "params")
	r.add(fIdent, "custom_id")

	p := partShape
	p.add(field{rule: text, kind: KindReasoning, shape: partShape, slot: "reasoning"}, "thinking")
	p.add(fOpaque, "signature")
	p.add(fInline, "data") // ciphertext in a block of thinking, else media
	p.add(field{rule: args, slot: "arguments"}, "partial_json")
	p.add(fIdent, "tool_use_id")
	p.add(fSetting, "is_error")
	p.add(field{rule: text, kind: KindDocument, shape: sourceShape}, "source")
	p.add(fDocument, "title", "context")
	p.add(fCited, "citations", "citation")
	p.add(fEnum, "error_code", "stop_reason", "caller")
	p.add(fDocument, "stop_sequence", "page_age")
	p.add(fSetting, "stdout_truncated", "return_code")
	p.add(fToolText, "stdout", "stderr", "lines", "error_message")
	p.add(fOpaque, "encrypted_stdout")
	p.add(fSetting, "num_lines", "start_line", "total_lines", "old_start", "old_lines", "new_start", "new_lines", "is_file_update")
	p.add(fEnum, "file_type")
	p.add(field{rule: other, shape: changedShape}, "tool_changes", "tool")
	changedShape.add(fEnum, "type")
	changedShape.add(field{rule: other, shape: changedShape}, "tool")
	changedShape.add(fMention, "name", "server_name")
	changedShape.add(fDef, "definition")

	sourceShape.add(fIdent, "media_type")
	citationShape.add(fSetting, "enabled")

	a := answerShape
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text"}, "message")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: partShape, slot: "text"}, "content", "content_block")
	a.add(fEnum, "stop_reason", "role", "type")
	a.add(fDocument, "stop_sequence")
	a.add(field{rule: other, shape: detailsShape}, "stop_details", "container")
	a.add(fSetting, "index", "input_tokens", "context_management")
	messageShape.add(fSetting, "context_management")
	// A batch, and its results.
	a.add(fIdent, "custom_id", "ended_at", "cancel_initiated_at", "expires_at")
	a.add(fEnum, "processing_status")
	a.add(fUsage, "request_counts")
	a.add(fName, "results_url")
	a.add(field{rule: inline, shape: batchedShape}, "result")
	batchedShape.add(fEnum, "type")
	batchedShape.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text"}, "message")
	batchedShape.add(field{rule: text, kind: KindOther, shape: errorShape}, "error")
	errorShape.add(field{rule: text, kind: KindOther, shape: errorShape}, "error")
	errorShape.add(fIdent, "request_id")
	usageShape.add(field{rule: setting, shape: usageShape}, "iterations")
	usageShape.add(fEnum, "type")
	usageShape.add(fModel, "model")
	detailsShape.add(fEnum, "category")
	detailsShape.add(field{rule: text, kind: KindText}, "explanation")
	detailsShape.add(fIdent, "id", "expires_at")
	messageShape.add(fModel, "model")
	messageShape.add(fUsage, "usage")
	messageShape.add(fEnum, "stop_reason", "type")
	messageShape.add(fDocument, "stop_sequence")
	messageShape.add(field{rule: other, shape: detailsShape}, "stop_details", "container")
}

var (
	serverShape    = grammar(shape{}) // a server of tools that the model may call
	containerShape = grammar(shape{}) // where code runs, and what it finds there
	changedShape   = grammar(shape{}) // a tool that was added or taken away
	batchedShape   = grammar(shape{}) // the result of one of a batch's requests
)
