// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// A transport carries one exchange of a route with one plugin, and notes in the
// fakeKong what became of it.
type transport struct {
	name string
	run  func(w *world, k *fakeKong, e *guard.Engine)
}

// transports are all ways in which an exchange comes to us. What policy says
// holds for each.
var transports = []transport{
	{"phases", func(_ *world, k *fakeKong, e *guard.Engine) { k.run(e) }},
	{"relay", func(w *world, k *fakeKong, e *guard.Engine) { k.relay(w, e) }},
}

const tokenHeader = "X-Test-Token"

// relaying gives a world its relay.
func (w *world) relaying() *world {
	if w.Relay != nil {
		return w
	}
	w.Relay = relay.New(relay.Options{Header: tokenHeader})
	w.Upstreams = relay.NewClient()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.Relay.Shutdown(ctx); err != nil {
			w.t.Errorf("the relay did not end: %v", err)
		}
		w.Upstreams.CloseIdle()
	})
	return w
}

// An upstream is a model behind the relay.
type upstream struct {
	*httptest.Server

	mu     sync.Mutex
	header http.Header
	body   string
	calls  int
}

// newUpstream answers as answer does, with what it was sent in body.
func newUpstream(t testing.TB, answer func(w http.ResponseWriter, r *http.Request, body string)) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.calls, u.header, u.body = u.calls+1, r.Header.Clone(), string(body)
		u.mu.Unlock()
		answer(w, r, string(body))
	}))
	t.Cleanup(u.Close)
	return u
}

// got is what came last.
func (u *upstream) got() (calls int, header http.Header, body string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls, u.header, u.body
}

func (u *upstream) target() relay.Target {
	return relay.Target{Scheme: "http", Address: u.Listener.Addr().String(), Host: "model.example", Connect: patience, Read: patience, Send: patience}
}

// expect tells the relay of an exchange, as the access phase does, and returns
// the request with which Kong would send it there.
func (w *world) expect(e *guard.Engine, x guard.Relayed, method, uri string, body io.Reader) *http.Request {
	w.t.Helper()
	w.relaying()
	token := w.Relay.Expect(e.Relayed(x))
	address, err := w.Relay.Address()
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequest(method, "http://"+address.String()+uri, body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set(tokenHeader, token)
	r.Header.Set("Content-Type", "application/json")
	return r
}

// kongClient is Kong's side of the connections to the relay.
func kongClient(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true, DialContext: (&net.Dialer{}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// relay passes the request through the relay to an upstream that answers as the
// fakeKong says, and notes what became of it where the phases note it.
func (k *fakeKong) relay(w *world, e *guard.Engine) *fakeKong {
	u := newUpstream(k.t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
		for name, value := range k.answerHeader {
			rw.Header().Set(name, value)
		}
		rw.Header().Set("Etag", `"upstream"`)
		rw.WriteHeader(k.status)
		_, _ = io.WriteString(rw, k.answer)
	})
	defer u.Close()
	method, rest, _ := strings.Cut(k.line, " ")
	uri := rest[:strings.LastIndexByte(rest, ' ')]
	r := w.expect(e, guard.Relayed{
		Target: u.target(), Identity: scan.Identity{Service: k.service, Route: k.route, Consumer: k.consumer, ClientIP: k.clientIP},
	}, method, uri, strings.NewReader(k.body))
	token := r.Header.Get(tokenHeader)
	r.Header = http.Header{"X-Kong-Request-Id": {k.requestID}, tokenHeader: {token}}
	for _, h := range k.headers {
		if h[0] != "host" {
			r.Header.Add(h[0], h[1])
		}
	}
	if r.Header.Get("Upgrade") != "" {
		r.Header.Set("Connection", "Upgrade")
	}
	answer, err := kongClient(k.t).Do(r)
	if err != nil {
		k.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	calls, header, sent := u.got()
	if calls > 0 && sent != k.body {
		k.upstreamBody = &sent
	}
	if answer.StatusCode != k.status || string(body) != k.answer {
		k.exit = &exitCall{answer.StatusCode, answer.Header, string(body)}
		if answer.Header.Get("Etag") == "" && calls > 0 {
			k.clearedAnswer = bodyHeaders
		}
	}
	for _, name := range []string{"content-encoding", "content-md5", "digest"} {
		if calls > 0 && r.Header.Get(name) != "" && header.Get(name) == "" {
			k.clearedRequest = append(k.clearedRequest, name)
		}
	}
	for _, h := range llm.Mirrors(r.Header) {
		switch now := header.Get(h.Name); {
		case calls == 0 || now == h.Value:
		case now == "":
			k.clearedRequest = append(k.clearedRequest, strings.ToLower(h.Name))
		default:
			k.setRequest = append(k.setRequest, h.Name+": "+now)
		}
	}
	k.showVerdicts(answer.Header.Get("X-Pad"))
	k.logs = w.noticed()
	return k
}

// bodyHeaders are those that describe an answer's body.
var bodyHeaders = strings.Fields("content-encoding etag last-modified content-md5 digest content-digest repr-digest content-range accept-ranges content-disposition")

// showVerdicts reads what the relay tells Kong's log plugins into the access
// log's value, which phases write.
func (k *fakeKong) showVerdicts(pad string) {
	k.serializeCalls = 1
	legs := map[string]any{}
	var leg map[string]any
	for pair := range strings.SplitSeq(pad, ";") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "request" || name == "response" {
			leg = map[string]any{"action": value, "latency_ms": 0.0}
			legs[name] = leg
		} else if leg != nil {
			leg[name] = value
		}
	}
	k.serialized = map[string]any{"ai.guard.prisma-airs-intercept": legs, "ai.guard.noma-runtime-protection": legs}
}

// asksForLines is the plugin by which noticed comes to the lines. Nothing of it
// counts in a test.
const asksForLines = "lines"

var ago = regexp.MustCompile(` \(\d+s ago\)$`)

// noticed are the lines that wait for the next event, as it writes them.
func (w *world) noticed() []logLine {
	v := prisma()
	v.Plugin = asksForLines
	var lines []logLine
	for {
		next := chatRequest(w.t).run(newEngine(w.Process, v, strict(), &scanner{})).logs
		if len(next) == 0 {
			return lines
		}
		for _, l := range next {
			lines = append(lines, logLine{l.level, ago.ReplaceAllString(l.text, "")})
		}
	}
}

// readAll reads an answer to its end.
func readAll(t testing.TB, answer *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := io.Copy(&b, answer.Body); err != nil {
		t.Fatalf("after %q: %v", b.String(), err)
	}
	answer.Body.Close()
	return b.String()
}

// heap is how much memory is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
