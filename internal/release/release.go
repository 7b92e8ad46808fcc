// SPDX-License-Identifier: Apache-2.0

// Package release decides when what a stream has said is to be scanned, and
// which of its units may go out. It is pure: the clock is given, and it reads
// and writes nothing.
//
// Coverage is one offset: a scan covers every unit that was read up to where
// its window ends. What was covered by an allow may go out, and so may units
// that say nothing, once nothing before them is held. What a unit claims is
// the upstream's word: no claim makes a unit go out that no scan covered,
// makes the machine wait for nothing, or makes it ask without end.
package release

import (
	"math"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// Rules are how a stream is released.
type Rules struct {
	// Chars is how many new characters make a scan due.
	Chars int
	// Every is how long after a scan has begun the next one begins at the latest,
	// if there is new text. It begins sooner when scans take less: as long after
	// the last one began as that one took, but not before Least. With no Least,
	// Every holds alone.
	Every, Least time.Duration
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

// A piece is a unit that has to be scanned: it brought text, or a part of a
// tool call.
type piece struct {
	start, end int64
	call       bool
}

// A Machine is the state of one stream. The zero value is not usable. It is for
// one goroutine.
type Machine struct {
	rules Rules

	// pieces are those that are not covered by an allow, after the first kept
	// ones, which wait to be dropped in one go. Of those that follow, the ones
	// before next are covered by a scan that has begun. No piece stands behind
	// the first Final unit.
	pieces     []piece
	kept, next int

	read, last int64 // where the newest unit ends, and where it begins
	final      int64 // where the first Final unit begins
	begun      int64 // up to where scans that have begun reach
	released   int64

	// fresh is how many characters have come since the last Begin, at most
	// Rules.Chars of them.
	fresh int
	// news says that something has come since the last Begin which can make a
	// scan cover a piece that none has covered.
	news bool

	came     time.Time     // the first unit, if heard
	began    time.Time     // the last Begin, if asked
	took     time.Duration // the last scan that was an allow; 0 for none
	heard    bool
	asked    bool
	running  bool
	ended    bool
	closing  bool  // the last scan has begun
	complete bool  // and was an allow
	allowed  bool  // some scan was an allow
	whole    int64 // where the answer ends, once the last scan has begun
}

// Bounds of the machine's own memory, in pieces.
const (
	atFirst = 16
	idle    = 1024
)

// New makes the machine of a stream that begins now.
func New(r Rules, now time.Time) *Machine {
	r.Chars = max(r.Chars, 1)
	return &Machine{rules: r, pieces: make([]piece, 0, atFirst), final: math.MaxInt64}
}

// Read takes units that the stream has completed.
func (m *Machine) Read(units []llm.Unit, now time.Time) {
	if len(units) == 0 {
		return
	}
	if !m.heard {
		m.heard, m.came = true, now
	}
	for i := range units {
		m.take(&units[i])
	}
}

func (m *Machine) take(u *llm.Unit) {
	if u.End > m.read {
		m.last, m.read = m.read, u.End
	}
	switch {
	case m.final != math.MaxInt64:
		return
	case u.Final:
		m.final = m.last
		return
	case u.Chars > 0 || u.Call:
		m.fresh += min(max(u.Chars, 0), m.rules.Chars-m.fresh)
		m.hold(u.Call)
	}
	// A unit that says nothing may be the one that closes a tool call.
	if !u.Call && m.next < len(m.pieces) {
		m.news = true
	}
}

// hold keeps the newest unit as a piece. A unit without bytes goes with those
// of the one before it.
func (m *Machine) hold(call bool) {
	if m.read <= m.begun {
		return
	}
	if n := len(m.pieces); n > m.next && m.pieces[n-1].end == m.read {
		m.pieces[n-1].call = m.pieces[n-1].call || call
		return
	}
	m.pieces = append(m.pieces, piece{start: m.last, end: m.read, call: call})
}

// End says that the stream has ended: no unit follows.
func (m *Machine) End(now time.Time) { m.ended = true }

// Due reports whether a scan is to begin now. If not, wait is when to ask again
// unless something happens before, 0 for never; units may go out then, too. At
// most one scan runs at a time. Once the stream has ended, the scan that is due
// is the last one, of the whole answer.
func (m *Machine) Due(now time.Time) (due bool, wait time.Duration) {
	if !m.running {
		switch {
		case m.ended:
			if !m.closing {
				return true, 0
			}
		case m.coverable():
			wait = left(m.began, m.every(), now)
			if !m.asked || m.fresh >= m.rules.Chars || wait == 0 {
				return true, 0
			}
		}
	}
	if h := m.headWaits(now); h > 0 && m.limit() > m.released && (wait == 0 || h < wait) {
		wait = h
	}
	return false, wait
}

// every is how long after the last scan began the next one begins.
func (m *Machine) every() time.Duration {
	if m.rules.Least <= 0 || m.took <= 0 {
		return m.rules.Every
	}
	return min(m.rules.Every, max(m.rules.Least, m.took))
}

// coverable reports whether a scan can be expected to cover a piece that none
// has covered.
func (m *Machine) coverable() bool { return m.news && m.next < len(m.pieces) }

// Begin says that a scan has begun that covers the units up to end. It follows
// Window with no Read in between. One that covers nothing new is none: nothing
// runs after it, and none is due until more has come. After an empty Window it
// is therefore right to call Begin and Allow. After End it is the last scan,
// whatever its end; the answer then ends there or with its last unit. A second
// one at a time is ignored.
func (m *Machine) Begin(end int64, now time.Time) {
	if m.running || m.closing {
		return
	}
	m.began, m.asked = now, true
	if m.ended {
		m.running, m.closing = true, true
		m.whole = max(m.read, end)
		m.next = len(m.pieces)
		return
	}
	from := m.next
	for m.next < len(m.pieces) && m.pieces[m.next].end <= end {
		m.next++
	}
	if m.running = m.next > from; m.running {
		m.begun = min(end, m.read)
	}
	// Behind a tool call that is open, a scan covers nothing before more has
	// come. Text that this one left out for no such reason waits its time.
	m.fresh = 0
	m.news = m.running && m.next < len(m.pieces) && !m.pieces[m.next].call
	if m.rules.AtOnce {
		m.drop()
	}
}

// Allow says that the scan under way was an allow.
func (m *Machine) Allow(now time.Time) {
	if !m.running {
		return
	}
	m.running, m.allowed, m.took = false, true, now.Sub(m.began)
	m.complete = m.closing
	m.drop()
}

// drop forgets the pieces which scans that have begun cover.
func (m *Machine) drop() {
	m.kept = m.next
	switch n := len(m.pieces); {
	case m.kept == n:
		if cap(m.pieces) > idle {
			m.pieces = make([]piece, 0, atFirst)
		}
		m.pieces = m.pieces[:0]
	case m.kept > n/2:
		m.pieces = m.pieces[:copy(m.pieces, m.pieces[m.kept:])]
	default:
		return
	}
	m.kept, m.next = 0, 0
}

// Release returns up to where units may go out.
func (m *Machine) Release(now time.Time) int64 {
	if m.headWaits(now) == 0 {
		m.released = max(m.released, m.limit())
	}
	return m.released
}

// limit is up to where units may go out once the head does not wait.
func (m *Machine) limit() int64 {
	if m.complete {
		return m.whole
	}
	end := min(m.read, m.final)
	if m.kept < len(m.pieces) && !m.rules.AtOnce {
		end = min(end, m.pieces[m.kept].start)
	}
	return end
}

// headWaits is how long the units before the first text wait from now on.
func (m *Machine) headWaits(now time.Time) time.Duration {
	if m.rules.AtOnce || m.allowed || !m.heard {
		return 0
	}
	return left(m.came, m.rules.Head, now)
}

// left is what is left of d, which began at from. A clock that steps back makes
// nothing wait for longer than d.
func left(from time.Time, d time.Duration, now time.Time) time.Duration {
	return max(0, min(d, d-now.Sub(from)))
}

// Full reports whether reading has to wait: enough is held that a scan, which
// runs or is due, will release. It is false where only more bytes can help: a
// tool call that is open, the end of the answer.
func (m *Machine) Full() bool {
	if m.rules.AtOnce || m.ended || m.read-m.released < int64(m.rules.Held) {
		return false
	}
	return m.running || m.coverable()
}
