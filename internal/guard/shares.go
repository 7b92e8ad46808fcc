// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// sharePerFree is how much one caller may hold for each unit that stays free.
// So a caller alone gets at most three quarters, two get three sevenths each,
// and there is always room for one more. Nobody has to be counted for that,
// and nothing is limited while little is in use.
const sharePerFree = 3

// shares deals out something limited, bytes or slots, so that no caller can
// take it all. A caller who holds nothing gets what he asks for whenever it is
// free, however large. See allows.
type shares struct {
	size int64
	// tight says that half or more is taken: from then on it matters who
	// takes more.
	tight atomic.Bool
	// waited and refused count what was held up, and what was ended, by a
	// caller's share and not by the lack of free units.
	waited, refused prometheus.Counter

	mu      sync.Mutex
	taken   int64
	owners  map[string]*owner // those that hold something or wait
	waiters []*shareWaiter
}

// An owner is a caller as shares know him.
type owner struct {
	held    int64
	waiting int
}

type shareWaiter struct {
	name  string
	owner *owner
	n     int64
	ready chan struct{}
}

// newShares deals out size units of what metrics call resource.
func newShares(size int64, resource string, m *telemetry.Metrics) *shares {
	return &shares{
		size: size, owners: make(map[string]*owner),
		waited:  m.ShareLimited.WithLabelValues(resource, "waited"),
		refused: m.ShareLimited.WithLabelValues(resource, "refused"),
	}
}

// allows reports whether an owner may have n more.
func (s *shares) allows(o *owner, n int64) bool {
	free := s.size - s.taken - n
	return free >= 0 && (o.held == 0 || o.held+n <= sharePerFree*free)
}

// offer takes n units for a caller if he may have them now.
func (s *shares) offer(name string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owner(name)
	ok := s.allows(o, n)
	if ok {
		s.give(o, n)
	}
	s.forget(name, o)
	return ok
}

// offerOrCount is offer where nobody waits: a refusal is counted.
func (s *shares) offerOrCount(name string, n int64) bool {
	if s.offer(name, n) {
		return true
	}
	if s.held()+n <= s.size {
		s.refused.Inc()
	}
	return false
}

// take takes n units for a caller and waits for them until ctx ends. release
// hands back what was taken.
func (s *shares) take(ctx context.Context, name string, n int64) bool {
	s.mu.Lock()
	o := s.owner(name)
	if s.allows(o, n) {
		s.give(o, n)
		s.mu.Unlock()
		return true
	}
	if n > s.size {
		s.forget(name, o)
		s.mu.Unlock()
		return false
	}
	if s.taken+n <= s.size {
		s.waited.Inc()
	}
	w := &shareWaiter{name: name, owner: o, n: n, ready: make(chan struct{})}
	o.waiting++
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()

	select {
	case <-w.ready:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, other := range s.waiters {
		if other == w {
			s.leave(i)
			if s.taken+n <= s.size {
				s.refused.Inc()
			}
			s.forget(name, o)
			return false
		}
	}
	return true // it was given in the same moment
}

// release hands back n units of a caller's.
func (s *shares) release(name string, n int64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owner(name)
	s.give(o, -n)
	s.forget(name, o)
	s.serve()
}

// move hands n units from one caller to another. That may lift the second over
// his share, which only keeps him from getting more.
func (s *shares) move(from, to string, n int64) {
	if n == 0 || from == to {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owner(from)
	o.held -= n
	s.forget(from, o)
	s.owner(to).held += n
	s.serve()
}

// held is how many units are taken.
func (s *shares) held() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// serve hands what is free to those who wait. The caller who holds least comes
// first, so that nobody's queue holds up another caller. A caller's own are
// served in their order, but one that fits before one that does not. The lock
// is held.
func (s *shares) serve() {
	for s.taken < s.size && len(s.waiters) > 0 {
		next := -1
		for i, w := range s.waiters {
			if s.allows(w.owner, w.n) && (next < 0 || w.owner.held < s.waiters[next].owner.held) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		w := s.waiters[next]
		s.leave(next)
		s.give(w.owner, w.n)
		close(w.ready)
	}
}

// leave takes a waiter out of the queue. The lock is held.
func (s *shares) leave(i int) {
	s.waiters[i].owner.waiting--
	last := len(s.waiters) - 1
	copy(s.waiters[i:], s.waiters[i+1:])
	s.waiters[last] = nil
	s.waiters = s.waiters[:last]
}

func (s *shares) give(o *owner, n int64) {
	o.held += n
	s.taken += n
	s.tight.Store(2*s.taken >= s.size)
}

func (s *shares) owner(name string) *owner {
	o := s.owners[name]
	if o == nil {
		o = new(owner)
		s.owners[name] = o
	}
	return o
}

// forget drops an owner about whom there is nothing left to know. The unknown
// caller is kept, since most exchanges come and go as his.
func (s *shares) forget(name string, o *owner) {
	if name != "" && o.held == 0 && o.waiting == 0 {
		delete(s.owners, name)
	}
}
