// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

func TestExitInResponseKeepsUpstreamHeaders(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin"), probeServer(t, "probe-second")},
		Declarative: scope(
			steps("probe-plugin", nil, []string{"clear-answer-header ETag", "exit 403 blocked"}),
			steps("probe-second", nil, []string{"exit 200 late"}),
		),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", "1")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	}))
	a := send(t, gw, post(t, gw, "{}"))
	if a.StatusCode != 403 || a.body != "blocked" || a.ContentLength != 7 {
		t.Errorf("got %d %q length %d", a.StatusCode, a.body, a.ContentLength)
	}
	if a.Header.Get("ETag") != "" || a.Header.Get("Content-Encoding") != "gzip" || a.Header.Get("Set-Cookie") != "a=b" || a.Header.Get("X-Exit") != "yes" {
		t.Errorf("headers %v", a.Header)
	}
	if got := strings.Join(a.Events, ","); !strings.HasSuffix(got, "probe-plugin response") {
		t.Errorf("the later plugin ran: %s", got)
	}
}

// Each case is one request through probe-plugin (1000) and probe-second (900).
func TestBufferingIsOneFlag(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin"), probeServer(t, "probe-second")},
		Declarative: scope(),
	}, hello)
	for _, c := range []struct {
		name            string
		first, second   []string
		upgrade         []string
		buffered        bool
		secondSawBefore string
	}{
		{name: "each plugin with a response handler sets it", buffered: true, second: []string{"get_ctx buffered_proxying"}, secondSawBefore: "true"},
		{name: "the last one switches it off", second: []string{"set_ctx buffered_proxying false"}},
		{name: "the first one's false is set to true again", first: []string{"set_ctx buffered_proxying false"}, second: []string{"get_ctx buffered_proxying"}, secondSawBefore: "true", buffered: true},
		{name: "a string is true and stays", first: []string{"set_ctx buffered_proxying guard"}, second: []string{"get_ctx buffered_proxying"}, secondSawBefore: "guard", buffered: true},
		{name: "enable_buffering", second: []string{"set_ctx buffered_proxying false", "buffer", "get_ctx buffered_proxying"}, secondSawBefore: "true", buffered: true},
		{name: "websocket", upgrade: []string{"WebSocket"}},
		{name: "websocket, cleared by a plugin", upgrade: []string{"websocket"}, first: []string{"clear-header Upgrade"}},
		{name: "the first Upgrade header counts", upgrade: []string{"websocket", "h2c"}},
		{name: "not the second", upgrade: []string{"h2c", "websocket"}, buffered: true},
		{name: "not a list", upgrade: []string{"websocket, foo"}, buffered: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := scope(
				steps("probe-plugin", c.first, []string{"status"}),
				steps("probe-second", c.second, []string{"status"}),
			)
			reapply(t, gw, d)
			req := post(t, gw, "{}")
			if c.upgrade != nil {
				req.Header["Upgrade"] = c.upgrade
			}
			a := send(t, gw, req)
			if a.body != "hello" || a.Buffered != c.buffered {
				t.Errorf("got %d %q, buffered %v, want %v", a.StatusCode, a.body, a.Buffered, c.buffered)
			}
			if ran := strings.Contains(strings.Join(a.Events, ","), "response"); ran != c.buffered {
				t.Errorf("response phase ran: %v", ran)
			}
			if c.secondSawBefore != "" {
				if got := a.said("get_ctx buffered_proxying"); got != c.secondSawBefore {
					t.Errorf("flag was %s, want %s", got, c.secondSawBefore)
				}
			}
		})
	}
}

