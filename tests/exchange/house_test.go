// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/procfs"
)

// A ledger knows what was scanned. Each prompt and each word of an answer is
// another one, so that one which arrives somewhere tells whether it was scanned
// before.
type ledger struct {
	mu      sync.Mutex
	scanned map[string]map[string]bool // by which services
	missed  []string
}

// word is a prompt's or a piece of an answer.
var word = regexp.MustCompile(`(?:ask|say)-[0-9]+-[0-9]+`)

// scans notes what a service is asked before it is asked.
func (l *ledger) scans(name string, service http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		l.mu.Lock()
		for _, found := range word.FindAllString(string(body), -1) {
			if l.scanned[found] == nil {
				l.scanned[found] = map[string]bool{}
			}
			l.scanned[found][name] = true
		}
		l.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		service.ServeHTTP(w, r)
	})
}

// arrives notes what has arrived where only what was scanned may.
func (l *ledger) arrives(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, found := range word.FindAllString(text, -1) {
		if len(l.scanned[found]) == 0 {
			l.missed = append(l.missed, found)
		}
	}
	if strings.Contains(text, attack) {
		l.missed = append(l.missed, attack)
	}
}

func (l *ledger) unscanned() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.missed)
}

// reports is how many services were asked about something.
func (l *ledger) reports(found string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.scanned[found])
}

// A scene is what a house is furnished for.
type scene struct {
	name    string
	version string // of Kong
	workers int
	plugins []string
	// sealed has the service lead nowhere, and the first plugin know the model.
	sealed bool
	// config is for each of the plugins.
	config     map[string]any
	neighbours []kongtest.Neighbour
	// rpcTimeout is how long Kong waits for a plugin, as long as Kong by itself
	// when 0.
	rpcTimeout time.Duration
}

// A house is a gateway that plays Kong to the real binaries, whose exchanges are
// all kept in a ledger.
type house struct {
	*kongtest.Gateway
	*ledger
	t     *testing.T
	scene scene
	model *httptest.Server
	// asked is how many requests the model got.
	asked   atomic.Int64
	numbers atomic.Int64
	metrics map[string]string // addresses
	// free lets held streams go on.
	free chan struct{}
}

// hold in a prompt has the model stop after the first event, until it is freed.
const hold = "hold on"

// shortly is how long a Kong waits for a plugin that is going to hang.
const shortly = 3 * time.Second

// furnish starts a gateway with one route.
func furnish(t *testing.T, s scene) *house {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, scene: s, ledger: &ledger{scanned: map[string]map[string]bool{}}, metrics: map[string]string{}, free: make(chan struct{})}
	h.model = httptest.NewServer(http.HandlerFunc(h.answer))
	t.Cleanup(h.model.Close)
	airs := httptest.NewServer(h.scans(name, fakeairs.New(fakeairs.Options{})))
	t.Cleanup(airs.Close)
	guard := httptest.NewServer(h.scans(second, fakenoma.New(fakenoma.Options{ClientID: "id", ClientSecret: "secret"})))
	t.Cleanup(guard.Close)
	base := map[string]map[string]any{
		name:   {"api_key": "k", "profile_name": "p", "api_endpoint": airs.URL},
		second: {"client_id": "id", "client_secret": "secret", "api_base": guard.URL},
	}
	url := h.model.URL
	if s.sealed {
		url = nowhere
	}
	var servers []kongtest.PluginServer
	var list []kongtest.Plugin
	for i, plugin := range s.plugins {
		config := base[plugin]
		config["relay"] = "on"
		for field, v := range s.config {
			config[field] = v
		}
		if s.sealed && i == 0 {
			config["relay_upstream"] = h.model.URL
		}
		h.metrics[plugin] = freeAddress(t)
		servers = append(servers, kongtest.PluginServer{Path: filepath.Join(bin, plugin), Args: []string{"-metrics", h.metrics[plugin]}})
		list = append(list, kongtest.Plugin{Name: plugin, Config: config})
	}
	for _, n := range s.neighbours {
		list = append(list, kongtest.Plugin{Name: n.Name})
	}
	zero := 0
	service := kongtest.Service{Name: "llm", URL: url, Retries: &zero, Routes: []kongtest.Route{{Name: "chat", Paths: []string{"/llm"}, Plugins: list}}}
	h.Gateway, err = kongtest.New(kongtest.Config{
		Servers: servers, Workers: s.workers, Version: s.version, Neighbours: s.neighbours, RPCTimeout: s.rpcTimeout,
		Declarative: kongtest.Declarative{Services: []kongtest.Service{service}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, l := range h.Logs() {
				if l.Level != "debug" {
					t.Log(l)
				}
			}
		}
	})
	return h
}

// nowhere is a URL where nobody listens.
const nowhere = "http://127.0.0.1:1"

// freeAddress is one where nobody listens yet.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answer is the model: its words bear the number of the prompt.
func (h *house) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.asked.Add(1)
	h.arrives(string(body))
	_, number, _ := strings.Cut(word.FindString(string(body)), "-")
	number, _, _ = strings.Cut(number, "-")
	if !strings.Contains(string(body), `"stream":true`) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, strings.Replace(answer, "Paris", "say-"+number+"-0", 1))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	for i := range 5 {
		fmt.Fprintf(w, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" say-%s-%d\"}}]}\n\n", number, i)
		_ = flush()
		if i == 0 && strings.Contains(string(body), hold) {
			select {
			case <-h.free:
			case <-r.Context().Done():
				return
			}
		}
	}
	_, _ = io.WriteString(w, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
}

