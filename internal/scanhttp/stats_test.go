// SPDX-License-Identifier: Apache-2.0

package scanhttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// TestCallsAreCountedAndTraced: each kind of ending has its count, and the
// service hears of the caller's trace.
func TestCallsAreCountedAndTraced(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	status := http.StatusOK
	var told []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told = r.Header["Traceparent"]
		w.WriteHeader(status)
	}))
	client, err := scanhttp.For(scanhttp.Options{SSLVerify: true, Account: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	own := http.Header{"X-Key": {"k"}}
	ask := func(ctx context.Context) { _, _ = client.Post(ctx, scanhttp.Request{URL: service.URL, Header: own}) }
	expect := func(what scanhttp.Result, times int64, do func()) {
		t.Helper()
		before := scanhttp.Attempts(what)
		do()
		if got := scanhttp.Attempts(what) - before; got != times {
			t.Errorf("%v: %d, want %d", what, got, times)
		}
	}
	expect(scanhttp.Answered, 1, func() { ask(ctx) })
	if told != nil {
		t.Errorf("told of the trace %q without one", told)
	}
	ask(tracing.Join(ctx, http.Header{"Traceparent": {parent}}))
	if len(told) != 1 || told[0] != parent || len(own) != 1 {
		t.Errorf("told %q; the caller's headers are %v", told, own)
	}
	status = http.StatusUnauthorized
	expect(scanhttp.Refused, 1, func() { ask(ctx) })
	status = http.StatusInternalServerError
	expect(scanhttp.Failed, 1, func() { ask(ctx) })
	all, open := scanhttp.Breakers()
	openings := scanhttp.Openings()
	status = http.StatusTooManyRequests
	expect(scanhttp.Throttled, 1, func() { ask(ctx) })
	if nowAll, nowOpen := scanhttp.Breakers(); nowAll != all || nowOpen != open+1 || scanhttp.Openings() != openings+1 {
		t.Errorf("%d of %d breakers open, before %d of %d; %d openings", nowOpen, nowAll, open, all, scanhttp.Openings()-openings)
	}
	expect(scanhttp.HeldBack, 1, func() { ask(ctx) })
	service.Close()
	gone, err := scanhttp.For(scanhttp.Options{SSLVerify: true, Account: t.Name() + " gone"})
	if err != nil {
		t.Fatal(err)
	}
	expect(scanhttp.Unanswered, 1, func() { _, _ = gone.Post(ctx, scanhttp.Request{URL: service.URL}) })
}