func TestUnbufferedAnswerStreams(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"set_ctx buffered_proxying false"}, nil)),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Accel-Buffering", "no")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-goOn
		_, _ = io.WriteString(w, "data: 2\n\n")
	}))
	res, err := http.DefaultClient.Do(post(t, gw, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	firstEvent := make([]byte, 9)
	if _, err := io.ReadFull(res.Body, firstEvent); err != nil {
		t.Fatal(err) // it would wait for ever if it did not stream
	}
	close(goOn)
	rest, err := io.ReadAll(res.Body)
	if err != nil || string(firstEvent)+string(rest) != "data: 1\n\ndata: 2\n\n" {
		t.Errorf("got %q %q, %v", firstEvent, rest, err)
	}
}

func TestAnswersWithoutABody(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", nil, []string{"answer", "status"})),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.WriteHeader(304)
		default:
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "hello")
		}
	}))
	for _, c := range []struct {
		method, path string
		status       int
	}{{"GET", "/204", 204}, {"GET", "/304", 304}, {"HEAD", "/x", 200}} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, gw.URL()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a := send(t, gw, req)
		if a.StatusCode != c.status || a.body != "" || a.said("answer") != "0" || a.said("status") != fmt.Sprint(c.status) {
			t.Errorf("%s %s: %d %q, the plugin saw %s bytes, status %s", c.method, c.path, a.StatusCode, a.body, a.said("answer"), a.said("status"))
		}
		if c.method == "HEAD" && a.ContentLength != 5 {
			t.Errorf("HEAD: length %d", a.ContentLength)
		}
	}
}

func TestUpstreamFaults(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"header x-port"}, []string{"status", "answer"})),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("X-Up", "1")
		_, _ = io.WriteString(w, "half of")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	a := send(t, gw, post(t, gw, "{}"))
	if a.StatusCode != 200 || !strings.Contains(a.body, `"request_id":"`+a.RequestID+`"`) || strings.Contains(a.body, "half") {
		t.Errorf("cut in mid-body: %d %q", a.StatusCode, a.body)
	}
	if got := strings.Join(a.Events, ","); got != "probe-plugin access" {
		t.Errorf("cut in mid-body: events %s", got)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	d := scope(steps("probe-plugin", nil, []string{"status"}))
	d.Services[0].URL = "http://" + dead
	if err := gw.Apply(d); err != nil {
		t.Fatal(err)
	}
	a = send(t, gw, post(t, gw, "{}"))
	if a.StatusCode != 502 || !strings.Contains(a.body, "An invalid response was received from the upstream server") {
		t.Errorf("dead upstream: %d %q", a.StatusCode, a.body)
	}
	if a.said("status") != "502" {
		t.Errorf("dead upstream: the plugin saw %s", a.said("status"))
	}
}

func TestSilentUpstreamIs504(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	d := scope(steps("probe-access", nil, nil))
	d.Services[0].ReadTimeout = 50
	gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-access")}, Declarative: d},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-free }))
	defer close(free)
	if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 504 || !strings.Contains(a.body, "The upstream server is timing out") {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	var got []byte
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"body", "body-file"}, []string{"body", "body-file"})),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body) }))
	for _, c := range []struct {
		size    int
		chunked bool
		file    string
	}{{0, false, "."}, {8192, false, "."}, {8193, false, "client_body_temp"}, {200000, true, "client_body_temp"}} {
		body := strings.Repeat("x", c.size)
		req := post(t, gw, body)
		if c.chunked {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), -1
		}
		a := send(t, gw, req)
		if a.said("body") != fmt.Sprint(c.size) || a.said("body-file") != c.file {
			t.Errorf("%d bytes: the plugin read %s from %s", c.size, a.said("body"), a.said("body-file"))
		}
		if string(got) != body {
			t.Errorf("%d bytes: upstream got %d", c.size, len(got))
		}
	}
}

func TestRequestChangesReachTheUpstream(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "other %s %s %q %q %q", r.URL.Path, body, r.Header.Get("X-New"), r.Header.Get("X-Gone"), r.Header.Get("X-Kong-Request-Id"))
	}))
	defer other.Close()
	host, port, _ := net.SplitHostPort(other.Listener.Addr().String())
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-access")},
		Declarative: scope(steps("probe-access", []string{
			"set-body masked", "set-header X-New 1", "clear-header X-Gone", "target " + host + " " + port,
			"header x-gone", "body",
		}, nil)),
	}, hello)
	req := post(t, gw, strings.Repeat("x", 10000))
	req.Header.Set("X-Gone", "1")
	a := send(t, gw, req)
	if want := fmt.Sprintf("other /v1/chat masked \"1\" \"\" %q", a.RequestID); a.body != want {
		t.Errorf("got %q, want %q", a.body, want)
	}
	if a.said("header x-gone") != `""` || a.said("body") != "6" {
		t.Errorf("the plugin saw header %s, body of %s", a.said("header x-gone"), a.said("body"))
	}
}

