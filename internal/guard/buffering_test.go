// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
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

// A stream that is monitored flows or is reported whole, as configured.
func TestMonitoredStreams(t *testing.T) {
	stream := "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Par\"}}]}\n\n" +
		"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"is.\"}}]}\n\ndata: [DONE]\n\n"
	for _, buffer := range []bool{false, true} {
		w := newWorld(t)
		s := modes(policy.Monitor, policy.Monitor)
		s.BufferMonitoredStreams = buffer
		sc := &scanner{}
		k := chatRequest(t)
		k.body = `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`
		k.answer, k.answerHeader["content-type"] = stream, "text/event-stream"
		k.run(newEngine(w.Process, noma(), s, sc))
		w.Flush(context.Background())
		if k.buffered() != buffer {
			t.Errorf("buffer %v: buffered %v", buffer, k.buffered())
		}
		if len(sc.seen(llm.RequestLeg)) != 1 {
			t.Errorf("buffer %v: the request was not reported", buffer)
		}
		unseen := w.metric("unscanned_total", "response", "monitored stream")
		answers := sc.seen(llm.ResponseLeg)
		if buffer && (len(answers) != 1 || answers[0].Turns[0].Text != "Paris." || unseen != 0) || !buffer && (len(answers) != 0 || unseen != 1) {
			t.Errorf("buffer %v: %d answers reported, %v counted as not seen", buffer, len(answers), unseen)
		}
		if l := k.leg("noma-runtime-protection", "response"); l["action"] != map[bool]string{true: "pending", false: "unscanned"}[buffer] {
			t.Errorf("buffer %v: access log %v", buffer, k.serialized)
		}
	}
}

const streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`

func TestStreamsThatAreNotToBeScanned(t *testing.T) {
	pass := strict()
	pass.PassStreams = true
	requestOff := pass
	requestOff.RequestMode = policy.Off
	for _, tc := range []struct {
		name     string
		settings policy.Settings
		change   func(k *fakeKong)
		scanned  bool
	}{
		{"a stream", pass, func(k *fakeKong) { k.body = streamed }, false},
		{"a stream, requests off", requestOff, func(k *fakeKong) { k.body = streamed }, false},
		{"scanned as usual", strict(), func(k *fakeKong) { k.body = streamed }, true},
		{"no stream", pass, func(*fakeKong) {}, true},
		{"a header alone", pass, func(k *fakeKong) { k.set("accept", "text/event-stream") }, true},
		{"a stream that nobody asked for", pass, func(k *fakeKong) {
			k.answerHeader["content-type"] = "text/event-stream"
			k.answer = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n"
		}, true},
		{"MCP", pass, func(k *fakeKong) {
			k.body = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"stream":true}}}`
			k.answer = `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}`
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, s := newWorld(t), &scanner{}
			k := chatRequest(t)
			tc.change(k)
			k.run(newEngine(w.Process, prisma(), tc.settings, s))
			if got := len(s.seen(llm.ResponseLeg)) == 1; got != tc.scanned || k.buffered() != tc.scanned || k.exit != nil {
				t.Errorf("scanned %v, buffered %v, %+v", got, k.buffered(), k.exit)
			}
			passed := 0.0
			if !tc.scanned {
				passed = 1
				if leg := k.leg("prisma-airs-intercept", "response"); leg["action"] != "unscanned" {
					t.Errorf("access log %v", leg)
				}
			}
			if n := w.metric("unscanned_total", "response"); n != passed {
				t.Errorf("counted %v times", n)
			}
		})
	}
}

func TestAPassedStreamIsStillSeenByAnother(t *testing.T) {
	pass := strict()
	pass.PassStreams = true
	for _, first := range []bool{true, false} {
		s := &scanner{}
		one := newEngine(newWorld(t).Process, prisma(), pass, &scanner{})
		other := newEngine(newWorld(t).Process, noma(), strict(), s)
		k := chatRequest(t)
		k.body = streamed
		if first {
			k.run(one, other)
		} else {
			k.run(other, one)
		}
		if len(s.seen(llm.ResponseLeg)) != 1 || k.exit != nil {
			t.Errorf("passing first %v: the other plugin did not see the answer", first)
		}
	}
}
