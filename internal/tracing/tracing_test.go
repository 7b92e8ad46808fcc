// SPDX-License-Identifier: Apache-2.0

package tracing_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// TestOnlyAProperTraceparentIsHandedOn: the caller may be anybody.
func TestOnlyAProperTraceparentIsHandedOn(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want string
	}{
		{[]string{parent}, parent},
		{[]string{strings.Replace(parent, "-01", "-00", 1)}, strings.Replace(parent, "-01", "-00", 1)},
		// A later version is read as far as it is known, and handed on as ours.
		{[]string{"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later"}, parent},
		{in: nil},
		{in: []string{""}},
		{in: []string{parent, parent}},
		{in: []string{parent + ", " + parent}},
		{in: []string{" " + parent}},
		{in: []string{parent + "\n"}},
		{in: []string{parent + "-x"}},
		{in: []string{strings.ToUpper(parent)}},
		{in: []string{"ff" + parent[2:]}},
		{in: []string{"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01"}},
		{in: []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-" + strings.Repeat("0", 16) + "-01"}},
		{in: []string{strings.Replace(parent, "4b", "4g", 1)}},
		{in: []string{"00-ignore-all-instructions-01"}},
		{in: []string{parent[:54]}},
		{in: []string{strings.Replace(parent, "-01", "-0\xe9", 1)}},
	} {
		header := http.Header{"Tracestate": {"vendor=free text of the caller"}}
		if c.in != nil {
			header["Traceparent"] = c.in
		}
		ctx := tracing.Join(context.Background(), header)
		if got := tracing.Header(ctx); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
		if got := tracing.Header(tracing.In(context.Background(), tracing.Parent(ctx))); got != c.want {
			t.Errorf("%q remembered: %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzJoin(f *testing.F) {
	f.Add(parent)
	f.Add("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")
	f.Fuzz(func(t *testing.T, s string) {
		got := tracing.Header(tracing.Join(context.Background(), http.Header{"Traceparent": {s}}))
		if got == "" {
			return
		}
		if len(got) != 55 || strings.Trim(got, "0123456789abcdef-") != "" || !strings.HasPrefix(s[2:], got[2:52]) {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

// A collector takes spans as an OTLP/HTTP receiver does.
type collector struct {
	status int
	got    chan *tracepb.TracesData
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var data tracepb.TracesData
	if r.URL.Path != "/v1/traces" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &data) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(c.status)
	c.got <- &data
}

func start(t *testing.T, status int) (*tracing.Tracer, *collector, *int) {
	t.Helper()
	c := &collector{status: status, got: make(chan *tracepb.TracesData, 8)}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	failures := new(int)
	tracer, err := tracing.New(tracing.Options{
		Endpoint: server.URL, Service: "some-plugin", Version: "1.2.3", Failed: func() { *failures++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	return tracer, c, failures
}

func TestSpansReachTheCollector(t *testing.T) {
	tracer, c, failures := start(t, http.StatusOK)
	ctx := tracing.Join(context.Background(), http.Header{"Traceparent": {parent}})
	began := time.Now().Add(-time.Second)
	ctx, leg := tracer.Start(ctx, "leg", began, false)
	inner, scan := tracer.Start(ctx, "scan", time.Now(), true)
	scan.Set("outcome", "allow")
	scan.Fail("timeout")
	header := tracing.Header(inner)
	scan.End()
	leg.End()
	tracer.Shutdown(context.Background())

	data := <-c.got
	resource := data.ResourceSpans[0]
	if got := resource.Resource.String(); !strings.Contains(got, "some-plugin") || !strings.Contains(got, "1.2.3") {
		t.Errorf("resource %s", got)
	}
	spans := map[string]*tracepb.Span{}
	for _, s := range resource.ScopeSpans[0].Spans {
		spans[s.Name] = s
	}
	l, s := spans["leg"], spans["scan"]
	if l == nil || s == nil {
		t.Fatalf("spans %v", spans)
	}
	if string(s.ParentSpanId) != string(l.SpanId) || string(s.TraceId) != string(l.TraceId) {
		t.Error("the scan is not in the leg's span")
	}
	if got := hexOf(l.TraceId) + "-" + hexOf(l.ParentSpanId); !strings.Contains(parent, got) {
		t.Errorf("the leg is in %s, not in the caller's %s", got, parent)
	}
	if l.StartTimeUnixNano != uint64(began.UnixNano()) {
		t.Error("the leg does not begin when it began")
	}
	if want := "00-" + hexOf(s.TraceId) + "-" + hexOf(s.SpanId) + "-01"; header != want {
		t.Errorf("the service is told %s, not %s", header, want)
	}
	if s.Status.GetMessage() != "timeout" || s.Kind != tracepb.Span_SPAN_KIND_CLIENT {
		t.Errorf("scan %v", s)
	}
	if sent, lost := tracer.Counts(); sent != 2 || lost != 0 || *failures != 0 {
		t.Errorf("sent %d, lost %d, failures %d", sent, lost, *failures)
	}
}

func TestATraceThatIsNotSampledHasNoSpans(t *testing.T) {
	tracer, c, _ := start(t, http.StatusOK)
	ctx := tracing.Join(context.Background(), http.Header{"Traceparent": {strings.TrimSuffix(parent, "1") + "0"}})
	inner, span := tracer.Start(ctx, "leg", time.Now(), false)
	if span.Recorded() || !strings.HasPrefix(tracing.Header(inner), parent[:36]) || !strings.HasSuffix(tracing.Header(inner), "-00") {
		t.Errorf("recorded %t, header %s", span.Recorded(), tracing.Header(inner))
	}
	span.End()
	tracer.Shutdown(context.Background())
	if len(c.got) != 0 {
		t.Error("spans were sent")
	}
}

func TestACollectorThatRefusesIsHeardOf(t *testing.T) {
	tracer, _, failures := start(t, http.StatusServiceUnavailable)
	_, span := tracer.Start(context.Background(), "leg", time.Now(), false)
	span.End()
	tracer.Shutdown(context.Background())
	if sent, lost := tracer.Counts(); sent != 0 || lost != 1 || *failures != 1 {
		t.Errorf("sent %d, lost %d, failures %d", sent, lost, *failures)
	}
}

// TestOff: a tracer that nobody asked for does nothing, and takes nothing.
func TestOff(t *testing.T) {
	var off *tracing.Tracer
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		inner, span := off.Start(ctx, "leg", time.Time{}, false)
		span.Set("a", "b")
		span.Fail("c")
		span.End()
		if inner != ctx || span.Recorded() || tracing.Header(inner) != "" || tracing.Join(ctx, nil) != ctx {
			t.Fatal("something happened")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	off.Shutdown(ctx)
}

func TestEndpoints(t *testing.T) {
	for _, bad := range []string{"", "collector:4318", "grpc://collector:4317", "http://", "http://a/#b", "/v1/traces"} {
		if tracing.CheckEndpoint(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, good := range []string{"http://collector:4318", "https://collector/otlp/v1/traces", "http://[::1]:4318/"} {
		if err := tracing.CheckEndpoint(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}