// A request with bytes that are not UTF-8 in a header and in the path.
func TestBytesThatAreNotUTF8(t *testing.T) {
	t.Parallel()
	var path, header string
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"header x-name", "path", "var request", "headers 1000 x-name"}, nil)),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { path, header = r.RequestURI, r.Header.Get("X-Name") }))
	conn, err := net.Dial("tcp", strings.TrimPrefix(gw.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /caf\xe9?q=\xe9 HTTP/1.1\r\nHost: h\r\nX-Name: Ren\xe9\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	x, ok := gw.Exchange(res.Header.Get("X-Kong-Request-Id"))
	if res.StatusCode != 200 || !ok {
		t.Fatalf("status %d", res.StatusCode)
	}
	a := answer{Exchange: x}
	for step, want := range map[string]string{
		"header x-name": `"Ren\xe9"`, "path": `"/caf\xe9?q=\xe9"`, "var request": `"GET /caf\xe9?q=\xe9 HTTP/1.1"`,
	} {
		if got := a.said(step); got != want {
			t.Errorf("%s: %s, want %s", step, got, want)
		}
	}
	// This is what go-pdk makes of it, and what an own decoder has to survive.
	if got := a.said("headers 1000 x-name"); !strings.Contains(got, "invalid UTF-8") {
		t.Errorf("go-pdk decoded the headers: %s", got)
	}
	if path != "/caf\xe9?q=\xe9" || header != "Ren\xe9" {
		t.Errorf("upstream saw %q, %q", path, header)
	}
}

func TestManyHeadersHideTheOnesThatDecide(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{
			"headers 100 content-type", "headers 1000 content-type", "header content-type",
		}, nil)),
	}, hello)
	req := post(t, gw, "{}")
	for i := range 101 {
		req.Header.Set(fmt.Sprintf("X-%d", i), "1")
	}
	a := send(t, gw, req)
	if got := a.said("headers 100 content-type"); got != "100 false" {
		t.Errorf("of 100: %s", got)
	}
	if got := a.said("headers 1000 content-type"); !strings.HasSuffix(got, "true") {
		t.Errorf("of 1000: %s", got)
	}
	if got := a.said("header content-type"); got != `"application/json"` {
		t.Errorf("by name: %s", got)
	}
}

func TestSerializeValueNestsAndLosesFalse(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-access")},
		Declarative: scope(steps("probe-access", []string{"serialize ai.guard.probe text"}, nil)),
	}, hello)
	a := send(t, gw, post(t, gw, "{}"))
	ai, _ := a.AccessLog["ai"].(map[string]any)
	guard, _ := ai["guard"].(map[string]any)
	probe, _ := guard["probe"].(map[string]any)
	_, hasNo := probe["no"]
	if probe["s"] != "text" || probe["yes"] != true || probe["n"] != 7.0 || hasNo {
		t.Errorf("access log %v", a.AccessLog)
	}
}

func TestPanicResetsInstancesAndRunsTheEventAgain(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"panic"}, nil)),
		MaxAttempts: 2,
	}, hello)
	a := send(t, gw, post(t, gw, "{}"))
	if a.StatusCode != 500 || !strings.Contains(a.body, "An unexpected error occurred") {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
	// go-pdk's process ends on a panic; it is started again within a second.
	d := scope(steps("probe-plugin", []string{"get_ctx x"}, nil))
	d.Services[0].URL = "http://127.0.0.1:1"
	if err := gw.Apply(d); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		a = send(t, gw, post(t, gw, "{}"))
		if a.StatusCode == 502 { // the plugin let it pass, the upstream is dead
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %d after %d starts", a.StatusCode, gw.Starts("probe-plugin"))
		}
	}
	if gw.Starts("probe-plugin") < 2 {
		t.Errorf("%d starts", gw.Starts("probe-plugin"))
	}
}

