// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

func TestRecordsAreBoundedAndReadAgain(t *testing.T) {
	for name, change := range map[string]func(*guard.Bounds){
		"count": func(b *guard.Bounds) { b.Records = 1 },
		"bytes": func(b *guard.Bounds) { b.RecordBytes = 3 << 10 },
	} {
		for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			w := newWorld(t, change)
			sc := &scanner{}
			e := newEngine(w.Process, prisma(), modes(request, policy.Enforce), sc)
			var kongs []*fakeKong
			for i := range 3 {
				k := chatRequest(t)
				k.requestID = fmt.Sprintf("request-%d", i)
				kongs = append(kongs, k.access(e))
			}
			if n := w.metric("records"); n < 1 || n > 2 {
				t.Errorf("%s, request %s: %v records", name, request, n)
			}
			if w.metric("records_dropped_total") < 1 || w.metric("unscanned_answers_total") != 0 {
				t.Errorf("%s: dropped %v, unscanned answers %v", name, w.metric("records_dropped_total"), w.metric("unscanned_answers_total"))
			}
			forgotten := kongs[0].respond(e)
			if forgotten.exit != nil || len(sc.seen(llm.ResponseLeg)) != 1 {
				t.Fatalf("%s: %+v", name, forgotten.exit)
			}
			s := sc.seen(llm.ResponseLeg)[0]
			if want := request != policy.Off; (len(s.Prompt) == 1) != want || s.Header != nil || s.Identity.Service != "llm" {
				t.Errorf("%s, request %s: the answer was scanned with %+v", name, request, s)
			}
			if !contains(forgotten.logged("err"), "forgotten") {
				t.Errorf("%s: logged %v", name, forgotten.logs)
			}
		}
	}
}

// A record that is gone does not open a door: what cannot be read again is
// refused where it decides something.
func TestForgottenExchangeWhoseIdentityCannotBeRead(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.replyErr = map[string]error{"kong.router.get_service": os.ErrInvalid}
	k.respond(newEngine(w.Process, prisma(), strict(), &scanner{}))
	if k.refusal(); k.exit.status != 503 {
		t.Errorf("answered %+v", k.exit)
	}
}

func TestAnswersThatNeverCameAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := newEngine(w.Process, prisma(), strict(), &scanner{})
		blocking := newEngine(w.Process, prisma(), strict(), both(block))
		off := newEngine(w.Process, prisma(), modes(policy.Enforce, policy.Off), &scanner{})
		for i, engine := range []*guard.Engine{e, e, blocking, off} {
			k := chatRequest(t)
			k.requestID = fmt.Sprint(i)
			k.access(engine)
		}
		seen := chatRequest(t)
		seen.requestID = "seen"
		seen.run(e)
		time.Sleep(guard.DefaultRecordAge + time.Second)
		synctest.Wait()
		if n := w.metric("unscanned_answers_total"); n != 2 {
			t.Errorf("%v answers counted, want 2", n)
		}
		if n := w.metric("records"); n != 0 {
			t.Errorf("%v records are left", n)
		}
		next := chatRequest(t).run(e)
		if lines := next.logged("err"); len(lines) != 1 || !contains(lines, "(2 times, first 1s ago)") {
			t.Errorf("logged %v", next.logs)
		}
		if lines := chatRequest(t).run(e).logs; len(lines) > 0 {
			t.Errorf("logged again: %v", lines)
		}
	})
}

func TestDeadlines(t *testing.T) {
	hang := func(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
		<-ctx.Done()
		return scan.Verdict{}, ctx.Err()
	}
	for _, c := range []struct {
		name    string
		timeout time.Duration
		before  time.Duration // spent in reading
		took    time.Duration
		code    string
	}{
		{"the scan's", 5 * time.Second, 0, 5 * time.Second, "scan_unavailable"},
		{"the event's", 45 * time.Second, 10 * time.Second, 47 * time.Second, "guard_failure"},
		{"the event's, at least 20 s", time.Second, 19500 * time.Millisecond, 20 * time.Second, "guard_failure"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := strict()
			s.Timeout = c.timeout
			k := chatRequest(t)
			k.onCall = func(method string) {
				if method == "kong.request.get_raw_body" {
					time.Sleep(c.before)
				}
			}
			start := time.Now()
			k.access(newEngine(w.Process, prisma(), s, both(hang)))
			if took := time.Since(start); took != c.took {
				t.Errorf("%s: took %s, want %s", c.name, took, c.took)
			}
			if r := k.refusal(); r.Error.Code != c.code || k.exit.status != 503 {
				t.Errorf("%s: %+v", c.name, k.exit)
			}
		})
	}
}

func TestScansWaitForASlotInsideTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.Scans = 2 })
		running, most := 0, 0
		var mu sync.Mutex
		sc := &scanner{request: func(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(2 * time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return scan.Verdict{Action: scan.Allow}, nil
		}}
		e := newEngine(w.Process, noma(), strict(), sc)
		var kongs []*fakeKong
		var wg sync.WaitGroup
		for range 10 {
			k := chatRequest(t)
			k.requestID = fmt.Sprint(len(kongs))
			k.consumer.ID = k.requestID
			kongs = append(kongs, k)
			wg.Go(func() { k.access(e) })
		}
		wg.Wait()
		refused := 0
		for _, k := range kongs {
			if k.exit != nil {
				refused++
				if k.exit.status != 503 || k.exit.header.Get("Retry-After") == "" {
					t.Errorf("answered %+v", k.exit)
				}
			}
		}
		// In 5 s, two slots begin three scans each.
		if most != 2 || refused != 4 {
			t.Errorf("%d scans at once, %d refused", most, refused)
		}
	})
}

func TestRoomIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = 64 << 10 })
		release := make(chan struct{})
		e := newEngine(w.Process, prisma(), strict(), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			<-release
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		big := func() *fakeKong {
			k := chatRequest(t)
			k.body = `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", 4000) + `"}]}`
			return k
		}
		holder, waiter, small := big(), big(), chatRequest(t)
		small.consumer.ID = "somebody else"
		var wg sync.WaitGroup
		wg.Go(func() { holder.access(e) })
		synctest.Wait()
		start := time.Now()
		wg.Go(func() {
			waiter.access(e)
			if waited := time.Since(start); waited != time.Second {
				t.Errorf("waited %s", waited)
			}
			close(release)
		})
		synctest.Wait()
		wg.Go(func() { small.access(e) }) // it fits: the waiter does not hold it up
		synctest.Wait()
		if n := w.metric("scans_running"); n != 2 {
			t.Errorf("%v scans run", n)
		}
		wg.Wait()
		if r := waiter.refusal(); waiter.exit.status != 503 || r.Error.Code != "guard_overloaded" {
			t.Errorf("answered %+v", waiter.exit)
		}
		if holder.exit != nil || small.exit != nil || w.metric("held_bytes") != 0 {
			t.Errorf("%+v, %+v, %v bytes held", holder.exit, small.exit, w.metric("held_bytes"))
		}
	})
}

func TestRoomGivesWaitersTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = 300 }).Room
		ctx := context.Background()
		if err := room.Reserve(ctx, "holder", 100); err != nil {
			t.Fatal(err)
		}
		var got [3]error
		var wg sync.WaitGroup
		for i, n := range []int64{80, 30, 50} {
			wg.Go(func() { got[i] = room.Reserve(ctx, fmt.Sprint(n), n) })
			synctest.Wait()
		}
		room.Release("holder", 60) // 30 fits, then nothing
		synctest.Wait()
		room.Release("holder", 40) // 50 fits
		wg.Wait()
		if got[0] == nil || got[1] != nil || got[2] != nil || room.Held() != 80 {
			t.Errorf("%v, %d held", got, room.Held())
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		start := time.Now()
		if room.Reserve(canceled, "holder", 30) == nil || time.Since(start) > 0 {
			t.Error("waited although the context had ended")
		}
		if room.Reserve(ctx, "holder", 101) == nil || time.Since(start) > 0 {
			t.Error("waited for more than there is")
		}
		if err := room.Reserve(ctx, "holder", 20); err != nil {
			t.Error(err)
		}
	})
}

func TestBodyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body")
	chat := func(size int) string {
		const head, tail = `{"messages":[{"role":"user","content":"`, `"}]}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	for _, c := range []struct {
		size   int
		status int
	}{{100, 0}, {1 << 20, 0}, {1<<20 + 1, 413}} {
		for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor} {
			if err := os.WriteFile(path, []byte(chat(c.size)), 0o600); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			s := modes(mode, policy.Off)
			s.MaxRequestBytes = 1 << 20
			k := chatRequest(t)
			k.bodyFile = path
			sc := &scanner{}
			k.run(newEngine(w.Process, prisma(), s, sc))
			w.Flush(context.Background())
			status := 0
			if k.exit != nil {
				status = k.exit.status
			}
			if want := c.status; mode == policy.Enforce && status != want || mode == policy.Monitor && status != 0 {
				t.Errorf("%d bytes, %s: status %d", c.size, mode, status)
			}
			if n := len(sc.seen(llm.RequestLeg)); n != 1 && c.status == 0 {
				t.Errorf("%d bytes, %s: %d scans", c.size, mode, n)
			}
			if held := w.metric("held_bytes"); held != 0 {
				t.Errorf("%v bytes are held", held)
			}
		}
	}
	w := newWorld(t)
	k := chatRequest(t)
	k.bodyFile = t.TempDir() // not a file
	if k.run(newEngine(w.Process, prisma(), strict(), &scanner{})); k.exit == nil || k.exit.status != 503 {
		t.Errorf("a directory was read as a body: %+v", k.exit)
	}
}

func TestInstancesShareNothingButTheProcess(t *testing.T) {
	w := newWorld(t)
	s := strict()
	s.Scoped = true
	scoped := newEngine(w.Process, prisma(), s, &scanner{})
	global := newEngine(w.Process, prisma(), strict(), &scanner{})
	for i, c := range []struct {
		e     *guard.Engine
		asked int
	}{{scoped, 1}, {scoped, 0}, {global, 1}, {global, 1}} {
		k := chatRequest(t).run(c.e)
		if n := k.count("kong.router.get_service"); n != c.asked {
			t.Errorf("exchange %d: the service's name was asked for %d times, want %d", i, n, c.asked)
		}
	}
	// A record survives its instance: Kong starts a new one when a
	// connection was lost.
	sc := &scanner{}
	k := chatRequest(t).access(global).respond(newEngine(w.Process, prisma(), strict(), sc))
	if k.count("kong.request.get_raw_body") != 1 || len(sc.seen(llm.ResponseLeg)[0].Prompt) != 1 {
		t.Errorf("the new instance did not know the exchange: %v", k.calls)
	}
}

// An instance of one consumer knows who calls; another asks each time.
func TestConsumerOfAnInstance(t *testing.T) {
	for _, scoped := range []bool{true, false} {
		w := newWorld(t)
		s := strict()
		s.ScopedToConsumer = scoped
		sc := &scanner{}
		e := newEngine(w.Process, noma(), s, sc)
		asked := 0
		for range 3 {
			asked += chatRequest(t).run(e).count("kong.client.get_consumer")
		}
		if want := map[bool]int{true: 1, false: 3}[scoped]; asked != want {
			t.Errorf("scoped %v: asked %d times", scoped, asked)
		}
		for _, sc := range sc.seen(llm.RequestLeg) {
			if sc.Identity.Consumer.Username != "alice" {
				t.Errorf("scoped %v: consumer %+v", scoped, sc.Identity.Consumer)
			}
		}
	}
}

// Many large bodies at once: those that have their body in memory get to work
// on it, the others end by policy, and memory stays within its bound.
func TestManyLargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, bound = 64 << 10, 1 << 20
		w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = bound })
		e := newEngine(w.Process, noma(), modes(policy.Enforce, policy.Off), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			if held := w.metric("held_bytes"); held > bound {
				t.Errorf("%v bytes are held", held)
			}
			time.Sleep(300 * time.Millisecond)
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		body := `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", size/5) + `"}]}`
		path := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		kongs := make([]*fakeKong, 60)
		var wg sync.WaitGroup
		for i := range kongs {
			kongs[i] = chatRequest(t)
			kongs[i].bodyFile = path
			kongs[i].consumer.ID = fmt.Sprint(i)
			wg.Go(func() { kongs[i].run(e) })
		}
		wg.Wait()
		passed := 0
		for _, k := range kongs {
			if k.exit == nil {
				passed++
			} else if r := k.refusal(); r.Error.Code != "guard_overloaded" {
				t.Errorf("answered %+v", k.exit)
			}
		}
		// Five bodies fit at once, and in the second of waiting three more
		// rounds of them.
		if passed != 20 || w.metric("held_bytes") != 0 {
			t.Errorf("%d passed, %v bytes are held", passed, w.metric("held_bytes"))
		}
	})
}

func TestRecordsCountWhatTheyHold(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.Process, prisma(), strict(), &scanner{})
	size := func(body string) float64 {
		before := w.metric("record_bytes")
		k := chatRequest(t)
		k.requestID = body
		k.body = body
		k.access(e)
		if k.exit != nil {
			t.Fatalf("%+v", k.exit)
		}
		return w.metric("record_bytes") - before
	}
	long := strings.Repeat("x", 5000)
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"` + long + `"}]}`,
		`{"jsonrpc":"2.0","id":"` + long + `","method":"tools/call","params":{"name":"x","arguments":{}}}`,
		`[{"jsonrpc":"2.0","id":"` + long + `","method":"tools/call","params":{"name":"x","arguments":{}}},{"jsonrpc":"2.0","id":2,"method":"ping"}]`,
	} {
		// The request id stands for part of it here, once more.
		if n := size(body); n < 2*5000 {
			t.Errorf("%v bytes are counted for %.40s", n, body)
		}
	}
}

