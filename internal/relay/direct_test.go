// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// forwarded hands a request on and reads its answer.
func forwarded(t *testing.T, ctx context.Context, c *relay.Client, r *http.Request, body []byte, to relay.Target) (*http.Response, string, error) {
	t.Helper()
	answer, err := c.Forward(ctx, r, body, &to)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	return answer, string(all), err
}

// TestWhichAreDirect: the rule by which requests are sent directly or by net/http.
func TestWhichAreDirect(t *testing.T) {
	onlyDirect(t)
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Host != "api.example" && !strings.HasPrefix(r.Host, "127.") {
			t.Errorf("host %q", r.Host)
		}
		_, _ = w.Write(body)
	}
	plain := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(plain.Close)
	secure, identity := tlsUpstream(t, false, echo)
	two, twoIdentity := tlsUpstream(t, true, echo)
	over := func(scheme, address string, identity *tls.Config) relay.Target {
		return relay.Target{Scheme: scheme, Address: address, Host: "api.example", TLS: identity, Read: patience, Send: patience, Connect: patience}
	}
	http1, https := over("http", plain.Listener.Addr().String(), nil), over("https", secure, identity)
	https.TLS.ServerName, twoIdentity.ServerName = "example.com", "example.com"
	noHost := http1
	noHost.Host = ""
	post := func(body string) *http.Request {
		r := request(t, "/", strings.NewReader(body))
		hold(r, []byte(body))
		return r
	}
	with := func(r *http.Request, name, value string) *http.Request {
		r.Header[name] = []string{value}
		return r
	}
	big := strings.Repeat("x", 64<<10)
	for name, c := range map[string]struct {
		r      *http.Request
		body   []byte
		to     relay.Target
		direct bool
	}{
		"a GET":                           {request(t, "/", nil), nil, http1, true},
		"a HEAD":                          {func() *http.Request { r := request(t, "/", nil); r.Method = "HEAD"; return r }(), nil, http1, true},
		"what was read before":            {post("text"), nil, http1, true},
		"another body":                    {post("text"), []byte("other"), http1, true},
		"another body in place of chunks": {request(t, "/", io.MultiReader(strings.NewReader("text"))), []byte("other"), http1, true},
		"an empty one":                    {post("text"), []byte{}, http1, true},
		"TLS":                             {post("text"), nil, https, true},
		"HTTP/2":                          {post("text"), nil, over("https", two, twoIdentity), false},
		"what comes while it is sent":     {request(t, "/", strings.NewReader("text")), nil, http1, false},
		"chunks":                          {request(t, "/", io.MultiReader(strings.NewReader("text"))), nil, http1, false},
		"large":                           {post("text"), []byte(big), http1, false},
		"as large as can be":              {post("text"), []byte(big[1<<10:]), http1, true},
		"a large head":                    {with(post("text"), "X-A", big), nil, http1, false},
		"no host":                         {post("text"), nil, noHost, false},
		"Expect":                          {with(post("text"), "Expect", "100-continue"), nil, http1, false},
		"Expect, with another body":       {with(post("text"), "Expect", "100-continue"), []byte("other"), http1, true},
		"an upgrade that is not asked":    {with(post("text"), "Upgrade", "h2c"), nil, http1, true},
		"Te":                              {with(post("text"), "Te", "trailers"), nil, http1, true},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t)
			want := string(c.body)
			if c.body == nil && c.r.GetBody != nil || strings.HasPrefix(name, "what comes") || name == "chunks" {
				want = "text"
			}
			answer, got, err := forwarded(t, t.Context(), client, c.r, c.body, c.to)
			if err != nil || answer.StatusCode != 200 || got != want {
				t.Errorf("%q, %v", got, err)
			}
			if n := client.Kept(); n != map[bool]int{true: 1}[c.direct] {
				t.Errorf("%d direct connections", n)
			}
		})
	}
	t.Run("what is not as long as it says", func(t *testing.T) { // what net/http makes of that is a race
		for _, said := range []int64{3, 5} {
			r, client := post("text"), newClient(t)
			r.ContentLength = said
			if _, got, _ := forwarded(t, t.Context(), client, r, nil, http1); client.Kept() != 0 || got == "text" {
				t.Errorf("said %d: %q, %d direct connections", said, got, client.Kept())
			}
		}
	})
	t.Run("another scheme", func(t *testing.T) { // net/http knows none either, and says nothing without TLS
		for _, scheme := range []string{"", "HTTPS", "wss", "grpcs"} {
			if _, got, err := forwarded(t, t.Context(), newClient(t), post("text"), nil, over(scheme, plain.Listener.Addr().String(), nil)); !errors.Is(err, relay.ErrUpstream) {
				t.Errorf("%s: %q, %v", scheme, got, err)
			}
		}
	})
	t.Run("what HTTP cannot say", func(t *testing.T) {
		for _, r := range []*http.Request{with(post("text"), "X-A", "a\r\nX-B: c"), with(post("text"), "X A", "a"), with(post("text"), "X-A", "\x00")} {
			if answer, got, err := forwarded(t, t.Context(), newClient(t), r, nil, http1); !errors.Is(err, relay.ErrUpstream) {
				t.Errorf("%q: %v %q, %v", r.Header, answer, got, err)
			}
		}
	})
}

