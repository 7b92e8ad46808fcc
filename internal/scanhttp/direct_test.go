// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

// kept is how many connections to a URL's host are idle in the direct way.
func kept(t *testing.T, c *Client, address string) int {
	t.Helper()
	to, fail := c.target(address)
	if fail != nil {
		t.Fatal(*fail)
	}
	if to.host == nil {
		return 0
	}
	return to.host.pool.Idle()
}

// The rule by which calls are made directly or by net/http.
func TestWhichCallsAreDirect(t *testing.T) {
	onlyDirect(t)
	ok := func(http.ResponseWriter, *http.Request) {}
	plain := func() string {
		srv := httptest.NewServer(http.HandlerFunc(ok))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	secure, ca := tlsService(t, ok, nil)
	two, twoCA := tlsService(t, ok, func(s *httptest.Server) { s.EnableHTTP2 = true })
	for _, c := range []struct {
		name, url string
		opts      Options
		r         Request
		want      int
	}{
		{"http", plain(), Options{}, Request{}, 1},
		{"a name", strings.Replace(plain(), "127.0.0.1", "localhost", 1), Options{}, Request{}, 1},
		{"https", secure.URL, Options{SSLVerify: true, CAFile: ca}, Request{}, 1},
		{"HTTP/2", two.URL, Options{SSLVerify: true, CAFile: twoCA}, Request{}, 0},
		{"a proxy", "http://scan.example", Options{HTTPProxy: plain()}, Request{}, 0},
		{"as large as is copied", plain(), Options{}, Request{Body: make([]byte, mostCopied)}, 1},
		{"large", plain(), Options{}, Request{Body: make([]byte, mostCopied+1)}, 1},
		{"large, https", secure.URL, Options{SSLVerify: true, CAFile: ca}, Request{Body: make([]byte, 200<<10)}, 1},
		{"a header of the connection's", plain(), Options{}, Request{Header: http.Header{"connection": {"close"}}}, 0},
		{"a header of its own", plain(), Options{}, Request{Header: http.Header{"X-Key": {"k"}}}, 1},
		{"a name of its own", plain(), Options{}, Request{Header: http.Header{"User-Agent": {"kong-ai-guard"}}}, 1},
		{"no name", plain(), Options{}, Request{Header: http.Header{"User-Agent": {" "}}}, 0},
		{"two names", plain(), Options{}, Request{Header: http.Header{"User-Agent": {"a", "b"}}}, 0},
		{"a name in another case", plain(), Options{}, Request{Header: http.Header{"user-agent": {"a"}}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := client(t, c.opts)
			for range 3 {
				c.r.URL = c.url
				if _, err := cl.Post(t.Context(), c.r); err != nil {
					t.Fatal(err)
				}
			}
			if got := kept(t, cl, c.url); got != c.want {
				t.Errorf("%d direct connections, want %d", got, c.want)
			}
		})
	}
	for address, want := range map[string]bool{
		"http://scan.example": true, "https://127.0.0.1:443": true, "http://[::1]": true,
		"http://bücher.example": false, "http://[fe80::1%25lo]": false, "http://scan.example:": false,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := http1.PlainHost(u.Host); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// A service that chooses HTTP/2 is connected to once in vain, not for each call.
func TestHTTP2IsRemembered(t *testing.T) {
	var conns atomic.Int32
	srv, ca := tlsService(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns.Add(1)
			}
		}
	})
	c := client(t, Options{SSLVerify: true, CAFile: ca})
	for range 5 {
		if _, err := c.Post(t.Context(), Request{URL: srv.URL}); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n > 2 {
		t.Errorf("5 calls took %d connections", n)
	}
}

// The certificate has to be of the name in the URL, wherever that leads.
func TestTheNameIsVerified(t *testing.T) {
	var asked atomic.Value
	srv, ca := tlsService(t, func(http.ResponseWriter, *http.Request) {}, func(s *httptest.Server) {
		s.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { asked.Store(h.ServerName); return nil, nil }}
	})
	pem, err := readCA(ca)
	if err != nil {
		t.Fatal(err)
	}
	for name, reason := range map[string]string{"example.com": "", "other.example": ReasonCertificate} {
		transport, fail := newTransport(Options{SSLVerify: true, MaxConns: 1}, pem)
		if fail != nil {
			t.Fatal(*fail)
		}
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != name+":443" {
				t.Errorf("dials %s", address)
			}
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		}
		_, err := newClient(Options{}, transport).Post(t.Context(), Request{URL: "https://" + name + "/"})
		if reason == "" && err != nil || reason != "" && failure(t, err).Reason != reason || asked.Load() != name {
			t.Errorf("%s: %v, asked for %v", name, err, asked.Load())
		}
		transport.CloseIdleConnections()
	}
}

