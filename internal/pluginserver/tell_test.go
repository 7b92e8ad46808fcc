// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// TestTellWaitsForNothing: Kong has the end of the event before it has answered
// the last calls, and what it answers is no part of the next event.
func TestTellWaitsForNothing(t *testing.T) {
	got := make(chan string, 2)
	counters := new(pluginserver.Counters)
	connect := serve(t, &pluginserver.Server{Counters: counters, New: always(plugin{
		access: func(_ context.Context, e *pluginserver.Event) {
			one, two := pdk.LogErr("first"), pdk.LogErr("second")
			if err := e.Tell(&one, &two); err != nil {
				t.Error(err)
			}
		},
		response: func(_ context.Context, e *pluginserver.Event) {
			ask := pdk.NginxVar("a")
			err := e.Batch(&ask)
			said, _ := ask.Text()
			if err != nil {
				said = err.Error()
			}
			got <- said
		},
	})})
	p := connect()
	id := must[int32](t)(p.start(`{}`))
	if err := p.send(eventCall(id, "access")); err != nil {
		t.Fatal(err)
	}
	var frames []string
	for range 5 { // two calls of two frames, and the end
		frames = append(frames, string(must[[]byte](t)(p.read())))
	}
	if frames[0] != "kong.log.err" || !strings.Contains(frames[1], "first") || frames[2] != "kong.log.err" || !strings.Contains(frames[3], "second") || frames[4] != "" {
		t.Fatalf("%q", frames)
	}
	if _, err := p.result(); err != nil {
		t.Fatal(err)
	}
	for _, reply := range [][]byte{nil, text("an answer that nobody needs")} {
		if _, err := p.Write(frame(reply)); err != nil {
			t.Fatal(err)
		}
	}
	p.answer = func(string, []byte) []byte { return text("the value") }
	if o := must[outcome](t)(p.event(id, "response")); len(o.calls) != 1 || o.exit != nil {
		t.Errorf("%+v", o)
	}
	if said := <-got; said != "the value" {
		t.Errorf("the next event read %q", said)
	}
	if n := counters.Calls.Load(); n != 3 {
		t.Errorf("%d calls", n)
	}
}

