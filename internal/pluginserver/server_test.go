// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

func TestPanics(t *testing.T) {
	var log syncBuffer
	counters := new(pluginserver.Counters)
	secret := "the prompt of a client"
	s := &pluginserver.Server{Log: pluginserver.NewLog(&log, 0), Counters: counters, New: func(config []byte) pluginserver.Instance {
		if bytes.Contains(config, []byte(`"new"`)) {
			panic(secret)
		}
		return plugin{
			access:   func(context.Context, *pluginserver.Event) { panic(errors.New(secret)) },
			response: func(_ context.Context, e *pluginserver.Event) { e.Batch(nil) },
			close:    func() { panic(secret) },
		}
	}}
	connect := serve(t, s)
	bystander := connect()
	for _, config := range []string{`{"panic":"new"}`, `{"panic":"handler"}`} {
		for _, phase := range []string{"access", "response"} {
			p := connect()
			o := must[outcome](t)(p.event(must[int32](t)(p.start(config)), phase))
			if !refused(o) {
				t.Errorf("%s in %s: %+v", config, phase, o)
			}
			cleared := slices.Contains(o.calls, "kong.response.clear_header")
			if cleared != (phase == "response") {
				t.Errorf("%s: calls %q", phase, o.calls)
			}
		}
	}
	// All others go on, and so does the process.
	if _, err := bystander.start(`{"panic":"handler"}`); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	// new once, since the second worker finds the stand-in; two handlers; one close.
	if got := counters.Panics.Load(); got != 4 {
		t.Errorf("%d panics counted, want 4", got)
	}
	lines := log.String()
	if strings.Contains(lines, secret) {
		t.Error("what was thrown is in the log, and may quote a client")
	}
	if n := strings.Count(lines, `"stack":"goroutine`); n != 4 {
		t.Errorf("%d stacks in the log, want one a panic\n%s", n, lines)
	}
}

func TestConcurrentConnections(t *testing.T) {
	counters := new(pluginserver.Counters)
	var closed atomic.Int64
	connect := serve(t, &pluginserver.Server{Counters: counters, New: func(config []byte) pluginserver.Instance {
		own := string(config)
		return plugin{
			access: func(_ context.Context, e *pluginserver.Event) {
				calls := [3]pdk.Call{pdk.NginxVar("a"), pdk.RequestRawBody(), pdk.NginxVar("b")}
				err := e.Batch(&calls[0], &calls[1], &calls[2])
				a, _ := calls[0].Text()
				body, _ := calls[1].RawBody()
				if b, _ := calls[2].Text(); err != nil || a != b || a != string(body.Content) {
					e.Exit(500, nil, nil)
					return
				}
				mine := pdk.LogErr(own + a)
				e.Batch(&mine)
			},
			close: func() { closed.Add(1) },
		}
	}})
	const workers, events = 16, 50
	var all sync.WaitGroup
	for w := range workers {
		p := connect()
		all.Go(func() {
			config := fmt.Sprintf(`{"__seq__":%d}`, w%4+1)
			id, err := p.start(config)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range events {
				mark := fmt.Sprintf("worker %d event %d ", w, i)
				var logged string
				p.answer = func(method string, args []byte) []byte {
					if method == "kong.log.err" {
						logged = string(args)
					}
					return text(mark + strings.Repeat("x", i*100))
				}
				o, err := p.event(id, "access")
				if err != nil || o.exit != nil || !strings.Contains(logged, config+mark) {
					t.Errorf("%s: %+v, %v, %q", mark, o, err, logged)
					return
				}
				if i == events/2 {
					// Another worker's configuration change: ours is unharmed.
					if _, err := p.start(fmt.Sprintf(`{"__seq__":%d}`, 100+w)); err != nil {
						t.Error(err)
					}
					if err := p.close(id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if got := counters.Events.Load(); got != workers*events {
		t.Errorf("%d events counted, want %d", got, workers*events)
	}
	if got := counters.Calls.Load(); got != 4*workers*events {
		t.Errorf("%d calls counted, want %d", got, 4*workers*events)
	}
}

// A syncBuffer may be written and read by several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestShutdown is what a signal leads to, in fake time.
func TestShutdown(t *testing.T) {
	var flushed, left time.Duration
	var ctxEnded bool
	s := &pluginserver.Server{
		New: always(plugin{access: func(ctx context.Context, e *pluginserver.Event) {
			select {
			case <-ctx.Done():
				ctxEnded = true
				e.Exit(http.StatusServiceUnavailable, nil, []byte(`{"error":""}`))
			case <-time.After(30 * time.Second):
			}
		}}),
	}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		start := time.Now()
		s.Flush = func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			flushed, left = time.Since(start), time.Until(deadline)
			panic("a bug")
		}
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		got := make(chan outcome)
		go func() {
			o, _ := p.event(id, "access")
			got <- o
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- s.Shutdown(ctx) }()
		if o := <-got; !refused(o) || !ctxEnded {
			t.Errorf("the event that took too long: %+v", o)
		}
		if err := <-ended; err == nil {
			t.Error("a panic in Flush is no error")
		}
		if flushed != 11*time.Second || left != time.Second {
			t.Errorf("flushed after %v with %v left", flushed, left)
		}
		s.Flush = nil
		if _, err := connect().start(`{}`); err == nil {
			t.Error("a connection was taken after the shutdown")
		}
	})
}

// TestShutdownUnderAHandlerThatDoesNotEnd: the process has to go all the same.
func TestShutdownUnderAHandlerThatDoesNotEnd(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) { time.Sleep(time.Hour) }})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until the handler runs
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 11*time.Second {
			t.Errorf("took %v", took)
		}
		if b, err := p.read(); err == nil {
			t.Errorf("Kong got %q", b)
		}
		time.Sleep(time.Hour) // the bubble wants its goroutines to end
	})
}

// A faultyListener fails some times before it returns connections.
type faultyListener struct {
	faults int
	at     []time.Time
	conns  chan net.Conn
	closed chan struct{}
}

func (l *faultyListener) Accept() (net.Conn, error) {
	l.at = append(l.at, time.Now())
	if l.faults--; l.faults >= 0 {
		return nil, syscall.EMFILE
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *faultyListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (*faultyListener) Addr() net.Addr { return &net.UnixAddr{} }

func TestAcceptErrors(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{})}
	bubble(t, s, func(t *testing.T, _ func() *peer) {
		l := &faultyListener{faults: 20, conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		ours, kongs := net.Pipe()
		l.conns <- ours
		if _, err := newPeer(kongs).start(`{}`); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if first, last := l.at[1].Sub(l.at[0]), l.at[20].Sub(l.at[19]); first != 5*time.Millisecond || last != time.Second {
			t.Errorf("tried again after %v at first and after %v at last", first, last)
		}
		if err := s.Shutdown(t.Context()); err != nil || <-served != nil {
			t.Error(err)
		}
		kongs.Close()
	})
}