// TestHTTP2IsRemembered: an upstream that chooses HTTP/2 is connected to once in
// vain, not for each request and each of its addresses.
func TestHTTP2IsRemembered(t *testing.T) {
	var conns atomic.Int64
	var addresses []string
	identity := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it is ours
	for range 2 {
		up := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		up.EnableHTTP2 = true
		up.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		}
		up.StartTLS()
		t.Cleanup(up.Close)
		addresses = append(addresses, up.Listener.Addr().String())
	}
	client := newClient(t)
	for range 5 {
		for _, address := range addresses {
			to := relay.Target{Scheme: "https", Address: address, Host: "h", TLS: identity}
			answer, _, err := forwarded(t, t.Context(), client, request(t, "/", nil), nil, to)
			if err != nil || answer.ProtoMajor != 2 {
				t.Fatal(answer, err)
			}
		}
	}
	if n := conns.Load(); n > 3 {
		t.Errorf("10 requests to two addresses took %d connections", n)
	}
}

// TestClosedMeanwhile: what was kept and is closed is not used, whatever is to
// be sent.
func TestClosedMeanwhile(t *testing.T) {
	onlyDirect(t) // net/http may see it too late
	var got atomic.Int64
	closed := make(chan struct{}, 3)
	address, conns := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if readRequest(in) == nil {
			got.Add(1)
			_, _ = io.WriteString(c, ok)
		}
		c.Close()
		closed <- struct{}{}
	})
	client := newClient(t)
	for range 3 {
		if _, all, err := forwarded(t, t.Context(), client, request(t, "/", nil), []byte("text"), target(address)); err != nil || all != "ok" {
			t.Errorf("%q, %v", all, err)
		}
		<-closed
	}
	if got.Load() != 3 || conns.Load() != 3 {
		t.Errorf("%d requests on %d connections", got.Load(), conns.Load())
	}
}

// TestLeftBefore: for a client that has left, an upstream does not begin to work.
func TestLeftBefore(t *testing.T) {
	var got atomic.Int64
	address, conns := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for readRequest(in) == nil {
			got.Add(1)
			_, _ = io.WriteString(c, ok)
		}
	})
	client := newClient(t)
	if _, all, err := forwarded(t, t.Context(), client, request(t, "/", nil), []byte("text"), target(address)); err != nil || all != "ok" {
		t.Fatalf("%q, %v", all, err)
	}
	left, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if _, _, err := forwarded(t, left, client, request(t, "/", nil), []byte("text"), target(address)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
	if _, all, err := forwarded(t, t.Context(), client, request(t, "/", nil), []byte("text"), target(address)); err != nil || all != "ok" {
		t.Fatalf("%q, %v", all, err)
	}
	if got.Load() != 2 || conns.Load() != 1 {
		t.Errorf("%d requests on %d connections", got.Load(), conns.Load())
	}
}

