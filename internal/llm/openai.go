// SPDX-License-Identifier: Apache-2.0

package llm

import "net/http"

// The formats of OpenAI's APIs but Responses.
const (
	OpenAIChat        Format = "openai.chat"
	OpenAICompletions Format = "openai.completions"
	OpenAIOther       Format = "openai.other" // embeddings, moderations, images, audio
)

var (
	chatAPI = api{
		format:  OpenAIChat,
		paths:   []string{"/chat/completions"},
		prompts: "messages",
		asks:    "model tools",
		spelled: "messages tools",
		answers: "choices usage object error errors",
		request: func(s signs) bool { return s.has("messages") },
		answer:  func(s signs) bool { return s.has("choices") },
		refuse:  refuseOpenAI,
		end:     endOpenAI,
		voice:   &voice{[]string{"/chat/completions"}, chatAsked, Events, sayChat, flowChat},
	}
	completionsAPI = api{
		format:  OpenAICompletions,
		paths:   []string{"/completions"},
		prompts: "prompt",
		spelled: "prompt",
		answers: "choices",
		request: func(s signs) bool { return s.has("prompt") },
		grammar: openAI, // of all three: the most general of all grammars
		refuse:  refuseOpenAI,
		end:     endOpenAI,
		voice:   &voice{[]string{"/completions"}, completionsAsked, Events, sayCompletion, flowCompletion},
	}
	otherAPI = api{
		format: OpenAIOther,
		paths: []string{
			"/embeddings", "/moderations", "/images/generations", "/images/edits", "/audio/speech", "/audio/transcriptions",
			"/audio/translations", "/tokenize", "/pooling", "/classify", "/score", // the last are vLLM's
		},
		prompts: "input prompt",
		own:     "text_1 text_2 data_1 data_2 queries",
		spelled: "input",
		answers: "data results text embedding embeddings",
		request: func(s signs) bool { return s.has("input") },
		refuse:  refuseOpenAI,
		end:     endOpenAI,
	}
)

// refuseOpenAI writes what clients of OpenAI's APIs read, and clients of APIs
// whose format is not known.
func refuseOpenAI(o *object, r *Refusal) {
	o.open("error")
	o.str("message", r.Message)
	o.str("type", openAIType(r.Status))
	o.raw("param", "null")
	o.str("code", r.Code)
	o.json("details", r.Details)
	o.close()
}

// endOpenAI ends a stream with the refusal, in an event without a name: one
// client puts the lines before an error's data in front of its JSON.
func endOpenAI(_ *Refusal, body []byte, f Framing, _ string) []byte { return framed(f, "", body) }

