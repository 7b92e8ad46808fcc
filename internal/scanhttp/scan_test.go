// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// A row of attempts by callers, and who may call then: mallory, who wrote the
// first, alice, one who is not known, and mallory when he insists.
func TestBreakerTellsCallersApart(t *testing.T) {
	const (
		none = iota
		forMallory
		forAll
	)
	type attempt struct {
		caller string
		o      outcome
	}
	row := func(n int, a attempt) (list []attempt) {
		for range n {
			list = append(list, a)
		}
		return list
	}
	then := func(list []attempt, more ...attempt) []attempt { return append(list, more...) }
	his, hers := attempt{"mallory", failed}, attempt{"alice", failed}
	for _, c := range []struct {
		name string
		row  []attempt
		open int
	}{
		{"four of his", row(4, his), none},
		{"five of his", row(5, his), forMallory},
		{"a success of hers between", then(row(4, his), attempt{"alice", healthy}, his), none},
		{"hers among them", then(row(4, his), hers), forAll},
		{"hers afterwards", then(row(5, his), hers), forAll},
		{"a success of hers afterwards", then(row(5, his), attempt{"alice", healthy}), none},
		{"five of nobody", row(5, attempt{"", failed}), none},
		{"of nobody, then his", then(row(5, attempt{"", failed}), his), forMallory},
		{"his first, unknown", then([]attempt{{"", failed}}, row(4, his)...), forMallory},
		{"unknown among his", then(row(3, his), attempt{"", failed}, his), forMallory},
		{"nobody can reach it", row(5, attempt{"mallory", away}), forAll},
		{"he failed, and then it could not be reached", then(row(4, his), attempt{"mallory", away}), forAll},
		{"open for him, and then it could not be reached", then(row(5, his), attempt{"alice", away}), forAll},
		{"it is throttled", []attempt{{"mallory", throttled}}, forAll},
		{"nothing was learned", row(10, attempt{"mallory", unknown}), none},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b breaker
			now := time.Unix(1000, 0)
			for i, a := range c.row {
				if wait := driveAs(&b, now, a.caller, false, a.o, 0); wait != 0 {
					t.Fatalf("attempt %d had to wait %v", i, wait)
				}
			}
			held := func(caller string, insists bool) bool {
				_, no := b.acquire(now, caller, insists)
				if no.wait > 0 && no.sole != (c.open == forMallory) {
					t.Errorf("%q is told %+v", caller, no)
				}
				return no.wait > 0
			}
			if got := held("mallory", false); got != (c.open != none) {
				t.Errorf("mallory is held back: %v", got)
			}
			for _, other := range []string{"alice", ""} {
				if got := held(other, false); got != (c.open == forAll) {
					t.Errorf("%q is held back: %v", other, got)
				}
			}
			if got := held("mallory", true); got != (c.open == forAll) {
				t.Errorf("mallory, who insists, is held back: %v", got)
			}
			if got := b.isAway(now); got != (c.open == forAll) {
				t.Errorf("away: %v", got)
			}
		})
	}
}

// Whoever is held back alone has a probe a second like everybody, and the
// time grows as ever; who insists does not make it grow.
func TestBreakerForOneCallerProbes(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range failuresToOpen {
		drive(&b, now, failed, 0)
	}
	for range 20 {
		if wait := driveAs(&b, now, "a", true, failed, 0); wait != 0 {
			t.Fatalf("who insists has to wait %v", wait)
		}
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 15, 15} {
		if wait := waits(&b, now); wait != want*time.Second {
			t.Fatalf("held back for %v, want %vs", wait, int(want))
		}
		now = now.Add(want * time.Second)
		if wait := drive(&b, now, failed, 0); wait != 0 {
			t.Fatalf("the probe had to wait %v", wait)
		}
	}
	now = now.Add(maxOpen)
	if drive(&b, now, healthy, 0) != 0 || waits(&b, now) != 0 {
		t.Error("a probe that succeeds does not end it")
	}
}

