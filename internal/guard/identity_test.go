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

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

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

func TestOnlyAVerifiedTokenIsGiven(t *testing.T) {
	const token = "h.p.s"
	for _, tc := range []struct {
		name          string
		authorization []string
		verified      any
		want          string
	}{
		{"verified", []string{"Bearer " + token}, token, token},
		{"another case", []string{"bearer  " + token}, token, token},
		{"nobody verified it", []string{"Bearer " + token}, nil, ""},
		{"another one was verified", []string{"Bearer " + token}, "x.y.z", ""},
		{"no token, none verified", nil, "", ""},
		{"verified from elsewhere", nil, token, ""},
		{"another scheme", []string{"Basic " + token}, token, ""},
		{"two headers", []string{"Bearer " + token, "Bearer forged"}, token, ""},
		{"no text", []string{"Bearer true"}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := prisma()
			v.Needs.Token = true
			s := &scanner{}
			k := chatRequest(t)
			k.shared["authenticated_jwt_token"] = tc.verified
			for _, a := range tc.authorization {
				k.headers = append(k.headers, [2]string{"authorization", a})
			}
			k.run(newEngine(newWorld(t).Process, v, strict(), s))
			for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
				if scans := s.seen(leg); len(scans) != 1 || scans[0].Token != tc.want {
					t.Errorf("%v: %+v", leg, scans)
				}
			}
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		k := chatRequest(t).run(newEngine(newWorld(t).Process, prisma(), strict(), &scanner{}))
		if n := k.count("kong.ctx.shared.get"); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

const (
	askConsumer = "kong.client.get_consumer"
	askAddress  = "kong.client.get_forwarded_ip"
)

// from is a chat of a consumer's, or of an address without one.
func from(t testing.TB, n int, consumer, address string) *fakeKong {
	k := chatRequest(t)
	k.requestID = fmt.Sprint(consumer, address, n)
	k.consumer = scan.Consumer{ID: consumer}
	k.clientIP = address
	return k
}

// One caller floods the scans and the memory. Another one's request is judged
// meanwhile without a wait, by both plugins, for consumers and for addresses.
func TestOneCallerCannotTakeAll(t *testing.T) {
	long := `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", 4000) + `"}]}`
	for _, c := range []struct {
		name, body            string
		vendor                vendor
		change                func(*guard.Bounds)
		consumer, other       string
		address, otherAddress string
		resource              string
	}{
		{name: "scans by consumer", vendor: noma(), consumer: "mallory", other: "alice", resource: "scans"},
		{name: "scans by consumer who is not asked for", vendor: prisma(), consumer: "mallory", other: "alice", resource: "scans"},
		{name: "scans by address", vendor: prisma(), address: "10.0.0.1", otherAddress: "10.0.0.2", resource: "scans"},
		{name: "memory for work", vendor: prisma(), consumer: "mallory", other: "alice", body: long, change: func(b *guard.Bounds) { b.HeldBytes = 600 << 10 }, resource: "work"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(b *guard.Bounds) {
					b.Scans = 16
					if c.change != nil {
						c.change(b)
					}
				})
				e := newEngine(w.Process, c.vendor, strict(), &scanner{request: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
					if strings.HasPrefix(s.RequestID, "mallory") || strings.HasPrefix(s.RequestID, "10.0.0.1") {
						time.Sleep(4 * time.Second)
					}
					return scan.Verdict{Action: scan.Allow}, nil
				}})
				var flood sync.WaitGroup
				for i := range 300 {
					k := from(t, i, c.consumer, c.address)
					if c.body != "" {
						k.body = c.body
					}
					flood.Go(func() { k.access(e) })
					if i < 32 {
						synctest.Wait() // they come one after the other, if fast
					}
				}
				synctest.Wait()
				for i := range 3 {
					good := from(t, i, c.other, c.otherAddress)
					if c.body != "" {
						good.body = c.body
					}
					start := time.Now()
					if good.access(e); good.exit != nil || time.Since(start) != 0 {
						t.Errorf("waited %s: %+v", time.Since(start), good.exit)
					}
				}
				if n := w.metric("scans_running"); c.resource == "scans" && n > 14 { // some came before anybody asked whose they are
					t.Errorf("the flood has %v scans", n)
				}
				flood.Wait()
				if w.metric("share_limited_total", c.resource, "waited") == 0 || w.metric("share_limited_total", c.resource, "refused") == 0 {
					t.Error("nothing is counted")
				}
				if w.metric("held_bytes") != 0 || w.metric("scans_running") != 0 {
					t.Error("something is held still")
				}
			})
		})
	}
}

