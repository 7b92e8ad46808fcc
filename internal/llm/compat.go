// SPDX-License-Identifier: Apache-2.0

package llm

// compatibleAPIs are not a format of their own: they have no signs, only names.
var compatibleAPIs = api{grammar: compatible}

// compatible adds what servers that speak OpenAI's format say beyond it: Azure,
// OpenRouter, vLLM, Groq, xAI, Perplexity.
func compatible() {
	r := requestShape
	// Azure: documents to answer from.
	r.add(field{rule: other, shape: dataSourceShape}, "data_sources")
	d := dataSourceShape
	d.add(fIdent, "type")
	d.add(fEnum, "query_type")
	d.add(field{rule: other, shape: dataSourceShape}, "parameters", "authentication", "embedding_dependency", "fields_mapping")
	d.add(fSystem, "role_information")
	d.add(fIdent, "index_name", "semantic_configuration", "deployment_name", "content_fields", "title_field", "url_field",
		"filepath_field", "vector_fields", "key_id")
	d.add(fSecret, "key", "access_token", "encoded_api_key", "connection_string")
	d.add(fName, "endpoint", "filter")
	d.add(fSetting, "in_scope", "top_n_documents", "strictness", "max_search_queries", "allow_partial_result", "include_contexts")
	messageShape.add(field{rule: text, kind: KindDocument, shape: contextShape}, "context")
	contextShape.add(fCited, "citations", "all_retrieved_documents")
	contextShape.add(fDocument, "intent")
	citationShape.add(fDocument, "filepath", "license", "URL")
	citationShape.add(fIdent, "chunk_id")
	citationShape.add(fSetting, "rerank_score", "original_search_score", "data_source_index", "filter_reason")
	moderationShape.add(fCited, "citation")
	moderationShape.add(field{rule: setting, shape: moderationShape}, "details", "content_filter_result")
	errorShape.add(field{rule: text, kind: KindOther, shape: errorShape}, "innererror", "details")
	errorShape.add(field{rule: setting, shape: moderationShape}, "content_filter_result", "content_filter_results")
	errorShape.add(fIdent, "@type", "domain", "reason", "locale")

	// OpenRouter: where to send a request.
	r.add(fModel, "models")
	r.add(fIdent, "route", "transforms", "request_id")
	r.add(field{rule: other, shape: providerShape}, "provider", "plugins")
	r.add(fUsage, "usage")
	usageShape.add(fSetting, "include", "is_byok", "seed")
	usageShape.add(fEnum, "search_context_size")
	usageShape.add(field{rule: setting, shape: usageShape}, "cost")
	providerShape.add(fName, "order", "only", "ignore", "search_prompt", "engine")
	providerShape.add(fSetting, "allow_fallbacks", "require_parameters", "zdr", "max_results", "enabled")
	providerShape.add(fIdent, "data_collection", "sort", "quantizations", "id")
	providerShape.add(field{rule: setting, shape: priceShape}, "max_price")
	priceShape.add(fSetting, "prompt", "completion", "request", "image")
	answerShape.add(fMention, "provider") // a name with blanks, in each chunk
	choiceShape.add(fIdent, "native_finish_reason")

	// vLLM, Groq, xAI and others.
	r.add(fTemplate, "chat_template")
	r.add(field{rule: other, shape: templateShape}, "chat_template_kwargs")
	templateShape.each = &fTemplate // what the template makes of it is not known
	r.add(fSchema, "guided_json")
	r.add(field{rule: text, kind: KindToolDef}, "guided_choice")
	r.add(fProgram, "guided_regex", "guided_grammar", "guided_whitespace_pattern", "structural_tag")
	r.add(field{rule: other, shape: structuredShape}, "structured_outputs")
	r.add(fIdent, "guided_decoding_backend", "embed_dtype", "endianness")
	r.add(fToken, "cache_salt")
	r.add(fEnum, "truncation_side", "padding")
	structuredShape.add(fSchema, "json")
	structuredShape.add(field{rule: text, kind: KindToolDef}, "choice")
	structuredShape.add(fProgram, "regex", "grammar", "whitespace_pattern", "structural_tag")
	structuredShape.add(fSetting, "json_object", "disable_fallback", "disable_any_whitespace", "disable_additional_properties")
	// Pairs of which one is compared with the other.
	r.add(field{rule: text, kind: KindText, role: RoleUser, shape: messageShape}, "text_1", "text_2", "data_1", "data_2", "queries")
	cohereDocument.add(fParts, "content")
	dataShape.add(fSetting, "score", "probs", "num_classes")
	r.add(fSetting, "stop_token_ids", "spaces_between_special_tokens", "truncate_prompt_tokens",
		"prompt_logprobs", "add_special_tokens", "logits_processors", "disable_tool_validation", "deferred", "thinking_token_budget", "use_activation", "normalize",
		"return_token_strs")
	settingsShape.add(fSetting, "enable_thinking", "thinking")
	settingsShape.add(fEnum, "reasoning_effort")
	templateShape.add(fSetting, "enable_thinking", "thinking", "add_generation_prompt")
	templateShape.add(fEnum, "reasoning_effort")
	cohereDocument.add(fIdent, "date", "last_updated")
}

var (
	dataSourceShape = grammar(shape{})
	contextShape    = grammar(shape{})
	providerShape   = grammar(shape{})
	priceShape      = grammar(shape{})
	structuredShape = grammar(shape{})
	templateShape   = grammar(shape{free: true}) // what a chat template's author likes to call it
)