// TestWhatCounts makes ten scans of one caller against a service that does the
// same to each, and looks who may call then.
func TestWhatCounts(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(n)
		}
	}
	reset := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
	}
	flood := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 3<<20))
	}
	for _, c := range []struct {
		name     string
		does     http.HandlerFunc
		size     int
		calls    int
		late     bool
		reason   string // of mallory's failures, before he is held back
		held     bool   // mallory, in the end
		all      bool   // everybody
		provoked bool
	}{
		{name: "small hangs", does: hang, size: 100, calls: 1, reason: ReasonTimeout, held: true},
		{name: "large hangs", does: hang, size: 1 << 20, calls: 1, reason: ReasonLargeScan, provoked: true},
		{name: "pieces hang", does: hang, size: 100, calls: 5, reason: ReasonLargeScan, provoked: true},
		{name: "late hangs", does: hang, size: 100, calls: 1, late: true, reason: ReasonLateScan, provoked: true},
		{name: "small fails", does: status(500), size: 100, calls: 1, reason: "status 500", held: true},
		{name: "large fails", does: status(500), size: 1 << 20, calls: 1, reason: "status 500", held: true},
		{name: "large takes a gateway too long", does: status(504), size: 1 << 20, calls: 1, reason: "status 504", provoked: true},
		{name: "small resets", does: reset, size: 100, calls: 1, reason: ReasonReset, held: true},
		{name: "large resets", does: reset, size: 1 << 20, calls: 1, reason: ReasonReset, provoked: true},
		{name: "refused", does: status(403), size: 100, calls: 1, reason: "status 403"},
		{name: "too large", does: status(413), size: 1 << 20, calls: 1, reason: "status 413"},
		{name: "a redirect", does: status(302), size: 100, calls: 1, reason: "status 302"},
		{name: "an answer without end", does: flood, size: 100, calls: 1, reason: ReasonAnswerTooLarge},
		{name: "throttled", does: status(429), size: 100, calls: 1, reason: "status 429", held: true, all: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			onPipes(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Good") == "" {
					c.does(w, r)
				}
			}, nil, func(t *testing.T, client *Client) {
				post := func(sc *scan.Scan, calls int, r Request) error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					r.URL, r.Scan = serviceURL, NewScan(sc, calls)
					_, err := client.Post(ctx, r)
					return err
				}
				mallory := func(insists bool) *scan.Failure {
					return failure(t, post(&scan.Scan{Caller: "mallory", Late: c.late, FailsOpen: insists}, c.calls, Request{Body: make([]byte, c.size)}))
				}
				for i := range 10 {
					f := mallory(false)
					if f.Reason == ReasonCallerHeld && i >= failuresToOpen && c.held && !c.all || f.Reason == ReasonBreakerOpen && i > 0 && c.all {
						continue
					}
					if f.Reason != c.reason || f.Provoked != c.provoked {
						t.Fatalf("scan %d: %+v", i, *f)
					}
				}
				if f := mallory(true); !c.all && f.Reason != c.reason {
					t.Errorf("who insists gets %+v", *f)
				}
				err := post(&scan.Scan{Caller: "alice"}, 1, Request{Header: http.Header{"X-Good": {"yes"}}})
				if (err != nil) != c.all {
					t.Errorf("alice gets %v", err)
				}
				if c.all || !c.held {
					return
				}
				// It works for her, so it may work for him.
				if f := mallory(false); f.Reason != c.reason {
					t.Errorf("afterwards mallory gets %+v", *f)
				}
			})
		})
	}
}

// The calls of one scan count once, however many fail and however often they
// are repeated, and what begins after its end is not made.
func TestAScanCountsOnce(t *testing.T) {
	var calls atomic.Int32
	onPipes(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		calls.Add(1)
		w.WriteHeader(503)
	}, nil, func(t *testing.T, c *Client) {
		for i := range failuresToOpen - 1 {
			sc := NewScan(&scan.Scan{Caller: "mallory"}, 16)
			for range 16 {
				_, err := c.Post(t.Context(), Request{URL: serviceURL, Scan: sc, MaxRetries: 1})
				if f := failure(t, err); f.Reason != "status 503" {
					t.Fatalf("scan %d: %+v", i, *f)
				}
			}
		}
		over, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		before := calls.Load()
		for range 2 * failuresToOpen {
			_, err := c.Post(over, Request{URL: serviceURL, Scan: NewScan(&scan.Scan{Caller: "mallory"}, 2)})
			if f := failure(t, err); f.Reason != ReasonLargeScan || !f.Provoked {
				t.Fatalf("too late: %+v", *f)
			}
		}
		if calls.Load() != before {
			t.Error("calls were made after the end")
		}
		_, err := c.Post(t.Context(), Request{URL: serviceURL, Scan: NewScan(&scan.Scan{Caller: "mallory"}, 1)})
		if f := failure(t, err); f.Reason != "status 503" {
			t.Errorf("the fifth scan: %+v", *f)
		}
		_, err = c.Post(t.Context(), Request{URL: serviceURL, Scan: NewScan(&scan.Scan{Caller: "mallory"}, 1)})
		if f := failure(t, err); f.Reason != ReasonCallerHeld {
			t.Errorf("the sixth scan: %+v", *f)
		}
	})
}

