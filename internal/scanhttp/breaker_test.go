// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"net/http/httptest"
	"testing"
	"time"
)

// drive makes one attempt at the time now and records how it went; it tells
// whether the breaker let it through, and if not for how long.
func drive(b *breaker, now time.Time, o outcome, after time.Duration) time.Duration {
	return driveAs(b, now, "a", false, o, after)
}

// driveAs is drive for a caller.
func driveAs(b *breaker, now time.Time, caller string, insists bool, o outcome, after time.Duration) time.Duration {
	epoch, no := b.acquire(now, caller, insists)
	if no.wait == 0 {
		b.record(epoch, now, caller, o, after)
	}
	return no.wait
}

// waits returns how long the caller of drive has to wait.
func waits(b *breaker, now time.Time) time.Duration {
	_, no := b.acquire(now, "a", false)
	return no.wait
}

func TestBreakerOpensAfterFailuresInARow(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range failuresToOpen - 1 {
		drive(&b, now, failed, 0)
	}
	drive(&b, now, healthy, 0)
	for i := range failuresToOpen {
		if wait := drive(&b, now, failed, 0); wait != 0 {
			t.Fatalf("attempt %d after a success had to wait %v", i, wait)
		}
	}
	if wait := drive(&b, now, failed, 0); wait != firstOpen {
		t.Fatalf("wait after %d failures in a row = %v, want %v", failuresToOpen, wait, firstOpen)
	}
}

func TestBreakerDelayGrowsAndStartsAgain(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range failuresToOpen {
		drive(&b, now, failed, 0)
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 15, 15} {
		wait := waits(&b, now)
		if wait != want*time.Second {
			t.Fatalf("open for %v, want %vs", wait, int(want))
		}
		if early := waits(&b, now.Add(wait-1)); early != 1 {
			t.Fatalf("a nanosecond early: wait %v, want 1ns", early)
		}
		now = now.Add(wait)
		if wait := drive(&b, now, failed, 0); wait != 0 {
			t.Fatalf("the probe had to wait %v", wait)
		}
	}
	now = now.Add(maxOpen)
	if wait := drive(&b, now, healthy, 0); wait != 0 {
		t.Fatalf("the probe had to wait %v", wait)
	}
	for i := range failuresToOpen {
		if wait := drive(&b, now, failed, 0); wait != 0 {
			t.Fatalf("attempt %d after recovery had to wait %v", i, wait)
		}
	}
	if wait := waits(&b, now); wait != firstOpen {
		t.Fatalf("the first opening after recovery lasts %v, want %v", wait, firstOpen)
	}
}

func TestBreakerLetsOneProbeThroughEachSecond(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range failuresToOpen {
		drive(&b, now, failed, 0)
	}
	now = now.Add(firstOpen)
	// Probes that hang: each second one more may try.
	for range 3 {
		if wait := waits(&b, now); wait != 0 {
			t.Fatalf("the probe had to wait %v", wait)
		}
		if wait := waits(&b, now); wait != probeEvery {
			t.Fatalf("the second attempt waits %v, want %v", wait, probeEvery)
		}
		now = now.Add(probeEvery)
	}
}

func TestBreakerThrottled(t *testing.T) {
	for _, tc := range []struct {
		name        string
		after, want time.Duration
	}{
		{"announced", 7 * time.Second, 7 * time.Second},
		{"announced for longer than we stay away", 5 * time.Minute, maxThrottled},
		{"not announced", 0, firstOpen},
	} {
		var b breaker
		now := time.Unix(1000, 0)
		drive(&b, now, throttled, tc.after)
		if wait := waits(&b, now); wait != tc.want {
			t.Errorf("%s: wait %v, want %v", tc.name, wait, tc.want)
		}
	}
}

func TestBreakerIgnoresWhatBeganBeforeItOpened(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	slow, _ := b.acquire(now, "a", false)
	for range failuresToOpen {
		drive(&b, now, failed, 0)
	}
	b.record(slow, now, "a", healthy, 0)
	if wait := waits(&b, now); wait != firstOpen {
		t.Fatalf("an old success closed the breaker: wait %v", wait)
	}
	b.record(slow, now, "a", throttled, maxThrottled)
	if wait := waits(&b, now); wait != firstOpen {
		t.Fatalf("an old refusal moved the breaker: wait %v", wait)
	}
}

func TestBreakerIgnoresCallersWhoGaveUp(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range 10 * failuresToOpen {
		if wait := drive(&b, now, unknown, 0); wait != 0 {
			t.Fatalf("the breaker opened: wait %v", wait)
		}
	}
}

// While the breaker is open, operators still read which setting to look at.
func TestOpenBreakerNamesTheSetting(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	c, err := For(Options{SSLVerify: true, EndpointField: "api_endpoint", Account: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range failuresToOpen + 1 {
		_, err := c.Post(t.Context(), Request{URL: gone.URL})
		f := failure(t, err)
		if f.Hint != "api_endpoint" || (f.Reason == ReasonBreakerOpen) != (i == failuresToOpen) {
			t.Errorf("attempt %d: %+v", i, *f)
		}
	}
}
