// SPDX-License-Identifier: Apache-2.0

// Package release decides when what a stream has said is to be scanned, and
// which of its units may go out. It is pure: the clock is given, and it reads
// and writes nothing.
package release

import (
	"time"

	"kong-ai-guard/internal/llm"
)

// Rules are how a stream is released.
type Rules struct {
	// Chars is how many new characters make a scan due.
	Chars int
	// Every is how long new text waits at most for the next scan to begin.
	Every time.Duration
	// Head is how long units at the beginning that say nothing wait for the
	// first text, so that a stream whose first scan blocks still gets its real
	// status.
	Head time.Duration
	// Held is how many bytes are held before reading waits for a scan.
	Held int
	// AtOnce releases text before it was scanned. The units that tell the
	// client that the answer is complete wait all the same.
	AtOnce bool
}

// A Machine is the state of one stream. The zero value is not usable.
type Machine struct{}

// New makes the machine of a stream that begins now.
func New(r Rules, now time.Time) *Machine { return &Machine{} }

// Read takes units that the stream has completed.
func (m *Machine) Read(units []llm.Unit, now time.Time) {}

// End says that the stream has ended: no unit follows.
func (m *Machine) End(now time.Time) {}

// Due reports whether a scan is to begin now. If not, wait is when to ask again
// unless something happens before, 0 for never. At most one scan runs at a
// time. Once the stream has ended, the scan that is due is the last one, of the
// whole answer.
func (m *Machine) Due(now time.Time) (due bool, wait time.Duration) { return false, 0 }

// Begin says that a scan has begun that covers the units up to end.
func (m *Machine) Begin(end int64, now time.Time) {}

// Allow says that the scan under way was an allow.
func (m *Machine) Allow(now time.Time) {}

// Release returns up to where units may go out.
func (m *Machine) Release(now time.Time) int64 { return 0 }

// Full reports whether reading has to wait: enough is held that a scan, which
// runs or is due, will release.
func (m *Machine) Full() bool { return false }
