// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"kong-ai-guard/internal/sim/fakeairs"
	"kong-ai-guard/internal/sim/fakenoma"
	"kong-ai-guard/internal/sim/kongtest"
	ours "kong-ai-guard/plugins"
)

const (
	prisma = "prisma-airs-intercept"
	noma   = "noma-runtime-protection"
)

// plugins are the plugins under test; each has the route of its name.
var plugins = ours.Names()

// binaries is where the real binaries are.
var binaries string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "corpus")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binaries = dir
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, name := range plugins {
		args = append(args, "kong-ai-guard/cmd/"+name)
	}
	out, err := exec.Command("go", args...).CombinedOutput()
	if err != nil {
		os.Stderr.Write(out)
		return 1
	}
	return m.Run()
}

// caseHeader tells the upstream which case's answer to give.
const caseHeader = "X-Corpus-Case"

// A house is a gateway with each plugin on a route of its own to an upstream
// that gives the answers of the cases, and with scan services that object to
// the marker.
type house struct {
	gateway *kongtest.Gateway // nil where it is a real Kong
	direct  string            // the upstream's own URL
	// base is the gateway's URL, base2 that for HTTP/2.
	base, base2 string
	http1       *http.Client
	http2       *http.Client
	cases       []testcase

	mu  sync.Mutex
	got map[string][]byte // bodies that came to the upstream, by plugin and case
}

// A variant is a route of each plugin with some fields of the configuration set.
type variant struct {
	suffix string // of the route's path
	fields map[string]any
}

func open(t *testing.T, cases []testcase) *house {
	t.Helper()
	return openVariants(t, cases, []variant{{}}, nil)
}

// standIns makes a house without a gateway, and the plugins' configurations.
func standIns(t *testing.T, cases []testcase, scanned func(plugin, requestID string, judged gjson.Result)) (h *house, config map[string]map[string]any) {
	t.Helper()
	if scanned == nil {
		scanned = func(string, string, gjson.Result) {}
	}
	h = &house{cases: cases, got: make(map[string][]byte)}
	upstream := httptest.NewServer(http.HandlerFunc(h.upstream))
	airs := httptest.NewServer(marked(
		fakeairs.New(fakeairs.Options{Keys: []string{"key"}, Profiles: []string{"strict"}}), fakeairs.Path, lastContent,
		func(q, judged gjson.Result) { scanned(prisma, q.Get("transaction_id").Str, judged) },
		`{"action":"block","category":"malicious","scan_id":"b1f7a6f0-1111-4e9c-9c57-5b0a5e7f0001","report_id":"Rb1","profile_name":"strict","prompt_detected":{"injection":true}}`,
		`{"action":"allow","category":"benign","scan_id":"a1f7a6f0-2222-4e9c-9c57-5b0a5e7f0002","report_id":"Ra1","profile_name":"strict","prompt_detected":{}}`))
	ai := httptest.NewServer(marked(
		fakenoma.New(fakenoma.Options{ClientID: "id", ClientSecret: "s3cret"}), fakenoma.ScanPath, allInput,
		func(q, judged gjson.Result) { scanned(noma, q.Get("x-noma-context.sessionId").Str, judged) },
		`{"aggregatedAction":"block","aggregatedScanResult":true,"scanResult":[]}`,
		`{"aggregatedAction":"allow","aggregatedScanResult":false,"scanResult":[]}`))
	for _, s := range []*httptest.Server{upstream, airs, ai} {
		t.Cleanup(s.Close)
	}
	h.direct = upstream.URL
	config = map[string]map[string]any{
		prisma: {"api_key": "key", "profile_name": "strict", "api_endpoint": airs.URL, "timeout_ms": 45000},
		noma:   {"API_base": ai.URL, "client_ID": "id", "client_secret": "s3cret", "timeout_ms": 45000},
	}
	return h, config
}

// openVariants opens a house with a route for each plugin and variant. scanned,
// if it is not nil, hears of each scan: the request that it is about, and
// what was to be judged.
func openVariants(t *testing.T, cases []testcase, variants []variant, scanned func(plugin, requestID string, judged gjson.Result)) *house {
	t.Helper()
	h, config := standIns(t, cases, scanned)
	service := kongtest.Service{Name: "llm", URL: h.direct}
	var servers []kongtest.PluginServer
	for _, name := range plugins {
		if config[name] == nil {
			t.Fatalf("%s has no stand-in here", name)
		}
		servers = append(servers, kongtest.PluginServer{Path: filepath.Join(binaries, name)})
		for _, v := range variants {
			fields := maps.Clone(config[name])
			maps.Copy(fields, v.fields)
			service.Routes = append(service.Routes, kongtest.Route{
				Name: name + v.suffix, Paths: []string{"/" + name + v.suffix},
				Plugins: []kongtest.Plugin{{Name: name, Config: fields}},
			})
		}
	}
	h.gateway = startGateway(t, servers, service)
	h.base, h.base2 = h.gateway.URL(), h.gateway.URL()
	h.http1 = &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: 5 * time.Minute}
	two := new(http.Protocols)
	two.SetUnencryptedHTTP2(true)
	h.http2 = &http.Client{Transport: &http.Transport{DisableCompression: true, Protocols: two}, Timeout: 5 * time.Minute}
	for _, c := range []*http.Client{h.http1, h.http2} {
		t.Cleanup(c.CloseIdleConnections)
	}
	return h
}

