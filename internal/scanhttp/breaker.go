// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"sync"
	"time"
)

const (
	// failuresToOpen is how many failures in a row open a breaker.
	failuresToOpen = 5
	// A breaker stays open for firstOpen, then twice as long each time that the
	// probe fails, at most maxOpen.
	firstOpen = time.Second
	maxOpen   = 15 * time.Second
	// maxThrottled bounds the time that a service may ask us to stay away.
	maxThrottled = 30 * time.Second
	// probeEvery is the distance of probes while nobody knows yet whether
	// the service is back.
	probeEvery = time.Second
)

// An outcome is what one attempt says about the service's health.
type outcome uint8

const (
	healthy   outcome = iota // it answered, whatever it answered
	failed                   // it gave this call no answer, or says that it cannot
	away                     // it cannot be reached: no call would be answered
	throttled                // it asks us to stay away
	unknown                  // nothing, such as that we gave up before we could know
)

// A breaker keeps calls away from a service that is down, so that neither side
// waits in vain. General-purpose breakers have one delay and a real clock. This
// one has a delay that grows or is announced, and takes the time as an
// argument.
//
// What a caller wrote can make a service fail for him alone. So failures in a
// row that are all one caller's open the breaker for him only: the next call of
// another caller shows whether the service is down. And no caller alone can
// keep a breaker open that is open for all: one who probes too much leaves the
// next probe to others, and if his probe fails, only he has to wait longer.
type breaker struct {
	mu       sync.Mutex
	failures int           // in a row, while closed
	until    time.Time     // zero: closed
	delay    time.Duration // of the last opening that was not announced
	probed   time.Time     // when the last probe began, zero if the next may follow
	hint     string        // the setting to look at, by the last failure
	// sole is the caller whose failures keep the breaker open, or may open it,
	// "" while he is not known. forAll says that they are not just his.
	sole   string
	forAll bool
	// While it is open for all, prober made the last probe, and missed says
	// that another caller has asked in vain since. suspect is the caller whose
	// probe failed: he has to wait until later, and the others may find out.
	prober, suspect string
	missed          bool
	later           time.Time
	// epoch counts openings and closings. Attempts that began in an earlier
	// one say nothing about the present.
	epoch uint64
}

// A refusal is why an attempt may not be made.
type refusal struct {
	wait time.Duration // until it may, 0 for now
	sole bool          // it is only this caller who has to wait
}

// acquire asks to make an attempt for a caller, "" if he is not known. A caller
// who insists is not held back for what may be his own doing.
func (b *breaker) acquire(now time.Time, caller string, insists bool) (epoch uint64, no refusal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() || !b.forAll && (caller == "" || caller != b.sole || insists) {
		return b.epoch, refusal{}
	}
	wait := b.until.Sub(now)
	if wait <= 0 {
		if b.forAll && insists && caller != "" && (caller == b.prober || caller == b.suspect) {
			return b.epoch, refusal{}
		}
		wait = b.next(caller).Sub(now)
	}
	if wait > 0 {
		b.missed = b.missed || caller != b.prober
		return b.epoch, refusal{wait: wait, sole: !b.forAll}
	}
	b.probed, b.prober, b.missed = now, caller, false
	return b.epoch, refusal{}
}

// next is when a caller may probe.
func (b *breaker) next(caller string) time.Time {
	at := b.probed.Add(probeEvery)
	if !b.forAll || caller == "" {
		return at
	}
	if caller == b.prober && b.missed {
		at = at.Add(probeEvery)
	}
	if caller == b.suspect && b.later.After(at) {
		at = b.later
	}
	return at
}

// record notes how an attempt of that epoch and caller ended. after is how long
// a throttled attempt was told to wait, 0 if it was not told.
func (b *breaker) record(epoch uint64, now time.Time, caller string, o outcome, after time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if epoch != b.epoch || o == unknown {
		return
	}
	if o == healthy {
		b.failures, b.delay, b.sole, b.forAll = 0, 0, "", false
		b.trust()
		if !b.until.IsZero() {
			b.until = time.Time{}
			b.epoch++
		}
		return
	}
	if b.suspects(now, caller, o) {
		return
	}
	open, others := !b.until.IsZero(), b.accuse(caller, o)
	if o == throttled && after > 0 {
		b.open(now, min(after, maxThrottled))
		return
	}
	if open && !b.forAll && now.Before(b.until) {
		return // he was not held back, and nothing new is known
	}
	b.failures++
	switch {
	case open, o == throttled, others, b.failures >= failuresToOpen:
		b.delay = b.longer()
		b.open(now, b.delay)
	}
}

// suspects reports whether a failed probe says something about its caller only,
// until a probe of another caller fails too.
func (b *breaker) suspects(now time.Time, caller string, o outcome) bool {
	if !b.forAll || b.until.IsZero() || o != failed || caller == "" || b.suspect != "" && caller != b.suspect {
		return false
	}
	if !now.Before(b.later) { // one that began together with another tells no more
		b.delay = b.longer()
		b.suspect, b.later, b.probed = caller, now.Add(b.delay), time.Time{}
		held.Add(1)
	}
	return true
}

func (b *breaker) trust() {
	b.prober, b.suspect, b.missed, b.later = "", "", false, time.Time{}
}

func (b *breaker) longer() time.Duration { return min(max(2*b.delay, firstOpen), maxOpen) }

// accuse notes whose a failure is. It reports whether that opens for all a
// breaker that was open for one. A row of failures is one caller's until there
// is a failure of another caller, or one that no content can provoke. Failures
// whose caller was not known yet are taken for his.
func (b *breaker) accuse(caller string, o outcome) bool {
	was := b.forAll
	switch {
	case o != failed, b.sole != "" && caller != "" && caller != b.sole:
		b.forAll = true
	case b.sole == "":
		b.sole = caller
	}
	return !was && b.forAll && !b.until.IsZero()
}

// isOpen reports whether the breaker is open, and not just for one caller.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forAll && !b.until.IsZero()
}

// isAway reports whether the service is known to be away: the breaker is open,
// not just for one caller, and it is not yet time to find out more.
func (b *breaker) isAway(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forAll && now.Before(b.until)
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
	b.trust()
	b.epoch++
	if b.forAll {
		openings.Add(1)
	} else {
		held.Add(1)
	}
}
