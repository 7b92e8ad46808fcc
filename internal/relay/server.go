// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// headerTime is what the head of a request may take. Kong sends it in one
	// go, so only a machine that stands still needs more than a moment.
	headerTime = 30 * time.Second
	// idleTime is how long a connection of Kong's may be unused. It has to be
	// longer than Kong keeps one (upstream_keepalive_idle_timeout, 60 s unless
	// somebody has changed it): whoever closes first may do so just as the other
	// one sends, and then a client gets 502.
	idleTime = time.Hour
	// arrival is how long Shutdown waits for requests that Kong was told to send
	// here and that did not come yet.
	arrival = time.Second
	// look is how often Shutdown looks whether it is quiet.
	look = 5 * time.Millisecond
)

// A Server is the listener of a process. It starts with the first Address.
type Server struct {
	o      Options
	tokens tokens

	open, refused atomic.Int64

	mu      sync.Mutex
	http    *http.Server // nil while nothing listens
	address netip.AddrPort
	closed  bool
	base    context.Context // of all requests
	cut     context.CancelFunc
}

// Options are what a Server is made of. Each has a default.
type Options struct {
	// Header is the name of the header that carries the token.
	Header string
	// Within is how long after Expect a request counts as missed; 60 s. It is
	// served all the same if it comes within 15 minutes more.
	Within time.Duration
	// Waiting is how many exchanges may be expected at a time; 100,000. When
	// more are, the one that waits for the longest time counts as missed.
	// Requests come within milliseconds, so what is old won't come any more.
	Waiting int
	// Panicked hears of each panic that was recovered, on the goroutine that
	// panicked, while the stack is still there.
	Panicked func(v any)
}

// New makes a server that listens to nothing yet.
func New(o Options) *Server {
	o.Header = http.CanonicalHeaderKey(cmp.Or(o.Header, "X-Relay-Token"))
	if o.Panicked == nil {
		o.Panicked = func(any) {}
	}
	s := &Server{o: o}
	s.base, s.cut = context.WithCancel(context.Background())
	s.tokens.init(cmp.Or(o.Within, time.Minute), cmp.Or(o.Waiting, 100_000), s.missed)
	return s
}

// Address is where Kong has to send requests to. It starts listening, on a
// loopback port of the system's choice, if nobody has yet. It fails while no
// port can be had, and after Shutdown has begun.
func (s *Server) Address() (netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return netip.AddrPort{}, http.ErrServerClosed
	}
	if s.http != nil {
		return s.address, nil
	}
	l, err := listen()
	if err != nil {
		return netip.AddrPort{}, err
	}
	s.address = l.Addr().(*net.TCPAddr).AddrPort()
	s.http = s.server()
	go s.serve(s.http, l)
	return s.address, nil
}

func listen() (net.Listener, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		var err6 error
		if l, err6 = net.Listen("tcp6", "[::1]:0"); err6 != nil {
			return nil, err
		}
	}
	return l, nil
}

func (s *Server) server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		Protocols:         protocols,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		// OPTIONS * is the upstream's to answer.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return s.base },
		ConnState:                    s.state,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ErrorLog: log.New(io.Discard, "", 0), // anybody on the machine could fill it
	}
}

// connKey is where a request's context has its connection.
type connKey struct{}

// serve runs h until Shutdown. If it ends by itself, the next Address starts
// another one.
func (s *Server) serve(h *http.Server, l net.Listener) {
	err := h.Serve(watched{l})
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, http.ErrServerClosed) && s.http == h {
		s.http = nil
	}
}

// Header is the name of the header that carries the token.
func (s *Server) Header() string { return s.o.Header }

// Expect makes the token with which the request of x has to come. It is good
// until the exchange is answered or Forget is called. After Shutdown has begun,
// it is good for nothing.
func (s *Server) Expect(x Exchange) (token string) { return s.tokens.expect(x) }

// Forget makes a token worthless, unless its request is being served. Missed is
// not called.
func (s *Server) Forget(token string) { s.tokens.forget(token) }

// Open is how many exchanges are being served.
func (s *Server) Open() int { return int(s.open.Load()) }

// Waiting is how many exchanges are expected, and did not come yet.
func (s *Server) Waiting() int { return s.tokens.waiting() }

// Refused is how many requests came without the token of an exchange.
func (s *Server) Refused() int64 { return s.refused.Load() }