func openAIType(status int) string {
	switch {
	case status == http.StatusForbidden:
		return "permission_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// lastEvent ends a stream of OpenAI's, and of Cohere's.
const lastEvent = "[DONE]"

// noTokens is the use of tokens of what no model has said.
const noTokens = `{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`

func chatAsked(s signs, path string) *Asked {
	if !s.has("messages") || !endsIn(path, "/chat/completions") && !s.has("model") {
		return nil // other APIs have messages, and add them to what they keep
	}
	return &Asked{Choices: s.count("n")}
}

// completionsAsked leaves out what is to be put into a text, such as code.
func completionsAsked(s signs, path string) *Asked {
	if !s.has("prompt") || s.has("suffix") || !endsIn(path, "/completions") {
		return nil
	}
	return &Asked{Choices: s.count("n") * s.elements("prompt")}
}

// chunk writes what all answers have and all chunks of one.
func (s *saying) chunk(prefix, kind string) *object {
	o := &object{}
	o.str("id", s.id(prefix))
	o.str("object", kind)
	o.number("created", s.Stamp.At.Unix())
	o.text("model", s.Model)
	return o
}

func sayChat(s *saying) {
	o := s.chunk("chatcmpl-", "chat.completion")
	o.list("choices", s.Asked.Choices, func(i int, o *object) {
		o.number("index", int64(i))
		o.open("message")
		o.str("role", "assistant")
		o.text("content", s.Message)
		o.raw("refusal", "null")
		o.close()
		o.raw("logprobs", "null")
		o.str("finish_reason", "stop")
	})
	o.raw("usage", noTokens)
	s.out = o.end()
}

func flowChat(s *saying) {
	for i := range s.Asked.Choices {
		s.chatChunk(i, "null", func(o *object) {
			if !s.cut {
				o.str("role", "assistant")
			}
			o.text("content", s.words())
		})
		s.chatChunk(i, `"stop"`, func(*object) {})
	}
	s.out = append(s.out, "data: "+lastEvent+"\n\n"...)
}

func (s *saying) chatChunk(choice int, finish string, delta func(*object)) {
	o := s.chunk("chatcmpl-", "chat.completion.chunk")
	o.list("choices", 1, func(_ int, o *object) {
		o.number("index", int64(choice))
		o.open("delta")
		delta(o)
		o.close()
		o.raw("logprobs", "null")
		o.raw("finish_reason", finish)
	})
	s.event("", o)
}

func sayCompletion(s *saying) {
	o := s.chunk("cmpl-", "text_completion")
	o.list("choices", s.Asked.Choices, func(i int, o *object) { completionChoice(o, i, s.Message) })
	o.raw("usage", noTokens)
	s.out = o.end()
}

func flowCompletion(s *saying) {
	for i := range s.Asked.Choices {
		o := s.chunk("cmpl-", "text_completion")
		o.list("choices", 1, func(_ int, o *object) { completionChoice(o, i, s.words()) })
		s.event("", o)
	}
	s.out = append(s.out, "data: "+lastEvent+"\n\n"...)
}

func completionChoice(o *object, i int, text string) {
	o.text("text", text)
	o.number("index", int64(i))
	o.raw("logprobs", "null")
	o.str("finish_reason", "stop")
}

// openAI adds what OpenAI's chat completions, completions, embeddings,
// moderations, images and audio APIs say, and those that speak them: Azure,
// Mistral, Groq, DeepSeek, vLLM and others.
func openAI() {
	r := requestShape
	r.add(fMessages, "messages")
	r.add(fModel, "model")
	r.add(field{rule: text, kind: KindText, role: RoleUser, shape: messageShape}, "prompt", "suffix", "input", "negative_prompt")
	r.add(fDef, "tools", "functions")
	r.add(field{rule: enum, shape: toolChoice}, "tool_choice", "function_call")
	r.add(field{rule: ident, shape: responseFormat}, "response_format", "audio")
	// Settings in an object; what speech is to be made of in a string.
	r.add(field{rule: other, shape: responseFormat}, "text")
	r.add(field{rule: other, shape: metadataShape}, "metadata")
	r.add(field{rule: other, shape: searchShape}, "web_search_options")
	r.add(fName, "stop", "stop_sequences")
	r.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape}, "prediction")
	r.add(fSetting, "temperature", "top_p", "top_k", "n", "stream", "stream_options", "max_tokens",
		"max_completion_tokens", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs",
		"seed", "parallel_tool_calls", "store", "echo", "best_of", "dimensions", "min_tokens", "min_p", "safe_prompt",
		"random_seed", "repetition_penalty", "length_penalty", "use_beam_search", "ignore_eos", "include_reasoning",
		"include_stop_str_in_output", "skip_special_tokens", "output_compression", "partial_images", "enable_thinking", "speed",
		"fps", "seconds", "return_token_ids", "add_generation_prompt", "continue_final_message", "top_a", "logprob_start_len")
	r.add(field{rule: setting, shape: biasShape}, "logit_bias")
	r.add(fEnum, "service_tier", "reasoning_effort", "encoding_format", "modalities", "quality",
		"truncate", "moderation", "output_format", "reasoning_format", "verbosity", "stream_format", "input_fidelity", "prompt_mode")
	r.add(fIdent, "user", "safety_identifier", "prompt_cache_key", "size", "prompt_cache_retention", "style", "background",
		"voice", "language")

	m := messageShape
	m.add(fParts, "content")
	m.add(fEnum, "role", "author")
	m.add(fRefusal, "refusal")
	m.add(fReasoning, "reasoning_content", "reasoning")
	m.add(field{rule: text, kind: KindReasoning, shape: partShape, slot: "reasoning"}, "reasoning_details")
	m.add(fCalls, "tool_calls", "function_call")
	m.add(fIdent, "tool_call_id", "id")
	m.add(fSetting, "prefix", "audio_tokens")
	m.add(field{rule: other, shape: audioShape}, "audio")
	m.add(fMention, "name")
	m.add(fCited, "annotations", "citations")

	p := partShape
	p.add(fEnum, "type")
	p.add(fText, "text")
	p.add(fRefusal, "refusal")
	p.add(fLink, "image_url", "video_url", "audio_url", "file_url", "document_url", "url")
	p.add(fLinkObject, "input_audio", "file", "image", "audio", "video")
	p.add(fIdent, "reference_ids")
	p.add(fSetting, "closed")
	p.add(fEnum, "detail")
	p.add(fSetting, "cache_control")

	sourceShape.add(fLink, "url", "file_url", "image_url", "uri")
	sourceShape.add(fInline, "data", "file_data", "bytes", "b64_json")
	sourceShape.add(fEnum, "format", "detail", "type")
	sourceShape.add(fStored, "file_id")
	sourceShape.add(fIdent, "id", "media_type", "mime_type", "mimeType")
	sourceShape.add(fDocument, "text")
	sourceShape.add(fParts, "content")

	audioShape.add(field{rule: ident, unseen: UnseenResponse}, "id") // of a sound that the API has
	audioShape.add(fNumbers, "data")
	audioShape.add(field{rule: text, kind: inherit, slot: slotTranscript}, "transcript")
	audioShape.add(fSetting, "expires_at")

	c := callShape
	c.add(fIdent, "id", "call_id")
	c.add(fEnum, "type")
	c.add(fSetting, "index")
	c.add(field{rule: other, kind: KindToolCall, shape: functionShape}, "function", "custom")
	c.add(fName, "name")
	c.add(fArgs, "arguments", "input", "parameters")
	functionShape.add(fName, "name")
	functionShape.add(fArgs, "arguments", "input")
	functionShape.add(fSetting, "index")

	a := answerShape
	a.add(fIdent, "id", "system_fingerprint", "request_id", "region")
	a.add(fEnum, "object", "service_tier", "status", "task", "output_format", "quality")
	a.add(fIdent, "size", "background", "language")
	a.add(fSetting, "duration", "param")
	a.add(field{rule: other, shape: segmentShape}, "segments", "words")
	a.add(fSetting, "created", "created_at", "nonce")
	a.add(fModel, "model", "provider")
	a.add(fUsage, "usage", "x_groq", "timings", "time_info")
	a.add(field{rule: other, kind: KindText, role: RoleAssistant, shape: choiceShape}, "choices", "candidates")
	a.add(field{rule: text, kind: KindOther, shape: errorShape}, "error", "errors")
	a.add(field{rule: other, shape: dataShape}, "data")
	a.add(fOpaque, "obfuscation")
	a.add(field{rule: other, shape: moderationShape}, "results")

	ch := choiceShape
	ch.add(fSetting, "index")
	ch.add(fEnum, "finish_reason", "stop_reason")
	ch.add(field{rule: text, kind: inherit, shape: messageShape, slot: "text"}, "message")
	ch.add(field{rule: text, kind: inherit, shape: deltaShape, slot: "text"}, "delta")
	ch.add(fText, "text")
	ch.add(field{rule: tokens, shape: probsShape}, "logprobs")
	ch.add(field{rule: setting, shape: moderationShape}, "content_filter_results", "content_filter_offsets")
	answerShape.add(field{rule: setting, shape: moderationShape}, "prompt_filter_results")

	dataShape.add(fEnum, "object")
	dataShape.add(fSetting, "index", "value", "created", "dimensions")
	dataShape.add(fVector, "embedding", "embeddings", "values", "indices", "sparse_embedding", "sparse_indices", "sparse_values")
	dataShape.add(fInline, "b64_json")
	dataShape.add(fLink, "url")
	dataShape.add(fDocument, "revised_prompt")
	dataShape.add(fIdent, "owned_by")
	dataShape.add(fModel, "id", "root", "parent")

	segmentShape.add(fSetting, "id", "seek", "start", "end", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")
	segmentShape.add(field{rule: tokens, shape: probsShape}, "text", "word")

	moderationShape.add(fSetting, "flagged", "filtered", "detected", "prompt_index", "embedding", "tokenCount",
		"check_offset", "start_offset", "end_offset", "index", "relevance_score")
	moderationShape.add(field{rule: setting, shape: categoriesShape}, "category_scores", "categories", "category_applied_input_types")
	categoriesShape.add(fEnum, "harassment", "harassment/threatening", "sexual", "hate", "hate/threatening", "illicit", "illicit/violent",
		"self-harm", "self-harm/intent", "self-harm/instructions", "sexual/minors", "violence", "violence/graphic", "hate_and_discrimination",
		"violence_and_threats", "dangerous_and_criminal_content", "selfharm", "health", "financial", "law", "pii")
	moderationShape.add(fEnum, "severity", "completionReason")
	moderationShape.add(field{rule: text, kind: KindText, role: RoleAssistant}, "outputText")
	moderationShape.add(field{rule: setting, shape: moderationShape}, "hate", "self_harm", "sexual", "violence",
		"jailbreak", "profanity", "protected_material_text", "protected_material_code", "content_filter_results",
		"custom_blocklists", "indirect_attack")

	errorShape.add(field{rule: text, kind: KindOther}, "message")
	errorShape.add(fEnum, "type", "code", "status")
	errorShape.add(fIdent, "param")

	citationShape.add(fEnum, "type")
	// What is cited is not media of the exchange.
	citationShape.add(fDocument, "title", "cited_text", "text", "quote", "url", "document_title", "filename")
	citationShape.add(fSetting, "start_index", "end_index", "start", "end", "index", "document_index", "start_char_index",
		"end_char_index", "start_page_number", "end_page_number", "start_block_index", "end_block_index", "content_index")
	citationShape.add(fIdent, "file_id", "container_id", "document_ids")
	citationShape.add(field{rule: other, shape: citationShape}, "url_citation")
	citationShape.add(fOpaque, "encrypted_index")

	usageShape.add(fEnum, "service_tier", "billing_unit", "trafficType", "inference_geo")
	usageShape.add(field{rule: setting, shape: usageShape}, "prompt_tokens_details", "completion_tokens_details",
		"input_tokens_details", "output_tokens_details", "cache_creation", "server_tool_use", "billed_units", "tokens",
		"promptTokensDetails", "candidatesTokensDetails", "cacheTokensDetails", "toolUsePromptTokensDetails", "cost_details")
	usageShape.add(fEnum, "modality")
	usageShape.add(fSetting, "web_search_requests", "web_fetch_requests", "search_units", "classifications",
		"predicted_ms", "prompt_ms", "predicted_n", "prompt_n")
	usageShape.add(fIdent, "id")

	toolChoice.add(fEnum, "type", "mode")
	toolChoice.add(field{rule: other, shape: toolChoice}, "function", "custom", "allowed_tools")
	toolChoice.add(fMention, "name", "server_label")
	toolChoice.add(fSetting, "disable_parallel_tool_use")
	toolChoice.add(field{rule: mention, shape: toolChoice}, "tools")

	responseFormat.add(fEnum, "type", "verbosity")
	responseFormat.add(fIdent, "voice")
	responseFormat.add(fSchema, "json_schema", "schema")
	responseFormat.add(field{rule: ident, shape: formatShape}, "format")
	formatShape.add(fEnum, "type")
	formatShape.add(fName, "name", "description")
	formatShape.add(fSchema, "schema", "json_schema")
	formatShape.add(fSetting, "strict")

	searchShape.add(fEnum, "search_context_size", "type")
	searchShape.add(field{rule: other, shape: searchShape}, "user_location", "approximate")
	metadataShape.add(fIdent, "user_id")

	probsShape.add(field{rule: tokens, shape: probsShape}, "content", "refusal", "tokens", "token", "top_logprobs", "logprobs", "text_offset", "token_logprobs", "logprob", "bytes")

	// Nested settings are structure as long as they are numbers, booleans and
	// words of the vocabulary under these names.
	settingsShape.add(field{rule: enum, shape: settingsShape}, "type", "effort", "summary", "category", "threshold",
		"method", "mode", "latency", "performanceConfig", "generate_summary", "display", "trace")
	settingsShape.add(fIdent, "ttl")
	settingsShape.add(fSetting, "include_usage", "include_obfuscation", "budget_tokens", "enabled", "max_results", "exclude",
		"max_tokens", "disable_parallel_tool_use", "allow_fallbacks")
}

var (
	audioShape      = grammar(shape{})
	dataShape       = grammar(shape{})
	moderationShape = grammar(shape{counts: true})
	categoriesShape = grammar(shape{free: true})
	segmentShape    = grammar(shape{})
	searchShape     = grammar(shape{})
	metadataShape   = grammar(shape{free: true})
	biasShape       = grammar(shape{free: true, counts: true}) // numbers by token
	formatShape     = grammar(shape{})
	toolChoice      = grammar(shape{})
	responseFormat  = grammar(shape{})
)
