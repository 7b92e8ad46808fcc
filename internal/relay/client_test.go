// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// through sends one raw request through a new relay to a target.
func through(t *testing.T, target relay.Target, request, ends string) (raw string) {
	t.Helper()
	s, address := newServer(t, relay.Options{})
	return exchangeRaw(t, address, withToken(request, s.Expect(hands(newClient(t), target))), ends)
}

func TestReplacedBody(t *testing.T) {
	up := record(t, "masked", ok, true)
	s, address := newServer(t, relay.Options{})
	client := newClient(t)
	to := target(up.Addr().String())
	token := s.Expect(exchange{serve: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer, err := client.Forward(r.Context(), r, []byte("masked"), &to)
		if err != nil {
			t.Error(err)
			return
		}
		relay.Pass(w, r, answer)
	}})
	request := "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nContent-Encoding: gzip\r\nContent-MD5: x\r\nDigest: x\r\nContent-Digest: x\r\nRepr-Digest: x\r\nContent-Type: a/b\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"
	exchangeRaw(t, address, withToken(request, token), "ok")
	want := form{Line: "POST /x HTTP/1.1", Headers: []string{"Content-Length: 6", "Content-Type: a/b", "Host: api.example:8443"}, Body: "masked"}
	if diff := cmp.Diff(want, parse(t, up.requests()[0], false)); diff != "" {
		t.Error(diff)
	}
}

// A script is an upstream that does something on each connection.
func script(t testing.TB, do func(n int, c net.Conn, in *bufio.Reader)) (address string, conns *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns = new(atomic.Int64)
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(conns.Add(1))
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				do(n, c, bufio.NewReader(c))
			})
		}
	})
	return l.Addr().String(), conns
}