// Shutdown waits until the exchanges that run have ended, or until ctx ends,
// when it cuts them. It expects no new ones. What was expected before is served
// if it comes within a second: Kong has been told already.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	h := s.http
	s.mu.Unlock()
	s.tokens.close()
	defer s.cut()
	defer s.tokens.drop()
	if h == nil {
		return nil
	}
	err := s.quiet(ctx)
	if err == nil {
		err = h.Shutdown(ctx)
	}
	if err != nil {
		s.cut() // those of tunnels, which net/http has let go of
		h.Close()
	}
	return err
}

// quiet waits until nothing runs and nothing is to come.
func (s *Server) quiet(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for start := time.Now(); s.Open() > 0 || s.Waiting() > 0 && time.Since(start) < arrival; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*headConn); ok {
		c.handed()
	}
	e := s.claim(r)
	if e == nil {
		s.refused.Add(1)
		say(w, http.StatusNotFound, "no such exchange")
		return
	}
	if r.Method == methodWithdraw {
		s.tokens.leave(e, true)
		say(w, http.StatusNotFound, "no such exchange")
		return
	}
	s.open.Add(1)
	defer s.open.Add(-1)
	// Whoever has gone has no answer. If it is nginx, which lost a connection,
	// it sends the request once more.
	defer func() { s.tokens.leave(e, r.Context().Err() == nil) }()
	// Without it, net/http reads what is left of the request before it sends an
	// answer, and a stream that both sides still use breaks.
	_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/1.1 can
	// Then what nobody has read of the request has to be read here, or net/http
	// breaks the connection, which may just take somebody else's request.
	defer r.Body.Close()
	a := &answerWriter{ResponseWriter: w}
	a.Header()["X-Accel-Buffering"] = noBuffering()
	defer s.recovered(a)
	e.exchange.Serve(a, r)
	if !a.wrote {
		say(a, http.StatusServiceUnavailable, "no answer")
	}
	if a.Header()["Content-Length"] != nil {
		_ = http.NewResponseController(w).Flush() // it is all there, and need not wait for the body
	}
}

// claim takes the token out of the request and finds its entry, nil for none.
// Kong sends HTTP/1.1 and no CONNECT.
func (s *Server) claim(r *http.Request) *entry {
	given := r.Header[s.o.Header]
	delete(r.Header, s.o.Header)
	if len(given) != 1 || r.Method == http.MethodConnect || !r.ProtoAtLeast(1, 1) {
		return nil
	}
	return s.tokens.enter(given[0])
}

// recovered ends an exchange that panicked.
func (s *Server) recovered(a *answerWriter) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // it is thrown as it is
		panic(v)
	}
	s.o.Panicked(v)
	if a.wrote {
		panic(http.ErrAbortHandler)
	}
	h := a.Header()
	clear(h) // of an answer that there is not
	h["X-Accel-Buffering"] = noBuffering()
	say(a, http.StatusServiceUnavailable, "no answer")
}

// missed tells an exchange that its request never came.
func (s *Server) missed(x Exchange) {
	defer func() {
		if v := recover(); v != nil {
			s.o.Panicked(v)
		}
	}()
	x.Missed()
}

// say answers with a short text of ours.
func say(w http.ResponseWriter, status int, text string) {
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"message":"`+text+`"}`)
}

// An answerWriter knows whether anything was written.
type answerWriter struct {
	http.ResponseWriter
	wrote bool
}

func (a *answerWriter) WriteHeader(status int) {
	a.wrote = a.wrote || status >= 200 || status == http.StatusSwitchingProtocols
	a.ResponseWriter.WriteHeader(status)
}

func (a *answerWriter) Write(b []byte) (int, error) {
	a.wrote = true
	return a.ResponseWriter.Write(b)
}

func (a *answerWriter) Flush() {
	a.wrote = true
	a.ResponseWriter.(http.Flusher).Flush()
}

func (a *answerWriter) FlushError() error {
	a.wrote = true
	return http.NewResponseController(a.ResponseWriter).Flush()
}

func (a *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(a.ResponseWriter).Hijack()
	a.wrote = a.wrote || err == nil
	return conn, buf, err
}

// Unwrap is for http.ResponseController.
func (a *answerWriter) Unwrap() http.ResponseWriter { return a.ResponseWriter }
