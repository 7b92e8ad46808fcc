// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"container/list"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"sync"
	"time"
)

const (
	tokenBytes = 16
	// repeat is how long a token stays good whose request lost its connection
	// before it was answered. nginx repeats at once or never.
	repeat = 10 * time.Second
	// late is how long a token stays good that counts as missed. Kong takes a
	// request's body before it sends anything on, and a client may need minutes
	// for that. What comes late is carried like any other.
	late = 15 * time.Minute
)

// tokens are the exchanges that are expected or served. They are found by the
// hash of their token. The time that a lookup takes depends on the hash of what
// was sent, and says nothing of how much of a token was right: one who guesses
// can't steer a hash. The token itself is then compared in constant time.
type tokens struct {
	missed func(Exchange)
	most   int

	mu     sync.Mutex
	closed bool
	known  map[[sha256.Size]byte]*entry
	// fresh are those whose request did not come yet, broken those whose
	// request came and lost its connection, overdue those that count as missed.
	// Each with the oldest one first.
	fresh, broken, overdue queue
}

// A queue holds entries for the same time each.
type queue struct {
	list.List
	time  time.Duration
	sweep func()
	timer *time.Timer // nil before the first
	// sweeping is held for as long as a sweep takes, so that whoever is overdue
	// hears of it in the order of the queue.
	sweeping sync.Mutex
}

// An entry is one token.
type entry struct {
	exchange Exchange
	token    [2 * tokenBytes]byte
	sum      [sha256.Size]byte // of token

	// The lock of tokens guards these.
	users int  // requests that are being served or wait for their turn
	over  bool // forgotten or answered
	in    *queue
	place *list.Element // in that queue
	until time.Time
	turn  sync.Mutex // held by the request that is served
}

func (t *tokens) init(within time.Duration, most int, missed func(Exchange)) {
	t.missed, t.most = missed, most
	t.known = make(map[[sha256.Size]byte]*entry)
	for q, d := range map[*queue]time.Duration{&t.fresh: within, &t.broken: min(repeat, within), &t.overdue: late} {
		q.time, q.sweep = d, func() { t.sweep(q) }
	}
}

func (t *tokens) expect(x Exchange) string {
	var random [tokenBytes]byte
	_, _ = rand.Read(random[:]) // never fails
	e := &entry{exchange: x}
	hex.Encode(e.token[:], random[:])
	e.sum = sha256.Sum256(e.token[:])
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return string(e.token[:])
	}
	if t.broken.Len()+t.overdue.Len()+t.fresh.Len() >= t.most {
		t.makeRoom()
	}
	t.known[e.sum] = e
	t.fresh.add(e)
	return string(e.token[:])
}

// makeRoom drops what is least likely to come.
func (t *tokens) makeRoom() {
	for _, q := range []*queue{&t.broken, &t.overdue, &t.fresh} {
		if first := q.Front(); first != nil {
			e := first.Value.(*entry)
			t.remove(e)
			if q == &t.fresh {
				go t.missed(e.exchange) // its user may hold locks here
			}
			return
		}
	}
}

// find returns the entry of a token, nil for none. t is locked.
func (t *tokens) find(token string) *entry {
	if len(token) != 2*tokenBytes {
		return nil
	}
	e := t.known[sha256.Sum256([]byte(token))]
	if e == nil || subtle.ConstantTimeCompare(e.token[:], []byte(token)) != 1 {
		return nil
	}
	return e
}

func (t *tokens) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.find(token)
	if e == nil {
		return
	}
	e.over = true
	if e.users == 0 {
		t.remove(e)
	}
}

// enter returns the entry of a token for a request, which has its turn then, or
// nil. Who gets one has to leave.
func (t *tokens) enter(token string) *entry {
	t.mu.Lock()
	e := t.find(token)
	if e == nil || e.over {
		t.mu.Unlock()
		return nil
	}
	e.users++
	e.leaveQueue()
	t.mu.Unlock()
	e.turn.Lock() // the one before has lost its connection, and ends
	t.mu.Lock()
	over := e.over
	t.mu.Unlock()
	if over {
		t.leave(e, true)
		return nil
	}
	return e
}

// leave says that a request has ended, and whether it was answered.
func (t *tokens) leave(e *entry, answered bool) {
	e.turn.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	e.users--
	e.over = e.over || answered || t.closed
	switch {
	case e.users > 0:
	case e.over:
		t.remove(e)
	default:
		t.broken.add(e)
	}
}

func (t *tokens) waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fresh.Len()
}

// close lets no new token in.
func (t *tokens) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// drop forgets what has not come. Nobody is told: the process ends.
func (t *tokens) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range []*queue{&t.fresh, &t.broken, &t.overdue} {
		if q.timer != nil {
			q.timer.Stop()
		}
		for first := q.Front(); first != nil; first = q.Front() {
			t.remove(first.Value.(*entry))
		}
	}
}

// sweep drops what has waited for too long, and tells who is overdue, the oldest
// first.
func (t *tokens) sweep(q *queue) {
	q.sweeping.Lock()
	defer q.sweeping.Unlock()
	var missed []*entry
	t.mu.Lock()
	for first := q.Front(); first != nil; first = q.Front() {
		e := first.Value.(*entry)
		if left := time.Until(e.until); left > 0 {
			q.timer.Reset(left)
			break
		}
		if q != &t.fresh {
			t.remove(e)
			continue
		}
		e.leaveQueue()
		t.overdue.add(e)
		missed = append(missed, e)
	}
	t.mu.Unlock()
	for _, e := range missed {
		t.missed(e.exchange)
	}
}

// remove makes a token worthless. t is locked.
func (t *tokens) remove(e *entry) {
	e.leaveQueue()
	e.over = true
	delete(t.known, e.sum)
}

func (q *queue) add(e *entry) {
	e.in, e.until = q, time.Now().Add(q.time)
	e.place = q.PushBack(e)
	switch {
	case q.Len() > 1: // the timer runs for the first one
	case q.timer == nil:
		q.timer = time.AfterFunc(q.time, q.sweep)
	default:
		q.timer.Reset(q.time)
	}
}

func (e *entry) leaveQueue() {
	if e.in != nil {
		e.in.Remove(e.place)
		e.in, e.place = nil, nil
	}
}