func TestAnEventThatKongRunsAgain(t *testing.T) {
	w := newWorld(t)
	sc := &scanner{}
	e := newEngine(w.Process, prisma(), strict(), sc)
	k := chatRequest(t).access(e)
	bytes := w.metric("record_bytes")
	k.access(e)
	if w.metric("records") != 1 || w.metric("record_bytes") != bytes || w.metric("records_dropped_total") != 0 {
		t.Errorf("%v records of %v bytes", w.metric("records"), w.metric("record_bytes"))
	}
	if k.respond(e); k.exit != nil || w.metric("records") != 0 || w.metric("record_bytes") != 0 {
		t.Errorf("%+v, %v records of %v bytes", k.exit, w.metric("records"), w.metric("record_bytes"))
	}
}

// TestReadingIsBounded: a body whose reading takes more memory than there is,
// or longer than its event, ends the exchange by policy and gives all back.
func TestReadingIsBounded(t *testing.T) {
	tiny := `{"messages":[` + strings.Repeat(`{"content":"a"},`, 20_000) + `{"content":"b"}]}`
	for _, c := range []struct {
		name   string
		held   int64
		body   string
		code   string
		reason string
	}{
		{"enough", 64 << 20, tiny, "", ""},
		{"too little for so many turns", 5 << 20, tiny, "guard_overloaded", ""},
	} {
		w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = c.held })
		k := chatRequest(t)
		k.body = c.body
		k.access(newEngine(w.Process, prisma(), strict(), &scanner{}))
		code := ""
		if k.exit != nil {
			code = k.refusal().Error.Code
		}
		if code != c.code {
			t.Errorf("%s: %q", c.name, code)
		}
		if n := w.metric("held_bytes"); n != 0 {
			t.Errorf("%s: %v bytes are held", c.name, n)
		}
		// A monitored leg takes it out of its queue's memory.
		w = newWorld(t, func(b *guard.Bounds) { b.MonitorBytes = c.held * 3 / 5 })
		k = chatRequest(t)
		k.body = c.body
		k.access(newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), &scanner{}))
		w.Flush(context.Background())
		failed := w.metric("monitor_jobs_total", "failed") == 1
		if k.exit != nil || failed != (c.code != "") || w.metric("monitor_bytes") != 0 {
			t.Errorf("%s, monitored: %+v, failed %t, %v bytes are held", c.name, k.exit, failed, w.metric("monitor_bytes"))
		}
	}
}

func TestReadingEndsWithItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := &scanner{}
		k := chatRequest(t)
		k.onCall = func(method string) {
			if method == "kong.request.get_raw_body" {
				time.Sleep(21 * time.Second) // all that the event has
			}
		}
		k.access(newEngine(w.Process, prisma(), strict(), sc))
		if k.exit == nil || k.exit.status != 503 || k.refusal().Error.Code != "guard_failure" || len(sc.scans) > 0 {
			t.Errorf("%+v, %d scans", k.exit, len(sc.scans))
		}
		if l := k.leg("prisma-airs-intercept", "request"); l["reason"] != "own_fault" {
			t.Errorf("access log %v", k.serialized)
		}
	})
}
