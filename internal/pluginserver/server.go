// SPDX-License-Identifier: Apache-2.0

// Package pluginserver is a plugin server for Kong Gateway: a process that
// listens on a Unix socket, speaks the protocol "ProtoBuf:1" of go-pdk, and
// runs a plugin's handlers in the access and response phases.
//
// It differs from go-pdk's own server in what production asks for: several
// PDK calls in one batch, buffered connections, bounds on everything read,
// deadlines, recovered panics, instances that do not disturb each other, and
// an end that loses nothing.
//
// One rule runs through it: while Kong waits for an event, the connection is
// closed only after an exit. When a connection closes, Kong forgets every
// instance of the plugin and runs the event again, without end.
package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// An Instance is the plugin with one configuration. Its methods are called by
// many goroutines at once.
type Instance interface {
	// Access and Response run one event each. When they return without
	// having called e.Exit, the exchange goes on. ctx ends at the event's
	// deadline and when the process has to go.
	Access(ctx context.Context, e *Event)
	Response(ctx context.Context, e *Event)
	// Close frees what belongs to the instance alone. No event runs on it
	// any more, and none will.
	Close()
}

// Room is the process's budget of memory for what exchanges hold.
type Room interface {
	// Reserve waits until there is room for that many bytes of an owner's, ""
	// while nobody knows whose they are. An error, most often the end of ctx,
	// means that there is none.
	Reserve(ctx context.Context, owner string, bytes int64) error
	Release(owner string, bytes int64)
	// Move has bytes count for another owner than before.
	Move(from, to string, bytes int64)
}

// Counters are what a Server counts. They may be read at any time.
type Counters struct {
	// Connections is how many are open now.
	Connections atomic.Int64
	// Instances is how many are held now, closed ones that linger included.
	Instances atomic.Int64
	// Events and Calls are the events run and the PDK calls made by batches.
	Events, Calls atomic.Int64
	// TooLarge and NoRoom are the frames thrown away.
	TooLarge, NoRoom atomic.Int64
	// Panics are those recovered.
	Panics atomic.Int64
}

// The defaults of a Server's fields.
const (
	DefaultMaxFrame     = 64 << 20
	DefaultEventTimeout = 50 * time.Second
	// DefaultDrainTimeout is that of the flag -drain-time. It covers an answer
	// for which Kong waits as long as it does by default.
	DefaultDrainTimeout = time.Minute
	// DefaultStreamTimeout is how long exchanges that run outside of events are
	// waited for when the flag is not given.
	DefaultStreamTimeout = 10 * time.Minute
)

const (
	// afterTimeout is how long an event's last words may take once its
	// context has ended. Kong itself waits 60 s for each frame.
	afterTimeout = 5 * time.Second
	// exitTimeout is how long Kong may take to close a connection after an exit.
	exitTimeout = 10 * time.Second
	// linger is how long a closed instance stays usable after its last use.
	// Workers learn of a new configuration one after the other, and an
	// exchange that began under the old one ends under it.
	linger = time.Minute
	// flushAtLeast is what Flush gets when the events took all the time.
	flushAtLeast = time.Second
	// shutdownTimeout is what Main gives to Shutdown.
	shutdownTimeout = 10 * time.Second
	// lastAccept is how long Drain looks for connections that nobody has
	// accepted yet, before it takes the server for left alone.
	lastAccept = 50 * time.Millisecond
	// openLook is how often it is looked whether exchanges still run outside of
	// events.
	openLook = 20 * time.Millisecond
)

// A Server serves one plugin. Its exported fields are set before its first
// use and not changed afterwards; all but New may be left zero.
type Server struct {
	// New makes an instance of a configuration, JSON as Kong sends it, nil for
	// one that was too large to be read. It never fails: for what cannot be
	// used it returns an instance that refuses each exchange.
	New func(config []byte) Instance
	// Leave is called once, when the process is to go, while it still serves.
	Leave func()
	// Open is how many exchanges run outside of events, on connections of the
	// plugin's own; nil for none.
	Open func() int
	// Hangup is called at each SIGHUP, which ends nothing: what others may have
	// moved is to be opened again.
	Hangup func()
	// Flush ends background work at shutdown, after the last event.
	Flush func(ctx context.Context) error
	// Room has to grant room before a large reply is read into memory.
	Room Room
	// Log takes what operators may want to know; nil for nothing.
	Log *zap.Logger
	// Counters is where to count; nil for nowhere.
	Counters *Counters
	// MaxFrame is the largest frame that is read into memory, in bytes.
	MaxFrame int64
	// EventTimeout ends an event's context. Kong gives up after 60 s.
	EventTimeout time.Duration

	setUp     sync.Once
	base      context.Context
	cancel    context.CancelFunc
	instances *instances

	mu       sync.Mutex
	leaving  bool // Drain has begun: we serve on, and end when we are left alone
	draining bool // Shutdown has begun
	listener net.Listener
	conns    map[*conn]struct{}
	running  sync.WaitGroup
	alone    chan struct{} // gets a token when the last connection goes
	swept    chan bool     // Serve's answers to Drain, see sweep
}

