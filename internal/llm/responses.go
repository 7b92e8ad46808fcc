// SPDX-License-Identifier: Apache-2.0

package llm

import "github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"

// OpenAIResponses is the format of OpenAI's Responses API.
const OpenAIResponses Format = "openai.responses"

var responsesAPI = api{
	format:  OpenAIResponses,
	paths:   []string{"/responses"},
	prompts: "input instructions",
	spelled: "input instructions",
	answers: "object type output output_text response delta text item part error",
	request: func(s signs) bool {
		input := s.doc.Member(s.root, "input")
		return input >= 0 && (s.has("instructions") || s.has("max_output_tokens") || s.has("previous_response_id") || s.doc.Kind(input) == strictjson.Array)
	},
	answer:  func(s signs) bool { return s.has("output") && s.has("object") || s.typed("response.") },
	grammar: responses,
	refuse:  refuseOpenAI,
	end:     endResponses,
	voice:   &voice{[]string{"/responses"}, responsesAsked, Events, sayResponse, flowResponse},
}

func responsesAsked(s signs, _ string) *Asked {
	return &Asked{Previous: s.ident("previous_response_id")}
}

// responseID is the id of a response that we give. The API knows none that we
// make up, and a client that names it in its next request would find nothing.
// So where a response follows a stored one, it has that one's id: what the
// client asks next follows on that, as if this had never been said.
func (s *saying) responseID() string {
	if s.known == "" && s.Asked.Previous != "" {
		return s.Asked.Previous
	}
	return s.id("resp_")
}

// response writes the response as it stands: with its output, or before that.
func (s *saying) response(o *object, status string, output []byte) {
	o.str("id", s.responseID())
	o.str("object", "response")
	o.number("created_at", s.Stamp.At.Unix())
	o.str("status", status)
	o.raw("error", "null")
	o.raw("incomplete_details", "null")
	o.raw("instructions", "null")
	o.raw("metadata", "{}")
	o.text("model", s.Model)
	o.raw("output", "["+string(output)+"]")
	o.raw("parallel_tool_calls", "true")
	if s.Asked.Previous != "" {
		o.str("previous_response_id", s.Asked.Previous)
	}
	o.raw("temperature", "1")
	o.str("tool_choice", "auto")
	o.raw("tools", "[]")
	o.raw("top_p", "1")
	if len(output) > 0 {
		o.raw("usage", `{"input_tokens":0,"input_tokens_details":{"cached_tokens":0},"output_tokens":0,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":0}`)
	}
}

// item returns the output, without its content while parts is "".
func (s *saying) item(status, parts string) []byte {
	o := object{}
	o.str("id", "msg_"+s.Stamp.ID)
	o.str("type", "message")
	o.str("status", status)
	o.str("role", "assistant")
	o.raw("content", "["+parts+"]")
	return o.end()
}

func outputText(text string) string {
	o := object{}
	o.str("type", "output_text")
	o.text("text", text)
	o.raw("annotations", "[]")
	o.raw("logprobs", "[]")
	return string(o.end())
}

func sayResponse(s *saying) {
	o := object{}
	s.response(&o, "completed", s.item("completed", outputText(s.Message)))
	s.out = o.end()
}

// flowResponse says it in an item of its own, behind those that have gone out.
func flowResponse(s *saying) {
	event := func(name string, rest func(*object)) {
		s.typed(name, func(o *object) {
			o.number("sequence_number", int64(s.told.sequence))
			s.told.sequence++
			rest(o)
		})
	}
	state := func(status string, output []byte) func(*object) {
		return func(o *object) {
			o.open("response")
			s.response(o, status, output)
			o.close()
		}
	}
	index := int64(s.told.next)
	item := func(status, parts string) func(*object) {
		return func(o *object) {
			o.number("output_index", index)
			o.raw("item", string(s.item(status, parts)))
		}
	}
	part := func(name, value string) func(*object) {
		return func(o *object) {
			o.str("item_id", "msg_"+s.Stamp.ID)
			o.number("output_index", index)
			o.raw("content_index", "0")
			o.raw(name, value)
			if name != "part" {
				o.raw("logprobs", "[]")
			}
		}
	}
	text := string(strictjson.AppendQuote(nil, s.Message))
	if !s.told.begun {
		event("response.created", state("in_progress", nil))
		event("response.in_progress", state("in_progress", nil))
	}
	event("response.output_item.added", item("in_progress", ""))
	event("response.content_part.added", part("part", outputText("")))
	event("response.output_text.delta", part("delta", text))
	event("response.output_text.done", part("text", text))
	event("response.content_part.done", part("part", outputText(s.Message)))
	event("response.output_item.done", item("completed", outputText(s.Message)))
	event("response.completed", state("completed", s.item("completed", outputText(s.Message))))
}