// Who the caller is costs two calls, and they are made only while it matters.
func TestCallersAreAskedForUnderPressureOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.Scans = 2 })
		release := make(chan struct{})
		sc := &scanner{request: func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
			if s.RequestID == "slow0" || s.RequestID == "slow1" {
				<-release
			}
			return scan.Verdict{Action: scan.Allow}, nil
		}}
		e := newEngine(w.Process, prisma(), strict(), sc)
		asked := func(k *fakeKong) bool { return k.count(askConsumer)+k.count(askAddress) > 0 }
		calm := from(t, 0, "calm", "")
		if calm.run(e); asked(calm) || calm.owner != "" {
			t.Error("asked without a reason")
		}
		var wg sync.WaitGroup
		slow := []*fakeKong{from(t, 0, "slow", ""), from(t, 1, "slow", "")}
		slow[1].consumer.ID = "other"
		for _, k := range slow {
			wg.Go(func() { k.access(e) })
			synctest.Wait()
		}
		tight := from(t, 0, "tight", "")
		wg.Go(func() { tight.access(e) })
		synctest.Wait()
		close(release)
		wg.Wait()
		if !asked(tight) || tight.owner != "consumer tight" {
			t.Errorf("asked: %v, %q", tight.calls, tight.owner)
		}
		calls := len(tight.calls)
		if tight.respond(e); tight.exit != nil || tight.owner != "consumer tight" {
			t.Errorf("%+v", tight.exit)
		}
		for _, m := range tight.calls[calls:] {
			if m == askConsumer || m == askAddress {
				t.Error("asked again for what the request had shown")
			}
		}
		for _, sc := range sc.seen(llm.ResponseLeg) {
			if sc.RequestID == "tight0" && sc.Caller != "consumer tight" {
				t.Errorf("the answer's scan is %q's", sc.Caller)
			}
		}
	})
}

// After a failed scan callers are told apart for a minute, for the breaker's
// sake.
func TestCallersAreAskedForAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fail := true
		sc := &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			if fail {
				return scan.Verdict{}, &scan.Failure{Kind: scan.Unavailable, Reason: "status 500"}
			}
			return scan.Verdict{Action: scan.Allow}, nil
		}}
		e := newEngine(w.Process, prisma(), strict(), sc)
		from(t, 0, "", "10.0.0.1").access(e)
		fail = false
		from(t, 0, "", "10.0.0.2").access(e)
		broken := from(t, 0, "", "10.0.0.3")
		broken.replyErr = map[string]error{askConsumer: context.Canceled}
		if broken.access(e); broken.exit != nil {
			t.Errorf("a caller who cannot be told is answered with %+v", broken.exit)
		}
		time.Sleep(time.Minute)
		from(t, 0, "", "10.0.0.4").access(e)
		var callers []string
		for _, s := range sc.seen(llm.RequestLeg) {
			callers = append(callers, s.Caller)
		}
		if got := strings.Join(callers, ", "); got != ", address 10.0.0.2, , " {
			t.Errorf("callers %q", got)
		}
		for _, s := range sc.seen(llm.RequestLeg) {
			if s.Identity != (scan.Identity{Service: "llm"}) {
				t.Errorf("the scan is told %+v", s.Identity)
			}
		}
	})
}

