// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
	"kong-ai-guard/internal/tracing"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestTheScanIsInTheCallersTrace: on both legs, enforced or monitored, and
// only when the caller has one.
func TestTheScanIsInTheCallersTrace(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor} {
		for _, sent := range []string{traceparent, "", "nonsense"} {
			var mu sync.Mutex
			var told []string
			note := func(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, tracing.Header(ctx))
				return scan.Verdict{Action: scan.Allow}, nil
			}
			w := newWorld(t)
			k := chatRequest(t)
			if sent != "" {
				k.set("traceparent", sent)
			}
			k.run(newEngine(w.Process, noma(), modes(mode, mode), both(note)))
			w.Flush(context.Background())
			want := ""
			if sent == traceparent {
				want = traceparent
			}
			if len(told) != 2 || told[0] != want || told[1] != want {
				t.Errorf("%s with %q: the service was told %q", mode, sent, told)
			}
		}
	}
}

// spans collects what a tracer sends.
func spans(t *testing.T, w *world) (collected func() []*tracepb.Span) {
	t.Helper()
	var mu sync.Mutex
	var got []*tracepb.Span
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var data tracepb.TracesData
		if err := proto.Unmarshal(body, &data); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range data.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				got = append(got, scope.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	tracer, err := tracing.New(tracing.Options{Endpoint: server.URL, Service: "p"})
	if err != nil {
		t.Fatal(err)
	}
	w.Tracer = tracer
	return func() []*tracepb.Span {
		w.Flush(context.Background())
		tracer.Shutdown(context.Background())
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

// TestSpansOfAnExchange: legs and scans, in one trace, without a word of what
// was said.
func TestSpansOfAnExchange(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor} {
		for _, sent := range []string{traceparent, ""} {
			w := newWorld(t)
			collected := spans(t, w)
			k := chatRequest(t)
			k.body = `{"model":"marker-model","messages":[{"role":"user","content":"marker-of-text"}]}`
			if sent != "" {
				k.set("traceparent", sent)
			}
			k.run(newEngine(w.Process, prisma(), modes(mode, mode), &scanner{response: fails(errors.New("marker-of-error"))}))
			byName := map[string][]*tracepb.Span{}
			for _, s := range collected() {
				byName[s.Name] = append(byName[s.Name], s)
				if text := s.String(); strings.Contains(text, "marker") {
					t.Errorf("content in a span: %s", text)
				}
			}
			if len(byName["ai_guard.request"]) != 1 || len(byName["ai_guard.response"]) != 1 || len(byName["ai_guard.scan"]) != 2 {
				t.Fatalf("%s: spans %v", mode, byName)
			}
			request := byName["ai_guard.request"][0]
			for _, all := range byName {
				for _, s := range all {
					if string(s.TraceId) != string(request.TraceId) {
						t.Errorf("%s: %s is in another trace", mode, s.Name)
					}
				}
			}
			if own := len(request.ParentSpanId) == 0; own != (sent == "") {
				t.Errorf("%s with %q: the request's span has no parent: %t", mode, sent, own)
			}
			failed := 0
			for _, s := range byName["ai_guard.scan"] {
				if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
					failed++
				}
			}
			if failed != 1 {
				t.Errorf("%s: %d scans failed", mode, failed)
			}
		}
	}
}

func TestMetricsOfAnExchange(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.Process, prisma(), strict(), &scanner{response: fails(&scan.Failure{Kind: scan.Unavailable, Reason: "status 503"})})
	k := chatRequest(t)
	k.run(e)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"legs_total", []string{"request", "enforce", "allow"}, 1},
		{"legs_total", []string{"response", "enforce", "no_verdict"}, 1},
		{"leg_reasons_total", []string{"response", "no_verdict", "status 5xx"}, 1},
		{"leg_reasons_total", []string{"request"}, 0},
		{"bodies_total", []string{"request", "openai.chat"}, 1},
		{"bodies_total", []string{"response", "openai.chat"}, 1},
		{"body_bytes", []string{"request"}, 1},
		{"leg_seconds", []string{"request", "enforce"}, 1},
		{"leg_seconds", []string{"response", "enforce"}, 1},
		{"exchanges_in_flight", nil, 0},
		{"scans_waiting", nil, 0},
	} {
		if got := w.metric(c.name, c.labels...); got != c.want {
			t.Errorf("%s%v = %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	broken := chatRequest(t)
	broken.body = `{"a":1,"a":2}`
	broken.run(e)
	if got := w.metric("bodies_total", "request", "unreadable"); got != 1 {
		t.Errorf("unreadable bodies %v", got)
	}
}

func TestInFlightIsSeenWhileAScanRuns(t *testing.T) {
	w := newWorld(t, func(b *guard.Bounds) { b.Scans = 1 })
	inside, leave := make(chan struct{}, 2), make(chan struct{})
	e := newEngine(w.Process, prisma(), modes(policy.Enforce, policy.Off), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
		inside <- struct{}{}
		<-leave
		return scan.Verdict{Action: scan.Allow}, nil
	}})
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { chatRequest(t).run(e) })
	}
	<-inside
	for w.metric("scans_waiting") != 1 { // ends with the test's time at the latest
	}
	if got := w.metric("exchanges_in_flight", "request"); got != 2 {
		t.Errorf("%v in flight", got)
	}
	close(leave)
	both.Wait()
	if got := w.metric("exchanges_in_flight", "request"); got != 0 {
		t.Errorf("%v in flight at the end", got)
	}
}
