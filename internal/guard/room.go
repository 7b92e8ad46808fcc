// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"sync"
	"time"

	"kong-ai-guard/internal/telemetry"
)

// Room is memory that all exchanges share, in bytes. What does not fit waits
// until something is given back. A waiter that fits goes before an older one
// that does not: a few huge bodies must not hold up the small ones.
type Room struct {
	wait    time.Duration
	metrics *telemetry.Metrics

	mu      sync.Mutex
	size    int64
	held    int64
	waiters []*roomWaiter
}

type roomWaiter struct {
	n     int64
	ready chan struct{}
}

func newRoom(size int64, wait time.Duration, m *telemetry.Metrics) *Room {
	return &Room{size: size, wait: wait, metrics: m}
}

// errNoRoom says that no memory became free in time.
var errNoRoom = errors.New("out of memory room")

// Reserve takes n bytes. It waits for them until ctx ends, and no longer than
// the bounds say; an error means that it got none. What was got goes back
// with Release.
func (r *Room) Reserve(ctx context.Context, n int64) error {
	r.mu.Lock()
	if r.held+n <= r.size {
		r.held += n
		r.mu.Unlock()
		return nil
	}
	if n > r.size {
		r.mu.Unlock()
		r.metrics.RoomRefused.Inc()
		return errNoRoom
	}
	w := &roomWaiter{n: n, ready: make(chan struct{})}
	r.waiters = append(r.waiters, w)
	r.mu.Unlock()

	timer := time.NewTimer(r.wait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.waiters {
		if other == w {
			r.waiters = append(r.waiters[:i], r.waiters[i+1:]...)
			r.metrics.RoomRefused.Inc()
			return errNoRoom
		}
	}
	return nil // it was given in the same moment
}

// Try takes n bytes if they are there, without a wait: who holds some already
// must not wait for more while others do the same.
func (r *Room) Try(n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held+n > r.size {
		r.metrics.RoomRefused.Inc()
		return errNoRoom
	}
	r.held += n
	return nil
}

// Release gives n bytes back.
func (r *Room) Release(n int64) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held -= n
	still := r.waiters[:0]
	for _, w := range r.waiters {
		if r.held+w.n <= r.size {
			r.held += w.n
			close(w.ready)
			continue
		}
		still = append(still, w)
	}
	clear(r.waiters[len(still):])
	r.waiters = still
}

// Held is how many bytes are taken.
func (r *Room) Held() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}
