// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// terminated is how many plugin servers have ended, by the gateway's log.
func terminated(gw *Gateway) (n int) {
	for _, l := range gw.Logs() {
		if strings.Contains(l.Text, "terminated") {
			n++
		}
	}
	return n
}

// eventually waits for something that has to come.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// A stream through a relay, on each worker, when Kong is reloaded in its
// middle. A plugin server that ends with the command that Kong started takes
// along the streams of all workers but 0, as was seen. One that is the child of
// a thin parent does not.
func TestReloadInTheMiddleOfAStream(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		probe       string
		workers, on int
		cut         bool
	}{
		{"probe-plugin", 1, 0, false},
		{"probe-plugin", 2, 0, false},
		{"probe-plugin", 2, 1, true},
		{"probe-plugin", 4, 3, true},
		{"probe-parent", 1, 0, false},
		{"probe-parent", 2, 1, false},
		{"probe-parent", 4, 3, false},
	} {
		t.Run(fmt.Sprintf("%s, worker %d of %d", c.probe, c.on, c.workers), func(t *testing.T) {
			t.Parallel()
			up := newStepwise()
			gw := start(t, Config{
				Workers: c.workers, Servers: []PluginServer{probeServer(t, c.probe)},
				Declarative: scope(steps(c.probe, []string{"relay"}, nil)),
			}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/stream" {
					up.ServeHTTP(w, r)
				}
			}))
			for n := range c.on { // each client is another worker's
				if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 || a.Worker != n {
					t.Fatalf("got %d from worker %d", a.StatusCode, a.Worker)
				}
			}
			req := post(t, gw, "{}")
			req.URL.Path = "/stream"
			res := open(t, req)
			first9(t, res)
			if err := gw.Reload(); err != nil {
				t.Fatal(err)
			}
			if gw.Starts(c.probe) != 2 {
				t.Errorf("%d starts", gw.Starts(c.probe))
			}
			// New clients are served at once.
			for range c.workers {
				if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 {
					t.Errorf("after the reload: %d", a.StatusCode)
				}
			}
			if c.on == 0 && terminated(gw) != 0 {
				t.Error("worker 0 has not waited for its own stream")
			}
			if c.on != 0 { // worker 0 had nothing to do, and has taken the command with it
				eventually(t, "the end of the old command", func() bool { return terminated(gw) == 1 })
			}
			if c.cut {
				if b, err := io.ReadAll(res.Body); err == nil {
					t.Errorf("the stream was not cut: %q", b)
				}
			} else {
				close(up.goOn)
				if got := rest(t, res); got != "data: 2\n\n" {
					t.Errorf("got %q", got)
				}
			}
			eventually(t, "the end of the old command", func() bool { return terminated(gw) == 1 })
			if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 {
				t.Errorf("in the end: %d", a.StatusCode)
			}
			if x := exchangeOf(t, gw, res); x.Worker != c.on {
				t.Errorf("the stream was worker %d's", x.Worker)
			}
		})
	}
}

func TestReloadGivesNewNumbersAndKeepsTheConfiguration(t *testing.T) {
	t.Parallel()
	started := make(chan string, 10)
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-access")}, Declarative: scope(steps("probe-access", []string{"exit 418 tea"}, nil)),
		OnFrame: func(f Frame) {
			if strings.Contains(string(f.Payload), "__seq__") {
				started <- string(f.Payload)
			}
		},
	}, hello)
	for range 2 {
		if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 418 {
			t.Fatalf("got %d", a.StatusCode)
		}
		if err := gw.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	if len(started) != 2 {
		t.Fatalf("%d instances were started by 2 generations", len(started))
	}
	if first, second := <-started, <-started; first == second {
		t.Errorf("both generations have %q", first)
	}
}

// The command gets SIGTERM, and SIGKILL when it does not heed it.
func TestOldCommandIsKilled(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin")}, Declarative: scope(steps("probe-plugin", []string{"relay"}, nil)),
	}, hello)
	if err := gw.Signal("probe-plugin", syscall.SIGSTOP); err != nil { // it heeds nothing now
		t.Fatal(err)
	}
	if err := gw.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the old plugin server", func() bool { return terminated(gw) == 1 })
	if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 200 {
		t.Errorf("got %d", a.StatusCode)
	}
}

// A plugin server that is killed takes its streams with it, and the next
// request finds the new one.
func TestKilledInTheMiddleOfAStream(t *testing.T) {
	t.Parallel()
	up := newStepwise()
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin")}, Declarative: scope(steps("probe-plugin", []string{"relay"}, nil)),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			up.ServeHTTP(w, r)
		}
	}))
	req := post(t, gw, "{}")
	req.URL.Path = "/stream"
	res := open(t, req)
	first9(t, res)
	if err := gw.Signal("probe-plugin", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the stream was not cut: %q", b)
	}
	eventually(t, "an answer of the new process", func() bool {
		a := send(t, gw, post(t, gw, "{}"))
		return a.StatusCode == 200 && gw.Starts("probe-plugin") == 2
	})
}