// With block_failures=false a failure passes, but not one that the caller has
// brought about himself, and not a wait that he may have caused.
func TestProvokedFailuresNeverPass(t *testing.T) {
	open := inFive(strict())
	open.BlockFailures, open.BlockFailuresResponse = false, false
	for _, provoked := range []bool{false, true} {
		for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
			sc := &scanner{}
			f := fails(&scan.Failure{Kind: scan.Unavailable, Reason: "timeout of a large scan", Provoked: provoked})
			if leg == llm.RequestLeg {
				sc.request = f
			} else {
				sc.response = f
			}
			k := chatRequest(t).run(newEngine(newWorld(t).Process, prisma(), open, sc))
			if (k.exit != nil) != provoked || provoked && (k.exit.status != 503 || k.refusal().Error.Code != "scan_unavailable" || k.exit.header.Get("Retry-After") == "") {
				t.Errorf("%s, provoked %v: %+v", leg, provoked, k.exit)
			}
			for _, s := range sc.seen(leg) {
				if !s.FailsOpen {
					t.Error("the scan is not told that it fails open")
				}
			}
		}
	}
	if scan.Strictest([]error{&scan.Failure{}, &scan.Failure{Provoked: true, Reason: "worst"}, &scan.Failure{}}).Error() != "worst" {
		t.Error("a piece that may pass decides over one that may not")
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.Scans = 1 })
		late := false
		e := newEngine(w.Process, prisma(), open, &scanner{request: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
			switch s.RequestID {
			case "a0":
				time.Sleep(10 * time.Second) // longer than a scan may take
			case "c0":
				late = s.Late
			}
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		var wg sync.WaitGroup
		wg.Go(func() { from(t, 0, "a", "").access(e) })
		synctest.Wait()
		waiter := from(t, 0, "b", "")
		if waiter.access(e); waiter.exit == nil || waiter.exit.status != 503 {
			t.Errorf("a scan that never began passed: %+v", waiter.exit)
		}
		time.Sleep(time.Second)
		if from(t, 0, "c", "").access(e); !late {
			t.Error("a scan that began after 4 of its 5 seconds is not called late")
		}
		wg.Wait()
	})
}

// A monitored flood leaves others their place in the queue.
func TestMonitorQueueIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.MonitorItems, b.MonitorWorkers = 16, 1 })
		e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			time.Sleep(time.Second)
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		for i := range 100 {
			from(t, i, "mallory", "").access(e)
		}
		dropped := w.metric("monitor_jobs_total", "dropped")
		if from(t, 0, "alice", "").access(e); dropped != 88 || w.metric("monitor_jobs_total", "dropped") != dropped || w.metric("share_limited_total", "monitor_items", "refused") != 88 {
			t.Errorf("%v dropped before, %v after", dropped, w.metric("monitor_jobs_total", "dropped"))
		}
		time.Sleep(time.Minute)
	})
}

// A caller has one name, whichever parts of it a scan needs: an address must
// not make a second caller of a consumer.
func TestACallerHasOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := &scan.Failure{Kind: scan.Unavailable, Reason: "status 500"}
		for _, needs := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
			w := newWorld(t)
			sc := &scanner{request: fails(fail)}
			v := prisma()
			v.Needs.Consumer, v.Needs.ClientIP = needs[0], needs[1]
			e := newEngine(w.Process, v, strict(), sc)
			for range 3 {
				from(t, 0, "mallory", "10.0.0.1").access(e)
			}
			for i, s := range sc.seen(llm.RequestLeg) {
				if s.Caller != "consumer mallory" && (i > 0 || s.Caller != "") {
					t.Errorf("%v: scan %d is %q's", needs, i, s.Caller)
				}
			}
			anonymous := from(t, 0, "", "10.0.0.1")
			anonymous.access(e)
			if scans := sc.seen(llm.RequestLeg); scans[len(scans)-1].Caller != "address 10.0.0.1" {
				t.Errorf("%v: one without a consumer is %q", needs, scans[len(scans)-1].Caller)
			}
		}
	})
}
