// SPDX-License-Identifier: Apache-2.0

package llm

// gemini adds what Google's generateContent APIs say. Their servers read
// names in camel case and in snake case.
func gemini() {
	r := requestShape
	r.add(fMessages, "contents")
	r.add(field{rule: text, kind: inherit, role: RoleSystem, shape: messageShape}, "systemInstruction", "system_instruction")
	r.add(fDef, "functionDeclarations", "function_declarations")
	r.add(field{rule: other, shape: toolChoice}, "toolConfig", "tool_config")
	r.add(field{rule: setting, shape: settingsShape}, "safetySettings", "safety_settings")
	r.add(field{rule: other, shape: generationShape}, "generationConfig", "generation_config", "parameters")
	r.add(fIdent, "cachedContent", "cached_content")

	g := generationShape
	g.add(fSetting, "temperature", "topP", "topK", "top_p", "top_k", "candidateCount", "maxOutputTokens", "max_output_tokens",
		"presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "seed", "audioTimestamp", "thinkingBudget",
		"includeThoughts", "max_new_tokens", "candidate_count", "sampleCount", "maxTokens", "num_predict", "enableAffectiveDialog")
	g.add(fEnum, "responseMimeType", "response_mime_type", "responseModalities", "mediaResolution", "thinkingLevel", "modality")
	g.add(fDef, "responseSchema", "response_schema", "responseJsonSchema")
	g.add(field{rule: other, shape: generationShape}, "thinkingConfig", "thinking_config")

	toolChoice.add(field{rule: other, shape: toolChoice}, "functionCallingConfig", "function_calling_config")
	toolChoice.add(fName, "allowedFunctionNames", "allowed_function_names")

	messageShape.add(field{rule: text, kind: inherit, shape: partShape, slot: "text"}, "parts")

	p := partShape
	p.add(fSetting, "thought")
	p.add(fOpaque, "thoughtSignature", "thought_signature")
	p.add(fLinkObject, "inlineData", "inline_data", "fileData", "file_data")
	p.add(field{rule: other, kind: KindToolCall, role: RoleAssistant, shape: callShape}, "functionCall", "function_call")
	p.add(field{rule: other, kind: KindToolResult, role: RoleTool, shape: responseShape}, "functionResponse", "function_response")
	p.add(field{rule: other, kind: KindToolCall, role: RoleAssistant, shape: codeShape}, "executableCode", "executable_code")
	p.add(field{rule: other, kind: KindToolResult, role: RoleTool, shape: codeShape}, "codeExecutionResult", "code_execution_result")
	p.add(field{rule: setting, shape: generationShape}, "videoMetadata", "video_metadata", "mediaResolution")
	callShape.add(fArgs, "args")
	callShape.add(fOpaque, "thoughtSignature")

	responseShape.add(fIdent, "id")
	responseShape.add(fName, "name")
	responseShape.add(fResult, "response")
	responseShape.add(fSetting, "willContinue")
	responseShape.add(fEnum, "scheduling")
	codeShape.add(fEnum, "language", "outcome")
	codeShape.add(field{rule: text, kind: inherit, slot: "code"}, "code", "output")

	sourceShape.add(fIdent, "mimeType", "mime_type")
	sourceShape.add(fLink, "fileUri", "file_uri")
	sourceShape.add(fName, "displayName", "display_name")

	c := choiceShape
	c.add(field{rule: text, kind: inherit, role: RoleAssistant, shape: messageShape, slot: "text"}, "content")
	c.add(fEnum, "finishReason")
	c.add(fDocument, "finishMessage")
	c.add(fSetting, "tokenCount", "avgLogprobs")
	c.add(field{rule: setting, shape: ratingShape}, "safetyRatings")
	c.add(field{rule: text, kind: KindDocument, shape: citationShape}, "citationMetadata", "groundingMetadata", "urlContextMetadata")
	c.add(field{rule: tokens, shape: probsShape}, "logprobsResult")
	probsShape.add(field{rule: tokens, shape: probsShape}, "topCandidates", "candidates", "chosenCandidates", "logProbability", "tokenId")

	ratingShape.add(fEnum, "category", "probability", "severity")
	ratingShape.add(fSetting, "blocked", "probabilityScore", "severityScore")

	citationShape.add(field{rule: text, kind: KindDocument, shape: citationShape}, "citationSources", "citations", "groundingChunks", "groundingSupports",
		"web", "retrievedContext", "segment", "webSearchQueries", "searchEntryPoint", "renderedContent", "license")
	citationShape.add(fLink, "uri", "domain")
	citationShape.add(fSetting, "startIndex", "endIndex", "partIndex", "groundingChunkIndices", "confidenceScores", "publicationDate")

	a := answerShape
	a.add(fUsage, "usageMetadata", "usage_metadata")
	a.add(fModel, "modelVersion")
	a.add(fIdent, "responseId", "createTime")
	a.add(field{rule: other, shape: ratingShape}, "promptFeedback")
	ratingShape.add(field{rule: other, shape: ratingShape}, "safetyRatings")
	ratingShape.add(fEnum, "blockReason")
	ratingShape.add(fDocument, "blockReasonMessage")
}

var (
	generationShape = grammar(shape{})
	responseShape   = grammar(shape{})
	codeShape       = grammar(shape{})
	ratingShape     = grammar(shape{})

	// fLinkObject is an object that says where media lies, or a string of it.
	fLinkObject = field{rule: inline, shape: sourceShape}
)
