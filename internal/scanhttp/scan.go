// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"sync/atomic"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// largeCall is the payload from which a call counts as large, in bytes. The
// time of a scan grows with its text. 64 KiB are about 16,000 tokens: a service
// that has no time for those is in trouble. One that has none for 2 MB may be
// well.
const largeCall = 64 << 10

// A Scan is what the calls for the scan of one leg have in common. What its
// caller wrote decides how they go, so its failures count once, and for that
// caller.
type Scan struct {
	caller string
	// insists says that the leg passes when there is no verdict. Such a scan is
	// tried although its caller is held back. Otherwise a caller could get
	// himself held back and send what he likes.
	insists bool
	calls   int
	// late says that waiting took most of the scan's time.
	late    bool
	counted atomic.Bool
}

// NewScan describes the calls that follow for s. calls is their number if no
// failure needs another one.
func NewScan(s *scan.Scan, calls int) *Scan {
	return &Scan{caller: s.Caller, insists: s.FailsOpen, late: s.Late, calls: calls}
}

// explains reports whether the scan itself explains that nothing came back in
// time for a call of this size in bytes.
func (s *Scan) explains(size int) bool {
	return s != nil && (s.calls > 1 || size > largeCall || s.late)
}

func (s *Scan) reason(size int) string {
	if s.calls > 1 || size > largeCall {
		return ReasonLargeScan
	}
	return ReasonLateScan
}

// counts returns what an attempt of the scan tells the breaker. A failure that
// the scan explains says nothing, and of several only the first one counts. A
// failed call for no scan at all says as much as if nobody could be reached,
// since no caller wrote it.
func (s *Scan) counts(o outcome, explained bool) outcome {
	switch {
	case s == nil && o == failed:
		return away
	case s == nil || o == healthy || o == unknown:
		return o
	case explained && o == failed, s.counted.Swap(true):
		return unknown
	}
	return o
}

func (s *Scan) who() (caller string, insists bool) {
	if s == nil {
		return "", false
	}
	return s.caller, s.insists
}
