// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// faultScenes are sealed services on each Kong, and a service that Kong knows
// on one that fails closed.
var faultScenes = []scene{
	{name: "sealed, 3.9", version: "3.9", workers: 2, plugins: []string{name}, sealed: true},
	{name: "sealed, 3.9, both", version: "3.9", workers: 2, plugins: []string{name, second}, sealed: true},
	{name: "sealed, 3.7", version: "3.7", workers: 2, plugins: []string{name}, sealed: true},
	{name: "sealed, 3.7, noma", version: "3.7", workers: 1, plugins: []string{second}, sealed: true},
	{name: "sealed, 3.4", version: "3.4", workers: 2, plugins: []string{second}, sealed: true},
	{name: "sealed, 3.4, both", version: "3.4", workers: 1, plugins: []string{name, second}, sealed: true},
	{name: "open, 3.9", version: "3.9", workers: 1, plugins: []string{name}},
	{name: "open, 3.9, both", version: "3.9", workers: 2, plugins: []string{name, second}},
}

// clean reports it when something was not scanned.
func (h *house) clean() {
	h.t.Helper()
	if missed := h.unscanned(); len(missed) > 0 {
		h.t.Errorf("unscanned: %q", missed)
	}
}

// failures are what Kong says when a plugin does not answer, or when the relay
// or what the service's URL leads to cannot be reached.
func (h *house) failures() []int {
	if h.scene.version == "3.9" {
		return []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout}
	}
	return []int{http.StatusBadGateway, http.StatusGatewayTimeout}
}

// under asks from several clients until it is stopped, and returns how often
// which status came: the answers to attacks, those to other requests, negative
// for answers that were cut off.
func (h *house) under() (stop func() (attacks, others map[int]int)) {
	var mu sync.Mutex
	counted := [2]map[int]int{{}, {}}
	var over atomic.Bool
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for i := client; !over.Load(); i++ {
				prompt := [2]string{attack, harmless}[i%2]
				status, _ := h.ask(prompt, i%4 < 2)
				mu.Lock()
				counted[i%2][status]++
				mu.Unlock()
			}
		})
	}
	stop = func() (map[int]int, map[int]int) {
		over.Store(true)
		clients.Wait()
		return counted[0], counted[1]
	}
	h.t.Cleanup(func() { stop() })
	return stop
}

// judge compares the answers that came during a fault with what may come.
func (h *house) judge(what string, attacks, others map[int]int) {
	h.t.Helper()
	refused := []int{http.StatusForbidden, http.StatusBadRequest} // by Prisma AIRS, by Noma
	h.t.Logf("%s: attacks %v, others %v", what, attacks, others)
	for status := range attacks {
		if !slices.Contains(append(h.failures(), refused...), max(status, -status)) {
			h.t.Errorf("%s: an attack was answered with %d", what, status)
		}
	}
	for status := range others {
		if !slices.Contains(append(h.failures(), http.StatusOK, -http.StatusOK), status) {
			h.t.Errorf("%s: a request was answered with %d", what, status)
		}
	}
	h.clean()
}

// works waits until requests pass again, and looks that attacks do not.
func (h *house) works() {
	h.t.Helper()
	h.prove()
	for range 2 {
		if status, body := h.ask(attack, false); status != http.StatusForbidden && status != http.StatusBadRequest {
			h.t.Errorf("an attack: %d %s", status, body)
		}
	}
	h.clean()
}

// A plugin server that is killed takes its streams with it, and requests find
// an error until the next one is there. Nothing goes on unscanned.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, s := range faultScenes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := furnish(t, s)
			h.prove()
			for _, plugin := range s.plugins {
				for _, to := range []who{everyone, theServer} {
					ctx, cancel := context.WithCancel(t.Context())
					held := h.beginAll(ctx, 4)
					starts := h.Starts(plugin)
					stop := h.under()
					h.signal(plugin, syscall.SIGKILL, to)
					for i, st := range held {
						if text, err := h.rest(st); err == nil {
							t.Errorf("stream %d was not cut: %q", i, text)
						}
					}
					cancel()
					h.eventually("the next plugin server is started", func() bool { return h.Starts(plugin) > starts })
					h.works()
					attacks, others := stop()
					h.judge("killed", attacks, others)
				}
			}
		})
	}
}

