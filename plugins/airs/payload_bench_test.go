// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// BenchmarkPayload writes the payload of one prompt, of prose and of text in
// which most characters are escaped.
func BenchmarkPayload(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"prose", "What is the capital of France? Tell me \"all\" you know.\n"},
		{"beyond ASCII", "Was ist die größte Stadt der Schweiz? 東京は日本の首都です。\n"},
		{"escapes", "\"\\\"\n\t"},
	} {
		for _, size := range []int{60, 32 << 10, 220 << 10} {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				text := strings.ToValidUTF8(strings.Repeat(c.text, size/len(c.text)+1)[:size], "")
				s := &scan.Scan{Leg: llm.RequestLeg, RequestID: "r", Turns: []llm.Turn{{Role: llm.RoleUser, Text: text}}}
				config := &Config{ProfileName: "p"}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if p, fail := planOf(config, s); fail != nil || len(p.bodies) != 1 {
						b.Fatal("no payload")
					}
				}
			})
		}
	}
}
