// SPDX-License-Identifier: Apache-2.0

package llm

// Cohere is the format of Cohere's APIs.
const Cohere Format = "cohere"

var cohereAPI = api{
	format:  Cohere,
	paths:   []string{"/v2/chat", "/v1/chat", "/v1/generate", "/v2/embed", "/v1/embed", "/rerank"},
	prompts: "message chat_history texts query",
	spelled: "chat_history",
	answers: "type event_type generations text message delta embeddings results",
	request: func(s signs) bool { return s.has("message") || s.has("chat_history") || s.has("texts") },
	answer: func(s signs) bool {
		return s.has("generations") || s.has("event_type") || s.typed("message-") || s.typed("content-")
	},
	grammar: cohere,
	refuse:  func(o *object, r *Refusal) { o.json("details", r.Details) }, // its errors are a message alone
	end:     endCohere,
	voice:   &voice{[]string{"/v2/chat", "/v1/chat"}, cohereAsked, Events, sayCohere, flowCohere},
}

func cohereAsked(s signs, path string) *Asked {
	switch {
	case endsIn(path, "/v2/chat") && s.has("messages"):
		return &Asked{}
	case endsIn(path, "/v1/chat") && s.has("message"):
		return &Asked{First: true}
	}
	return nil
}

// noCohereTokens is the use of tokens of what no model has said.
const noCohereTokens = `{"billed_units":{"input_tokens":0,"output_tokens":0},"tokens":{"input_tokens":0,"output_tokens":0}}`

func sayCohere(s *saying) {
	o := object{}
	if s.Asked.First {
		s.cohereFirst(&o)
		s.out = o.end()
		return
	}
	part := object{}
	part.str("type", "text")
	part.text("text", s.Message)
	o.str("id", s.id(""))
	o.str("finish_reason", "COMPLETE")
	o.open("message")
	o.str("role", "assistant")
	o.raw("content", "["+string(part.end())+"]")
	o.close()
	o.raw("usage", noCohereTokens)
	s.out = o.end()
}

// cohereFirst writes the answer of the API's first version.
func (s *saying) cohereFirst(o *object) {
	o.text("text", s.Message)
	o.str("generation_id", s.id(""))
	o.str("finish_reason", "COMPLETE")
}

func flowCohere(s *saying) {
	if s.Asked.First {
		s.flowCohereFirst()
		return
	}
	if !s.told.begun {
		s.typed("message-start", func(o *object) {
			o.str("id", s.id(""))
			o.raw("delta", `{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}`)
		})
	}
	if s.told.open > 0 {
		s.typed("content-end", func(o *object) { o.number("index", int64(s.told.open-1)) })
	}
	index := int64(s.told.next)
	s.typed("content-start", func(o *object) {
		o.number("index", index)
		o.raw("delta", `{"message":{"content":{"type":"text","text":""}}}`)
	})
	s.typed("content-delta", func(o *object) {
		o.number("index", index)
		o.open("delta")
		o.open("message")
		o.open("content")
		o.text("text", s.Message)
		o.close()
		o.close()
		o.close()
	})
	s.typed("content-end", func(o *object) { o.number("index", index) })
	s.typed("message-end", func(o *object) {
		o.open("delta")
		o.str("finish_reason", "COMPLETE")
		o.raw("usage", noCohereTokens)
		o.close()
	})
	s.out = append(s.out, "data: "+lastEvent+"\n\n"...)
}

func (s *saying) flowCohereFirst() {
	event := func(kind, finished string, rest func(*object)) {
		o := object{}
		o.raw("is_finished", finished)
		o.str("event_type", kind)
		rest(&o)
		s.event("", &o)
	}
	if !s.cut {
		event("stream-start", "false", func(o *object) { o.str("generation_id", s.id("")) })
	}
	event("text-generation", "false", func(o *object) { o.text("text", s.words()) })
	event("stream-end", "true", func(o *object) {
		o.str("finish_reason", "COMPLETE")
		o.open("response")
		s.cohereFirst(o)
		o.close()
	})
}

// endCohere ends a stream of either version of the API with the event that ends
// each and says why. Clients hand that out like any other event, so there is
// one more behind it, without a type, which they raise.
func endCohere(r *Refusal, body []byte, f Framing, _ string) []byte {
	const failed = "ERROR"
	o := object{}
	o.str("type", "message-end")
	o.open("delta")
	o.str("finish_reason", failed)
	o.str("error", r.Message)
	o.close()
	o.str("event_type", "stream-end")
	o.raw("is_finished", "true")
	o.str("finish_reason", failed)
	o.str("error", r.Message)
	o.open("response")
	o.raw("text", `""`)
	o.str("finish_reason", failed)
	o.close()
	o.json("details", r.Details)
	o.shared(r)
	return append(framed(f, "message-end", o.end()), framed(f, "error", body)...)
}

