// SPDX-License-Identifier: Apache-2.0

package llm

import "github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"

// OpenAIConversations is the format of what OpenAI's APIs keep between calls:
// conversations and their items, ChatKit's sessions and threads, and the
// sessions of the Realtime API as they are made over HTTP. Their members are in
// openai-go: conversations, realtime/clientsecret.go, betachatkit*.go.
const OpenAIConversations Format = "openai.conversations"

var conversationsAPI = api{
	format:  OpenAIConversations,
	paths:   []string{"/conversations", "/items", "/chatkit/sessions", "/realtime/client_secrets", "/realtime/sessions", "/realtime/transcription_sessions"},
	own:     "items session workflow",
	answers: "data session items workflow",
	request: func(s signs) bool {
		item, ok := s.first("items")
		session, inside := s.inner("session")
		return ok && isItem(item.doc, item.root) || inside && (session.typed("realtime") || session.typed("transcription")) ||
			s.has("workflow") && s.has("chatkit_configuration")
	},
	answer: func(s signs) bool {
		item, ok := s.first("data")
		session, inside := s.inner("session")
		return ok && isItem(item.doc, item.root) || inside && session.says("object", "realtime.") || s.says("object", "conversation") || s.says("object", "chatkit.") || s.says("object", "realtime.")
	},
	grammar: conversations,
	refuse:  refuseOpenAI,
	end:     endOpenAI,
}

// isItem reports whether v, in a list of what an API keeps, is an item of a
// conversation. Embeddings, files and models are listed the same way.
func isItem(d *strictjson.Doc, v int) bool {
	if d.Kind(v) != strictjson.Object {
		return false
	}
	if t := d.Member(v, "type"); t >= 0 && d.Kind(t) == strictjson.String {
		return d.Member(v, "embedding") < 0
	}
	return d.Member(v, "role") >= 0 && d.Member(v, "content") >= 0
}

// conversations adds what conversations, threads and sessions say.
func conversations() {
	r := requestShape
	r.add(fMessages, "items")
	r.add(field{rule: other, shape: requestShape}, "session")
	r.add(field{rule: other, shape: workflowShape}, "workflow")
	r.add(field{rule: other, shape: keepingShape}, "chatkit_configuration", "expires_after", "rate_limits")
	r.add(field{rule: other, shape: audioConfigShape}, "input_audio_transcription", "turn_detection", "input_audio_noise_reduction")
	r.add(fIdent, "input_audio_format", "output_audio_format")
	r.add(fEnum, "output_modalities")
	r.add(fSetting, "max_response_output_tokens")
	r.add(field{rule: ident, shape: metadataShape}, "tracing")
	responseFormat.add(field{rule: other, shape: audioConfigShape}, "input", "output")

	workflowShape.add(fIdent, "id", "version")
	// What a workflow's author does with them is not known; its agents read
	// them, as a prompt's variables are read.
	workflowShape.add(field{rule: text, kind: KindText, role: RoleUser, shape: variablesShape}, "state_variables")
	workflowShape.add(field{rule: other, shape: keepingShape}, "tracing")
	k := keepingShape
	k.add(field{rule: other, shape: keepingShape}, "automatic_thread_titling", "file_upload", "history")
	k.add(fSetting, "enabled", "max_file_size", "max_files", "recent_threads", "seconds", "max_requests_per_1_minute")
	k.add(fIdent, "anchor")

	c := audioConfigShape
	c.add(field{rule: other, shape: audioConfigShape}, "format", "noise_reduction", "transcription", "turn_detection")
	c.add(fIdent, "type", "language", "voice", "languages")
	c.add(fModel, "model")
	c.add(fSystem, "prompt")
	c.add(fSetting, "rate", "speed", "create_response", "interrupt_response", "idle_timeout_ms", "prefix_padding_ms", "silence_duration_ms",
		"threshold")
	c.add(fEnum, "eagerness", "delay")

	i := itemShape
	i.add(fSetting, "created_at")
	i.add(fEnum, "object", "task_type")
	i.add(fIdent, "thread_id", "created_by")
	i.add(fText, "heading", "widget")
	i.add(field{rule: other, shape: itemShape}, "tasks")
	i.add(field{rule: other, shape: keptFileShape}, "attachments")
	i.add(field{rule: other, shape: inferenceShape}, "inference_options")
	keptFileShape.add(fEnum, "type")
	keptFileShape.add(fStored, "id")
	keptFileShape.add(fIdent, "mime_type")
	keptFileShape.add(fDocument, "name")
	keptFileShape.add(fLink, "preview_url")
	inferenceShape.add(fModel, "model")
	inferenceShape.add(field{rule: other, shape: toolChoice}, "tool_choice")
	toolChoice.add(fMention, "id")

	a := answerShape
	a.add(field{rule: other, shape: answerShape}, "session", "items")
	a.add(field{rule: other, shape: workflowShape}, "workflow")
	a.add(field{rule: other, shape: keepingShape}, "chatkit_configuration", "rate_limits")
	a.add(fIdent, "first_id", "last_id", "input_audio_format", "output_audio_format")
	a.add(fEnum, "output_modalities", "modalities")
	a.add(fSetting, "has_more", "deleted", "max_requests_per_1_minute", "max_response_output_tokens")
	a.add(field{rule: secret, shape: secretShape}, "client_secret", "value")
	a.add(field{rule: ident, shape: responseFormat}, "audio")
	a.add(field{rule: other, shape: audioConfigShape}, "input_audio_transcription", "turn_detection", "input_audio_noise_reduction")
	secretShape.add(fSecret, "value")
	secretShape.add(fSetting, "expires_at")
}

var (
	// itemShape is one item of a list of what was said.
	itemShape        = grammar(shape{message: true})
	workflowShape    = grammar(shape{})
	keepingShape     = grammar(shape{}) // settings of what is kept
	audioConfigShape = grammar(shape{})
	keptFileShape    = grammar(shape{})
	inferenceShape   = grammar(shape{})
	secretShape      = grammar(shape{}) // a key for the client
)