// TestUnaskedIsNoAnswer: what an upstream says before it is asked is not taken
// for what it says then.
func TestUnaskedIsNoAnswer(t *testing.T) {
	onlyDirect(t) // net/http may read it before or after it sends the next one
	said := make(chan struct{}, 10)
	address, _ := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for readRequest(in) == nil {
			_, _ = io.WriteString(c, ok)
			_, _ = io.WriteString(c, strings.Replace(ok, "\r\n\r\nok", "\r\n\r\nno", 1))
			said <- struct{}{}
		}
	})
	client := newClient(t)
	for range 10 {
		if _, all, err := forwarded(t, t.Context(), client, request(t, "/", nil), []byte("text"), target(address)); err != nil || all != "ok" {
			t.Fatalf("%q, %v", all, err)
		}
		<-said
	}
}

// TestEarlyAnswer: an upstream that answers before it has read anything, and
// goes on or hangs up.
func TestEarlyAnswer(t *testing.T) {
	body := []byte(strings.Repeat("x", 60<<10))
	for name, stays := range map[string]bool{"stays": true, "closes its half": false} {
		t.Run(name, func(t *testing.T) {
			read := make(chan struct{})
			address, _ := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
				_, _ = in.Peek(1)
				_, _ = io.WriteString(c, "HTTP/1.1 413 X\r\nContent-Length: 5\r\n\r\nearly")
				if !stays {
					_ = c.(*net.TCPConn).CloseWrite()
				}
				<-read
				gone(c)
			})
			client := newClient(t)
			answer, all, err := forwarded(t, t.Context(), client, request(t, "/", nil), body, target(address))
			close(read)
			if err != nil || answer.StatusCode != 413 || all != "early" {
				t.Errorf("%q, %v", all, err)
			}
			client.CloseIdle()
		})
	}
}

// TestAnswerForms: what net/http makes of an answer, and what is made of it here.
func TestAnswerForms(t *testing.T) {
	onlyDirect(t)
	for name, c := range map[string]struct{ method, answer string }{
		"length":                {"POST", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX: a\r\nX: b\r\n\r\ntext"},
		"chunks":                {"POST", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n"},
		"trailers":              {"POST", "HTTP/1.1 200 OK\r\nTrailer: x-a, X-B\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\nX-A: 1\r\nX-C: 2\r\n\r\n"},
		"trailers, not said":    {"POST", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\nX-A: 1\r\n\r\n"},
		"trailers of no chunks": {"POST", "HTTP/1.1 200 OK\r\nTrailer: X-A\r\nContent-Length: 4\r\n\r\ntext"},
		"up to the end":         {"POST", "HTTP/1.1 200 OK\r\n\r\ntext"},
		"1.0":                   {"POST", "HTTP/1.0 200 OK\r\n\r\ntext"},
		"after others":          {"POST", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext"},
		"nothing":               {"POST", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"204":                   {"POST", "HTTP/1.1 204 X\r\n\r\n"},
		"304":                   {"GET", "HTTP/1.1 304 X\r\nContent-Length: 4\r\nEtag: x\r\n\r\n"},
		"HEAD":                  {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"},
		"HEAD, chunks":          {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"HEAD, nothing said":    {"HEAD", "HTTP/1.1 200 OK\r\n\r\n"},
		"Pragma":                {"GET", "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 0\r\n\r\n"},
		"Pragma with more":      {"GET", "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nCache-Control: private\r\nContent-Length: 0\r\n\r\n"},
		"Connection":            {"GET", "HTTP/1.1 200 OK\r\nConnection: close, X-A\r\nX-A: 1\r\nContent-Length: 4\r\n\r\ntext"},
		"999":                   {"GET", "HTTP/1.1 999\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, "/", nil)
			r.Method = c.method
			want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(c.answer[strings.LastIndex(c.answer, "HTTP/1."):])), r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(want.Body)
			if err != nil {
				t.Fatal(err)
			}
			up := record(t, "\r\n\r\n", c.answer, true)
			got, all, err := forwarded(t, t.Context(), newClient(t), r, nil, target(up.Addr().String()))
			if err != nil {
				t.Fatal(err)
			}
			delete(got.Header, "Connection") // net/http takes it off where it says close
			form := func(a *http.Response, body string) []any {
				return []any{a.StatusCode, a.Header, a.ContentLength, a.Trailer, a.Request.Method, body}
			}
			if diff := cmp.Diff(form(want, string(body)), form(got, all)); diff != "" {
				t.Errorf("(-net/http +here)\n%s", diff)
			}
		})
	}
}

// TestAmbiguousAnswers: what two readers could take for answers of different
// lengths is none, and does not go on as one of them.
func TestAmbiguousAnswers(t *testing.T) {
	onlyDirect(t)
	const head = "HTTP/1.1 200 OK\r\n"
	for _, answer := range []string{
		head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		head + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		head + "Content-Length: 2, 2\r\n\r\nok",
		head + "Content-Length: +2\r\n\r\nok",
		head + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	} {
		up := record(t, "\r\n\r\n", answer, true)
		client := newClient(t)
		_, all, err := forwarded(t, t.Context(), client, request(t, "/", nil), nil, target(up.Addr().String()))
		if !errors.Is(err, relay.ErrUpstream) || !strings.HasSuffix(err.Error(), "what it says is no answer") || client.Kept() != 0 {
			t.Errorf("%q: %q, %v", answer, all, err)
		}
	}
}

// TestCancelledInBody: a client that leaves in the middle of an answer ends it
// while it is waited for, and the connection with it.
func TestCancelledInBody(t *testing.T) {
	for name, answer := range map[string]string{
		"length": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntext",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n",
		"end":    "HTTP/1.1 200 OK\r\n\r\ntext",
	} {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{})
			address, _ := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
				_ = readRequest(in)
				_, _ = io.WriteString(c, answer)
				gone(c)
				close(left)
			})
			ctx, cancel := context.WithCancel(t.Context())
			client, to := newClient(t), target(address)
			answer, err := client.Forward(ctx, request(t, "/", nil), []byte("text"), &to)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if _, err := io.ReadFull(answer.Body, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(5*time.Millisecond, cancel)
			if n, err := answer.Body.Read(make([]byte, 4)); n > 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("%d bytes, %v", n, err)
			}
			<-left
			if client.Kept() != 0 {
				t.Error("its connection is kept")
			}
		})
	}
}

