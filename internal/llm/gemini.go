// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"net/http"
	"strconv"
)

// Gemini is the format of Google's generateContent APIs.
const Gemini Format = "gemini"

var geminiAPI = api{
	format: Gemini,
	paths: []string{
		":generateContent", ":streamGenerateContent", ":countTokens", ":embedContent", ":batchEmbedContents", ":predict",
	},
	streams: []string{":streamGenerateContent"},
	prompts: "contents",
	asks:    "instances requests",
	spelled: "contents systeminstruction",
	answers: "candidates promptFeedback usageMetadata embedding embeddings predictions error",
	request: func(s signs) bool {
		return s.has("contents") || s.has("instances") || s.has("requests") && !s.begins("requests", isBatched)
	},
	answer:  func(s signs) bool { return s.has("candidates") },
	array:   true, // when it is not asked for events
	grammar: gemini,
	refuse:  refuseGoogle,
	end:     endGemini,
	voice:   &voice{[]string{":generateContent", ":streamGenerateContent"}, geminiAsked, Events, sayGemini, flowGemini},
}

// refuseGoogle writes an error as Google's APIs have it.
func refuseGoogle(o *object, r *Refusal) {
	o.open("error")
	o.raw("code", strconv.Itoa(r.Status))
	o.str("message", r.Message)
	o.str("status", googleStatus(r.Status))
	if r.Details != nil {
		o.raw("details", "["+string(r.Details)+"]")
	}
	o.close()
}

func geminiAsked(s signs, _ string) *Asked {
	if !s.has("contents") {
		return nil
	}
	return &Asked{}
}

func sayGemini(s *saying) { s.out = s.candidate().end() }

func flowGemini(s *saying) { s.event("", s.candidate()) }

// candidate is an answer of one candidate, whole or the last piece of it.
func (s *saying) candidate() *object {
	part := object{}
	part.text("text", s.words())
	o := &object{}
	o.list("candidates", 1, func(_ int, o *object) {
		o.open("content")
		o.raw("parts", "["+string(part.end())+"]")
		o.str("role", "model")
		o.close()
		o.str("finishReason", "STOP")
		o.raw("index", "0")
	})
	o.raw("usageMetadata", `{"promptTokenCount":0,"candidatesTokenCount":0,"totalTokenCount":0}`)
	o.str("modelVersion", s.Model)
	o.str("responseId", s.id(""))
	return o
}

// endGemini ends a stream as Google's servers do: with an error that is no
// event. Its clients look for one that begins so, and some read the data of an
// event as an answer without candidates. There is no blank line after it, since
// they raise what no blank line has ended, too.
func endGemini(_ *Refusal, body []byte, _ Framing, _ string) []byte { return framed(Lines, "", body) }