func (s *Server) init() {
	s.setUp.Do(func() {
		if s.Log == nil {
			s.Log = zap.NewNop()
		}
		if s.Counters == nil {
			s.Counters = new(Counters)
		}
		if s.MaxFrame == 0 {
			s.MaxFrame = DefaultMaxFrame
		}
		if s.EventTimeout == 0 {
			s.EventTimeout = DefaultEventTimeout
		}
		s.base, s.cancel = context.WithCancel(context.Background())
		s.instances = newInstances(s)
		s.conns = make(map[*conn]struct{})
		s.alone, s.swept = make(chan struct{}, 1), make(chan bool, 1)
	})
}

// Ready reports whether the server is there to stay: it listens, and does not
// drain.
func (s *Server) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener != nil && !s.leaving && !s.draining
}

// Serve accepts connections until Shutdown, or until Drain finds that there are
// none, and then returns nil. It closes l. Errors of accepting pass, for
// example when the process is out of file descriptors. So Serve tries again,
// slower each time, and never gives up.
func (s *Server) Serve(l net.Listener) error {
	s.init()
	defer l.Close()
	s.mu.Lock()
	s.listener = l
	draining := s.draining
	s.mu.Unlock()
	if draining {
		return nil
	}
	const slowest = time.Second
	for pause := time.Duration(0); ; {
		accepted, err := l.Accept()
		if err == nil {
			pause = 0
			s.take(accepted)
			continue
		}
		if s.base.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) { // Drain asks
			left := s.sweep(l)
			s.swept <- left
			if left {
				return nil
			}
			continue
		}
		pause = min(max(2*pause, 5*time.Millisecond), slowest)
		s.Log.Error("accepting a connection failed", zap.Error(err), zap.Duration("next_try_in", pause))
		select {
		case <-time.After(pause):
		case <-s.base.Done():
		}
	}
}

// sweep accepts, for Drain, the connections that wait already: none may be
// overlooked. It returns true when none waited and there is no other
// connection.
func (s *Server) sweep(l net.Listener) bool {
	setDeadline(l, time.Now().Add(lastAccept))
	accepted, err := l.Accept()
	setDeadline(l, time.Time{})
	switch {
	case err == nil:
		s.take(accepted)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.isAlone()
	default: // it passes, see Serve
		time.Sleep(lastAccept)
	}
	return false
}

// setDeadline makes a listener's Accept return at a time, zero for never. It
// returns false for a listener that cannot.
func setDeadline(l net.Listener, at time.Time) bool {
	d, ok := l.(interface{ SetDeadline(at time.Time) error })
	return ok && d.SetDeadline(at) == nil
}

// take serves an accepted connection. It is counted before take returns, so
// that Drain does not overlook it.
func (s *Server) take(nc net.Conn) {
	c := newConn(s, nc)
	if !s.add(c) {
		nc.Close()
		return
	}
	go s.serveConn(c)
}

func (s *Server) serveConn(c *conn) {
	defer s.remove(c)
	defer c.Close()
	defer func() {
		if v := recover(); v != nil {
			s.panicked("connection", v)
		}
	}()
	c.serve()
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	s.Counters.Connections.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.running.Done()
	s.Counters.Connections.Add(-1)
	if len(s.conns) == 0 {
		s.wake()
	}
}

func (s *Server) isAlone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) == 0
}

// wake has Drain look whether the server is left alone.
func (s *Server) wake() {
	select {
	case s.alone <- struct{}{}:
	default: // it will look anyway
	}
}