// endResponses ends a stream as the API does, with the response that failed.
// Some clients raise what stands in it, others an error of the event's own.
func endResponses(r *Refusal, _ []byte, f Framing, id string) []byte {
	o := object{}
	refuseOpenAI(&o, r)
	o.str("type", responseFailed)
	o.open("response")
	if isIdent([]byte(id)) {
		o.str("id", id)
	}
	o.str("object", "response")
	o.str("status", "failed")
	o.open("error")
	o.str("code", r.Code)
	o.str("message", r.Message)
	o.close()
	o.raw("output", "[]")
	o.close()
	o.shared(r)
	return framed(f, responseFailed, o.end())
}

const responseFailed = "response.failed"

// responses adds what OpenAI's Responses API says, and its streamed events.
func responses() {
	r := requestShape
	r.add(fSystem, "instructions")
	r.add(fIdent, "previous_response_id", "conversation")
	r.add(fSetting, "max_output_tokens", "max_tool_calls", "reasoning")
	r.add(fEnum, "truncation", "include")
	promptShape.add(fIdent, "id", "version")
	promptShape.add(field{rule: text, kind: KindText, role: RoleUser, shape: variablesShape}, "variables")
	// A variable's value stands in the prompt where its author put it.
	variablesShape.each = &field{rule: text, kind: KindText, role: RoleUser, shape: partShape}
	inheritFields(messageShape, promptShape)
	safetyShape.add(fIdent, "id", "code")
	safetyShape.add(field{rule: text, kind: KindOther}, "message")

	p := partShape
	p.add(fIdent, "id", "call_id", "item_id", "container_id", "session_id", "approval_request_id", "response_id", "encrypted_index")
	p.add(fStored, "file_id")
	p.add(fEnum, "status", "role", "phase")
	p.add(fParts, "content")
	p.add(field{rule: text, kind: KindReasoning, shape: partShape, slot: "summary"}, "summary")
	p.add(fArgs, "arguments", "input", "action", "actions")
	p.add(fName, "filename")
	p.add(fMention, "name", "server_label", "server_name")
	p.add(fArgs, "operation")
	p.add(fDocument, "revised_prompt")
	p.add(field{rule: text, kind: KindText}, "reason") // whoever approves a call
	p.add(fIdent, "size", "background")
	p.add(fEnum, "quality", "output_format")
	p.add(fSetting, "approve", "max_output_length", "output_compression")
	p.add(field{rule: other, shape: outcomeShape}, "outcome")
	outcomeShape.add(fEnum, "type")
	outcomeShape.add(fSetting, "exit_code")
	p.add(fToolText, "output", "outputs", "logs")
	// What a tool or its server says when a call fails.
	p.add(field{rule: text, kind: KindToolResult, role: RoleTool, shape: toolErrorShape}, "error")
	toolErrorShape.add(fText, "message")
	toolErrorShape.add(fIdent, "type")
	toolErrorShape.add(fParts, "content")
	p.add(fListing, "tools")
	p.add(field{rule: text, kind: KindToolCall, shape: partShape}, "queries", "code")
	p.add(field{rule: text, kind: KindDocument, shape: partShape}, "results")
	p.add(fOpaque, "encrypted_content")
	p.add(fInline, "file_data", "partial_image_b64", "result")
	p.add(fCited, "annotations", "annotation")
	p.add(field{rule: tokens, shape: probsShape}, "logprobs")
	p.add(fSetting, "index", "score")
	p.add(field{rule: other, shape: safetyShape}, "acknowledged_safety_checks", "pending_safety_checks")

	a := answerShape
	for name, f := range p.fields {
		if _, ok := a.fields[name]; !ok {
			a.add(*f, name)
		}
	}
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text"}, "item", "part")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text", numbered: true, joined: true}, "output")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, slot: "text"}, "output_text")
	a.add(field{rule: other, shape: answerShape}, "response")
	a.add(fDef, "tools")
	// What kind of text these are is in the event's type.
	a.add(field{rule: text, kind: inherit, role: RoleAssistant, shape: deltaShape, slot: "text"}, "delta", "code", "text")
	a.add(field{rule: other, shape: detailsShape}, "incomplete_details")
	a.add(fSystem, "instructions")
	a.add(fSetting, "sequence_number", "output_index", "content_index", "summary_index", "annotation_index",
		"completed_at", "temperature", "top_p", "top_logprobs", "max_output_tokens", "max_tool_calls", "reasoning",
		"parallel_tool_calls", "store", "frequency_penalty", "presence_penalty", "partial_image_index",
		"expires_at")
	a.add(fEnum, "truncation", "quality", "output_format", "stream_format")
	a.add(fIdent, "prompt_cache_retention", "previous_response_id", "item_id", "user", "safety_identifier", "prompt_cache_key", "response_id")
	a.add(field{rule: enum, shape: toolChoice}, "tool_choice")
	a.add(field{rule: setting, shape: detailsShape}, "billing")
	a.add(field{rule: other, shape: metadataShape}, "metadata")
	detailsShape.add(fEnum, "reason", "type", "payer")
}

var (
	detailsShape   = grammar(shape{})
	promptShape    = grammar(shape{})
	variablesShape = grammar(shape{free: true})
	safetyShape    = grammar(shape{})
	outcomeShape   = grammar(shape{})
	toolErrorShape = grammar(shape{})
)
