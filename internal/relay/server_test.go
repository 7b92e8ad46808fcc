// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// says is an exchange that answers with a text.
func says(text string) exchange {
	return exchange{serve: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }}
}

// status sends a raw request, reads one answer and returns its status and body.
func status(t *testing.T, address, request string) (code int, body string) {
	t.Helper()
	raw := exchangeRaw(t, address, request, "")
	if _, err := fmt.Sscanf(raw, "HTTP/1.1 %d", &code); err != nil {
		t.Fatalf("answer %q", raw)
	}
	_, body, _ = strings.Cut(raw, "\r\n\r\n")
	return code, body
}

// get is a request whose connection ends with the answer.
func get(headers string) string {
	return "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + headers + "\r\n"
}

func TestTokens(t *testing.T) {
	for name, c := range map[string]struct {
		request string // %[1]s is the token, %[2]s another exchange's
		code    int
	}{
		"the token":            {get("X-Relay-Token: %[1]s\r\n"), 200},
		"any case of the name": {get("x-rElay-tOken:%[1]s\r\n"), 200},
		"none":                 {get(""), 404},
		"empty":                {get("X-Relay-Token:\r\n"), 404},
		"twice":                {get("X-Relay-Token: %[1]s\r\nX-Relay-Token: %[1]s\r\n"), 404},
		"two":                  {get("X-Relay-Token: %[1]s\r\nx-relay-token: %[2]s\r\n"), 404},
		"a list":               {get("X-Relay-Token: %[1]s, %[2]s\r\n"), 404},
		"cut":                  {get("X-Relay-Token: %.31[1]s\r\n"), 404},
		"longer":               {get("X-Relay-Token: %[1]s0\r\n"), 404},
		"another":              {get("X-Relay-Token: 0123456789abcdef0123456789abcdef\r\n"), 404},
		"under another name":   {get("X-Relay_Token: %[1]s\r\n"), 404},
		"as a trailer":         {"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Relay-Token\r\n\r\n0\r\nX-Relay-Token: %[1]s\r\n\r\n", 404},
		"CONNECT":              {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: close\r\nX-Relay-Token: %[1]s\r\n\r\n", 404},
	} {
		t.Run(name, func(t *testing.T) {
			s, address := newServer(t, relay.Options{})
			var served atomic.Int64
			token := s.Expect(exchange{serve: func(w http.ResponseWriter, r *http.Request) {
				served.Add(1)
				for name := range r.Header {
					if strings.EqualFold(name, s.Header()) {
						t.Error("the token is there")
					}
				}
				_, _ = io.WriteString(w, "served")
			}})
			other := s.Expect(says("other"))
			request := fmt.Sprintf(strings.ReplaceAll(c.request, "%.31[1]s", token[:31])+"%.0[1]s%.0[2]s", token, other)
			code, body := status(t, address, request)
			if want := int64(1); code != c.code || (c.code == 200) != (served.Load() == want) {
				t.Errorf("%d %s, served %d times", code, body, served.Load())
			}
			if c.code == 404 && (body != `{"message":"no such exchange"}` || s.Refused() != 1 || s.Waiting() != 2) {
				t.Errorf("%q, %d refused, %d waiting", body, s.Refused(), s.Waiting())
			}
		})
	}
}

// TestTokensEnd: a token is good for one answer, and not after Forget.
func TestTokensEnd(t *testing.T) {
	s, address := newServer(t, relay.Options{Header: "x-tokens-OF-noma"})
	if s.Header() != "X-Tokens-Of-Noma" {
		t.Errorf("header %q", s.Header())
	}
	seen := map[string]bool{}
	for range 100 {
		token := s.Expect(says("x"))
		if len(token) != 32 || seen[token] {
			t.Fatalf("token %q", token)
		}
		seen[token] = true
		s.Forget(token)
		s.Forget(token)
		s.Forget("")
		if code, _ := status(t, address, get("X-Tokens-Of-Noma: "+token+"\r\n")); code != 404 {
			t.Fatalf("forgotten: %d", code)
		}
	}
	token := s.Expect(says("x"))
	for i, want := range []int{200, 404, 404} {
		if code, _ := status(t, address, get("X-Tokens-Of-Noma: "+token+"\r\n")); code != want {
			t.Errorf("time %d: %d", i, code)
		}
	}
	if s.Waiting() != 0 || s.Open() != 0 {
		t.Errorf("%d wait, %d open", s.Waiting(), s.Open())
	}
}

// TestForgetWhileServed: the one that is served goes on, and nobody comes again.
func TestForgetWhileServed(t *testing.T) {
	s, address := newServer(t, relay.Options{})
	var token string
	token = s.Expect(exchange{serve: func(w http.ResponseWriter, _ *http.Request) {
		s.Forget(token)
		if code, _ := status(t, address, get("X-Relay-Token: "+token+"\r\n")); code != 404 {
			t.Errorf("again: %d", code)
		}
		_, _ = io.WriteString(w, "served")
	}, missed: func() { t.Error("missed") }})
	if code, body := status(t, address, get("X-Relay-Token: "+token+"\r\n")); code != 200 || body != "served" {
		t.Errorf("%d %s", code, body)
	}
}

// TestMissed: who does not come in time is missed once, the oldest first, and
// served if he comes later.
func TestMissed(t *testing.T) {
	panics := make(chan any, 1)
	s, address := newServer(t, relay.Options{Within: 20 * time.Millisecond, Panicked: func(v any) { panics <- v }})
	missed := make(chan int, 100)
	var tokens []string
	for i := range 10 {
		tokens = append(tokens, s.Expect(exchange{serve: says("late").serve, missed: func() {
			missed <- i
			if i == 5 {
				panic("a bug")
			}
		}}))
	}
	var got []int
	for range 10 {
		got = append(got, <-missed)
	}
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("missed %d", got)
	}
	if v := <-panics; v != "a bug" {
		t.Errorf("panic %v", v)
	}
	// A client may need long for its upload. Its request is served all the same,
	// once.
	for _, want := range []int{200, 404} {
		for _, token := range tokens {
			if code, _ := status(t, address, get("X-Relay-Token: "+token+"\r\n")); code != want {
				t.Errorf("came late: %d, want %d", code, want)
			}
		}
	}
	// The timer works after a pause, too.
	s.Expect(exchange{missed: func() { missed <- 11 }})
	if got := <-missed; got != 11 {
		t.Errorf("missed %d", got)
	}
	if len(missed) > 0 || s.Waiting() != 0 {
		t.Errorf("missed again, %d wait", s.Waiting())
	}
}

