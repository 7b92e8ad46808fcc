// SPDX-License-Identifier: Apache-2.0

package llm

import "kong-ai-guard/internal/strictjson"

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
			a.add(f, name)
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