// Two workers share a configuration's instance. When one closes it after a
// change, the other finds "no plugin instance", forgets it and starts anew.
func TestLostInstanceIsStartedAgainInTheSameRequest(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-access")},
		Declarative: scope(steps("probe-access", []string{"consumer"}, nil)),
	}, hello)
	if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 || a.Retries != 0 {
		t.Fatalf("got %d, %d retries", a.StatusCode, a.Retries)
	}
	w := gw.current.Load().runs["probe-access"].workers[0]
	for id, r := range w.running {
		r.id += 1000 // as if it had been closed
		w.running[id] = r
	}
	if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 || a.Retries != 1 {
		t.Errorf("got %d, %d retries", a.StatusCode, a.Retries)
	}
}

// Seen: an error on StartInstance is only "closed" for Kong, and is final.
func TestRefusedInstanceIs500(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-access")},
		Declarative: scope(steps("probe-access", nil, nil)),
	}, hello)
	gw.snap.Load().configs["probe-access"][0].json = []byte(`{"on_access":1}`)
	a := send(t, gw, post(t, gw, "{}"))
	if a.StatusCode != 500 || a.Retries != 0 || len(a.Logs) != 1 || a.Logs[0].Text != "starting instance: closed" {
		t.Errorf("got %d, %d retries, %v", a.StatusCode, a.Retries, a.Logs)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	back := httptest.NewServer(hello)
	d := scope(steps("probe-plugin", nil, []string{"status"}))
	d.Services[0].URL = back.URL
	gw, err := New(Config{Servers: []PluginServer{probeServer(t, "probe-plugin")}, Declarative: d})
	if err != nil {
		t.Fatal(err)
	}
	if err := gw.Start(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if a := send(t, gw, post(t, gw, strings.Repeat("x", 9000))); a.StatusCode != 200 {
			t.Fatalf("status %d", a.StatusCode)
		}
		if err := gw.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	if err := gw.Close(); err != nil {
		t.Error(err)
	}
	back.Close()
	if _, err := os.Stat(gw.prefix); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", gw.prefix, err)
	}
	leaks.Verify(t, before)
}

// BenchmarkExchange is one exchange with both phases through a real process.
func BenchmarkExchange(b *testing.B) {
	gw := start(b, Config{
		Servers:     []PluginServer{probeServer(b, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"body"}, []string{"answer"})),
	}, hello)
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest(http.MethodPost, "/v1/chat", strings.NewReader("{}"))
		gw.ServeHTTP(httptest.NewRecorder(), req)
	}
}

func TestFaultsOfAPluginAre500(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(),
	}, hello)
	impatient := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(),
		RPCTimeout:  300 * time.Millisecond,
	}, hello)
	for _, c := range []struct {
		name             string
		access, response []string
		log              string
	}{
		{"unknown function", []string{"unknown"}, nil, "not found"},
		{"too few headers asked for", []string{"headers 0"}, nil, "max_headers must be"},
		{"a function of another phase", []string{"status"}, nil, "cannot be called in access phase"},
		{"and in response", nil, []string{"set-header X-A 1"}, "cannot be called in response phase"},
		{"a bad status", []string{"exit 42 x"}, nil, "between 100 and 599"},
		{"silence", []string{"sleep 2s"}, nil, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gw := gw
			if c.log == "timeout" {
				gw = impatient
			}
			d := scope(steps("probe-plugin", c.access, c.response))
			reapply(t, gw, d)
			a := send(t, gw, post(t, gw, "{}"))
			if a.StatusCode != 500 || a.Retries != 0 || strings.Contains(a.body, "hello") {
				t.Errorf("got %d %q, %d retries", a.StatusCode, a.body, a.Retries)
			}
			logged := false
			for _, l := range a.Logs {
				logged = logged || l.Level == "err" && strings.Contains(l.Text, c.log)
			}
			if !logged {
				t.Errorf("no %q in %v", c.log, a.Logs)
			}
		})
	}
}