// Killed again and again under load, before, between and after the scans.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, s := range faultScenes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := furnish(t, s)
			h.prove()
			stop := h.under()
			for i := range 6 {
				plugin := s.plugins[i%len(s.plugins)]
				time.Sleep(time.Duration(i) * 50 * time.Millisecond) // any moment will do
				starts := h.Starts(plugin)
				h.signal(plugin, syscall.SIGKILL, everyone)
				h.eventually("the next plugin server is started", func() bool { return h.Starts(plugin) > starts })
			}
			h.works()
			attacks, others := stop()
			h.judge("killed again and again", attacks, others)
		})
	}
}

// The command that Kong has started is killed, and not the server under it: the
// server ends as at a reload. No stream is cut and no request fails.
func TestCommandKilled(t *testing.T) {
	t.Parallel()
	for _, s := range faultScenes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := furnish(t, s)
			h.prove()
			held := h.beginAll(t.Context(), 4)
			for _, plugin := range s.plugins {
				h.signal(plugin, syscall.SIGKILL, theCommand)
			}
			for i := range 10 {
				if status, body := h.ask(harmless, i%2 == 0); status != http.StatusOK {
					t.Errorf("%d %s", status, body)
				}
				if status, body := h.ask(attack, i%2 == 0); status != http.StatusForbidden && status != http.StatusBadRequest {
					t.Errorf("an attack: %d %s", status, body)
				}
			}
			close(h.free)
			for _, st := range held {
				if err := h.complete(st); err != nil {
					t.Error(err)
				}
			}
			h.clean()
		})
	}
}

// A plugin server that hangs lets nothing through, not even later.
func TestHung(t *testing.T) {
	t.Parallel()
	for _, s := range faultScenes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.rpcTimeout = shortly
			h := furnish(t, s)
			h.prove()
			for _, plugin := range s.plugins {
				held := h.beginAll(t.Context(), 4)
				before := h.asked.Load()
				h.signal(plugin, syscall.SIGSTOP, everyone)
				t.Cleanup(func() { h.signal(plugin, syscall.SIGCONT, everyone) }) // else the house does not close
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						prompt := [2]string{attack, harmless}[i%2]
						status, body := h.ask(prompt, i < 4)
						switch {
						case slices.Contains(h.failures(), status):
						case h.goesOnWithout(plugin) && prompt == harmless && status == http.StatusOK:
						case len(s.plugins) > 1 && prompt == attack && (status == http.StatusForbidden || status == http.StatusBadRequest):
							// An old Kong goes on to the other plugin.
						default:
							t.Errorf("%q: %d %s", prompt, status, body)
						}
					})
				}
				wg.Wait()
				if n := h.asked.Load() - before; n > 0 && !h.goesOnWithout(plugin) {
					t.Errorf("%d requests reached the model", n)
				}
				h.clean()
				h.signal(plugin, syscall.SIGCONT, everyone)
				h.works()
				close(h.free)
				for _, st := range held {
					if err := h.complete(st); err != nil {
						t.Error(err)
					}
				}
				h.free = make(chan struct{})
				h.works()
			}
		})
	}
}

// goesOnWithout reports whether the model can be reached without a plugin: on
// an old Kong, where another plugin has the seal.
func (h *house) goesOnWithout(plugin string) bool {
	return h.scene.version != "3.9" && plugin != h.scene.plugins[0]
}

// What the seal is for, and that these tests would see it if it were not there:
// an old Kong that knows where the model is asks it unscanned.
func TestUnsealedOldKongGoesOn(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.4", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			h := furnish(t, scene{version: version, workers: 1, plugins: []string{name}, rpcTimeout: shortly})
			h.prove()
			h.clean()
			h.signal(name, syscall.SIGSTOP, everyone)
			t.Cleanup(func() { h.signal(name, syscall.SIGCONT, everyone) })
			if status, body := h.ask(attack, false); status != http.StatusOK || !slices.Contains(h.unscanned(), attack) {
				t.Errorf("%d %s, unscanned %q", status, body, h.unscanned())
			}
		})
	}
}

