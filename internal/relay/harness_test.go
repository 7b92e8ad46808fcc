// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// patience is how long a test waits for what has to come: the machine may be
// busy, and nothing but a failure takes so long.
const patience = 2 * time.Minute

// An exchange is one of a function.
type exchange struct {
	serve  func(w http.ResponseWriter, r *http.Request)
	missed func()
}

func (x exchange) Serve(w http.ResponseWriter, r *http.Request) { x.serve(w, r) }

func (x exchange) Missed() {
	if x.missed != nil {
		x.missed()
	}
}

// newServer makes a server that ends with the test.
func newServer(t testing.TB, o relay.Options) (s *relay.Server, address string) {
	t.Helper()
	s = relay.New(o)
	a, err := s.Address()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what still runs is the test's own fault
		_ = s.Shutdown(ctx)
	})
	return s, a.String()
}

func newClient(t testing.TB) *relay.Client {
	t.Helper()
	c := relay.NewClient()
	t.Cleanup(c.CloseIdle)
	return c
}

// hands is an exchange that hands on, untouched.
func hands(c *relay.Client, target relay.Target) exchange {
	return exchange{serve: func(w http.ResponseWriter, r *http.Request) {
		answer, err := c.Forward(r.Context(), r, nil, &target)
		if err != nil {
			status := http.StatusBadGateway
			if errors.Is(err, relay.ErrUpstreamTimeout) {
				status = http.StatusGatewayTimeout
			}
			http.Error(w, err.Error(), status)
			return
		}
		relay.Pass(w, r, answer)
	}}
}

// holds is an exchange that hands on what it has read before, as after a scan.
func holds(c *relay.Client, target relay.Target) exchange {
	on := hands(c, target)
	return exchange{serve: func(w http.ResponseWriter, r *http.Request) {
		if r.Body != http.NoBody {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			hold(r, body)
		}
		on.serve(w, r)
	}}
}

// hold gives r a body that can be read again.
func hold(r *http.Request, body []byte) {
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
}

// handsOn are the ways in which an exchange hands on what it does not change.
var handsOn = map[string]func(*relay.Client, relay.Target) exchange{"as it comes": hands, "as a whole": holds}

// dial connects, for as long as the test.
func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// A recorder is an upstream of raw HTTP/1.1, which keeps each connection's
// bytes and answers with fixed ones once it has seen the end of a request.
type recorder struct {
	net.Listener
	ends   string // what a request ends with
	answer string
	closes bool

	mu    sync.Mutex
	got   []*bytes.Buffer
	conns sync.WaitGroup
}

func record(t testing.TB, ends, answer string, closes bool) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{Listener: l, ends: ends, answer: answer, closes: closes}
	rec.conns.Go(rec.serve)
	t.Cleanup(func() {
		l.Close()
		rec.conns.Wait()
	})
	return rec
}

func (rec *recorder) serve() {
	for {
		c, err := rec.Accept()
		if err != nil {
			return
		}
		buf := new(bytes.Buffer)
		rec.mu.Lock()
		rec.got = append(rec.got, buf)
		rec.mu.Unlock()
		rec.conns.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(patience))
			rec.one(c, buf)
		})
	}
}

func (rec *recorder) one(c net.Conn, buf *bytes.Buffer) {
	piece := make([]byte, 64<<10)
	head, expects, asked, seen := false, false, false, 0
	for {
		n, err := c.Read(piece)
		rec.mu.Lock()
		buf.Write(piece[:n])
		all := buf.Bytes()
		if !head && bytes.Contains(all, []byte("\r\n\r\n")) {
			head, expects = true, bytes.Contains(all, []byte("Expect: 100-continue"))
		}
		done := head && len(all) > seen && bytes.HasSuffix(all, []byte(rec.ends))
		rec.mu.Unlock()
		if expects && !asked {
			asked = true
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if done {
			seen = len(all)
			_, _ = io.WriteString(c, rec.answer)
			if rec.closes {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// requests returns what each connection has sent.
func (rec *recorder) requests() (all []string) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, b := range rec.got {
		all = append(all, b.String())
	}
	return all
}

func target(address string) relay.Target {
	return relay.Target{Scheme: "http", Address: address, Host: "api.example:8443"}
}

// withToken puts the token's header into a raw request, behind its first line.
func withToken(request, token string) string {
	line, rest, _ := strings.Cut(request, "\r\n")
	return line + "\r\nx-relay-token: " + token + "\r\n" + rest
}