// cohere adds what Cohere's chat, generate, embed and rerank APIs say, in
// their first and second version.
func cohere() {
	r := requestShape
	r.add(field{rule: text, kind: KindText, role: RoleUser, shape: messageShape}, "message", "query", "texts")
	r.add(fSystem, "preamble")
	r.add(fMessages, "chat_history")
	r.add(field{rule: text, kind: KindDocument, shape: cohereDocument}, "documents")
	r.add(field{rule: text, kind: KindToolResult, role: RoleTool, shape: cohereResult}, "tool_results")
	r.add(fSetting, "k", "p", "max_input_tokens", "return_documents", "top_n", "max_chunks_per_doc", "search_queries_only",
		"force_single_step", "raw_prompting", "strict_tools", "num_generations", "return_prompt", "max_tokens_per_doc",
		"output_dimension", "priority")
	r.add(field{rule: text, kind: KindText, role: RoleUser, shape: messageShape}, "inputs")
	r.add(field{rule: other, shape: connectorShape}, "connectors")
	connectorShape.add(fIdent, "id")
	connectorShape.add(fSecret, "user_access_token")
	connectorShape.add(fSetting, "continue_on_failure")
	settingsShape.add(fSetting, "token_budget")
	r.add(fEnum, "prompt_truncation", "citation_quality", "safety_mode", "input_type", "embedding_types", "citation_mode")
	r.add(fIdent, "conversation_id")
	r.add(field{rule: setting, shape: settingsShape}, "citation_options")

	cohereDocument.add(fIdent, "id", "generation_id", "document_ids")
	cohereDocument.add(field{rule: text, kind: KindDocument, shape: cohereDocument}, "data", "title", "text", "snippet", "document", "url", "search_query")
	cohereDocument.add(field{rule: other, shape: connectorShape}, "connector")
	cohereDocument.add(fResult, "tool_output")
	sourceShape.add(field{rule: inline, shape: cohereDocument}, "data")
	moderationShape.add(field{rule: text, kind: KindDocument, shape: cohereDocument}, "document")
	cohereResult.add(field{rule: other, kind: KindToolCall, role: RoleAssistant, shape: callShape}, "call")
	cohereResult.add(fResult, "outputs")

	m := messageShape
	m.add(field{rule: text, kind: inherit, shape: messageShape, slot: "text"}, "message")
	m.add(fReasoning, "tool_plan")
	m.add(fDocument, "document")
	partShape.add(field{rule: other, kind: KindDocument, shape: sourceShape}, "document")

	a := answerShape
	a.add(fIdent, "generation_id", "response_id", "message_id")
	a.add(fEnum, "event_type", "finish_reason", "response_type")
	a.add(fSetting, "is_finished", "is_search_required")
	a.add(field{rule: other, shape: metaShape}, "meta")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text", numbered: true}, "generations", "chat_history")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: responseFormat, slot: "text"}, "text")
	a.add(field{rule: text, kind: KindDocument, shape: cohereDocument}, "documents", "search_results", "search_queries")
	a.add(fCited, "citations")
	a.add(fCalls, "tool_calls", "tool_call", "tool_call_delta")
	a.add(fVector, "embeddings", "embedding")
	a.add(field{rule: text, kind: KindText}, "texts")
	a.add(field{rule: text, kind: KindText, shape: promptShape}, "prompt") // in an object it is Responses'
	dataShape.add(fVector, "float", "int8", "uint8", "binary", "ubinary")
	dataShape.add(fNumbers, "base64")
	metaShape.add(field{rule: setting, shape: usageShape}, "billed_units", "tokens")
	metaShape.add(fIdent, "version")
	metaShape.add(fSetting, "is_experimental", "is_deprecated")
	metaShape.add(fName, "warnings")
	deltaShape.add(fEnum, "finish_reason")
	deltaShape.add(fUsage, "usage")
	metaShape.add(field{rule: other, shape: metaShape}, "api_version")
	citationShape.add(field{rule: text, kind: KindDocument, shape: cohereDocument}, "sources")
	cohereDocument.add(fEnum, "type")
}

var (
	cohereDocument = grammar(shape{free: true})
	cohereResult   = grammar(shape{})
	metaShape      = grammar(shape{})
	connectorShape = grammar(shape{})
)
