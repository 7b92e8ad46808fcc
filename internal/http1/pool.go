// SPDX-License-Identifier: Apache-2.0

// Package http1 is what clients share that make calls of HTTP/1.1 on the
// goroutine of their callers: connections that are kept, and answers that are
// read in one way. Which calls are made so, and when one is made again, is their
// business.
package http1

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Pool keeps the idle connections to one host. Its fields are set before it is
// used.
type Pool struct {
	// MaxIdle bounds how many are kept, IdleFor for how long.
	MaxIdle int
	IdleFor time.Duration
	// MaxHead bounds the head of an answer, of the 1xx before it, and its trailer,
	// in bytes. What was read together with it may be up to a buffer more.
	MaxHead int64
	// All bounds what this pool and others keep together. It may be nil.
	All *Room

	mu    sync.Mutex
	idle  []*Link // the one that was used last is last
	timer *time.Timer
	armed bool
}

// A Room bounds what several pools keep.
type Room struct {
	Max  int64
	kept atomic.Int64
}

func (r *Room) enter() bool {
	if r == nil || r.kept.Add(1) <= r.Max {
		return true
	}
	r.kept.Add(-1)
	return false
}

func (r *Room) leave(n int) {
	if r != nil {
		r.kept.Add(-int64(n))
	}
}

// Take returns an idle connection on which the service has not said anything
// since, nil if there is none.
func (p *Pool) Take() *Link {
	for {
		p.mu.Lock()
		last := len(p.idle) - 1
		if last < 0 {
			p.mu.Unlock()
			return nil
		}
		l := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.All.leave(1)
		p.mu.Unlock()
		if l.quiet() {
			return l
		}
		l.Close()
	}
}

// Idle is how many connections are kept.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// CloseOldest makes room for a new connection beside those that are idle.
func (p *Pool) CloseOldest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) > 0 {
		p.drop(1)
	}
}

// CloseIdle closes all that are idle.
func (p *Pool) CloseIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(len(p.idle))
}

// drop closes the n connections that were idle for the longest time. The pool
// is locked.
func (p *Pool) drop(n int) {
	for _, l := range p.idle[:n] {
		l.Close()
	}
	rest := copy(p.idle, p.idle[n:])
	clear(p.idle[rest:])
	p.idle = p.idle[:rest]
	p.All.leave(n)
}

// Keep keeps a connection whose answer was read to its end. It has no deadline.
func (p *Pool) Keep(l *Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= p.MaxIdle {
		p.drop(1)
	}
	if !p.All.enter() {
		l.Close()
		return
	}
	l.since = time.Now()
	p.idle = append(p.idle, l)
	if p.armed {
		return
	}
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(p.IdleFor, p.sweep)
	} else {
		p.timer.Reset(p.IdleFor)
	}
}

// sweep closes what was idle for too long, and comes back for the rest.
func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, n := time.Now(), 0
	for n < len(p.idle) && now.Sub(p.idle[n].since) >= p.IdleFor {
		n++
	}
	p.drop(n)
	if p.armed = len(p.idle) > 0; p.armed {
		p.timer.Reset(p.IdleFor - now.Sub(p.idle[0].since))
	}
}

// errOpening stands for a panic, which must not end the process.
var errOpening = errors.New("no connection")

// Connect makes a connection by open, whose context has the values of ctx. A
// connection that takes longer than ctx is finished all the same, for the next
// call: else a service to which connections take longer than a call's deadline
// could never be called. That is the only goroutine there is. If the caller gets
// none, lost is called when open has returned; it may be nil.
func (p *Pool) Connect(ctx context.Context, open func(context.Context) (net.Conn, error), lost func()) (*Link, error) {
	type attempt struct {
		*Link
		err error
	}
	if lost == nil {
		lost = func() {}
	}
	made, taken := make(chan attempt), ctx.Done()
	go func() {
		l, err := p.open(context.WithoutCancel(ctx), open)
		if err != nil {
			lost()
		}
		select {
		case made <- attempt{l, err}:
		case <-taken:
			if err == nil {
				p.Keep(l)
				lost()
			}
		}
	}()
	select {
	case a := <-made:
		return a.Link, a.err
	case <-taken:
		return nil, ctx.Err()
	}
}

func (p *Pool) open(ctx context.Context, open func(context.Context) (net.Conn, error)) (l *Link, err error) {
	defer func() {
		if recover() != nil {
			l, err = nil, errOpening
		}
	}()
	conn, err := open(ctx)
	if err != nil {
		return nil, err
	}
	return newLink(conn, p.MaxHead)
}