// An openStream is an answer on its way.
type openStream struct {
	*http.Response
	events *bufio.Reader
	number int64
}

// send sends a prompt on a connection of its own, so that each worker gets some.
func (h *house) send(ctx context.Context, prompt string, stream bool, header ...string) (*openStream, error) {
	number := h.numbers.Add(1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL()+"/llm/v1/chat/completions", strings.NewReader(
		fmt.Sprintf(`{"model":"gpt-4o","stream":%v,"messages":[{"role":"user","content":"ask-%d-0 %s"}]}`, stream, number, prompt)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for _, name := range header {
		req.Header.Set(name, "1")
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	return &openStream{res, bufio.NewReader(res.Body), number}, nil
}

// rest reads what is left of an answer, and notes it.
func (h *house) rest(s *openStream) (string, error) {
	defer s.Body.Close()
	b, err := io.ReadAll(s.events)
	h.arrives(string(b))
	return string(b), err
}

// ask sends a prompt and reads the answer.
func (h *house) ask(prompt string, stream bool, header ...string) (status int, body string) {
	s, err := h.send(h.t.Context(), prompt, stream, header...)
	if err != nil {
		h.t.Errorf("no answer: %v", err)
		return 0, ""
	}
	body, err = h.rest(s)
	if err != nil {
		return -s.StatusCode, body // cut off
	}
	return s.StatusCode, body
}

// begin starts a stream that is held, and returns once its first event is there.
func (h *house) begin(ctx context.Context) (*openStream, error) {
	s, err := h.send(ctx, hold, true)
	if err != nil {
		return nil, err
	}
	first, err := s.events.ReadString('\n')
	h.arrives(first)
	if err == nil && !strings.Contains(first, fmt.Sprintf("say-%d-0", s.number)) {
		err = fmt.Errorf("%d %s", s.StatusCode, first)
	}
	if err != nil {
		s.Body.Close()
		return nil, err
	}
	return s, nil
}

// beginAll starts so many.
func (h *house) beginAll(ctx context.Context, n int) (all []*openStream) {
	h.t.Helper()
	for range n {
		s, err := h.begin(ctx)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// complete reports what is wrong with a stream that was held and is to end well.
func (h *house) complete(s *openStream) error {
	text, err := h.rest(s)
	if err == nil && !(strings.Contains(text, fmt.Sprintf("say-%d-4", s.number)) && strings.HasSuffix(text, "data: [DONE]\n\n")) {
		err = errors.New("no proper end")
	}
	if err != nil {
		return fmt.Errorf("%w: %q", err, text)
	}
	return nil
}

// prove asks until the exchanges of each worker are relayed by all plugins.
func (h *house) prove() {
	h.t.Helper()
	for range max(1, h.scene.workers) {
		h.eventually("exchanges are relayed", func() bool {
			s, err := h.send(h.t.Context(), harmless, true)
			if err != nil {
				return false
			}
			if _, err := h.rest(s); err != nil || s.StatusCode != http.StatusOK {
				return false
			}
			x, ok := h.Exchange(s.Header.Get("X-Kong-Request-Id"))
			for _, plugin := range h.scene.plugins {
				ok = ok && relayed(x, plugin)
			}
			return ok
		})
	}
}

// worker is which one has had an exchange, once that is over.
func (h *house) worker(s *openStream) int {
	h.t.Helper()
	x, ok := h.Exchange(s.Header.Get("X-Kong-Request-Id"))
	if !ok {
		h.t.Fatal("no such exchange")
	}
	return x.Worker
}

// eventually waits for something that has to come.
func (h *house) eventually(what string, is func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: not within two minutes", what)
		}
	}
}

// who of a plugin's processes gets a signal.
type who uint8

const (
	everyone   who = iota
	theCommand     // that Kong has started
	theServer      // that runs under it
)

// signal sends a signal to processes of a plugin.
func (h *house) signal(plugin string, sig syscall.Signal, to who) {
	h.t.Helper()
	var pids []int
	h.eventually("the command and the server under it run", func() bool {
		pids, _ = h.Processes(plugin)
		return len(pids) == 2
	})
	switch to {
	case theCommand:
		pids = pids[:1]
	case theServer:
		pids = pids[1:]
	}
	if err := procfs.Signal(sig, pids...); err != nil {
		h.t.Fatal(err)
	}
}

// metric is a counter of a plugin, summed over its labels, -1 when it cannot be
// read.
func (h *house) metric(plugin, counter string) (sum float64) {
	res, err := http.Get("http://" + h.metrics[plugin] + "/metrics")
	if err != nil {
		return -1
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		named, v, _ := strings.Cut(lines.Text(), " ")
		if of, _, _ := strings.Cut(named, "{"); of != counter {
			continue
		}
		n, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return -1
		}
		sum += n
	}
	if lines.Err() != nil {
		return -1
	}
	return sum
}