// TestTooManyWait: the oldest ones go.
func TestTooManyWait(t *testing.T) {
	s, address := newServer(t, relay.Options{Waiting: 3})
	missed := make(chan int, 10)
	var tokens []string
	for i := range 5 {
		tokens = append(tokens, s.Expect(exchange{serve: says("x").serve, missed: func() { missed <- i }}))
	}
	if a, b := <-missed, <-missed; a+b != 1 || s.Waiting() != 3 {
		t.Errorf("missed %d and %d, %d wait", a, b, s.Waiting())
	}
	for i, token := range tokens {
		if code, _ := status(t, address, get("X-Relay-Token: "+token+"\r\n")); (code == 200) != (i >= 2) {
			t.Errorf("%d: %d", i, code)
		}
	}
}

// TestRepeats: nginx sends a request once more when the connection broke before
// an answer came.
func TestRepeats(t *testing.T) {
	s, address := newServer(t, relay.Options{})
	var running, served atomic.Int64
	entered := make(chan struct{}, 4)
	token := s.Expect(exchange{serve: func(w http.ResponseWriter, r *http.Request) {
		if running.Add(1) > 1 {
			t.Error("twice at a time")
		}
		defer running.Add(-1)
		entered <- struct{}{}
		if served.Add(1) == 1 {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "served")
	}, missed: func() { t.Error("missed") }})
	first := dial(t, address)
	_, _ = io.WriteString(first, get("X-Relay-Token: "+token+"\r\n"))
	<-entered
	again := make(chan string, 1)
	go func() { again <- exchangeRaw(t, address, get("X-Relay-Token: "+token+"\r\n"), "served") }()
	first.Close()
	if got := <-again; !strings.HasSuffix(got, "served") {
		t.Errorf("answer %q", got)
	}
	if code, _ := status(t, address, get("X-Relay-Token: "+token+"\r\n")); code != 404 || served.Load() != 2 {
		t.Errorf("after the answer: %d, served %d times", code, served.Load())
	}
}