func googleStatus(status int) string {
	switch {
	case status == http.StatusForbidden:
		return "PERMISSION_DENIED"
	case status == http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case status >= 500:
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}

// gemini adds what Google's generateContent APIs say. Their servers read
// names in camel case and in snake case.
func gemini() {
	r := requestShape
	r.add(fMessages, "contents")
	r.add(field{rule: text, kind: inherit, role: RoleSystem, shape: messageShape}, "systemInstruction", "system_instruction")
	r.add(fDef, "functionDeclarations", "function_declarations")
	r.add(field{rule: other, shape: toolChoice}, "tool_config") // toolConfig is in Bedrock's too: see there
	r.add(field{rule: setting, shape: settingsShape}, "safetySettings", "safety_settings")
	r.add(field{rule: other, shape: generationShape}, "generationConfig", "generation_config", "parameters")
	r.add(fIdent, "cachedContent", "cached_content")

	g := generationShape
	g.add(fSetting, "temperature", "topP", "topK", "top_p", "top_k", "candidateCount", "maxOutputTokens", "max_output_tokens",
		"presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs", "seed", "audioTimestamp", "thinkingBudget",
		"includeThoughts", "max_new_tokens", "candidate_count", "sampleCount", "maxTokens", "num_predict", "enableAffectiveDialog")
	g.add(fEnum, "responseModalities", "response_modalities", "mediaResolution", "media_resolution", "thinkingLevel", "modality", "safetySetting", "task_type", "personGeneration")
	g.add(fIdent, "responseMimeType", "response_mime_type", "voiceName", "languageCode", "startOffset", "endOffset", "start_offset", "end_offset", "aspectRatio", "mimeType")
	g.add(fSetting, "fps", "autoTruncate", "outputDimensionality", "maxDecodeSteps", "addWatermark", "enhancePrompt")
	g.add(field{rule: other, shape: generationShape}, "speechConfig", "voiceConfig", "prebuiltVoiceConfig", "imageConfig", "outputOptions")
	g.add(fName, "stopSequences", "stop_sequences")
	g.add(field{rule: text, kind: KindText, role: RoleUser}, "negativePrompt")

	// Embeddings and predictions.
	r.add(field{rule: text, kind: KindText, role: RoleUser, shape: messageShape}, "content")
	r.add(field{rule: other, shape: requestShape}, "requests")
	r.add(fEnum, "taskType", "task_type")
	r.add(fSetting, "outputDimensionality", "output_dimensionality")
	r.add(fDocument, "title")
	r.add(field{rule: other, shape: instanceShape}, "instances")
	i := instanceShape
	i.add(field{rule: text, kind: KindText, role: RoleUser, shape: partShape}, "prompt", "content", "text", "prefix", "suffix")
	i.add(fSystem, "context")
	i.add(fMessages, "messages")
	i.add(field{rule: other, shape: instanceShape}, "examples")
	i.add(field{rule: text, kind: KindText, role: RoleUser, shape: messageShape}, "input")
	i.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape}, "output")
	i.add(fEnum, "task_type", "taskType", "author")
	i.add(fDocument, "title")
	i.add(fLinkObject, "image", "video", "audio", "lastFrame", "bytesBase64Encoded", "mask")
	i.add(fLink, "gcsUri")
	i.add(fIdent, "mimeType")
	sourceShape.add(fInline, "bytesBase64Encoded")
	sourceShape.add(fLink, "gcsUri")
	g.add(fSchema, "responseSchema", "response_schema", "responseJsonSchema")
	g.add(field{rule: other, shape: generationShape}, "thinkingConfig", "thinking_config")

	toolChoice.add(field{rule: other, shape: toolChoice}, "functionCallingConfig", "function_calling_config")
	toolChoice.add(fMention, "allowedFunctionNames", "allowed_function_names")

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
	responseShape.add(fMention, "name")
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
	citationShape.add(fDocument, "uri", "domain", "retrievedUrl")
	citationShape.add(field{rule: other, shape: citationShape}, "urlMetadata", "retrievalMetadata")
	citationShape.add(fEnum, "urlRetrievalStatus")
	citationShape.add(fSetting, "googleSearchDynamicRetrievalScore")
	citationShape.add(fSetting, "startIndex", "endIndex", "partIndex", "groundingChunkIndices", "confidenceScores", "publicationDate")

	a := answerShape
	a.add(fUsage, "usageMetadata", "usage_metadata")
	a.add(fModel, "modelVersion")
	a.add(fIdent, "responseId", "createTime")
	a.add(field{rule: other, shape: ratingShape}, "promptFeedback")
	ratingShape.add(field{rule: other, shape: ratingShape}, "safetyRatings")
	ratingShape.add(fEnum, "blockReason")
	ratingShape.add(fDocument, "blockReasonMessage")
	dataShape.add(field{rule: setting, shape: usageShape}, "statistics")
	usageShape.add(fSetting, "truncated")
	a.add(field{rule: other, kind: KindText, role: RoleAssistant, shape: predictionShape}, "predictions")
	a.add(fIdent, "deployedModelId", "modelVersionId")
	a.add(field{rule: setting, shape: usageShape}, "tokenMetadata", "inputTokenCount", "outputTokenCount")
	usageShape.add(field{rule: setting, shape: usageShape}, "inputTokenCount", "outputTokenCount")
	usageShape.add(fSetting, "totalBillableCharacters")
	inheritFields(predictionShape, instanceShape)
	predictionShape.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape}, "content", "output")
	predictionShape.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape}, "candidates")
	predictionShape.add(field{rule: setting, shape: safetyAttributes}, "safetyAttributes")
	safetyAttributes.add(fName, "categories")
	safetyAttributes.add(fSetting, "blocked", "scores", "errors", "safetyRatings")
	predictionShape.add(field{rule: text, kind: KindDocument, shape: citationShape}, "citationMetadata")
	predictionShape.add(fVector, "embeddings", "embedding", "textEmbedding", "imageEmbedding", "videoEmbeddings")
}

var (
	generationShape = grammar(shape{})
	responseShape   = grammar(shape{})
	codeShape       = grammar(shape{})
	ratingShape     = grammar(shape{})

	instanceShape    = grammar(shape{free: true}) // a model's author names the members
	predictionShape  = grammar(shape{free: true})
	safetyAttributes = grammar(shape{})

	// fLinkObject is an object that says where media lies, or a string of it.
	fLinkObject = field{rule: inline, shape: sourceShape}
)
