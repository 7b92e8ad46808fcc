// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"net/http"
	"sync/atomic"
)

// A Result is what became of one attempt to call a service.
type Result uint8

// The results.
const (
	Answered   Result = iota // status 200
	Throttled                // status 429
	Refused                  // any other status below 500
	Failed                   // status 500 and above
	Unanswered               // no answer: network, TLS, timeout
	HeldBack                 // not made: the breaker is open

	results
)

// String returns the result as it stands in metrics.
func (r Result) String() string {
	return [results]string{"answered", "throttled", "refused", "failed", "unanswered", "held_back"}[r]
}

// Results lists them all.
func Results() []Result {
	return []Result{Answered, Throttled, Refused, Failed, Unanswered, HeldBack}
}

var (
	attempts [results]atomic.Int64
	openings atomic.Int64
	held     atomic.Int64
)

// Attempts returns how many attempts of the process ended so.
func Attempts(r Result) int64 { return attempts[r].Load() }

// Openings returns how often a breaker of the process has opened.
func Openings() int64 { return openings.Load() }

// Holds returns how often a breaker has opened for a single caller.
func Holds() int64 { return held.Load() }

// Breakers returns how many breakers the process has, one for each host and
// account, and how many of them let nothing through now but a probe.
func Breakers() (all, open int) {
	registry.Lock()
	defer registry.Unlock()
	for _, c := range registry.clients {
		c.mu.RLock()
		for _, b := range c.hosts {
			all++
			if b.isOpen() {
				open++
			}
		}
		c.mu.RUnlock()
	}
	return all, open
}

func resultOf(status int) Result {
	switch {
	case status == http.StatusOK:
		return Answered
	case status == http.StatusTooManyRequests:
		return Throttled
	case status >= http.StatusInternalServerError:
		return Failed
	}
	return Refused
}
