// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// transcript writes turns as one prompt: in order, with a blank line between
// turns. The user's and the assistant's have a label, all others have none. We
// have seen the service take several turns without labels, or a labelled system
// text, for an attack. What one user says alone stays exactly as it is.
func transcript(turns []llm.Turn) string {
	labelled := len(turns) > 0 && (label(turns[0]) != "user: " || !sameMessage(turns))
	return join(turns, labelled)
}

// answer writes the turns of an answer: all of it is the assistant's.
func answer(turns []llm.Turn) string { return join(turns, false) }

func join(turns []llm.Turn, labelled bool) string {
	if len(turns) == 1 && (!labelled || label(turns[0]) == "") {
		return turns[0].Text // the usual case costs no copy
	}
	size := 0
	for i := range turns {
		size += len(turns[i].Text) + len("\n\nassistant: ")
	}
	var b strings.Builder
	b.Grow(size)
	for i, t := range turns {
		switch {
		case i > 0 && sameSpeech(turns[i-1], t):
			b.WriteByte('\n')
		case i > 0:
			b.WriteString("\n\n")
			fallthrough
		default:
			if labelled {
				b.WriteString(label(t))
			}
		}
		b.WriteString(t.Text)
	}
	return b.String()
}

// label returns the prefix of a turn that somebody says. What tools, documents
// and systems contribute has none.
func label(t llm.Turn) string {
	switch t.Kind {
	case llm.KindText, llm.KindReasoning, llm.KindRefusal:
	default:
		return ""
	}
	switch t.Role {
	case llm.RoleUser:
		return "user: "
	case llm.RoleAssistant:
		return "assistant: "
	}
	return ""
}

// sameSpeech reports whether two neighbours are parts of one message by one
// speaker.
func sameSpeech(a, b llm.Turn) bool {
	return a.Message >= 0 && a.Message == b.Message && a.Choice == b.Choice && a.Role == b.Role && label(a) == label(b)
}

// sameMessage reports whether all turns are parts of one message.
func sameMessage(turns []llm.Turn) bool {
	for i := 1; i < len(turns); i++ {
		if !sameSpeech(turns[0], turns[i]) {
			return false
		}
	}
	return true
}

// intoModel reports whether a turn of an answer is text that went into a model:
// the results and documents of tools that the provider ran, and what the
// answer repeats of the request. The service looks for injections only in
// text that goes in.
func intoModel(t llm.Turn) bool {
	switch t.Kind {
	case llm.KindToolResult, llm.KindDocument, llm.KindToolDef:
		return true
	}
	return t.Role == llm.RoleUser || t.Role == llm.RoleSystem || t.Role == llm.RoleTool
}