// What a service says unasked is never taken for the answer to the next call.
func TestWhatIsSaidUnaskedIsNoAnswer(t *testing.T) {
	onlyDirect(t) // net/http may read it before or after it sends the next call
	const forged = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	for _, c := range []struct {
		name   string
		secure bool
		later  bool // in a segment of its own
	}{
		{"together", false, false},
		{"later", false, true},
		{"in a record of its own, together", true, false},
		{"in a record of its own, later", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			said := make(chan struct{}, 10)
			go func() {
				for {
					raw, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer raw.Close()
						held := &holdingConn{Conn: raw}
						var conn net.Conn = held
						if c.secure {
							conn = tls.Server(held, certificate.TLS)
						}
						r := bufio.NewReader(conn)
						for {
							req, err := http.ReadRequest(r)
							if err != nil {
								return
							}
							_, _ = io.Copy(io.Discard, req.Body)
							held.hold = !c.later
							_, _ = io.WriteString(conn, plainAnswer)
							_, _ = io.WriteString(conn, forged)
							held.release()
							said <- struct{}{}
						}
					}()
				}
			}()
			cl := client(t, Options{})
			address := "http" + map[bool]string{true: "s"}[c.secure] + "://" + l.Addr().String()
			for i := range 20 {
				resp, err := cl.Post(t.Context(), Request{URL: address, Body: []byte("x")})
				if err != nil || string(resp.Body) != "{}" {
					t.Fatalf("call %d: %q, %v", i, resp.Body, err)
				}
				<-said
			}
		})
	}
}

// A holdingConn can hold back what is written, so that it goes out as one.
type holdingConn struct {
	net.Conn
	hold bool
	held bytes.Buffer
}

func (c *holdingConn) Write(p []byte) (int, error) {
	if c.hold {
		return c.held.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *holdingConn) release() {
	if c.hold = false; c.held.Len() > 0 {
		_, _ = c.held.WriteTo(c.Conn)
	}
}

// A call is repeated on a new connection only while the service has said
// nothing, and once.
func TestAnAnswerThatHasBegunIsNotAskedForAgain(t *testing.T) {
	var calls atomic.Int32
	address, conns := rawService(t, func(_, call int) (string, bool) {
		calls.Add(1)
		if call > 1 {
			return "HTTP/1.1 2", true
		}
		return plainAnswer, false
	})
	c := client(t, Options{})
	r := Request{URL: address, Body: []byte("x")}
	if _, err := c.Post(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	_, err := c.Post(t.Context(), r)
	failure(t, err)
	if calls.Load() != 2 || conns.Load() != 1 {
		t.Errorf("%d calls on %d connections", calls.Load(), conns.Load())
	}
}

func TestAClosedConnectionIsNotUsed(t *testing.T) {
	var calls atomic.Int32
	closed := make(chan struct{}, 10)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		calls.Add(1)
	}))
	srv.Config.IdleTimeout = time.Millisecond
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	srv.Start()
	defer srv.Close()
	c := client(t, Options{})
	for range 3 {
		if _, err := c.Post(t.Context(), Request{URL: srv.URL, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		<-closed
	}
	if calls.Load() != 3 {
		t.Errorf("3 calls came as %d", calls.Load())
	}
}

// Of many calls at once no more than the bound have connections, and the
// others wait, but not beyond their deadline.
func TestConnectionsAreBounded(t *testing.T) {
	const bound, callers = 2, 8
	var open, most atomic.Int32
	entered, leave := make(chan struct{}, callers), make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-leave
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			now := open.Add(1)
			for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
			}
		case http.StateClosed:
			open.Add(-1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := client(t, Options{MaxConns: bound})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if _, err := c.Post(t.Context(), Request{URL: srv.URL, Body: []byte("x")}); err != nil {
				t.Error(err)
			}
		})
	}
	for range bound {
		<-entered
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Post(ctx, Request{URL: srv.URL, Body: []byte("x")})
	if f := failure(t, err); f.Reason != ReasonTimeout {
		t.Errorf("who waits in vain gets %+v", *f)
	}
	close(leave)
	wg.Wait()
	if n := most.Load(); n > bound {
		t.Errorf("%d connections at once", n)
	}
}

