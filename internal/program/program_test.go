// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

const (
	airs = "prisma-airs-intercept"
	noma = "noma-runtime-protection"
)

// binaries builds the real ones, once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "program")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", dir + "/"}
	for _, name := range plugins.Names() {
		args = append(args, "github.com/kong-ai-guard/kong-ai-guard/cmd/"+name)
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
	}
	return dir, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := binaries(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func binary(t testing.TB, name string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// run runs a binary to its end.
func run(t testing.TB, env []string, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(binary(t, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, append([]string{"PWD=/"}, env...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// scrape asks until something listens.
func scrape(t testing.TB, url string) (int, string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		answer, err := http.Get(url)
		if err == nil {
			defer answer.Body.Close()
			b, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			return answer.StatusCode, string(b)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

const apiKey = "s3cret-key"

// patience is how long a test waits for what has to come: the machine may be
// busy, and nothing but a failure takes so long.
const patience = 2 * time.Minute

// A house is a gateway with both real plugins, each on a route of its own, in
// front of a model that repeats what it is told.
type house struct {
	gateway *kongtest.Gateway
	airs    *fakeairs.Server
	noma    *fakenoma.Server
	metrics map[string]string // addresses by plugin
	answer  atomic.Pointer[string]
	gate    atomic.Pointer[chan struct{}] // what the model waits for
	// configured returns what Kong is told, with more in both configurations.
	configured func(more map[string]any) kongtest.Declarative
}

func build(t testing.TB, flags ...string) *house {
	t.Helper()
	h := &house{
		airs:    fakeairs.New(fakeairs.Options{Keys: []string{apiKey}, Profiles: []string{"strict"}}),
		noma:    fakenoma.New(fakenoma.Options{ClientID: "id", ClientSecret: "secret"}),
		metrics: map[string]string{},
	}
	for _, name := range plugins.Names() {
		h.metrics[name] = freeAddress(t)
	}
	airsService, nomaService := httptest.NewServer(h.airs), httptest.NewServer(h.noma)
	t.Cleanup(airsService.Close)
	t.Cleanup(nomaService.Close)
	h.says("fine")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if gate := h.gate.Load(); gate != nil {
			<-*gate
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"`+*h.answer.Load()+`"}}]}`)
	}))
	t.Cleanup(upstream.Close)
	h.configured = func(more map[string]any) kongtest.Declarative {
		route := func(name string, config map[string]any) kongtest.Route {
			config["timeout_ms"] = 45000 // the machine may be busy
			maps.Copy(config, more)
			return kongtest.Route{Name: name, Paths: []string{"/" + name}, Plugins: []kongtest.Plugin{{Name: name, Config: config}}}
		}
		return kongtest.Declarative{FormatVersion: "3.0", Services: []kongtest.Service{{
			Name: "llm", URL: upstream.URL, Routes: []kongtest.Route{
				route(airs, map[string]any{"api_key": apiKey, "profile_name": "strict", "api_endpoint": airsService.URL}),
				route(noma, map[string]any{"client_id": "id", "client_secret": "secret", "api_base": nomaService.URL}),
			},
		}}}
	}
	var servers []kongtest.PluginServer
	for _, name := range plugins.Names() {
		servers = append(servers, kongtest.PluginServer{Path: binary(t, name), Args: append([]string{"-metrics", h.metrics[name]}, flags...)})
	}
	gateway, err := kongtest.New(kongtest.Config{Servers: servers, Declarative: h.configured(nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := gateway.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	h.gateway = gateway
	return h
}

// says has the model answer so from now on.
func (h *house) says(text string) { h.answer.Store(&text) }

// hangs has the model answer nothing from now on, until the caller says so.
func (h *house) hangs() (leave func()) {
	gate := make(chan struct{})
	h.gate.Store(&gate)
	return func() {
		h.gate.Store(nil)
		close(gate)
	}
}

// ask sends a chat through a plugin's route.
func (h *house) ask(t testing.TB, plugin, text string, header ...string) int {
	t.Helper()
	return h.send(t, plugin, `{"model":"marker-model","messages":[{"role":"user","content":"`+text+`"}]}`, header...)
}

func (h *house) send(t testing.TB, plugin, body string, header ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.gateway.URL()+"/"+plugin+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}
