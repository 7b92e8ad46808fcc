// SPDX-License-Identifier: Apache-2.0

// Package deadline has contexts that end at a time and cost next to nothing
// while nobody waits for their end. context.WithDeadline sets a timer and joins
// its parent's children, which is seven pieces of memory, although most of our
// calls are over before and ask no more than whether there is time left.
package deadline

import (
	"context"
	"sync"
	"time"
)

// A Context ends at a time, or with its parent. It is what
// context.WithDeadline returns, but makes that only when Done is called.
// Contexts of the standard library can be made under it.
type Context struct {
	context.Context // the parent
	until           time.Time

	mu sync.Mutex
	// waited is the standard library's context, once somebody waits.
	waited context.Context
	cancel context.CancelFunc
	// err is how the context ended before anybody waited.
	err error
}

// New returns a context that ends at until, or earlier with its parent.
// Release must be called when it is not needed any more.
func New(parent context.Context, until time.Time) *Context {
	if before, ok := parent.Deadline(); ok && before.Before(until) {
		until = before
	}
	return &Context{Context: parent, until: until}
}

// Release says that nobody uses the context any more. It ends the context, but
// does not call what was given to AfterCancel.
func (c *Context) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.waited != nil:
		c.cancel()
	case c.err == nil:
		c.err = context.Canceled
	}
}

// Deadline returns when the context ends at the latest.
func (c *Context) Deadline() (time.Time, bool) { return c.until, true }

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done returns a channel that is closed when the context ends.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waited == nil {
		if c.err != nil {
			return closed
		}
		c.waited, c.cancel = context.WithDeadline(c.Context, c.until)
	}
	return c.waited.Done()
}

// Err says how the context ended, nil while it has not.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.waited != nil:
		return c.waited.Err()
	case c.err != nil:
	case !time.Now().Before(c.until):
		c.err = context.DeadlineExceeded
	default:
		c.err = c.Context.Err()
	}
	return c.err
}

// Value returns what the parent has. The standard library finds in it the
// context that it has to end together with others.
func (c *Context) Value(key any) any {
	c.mu.Lock()
	waited := c.waited
	c.mu.Unlock()
	if waited != nil {
		return waited.Value(key)
	}
	return c.Context.Value(key)
}

// AfterCancel has f called, on a goroutine of its own, when the context ends
// for another reason than its time: for those who watch the time by
// themselves. stop is as context.AfterFunc has it. It is not ok where somebody
// waits already, or nothing is left to wait for: then context.AfterFunc has to
// be used.
func (c *Context) AfterCancel(f func()) (stop func() bool, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waited != nil || c.err != nil {
		return nil, false
	}
	if parent, is := c.Context.(*Context); is {
		if stop, ok := parent.AfterCancel(f); ok {
			return stop, true // its time is not before ours
		}
	}
	return context.AfterFunc(c.Context, f), true
}
