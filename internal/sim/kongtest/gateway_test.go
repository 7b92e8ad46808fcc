// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// start starts a gateway in front of an upstream; every route leads there.
func start(t testing.TB, cfg Config, upstream http.Handler) *Gateway {
	t.Helper()
	back := httptest.NewServer(upstream)
	t.Cleanup(back.Close)
	for i := range cfg.Declarative.Services {
		cfg.Declarative.Services[i].URL = back.URL
	}
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	gw, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gw.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := gw.Start(); err != nil {
		t.Fatal(err)
	}
	return gw
}

// scope is a service "s" with a route "r" at "/" and these plugins.
func scope(plugins ...Plugin) Declarative {
	return Declarative{Services: []Service{{
		Name: "s", Routes: []Route{{Name: "r", Paths: []string{"/"}}}, Plugins: plugins,
	}}}
}

// reapply applies another configuration to a running gateway and keeps its
// upstream.
func reapply(t testing.TB, gw *Gateway, d Declarative) {
	t.Helper()
	d.Services[0].URL = gw.snap.Load().routes[0].service.URL
	if err := gw.Apply(d); err != nil {
		t.Fatal(err)
	}
}

// steps configures a probe.
func steps(name string, access, response []string) Plugin {
	config := map[string]any{"on_access": access}
	if name != "probe-access" {
		config["on_response"] = response
	}
	return Plugin{Name: name, Config: config}
}

type answer struct {
	*http.Response
	body string
	Exchange
}

func send(t testing.TB, gw *Gateway, req *http.Request) answer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	return sendBy(t, client, gw, req)
}

func sendBy(t testing.TB, client *http.Client, gw *Gateway, req *http.Request) answer {
	t.Helper()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	x, ok := gw.Exchange(res.Header.Get("X-Kong-Request-Id"))
	if !ok {
		t.Fatalf("no exchange for X-Kong-Request-Id %q", res.Header.Get("X-Kong-Request-Id"))
	}
	return answer{Response: res, body: string(body), Exchange: x}
}

func post(t testing.TB, gw *Gateway, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.URL()+"/v1/chat", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return req
}

// said returns what a probe's step logged.
func (a answer) said(step string) string {
	for _, l := range a.Logs {
		if rest, ok := strings.CutPrefix(l.Text, step+"="); ok {
			return rest
		}
	}
	return "(nothing)"
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("ETag", "\"1\"")
	_, _ = io.WriteString(w, "hello")
})

func TestExitInAccessAnswersTheClient(t *testing.T) {
	t.Parallel()
	asked := false
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin"), probeServer(t, "probe-second")},
		Declarative: scope(
			steps("probe-plugin", []string{"set-answer-header X-Before 1", "exit 403 no", "var request_method"}, nil),
			steps("probe-second", []string{"var request_method"}, []string{"status"}),
		),
	}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	a := send(t, gw, post(t, gw, "{}"))
	if a.StatusCode != 403 || a.body != "no" || asked {
		t.Errorf("got %d %q, upstream asked: %v", a.StatusCode, a.body, asked)
	}
	if a.Header.Get("X-Exit") != "yes" || a.Header.Get("X-Before") != "1" {
		t.Errorf("headers %v", a.Header)
	}
	if got := strings.Join(a.Events, ","); got != "probe-plugin access" {
		t.Errorf("events %s", got)
	}
	if n := a.CallCount("probe-plugin"); n != 2 {
		t.Errorf("%d calls: %v", n, a.Calls)
	}
}

func TestResponsePhaseRunsInPriorityOrder(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-second"), probeServer(t, "probe-plugin")},
		Declarative: scope(
			steps("probe-second", nil, []string{"answer"}),
			steps("probe-plugin", nil, []string{"answer", "status", "answer-header content-type", "answer-headers"}),
		),
	}, hello)
	a := send(t, gw, post(t, gw, "{}"))
	if a.StatusCode != 200 || a.body != "hello" || !a.Buffered {
		t.Fatalf("got %d %q buffered %v", a.StatusCode, a.body, a.Buffered)
	}
	if got := strings.Join(a.Events, ","); got != "probe-plugin access,probe-second access,probe-plugin response,probe-second response" {
		t.Errorf("events %s", got)
	}
	for step, want := range map[string]string{
		"answer": "5", "status": "200", "answer-header content-type": "text/plain", "answer-headers": "0",
	} {
		if got := a.said(step); got != want {
			t.Errorf("%s: %s, want %s", step, got, want)
		}
	}
}
