// SPDX-License-Identifier: Apache-2.0

package deadline_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
)

type key struct{}

// ends are the ways in which a context ends, and what it says then.
var ends = []struct {
	name  string
	until time.Duration
	end   func(cancelParent func(), c *deadline.Context)
	want  error
}{
	{"its time", time.Millisecond, func(func(), *deadline.Context) { time.Sleep(5 * time.Millisecond) }, context.DeadlineExceeded},
	{"a time that has passed", -time.Hour, func(func(), *deadline.Context) {}, context.DeadlineExceeded},
	{"its parent", time.Hour, func(cancel func(), _ *deadline.Context) { cancel() }, context.Canceled},
	{"its release", time.Hour, func(_ func(), c *deadline.Context) { c.Release() }, context.Canceled},
}

func TestContext(t *testing.T) {
	for _, tt := range ends {
		for _, waits := range []bool{false, true} {
			name := tt.name
			if waits {
				name += ", waited for"
			}
			t.Run(name, func(t *testing.T) {
				parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
				defer cancel()
				c := deadline.New(parent, time.Now().Add(tt.until))
				defer c.Release()
				var child context.Context
				if waits {
					var stop func()
					child, stop = context.WithCancel(c)
					defer stop()
				}
				tt.end(cancel, c)
				if waits {
					<-child.Done()
					if err := child.Err(); !errors.Is(err, tt.want) {
						t.Errorf("a child ends with %v", err)
					}
				} else if err := c.Err(); !errors.Is(err, tt.want) {
					t.Errorf("Err() = %v, want %v", err, tt.want)
				}
				<-c.Done()
				cancel()
				c.Release()
				if err := c.Err(); !errors.Is(err, tt.want) { // for good
					t.Errorf("Err() = %v at last, want %v", err, tt.want)
				}
				if c.Value(key{}) != "v" {
					t.Error("the parent's value is gone")
				}
				late, stop := context.WithCancel(c)
				defer stop()
				<-late.Done()
				if err := late.Err(); !errors.Is(err, tt.want) {
					t.Errorf("a late child ends with %v", err)
				}
			})
		}
	}
}

// While it runs, a context is like its parent.
func TestRuns(t *testing.T) {
	until := time.Now().Add(time.Hour)
	c := deadline.New(t.Context(), until)
	defer c.Release()
	if got, ok := c.Deadline(); !ok || !got.Equal(until) {
		t.Errorf("Deadline() = %v, %v", got, ok)
	}
	early := deadline.New(c, until.Add(time.Hour))
	defer early.Release()
	if got, _ := early.Deadline(); !got.Equal(until) {
		t.Errorf("a context lasts longer than its parent: %v", got)
	}
	for range 2 {
		if err := early.Err(); err != nil {
			t.Errorf("Err() = %v", err)
		}
		select {
		case <-early.Done(): // from here on somebody waits
			t.Error("the context has ended")
		default:
		}
	}
}

func TestAfterCancel(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	defer cancel()
	outer := deadline.New(parent, time.Now().Add(time.Hour))
	defer outer.Release()
	c := deadline.New(outer, time.Now().Add(time.Hour))
	defer c.Release()
	called := make(chan struct{}, 2)
	stop, ok := c.AfterCancel(func() { t.Error("called although stopped") })
	if !ok || !stop() {
		t.Fatal("cannot be stopped")
	}
	if _, ok := c.AfterCancel(func() { called <- struct{}{} }); !ok {
		t.Fatal("not ok")
	}
	outer.Done() // somebody waits for the outer one only
	if _, ok := c.AfterCancel(func() { called <- struct{}{} }); !ok {
		t.Fatal("not ok under a context that is waited for")
	}
	cancel()
	<-called
	<-called
	if c.Err() == nil {
		t.Error("the context goes on")
	}
	if _, ok := c.AfterCancel(func() {}); ok {
		t.Error("ok although the context has ended")
	}
	waited := deadline.New(t.Context(), time.Now().Add(time.Hour))
	defer waited.Release()
	waited.Done()
	if _, ok := waited.AfterCancel(func() {}); ok {
		t.Error("ok although somebody waits")
	}
}

// A context that nobody waits for is one piece of memory.
func TestAllocations(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	defer cancel()
	until := time.Now().Add(time.Hour)
	if n := testing.AllocsPerRun(100, func() {
		c := deadline.New(parent, until)
		if c.Err() != nil {
			t.Error("ended")
		}
		c.Release()
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
