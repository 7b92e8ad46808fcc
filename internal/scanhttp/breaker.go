// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"sync"
	"time"
)

const (
	// failuresToOpen is how many failures in a row open a breaker.
	failuresToOpen = 5
	// A breaker stays open for firstOpen, twice as long each time that the
	// probe fails, at most maxOpen.
	firstOpen = time.Second
	maxOpen   = 15 * time.Second
	// maxThrottled bounds the time that a service may ask us to stay away.
	maxThrottled = 30 * time.Second
	// probeEvery is the distance of probes while nobody knows yet whether
	// the service is back.
	probeEvery = time.Second
)

// An outcome is what one attempt tells about the service's health.
type outcome uint8

const (
	healthy   outcome = iota // it answered, whatever it answered
	failed                   // it did not, or says that it cannot
	throttled                // it asks us to stay away
	unknown                  // we gave up before we could know
)

// A breaker keeps calls away from a service that is down, so that neither
// side waits for nothing. The general-purpose breakers have one delay and a
// real clock; this one has a delay that grows or is announced, and takes the
// time as an argument.
type breaker struct {
	mu       sync.Mutex
	failures int           // in a row, while closed
	until    time.Time     // zero: closed
	delay    time.Duration // of the last opening that was not announced
	probed   time.Time     // when the last probe began
	hint     string        // the setting to look at, by the last failure
	// epoch counts openings and closings. Attempts that began in an earlier
	// one say nothing about the present.
	epoch uint64
}

// acquire asks to make an attempt. A wait above 0 means no, for that long.
func (b *breaker) acquire(now time.Time) (epoch uint64, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return b.epoch, 0
	}
	if wait := b.until.Sub(now); wait > 0 {
		return b.epoch, wait
	}
	if wait := b.probed.Add(probeEvery).Sub(now); wait > 0 {
		return b.epoch, wait
	}
	b.probed = now
	return b.epoch, 0
}

// record tells how an attempt of that epoch ended. after is how long a
// throttled attempt was told to wait, 0 if it was not told.
func (b *breaker) record(epoch uint64, now time.Time, o outcome, after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if epoch != b.epoch || o == unknown {
		return
	}
	switch {
	case o == healthy:
		b.failures, b.delay = 0, 0
		if !b.until.IsZero() {
			b.until = time.Time{}
			b.epoch++
		}
	case o == throttled && after > 0:
		b.open(now, min(after, maxThrottled))
	default:
		b.failures++
		if o == throttled || !b.until.IsZero() || b.failures >= failuresToOpen {
			b.delay = min(max(2*b.delay, firstOpen), maxOpen)
			b.open(now, b.delay)
		}
	}
}

// blame remembers which setting the last failure was about.
func (b *breaker) blame(hint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hint = hint
}

// blamed is that setting, "" for none.
func (b *breaker) blamed() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hint
}

func (b *breaker) open(now time.Time, d time.Duration) {
	b.failures = 0
	b.until = now.Add(d)
	b.epoch++
	openings.Add(1)
}
