// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"net/http"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// The formats of Amazon Bedrock's APIs.
const (
	BedrockConverse Format = "bedrock.converse"
	BedrockInvoke   Format = "bedrock.invoke"
)

var (
	converseAPI = api{
		format:  BedrockConverse,
		paths:   []string{"/converse", "/converse-stream"},
		streams: []string{"/converse-stream"},
		prompts: "messages system",
		answers: "output usage messageStart contentBlockStart contentBlockDelta contentBlockStop messageStop metadata message",
		request: func(s signs) bool {
			return s.has("messages") && (s.has("inferenceConfig") || s.has("toolConfig") || arrayOfTexts(s))
		},
		answer:  func(s signs) bool { return s.has("output") || s.has("contentBlockIndex") },
		grammar: bedrock, // of both
		refuse:  refuseAWS,
		voice:   &voice{[]string{"/converse", "/converse-stream"}, messagesAsked, Frames, sayConverse, flowConverse},
	}
	invokeAPI = api{
		format:  BedrockInvoke,
		paths:   []string{"/invoke", "/invoke-with-response-stream"},
		streams: []string{"-with-response-stream"},
		prompts: "inputText prompt",
		spelled: "inputtext",
		answers: "outputText results generation completion outputs generated_text embedding embeddingsByType message",
		request: func(s signs) bool { return s.has("inputText") },
		answer: func(s signs) bool {
			return s.has("outputText") || s.has("generation") || s.has("inputTextTokenCount") || s.has("outputs")
		},
		refuse: refuseAWS,
		// Its models answer each in its own way.
		voice: &voice{paths: []string{"/invoke", "/invoke-with-response-stream"}, asked: invokeAsked},
	}
)

// invokeAsked knows Anthropic's models, which coding programs call so.
func invokeAsked(s signs, _ string) *Asked {
	if !s.has("anthropic_version") || !s.has("messages") {
		return nil
	}
	return &Asked{Format: AnthropicMessages, Carried: true}
}

func sayConverse(s *saying) {
	part, o := object{}, object{}
	part.text("text", s.Message)
	o.open("output")
	o.open("message")
	o.str("role", "assistant")
	o.raw("content", "["+string(part.end())+"]")
	o.close()
	o.close()
	o.str("stopReason", "end_turn")
	s.converseUsage(&o)
	s.out = o.end()
}

func (s *saying) converseUsage(o *object) {
	o.raw("usage", `{"inputTokens":0,"outputTokens":0,"totalTokens":0}`)
	o.raw("metrics", `{"latencyMs":0}`)
}

// flowConverse says it in a block of its own, behind those that have gone out.
func flowConverse(s *saying) {
	event := func(name string, write func(*object)) {
		o := object{}
		write(&o)
		s.event(name, &o)
	}
	if !s.told.begun {
		event("messageStart", func(o *object) { o.str("role", "assistant") })
	}
	if s.told.open > 0 {
		event("contentBlockStop", func(o *object) { o.number("contentBlockIndex", int64(s.told.open-1)) })
	}
	index := int64(s.told.next)
	event("contentBlockDelta", func(o *object) {
		o.number("contentBlockIndex", index)
		o.open("delta")
		o.text("text", s.Message)
		o.close()
	})
	event("contentBlockStop", func(o *object) { o.number("contentBlockIndex", index) })
	event("messageStop", func(o *object) { o.str("stopReason", "end_turn") })
	event("metadata", s.converseUsage)
}

// arrayOfTexts reports whether the first message's content is an array of
// objects without a type, as Converse has them.
func arrayOfTexts(s signs) bool {
	d := s.doc
	v := d.Member(s.root, "messages")
	if d.Kind(v) != strictjson.Array || d.First(v) == d.Next(v) {
		return false
	}
	c := d.Member(d.First(v), "content")
	if c < 0 || d.Kind(c) != strictjson.Array || d.First(c) == d.Next(c) {
		return false
	}
	part := d.First(c)
	return d.Kind(part) == strictjson.Object && d.Member(part, "type") < 0 && d.Member(part, "text") >= 0
}

func refuseAWS(o *object, r *Refusal) {
	o.str("__type", awsType(r.Status))
	o.json("details", r.Details)
}

// exceptionFrame ends a stream of frames with an exception. Its name is one of
// those that the streams of both APIs can have, which begin with a small letter.
func exceptionFrame(r *Refusal) []byte {
	name := "validationException"
	switch {
	case r.Status == http.StatusServiceUnavailable:
		name = "serviceUnavailableException"
	case r.Status >= 500:
		name = "internalServerException"
	}
	o := object{}
	o.json("details", r.Details)
	o.shared(r)
	return eventstream.AppendFrame(nil, [][2]string{
		{":exception-type", name}, {":content-type", "application/json"}, {":message-type", "exception"},
	}, o.end())
}

func awsType(status int) string {
	switch {
	case status == http.StatusForbidden:
		return "AccessDeniedException"
	case status == http.StatusServiceUnavailable:
		return "ServiceUnavailableException"
	case status >= 500:
		return "InternalServerException"
	}
	return "ValidationException"
}

