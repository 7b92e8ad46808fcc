// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// onPipes runs f in a bubble of fake time, with a client whose connections
// are pipes to a server that runs handler. A nil conn from dial stands for a
// connection of the server's.
func onPipes(t *testing.T, handler http.HandlerFunc, dial func() (net.Conn, error), f func(t *testing.T, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		transport, fail := newTransport(Options{MaxConns: defaultConns}, nil)
		if fail != nil {
			t.Fatal(fail)
		}
		l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			if dial != nil {
				if c, err := dial(); c != nil || err != nil {
					return c, err
				}
			}
			ours, theirs := net.Pipe()
			l.conns <- theirs
			return ours, nil
		}
		srv := &http.Server{Handler: handler, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, usesKey{}, new(int))
		}}
		go func() { _ = srv.Serve(l) }()
		defer func() {
			transport.CloseIdleConnections()
			_ = srv.Close()
			time.Sleep(time.Minute) // lets handlers in mid sleep see it
		}()
		f(t, newClient(Options{SecretField: "api_key", EndpointField: "api_endpoint"}, transport))
	})
}

// usesKey is where a request's context counts its connection's requests.
type usesKey struct{}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

const serviceURL = "http://scan.example/v1"

// failure is err as what Post promises.
func failure(t *testing.T, err error) *scan.Failure {
	t.Helper()
	var f *scan.Failure
	if !errors.As(err, &f) {
		t.Fatalf("error %v is no *scan.Failure", err)
	}
	return f
}

func answers(statuses ...int) (http.HandlerFunc, *atomic.Int32) {
	var calls atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := int(calls.Add(1)) - 1
		w.WriteHeader(statuses[min(n, len(statuses)-1)])
		_, _ = io.WriteString(w, "answer")
	}, &calls
}

func TestPostSendsWhatItIsGiven(t *testing.T) {
	var got *http.Request
	var body string
	onPipes(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		_, _ = io.WriteString(w, `{"ok":true}`)
	}, nil, func(t *testing.T, c *Client) {
		h := http.Header{"X-Pan-Token": {"k"}}
		resp, err := c.Post(t.Context(), Request{URL: serviceURL + "?a=b", Header: h, Body: []byte("hello")})
		if err != nil || resp.Status != 200 || string(resp.Body) != `{"ok":true}` {
			t.Fatalf("got %d %q, %v", resp.Status, resp.Body, err)
		}
		if got.Method != "POST" || got.URL.String() != "/v1?a=b" || got.Host != "scan.example" || body != "hello" || got.ContentLength != 5 {
			t.Errorf("sent %s %s to %s, %d bytes %q", got.Method, got.URL, got.Host, got.ContentLength, body)
		}
		if got.UserAgent() != "Go-http-client/1.1" {
			t.Errorf("called by %q", got.UserAgent())
		}
		if _, err := c.Post(t.Context(), Request{URL: serviceURL, Header: http.Header{"User-Agent": {"us"}}}); err != nil || got.UserAgent() != "us" || len(got.Header["User-Agent"]) != 1 {
			t.Errorf("called by %q, %v", got.Header["User-Agent"], err)
		}
		got, h = nil, http.Header{"X-Pan-Token": {"k"}}
		if _, err := c.Post(t.Context(), Request{URL: serviceURL, Header: h}); err != nil {
			t.Fatal(err)
		}
		if got.Header.Get("X-Pan-Token") != "k" || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("sent headers %v", got.Header)
		}
		if _, sent := got.Header["X-Idempotency-Key"]; sent || got.Header.Get("Accept-Encoding") != "" {
			t.Errorf("sent headers nobody asked for: %v", got.Header)
		}
		if len(h) != 1 {
			t.Errorf("the caller's header was changed: %v", h)
		}
	})
}

func TestPostRetries(t *testing.T) {
	for _, tc := range []struct {
		name     string
		statuses []int
		retries  int
		status   int
		calls    int32
	}{
		{"503 then 200", []int{503, 200}, 1, 200, 2},
		{"502 then 200", []int{502, 200}, 1, 200, 2},
		{"504 then 200", []int{504, 200}, 1, 200, 2},
		{"503 for good", []int{503}, 1, 503, 2},
		{"no retries wanted", []int{503, 200}, 0, 503, 1},
		{"500 is not repeated", []int{500, 200}, 1, 500, 1},
		{"429 is not repeated", []int{429, 200}, 1, 429, 1},
		{"401 is not repeated", []int{401, 200}, 1, 401, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			handler, calls := answers(tc.statuses...)
			onPipes(t, handler, nil, func(t *testing.T, c *Client) {
				resp, err := c.Post(t.Context(), Request{URL: serviceURL, Body: []byte("x"), MaxRetries: tc.retries})
				if resp.Status != tc.status || (err == nil) != (tc.status == 200) || calls.Load() != tc.calls {
					t.Errorf("status %d after %d calls, error %v; want %d after %d", resp.Status, calls.Load(), err, tc.status, tc.calls)
				}
			})
		})
	}
}