// Connections that are idle for too long are closed, without another call.
func TestIdleConnectionsAreClosed(t *testing.T) {
	closed := make(chan time.Time, 10)
	onPipes(t, nil, func() (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			r := bufio.NewReader(theirs)
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					closed <- time.Now()
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				time.Sleep(time.Second) // so that calls at once take several connections
				_, _ = io.WriteString(theirs, plainAnswer)
			}
		}()
		return ours, nil
	}, func(t *testing.T, c *Client) {
		post := func() {
			if _, err := c.Post(t.Context(), Request{URL: serviceURL, Body: []byte("x")}); err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(post)
		}
		wg.Wait()
		time.Sleep(80 * time.Second)
		if len(closed) > 0 {
			t.Fatal("closed too early")
		}
		post() // one of them begins anew
		again := time.Now()
		time.Sleep(time.Hour)
		if len(closed) != 3 {
			t.Fatalf("%d of 3 were closed", len(closed))
		}
		for i := range 3 {
			want := again.Add(9 * time.Second)
			if i == 2 {
				want = again.Add(90 * time.Second)
			}
			if at := <-closed; !at.Equal(want) {
				t.Errorf("connection %d was closed %v after the last call", i, at.Sub(again))
			}
		}
		post()
		time.Sleep(time.Hour)
		if len(closed) != 1 {
			t.Errorf("%d closed in the second round", len(closed))
		}
	})
}

// A call leaves nothing running, however it ends, and a connection whose call
// was given up is not used again.
func TestCallsLeaveNothingBehind(t *testing.T) {
	onlyDirect(t)
	defer leaks.Verify(t, goleak.IgnoreCurrent())
	for _, c := range []struct {
		name, answer string
		last         bool
	}{
		{"answered", plainAnswer, false},
		{"half a head", "HTTP/1.1 200 OK\r\n", false},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", false},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{", false},
		{"no answer", "", false},
		{"reset", "", true},
	} {
		for _, how := range []string{"canceled", "deadline"} {
			t.Run(c.name+", "+how, func(t *testing.T) {
				var (
					address string
					conns   *atomic.Int32
					cl      *Client
					ctx     context.Context
					err     error
				)
				// A call whose time is over before the service has it is made again,
				// of another service, with more time.
				for limit := 20 * time.Millisecond; ; limit *= 4 {
					within, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: limit, false: 2 * time.Minute}[how == "deadline"])
					defer cancel()
					came := make(chan struct{}, 1)
					address, conns = rawService(t, func(conn, _ int) (string, bool) {
						if conn > 1 {
							return plainAnswer, false
						}
						select {
						case came <- struct{}{}:
						default:
						}
						if how == "canceled" {
							time.AfterFunc(20*time.Millisecond, cancel)
						}
						return c.answer, c.last
					})
					cl, ctx = client(t, Options{}), within
					_, err = cl.Post(ctx, Request{URL: address, Body: []byte("x")})
					if len(came) > 0 || limit > time.Minute {
						break
					}
				}
				if c.answer == plainAnswer && err != nil {
					// It may have been given up before the answer came.
					if f := failure(t, err); f.Reason != ReasonCanceled && f.Reason != ReasonTimeout {
						t.Errorf("got %+v", *f)
					}
				} else if c.answer != plainAnswer {
					f := failure(t, err)
					want := map[string]string{"canceled": ReasonCanceled, "deadline": ReasonTimeout}[how]
					if c.last {
						want = ReasonReset
					}
					if f.Reason != want && !(c.last && ctx.Err() != nil) {
						t.Errorf("got %+v", *f)
					}
					if n := kept(t, cl, address); n != 0 {
						t.Errorf("%d connections are kept", n)
					}
				}
				before := conns.Load()
				if resp, err := cl.Post(t.Context(), Request{URL: address, Body: []byte("x")}); err != nil || string(resp.Body) != "{}" {
					t.Errorf("the next call: %q, %v", resp.Body, err)
				}
				if c.answer != plainAnswer && conns.Load() != before+1 {
					t.Error("the next call was made over the same connection")
				}
				for _, h := range cl.direct.hosts {
					h.pool.CloseIdle()
				}
			})
		}
	}
}

