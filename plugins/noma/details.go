// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"slices"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// details tells a client which detectors fired, in the shape that clients of
// the service know, without confidence, entities or text. It is nil when none
// fired.
func details(leg llm.Leg, fired []detector) []byte {
	if len(fired) == 0 {
		return nil
	}
	out := []byte(`{"prompt":{`)
	if leg == llm.ResponseLeg {
		out = []byte(`{"response":{`)
	}
	var named []string // what has been written at the upper level
	for i, d := range fired {
		name := d.name
		if d.group != "" {
			name = d.group
		}
		if slices.Contains(named, name) {
			continue
		}
		if named = append(named, name); len(named) > 1 {
			out = append(out, ',')
		}
		out = strictjson.AppendQuote(out, name)
		out = append(out, ':')
		if d.group == "" {
			out = append(out, `{"result":true}`...)
			continue
		}
		out = appendGroup(append(out, '{'), d.group, fired[i:])
	}
	return append(out, "}}"...)
}

// appendGroup writes the members of one group and closes it.
func appendGroup(out []byte, group string, fired []detector) []byte {
	for _, d := range fired {
		if d.group != group {
			continue
		}
		if out[len(out)-1] != '{' {
			out = append(out, ',')
		}
		out = strictjson.AppendQuote(out, d.name)
		out = append(out, `:{"result":true}`...)
	}
	return append(out, '}')
}