// taker is a plugin that runs later and takes the target of all requests, or of
// those that ask for it with a header, once it knows the house.
func taker(header string, to func(h *house) string) (kongtest.Neighbour, *atomic.Pointer[house]) {
	var of atomic.Pointer[house]
	return kongtest.Neighbour{Name: "canary", Priority: 500, Access: func(a *kongtest.Access) {
		if h := of.Load(); h != nil && (header == "" || a.Header(header) != "") {
			var port int
			if _, err := fmt.Sscanf(to(h), "http://127.0.0.1:%d", &port); err != nil {
				panic(err)
			}
			if err := a.SetTarget("http", "127.0.0.1", port, ""); err != nil {
				panic(err)
			}
		}
	}}, &of
}

func theModel(h *house) string  { return h.model.URL }
func toNowhere(h *house) string { return nowhere }

// A plugin that runs later and takes the target, always.
func TestLaterPluginTakesTheTarget(t *testing.T) {
	for _, c := range []struct {
		name   string
		sealed bool
		to     func(h *house) string
		status int // of a harmless request
	}{
		{"sealed, to the service's URL", true, toNowhere, 502},
		{"sealed, to the model", true, theModel, 200},
		{"open", false, theModel, 200},
	} {
		for _, plugin := range []string{name, second} {
			t.Run(c.name+", "+plugin, func(t *testing.T) {
				t.Parallel()
				canary, of := taker("", c.to)
				h := furnish(t, scene{workers: 1, plugins: []string{plugin}, sealed: c.sealed, neighbours: []kongtest.Neighbour{canary}})
				of.Store(h)
				for i := range 6 {
					if status, body := h.ask(harmless, i%2 == 0); status != c.status {
						t.Errorf("%d %s", status, body)
					}
					if status, body := h.ask(attack, i%2 == 0); status != http.StatusForbidden && status != http.StatusBadRequest {
						t.Errorf("an attack: %d %s", status, body)
					}
				}
				h.clean()
			})
		}
	}
}

// A plugin that runs later and takes the target of some requests. That is found
// out when a request has not come to the relay within a minute: all cases wait
// for it at once.
func TestLaterPluginTakesSomeTargets(t *testing.T) {
	t.Parallel()
	const asks = "X-Elsewhere"
	var cases sync.WaitGroup
	for _, c := range []struct {
		name   string
		sealed bool
		to     func(h *house) string
		status int // of a harmless request
	}{
		{"sealed, to the service's URL", true, toNowhere, 502},
		{"open", false, theModel, 200},
	} {
		for _, plugin := range []string{name, second} {
			cases.Go(func() {
				t.Run(c.name+", "+plugin, func(t *testing.T) {
					canary, of := taker(asks, c.to)
					h := furnish(t, scene{workers: 1, plugins: []string{plugin}, sealed: c.sealed, neighbours: []kongtest.Neighbour{canary}})
					of.Store(h)
					h.prove()
					if status, body := h.ask(harmless, true, asks); status != c.status {
						t.Fatalf("%d %s", status, body)
					}
					passed := h.unscanned()
					if unsealed := len(passed) > 0; unsealed == c.sealed {
						t.Errorf("unscanned %q", passed)
					}
					// It is found out and counted, and the next ones are scanned.
					h.eventually("the exchange that was taken is counted", func() bool {
						return h.metric(plugin, "ai_guard_unscanned_answers_total") == 1
					})
					told := false
					for i := range 6 {
						if status, body := h.ask(attack, i%2 == 0, asks); status != http.StatusForbidden && status != http.StatusBadRequest {
							t.Errorf("an attack: %d %s", status, body)
						}
						if status, body := h.ask(harmless, i%2 == 0, asks); status != c.status {
							t.Errorf("%d %s", status, body)
						}
					}
					for _, l := range h.Logs() {
						told = told || l.Level == "err" && strings.Contains(l.Text, "never came to the relay")
					}
					if !told {
						t.Error("Kong's log has no line about it")
					}
					if now := h.unscanned(); len(now) != len(passed) {
						t.Errorf("unscanned later: %q", now)
					}
				})
			})
		}
	}
	cases.Wait()
}