// A lastMoment is a connection on which the answer comes as the call's context
// ends, and is read after that has set a deadline.
type lastMoment struct {
	bytesConn
	cancel func()
	ended  chan struct{}
}

func (c *lastMoment) Read(p []byte) (int, error) {
	c.cancel()
	<-c.ended
	return c.bytesConn.Read(p)
}

func (c *lastMoment) SetDeadline(time.Time) error {
	close(c.ended)
	return nil
}

// An answer that comes at the last moment counts, but its connection has a
// deadline that is over, and no other call may meet it.
func TestAConnectionWithADeadlineIsNotKept(t *testing.T) {
	onlyDirect(t)
	ctx, cancel := context.WithCancel(t.Context())
	onPipes(t, nil, func() (net.Conn, error) {
		return &lastMoment{bytesConn{Reader: strings.NewReader(plainAnswer)}, cancel, make(chan struct{})}, nil
	}, func(t *testing.T, c *Client) {
		if resp, err := c.Post(ctx, Request{URL: serviceURL, Body: []byte("x")}); err != nil || string(resp.Body) != "{}" {
			t.Errorf("got %q, %v", resp.Body, err)
		}
		if n := kept(t, c, serviceURL); n != 0 {
			t.Errorf("%d connections are kept", n)
		}
	})
}

// A connection that takes longer than its call may is there for the next.
func TestASlowConnectionIsNotLost(t *testing.T) {
	handler, calls := answers(200)
	dials := 0
	onPipes(t, handler, func() (net.Conn, error) {
		dials++
		time.Sleep(150 * time.Millisecond)
		return nil, nil
	}, func(t *testing.T, c *Client) {
		for i, want := range []string{ReasonTimeout, "", ""} {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := c.Post(ctx, Request{URL: serviceURL, Body: []byte("x")})
			if want == "" && err != nil || want != "" && failure(t, err).Reason != want {
				t.Errorf("call %d: %v", i, err)
			}
			cancel()
			time.Sleep(100 * time.Millisecond)
		}
		if dials != 1 || calls.Load() != 2 {
			t.Errorf("%d connections, %d calls", dials, calls.Load())
		}
	})
}