// bedrock adds what Amazon Bedrock's Converse API says, and the bodies of
// InvokeModel for Titan and Llama. (Invoke bodies for Anthropic, Cohere and
// Mistral are those of their own APIs.)
func bedrock() {
	r := requestShape
	r.add(field{rule: text, kind: KindText, role: RoleUser}, "inputText")
	r.add(field{rule: other, shape: toolsShape}, "toolConfig")
	r.add(field{rule: other, shape: generationShape}, "inferenceConfig", "textGenerationConfig")
	r.add(fSetting, "max_gen_len", "max_tokens_to_sample", "performanceConfig", "serviceTier")
	r.add(field{rule: setting, shape: guardrailShape}, "guardrailConfig")
	r.add(fIdent, "anthropic_version", "schemaVersion", "additionalModelResponseFieldPaths")
	r.add(fModel, "modelId")
	r.add(field{rule: other, shape: extraRequest}, "additionalModelRequestFields")
	r.add(field{rule: other, shape: metadataShape}, "requestMetadata")
	r.add(field{rule: other, shape: variablesShape}, "promptVariables")
	generationShape.add(fSetting, "maxTokenCount", "maxTokens", "topP", "topK")
	guardrailShape.add(fModel, "guardrailIdentifier") // may be an ARN
	guardrailShape.add(fIdent, "guardrailVersion")
	guardrailShape.add(fEnum, "trace", "streamProcessingMode")

	toolsShape.add(fDef, "tools")
	toolsShape.add(field{rule: enum, shape: toolChoice}, "toolChoice")
	toolsShape.add(field{rule: other, shape: toolChoice}, "functionCallingConfig", "function_calling_config", "retrievalConfig")
	toolChoice.add(field{rule: other, shape: toolChoice}, "auto", "any", "tool")

	p := partShape
	p.add(field{rule: other, kind: KindToolCall, role: RoleAssistant, shape: callShape}, "toolUse")
	p.add(field{rule: other, kind: KindToolResult, role: RoleTool, shape: partShape}, "toolResult")
	p.add(fIdent, "toolUseId")
	p.add(field{rule: args, kind: KindToolResult}, "json")
	p.add(fSetting, "cachePoint", "contentBlockIndex")
	p.add(field{rule: text, kind: KindReasoning, shape: partShape, slot: "reasoning"}, "reasoningContent", "reasoningText")
	p.add(fOpaque, "redactedContent")
	p.add(field{rule: text, kind: KindText, shape: guardShape}, "guardContent")
	guardShape.add(field{rule: text, kind: inherit, shape: partShape, slot: "text"}, "text")
	guardShape.add(fLinkObject, "image")
	p.add(field{rule: other, kind: KindDocument, shape: sourceShape}, "document")
	p.add(fEnum, "qualifiers")
	p.add(fIdent, "format")
	p.add(fCited, "citationsContent")
	callShape.add(fIdent, "toolUseId")
	settingsShape.add(fEnum, "type")

	sourceShape.add(field{rule: inline, shape: sourceShape}, "source")
	sourceShape.add(fDocument, "name", "context")
	sourceShape.add(field{rule: link, shape: sourceShape, unseen: UnseenFile}, "s3Location")
	sourceShape.add(fIdent, "bucketOwner", "format")
	sourceShape.add(field{rule: setting, shape: settingsShape}, "citations")
	citationShape.add(field{rule: setting, shape: locationShape}, "location")
	locationShape.add(field{rule: setting, shape: locationShape}, "documentChar", "documentPage", "documentChunk")
	locationShape.add(fSetting, "documentIndex", "start", "end")
	citationShape.add(fParts, "content", "sourceContent")

	a := answerShape
	a.add(fEnum, "stopReason", "completionReason", "stop_reason")
	a.add(fSetting, "inputTextTokenCount", "totalOutputTextTokenCount", "prompt_token_count", "generation_token_count", "contentBlockIndex", "prompt_logprobs")
	a.add(fOpaque, "p") // padding
	a.add(fVector, "embeddingsByType")
	a.add(field{rule: setting, shape: usageShape}, "metrics", "amazon-bedrock-invocationMetrics")
	a.add(fSetting, "amazon-bedrock-guardrailAction")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, slot: "text"}, "generation", "outputText", "completion", "generated_text")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text"}, "outputs")
	a.add(field{rule: other, shape: extraAnswer}, "additionalModelResponseFields")
	a.add(fSetting, "performanceConfig")
	messageShape.add(fEnum, "finish_reason")
	messageShape.add(fSetting, "likelihood")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text"}, "start")
	a.add(field{rule: other, shape: answerShape}, "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop")
	// The last event of a stream, or what the caller of another API noted.
	a.add(field{rule: other, shape: extraAnswer}, "metadata")
	outputShape := partShape
	outputShape.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text"}, "message")
	usageShape.add(fSetting, "latencyMs", "invocationLatency", "firstByteLatency")
}

var (
	toolsShape     = grammar(shape{})
	guardrailShape = grammar(shape{})
	guardShape     = grammar(shape{})
	locationShape  = grammar(shape{})
	// What a caller sends to a model past the API, and what comes back so.
	extraRequest = grammar(shape{free: true})
	extraAnswer  = grammar(shape{free: true})
)
