// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// A gate holds scans back until it is opened.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) way() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

func (g *gate) unlock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *gate) lock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

// patient holds scans back until the model was called. Of a request that
// waits for its verdict, the model would never hear.
func patient(t *testing.T, service http.Handler, called *gate) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/scan/") || strings.HasSuffix(r.URL.Path, "/scan") || strings.Contains(r.URL.Path, "/prompt/") {
			select {
			case <-called.way():
			case <-r.Context().Done():
				return
			case <-time.After(2 * time.Minute):
			}
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestBesideTheModelsCall: with the real processes, phases and relayed: the model
// is called before the verdict, and nothing of its answer comes out when that is
// a block.
func TestBesideTheModelsCall(t *testing.T) {
	for _, relay := range []string{"off", "on"} {
		for _, plugin := range []string{name, second} {
			for prompt, block := range map[string]bool{harmless: false, attack: true} {
				for _, stream := range []bool{false, true} {
					called := newGate()
					airs := patient(t, fakeairs.New(fakeairs.Options{}), called)
					guard := patient(t, fakenoma.New(fakenoma.Options{ClientID: "id", ClientSecret: "secret"}), called)
					config := map[string]any{"relay": relay, "prompt_scan": "beside"}
					want := 403
					if plugin == name {
						config["api_endpoint"] = airs
					} else {
						config["api_base"], want = guard, 400
					}
					r := route(t, nil, map[string]map[string]any{plugin: config})
					r.model.hears(called.unlock)
					calls := 1
					if relay == "on" {
						// The first of its kind goes through the phases, too.
						if status, body, x := r.ask(harmless, stream); status != http.StatusOK || relayed(x, plugin) {
							t.Fatalf("the scout: %d %s", status, body)
						}
						called.lock()
						calls = 2
					}
					status, body, x := r.ask(prompt, stream)
					if _, n := r.model.last(); n != calls {
						t.Errorf("%s, relay %s: %d calls of the model", plugin, relay, n)
					}
					leaked := strings.Contains(body, "Paris")
					if !block && (status != http.StatusOK || !leaked) || block && (status != want || leaked) {
						t.Errorf("%s, relay %s, stream %v, %q: %d %s", plugin, relay, stream, prompt, status, body)
					}
					action := verdictOf(x, plugin, "request")
					if relay == "on" && action != "relayed" || relay == "off" && (block && action != "block" || !block && action != "allow") {
						t.Errorf("%s, relay %s: access log %v", plugin, relay, x.AccessLog)
					}
				}
			}
		}
	}
}

func verdictOf(x kongtest.Exchange, plugin, leg string) any {
	v := any(x.AccessLog)
	for _, key := range []string{"ai", "guard", plugin, leg, "action"} {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// A client that leaves, and an upstream that fails, leave nothing behind: the
// next exchange is as good as the first.
func TestBesideWithoutAnAnswer(t *testing.T) {
	called := newGate()
	called.unlock()
	airs := patient(t, fakeairs.New(fakeairs.Options{}), called)
	r := route(t, nil, map[string]map[string]any{name: {"relay": "off", "prompt_scan": "beside", "api_endpoint": airs}})
	for range 3 {
		r.model.hears(func() { panic(http.ErrAbortHandler) })
		if status, body, _ := r.ask(attack, false); status < 400 || strings.Contains(body, "Paris") {
			t.Errorf("no answer of the model's: %d %s", status, body)
		}
		r.model.hears(nil)
		if status, body, _ := r.ask(harmless, false); status != http.StatusOK || !strings.Contains(body, "Paris") {
			t.Errorf("%d %s", status, body)
		}
		if status, body, _ := r.ask(attack, true); status != 403 || strings.Contains(body, "Paris") {
			t.Errorf("%d %s", status, body)
		}
	}
}