// Calls that get no connection give their places back, however that ends.
func TestPlacesAreGivenBack(t *testing.T) {
	onlyDirect(t)
	for name, dial := range map[string]func() (net.Conn, error){
		"refused": func() (net.Conn, error) { return nil, errors.New("refused") },
		"late":    func() (net.Conn, error) { time.Sleep(2 * time.Second); return nil, errors.New("timeout") },
		"panic":   func() (net.Conn, error) { panic("dial") },
		"late and well": func() (net.Conn, error) {
			time.Sleep(2 * time.Second)
			return &bytesConn{Reader: strings.NewReader("")}, nil
		},
		"closed": func() (net.Conn, error) { return &bytesConn{Reader: strings.NewReader("")}, nil },
		"well":   func() (net.Conn, error) { return &bytesConn{Reader: strings.NewReader(plainAnswer)}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, nil, dial, func(t *testing.T, c *Client) {
				for i := range 3 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					_, err := c.Post(ctx, Request{URL: serviceURL, Body: []byte("x"), MaxRetries: i % 2})
					if (name == "well") != (err == nil) {
						t.Errorf("got %v", err)
					}
					cancel()
				}
				time.Sleep(time.Minute)
				for _, h := range c.direct.hosts {
					if len(h.slots) > 0 {
						t.Errorf("%d places are taken", len(h.slots))
					}
				}
			})
		})
	}
}

// Many callers, some of whom give up, get their own answers.
func TestAnswersAreTheCallersOwn(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if len(b)%3 == 0 {
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(b)
	}))
	defer srv.Close()
	c := client(t, Options{MaxConns: 4})
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for i := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%7 == caller%7 {
					time.AfterFunc(time.Duration(i)*5*time.Microsecond, cancel)
				}
				body := strings.Repeat(string(rune('a'+caller)), 1+i*50)
				resp, err := c.Post(ctx, Request{URL: srv.URL, Body: []byte(body)})
				if err == nil && string(resp.Body) != body {
					t.Errorf("caller %d got another's answer", caller)
				}
				if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
					t.Errorf("caller %d: %v", caller, err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

// A service may refuse a large call before it has read all, and read no more. The
// answer counts, the call does not wait for its deadline, and its body is not read
// any more, which the race detector sees.
func TestLargeCallsHearAnEarlyAnswer(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("TLS %v, closes %v", secure, closes), func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				address, opts := "http://"+l.Addr().String(), Options{}
				if secure {
					srv, ca := tlsService(t, func(http.ResponseWriter, *http.Request) {}, nil)
					l = tls.NewListener(l, srv.TLS)
					address, opts = "https://"+l.Addr().String(), Options{SSLVerify: true, CAFile: ca}
				}
				over := make(chan struct{})
				defer close(over)
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						go func() {
							defer c.Close()
							_, _ = c.Read(make([]byte, 1000))
							_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
							if !closes {
								<-over
							}
						}()
					}
				}()
				cl := client(t, opts)
				body := make([]byte, 32<<20)
				for range 3 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					start := time.Now()
					resp, err := cl.Post(ctx, Request{URL: address, Body: body})
					cancel()
					clear(body)
					// One that hangs up with bytes unread may have its answer lost on the way.
					if f := failure(t, err); !closes && (f.Kind != scan.TooLarge || resp.Status != 413) {
						t.Errorf("%+v", *f)
					}
					if took := time.Since(start); took > 50*time.Second {
						t.Errorf("took %v", took)
					}
				}
				if n := kept(t, cl, address); n != 0 {
					t.Errorf("%d connections are kept on which a call was not sent", n)
				}
			})
		}
	}
}

// A large call ends with its time and with its caller, whatever the service reads.
func TestLargeCallsEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	body := make([]byte, 32<<20)
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"its time": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 200*time.Millisecond)
		},
		"a deadline of ours": func(ctx context.Context) (context.Context, context.CancelFunc) {
			c := deadline.New(ctx, time.Now().Add(200*time.Millisecond))
			return c, c.Release
		},
		"its caller": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(200*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := end(t.Context())
			defer cancel()
			_, err := client(t, Options{}).Post(ctx, Request{URL: "http://" + l.Addr().String(), Body: body})
			clear(body)
			if f := failure(t, err); f.Kind != scan.Unavailable {
				t.Errorf("%+v", *f)
			}
		})
	}
}
