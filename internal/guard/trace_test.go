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

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
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

const (
	picture = `{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}`
	sound   = `{"type":"input_audio","input_audio":{"data":"UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=","format":"wav"}}`
	said    = `{"type":"text","text":"hello"}`
)

func withParts(parts ...string) string {
	return `{"model":"m","messages":[{"role":"user","content":[` + strings.Join(parts, ",") + `]}]}`
}

// TestMediaNobodyJudged: a leg that goes on with media that the service did not
// look at is counted, with or without text, on both legs and in both modes. A
// leg that ends is not.
func TestMediaNobodyJudged(t *testing.T) {
	judgesImages := func(v *vendor) {
		v.JudgesMedia = func(m llm.MediaPart) bool { return strings.HasPrefix(m.Type, "image") }
	}
	allowed := verdict(scan.Verdict{Action: scan.Allow, ScanID: "scan-1"})
	for _, c := range []struct {
		name     string
		vendor   func(*vendor)
		settings func(*policy.Settings)
		request  string
		answer   func(*fakeKong)
		scan     func(context.Context, *scan.Scan) (scan.Verdict, error)
		requests float64
		answers  float64
	}{
		{name: "text", request: withParts(said), scan: allowed},
		{name: "a picture alone", request: withParts(picture), scan: allowed, requests: 1},
		{name: "beside text", request: withParts(said, picture, picture), scan: allowed, requests: 1},
		{name: "judged", vendor: judgesImages, request: withParts(picture), scan: allowed},
		{name: "judged and not", vendor: judgesImages, request: withParts(said, picture, sound), scan: allowed, requests: 1},
		{name: "sound to one who judges pictures", vendor: judgesImages, request: withParts(sound), scan: allowed, requests: 1},
		{name: "blocked", request: withParts(said, picture), scan: block},
		{name: "refused", settings: func(s *policy.Settings) { s.BlockMedia = true }, request: withParts(picture), scan: allowed},
		{name: "no verdict", request: withParts(said, picture), scan: fails(&scan.Failure{Kind: scan.Unavailable, Reason: "timeout"})},
		{
			name: "no verdict that is let pass", settings: func(s *policy.Settings) { s.BlockFailures = false },
			request: withParts(said, picture), scan: fails(&scan.Failure{Kind: scan.Unavailable, Reason: "timeout"}), requests: 1,
		},
		{name: "monitored", settings: func(s *policy.Settings) { s.RequestMode = policy.Monitor }, request: withParts(said, picture), scan: block, requests: 1},
		{name: "not looked at", settings: func(s *policy.Settings) { s.RequestMode = policy.Off }, request: withParts(said, picture), scan: allowed},
		{
			name: "an answer of nothing but media", request: withParts(said), scan: allowed, answers: 1,
			answer: func(k *fakeKong) {
				k.answer, k.answerHeader["content-type"] = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"
			},
		},
		{
			name: "monitored answers", settings: func(s *policy.Settings) { s.ResponseMode = policy.Monitor }, request: withParts(said), scan: allowed, answers: 1,
			answer: func(k *fakeKong) {
				k.answer, k.answerHeader["content-type"] = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			settings, vendor := strict(), prisma()
			if c.settings != nil {
				c.settings(&settings)
			}
			if c.vendor != nil {
				c.vendor(&vendor)
			}
			sc := &scanner{request: c.scan}
			e := newEngine(w.Process, vendor, settings, sc)
			var lines []string
			passed := map[string]bool{}
			for range 3 {
				k := chatRequest(t)
				k.body = c.request
				if c.answer != nil {
					c.answer(k)
				}
				k.run(e)
				lines = append(lines, k.logged("warn")...)
				for _, leg := range []string{"request", "response"} {
					l := k.leg("prisma-airs-intercept", leg)
					passed[leg] = l["unscanned"] == "media"
				}
			}
			w.Flush(context.Background())
			k := chatRequest(t)
			k.body = withParts(said)
			k.run(e) // writes what is left
			lines = append(lines, k.logged("warn")...)
			for leg, want := range map[string]float64{"request": c.requests, "response": c.answers} {
				if n := w.metric("unscanned_total", leg, "media"); n != 3*want {
					t.Errorf("%v %ss counted, want %v", n, leg, 3*want)
				}
				enforced := settings.RequestMode
				if leg == "response" {
					enforced = settings.ResponseMode
				}
				if passed[leg] != (want > 0 && enforced == policy.Enforce) {
					t.Errorf("the access log's %s says media: %v", leg, passed[leg])
				}
			}
			warned := 0
			for _, l := range lines {
				if strings.HasPrefix(l, "PREFIX media that the scan service does not judge pass unscanned") {
					warned++
				}
				if passes := strings.Contains(l, `unscanned="media"`); strings.Contains(l, "request ") && strings.Contains(l, "outcome=") && passes != (c.requests > 0) {
					t.Errorf("the line says media: %v: %s", passes, l)
				}
			}
			if want := int(c.requests + c.answers); warned != want {
				t.Errorf("warned %d times, want %d: %q", warned, want, lines)
			}
		})
	}
}

// TestMediaAreWarnedOfOncePerInstance: the next instance says it again.
func TestMediaAreWarnedOfOncePerInstance(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		e := newEngine(w.Process, prisma(), strict(), &scanner{})
		for range 2 {
			k := chatRequest(t)
			k.body = withParts(picture)
			k.run(e)
		}
	}
	if n := strings.Count(w.stderr.String(), "media that the scan service does not judge"); n != 2 {
		t.Errorf("%d lines: %s", n, w.stderr.String())
	}
}
