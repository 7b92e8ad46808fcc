// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
)

func TestMonitorReturnsAtOnceAndJudgesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := both(func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
			time.Sleep(3 * time.Second)
			return block(ctx, s)
		})
		e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Monitor), sc)
		start := time.Now()
		k := chatRequest(t).run(e)
		if took := time.Since(start); took != 0 {
			t.Errorf("the exchange was held up for %s", took)
		}
		w.Flush(context.Background())
		if n := w.metric("monitor_jobs_total", "sent"); n != 2 || w.metric("legs_total", "monitor", "policy_block") != 2 {
			t.Errorf("%v legs judged", n)
		}
		if s := sc.seen(llm.ResponseLeg)[0]; len(s.Prompt) != 1 || s.Turns[0].Text != "Paris." {
			t.Errorf("the answer was judged as %+v", s)
		}
		for _, part := range []string{`scan_id=\"scan-9\"`, `request_id=\"` + k.requestID + `\"`, `detectors=\"prompt_injection,dlp\"`, `profile=\"strict\"`} {
			if !strings.Contains(w.stderr.String(), part) {
				t.Errorf("stderr lacks %s: %s", part, w.stderr.String())
			}
		}
		// The next event writes them where operators look.
		later := chatRequest(t).run(newEngine(w.Process, prisma(), strict(), &scanner{}))
		if lines := later.logged("warn"); len(lines) != 2 || !contains(lines, "request would be refused") || !contains(lines, "response would be refused") || !contains(lines, "s ago)") {
			t.Errorf("logged %v", later.logs)
		}
	})
}

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

func TestMonitorFailuresAreCountedNotRepeated(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), both(fails(&scan.Failure{
		Kind: scan.Misconfigured, Reason: "status 401", Hint: "client_secret",
	})))
	var lines []string
	for range 20 {
		lines = append(lines, chatRequest(t).run(e).logged("err")...)
	}
	w.Flush(context.Background())
	lines = append(lines, chatRequest(t).run(newEngine(w.Process, noma(), strict(), &scanner{})).logged("err")...)
	if len(lines) != 1 || !contains(lines, `check="client_secret"`) || !contains(lines, "[noma-runtime-protection] monitored exchange without a verdict") {
		t.Errorf("logged %v", lines)
	}
	if n := strings.Count(w.stderr.String(), `"level":"error"`); n > 20 || n == 0 {
		t.Errorf("%d lines at error on stderr", n)
	}
}

func TestMonitoredBodiesAreCopies(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	sc := both(func(context.Context, *scan.Scan) (scan.Verdict, error) {
		<-release
		return scan.Verdict{Action: scan.Allow}, nil
	})
	e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Monitor), sc)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			k := chatRequest(t)
			k.requestID = fmt.Sprint(i)
			k.body = fmt.Sprintf(`{"messages":[{"role":"user","content":"text of %d"}]}`, i)
			k.run(e)
		})
	}
	wg.Wait()
	close(release)
	w.Flush(context.Background())
	for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
		for _, s := range sc.seen(leg) {
			turns := s.Turns
			if leg == llm.ResponseLeg {
				turns = s.Prompt
			}
			if len(turns) != 1 || turns[0].Text != "text of "+s.RequestID {
				t.Errorf("%s of %s was judged with %v", leg, s.RequestID, turns)
			}
		}
	}
}

func TestNoticesAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 150 {
		w.Notice(false, fmt.Sprintf("line %d\nforged", i))
	}
	e := newEngine(w.Process, prisma(), strict(), &scanner{})
	var lines []string
	for range 12 {
		k := chatRequest(t).run(e)
		if len(k.logs) > 11 {
			t.Errorf("%d lines in one event", len(k.logs))
		}
		lines = append(lines, k.logged("warn")...)
	}
	if len(lines) != 101 || !contains(lines, "PREFIX more lines were not kept: 50") || !contains(lines, "PREFIX line 7?forged (") {
		t.Errorf("%d lines: %v", len(lines), lines)
	}
}

func TestMonitoredAnswerOfAForgottenExchange(t *testing.T) {
	w := newWorld(t, func(b *guard.Bounds) { b.MonitorWorkers = 1 })
	release := make(chan struct{})
	sc := &scanner{response: func(context.Context, *scan.Scan) (scan.Verdict, error) {
		<-release
		return scan.Verdict{Action: scan.Allow}, nil
	}}
	e := newEngine(w.Process, prisma(), modes(policy.Enforce, policy.Monitor), sc)
	for range 3 { // some are read after their replies were taken back
		chatRequest(t).respond(e)
	}
	close(release)
	w.Flush(context.Background())
	scans := sc.seen(llm.ResponseLeg)
	if len(scans) != 3 {
		t.Fatalf("%d scans", len(scans))
	}
	for _, s := range scans {
		if len(s.Prompt) != 1 || s.Prompt[0].Text != "what is the capital of France?" || s.Turns[0].Text != "Paris." {
			t.Errorf("judged with %+v", s)
		}
	}
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

// An outage gives a line by the second request, and then one a minute with a
// count, whatever each of its failures is called.
func TestRepeatsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := &away{fail: refused()}
		e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Monitor), sc)
		var lines []string
		for i := range 100 {
			k := chatRequest(t).run(e)
			lines = append(lines, k.logged("err")...)
			if i == 1 && len(lines) != 1 {
				t.Errorf("by the second request: %v", lines)
			}
			time.Sleep(time.Second)
			sc.mu.Lock()
			sc.fail.Reason = "breaker open"
			sc.mu.Unlock()
		}
		if len(lines) != 2 || !strings.Contains(lines[0], `reason="connection refused" check="API_base"`) || !strings.Contains(lines[1], " times, first ") {
			t.Errorf("logged %v", lines)
		}
		sc.mu.Lock()
		sc.back = true
		sc.mu.Unlock()
		w.Flush(t.Context())
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