// TestBrokenTokensEnd: who does not come again has no token for long.
func TestBrokenTokensEnd(t *testing.T) {
	for within := 30 * time.Millisecond; ; within *= 4 {
		s, address := newServer(t, relay.Options{Within: within})
		entered, left := make(chan struct{}), make(chan struct{})
		var missed atomic.Bool
		token := s.Expect(exchange{serve: func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			close(left)
		}, missed: func() { missed.Store(true) }})
		c := dial(t, address)
		_, _ = io.WriteString(c, get("X-Relay-Token: "+token+"\r\n"))
		<-entered
		c.Close()
		<-left
		for s.Open() > 0 {
			time.Sleep(time.Millisecond)
		}
		if missed.Load() && within < patience {
			continue // its request took longer, and such a token is kept
		}
		time.Sleep(2 * within) // later only means that it is gone for longer
		if code, _ := status(t, address, get("X-Relay-Token: "+token+"\r\n")); code != 404 || missed.Load() {
			t.Errorf("answer %d, missed %v", code, missed.Load())
		}
		return
	}
}

func TestPanics(t *testing.T) {
	flush := func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
	for name, c := range map[string]struct {
		serve func(w http.ResponseWriter)
		told  int
		want  string // the answer ends with it; "" for none at all
		cut   bool
	}{
		"before anything": {func(w http.ResponseWriter) {
			w.Header().Set("X-Secret", "x")
			w.Header().Set("Content-Length", "1000")
			panic("a bug")
		}, 1, `{"message":"no answer"}`, false},
		"after early hints":  {func(w http.ResponseWriter) { w.WriteHeader(103); panic("a bug") }, 1, `{"message":"no answer"}`, false},
		"after the head":     {func(w http.ResponseWriter) { w.WriteHeader(200); panic("a bug") }, 1, "", true},
		"after a flush":      {func(w http.ResponseWriter) { flush(w); panic("a bug") }, 1, "chunked\r\n\r\n", true},
		"after some text":    {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "text"); flush(w); panic("a bug") }, 1, "text\r\n", true},
		"abort":              {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, 0, "", true},
		"abort after a text": {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "text"); flush(w); panic(http.ErrAbortHandler) }, 0, "text\r\n", true},
		"no answer":          {func(http.ResponseWriter) {}, 0, `{"message":"no answer"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var told atomic.Int64
			s, address := newServer(t, relay.Options{Panicked: func(v any) {
				if v != "a bug" {
					t.Errorf("heard %v", v)
				}
				told.Add(1)
			}})
			token := s.Expect(exchange{serve: func(w http.ResponseWriter, _ *http.Request) { c.serve(w) }})
			raw := exchangeRaw(t, address, get("X-Relay-Token: "+token+"\r\n"), "")
			if !strings.HasSuffix(raw, c.want) || c.want == "" && raw != "" || told.Load() != int64(c.told) || strings.Contains(raw, "Secret") {
				t.Errorf("answer %q, told %d times", raw, told.Load())
			}
			if whole := strings.HasSuffix(raw, "0\r\n\r\n") || strings.HasPrefix(raw, "HTTP/1.1 503") || strings.Contains(raw, " 503 "); whole == c.cut {
				t.Errorf("answer %q", raw)
			}
			if code, _ := status(t, address, get("X-Relay-Token: "+token+"\r\n")); code != 404 {
				t.Errorf("again: %d", code)
			}
		})
	}
}

func TestHeaderBounds(t *testing.T) {
	s, address := newServer(t, relay.Options{})
	for name, c := range map[string]struct {
		headers string
		code    int
	}{
		"many":       {strings.Repeat("X: y\r\n", 5000), 200},
		"large":      {"X: " + strings.Repeat("y", 900<<10) + "\r\n", 200},
		"too large":  {"X: " + strings.Repeat("y", 1100<<10) + "\r\n", 431},
		"line break": {"X: y\rZ\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			token := s.Expect(says("x"))
			if code, _ := status(t, address, get("X-Relay-Token: "+token+"\r\n"+c.headers)); code != c.code {
				t.Errorf("answer %d", code)
			}
		})
	}
}

func TestShutdown(t *testing.T) {
	s, address := newServer(t, relay.Options{})
	entered, let := make(chan struct{}), make(chan struct{})
	token := s.Expect(exchange{serve: func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-let
		_, _ = io.WriteString(w, "served")
	}})
	late := s.Expect(says("late"))
	c := dial(t, address)
	_, _ = io.WriteString(c, get("X-Relay-Token: "+token+"\r\n"))
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	for {
		if _, err := s.Address(); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	// Kong was told of this one before.
	if code, body := status(t, address, get("X-Relay-Token: "+late+"\r\n")); code != 200 || body != "late" {
		t.Errorf("the late one: %d %s", code, body)
	}
	if code, _ := status(t, address, get("X-Relay-Token: "+s.Expect(says("new"))+"\r\n")); code != 404 {
		t.Errorf("a new one: %d", code)
	}
	select {
	case err := <-ended:
		t.Errorf("ended with %v while one was served", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(let)
	if raw, _ := io.ReadAll(c); !strings.HasSuffix(string(raw), "served") {
		t.Errorf("answer %q", raw)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestShutdownCuts: what runs when its time is over is cut, and hears of it.
func TestShutdownCuts(t *testing.T) {
	s, address := newServer(t, relay.Options{})
	left := make(chan struct{})
	token := s.Expect(exchange{serve: func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "text")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
		panic(http.ErrAbortHandler)
	}})
	c := dial(t, address)
	_, _ = io.WriteString(c, get("X-Relay-Token: "+token+"\r\n"))
	if _, err := io.ReadFull(c, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
	<-left
	if raw, _ := io.ReadAll(c); strings.HasSuffix(string(raw), "0\r\n\r\n") {
		t.Errorf("rest %q", raw)
	}
}

// TestNeverStarted: a server that nobody used has nothing to end.
func TestNeverStarted(t *testing.T) {
	s := relay.New(relay.Options{})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := s.Address(); err == nil {
		t.Error("listens after its end")
	}
}

// TestOneAddress: however many ask at once.
func TestOneAddress(t *testing.T) {
	s, address := newServer(t, relay.Options{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if a, err := s.Address(); err != nil || a.String() != address || !a.Addr().IsLoopback() {
				t.Errorf("%v, %v", a, err)
			}
		})
	}
	wg.Wait()
}

// Kong keeps its connections. One whose request was answered before its body
// was read takes the next exchange, and everybody else's after it.
func TestConnectionOutlivesUnreadBodies(t *testing.T) {
	s, address := newServer(t, relay.Options{})
	c := dial(t, address)
	answers := bufio.NewReader(c)
	for i := range 200 {
		token := s.Expect(exchange{serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "7")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "refused")
		}})
		body := strings.Repeat("x", 1+i*7)
		if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nX-Relay-Token: %s\r\nContent-Length: %d\r\n\r\n%s", token, len(body), body); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		got, err := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusForbidden || string(got) != "refused" || err != nil || res.Close {
			t.Fatalf("answer %d: %d %q, %v, closes %v", i, res.StatusCode, got, err, res.Close)
		}
	}
}