// readRequest reads a request and its body.
func readRequest(in *bufio.Reader) error {
	r, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

// gone waits until the other side has closed.
func gone(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// TestUpstreamFails: what an upstream can do wrong, and that nothing of it says
// where it is.
func TestUpstreamFails(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	reset := func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() }
	says := func(text string) func(int, net.Conn, *bufio.Reader) {
		return func(_ int, c net.Conn, in *bufio.Reader) {
			if readRequest(in) == nil {
				_, _ = io.WriteString(c, text)
				gone(c)
			}
		}
	}
	for name, c := range map[string]struct {
		do     func(n int, c net.Conn, in *bufio.Reader) // nil for a closed port
		scheme string
		what   string
	}{
		"refuses":        {nil, "http", "it refuses connections"},
		"closes at once": {func(int, net.Conn, *bufio.Reader) {}, "http", ""},
		"resets":         {func(_ int, c net.Conn, in *bufio.Reader) { _ = readRequest(in); reset(c) }, "http", "the connection broke"},
		"closes in the head": {func(_ int, c net.Conn, in *bufio.Reader) {
			_ = readRequest(in)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX:")
		}, "http", "the connection broke"},
		"no HTTP":             {says("hello\r\n\r\n"), "http", ""},
		"a status of 099":     {says("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"), "http", "what it says is no answer"},
		"a negative status":   {says("HTTP/1.1 -99 X\r\nContent-Length: 0\r\n\r\n"), "http", ""},
		"101 unasked":         {says("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), "http", "what it says is no answer"},
		"too many headers":    {says("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 1001) + "Content-Length: 0\r\n\r\n"), "http", "what it says is no answer"},
		"headers too large":   {says("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 2<<20) + "\r\nContent-Length: 0\r\n\r\n"), "http", ""},
		"two lengths":         {says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"), "http", ""},
		"a bad header":        {says("HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n"), "http", ""},
		"TLS with plain HTTP": {func(_ int, c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "HTTP/1.1 400 X\r\n\r\n"); gone(c) }, "https", "TLS failed"},
	} {
		t.Run(name, func(t *testing.T) {
			address := closed.Addr().String()
			if c.do != nil {
				address, _ = script(t, c.do)
			}
			to := relay.Target{Scheme: c.scheme, Address: address, Host: "secret.example"}
			_, err := newClient(t).Forward(t.Context(), request(t, "/secret", nil), nil, &to)
			if !errors.Is(err, relay.ErrUpstream) || !strings.HasSuffix(err.Error(), c.what) || strings.ContainsAny(err.Error(), "0123456789[]") || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// request makes a POST, or a GET if there is no body.
func request(t testing.TB, path string, body io.Reader) *http.Request {
	method := http.MethodPost
	if body == nil {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.GetBody = nil // as a server has it
	if body != nil && r.ContentLength == 0 {
		r.ContentLength = -1
	}
	return r
}

// TestUpstreamBreaksInBody: the client must not take what it has for all.
func TestUpstreamBreaksInBody(t *testing.T) {
	for name, answer := range map[string]string{
		"chunked":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n5\r\nsec",
		"between chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
		"a bad chunk":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\nxyz\r\n",
		"length":         "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nfirst",
	} {
		t.Run(name, func(t *testing.T) {
			up := record(t, "", answer, true)
			raw := through(t, target(up.Addr().String()), "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "")
			if !strings.Contains(raw, "first") || strings.HasSuffix(raw, "0\r\n\r\n") {
				t.Errorf("answer %q", raw)
			}
			if r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil); err != nil {
				t.Error(err)
			} else if _, err := io.ReadAll(r.Body); err == nil {
				t.Errorf("the answer reads as whole: %q", raw)
			}
		})
	}
}

// TestTimeouts: each of the target's times ends a call, and none ends one in
// which somebody else takes the time.
func TestTimeouts(t *testing.T) {
	const short, long = 50 * time.Millisecond, patience
	silent := func(_ int, c net.Conn, _ *bufio.Reader) { gone(c) }
	half := func(_ int, c net.Conn, in *bufio.Reader) {
		_ = readRequest(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		gone(c)
	}
	for name, c := range map[string]struct {
		do     func(n int, c net.Conn, in *bufio.Reader) // nil for one that never reads
		target relay.Target
		body   io.Reader
		inBody bool
	}{
		"connect": {silent, relay.Target{Scheme: "https", Connect: short, Send: long, Read: long}, nil, false},
		"head":    {silent, relay.Target{Scheme: "http", Connect: long, Send: long, Read: short}, nil, false},
		"head after a body": {
			silent, relay.Target{Scheme: "http", Connect: long, Send: long, Read: short}, strings.NewReader("x"), false,
		},
		"body": {half, relay.Target{Scheme: "http", Connect: long, Send: long, Read: short}, nil, true},
		"send": {nil, relay.Target{Scheme: "http", Connect: long, Send: short, Read: long}, bytes.NewReader(make([]byte, 64<<20)), false},
	} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			if c.do == nil {
				c.do = func(int, net.Conn, *bufio.Reader) { <-over }
			}
			c.target.Address, _ = script(t, c.do)
			t.Cleanup(func() { close(over) })
			answer, err := newClient(t).Forward(t.Context(), request(t, "/", c.body), nil, &c.target)
			if c.inBody {
				for err == relay.ErrUpstreamTimeout && c.target.Read < long { //nolint:errorlint // the head took longer
					c.target.Read *= 4
					answer, err = newClient(t).Forward(t.Context(), request(t, "/", c.body), nil, &c.target)
				}
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(answer.Body)
				answer.Body.Close()
			}
			if err != relay.ErrUpstreamTimeout { //nolint:errorlint // nothing more is known
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestSlowOnesOfOurs: a client that sends slowly, and a reader that takes its
// time, are not the upstream's fault.
func TestSlowOnesOfOurs(t *testing.T) {
	for name, proto := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, identity := tlsUpstream(t, proto, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for range 4 {
					_, _ = io.WriteString(w, "text")
					_ = http.NewResponseController(w).Flush()
				}
			})
			slowly := func(bound time.Duration) (string, error) {
				to := relay.Target{Scheme: "https", Address: up, Host: "example.com", Send: bound, Read: bound, TLS: identity}
				body, say := io.Pipe()
				defer body.Close()
				go func() {
					_, _ = io.WriteString(say, "text")
					time.Sleep(bound * 5 / 4)
					say.Close()
				}()
				answer, err := newClient(t).Forward(t.Context(), request(t, "/", body), nil, &to)
				if err != nil {
					return "", err
				}
				defer answer.Body.Close()
				time.Sleep(bound * 5 / 4)
				all, err := io.ReadAll(answer.Body)
				return string(all), err
			}
			// What takes a moment takes a busy machine longer; one whose own time
			// counts is cut whatever the bound is.
			bound := time.Second
			all, err := slowly(bound)
			for err != nil && bound < patience/8 {
				bound *= 4
				all, err = slowly(bound)
			}
			if err != nil || all != strings.Repeat("text", 4) {
				t.Errorf("%q, %v", all, err)
			}
		})
	}
}

// tlsUpstream is one with a certificate for example.com and 127.0.0.1.
func tlsUpstream(t testing.TB, http2 bool, h http.HandlerFunc) (address string, identity *tls.Config) {
	t.Helper()
	up := httptest.NewUnstartedServer(h)
	up.EnableHTTP2 = http2
	up.StartTLS()
	t.Cleanup(up.Close)
	pool := x509.NewCertPool()
	pool.AddCert(up.Certificate())
	return up.Listener.Addr().String(), &tls.Config{RootCAs: pool}
}

// TestOverHTTP2 compares what an HTTP/2 upstream receives straight and through
// the relay, and what it answers.
func TestOverHTTP2(t *testing.T) {
	type seen struct {
		Proto, Method, URI, Host, Body string
		Length                         int64
		Header, Trailer                http.Header
	}
	var mu sync.Mutex
	var last seen
	up, identity := tlsUpstream(t, true, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		last = seen{r.Proto, r.Method, r.RequestURI, r.Host, digest(string(body)), r.ContentLength, r.Header.Clone(), r.Trailer.Clone()}
		mu.Unlock()
		w.Header()["Set-Cookie"] = []string{"a", "b", "a"}
		w.Header()["X-Latin"] = []string{"caf\xe9"}
		w.Header()["Date"] = nil
		if r.Method == http.MethodPost {
			w.Header()["Trailer"] = []string{"X-Sum"}
		}
		if r.Method == http.MethodHead {
			w.Header().Set("Content-Length", "12")
		}
		code := 200
		_, _ = fmt.Sscanf(r.URL.Query().Get("code"), "%d", &code)
		w.WriteHeader(code)
		if code == 200 && r.Method != http.MethodHead {
			_, _ = w.Write(body)
			_ = http.NewResponseController(w).Flush() // or it says a length
			w.Header().Set("X-Sum", "1")
			w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		}
	})
	large := strings.Repeat("0123456789abcdef", 20<<20/16)
	for name, c := range map[string]struct {
		method, uri, body string
		chunked           bool
		header            http.Header
	}{
		"GET":          {"GET", "/v1/models", "", false, nil},
		"POST":         {"POST", "/v1/chat?a=b&&;%zz", "{\"a\":\"\xff\"}", false, nil},
		"POST chunked": {"POST", "/", "text", true, nil},
		"20 MB":        {"POST", "/", large, false, nil},
		"HEAD":         {"HEAD", "/", "", false, nil},
		"204":          {"GET", "/?code=204", "", false, nil},
		"304":          {"GET", "/?code=304", "", false, nil},
		"odd path":     {"GET", "//a/../b/%2F;/%7e?", "", false, nil},
		"headers": {"DELETE", "/x", "body", false, http.Header{
			"X-Dup": {"2", "1", "2"}, "X-Latin": {"caf\xe9"}, "X-Empty": {""}, "Cookie": {"a=1; b=2"}, "Accept-Encoding": {"br"}, "User-Agent": {"curl/8"},
			"Content-Encoding": {"gzip"}, "X-Forwarded-For": {"1.2.3.4"}, "Forwarded": {"for=x"}, "Proxy-Authorization": {"x"}, "Te": {"trailers"},
		}},
		"trailers": {"POST", "/", "text", true, http.Header{"Trailer": {"X-Sum"}}},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t)
			s, address := newServer(t, relay.Options{})
			token := s.Expect(hands(client, relay.Target{Scheme: "https", Address: up, Host: "example.com:1", TLS: identity}))
			var results []any
			for _, straight := range []bool{true, false} {
				transport := &http.Transport{DisableCompression: true, TLSClientConfig: identity.Clone(), ForceAttemptHTTP2: true}
				defer transport.CloseIdleConnections()
				base := "https://" + up
				if !straight {
					base = "http://" + address
				}
				var body io.Reader
				if c.body != "" {
					body = struct{ io.Reader }{strings.NewReader(c.body)}
				}
				r, err := http.NewRequestWithContext(t.Context(), c.method, base, body)
				if err != nil {
					t.Fatal(err)
				}
				r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "", "", ""
				path, query, ask := strings.Cut(c.uri, "?")
				r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.URL.ForceQuery = strings.ReplaceAll(strings.ReplaceAll(path, "%2F", "/"), "%7e", "~"), path, query, ask
				r.Host = "example.com:1"
				if c.body != "" && !c.chunked {
					r.ContentLength = int64(len(c.body))
				}
				for k, v := range c.header {
					r.Header[k] = v
				}
				if r.Header["Trailer"] != nil {
					delete(r.Header, "Trailer")
					r.Trailer = http.Header{"X-Sum": {"7"}}
				}
				if r.Header["User-Agent"] == nil {
					r.Header["User-Agent"] = nil
				}
				if !straight {
					r.Header.Set("X-Relay-Token", token)
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil {
					t.Error(err)
				}
				delete(answer.Header, "X-Accel-Buffering")
				if c.method != "HEAD" {
					delete(answer.Header, "Content-Length")
				}
				mu.Lock()
				results = append(results, []any{last, answer.StatusCode, answer.Header, answer.Trailer, digest(string(got))})
				mu.Unlock()
				if last.Proto != "HTTP/2.0" {
					t.Errorf("over %s", last.Proto)
				}
			}
			if diff := cmp.Diff(results[0], results[1]); diff != "" {
				t.Errorf("(-straight +relayed)\n%.3000s", diff)
			}
		})
	}
}

// TestStreams: what an upstream says goes on before it says more, and a client
// that leaves ends the call.
func TestStreams(t *testing.T) {
	for name, c := range map[string]struct {
		http2   bool
		handsOn func(*relay.Client, relay.Target) exchange
	}{"HTTP/1.1": {false, hands}, "HTTP/1.1, as a whole": {false, holds}, "HTTP/2": {true, hands}} {
		t.Run(name, func(t *testing.T) {
			let, left := make(chan struct{}), make(chan struct{})
			up, identity := tlsUpstream(t, c.http2, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				for range 3 {
					_, _ = io.WriteString(w, "data: x\n\n")
					_ = http.NewResponseController(w).Flush()
					<-let
				}
				<-r.Context().Done()
				close(left)
			})
			s, address := newServer(t, relay.Options{})
			token := s.Expect(c.handsOn(newClient(t), relay.Target{Scheme: "https", Address: up, Host: "example.com", TLS: identity}))
			conn := dial(t, address)
			_, _ = io.WriteString(conn, withToken("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", token))
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				event := make([]byte, 9)
				if _, err := io.ReadFull(answer.Body, event); err != nil || string(event) != "data: x\n\n" {
					t.Fatalf("%q, %v", event, err)
				}
				let <- struct{}{}
			}
			if s.Open() != 1 {
				t.Errorf("%d open", s.Open())
			}
			conn.Close()
			<-left
		})
	}
}

// TestBothAtOnce: a client that sends and reads at a time.
func TestBothAtOnce(t *testing.T) {
	up, identity := tlsUpstream(t, true, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(flusher{w}, r.Body)
	})
	s, address := newServer(t, relay.Options{})
	token := s.Expect(hands(newClient(t), relay.Target{Scheme: "https", Address: up, TLS: identity}))
	body, say := io.Pipe()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, body)
	r.Header.Set("X-Relay-Token", token)
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for i := range 200 {
		said := fmt.Sprintf("%03d", i)
		if _, err := io.WriteString(say, said); err != nil {
			t.Fatal(err)
		}
		heard := make([]byte, 3)
		if _, err := io.ReadFull(answer.Body, heard); err != nil || string(heard) != said {
			t.Fatalf("%q, %v", heard, err)
		}
	}
	say.Close()
	if rest, err := io.ReadAll(answer.Body); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
}

type flusher struct{ http.ResponseWriter }

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	_ = http.NewResponseController(f.ResponseWriter).Flush()
	return n, err
}

// TestCancelled: the end of the context is the error, and the upstream hears of
// it.
func TestCancelled(t *testing.T) {
	heard := make(chan struct{})
	address, _ := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		_ = readRequest(in)
		close(heard)
		gone(c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-heard; cancel() }()
	to := target(address)
	if _, err := newClient(t).Forward(ctx, request(t, "/", nil), nil, &to); !errors.Is(err, context.Canceled) || errors.Is(err, relay.ErrUpstream) {
		t.Errorf("error %v", err)
	}
}

// TestBodyFails: who reads r's body for the first time hears what is wrong with
// it.
func TestBodyFails(t *testing.T) {
	address, _ := script(t, func(_ int, c net.Conn, _ *bufio.Reader) { gone(c) })
	tooLarge := errors.New("too large")
	body := io.MultiReader(strings.NewReader("text"), errReader{tooLarge})
	to := target(address)
	if _, err := newClient(t).Forward(t.Context(), request(t, "/", body), nil, &to); err != tooLarge { //nolint:errorlint // itself
		t.Errorf("error %v", err)
	}
}

type errReader struct{ error }

func (e errReader) Read([]byte) (int, error) { return 0, e.error }

// TestNothingTwice: an upstream that closes a kept connection when the next
// request has come gets a POST once, and a GET again.
func TestNothingTwice(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		body   []byte
		header string
		want   int64 // requests that come, the first one's too
	}{
		"POST":                            {"POST", []byte("text"), "", 2},
		"POST with a key":                 {"POST", []byte("text"), "Idempotency-Key", 2},
		"POST with our key":               {"POST", []byte("text"), "X-Idempotency-Key", 2},
		"POST without a body":             {"POST", nil, "", 2},
		"POST without a body, with a key": {"POST", nil, "Idempotency-Key", 3},
		"POST with an empty body":         {"POST", []byte{}, "", 2},
		"PUT":                             {"PUT", []byte("text"), "", 2},
		"DELETE":                          {"DELETE", nil, "", 2},
		"GET":                             {"GET", nil, "", 3},
		"GET with a key":                  {"GET", nil, "Idempotency-Key", 3},
		"GET with a body":                 {"GET", []byte("text"), "", 3},
		"GET with a body and a key":       {"GET", []byte("text"), "Idempotency-Key", 2},
		"OPTIONS":                         {"OPTIONS", nil, "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			var got atomic.Int64
			address, _ := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
				for i := 0; readRequest(in) == nil; i++ {
					got.Add(1)
					if i == 1 {
						return
					}
					_, _ = io.WriteString(c, ok)
				}
			})
			client := newClient(t)
			to := target(address)
			var err error
			for range 2 {
				r := request(t, "/", nil)
				r.Method = c.method
				if c.header != "" {
					r.Header.Set(c.header, "x")
				}
				var answer *http.Response
				if answer, err = client.Forward(t.Context(), r, c.body, &to); err == nil {
					_, _ = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				}
			}
			if got.Load() != c.want || (err == nil) != (c.want == 3) {
				t.Errorf("%d requests, %v", got.Load(), err)
			}
		})
	}
}

