// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// Room is memory that all exchanges share, in bytes, with a fair share for each
// caller. What does not fit waits until something is released. A waiter that
// fits goes before an older one that does not: a few huge bodies must not hold
// up the small ones.
type Room struct {
	shares  *shares
	wait    time.Duration
	metrics *telemetry.Metrics
}

func newRoom(size int64, wait time.Duration, resource string, m *telemetry.Metrics) *Room {
	return &Room{shares: newShares(size, resource, m), wait: wait, metrics: m}
}

// errNoRoom says that no memory became free in time.
var errNoRoom = errors.New("out of memory room")

// Reserve takes n bytes for a caller, "" while nobody knows who it is. It waits
// for them until ctx ends, and no longer than the bounds say; an error means
// that it got none. Release hands back what it got.
func (r *Room) Reserve(ctx context.Context, caller string, n int64) error {
	if r.shares.offer(caller, n) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	if !r.shares.take(ctx, caller, n) {
		r.metrics.RoomRefused.Inc()
		return errNoRoom
	}
	return nil
}

// Try takes n bytes for a caller if they are free, without waiting. Whoever
// holds some already must not wait for more while others do the same.
func (r *Room) Try(caller string, n int64) error {
	if !r.shares.offerOrCount(caller, n) {
		r.metrics.RoomRefused.Inc()
		return errNoRoom
	}
	return nil
}

// Release hands back n bytes of a caller's.
func (r *Room) Release(caller string, n int64) { r.shares.release(caller, n) }

// Move makes n bytes count for another caller.
func (r *Room) Move(from, to string, n int64) { r.shares.move(from, to, n) }

// Held is how many bytes are taken.
func (r *Room) Held() int64 { return r.shares.held() }