func TestPostRetriesConnectionErrors(t *testing.T) {
	var dials atomic.Int32
	dial := func() (net.Conn, error) {
		if dials.Add(1) == 1 {
			return nil, &net.OpError{Op: "dial", Err: errors.New("unreachable")}
		}
		return nil, nil
	}
	handler, _ := answers(200)
	onPipes(t, handler, dial, func(t *testing.T, c *Client) {
		if _, err := c.Post(t.Context(), Request{URL: serviceURL, MaxRetries: 1}); err != nil {
			t.Error(err)
		}
	})
	dials.Store(0)
	onPipes(t, handler, dial, func(t *testing.T, c *Client) {
		_, err := c.Post(t.Context(), Request{URL: serviceURL})
		if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != ReasonNetwork {
			t.Errorf("got %+v", f)
		}
	})
}

func TestPostSurvivesAKeptConnectionThatWasClosed(t *testing.T) {
	var calls atomic.Int32
	onPipes(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		calls.Add(1)
		uses := r.Context().Value(usesKey{}).(*int)
		if *uses++; *uses > 1 {
			// The server's idle time was over just as we sent.
			conn, _, _ := w.(http.Hijacker).Hijack()
			_ = conn.Close()
		}
	}, nil, func(t *testing.T, c *Client) {
		for range 3 {
			if _, err := c.Post(t.Context(), Request{URL: serviceURL, Body: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
		if calls.Load() != 5 {
			t.Errorf("%d calls; each but the first should have met a closed connection", calls.Load())
		}
	})
}

func TestPostKeepsTheDeadline(t *testing.T) {
	dribble := func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(200 * time.Millisecond)
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	late := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(600 * time.Millisecond)
		w.WriteHeader(503)
	}
	for name, handler := range map[string]http.HandlerFunc{"dribble": dribble, "hang": hang, "late failures": late} {
		t.Run(name, func(t *testing.T) {
			onPipes(t, handler, nil, func(t *testing.T, c *Client) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				_, err := c.Post(ctx, Request{URL: serviceURL, MaxRetries: 1})
				if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != ReasonTimeout || f.Hint != "timeout_ms" {
					t.Errorf("got %+v", f)
				}
				if d := time.Since(start); d != time.Second {
					t.Errorf("took %v, want 1s", d)
				}
			})
		})
	}
	t.Run("none given", func(t *testing.T) {
		onPipes(t, hang, nil, func(t *testing.T, c *Client) {
			start := time.Now()
			_, err := c.Post(context.Background(), Request{URL: serviceURL})
			if f := failure(t, err); f.Reason != ReasonTimeout || time.Since(start) != maxCall {
				t.Errorf("got %+v after %v", f, time.Since(start))
			}
		})
	})
}

func TestPostEndsWithItsCaller(t *testing.T) {
	onPipes(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}, nil, func(t *testing.T, c *Client) {
		for range 2 * failuresToOpen {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err := c.Post(ctx, Request{URL: serviceURL, MaxRetries: 1})
			if f := failure(t, err); f.Reason != ReasonCanceled {
				t.Fatalf("got %+v: callers who leave must not open the breaker", f)
			}
		}
	})
}

func TestPostBoundsTheAnswer(t *testing.T) {
	for _, tc := range []struct {
		name   string
		size   int
		length bool
		ok     bool
	}{
		{"at the limit", maxAnswer, true, true},
		{"at the limit, chunked", maxAnswer, false, true},
		{"over it", maxAnswer + 1, true, false},
		{"over it, chunked", maxAnswer + 1, false, false},
		{"far over it", 100 << 20, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onPipes(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.length {
					w.Header().Set("Content-Length", fmt.Sprint(tc.size))
				}
				chunk := make([]byte, 64<<10)
				for left := tc.size; left > 0; left -= len(chunk) {
					if _, err := w.Write(chunk[:min(left, len(chunk))]); err != nil {
						return
					}
				}
			}, nil, func(t *testing.T, c *Client) {
				resp, err := c.Post(t.Context(), Request{URL: serviceURL})
				if tc.ok {
					if err != nil || len(resp.Body) != tc.size {
						t.Errorf("read %d bytes, %v", len(resp.Body), err)
					}
					return
				}
				if f := failure(t, err); f.Kind != scan.Degraded || f.Reason != ReasonAnswerTooLarge {
					t.Errorf("got %+v", f)
				}
			})
		})
	}
}