// TestClosedWhileRead: an answer may be closed by another goroutine than the one
// that waits for more of it, and not all may want all.
func TestClosedWhileRead(t *testing.T) {
	left := make(chan struct{}, 1)
	address, _ := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		_ = readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntext")
		gone(c)
		left <- struct{}{}
	})
	client, to := newClient(t), target(address)
	answer, err := client.Forward(t.Context(), request(t, "/", nil), nil, &to)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*time.Millisecond, func() { answer.Body.Close() })
	if all, err := io.ReadAll(answer.Body); string(all) != "text" || !errors.Is(err, relay.ErrUpstream) {
		t.Errorf("%q, %v", all, err)
	}
	<-left
	if n, err := answer.Body.Read(make([]byte, 1)); n > 0 || !errors.Is(err, relay.ErrUpstream) {
		t.Errorf("after that %d bytes, %v", n, err)
	}
	answer.Body.Close()
	if client.Kept() != 0 {
		t.Error("its connection is kept")
	}
}

// TestManyUpstreams: more upstreams than there is room for have as many pools and
// connections as there is.
func TestManyUpstreams(t *testing.T) {
	onlyDirect(t)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	t.Cleanup(up.Close)
	_, port, _ := net.SplitHostPort(up.Listener.Addr().String())
	client := newClient(t)
	for i := range 1100 {
		// One of many names of one place.
		to := relay.Target{Scheme: "http", Address: "127.0.0.1:" + strings.Repeat("0", i) + port, Host: "h"}
		if _, all, err := forwarded(t, t.Context(), client, request(t, "/", nil), nil, to); err != nil || all != "ok" {
			t.Fatalf("%d: %q, %v", i, all, err)
		}
	}
	if hosts, kept := client.Hosts(), client.Kept(); hosts != 1024 || kept < 1000 || kept > 1024 {
		t.Errorf("%d connections are kept in %d pools", kept, hosts)
	}
}