func TestConfigChangeStartsAndClosesInstances(t *testing.T) {
	t.Parallel()
	var calls []string
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-access")},
		Declarative: scope(steps("probe-access", []string{"consumer"}, nil)),
		OnFrame: func(f Frame) {
			if f.Kind == "RpcCall" {
				switch {
				case strings.Contains(string(f.Payload), "__seq__"):
					calls = append(calls, "start")
				case strings.Contains(string(f.Payload), "access"):
					calls = append(calls, "access")
				default:
					calls = append(calls, "close")
				}
			}
		},
	}, hello)
	if len(calls) != 0 {
		t.Errorf("before the first request: %v", calls)
	}
	for range 2 {
		for range 2 {
			if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 {
				t.Fatalf("status %d", a.StatusCode)
			}
		}
		d := scope(steps("probe-access", []string{"consumer"}, nil))
		reapply(t, gw, d)
	}
	if got := strings.Join(calls, " "); got != "start access access start close access access" {
		t.Errorf("calls: %s", got)
	}
}

func TestEachWorkerStartsItsInstance(t *testing.T) {
	t.Parallel()
	starts := make(chan struct{}, 10)
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-access")}, Workers: 3,
		Declarative: scope(steps("probe-access", nil, nil)),
		OnFrame: func(f Frame) {
			if strings.Contains(string(f.Payload), "__seq__") {
				starts <- struct{}{}
			}
		},
	}, hello)
	for range 9 { // a connection each, so three for each worker
		if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 {
			t.Fatalf("status %d", a.StatusCode)
		}
	}
	if len(starts) != 3 {
		t.Errorf("%d instances were started by 3 workers", len(starts))
	}
}

func TestKilledProcessComesBack(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", nil, []string{"status"})),
	}, hello)
	if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 {
		t.Fatalf("status %d", a.StatusCode)
	}
	if err := gw.Signal("probe-plugin", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		a := send(t, gw, post(t, gw, "{}"))
		if a.StatusCode == 200 && gw.Starts("probe-plugin") == 2 {
			return
		}
		if a.StatusCode != 200 && (a.StatusCode != 500 || strings.Contains(a.body, "hello")) {
			t.Fatalf("got %d %q", a.StatusCode, a.body)
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %d after %d starts", a.StatusCode, gw.Starts("probe-plugin"))
		}
	}
}

func TestProcessSeesNoEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy")
	gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-access")}, Declarative: scope()}, hello)
	want := fmt.Sprintf("environment %q", []string{"PWD=" + gw.prefix})
	for _, l := range gw.Logs() {
		if strings.HasSuffix(l.Text, want) && l.Output && l.Plugin == "probe-access" && l.Level == "info" {
			return
		}
	}
	t.Errorf("no %q in %v", want, gw.Logs())
}

func TestStartupFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, probe, want string }{
		{"something else on stdout", "probe-mute", "not JSON"},
		{"no such program", "", "no such file"},
	} {
		s := PluginServer{Path: t.TempDir() + "/none"}
		if c.probe != "" {
			s = probeServer(t, c.probe)
		}
		if _, err := New(Config{Servers: []PluginServer{s}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"var server_protocol"}, []string{"exit 403 blocked"})),
	}, hello)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	a := sendBy(t, &http.Client{Transport: transport}, gw, post(t, gw, "{}"))
	if a.ProtoMajor != 2 || a.StatusCode != 403 || a.body != "blocked" || a.said("var server_protocol") != `"HTTP/2.0"` {
		t.Errorf("got %s %d %q %s", a.Proto, a.StatusCode, a.body, a.said("var server_protocol"))
	}
}

func TestClientThatGoesAwayEndsTheExchange(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	over := make(chan Exchange, 1)
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin")}, OnExchange: func(x Exchange) { over <- x },
		Declarative: scope(steps("probe-plugin", nil, []string{"status"})),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		close(asked)
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	if _, err := http.DefaultClient.Do(post(t, gw, "{}").WithContext(ctx)); err == nil {
		t.Fatal("got an answer")
	}
	if x := <-over; x.Status != 499 || strings.Contains(strings.Join(x.Events, ","), "response") {
		t.Errorf("status %d, events %v", x.Status, x.Events)
	}
}
