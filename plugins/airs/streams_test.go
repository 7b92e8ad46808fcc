// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestHeaders(t *testing.T) {
	v := &scan.Verdict{Action: scan.Allow, ScanID: "s-1", Category: "malicious", Detections: []string{"injection"}}
	stream := func(provider, truncated string) http.Header {
		return http.Header{
			"x-prisma-airs-sse-detected": {"true"}, "x-prisma-airs-sse-scan-mode": {"buffered"},
			"x-prisma-airs-sse-provider": {provider}, "x-prisma-airs-sse-truncated": {truncated},
		}
	}
	of := func(f llm.Format) *scan.Scan {
		s := streamOf("x")
		s.Message.Format = f
		return s
	}
	partial := *v
	partial.Partial = true
	for _, tc := range []struct {
		name    string
		config  Config
		scan    *scan.Scan
		verdict *scan.Verdict
		want    http.Header
	}{
		{"nothing asked for", Config{}, streamOf("x"), v, nil},
		{"no stream", Config{Streams: Streams{Tell: true}}, one(llm.RoleAssistant, "x"), v, nil},
		{"openai", Config{Streams: Streams{Tell: true, Provider: "auto"}}, of(llm.OpenAIChat), v, stream("openai_chat", "false")},
		{"responses", Config{Streams: Streams{Tell: true, Provider: "auto"}}, of(llm.OpenAIResponses), v, stream("openai_responses", "false")},
		{"anthropic", Config{Streams: Streams{Tell: true, Provider: "auto"}}, of(llm.AnthropicMessages), v, stream("anthropic_messages", "false")},
		{"another", Config{Streams: Streams{Tell: true, Provider: "auto"}}, of(llm.Gemini), v, stream("raw", "false")},
		{"by its label", Config{Streams: Streams{Tell: true, Provider: "raw"}}, of(llm.OpenAIChat), v, stream("raw", "false")},
		{"cut", Config{Streams: Streams{Tell: true, Provider: "auto"}}, of(llm.OpenAIChat), &partial, stream("openai_chat", "true")},
		{"the verdict, without what was found", Config{TellVerdict: true}, one(llm.RoleAssistant, "x"), v, http.Header{"x-airs-verdict": {"allow"}, "x-airs-scan-id": {"s-1"}, "x-airs-total-ms": {"12"}}},
		{"nothing was sent", Config{TellVerdict: true}, one(llm.RoleUser, "x"), &scan.Verdict{Action: scan.Block}, http.Header{"x-airs-verdict": {"block"}, "x-airs-total-ms": {"12"}}},
	} {
		if d := cmp.Diff(tc.want, tc.config.headers(tc.scan, tc.verdict, 12*time.Millisecond)); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}