func TestPostNeverFollowsARedirect(t *testing.T) {
	var calls atomic.Int32
	onPipes(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusTemporaryRedirect)
	}, nil, func(t *testing.T, c *Client) {
		resp, err := c.Post(t.Context(), Request{URL: serviceURL, MaxRetries: 1})
		f := failure(t, err)
		if resp.Status != 307 || f.Kind != scan.Degraded || f.Hint != "api_endpoint" || calls.Load() != 1 {
			t.Errorf("status %d, %+v, %d calls", resp.Status, f, calls.Load())
		}
	})
}

func TestPostStaysAwayFromAServiceThatIsDown(t *testing.T) {
	handler, calls := answers(500, 500, 500, 500, 500, 200)
	onPipes(t, handler, nil, func(t *testing.T, c *Client) {
		post := func(url string) error {
			_, err := c.Post(t.Context(), Request{URL: url, MaxRetries: 1})
			return err
		}
		for range failuresToOpen {
			if f := failure(t, post(serviceURL)); f.Reason != "status 500" {
				t.Fatalf("got %+v", f)
			}
		}
		f := failure(t, post(serviceURL+"/other/path"))
		if f.Kind != scan.Unavailable || f.Reason != ReasonBreakerOpen || f.RetryAfter != firstOpen || calls.Load() != failuresToOpen {
			t.Fatalf("got %+v after %d calls", f, calls.Load())
		}
		time.Sleep(firstOpen)
		if err := post(serviceURL); err != nil {
			t.Fatalf("the probe: %v", err)
		}
		if err := post("http://other.example/"); err != nil {
			t.Fatalf("another host: %v", err)
		}
	})
}

func TestBreakersOfHostsAreTheirOwn(t *testing.T) {
	onPipes(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "scan.example" {
			w.WriteHeader(500)
		}
	}, nil, func(t *testing.T, c *Client) {
		for range 2 * failuresToOpen {
			_, _ = c.Post(t.Context(), Request{URL: serviceURL})
		}
		if _, err := c.Post(t.Context(), Request{URL: "http://other.example/"}); err != nil {
			t.Error(err)
		}
	})
}

func TestPostThrottled(t *testing.T) {
	fiveSeconds := func([]byte) time.Duration { return 5 * time.Second }
	silent := func([]byte) time.Duration { return 0 }
	for _, tc := range []struct {
		name   string
		header func() string
		body   func([]byte) time.Duration
		want   time.Duration // announced
		away   time.Duration
	}{
		{"body", func() string { return "20" }, fiveSeconds, 5 * time.Second, 5 * time.Second},
		{"header", func() string { return "20" }, silent, 20 * time.Second, 20 * time.Second},
		{"no body parser", func() string { return "20" }, nil, 20 * time.Second, 20 * time.Second},
		{"date", func() string { return time.Now().UTC().Add(9 * time.Second).Format(http.TimeFormat) }, nil, 9 * time.Second, 9 * time.Second},
		{"past date", func() string { return time.Now().UTC().Add(-time.Hour).Format(http.TimeFormat) }, nil, 0, firstOpen},
		{"nonsense", func() string { return "soon" }, nil, 0, firstOpen},
		{"negative", func() string { return "-5" }, nil, 0, firstOpen},
		{"long", func() string { return "3600" }, nil, time.Hour, maxThrottled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var calls atomic.Int32
			onPipes(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Retry-After", tc.header())
				w.WriteHeader(429)
			}, nil, func(t *testing.T, c *Client) {
				r := Request{URL: serviceURL, RetryAfter: tc.body, MaxRetries: 1}
				start := time.Now()
				_, err := c.Post(t.Context(), r)
				if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != "status 429" || f.RetryAfter != tc.want {
					t.Errorf("got %+v, want RetryAfter %v", f, tc.want)
				}
				_, err = c.Post(t.Context(), r)
				if f := failure(t, err); f.Reason != ReasonBreakerOpen || f.RetryAfter != tc.away || calls.Load() != 1 {
					t.Errorf("got %+v after %d calls, want to stay away %v", f, calls.Load(), tc.away)
				}
				if time.Since(start) != 0 {
					t.Errorf("waited %v inside the call", time.Since(start))
				}
			})
		})
	}
}

func TestPostRefusesUnusableURLs(t *testing.T) {
	c := newClient(Options{EndpointField: "api_endpoint"}, &http.Transport{})
	for _, u := range []string{"", "scan.example/v1", "ftp://scan.example", "https://", "https://user:hunter2@scan.example/", "https://scan\x7f.example", "{vault://env/x}"} {
		_, err := c.Post(t.Context(), Request{URL: u})
		f := failure(t, err)
		if f.Kind != scan.Misconfigured || f.Reason != ReasonBadURL || f.Hint != "api_endpoint" {
			t.Errorf("%q: %+v", u, f)
		}
	}
}
