// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// claimer listens to the member "guardrails" and the header X-Claim.
type claimer struct{ *scanner }

func (claimer) ClaimMember() string { return "guardrails" }

func (claimer) Claim(member []byte, header http.Header) string {
	if s := gjson.GetBytes(member, "claim").Str; s != "" {
		return s
	}
	return header.Get("X-Claim")
}

const (
	claiming    = `{"model":"gpt-4o","guardrails":{"claim":"from the body"},"messages":[{"role":"user","content":"what is the capital of France?"}]}`
	withoutThat = `{"model":"gpt-4o","messages":[{"role":"user","content":"what is the capital of France?"}]}`
)

// What the client says for the scanner is known on both legs, in every mode,
// however much of the exchange is looked at. The request changes only in
// enforce mode.
func TestClaims(t *testing.T) {
	all := []policy.Mode{policy.Enforce, policy.Monitor, policy.Off}
	for _, request := range all {
		for _, response := range all {
			for _, by := range transports {
				t.Run(by.name+"/"+string(request)+" and "+string(response), func(t *testing.T) {
					w := newWorld(t)
					sc := &scanner{}
					k := chatRequest(t).set("x-claim", "from the header")
					k.body = claiming
					by.run(w, k, newEngine(w.Process, noma(), modes(request, response), claimer{sc}))
					w.Flush(context.Background())
					switch {
					case request == policy.Enforce && (k.upstreamBody == nil || *k.upstreamBody != withoutThat):
						t.Errorf("the upstream got %v", k.upstreamBody)
					case request != policy.Enforce && k.upstreamBody != nil:
						t.Errorf("the request was changed: %s", *k.upstreamBody)
					}
					want := "from the body"
					if request == policy.Off {
						want = "from the header"
					}
					for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
						for _, s := range sc.seen(leg) {
							if s.Claim != want && (leg == llm.RequestLeg || request != policy.Off || response != policy.Monitor) {
								t.Errorf("%s: claim %q, want %q", leg, s.Claim, want)
							}
							if strings.Contains(s.Turns[len(s.Turns)-1].Text, "claim") {
								t.Errorf("%s: scanned %+v", leg, s.Turns)
							}
						}
					}
				})
			}
		}
	}
}

func TestClaimBesideAMask(t *testing.T) {
	w := newWorld(t)
	v := noma()
	v.Masks = true
	k := chatRequest(t).set("content-md5", "x")
	k.body = claiming
	k.run(newEngine(w.Process, v, strict(), claimer{&scanner{request: maskAll}}))
	if want := `{"model":"gpt-4o","messages":[{"role":"user","content":"***"}]}`; k.upstreamBody == nil || *k.upstreamBody != want {
		t.Errorf("the upstream got %v", k.upstreamBody)
	}
	if !contains(k.clearedRequest, "content-md5") {
		t.Errorf("cleared %v", k.clearedRequest)
	}
}

// What passes without a verdict goes on without the member too.
func TestClaimOfAnUnscannedRequest(t *testing.T) {
	for _, by := range transports {
		w := newWorld(t)
		s := strict()
		s.BlockFailures = false
		k := chatRequest(t)
		k.body = claiming
		by.run(w, k, newEngine(w.Process, noma(), s, claimer{&scanner{request: fails(refused())}}))
		if k.upstreamBody == nil || *k.upstreamBody != withoutThat {
			t.Errorf("%s: the upstream got %v", by.name, k.upstreamBody)
		}
	}
}

// A scanner that listens to nothing has the body left alone.
func TestNoClaimer(t *testing.T) {
	for _, by := range transports {
		w := newWorld(t)
		k := chatRequest(t)
		k.body = claiming
		by.run(w, k, newEngine(w.Process, noma(), strict(), &scanner{}))
		if k.upstreamBody != nil || k.exit != nil {
			t.Errorf("%s: the upstream got %v", by.name, k.upstreamBody)
		}
	}
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
		e := newEngine(w.Process, noma(), inFive(strict()), sc)
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
		k.access(newEngine(w.Process, prisma(), inFive(strict()), sc))
		if k.exit == nil || k.exit.status != 503 || k.refusal().Error.Code != "guard_failure" || len(sc.scans) > 0 {
			t.Errorf("%+v, %d scans", k.exit, len(sc.scans))
		}
		if l := k.leg("prisma-airs-intercept", "request"); l["reason"] != "own_fault" {
			t.Errorf("access log %v", k.serialized)
		}
	})
}
