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

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
	ours "github.com/kong-ai-guard/kong-ai-guard/plugins"
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
		args = append(args, "github.com/kong-ai-guard/kong-ai-guard/cmd/"+name)
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

	audits map[string]*audits // by plugin

	mu  sync.Mutex
	got map[string][]byte // bodies that came to the upstream, by run and case
}

// A variant is a route of each plugin with some fields of the configuration set.
type variant struct {
	suffix string // of the route's path
	fields map[string]any
	// slow says that scans take longer than a stream does.
	slow bool
}

// relays reports whether the variant's exchanges go through the relay.
func (v *variant) relays() bool { return v.fields["relay"] == "on" }

// slowly is how long a scan takes on routes of slow variants. The streams have
// come long before, unless the machine is very busy.
const slowly = 30 * time.Millisecond

// standIns makes a house without a gateway, and the plugins' configurations:
// those of all variants, and what slow ones have besides. scanned, if it is not
// nil, hears of each scan: the request that it is about, and what was to be
// judged.
func standIns(t *testing.T, cases []testcase, scanned func(plugin, requestID string, judged gjson.Result)) (h *house, config, slow map[string]map[string]any) {
	t.Helper()
	if scanned == nil {
		scanned = func(string, string, gjson.Result) {}
	}
	h = &house{cases: cases, got: make(map[string][]byte), audits: make(map[string]*audits)}
	upstream := httptest.NewServer(http.HandlerFunc(h.upstream))
	airs := httptest.NewServer(marked(
		fakeairs.New(fakeairs.Options{Keys: []string{"key"}, Profiles: []string{"strict"}}), fakeairs.Path, lastContent,
		func(q, judged gjson.Result) { scanned(prisma, q.Get("transaction_id").Str, judged) },
		`{"action":"block","category":"malicious","scan_id":"b1f7a6f0-1111-4e9c-9c57-5b0a5e7f0001","report_id":"Rb1","profile_name":"strict","prompt_detected":{"injection":true}}`,
		`{"action":"allow","category":"benign","scan_id":"a1f7a6f0-2222-4e9c-9c57-5b0a5e7f0002","report_id":"Ra1","profile_name":"strict","prompt_detected":{}}`))
	ai := httptest.NewServer(marked(
		fakenoma.New(fakenoma.Options{ClientID: "id", ClientSecret: "s3cret"}), fakenoma.ScanPath, allInput,
		func(q, judged gjson.Result) {
			// The request's id stands in one of them: MCP's task in the first, an
			// answer's own id in the second.
			scanned(noma, q.Get("x-noma-context.sessionId").Str, judged)
			scanned(noma, q.Get("x-noma-context.requestId").Str, judged)
		},
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
	slow = map[string]map[string]any{prisma: {"api_endpoint": slower(t, airs)}, noma: {"API_base": slower(t, ai)}}
	return h, config, slow
}

// open opens a house with a route for each plugin and variant. scanned is that
// of standIns. Exchanges on routes of the relay are relayed from the first one.
func open(t *testing.T, cases []testcase, variants []variant, scanned func(plugin, requestID string, judged gjson.Result)) *house {
	t.Helper()
	h, config, slow := standIns(t, cases, scanned)
	service := kongtest.Service{Name: "llm", URL: h.direct}
	var servers []kongtest.PluginServer
	for _, name := range plugins {
		if config[name] == nil {
			t.Fatalf("%s has no stand-in here", name)
		}
		log := filepath.Join(t.TempDir(), name+".jsonl")
		h.audits[name] = &audits{path: log, of: make(map[string][]audit.Record)}
		// One caller sends all of it at once, some of it the largest that there is.
		args := []string{"-audit-log", log, "-max-monitor-bytes", "1073741824"}
		servers = append(servers, kongtest.PluginServer{Path: filepath.Join(binaries, name), Args: args})
		for _, v := range variants {
			fields := maps.Clone(config[name])
			maps.Copy(fields, v.fields)
			if v.slow {
				maps.Copy(fields, slow[name])
			}
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
	for _, name := range plugins {
		for _, v := range variants {
			if v.relays() {
				h.prove(t, name, v.suffix)
			}
		}
	}
	return h
}

// slower is the address of a scan service that takes its time.
func slower(t *testing.T, service *httptest.Server) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(slowly)
		service.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
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
	ask := r.Header.Get(caseHeader)
	if ask == proof {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, completion.body)
		return
	}
	parts := strings.Split(ask, " ")
	if len(parts) != 3 {
		http.Error(w, "no case", http.StatusInternalServerError)
		return
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		http.Error(w, "no case", http.StatusInternalServerError)
		return
	}
	h.mu.Lock()
	h.got[ask] = body
	h.mu.Unlock()
	answer := h.cases[n].answer
	w.Header()["Content-Type"] = nil // or net/http would guess one
	setHeader(w.Header(), answer.header)
	w.WriteHeader(answer.status)
	for piece := range cutting(parts[2]).pieces(answer.body) {
		if _, err := io.WriteString(w, piece); err != nil { // a HEAD takes no body
			return
		}
		if cutting(parts[2]) != whole {
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Microsecond)
		}
	}
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
	cut     bool   // the body broke off
	outcome string // of the leg that ended the exchange, "" when none did
	reached bool   // the upstream was asked
	got     []byte // the body that it was asked with
}

// A way is how a case gets to a plugin and back.
type way struct {
	plugin string
	variant
	cut cutting
}

func (y *way) String() string { return y.plugin + y.suffix }

// send plays a case, and finds out what it came to.
func (h *house) send(ctx context.Context, y *way, n int) (result, error) {
	r, x, err := h.play(ctx, y, n)
	switch {
	case err != nil || h.gateway == nil:
	case y.relays():
		r.outcome, err = h.relayedOutcome(x, y.plugin)
	default:
		r.outcome = outcomeOf(x, y.plugin)
	}
	return r, err
}

// play plays a case. The exchange is the gateway's record of it.
func (h *house) play(ctx context.Context, y *way, n int) (r result, x kongtest.Exchange, err error) {
	asked := y.String() + " " + strconv.Itoa(n) + " " + string(y.cut)
	base := h.base
	if h.cases[n].http2 {
		base = h.base2
	}
	if r, err = h.exchange(ctx, base+"/"+y.String(), asked, n); err != nil {
		return r, x, err
	}
	if h.gateway != nil {
		x, _ = h.gateway.Exchange(r.header.Get("X-Kong-Request-Id"))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r.got, r.reached = h.got[asked]
	return r, x, nil
}

// sendDirect plays a case without a gateway.
func (h *house) sendDirect(ctx context.Context, n int) (result, error) {
	return h.exchange(ctx, h.direct, "direct "+strconv.Itoa(n)+" "+string(whole), n)
}

// exchange plays a case. asked tells the upstream which and how.
func (h *house) exchange(ctx context.Context, base, asked string, n int) (result, error) {
	c := &h.cases[n]
	var body io.Reader
	if c.request.body != "" {
		body = strings.NewReader(c.request.body)
	}
	r, err := http.NewRequestWithContext(ctx, c.request.method, base+c.request.path, body)
	if err != nil {
		return result{}, err
	}
	r.Header.Set(caseHeader, asked)
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
	got.cut = err != nil
	return got, ctx.Err()
}

// outcomeOf is the reason in the access log of the leg that refused.
func outcomeOf(x kongtest.Exchange, plugin string) string {
	for _, leg := range []string{"response", "request"} {
		report := reportOf(x, plugin, leg)
		if action := report["action"]; action == "block" || action == "refuse" {
			reason, _ := report["reason"].(string)
			return reason
		}
	}
	return ""
}

// reportOf is what the access log says of a leg.
func reportOf(x kongtest.Exchange, plugin, leg string) map[string]any {
	entry, _ := x.AccessLog["ai"].(map[string]any)
	guards, _ := entry["guard"].(map[string]any)
	legs, _ := guards[plugin].(map[string]any)
	report, _ := legs[leg].(map[string]any)
	return report
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
