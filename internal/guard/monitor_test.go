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
)

func TestMonitorReturnsAtOnceAndJudgesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := both(func(ctx context.Context, s *guard.Scan) (guard.Verdict, error) {
			time.Sleep(3 * time.Second)
			return block(ctx, s)
		})
		e := guard.New(w.Process, prisma(), modes(guard.Monitor, guard.Monitor), sc)
		start := time.Now()
		k := chatRequest(t).run(e)
		if took := time.Since(start); took != 0 {
			t.Errorf("the exchange was held up for %s", took)
		}
		w.Flush(context.Background())
		if n := w.metric("monitor_jobs_total", "judged"); n != 2 || w.metric("legs_total", "monitor", "policy_block") != 2 {
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
		later := chatRequest(t).run(guard.New(w.Process, prisma(), strict(), &scanner{}))
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
		e := guard.New(w.Process, prisma(), modes(guard.Monitor, guard.Off), &scanner{request: func(context.Context, *guard.Scan) (guard.Verdict, error) {
			<-release
			return guard.Verdict{Action: guard.Allow}, nil
		}})
		var last *fakeKong
		for range 5 {
			if last = chatRequest(t).run(e); last.exit != nil {
				t.Fatalf("%s: refused", name)
			}
		}
		if w.metric("monitor_jobs_total", "dropped") != 2 || w.metric("monitor_items") != 3 {
			t.Errorf("%s: dropped %v, holds %v", name, w.metric("monitor_jobs_total", "dropped"), w.metric("monitor_items"))
		}
		if l := last.leg("prisma-airs-intercept", "request"); l["action"] != "unscanned" || l["reason"] != "monitor queue full" {
			t.Errorf("%s: access log %v", name, last.serialized)
		}
		if !contains(last.logged("err"), "dropped") {
			t.Errorf("%s: logged %v", name, last.logs)
		}
		close(release)
		w.Flush(context.Background())
		if w.metric("monitor_jobs_total", "judged") != 3 || w.metric("monitor_items") != 0 || w.metric("monitor_bytes") != 0 {
			t.Errorf("%s: judged %v, holds %v legs of %v bytes", name, w.metric("monitor_jobs_total", "judged"), w.metric("monitor_items"), w.metric("monitor_bytes"))
		}
	}
}

func TestFlushDropsWhatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.MonitorWorkers = 2 })
		e := guard.New(w.Process, prisma(), modes(guard.Monitor, guard.Off), &scanner{request: func(ctx context.Context, _ *guard.Scan) (guard.Verdict, error) {
			<-ctx.Done()
			return guard.Verdict{}, ctx.Err()
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
	e := guard.New(w.Process, noma(), modes(guard.Monitor, guard.Off), both(fails(&guard.Failure{
		Kind: guard.Misconfigured, Reason: "status 401", Hint: "client_secret",
	})))
	for range 20 {
		chatRequest(t).run(e)
	}
	w.Flush(context.Background())
	k := chatRequest(t).run(guard.New(w.Process, noma(), strict(), &scanner{}))
	lines := append(k.logged("err"), k.logged("warn")...)
	if len(lines) == 0 || len(lines) > 2 || !contains(lines, `check="client_secret"`) || !contains(lines, "[noma-runtime-protection] request monitored without a verdict") {
		t.Errorf("logged %v", lines)
	}
	if n := strings.Count(w.stderr.String(), `"level":"error"`); n > 20 || n == 0 {
		t.Errorf("%d lines at error on stderr", n)
	}
}

func TestMonitoredBodiesAreCopies(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	sc := both(func(context.Context, *guard.Scan) (guard.Verdict, error) {
		<-release
		return guard.Verdict{Action: guard.Allow}, nil
	})
	e := guard.New(w.Process, prisma(), modes(guard.Monitor, guard.Monitor), sc)
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
	e := guard.New(w.Process, prisma(), strict(), &scanner{})
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
	sc := &scanner{response: func(context.Context, *guard.Scan) (guard.Verdict, error) {
		<-release
		return guard.Verdict{Action: guard.Allow}, nil
	}}
	e := guard.New(w.Process, prisma(), modes(guard.Enforce, guard.Monitor), sc)
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
