// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/scan"
)

// mask makes a mask of a judgement that offers one for the leg's own text. It
// is certain only if that text is one turn and nothing but sensitive data was
// found: a text with an injection in it stays an attack when its card numbers
// are gone. Where it is not certain, the leg is blocked, also when the service
// allowed it in the belief that we put its masked text in.
func (j judgement) mask(p plan, sc *scan.Scan) scan.Verdict {
	text := j.maskedPrompt
	if p.inResponse {
		text = j.maskedResponse
	}
	v := j.Verdict
	switch {
	case text == "" || len(sc.Turns) == 1 && text == sc.Turns[0].Text:
	case p.maskable && j.onlyDLP:
		v.Action, v.Masked = scan.Mask, []llm.Replacement{{Turn: 0, Text: text}}
	default:
		v.Action = scan.Block
	}
	return v
}
