// SPDX-License-Identifier: Apache-2.0

package llm

// GeminiInteractions is the format of Google's Interactions API, in steps and
// as it was before them, in outputs. Its members are in google.golang.org/genai
// (interactions/models/interactions) and, of what was before, in the reference
// of @google/genai.
const GeminiInteractions Format = "gemini.interactions"

var interactionsAPI = api{
	format:  GeminiInteractions,
	paths:   []string{"/interactions"},
	prompts: "input system_instruction",
	answers: "outputs steps output_text event_type interaction error",
	request: func(s signs) bool {
		if !s.has("input") {
			return false
		}
		for _, name := range [...]string{"system_instruction", "previous_interaction_id", "generation_config", "agent_config"} {
			if s.has(name) {
				return true
			}
		}
		step, ok := s.first("input")
		return ok && (step.typed("user_input") || step.typed("model_output") || step.typed("function_result") || step.says("role", "model"))
	},
	answer: func(s signs) bool {
		for _, prefix := range [...]string{"interaction.", "step.", "content."} {
			if s.says("event_type", prefix) {
				return true
			}
		}
		return s.says("object", "interaction") || s.has("steps") && s.has("status") || s.has("outputs") && s.has("status") && s.has("id")
	},
	grammar: interactions,
	refuse: func(o *object, r *Refusal) {
		o.open("error")
		o.str("code", r.Code)
		o.str("message", r.Message)
		o.str("status", googleStatus(r.Status))
		if r.Details != nil {
			o.raw("details", "["+string(r.Details)+"]")
		}
		o.close()
	},
	end: endInteraction,
}

// endInteraction ends a stream with the API's event of an error.
func endInteraction(r *Refusal, _ []byte, f Framing, _ string) []byte {
	o := object{}
	o.str("event_type", "error")
	o.open("error")
	o.str("code", r.Code)
	o.str("message", r.Message)
	o.close()
	o.json("details", r.Details)
	o.shared(r)
	return framed(f, "error", o.end())
}

// resultTypes are the types of steps that bring what a tool gave back, beside
// those that end in words that other APIs use too.
var resultTypes = wordSet(`function_result code_execution_result url_context_result google_search_result google_maps_result file_search_result
retrieval_result processing_result`)

// mediaTypes are the types of parts whose uri is that of media.
var mediaTypes = wordSet(`image audio video document`)

// stepwise reports whether the event is one of those that bring an interaction
// in pieces.
func (m *assembler) stepwise() bool { return m.class == "step" || m.class == "content" }

// resultOf returns what a tool's result means at v: a text, parts of one, or a
// value.
func (r *reader) resultOf(v int) field {
	if r.isString(v) {
		return fToolText
	}
	if r.isArray(v) && r.nonempty(v) {
		first := r.doc.First(v)
		if r.isString(first) || r.isObject(first) && (mediaTypes[r.member(first, "type")] || r.member(first, "type") == "text") {
			return fToolText
		}
	}
	return field{rule: result, kind: KindToolResult, role: RoleTool}
}

// interactions adds what the Interactions API says.
func interactions() {
	r := requestShape
	r.add(fIdent, "previous_interaction_id", "response_mime_type", "environment_id")
	r.add(field{rule: ident, shape: agentShape}, "agent") // an object is of Anthropic's
	r.add(fOpaque, "continuation_token")
	r.add(fEnum, "response_modalities")
	r.add(field{rule: other, shape: metadataShape}, "labels")
	r.add(field{rule: other, shape: generationShape}, "agent_config")
	r.add(field{rule: other, shape: environmentShape}, "environment")
	responseFormat.add(fIdent, "mime_type", "aspect_ratio", "image_size", "duration")
	responseFormat.add(fEnum, "delivery", "resolution")
	responseFormat.add(fSetting, "sample_rate", "bit_rate")

	g := generationShape
	g.add(fEnum, "thinking_level", "thinking_summaries", "visualization", "task", "image_size")
	g.add(fIdent, "type", "aspect_ratio", "voice", "language", "speaker")
	g.add(fModel, "model")
	g.add(field{rule: enum, shape: toolChoice}, "tool_choice")
	g.add(field{rule: other, shape: generationShape}, "image_config", "speech_config", "video_config", "speakers")
	g.add(fSetting, "collaborative_planning", "enable_bigquery_tool", "max_total_tokens")

	environmentShape.add(fIdent, "type", "encoding", "environment_id")
	environmentShape.add(field{rule: other, shape: environmentShape}, "sources")
	environmentShape.add(fDocument, "content")
	environmentShape.add(fName, "source", "target")

	p := partShape
	p.add(fIdent, "mime_type")
	p.add(fEnum, "resolution", "search_type", "retrieval_type")
	p.add(fSetting, "sample_rate", "channels", "rate")

	stepDeltaShape.add(field{rule: text, kind: KindReasoning, shape: partShape, slot: "summary"}, "content")
	stepShape.add(field{rule: text, kind: inherit, role: RoleAssistant, shape: stepDeltaShape, slot: "text"}, "delta")

	a := answerShape
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text", numbered: true, joined: true}, "outputs", "steps")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: messageShape, slot: "text"}, "step")
	a.add(field{rule: other, shape: answerShape}, "interaction")
	a.add(fSystem, "system_instruction")
	a.add(fIdent, "created", "updated", "event_id", "interaction_id", "previous_interaction_id", "environment_id")
	a.add(field{rule: ident, shape: agentShape}, "agent")
	a.add(fOpaque, "continuation_token")
	a.add(fEnum, "response_modalities")
	a.add(fUsage, "step_usage")
	a.add(field{rule: other, shape: generationShape}, "generation_config", "agent_config")
	stepShape.add(field{rule: other, shape: usageShape}, "metadata")
	usageShape.add(fUsage, "total_usage", "input_tokens_by_modality", "output_tokens_by_modality", "cached_tokens_by_modality",
		"tool_use_tokens_by_modality", "grounding_tool_count")
}

var (
	environmentShape = grammar(shape{})
	// stepShape is an event that brings an interaction in pieces.
	stepShape      = grammar(shape{})
	stepDeltaShape = grammar(shape{block: true, delta: true})
)