// TestKeptConnections: one connection serves all requests that come one after
// the other, and each identity and name has its own.
func TestKeptConnections(t *testing.T) {
	var conns atomic.Int64
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.TLS.ServerName) }))
	up.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	up.StartTLS()
	t.Cleanup(up.Close)
	pool := x509.NewCertPool()
	pool.AddCert(up.Certificate())
	a, b := &tls.Config{RootCAs: pool}, &tls.Config{RootCAs: pool}
	named := &tls.Config{RootCAs: pool, ServerName: "www.example.com"}
	ip := up.Listener.Addr().String()
	port := netip.MustParseAddrPort(ip).Port()
	client := newClient(t)
	for i, c := range []struct {
		address, host string
		identity      *tls.Config
		name          string // "" for a failure
		conns         int64  // opened by then
	}{
		{ip, "example.com", a, "example.com", 1},
		{ip, "example.com:99", a, "example.com", 1},
		{ip, "sub.example.com", a, "sub.example.com", 2},
		{ip, "example.com", b, "example.com", 3},
		{ip, "other.example", named, "www.example.com", 4},
		{ip, ip, a, "-", 5}, // verified by address, no name is sent
		{ip, "other.example", a, "", 6},
		{ip, "example.com", nil, "", 7},
		{fmt.Sprintf("localhost:%d", port), "example.com", a, "", 8}, // the name of the service, not the client's
		{ip, "example.com", a, "example.com", 8},
		{ip, "Example.com", &tls.Config{InsecureSkipVerify: true}, "Example.com", 9}, //nolint:gosec // as a configuration may ask for
	} {
		to := relay.Target{Scheme: "https", Address: c.address, Host: c.host, TLS: c.identity}
		answer, err := client.Forward(t.Context(), request(t, "/", nil), nil, &to)
		if c.name == "" {
			if !errors.Is(err, relay.ErrUpstream) || !strings.HasSuffix(err.Error(), "certificate was not accepted") {
				t.Errorf("%d: error %v", i, err)
			}
		} else if err != nil {
			t.Errorf("%d: error %v", i, err)
		} else {
			got, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if string(got) != strings.Trim(c.name, "-") {
				t.Errorf("%d: the name %q", i, got)
			}
		}
		if n := conns.Load(); n != c.conns {
			t.Errorf("%d: %d connections", i, n)
		}
	}
}

// TestThousandAtOnce through one relay to one upstream.
func TestThousandAtOnce(t *testing.T) {
	const n = 1000
	var here sync.WaitGroup
	here.Add(n)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		here.Done()
		here.Wait() // all are open now
		_, _ = w.Write(body)
	}))
	t.Cleanup(up.Close)
	s, address := newServer(t, relay.Options{})
	client := newClient(t)
	transport := &http.Transport{MaxIdleConnsPerHost: n}
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			text := fmt.Sprint("text ", i)
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, strings.NewReader(text))
			r.Header.Set("X-Relay-Token", s.Expect(hands(client, target(up.Listener.Addr().String()))))
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				here.Done()
				return
			}
			defer answer.Body.Close()
			if got, err := io.ReadAll(answer.Body); err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wg.Wait()
}