func startGateway(t *testing.T, servers []kongtest.PluginServer, service kongtest.Service) *kongtest.Gateway {
	t.Helper()
	gw, err := kongtest.New(kongtest.Config{
		Servers:     servers,
		Declarative: kongtest.Declarative{FormatVersion: "3.0", Services: []kongtest.Service{service}},
	})
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

// upstream answers as the case says and keeps the body that it got.
func (h *house) upstream(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	plugin, number, _ := strings.Cut(r.Header.Get(caseHeader), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		http.Error(w, "no case", http.StatusInternalServerError)
		return
	}
	h.mu.Lock()
	h.got[plugin+" "+number] = body
	h.mu.Unlock()
	answer := h.cases[n].answer
	w.Header()["Content-Type"] = nil // or net/http would guess one
	setHeader(w.Header(), answer.header)
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, answer.body) // a HEAD takes no body
}

func setHeader(h http.Header, lines []string) {
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		name = http.CanonicalHeaderKey(name)
		h[name] = append(h[name], value)
	}
}

// A result is what a client got.
type result struct {
	status  int
	header  http.Header
	body    []byte
	outcome string // of the leg that ended the exchange, "" when none did
	reached bool   // the upstream was asked
	got     []byte // the body that it was asked with
}

// send plays a case through a plugin.
func (h *house) send(ctx context.Context, plugin string, n int) (result, error) {
	base := h.base
	if h.cases[n].http2 {
		base = h.base2
	}
	r, err := h.exchange(ctx, base+"/"+plugin, plugin, n)
	if err != nil {
		return r, err
	}
	if h.gateway != nil {
		x, _ := h.gateway.Exchange(r.header.Get("X-Kong-Request-Id"))
		r.outcome = outcomeOf(x, plugin)
	}
	h.mu.Lock()
	r.got, r.reached = h.got[plugin+" "+strconv.Itoa(n)]
	h.mu.Unlock()
	return r, nil
}

// sendDirect plays a case without a gateway.
func (h *house) sendDirect(ctx context.Context, n int) (result, error) {
	return h.exchange(ctx, h.direct, "direct", n)
}

func (h *house) exchange(ctx context.Context, base, plugin string, n int) (result, error) {
	c := &h.cases[n]
	var body io.Reader
	if c.request.body != "" {
		body = strings.NewReader(c.request.body)
	}
	r, err := http.NewRequestWithContext(ctx, c.request.method, base+c.request.path, body)
	if err != nil {
		return result{}, err
	}
	r.Header.Set(caseHeader, plugin+" "+strconv.Itoa(n))
	r.Header.Set("User-Agent", "corpus")
	setHeader(r.Header, c.request.header)
	client := h.http1
	if c.http2 && base != h.direct {
		client = h.http2
	}
	res, err := client.Do(r)
	if err != nil {
		return result{}, err
	}
	defer res.Body.Close()
	got := result{status: res.StatusCode, header: res.Header}
	got.body, err = io.ReadAll(res.Body)
	return got, err
}

// outcomeOf is the reason in the access log of the leg that refused.
func outcomeOf(x kongtest.Exchange, plugin string) string {
	entry, _ := x.AccessLog["ai"].(map[string]any)
	guards, _ := entry["guard"].(map[string]any)
	legs, _ := guards[plugin].(map[string]any)
	for _, leg := range []string{"response", "request"} {
		report, _ := legs[leg].(map[string]any)
		if action := report["action"]; action == "block" || action == "refuse" {
			reason, _ := report["reason"].(string)
			return reason
		}
	}
	return ""
}

// marked is a scan service. strict decides whether a request is sound. If it
// is, the verdict says whether the marker is in what was to be judged.
func marked(strict http.Handler, path string, judged func(gjson.Result) gjson.Result, scanned func(q, judged gjson.Result), block, allow string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		strict.ServeHTTP(answer, r)
		verdict := answer.Body.String()
		if r.URL.Path == path && answer.Code == http.StatusOK {
			verdict = allow
			q := gjson.ParseBytes(body)
			content := judged(q)
			if says(content, 4) {
				verdict = block
			}
			scanned(q, content)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.Code)
		_, _ = io.WriteString(w, verdict) // the plugin may have left
	})
}

// lastContent is what AIRS judges: the last element, of which a tool event
// displaces the rest.
func lastContent(q gjson.Result) gjson.Result {
	contents := q.Get("contents").Array()
	last := contents[len(contents)-1]
	if event := last.Get("tool_event"); event.Exists() {
		return event
	}
	return last
}

func allInput(q gjson.Result) gjson.Result { return q.Get("input") }

// says reports whether a string of v holds the marker: as it is, but for case
// and white space, or in JSON inside the string.
func says(v gjson.Result, layers int) bool { return saysAny(v, layers, markers) }

// markers are the marker and what it is with marks in place of its blanks.
var markers = append([]string{marker}, filled...)

func saysAny(v gjson.Result, layers int, phrases []string) bool {
	switch v.Type {
	case gjson.String:
		text := strings.ToLower(strings.Join(strings.Fields(v.Str), " "))
		if slices.ContainsFunc(phrases, func(s string) bool { return strings.Contains(text, s) }) {
			return true
		}
		return layers > 0 && gjson.Valid(v.Str) && saysAny(gjson.Parse(v.Str), layers-1, phrases)
	case gjson.JSON:
		found := false
		v.ForEach(func(name, value gjson.Result) bool {
			found = name.Type == gjson.String && saysAny(name, 0, phrases) || saysAny(value, layers, phrases)
			return !found
		})
		return found
	}
	return false
}
