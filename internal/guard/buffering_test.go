// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"testing"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
)

// Two plugins on a route, in both orders, in every pair of modes, streamed
// and not: one that enforces the answer always scans it, and only an answer
// that nobody needs is not buffered.
func TestBufferingRuleWithTwoPlugins(t *testing.T) {
	all := []policy.Mode{policy.Enforce, policy.Monitor, policy.Off}
	for _, first := range all {
		for _, second := range all {
			for _, request := range all {
				for _, stream := range []bool{false, true} {
					for _, swap := range []bool{false, true} {
						name := fmt.Sprintf("%s,%s request %s stream %v swap %v", first, second, request, stream, swap)
						t.Run(name, func(t *testing.T) {
							w1, w2 := newWorld(t), newWorld(t)
							s1, s2 := &scanner{}, &scanner{}
							v1, v2 := prisma(), noma()
							if swap {
								v1, v2 = v2, v1
							}
							k := chatRequest(t)
							if stream {
								k.body = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`
							}
							k.run(newEngine(w1.Process, v1, modes(request, first), s1), newEngine(w2.Process, v2, modes(request, second), s2))
							w1.Flush(context.Background())
							w2.Flush(context.Background())

							needs := func(m policy.Mode) bool { return m == policy.Enforce || m == policy.Monitor && !stream }
							if got, want := k.buffered(), needs(first) || needs(second); got != want {
								t.Errorf("buffered is %v, want %v", got, want)
							}
							for _, p := range []struct {
								mode policy.Mode
								s    *scanner
							}{{first, s1}, {second, s2}} {
								if got, want := len(p.s.seen(llm.ResponseLeg)) == 1, needs(p.mode); got != want {
									t.Errorf("%s: answer scanned is %v, want %v", p.mode, got, want)
								}
							}
							if k.exit != nil {
								t.Errorf("refused with %+v", k.exit)
							}
						})
					}
				}
			}
		}
	}
}

func TestKeepBuffering(t *testing.T) {
	for _, c := range []struct {
		name    string
		request func(*fakeKong)
		mode    policy.Mode
	}{
		{"off", func(*fakeKong) {}, policy.Off},
		{"monitored stream", func(k *fakeKong) { k.body = `{"stream":true,"messages":[{"role":"user","content":"hi"}]}` }, policy.Monitor},
		{"event stream by GET", func(k *fakeKong) {
			k.line, k.body = "GET /mcp HTTP/1.1", ""
			k.set("accept", "text/event-stream")
		}, policy.Enforce},
	} {
		for _, request := range []policy.Mode{policy.Enforce, policy.Off} {
			w := newWorld(t)
			s := modes(request, c.mode)
			s.KeepBuffering, s.PassMCPGetStream = true, true
			k := chatRequest(t)
			c.request(k)
			sc := &scanner{}
			k.run(newEngine(w.Process, prisma(), s, sc))
			w.Flush(context.Background())
			if !k.buffered() {
				t.Errorf("%s: buffering was switched off", c.name)
			}
			if c.mode != policy.Off && len(sc.seen(llm.ResponseLeg)) != 1 {
				t.Errorf("%s: the buffered answer was not looked at", c.name)
			}
		}
	}
}

func TestEventStreamByGETThatIsLetPass(t *testing.T) {
	w := newWorld(t)
	s := strict()
	s.PassMCPGetStream = true
	e := newEngine(w.Process, prisma(), s, &scanner{})
	get := func() *fakeKong {
		k := chatRequest(t)
		k.line, k.body = "GET /mcp HTTP/1.1", ""
		k.headers = append(k.headers, [2]string{"accept", "application/json, Text/Event-Stream"})
		return k
	}
	first := get().run(e)
	if first.exit != nil || first.buffered() {
		t.Fatalf("exit %+v, buffered %v", first.exit, first.buffered())
	}
	if r := first.leg("prisma-airs-intercept", "response"); r["action"] != "unscanned" {
		t.Errorf("access log %v", first.serialized)
	}
	second := get().run(e)
	if !contains(first.logged("warn"), "mcp_get_stream") || len(second.logs) > 0 {
		t.Errorf("logged %v, then %v", first.logs, second.logs)
	}
	if n := w.metric("unscanned_total", "response"); n != 2 {
		t.Errorf("%v answers counted as unscanned", n)
	}
	// Buffered all the same, because another plugin wants it: the handler
	// has nothing to do there.
	if third := get().access(e).respond(e); third.exit != nil || third.serializeCalls != 1 {
		t.Errorf("a released exchange was worked on: %v", third.calls)
	}
}

func TestUpgrade(t *testing.T) {
	for _, c := range []struct {
		header   []string
		response policy.Mode
		refused  bool
	}{
		{[]string{"websocket"}, policy.Enforce, true},
		{[]string{"WEBSOCKET"}, policy.Enforce, true},
		{[]string{" WebSocket "}, policy.Enforce, true},
		{[]string{"websocket", "h2c"}, policy.Enforce, true},
		{[]string{"h2c"}, policy.Enforce, false},
		{[]string{"websocket, foo"}, policy.Enforce, false},
		{[]string{"h2c", "websocket"}, policy.Enforce, false},
		{[]string{"websocket"}, policy.Monitor, false},
		{[]string{"websocket"}, policy.Off, false},
	} {
		for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			w := newWorld(t)
			k := chatRequest(t)
			for _, v := range c.header {
				k.headers = append(k.headers, [2]string{"upgrade", v})
			}
			k.access(newEngine(w.Process, prisma(), modes(request, c.response), &scanner{}))
			if (k.exit != nil) != c.refused {
				t.Errorf("%v, answer %s, request %s: refused is %v", c.header, c.response, request, k.exit != nil)
			}
		}
	}
}

// Headers that decide something cannot be pushed out of sight, also where
// only the answer is enforced.
func TestHeaderFlood(t *testing.T) {
	for _, n := range []int{100, 995, 996, 2000} {
		for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			w := newWorld(t)
			k := chatRequest(t)
			for range n {
				k.headers = append(k.headers, [2]string{"x-filler", "1"})
			}
			k.headers = append(k.headers, [2]string{"upgrade", "websocket"})
			k.access(newEngine(w.Process, prisma(), modes(request, policy.Enforce), &scanner{}))
			if k.exit == nil {
				t.Errorf("%d headers, request %s: the upgrade was not seen", n, request)
			}
		}
	}
}
