// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A generation is what a start of Kong, or a reload, brings up: its workers,
// and the plugin servers, which worker 0 starts and takes with it.
type generation struct {
	gw      *Gateway
	workers []*kongWorker
	runs    map[string]*pluginRun // by the plugin's name
}

// A pluginRun is one plugin server of a generation, and what each worker holds
// of it.
type pluginRun struct {
	process *process
	workers []*worker
}

// A kongWorker is a worker process of Kong: it has its own clients, its own
// connections to the plugin servers, and ends when both have ended.
type kongWorker struct {
	gen     *generation
	number  int
	server  *http.Server
	clients *feed
	served  chan struct{}
	tunnels sync.WaitGroup
	// fresh are the clients that have connected and sent nothing yet. net/http
	// would close on them when it ends, and nginx does not.
	fresh   atomic.Int64
	unheard sync.Map // their connections
}

// heard says that a connection is no longer fresh.
func (k *kongWorker) heard(c net.Conn) {
	if _, was := k.unheard.LoadAndDelete(c); was {
		k.fresh.Add(-1)
	}
}

type connKey struct{}

// freshTime is how long a worker that ends waits for clients that have sent
// nothing yet.
const freshTime = 5 * time.Second

func (gw *Gateway) newGeneration() *generation {
	g := &generation{gw: gw, runs: map[string]*pluginRun{}}
	for name, p := range gw.plugins {
		run := &pluginRun{process: newProcess(p.server, gw.prefix, name, p.socket, func(text string) {
			gw.logs.add(Line{Level: "info", Plugin: name, Output: true, Text: text})
		})}
		for range gw.cfg.Workers {
			run.workers = append(run.workers, newWorker(gw, p))
		}
		g.runs[name] = run
	}
	return g
}

// start brings the plugin servers up, and then the workers.
func (g *generation) start() error {
	for _, name := range slices.Sorted(maps.Keys(g.runs)) {
		if err := g.runs[name].process.start(); err != nil {
			return err
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	for number := range g.gw.cfg.Workers {
		k := &kongWorker{gen: g, number: number, clients: newFeed(g.gw.listener.Addr()), served: make(chan struct{})}
		k.server = &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				k.heard(r.Context().Value(connKey{}).(net.Conn))
				g.gw.ServeHTTP(w, r)
			}),
			Protocols:         protocols,
			ReadHeaderTimeout: 60 * time.Second,
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				k.fresh.Add(1)
				k.unheard.Store(c, nil)
				return context.WithValue(context.WithValue(ctx, workerKey{}, k), connKey{}, c)
			},
			ConnState: func(c net.Conn, state http.ConnState) {
				if state == http.StateClosed || state == http.StateHijacked {
					k.heard(c)
				}
			},
		}
		g.workers = append(g.workers, k)
		go func() {
			defer close(k.served)
			if err := k.server.Serve(k.clients); !errors.Is(err, http.ErrServerClosed) {
				g.gw.logs.add(Line{Level: "alert", Text: "serving: " + err.Error()})
			}
		}()
	}
	return nil
}

// retire ends a worker after a reload: it takes no new client, lets those that
// it has finish, and goes. Worker 0 takes the plugin servers with it, whoever
// else still needs them.
func (k *kongWorker) retire() {
	gw := k.gen.gw
	linger := time.After(gw.cfg.Linger)
	for end := time.Now().Add(freshTime); k.fresh.Load() > 0 && time.Now().Before(end) && gw.life.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	_ = k.server.Shutdown(gw.life) // it ends early when the gateway closes
	<-k.served
	k.tunnels.Wait()
	select {
	case <-linger:
	case <-gw.life.Done():
	}
	for _, run := range k.gen.runs {
		run.workers[k.number].close()
	}
	if k.number != 0 || gw.life.Err() != nil {
		return // Close ends the processes by itself
	}
	var stopped sync.WaitGroup
	for _, run := range k.gen.runs {
		stopped.Go(func() { run.process.kill(gw.cfg.KillAfter) })
	}
	stopped.Wait()
}

// Reload does what `kong reload` does: new workers and new plugin servers are
// there at once and take all new clients, with the configuration as it is now.
// The old ones stay until their clients have their answers. Then, and after
// Config.Linger, each old worker ends; with worker 0 end the old plugin
// servers, though other old workers may still need them.
func (gw *Gateway) Reload() error {
	gw.applying.Lock()
	d := gw.declarative
	gw.applying.Unlock()
	next := gw.newGeneration()
	gw.mu.Lock()
	gw.generations = append(gw.generations, next) // Close ends it, also when it fails
	gw.mu.Unlock()
	if err := next.start(); err != nil {
		return err
	}
	if err := gw.Apply(d); err != nil { // new workers give everything new numbers
		return err
	}
	old := gw.current.Swap(next)
	for _, k := range old.workers {
		gw.retiring.Go(k.retire)
	}
	return nil
}

// accept gives each new client to a worker of the current generation, in turn.
func (gw *Gateway) accept() {
	for {
		conn, err := gw.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				gw.logs.add(Line{Level: "alert", Text: "accepting: " + err.Error()})
			}
			return
		}
		for taken := false; !taken && gw.life.Err() == nil; {
			workers := gw.current.Load().workers
			taken = workers[int(gw.turn.Add(1)-1)%len(workers)].clients.offer(conn)
		}
	}
}

// A feed is a listener whose connections come from another one.
type feed struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newFeed(addr net.Addr) *feed {
	return &feed{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// offer hands a connection over, unless the feed is closed.
func (f *feed) offer(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.closed:
		return false
	}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *feed) Addr() net.Addr { return f.addr }