// While the service is known to be away, a large scan's timeout is no
// caller's doing. When the time is over and it probes, it may be.
func TestALargeScanWhileTheServiceIsAway(t *testing.T) {
	onPipes(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}, nil, func(t *testing.T, c *Client) {
		post := func(caller string, size int) *scan.Failure {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Post(ctx, Request{URL: serviceURL, Body: make([]byte, size), Scan: NewScan(&scan.Scan{Caller: caller, FailsOpen: true}, 1)})
			return failure(t, err)
		}
		for _, caller := range []string{"alice", "bob", "alice", "bob", "alice"} {
			post(caller, 100)
		}
		if f := post("mallory", 1<<20); f.Reason != ReasonBreakerOpen || f.Provoked {
			t.Errorf("%+v", *f)
		}
		time.Sleep(maxOpen)
		if f := post("mallory", 1<<20); f.Reason != ReasonLargeScan || !f.Provoked {
			t.Errorf("the probe: %+v", *f)
		}
		synctest.Wait()
	})
}

// Services repeat what they judged, so a long text has a long answer.
func TestAnswersMayBeAsLongAsWhatWasSent(t *testing.T) {
	const sent = 3 << 20
	for more, ok := range map[int]bool{maxAnswer: true, maxAnswer + 1: false} {
		onPipes(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
			_, _ = io.WriteString(w, strings.Repeat("x", more))
		}, nil, func(t *testing.T, c *Client) {
			resp, err := c.Post(t.Context(), Request{URL: serviceURL, Body: make([]byte, sent)})
			if ok && (err != nil || len(resp.Body) != sent+more) || !ok && failure(t, err).Reason != ReasonAnswerTooLarge {
				t.Errorf("%d more: read %d, %v", more, len(resp.Body), err)
			}
		})
	}
}

// Mallory sends a hundred times as much as alice. The service was away for a
// moment and is well again, but for what mallory writes: his probes must not
// keep it away from her.
func TestFailedProbesOfOneCallerHoldOnlyHim(t *testing.T) {
	for name, his := range map[string]outcome{"his probes fail": failed, "his probes tell nothing": unknown} {
		t.Run(name, func(t *testing.T) {
			var b breaker
			now := time.Unix(1000, 0)
			for range failuresToOpen {
				driveAs(&b, now, "alice", false, away, 0)
			}
			const tick = 10 * time.Millisecond
			for i := range 1000 {
				now = now.Add(tick)
				driveAs(&b, now, "mallory", false, his, 0)
				if i%100 == 99 && driveAs(&b, now, "alice", false, healthy, 0) == 0 {
					if took := now.Sub(time.Unix(1000, 0)); took > 2*time.Second {
						t.Errorf("she was held back for %v", took)
					}
					return
				}
			}
			t.Error("she was held back for ever")
		})
	}
}

// Of two callers whose probes failed, neither is alone: the breaker is open for
// all again, for longer.
func TestFailedProbesOfTwoCallersHoldAll(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range failuresToOpen {
		driveAs(&b, now, "alice", false, away, 0)
	}
	now = now.Add(firstOpen)
	for _, caller := range []string{"mallory", "alice"} {
		if wait := driveAs(&b, now, caller, false, failed, 0); wait != 0 {
			t.Fatalf("the probe of %s had to wait %v", caller, wait)
		}
	}
	for _, caller := range []string{"mallory", "alice", "bob", ""} {
		if _, no := b.acquire(now, caller, true); no.wait != 4*firstOpen || no.sole {
			t.Errorf("%q is told %+v", caller, no)
		}
	}
}

// Where a leg passes while the service is away, nobody can keep it away for
// himself: once the time is over, who has probed is tried again and again.
func TestWhoProbesDoesNotPass(t *testing.T) {
	for name, his := range map[string]outcome{"his probes fail": failed, "his probes tell nothing": unknown} {
		t.Run(name, func(t *testing.T) {
			var b breaker
			now := time.Unix(1000, 0)
			for range failuresToOpen {
				driveAs(&b, now, "alice", false, away, 0)
			}
			if driveAs(&b, now, "mallory", true, his, 0) == 0 {
				t.Fatal("he was tried while the service was away")
			}
			now = now.Add(firstOpen)
			for range 100 {
				if wait := driveAs(&b, now, "mallory", true, his, 0); wait != 0 {
					t.Fatalf("he is held back for %v, and passes", wait)
				}
				now = now.Add(100 * time.Millisecond)
			}
		})
	}
}
