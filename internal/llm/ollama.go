// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"strconv"
	"time"
)

// Ollama is the format of Ollama's own API.
const Ollama Format = "ollama"

var ollamaAPI = api{
	format:     Ollama,
	paths:      []string{"/api/chat", "/api/generate", "/api/embed", "/api/embeddings"},
	unlessTold: []string{"/api/chat", "/api/generate"},
	prompts:    "messages prompt input",
	answers:    "message response embedding embeddings error",
	answer:     func(s signs) bool { return s.has("done") },
	grammar:    ollama,
	refuse: func(o *object, r *Refusal) {
		o.str("error", r.Message)
		o.json("details", r.Details)
	},
	voice: &voice{[]string{"/api/chat", "/api/generate"}, ollamaAsked, Lines, sayOllama, flowOllama},
}

// ollamaAsked leaves out what is to be put into a text, such as code.
func ollamaAsked(s signs, path string) *Asked {
	switch {
	case endsIn(path, "/api/chat") && s.has("messages"):
		return &Asked{}
	case endsIn(path, "/api/generate") && s.has("prompt") && !s.has("suffix"):
		return &Asked{First: true}
	}
	return nil
}

func sayOllama(s *saying) { s.out = s.ollama(s.Message, true).end() }

func flowOllama(s *saying) {
	s.event("", s.ollama(s.words(), false))
	s.event("", s.ollama("", true))
}

// ollama is an answer, or a line of one.
func (s *saying) ollama(text string, last bool) *object {
	o := &object{}
	o.text("model", s.Model)
	o.str("created_at", s.Stamp.At.UTC().Format(time.RFC3339Nano))
	if s.Asked.First {
		o.text("response", text)
	} else {
		o.open("message")
		o.str("role", "assistant")
		o.text("content", text)
		o.close()
	}
	o.raw("done", strconv.FormatBool(last))
	if last {
		o.str("done_reason", "stop")
		for _, name := range []string{"total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"} {
			o.raw(name, "0")
		}
	}
	return o
}

// ollama adds what Ollama's chat, generate and embed APIs say.
func ollama() {
	r := requestShape
	r.add(fTemplate, "template")
	r.add(fSetting, "raw", "think", "context")
	r.add(fIdent, "keep_alive")
	r.add(fSchema, "format")
	r.add(field{rule: other, shape: optionsShape}, "options")
	r.add(field{rule: inline, shape: sourceShape}, "images", "image")
	messageShape.add(field{rule: inline, shape: sourceShape}, "images")
	messageShape.add(fMention, "tool_name")
	optionsShape.add(fSetting, "num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature",
		"repeat_penalty", "presence_penalty", "frequency_penalty", "penalize_newline", "numa", "num_ctx", "num_batch", "num_gpu",
		"main_gpu", "use_mmap", "num_thread", "mirostat", "mirostat_eta", "mirostat_tau", "tfs_z")
	optionsShape.add(fName, "stop")

	a := answerShape
	a.add(field{rule: setting, slot: slotTokens}, "context") // the whole conversation
	a.add(fSetting, "done", "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")
	a.add(fEnum, "done_reason")
	a.add(fIdent, "created_at")
	a.add(fModel, "remote_model")
	a.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: answerShape, slot: "text"}, "response")
	a.add(fReasoning, "thinking")
}

var optionsShape = grammar(shape{})