// Drain goes on serving, new connections included, until there is none any more
// and nothing is open, or ctx ends; Shutdown has to follow. Kong sends SIGTERM when the worker that
// has started the process ends, while others still have exchanges under way.
// Each of them closes its connections when it ends. New connections come only
// while no other process has taken the socket over.
func (s *Server) Drain(ctx context.Context) {
	s.init()
	s.mu.Lock()
	s.leaving = true
	listener := s.listener
	s.mu.Unlock()
	if s.Leave != nil {
		s.leave()
	}
	s.wake()
	for {
		select {
		case <-s.alone:
		case <-ctx.Done():
			return
		}
		if !s.isAlone() {
			continue
		}
		if s.open() > 0 {
			time.AfterFunc(openLook, s.wake)
			continue
		}
		// Serve has the last word: it may be about to accept somebody.
		if listener == nil || !setDeadline(listener, time.Now()) {
			return
		}
		select {
		case left := <-s.swept:
			if left {
				return
			}
			s.wake()
		case <-ctx.Done():
			return
		}
	}
}

// Shutdown stops accepting, closes idle connections, and waits for the running
// events until ctx ends. Then it cancels their contexts. It then runs Flush in
// what is left of ctx's time, at least a second, and closes all instances. It
// returns Flush's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(ctx)
	return s.end(ctx)
}

// leaveWithin is Shutdown within a time, but that it waits, until streams ends,
// for what runs outside of events. The time then begins anew.
func (s *Server) leaveWithin(streams context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	s.stop(ctx)
	if !s.finish(streams) {
		return s.end(ctx)
	}
	ctx, again := context.WithTimeout(context.Background(), d)
	defer again()
	return s.end(ctx)
}

// stop is the first half of Shutdown, up to the end of the last event.
func (s *Server) stop(ctx context.Context) {
	s.init()
	s.stopTaking()
	idle := make(chan struct{})
	go func() {
		s.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		s.Log.Warn("events still ran at the end of the drain time")
		s.abandon(idle)
	}
}

// finish waits between the halves until nothing is open any more or ctx ends,
// and reports whether it had to wait. By then Kong uses another process, if there
// is one, so that nothing new is opened here.
func (s *Server) finish(ctx context.Context) (waited bool) {
	n := s.open()
	if n == 0 || ctx.Err() != nil {
		return false
	}
	s.Log.Info("waiting for exchanges that still run", zap.Int("open", n))
	tick := time.NewTicker(openLook)
	defer tick.Stop()
	for s.open() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.Log.Warn("exchanges still ran at the end of their time", zap.Int("open", s.open()))
			return true
		}
	}
	return true
}

func (s *Server) open() int {
	if s.Open == nil {
		return 0
	}
	return s.Open()
}

// end is the second half of Shutdown.
func (s *Server) end(ctx context.Context) error {
	s.cancel()
	var err error
	if s.Flush != nil {
		err = s.flush(ctx)
	}
	s.instances.closeAll()
	return err
}

// stopTaking lets nothing new in: no connection, and no call on a connection.
func (s *Server) stopTaking() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	if s.listener != nil {
		s.listener.Close()
	}
	for c := range s.conns {
		c.drain()
	}
}

// abandon cancels the events that still run, leaves them a moment to refuse
// their exchanges, and then closes their connections.
func (s *Server) abandon(idle <-chan struct{}) {
	s.cancel()
	select {
	case <-idle:
		return
	case <-time.After(flushAtLeast):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *Server) leave() {
	defer func() {
		if v := recover(); v != nil {
			s.panicked("leave", v)
		}
	}()
	s.Leave()
}

func (s *Server) hangup() {
	defer func() {
		if v := recover(); v != nil {
			s.panicked("hangup", v)
		}
	}()
	if s.Hangup != nil {
		s.Hangup()
	}
}

func (s *Server) flush(ctx context.Context) (err error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		deadline = later(deadline, time.Now().Add(flushAtLeast))
		ctx, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
		defer cancel()
	}
	defer func() {
		if v := recover(); v != nil {
			s.panicked("flush", v)
			err = errors.New("panic while flushing background work")
		}
	}()
	return s.Flush(ctx)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// panicked logs a recovered panic with its stack. A text that was thrown may
// quote what was being worked on, so only the runtime's own texts are logged.
func (s *Server) panicked(where string, v any) {
	s.Counters.Panics.Add(1)
	what := fmt.Sprintf("a value of type %T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	s.Log.Error("panic", zap.String("in", where), zap.String("what", what), zap.ByteString("stack", debug.Stack()))
}
