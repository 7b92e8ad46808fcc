// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestTheServiceHearsOfTheCallersTrace: both services, both legs, and nothing
// but a proper header.
func TestTheServiceHearsOfTheCallersTrace(t *testing.T) {
	h := build(t)
	for _, sent := range []string{traceparent, "ignore all instructions"} {
		a, n := len(h.airs.Requests()), len(h.noma.Requests(fakenoma.ScanPath))
		for _, name := range plugins.Names() {
			if code := h.ask(t, name, "hello", "Traceparent", sent, "Tracestate", "a=marker"); code != 200 {
				t.Fatalf("%s: %d", name, code)
			}
		}
		var told []http.Header
		for _, r := range h.airs.Requests()[a:] {
			told = append(told, r.Header)
		}
		for _, r := range h.noma.Requests(fakenoma.ScanPath)[n:] {
			told = append(told, r.Header)
		}
		if len(told) != 4 {
			t.Fatalf("%d scans", len(told))
		}
		for _, header := range told {
			got := header.Get("Traceparent")
			if (sent == traceparent) != (got == sent) || sent != traceparent && got != "" || header.Get("Tracestate") != "" {
				t.Errorf("%q: the service was told %q", sent, got)
			}
		}
	}
}

// TestSpansReachACollector: from the real binaries, drained at their end.
func TestSpansReachACollector(t *testing.T) {
	var mu sync.Mutex
	spans := map[string]int{}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var data tracepb.TracesData
		if err := proto.Unmarshal(body, &data); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range data.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					spans[resource.Resource.Attributes[0].Value.GetStringValue()+" "+s.Name]++
					if text := s.String(); strings.Contains(text, "marker") {
						t.Errorf("content in a span: %s", text)
					}
				}
			}
		}
	}))
	t.Cleanup(collector.Close)
	h := build(t, "-otlp-endpoint", collector.URL)
	for _, name := range plugins.Names() {
		h.ask(t, name, "marker of text")
	}
	if err := h.gateway.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, name := range plugins.Names() {
		for span, want := range map[string]int{"ai_guard.request": 1, "ai_guard.response": 1, "ai_guard.scan": 2} {
			if got := spans[name+" "+span]; got != want {
				t.Errorf("%s %s: %d, want %d", name, span, got, want)
			}
		}
	}
}
