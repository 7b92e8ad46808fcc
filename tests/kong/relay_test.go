// SPDX-License-Identifier: Apache-2.0

package kong_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// relayed counts the records of relayed legs in a plugin's audit log.
func (h *house) relayed(plugin string) int {
	b, err := os.ReadFile(h.audit[plugin])
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Count(string(b), `"transport":"relay"`)
}

// prove asks until requests of a route are relayed.
func (h *house) prove(route, plugin string) {
	h.t.Helper()
	before := h.relayed(plugin)
	h.await(func() bool {
		if _, err := h.ask(h.t.Context(), question{route: route, prompt: harmless}); err != nil {
			h.t.Fatal(err)
		}
		return h.relayed(plugin) > before
	})
}

// begin starts a stream, and returns once its first event is there.
func (h *house) begin(ctx context.Context, client *http.Client, base, route string) (*http.Response, *bufio.Reader, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/"+route,
		strings.NewReader(`{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"When does the ferry leave?"}]}`))
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	events := bufio.NewReader(res.Body)
	first, err := events.ReadString('\n')
	if err == nil && !strings.Contains(first, "Ferries run") {
		err = fmt.Errorf("%d %q", res.StatusCode, first)
	}
	return res, events, err
}

// TestStreamsFlow has the model wait until the client has its first event: that
// ends only where events are relayed as they come.
func TestStreamsFlow(t *testing.T) {
	h := open(t, 1)
	for _, route := range []string{"flow-prisma", "flow-noma", "flow-both", "flow-monitor"} {
		// The first exchange of a route is held, and only proves.
		proof := make(chan error, 1)
		go func() {
			_, err := h.ask(t.Context(), question{route: route, prompt: harmless, stream: true})
			proof <- err
		}()
		h.flow <- struct{}{}
		if err := <-proof; err != nil {
			t.Fatal(err)
		}
		for _, http2 := range []bool{false, true} {
			base, client := h.URL, h.http1
			if http2 {
				base, client = h.TLS, h.http2
			}
			res, events, err := h.begin(t.Context(), client, base, route)
			if err != nil {
				t.Fatalf("%s: %v", route, err)
			}
			h.flow <- struct{}{}
			rest, err := io.ReadAll(events)
			res.Body.Close()
			if err != nil || !strings.Contains(string(rest), "hourly.") || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
				t.Errorf("%s: %q, %v", route, rest, err)
			}
		}
	}
	h.await(func() bool { return h.relayed(noma) >= 2*2*3 && h.relayed(prisma) >= 2*2*2 })
}

// TestReloadCutsNoStream reloads Kong while streams are open: each comes to its
// end, whatever worker has it.
func TestReloadCutsNoStream(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		h := open(t, workers)
		h.http1.Transport.(*http.Transport).DisableKeepAlives = true // so that all workers have some
		proven := make(chan struct{})
		go func() {
			for {
				select {
				case h.flow <- struct{}{}:
				case <-proven:
					return
				}
			}
		}()
		for range 20 * workers {
			if _, err := h.ask(t.Context(), question{route: "flow-both", prompt: harmless, stream: true}); err != nil {
				t.Fatal(err)
			}
		}
		close(proven)
		type stream struct {
			res    *http.Response
			events *bufio.Reader
		}
		var open []stream
		for range 8 * workers {
			res, events, err := h.begin(t.Context(), h.http1, h.URL, "flow-both")
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, stream{res, events})
		}
		if err := h.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		// Old workers without streams of their own are gone by then, and worker 0
		// takes the plugin servers with it.
		time.Sleep(20 * time.Second)
		for range open {
			h.flow <- struct{}{}
		}
		for i, s := range open {
			rest, err := io.ReadAll(s.events)
			s.res.Body.Close()
			if err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
				t.Errorf("%d workers, stream %d: %q, %v", workers, i, rest, err)
			}
		}
	}
}

// TestSealed has the true upstream in the plugin's configuration alone: without
// the plugin there is nothing to reach.
func TestSealed(t *testing.T) {
	h := open(t, 1)
	h.prove("sealed", prisma)
	h.llm.Forget()
	if a, err := h.ask(t.Context(), question{route: "sealed", prompt: malicious}); err != nil || a.status != 403 || len(h.llm.Requests()) > 0 {
		t.Errorf("%d %s, %v", a.status, a.body, err)
	}
	stop := h.under(question{route: "sealed", prompt: malicious})
	for range 3 {
		time.Sleep(500 * time.Millisecond)
		h.await(func() bool { return h.Signal(prisma, syscall.SIGKILL) == nil })
	}
	seen := stop()
	if seen["OK"] > 0 || len(h.llm.Requests()) > 0 {
		t.Errorf("%v, and the model was asked %d times", seen, len(h.llm.Requests()))
	}
	h.await(func() bool {
		a, err := h.ask(t.Context(), question{route: "sealed", prompt: harmless})
		return err == nil && a.status == http.StatusOK
	})
}
