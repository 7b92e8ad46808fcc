// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"net/http"
	"strconv"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// apiLimit is the value of sse_max_scan_chars that stands for the service's
// own limit: the Lua plugin's default and maximum.
const apiLimit = 20000

// Streams says how answers in event streams are dealt with. Only PassEnd makes
// us scan less.
type Streams struct {
	// Provider is what the format is called in headers, "auto" for what was
	// found.
	Provider string
	// MaxChars is the most characters of a stream's text in one scan, 0 for
	// the service's limit.
	MaxChars int
	// PassEnd lets pass what is left when a stream takes too many scans.
	PassEnd bool
	// Tell describes the scan of a stream in headers of the answer.
	Tell bool
}

// isStream reports whether a scan is one of a streamed answer.
func isStream(s *scan.Scan) bool {
	return s.Leg == llm.ResponseLeg && s.Message != nil && s.Message.Stream
}

// maxChars is the most characters in one piece of a scan, 0 for no limit.
func (c *Config) maxChars(s *scan.Scan) int {
	if isStream(s) {
		return c.Streams.MaxChars
	}
	return 0
}

// provider names a stream's format.
func (c *Config) provider(s *scan.Scan) string {
	if c.Streams.Provider != "auto" {
		return c.Streams.Provider
	}
	switch s.Message.Format {
	case llm.OpenAIChat:
		return "openai_chat"
	case llm.OpenAIResponses:
		return "openai_responses"
	case llm.AnthropicMessages:
		return "anthropic_messages"
	}
	return "raw"
}

// headers are what the client is told of a verdict, nil for nothing.
func (c *Config) headers(s *scan.Scan, v *scan.Verdict, took time.Duration) http.Header {
	tellStream := c.Streams.Tell && isStream(s)
	if !tellStream && !c.TellVerdict {
		return nil
	}
	h := http.Header{}
	if c.TellVerdict {
		h["x-airs-verdict"] = []string{words[v.Action]}
		h["x-airs-total-ms"] = []string{strconv.FormatInt(took.Milliseconds(), 10)}
		if v.ScanID != "" {
			h["x-airs-scan-id"] = []string{v.ScanID}
		}
	}
	if tellStream {
		h["x-prisma-airs-sse-detected"] = []string{"true"}
		h["x-prisma-airs-sse-scan-mode"] = []string{"buffered"}
		h["x-prisma-airs-sse-provider"] = []string{c.provider(s)}
		h["x-prisma-airs-sse-truncated"] = []string{strconv.FormatBool(v.Partial)}
	}
	return h
}

// words are the actions as headers have them.
var words = map[scan.Action]string{scan.Allow: "allow", scan.Block: "block", scan.Mask: "mask"}