// TestTellAndWhatFollows: whatever comes next, the calls come first and each reply
// goes to whom it is for. The second event shows that the connection is in step.
func TestTellAndWhatFollows(t *testing.T) {
	const log = "kong.log.err"
	large := strings.Repeat("x", 60<<10)
	value := func(t *testing.T, e *pluginserver.Event, name string) {
		ask := pdk.NginxVar(name)
		if err := e.Batch(&ask); err != nil {
			t.Error(err)
		}
		if said, err := ask.Text(); said != "value of "+name {
			t.Errorf("%q, %v", said, err)
		}
	}
	tell := func(t *testing.T, e *pluginserver.Event, text string) {
		call := pdk.LogErr(text)
		if err := e.Tell(&call); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		access func(t *testing.T, e *pluginserver.Event)
		calls  []string
		exit   int
	}{
		"nothing": {func(t *testing.T, e *pluginserver.Event) { tell(t, e, "a") }, []string{log}, 0},
		"no call at all": {func(t *testing.T, e *pluginserver.Event) {
			if err := e.Tell(); err != nil {
				t.Error(err)
			}
		}, nil, 0},
		"a batch": {func(t *testing.T, e *pluginserver.Event) { tell(t, e, "a"); value(t, e, "x") }, []string{log, "kong.nginx.get_var"}, 0},
		"both twice": {func(t *testing.T, e *pluginserver.Event) {
			tell(t, e, "a")
			tell(t, e, "b")
			value(t, e, "x")
			tell(t, e, "c")
			value(t, e, "y")
			tell(t, e, "d")
		}, []string{log, log, "kong.nginx.get_var", log, "kong.nginx.get_var", log}, 0},
		"too much": {func(t *testing.T, e *pluginserver.Event) { tell(t, e, "a"); tell(t, e, large); tell(t, e, "b") }, []string{log, log, log}, 0},
		"go-pdk": {func(t *testing.T, e *pluginserver.Event) {
			tell(t, e, "a")
			if said, err := e.PDK().Nginx.GetVar("x"); err != nil || said != "value of x" {
				t.Errorf("%q, %v", said, err)
			}
			tell(t, e, "b")
			value(t, e, "y")
		}, []string{log, "kong.nginx.get_var", log, "kong.nginx.get_var"}, 0},
		"an exit": {func(t *testing.T, e *pluginserver.Event) {
			tell(t, e, "a")
			if err := e.Exit(http.StatusTeapot, nil, nil); err != nil {
				t.Error(err)
			}
			call := pdk.LogErr("late")
			if e.Tell(&call) == nil {
				t.Error("a call after the exit")
			}
		}, []string{log, pdk.ExitMethod}, http.StatusTeapot},
		"a panic": {func(t *testing.T, e *pluginserver.Event) { tell(t, e, "a"); panic("of a test") }, []string{log, pdk.ExitMethod}, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			connect := serve(t, &pluginserver.Server{New: always(plugin{
				access:   func(_ context.Context, e *pluginserver.Event) { c.access(t, e) },
				response: func(_ context.Context, e *pluginserver.Event) { value(t, e, "z") },
			})})
			p := connect()
			p.answer = func(method string, args []byte) []byte {
				if method != "kong.nginx.get_var" {
					return nil
				}
				return text("value of " + string(args[2:]))
			}
			id := must[int32](t)(p.start(`{}`))
			o := must[outcome](t)(p.event(id, "access"))
			if !slices.Equal(o.calls, c.calls) || (o.exit != nil) != (c.exit != 0) || o.exit != nil && int(o.exit.Status) != c.exit {
				t.Errorf("%v, exit %v", o.calls, o.exit)
			}
			if o.exit != nil {
				return // Kong has closed the connection
			}
			if o := must[outcome](t)(p.event(id, "response")); !slices.Equal(o.calls, []string{"kong.nginx.get_var"}) {
				t.Errorf("the next event: %v", o.calls)
			}
		})
	}
}

// TestTellNeedsAMethod: the frame that ends an event is no call.
func TestTellNeedsAMethod(t *testing.T) {
	connect := serve(t, &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		_ = e.Tell(&pdk.Call{})
	}})})
	p := connect()
	if o := must[outcome](t)(p.event(must[int32](t)(p.start(`{}`)), "access")); !refused(o) {
		t.Errorf("%+v", o)
	}
}

// halfPipe is a pipe whose ends can be closed for writing alone.
type halfPipe struct{ net.Conn }

func (halfPipe) CloseWrite() error { return nil }

// TestTellAndShutdown: a worker that is busy still has to say something when the
// process goes, and must be able to: if it cannot, its client gets an error.
func TestTellAndShutdown(t *testing.T) {
	for name, before := range map[string]bool{"begun before the event": true, "begun after it": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *pluginserver.Server
				end := func() {
					go func() { _ = s.Shutdown(context.WithoutCancel(t.Context())) }()
					synctest.Wait()
				}
				s = &pluginserver.Server{New: always(plugin{response: func(_ context.Context, e *pluginserver.Event) {
					call := pdk.LogErr("last")
					if err := e.Tell(&call); err != nil {
						t.Error(err)
					}
					if before {
						end()
					}
				}})}
				ours, kongs := net.Pipe()
				go s.ServeConn(halfPipe{ours})
				p := newPeer(kongs)
				id := must[int32](t)(p.start(`{}`))
				if err := p.send(eventCall(id, "response")); err != nil {
					t.Fatal(err)
				}
				for range 3 { // a call of two frames, and the end
					must[[]byte](t)(p.read())
				}
				if _, err := p.result(); err != nil {
					t.Fatal(err)
				}
				if !before {
					end()
				}
				time.Sleep(8 * time.Second)
				if _, err := p.Write(frame(nil)); err != nil {
					t.Errorf("Kong's reply: %v", err)
				}
				_ = kongs.Close()
				synctest.Wait()
			})
		})
	}
}
