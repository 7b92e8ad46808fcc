// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestMonitorQueueIsBounded(t *testing.T) {
	for name, change := range map[string]func(*guard.Bounds){
		"items": func(b *guard.Bounds) { b.MonitorItems = 3 },
		"bytes": func(b *guard.Bounds) { b.MonitorBytes = 4000 },
	} {
		release := make(chan struct{})
		w := newWorld(t, change)
		e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			<-release
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		var last *fakeKong
		var logged []string
		for i := range 5 {
			last = chatRequest(t)
			last.consumer.ID = fmt.Sprint("consumer-", i) // one alone gets no more than a fair share
			if last.run(e); last.exit != nil {
				t.Fatalf("%s: refused", name)
			}
			logged = append(logged, last.logged("err")...)
		}
		if w.metric("monitor_jobs_total", "dropped") != 2 || w.metric("monitor_items") != 3 {
			t.Errorf("%s: dropped %v, holds %v", name, w.metric("monitor_jobs_total", "dropped"), w.metric("monitor_items"))
		}
		if l := last.leg("prisma-airs-intercept", "request"); l["action"] != "unscanned" || l["reason"] != "monitor queue full" {
			t.Errorf("%s: access log %v", name, last.serialized)
		}
		if len(logged) != 1 || !contains(logged, "dropped") {
			t.Errorf("%s: logged %v", name, logged)
		}
		close(release)
		w.Flush(context.Background())
		if w.metric("monitor_jobs_total", "sent") != 3 || w.metric("monitor_items") != 0 || w.metric("monitor_bytes") != 0 {
			t.Errorf("%s: judged %v, holds %v legs of %v bytes", name, w.metric("monitor_jobs_total", "sent"), w.metric("monitor_items"), w.metric("monitor_bytes"))
		}
	}
}

func TestFlushDropsWhatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.MonitorWorkers = 2 })
		e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), &scanner{request: func(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
			<-ctx.Done()
			return scan.Verdict{}, ctx.Err()
		}})
		for range 5 {
			chatRequest(t).run(e)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		w.Flush(ctx)
		if took := time.Since(start); took != time.Second {
			t.Errorf("flushing took %s", took)
		}
		synctest.Wait()
		if w.metric("monitor_jobs_total", "dropped") != 3 || w.metric("monitor_jobs_total", "failed") != 2 || w.metric("monitor_items") != 0 {
			t.Errorf("dropped %v, failed %v", w.metric("monitor_jobs_total", "dropped"), w.metric("monitor_jobs_total", "failed"))
		}
		if k := chatRequest(t).run(e); k.exit != nil || k.leg("prisma-airs-intercept", "request")["action"] != "unscanned" {
			t.Errorf("after the flush: %+v, %v", k.exit, k.serialized)
		}
	})
}

// away is a service that cannot be reached until it is back.
type away struct {
	mu    sync.Mutex
	back  bool
	tries []time.Time
	fail  *scan.Failure
}

func (a *away) Scan(context.Context, *scan.Scan) (scan.Verdict, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries = append(a.tries, time.Now())
	if a.back {
		return scan.Verdict{Action: scan.Allow}, nil
	}
	fail := *a.fail
	return scan.Verdict{}, &fail
}

func (a *away) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tries)
}

func refused() *scan.Failure {
	return &scan.Failure{Kind: scan.Unavailable, Reason: "connection refused", Hint: "API_base"}
}

// While the service is away, legs wait and are tried again, further and
// further apart; when it is back, they are reported.
func TestMonitorTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := &away{fail: refused()}
		e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), sc)
		chatRequest(t).run(e)
		time.Sleep(20 * time.Second)
		if n := sc.count(); n < 4 || n > 5 { // after 0, 1, 3, 7 and 15 s, or a bit later
			t.Errorf("%d tries in 20 s", n)
		}
		if w.metric("monitor_items") != 1 || w.metric("monitor_jobs_total", "failed") != 0 || w.metric("legs_total") != 0 {
			t.Error("the leg was given up")
		}
		sc.mu.Lock()
		sc.back = true
		sc.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.metric("monitor_jobs_total", "sent") != 1 || w.metric("monitor_items") != 0 || w.metric("legs_total", "allow") != 1 {
			t.Errorf("sent %v, still holds %v", w.metric("monitor_jobs_total", "sent"), w.metric("monitor_items"))
		}
		if n := w.metric("monitor_jobs_total", "retried"); n != float64(sc.count()-1) {
			t.Errorf("counted %v retries of %d tries", n, sc.count())
		}
	})
}

func TestMonitorTriesHaveAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.MonitorPatience = time.Minute })
		sc := &away{fail: refused()}
		e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), sc)
		chatRequest(t).run(e)
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.metric("monitor_jobs_total", "failed") != 1 || w.metric("monitor_items") != 0 || w.metric("legs_total", "no_verdict") != 1 {
			t.Errorf("failed %v, holds %v", w.metric("monitor_jobs_total", "failed"), w.metric("monitor_items"))
		}
	})
}

// A service that says how long to stay away is left alone for that long, but
// not for ever.
func TestMonitorWaitsAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fail := refused()
		fail.RetryAfter = 10 * time.Second
		sc := &away{fail: fail}
		chatRequest(t).run(newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), sc))
		time.Sleep(9 * time.Second)
		if n := sc.count(); n != 1 {
			t.Errorf("%d tries in 9 s", n)
		}
		time.Sleep(5 * time.Second)
		if n := sc.count(); n != 2 {
			t.Errorf("%d tries in 14 s", n)
		}
		sc.mu.Lock()
		fail.RetryAfter = time.Hour
		sc.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if n := sc.count(); n < 4 {
			t.Errorf("%d tries in 134 s", n)
		}
	})
}

// What waits for another try gets it at once when the process ends.
func TestFlushTriesOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := &away{fail: refused()}
		e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), sc)
		for range 3 {
			chatRequest(t).run(e)
		}
		time.Sleep(100 * time.Millisecond)
		start := time.Now()
		w.Flush(t.Context())
		if took := time.Since(start); took != 0 {
			t.Errorf("flushing took %s", took)
		}
		if w.metric("monitor_jobs_total", "failed") != 3 || w.metric("monitor_items") != 0 || sc.count() != 6 {
			t.Errorf("failed %v, %d tries", w.metric("monitor_jobs_total", "failed"), sc.count())
		}
	})
}

// TestLeave: when the process is to go, what waits for the service is tried
// again at once, and legs that come meanwhile are judged as well.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		away := true
		var tried []time.Duration
		start := time.Now()
		e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			tried = append(tried, time.Since(start))
			if away {
				return scan.Verdict{}, &scan.Failure{Kind: scan.Unavailable, Reason: "timeout", RetryAfter: 20 * time.Second}
			}
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		chatRequest(t).run(e)
		synctest.Wait()
		time.Sleep(time.Second)
		w.Leave() // still away: it rests again
		synctest.Wait()
		time.Sleep(time.Second)
		away = false
		w.Leave()
		chatRequest(t).run(e)
		synctest.Wait()
		if len(tried) != 4 || tried[1] != time.Second || tried[3] != 2*time.Second || w.metric("monitor_jobs_total", "sent") != 2 {
			t.Errorf("tried after %v, judged %v", tried, w.metric("monitor_jobs_total", "sent"))
		}
		w.Flush(context.Background())
	})
}
