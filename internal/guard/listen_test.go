// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

const (
	listenBody  = `{"jsonrpc":"2.0","id":"listen-1","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}`
	listenTold  = `{"jsonrpc":"2.0","id":"listen-1","method":"subscriptions/listen","params":{"note":"the launch code","notifications":{}}}`
	listenBatch = `[{"jsonrpc":"2.0","id":7,"method":"tools/list"},{"jsonrpc":"2.0","id":"listen-1","method":"subscriptions/listen","params":{"notifications":{}}}]`
	callBody    = `{"jsonrpc":"2.0","id":"listen-1","method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}`
)

// subscribes is a request of MCP's, as its clients send it.
func subscribes(t testing.TB, body string) *fakeKong {
	k := chatRequest(t)
	k.line, k.body = "POST /mcp HTTP/1.1", body
	k.answer = `{"jsonrpc":"2.0","id":"listen-1","result":{"content":[{"type":"text","text":"Paris."}]}}`
	return k.set("accept", "application/json, text/event-stream").set("mcp-method", "subscriptions/listen")
}

// codes are those that a refusal has for each id.
func (k *fakeKong) codes() map[string]int {
	k.t.Helper()
	body := k.exit.body
	if !strings.HasPrefix(body, "[") {
		body = "[" + body + "]"
	}
	var all []struct {
		ID    json.RawMessage
		Error struct{ Code int }
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		k.t.Fatalf("%q: %v", k.exit.body, err)
	}
	codes := map[string]int{}
	for _, a := range all {
		codes[string(a.ID)] = a.Error.Code
	}
	return codes
}

const noMethod = -32601

// TestListenIsRefused: a subscription whose answer would be held for ever is
// answered at once as a method that is not there, in each mode of its request,
// and nothing of it reaches the upstream.
func TestListenIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, body string
		settings   func(*policy.Settings)
		request    func(*fakeKong)
	}{
		{name: "refuse", body: listenBody},
		{name: "with text", body: listenTold},
		{name: "a batch", body: listenBatch},
		{name: "a batch where one alone would pass", body: listenBatch, settings: func(s *policy.Settings) { s.PassMCPGetStream = true }},
		{name: "spelt in another case where it would pass", body: strings.Replace(listenBody, `"method"`, `"Method"`, 1), settings: func(s *policy.Settings) { s.PassMCPGetStream = true }},
		{name: "streams pass", body: listenBody, settings: func(s *policy.Settings) { s.PassStreams = true }},
		{name: "kept buffering", body: listenBody, settings: func(s *policy.Settings) { s.KeepBuffering, s.PassMCPGetStream = true, true }},
		{name: "beside", body: listenBody, settings: func(s *policy.Settings) { s.PromptBeside = true }},
		{name: "another method in the header", body: listenBody, request: func(k *fakeKong) { k.set("mcp-method", "tools/list") }},
		{name: "no method in the header", body: listenBody, request: func(k *fakeKong) { k.set("mcp-method", "") }},
	} {
		for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			t.Run(c.name+", "+string(mode), func(t *testing.T) {
				w := newWorld(t)
				s := modes(mode, policy.Enforce)
				if c.settings != nil {
					c.settings(&s)
				}
				k := subscribes(t, c.body)
				if c.request != nil {
					c.request(k)
				}
				k.run(newEngine(w.Process, prisma(), s, &scanner{}))
				if k.exit == nil || k.exit.status != 404 || k.exit.header.Get("Content-Type") != "application/json" || k.exit.header.Get("Cache-Control") != "no-store" {
					t.Fatalf("answered %+v", k.exit)
				}
				codes := k.codes()
				spelt := strings.Contains(c.body, `"Method"`)
				switch {
				case spelt:
					if len(codes) != 1 || codes["null"] != noMethod {
						t.Errorf("codes %v", codes)
					}
				case codes[`"listen-1"`] != noMethod:
					t.Errorf("codes %v", codes)
				case c.body == listenBatch:
					if code, told := codes["7"]; len(codes) != 2 || !told || code == noMethod {
						t.Errorf("codes %v", codes)
					}
				}
				if !strings.Contains(k.exit.body, "subscription_not_supported") {
					t.Errorf("body %s", k.exit.body)
				}
				if r := k.leg("prisma-airs-intercept", "request"); r["action"] != "refuse" || r["reason"] != "subscription_refused" {
					t.Errorf("access log %v", k.serialized)
				}
				if !contains(k.logged("warn"), "subscription_refused") {
					t.Errorf("logged %v", k.logs)
				}
				if n := w.metric("legs_total", "request", "subscription_refused"); n != 1 {
					t.Errorf("counted %v times", n)
				}
				w.Flush(context.Background())
			})
		}
	}
}

// TestListenIsScanned: what a subscription says besides is judged before it is
// refused or passes.
func TestListenIsScanned(t *testing.T) {
	for _, pass := range []bool{false, true} {
		for _, c := range []struct {
			name   string
			sc     *scanner
			body   string
			status int // where it would pass
			scans  int
		}{
			{"allowed", &scanner{}, listenTold, 0, 1},
			{"blocked", &scanner{request: block}, listenTold, 403, 1},
			{"no verdict", &scanner{request: fails(&scan.Failure{Kind: scan.Unavailable})}, listenTold, 503, 1},
			{"twice", &scanner{}, `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"subscriptions/listen"}`, 400, 0},
		} {
			w := newWorld(t)
			s := strict()
			s.PassMCPGetStream = pass
			k := subscribes(t, c.body).access(newEngine(w.Process, prisma(), s, c.sc))
			want := c.status
			if want == 0 && !pass {
				want = 404
			}
			switch {
			case want == 0 && (k.exit != nil || k.buffered()):
				t.Errorf("%s: answered %+v, buffered %v", c.name, k.exit, k.buffered())
			case want != 0 && (k.exit == nil || k.exit.status != want):
				t.Errorf("%s, pass %v: answered %+v, want %d", c.name, pass, k.exit, want)
			}
			if n := len(c.sc.seen(llm.RequestLeg)); n < c.scans || c.scans == 0 && n > 0 {
				t.Errorf("%s: scanned %d times", c.name, n)
			}
		}
	}
}

// TestListenThatIsLetPass: it flows, and is counted and told of as an event
// stream by GET is.
func TestListenThatIsLetPass(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t)
			s := modes(mode, policy.Enforce)
			s.PassMCPGetStream = true
			e := newEngine(w.Process, prisma(), s, &scanner{})
			first := subscribes(t, listenBody).run(e)
			if first.exit != nil || first.buffered() {
				t.Fatalf("exit %+v, buffered %v", first.exit, first.buffered())
			}
			if r := first.leg("prisma-airs-intercept", "response"); r["action"] != "unscanned" || r["reason"] != policy.ReasonListen {
				t.Errorf("access log %v", first.serialized)
			}
			second := subscribes(t, listenBody).run(e)
			if !contains(first.logged("warn"), "mcp_get_stream") || len(second.logs) > 0 {
				t.Errorf("logged %v, then %v", first.logs, second.logs)
			}
			if n := w.metric("unscanned_total", "response", policy.ReasonListen); n != 2 {
				t.Errorf("%v answers counted as unscanned", n)
			}
			call := subscribes(t, callBody).run(e)
			if call.exit != nil || !call.buffered() {
				t.Errorf("a call that the header names otherwise: exit %+v, buffered %v", call.exit, call.buffered())
			}
			w.Flush(context.Background())
		})
	}
}

// TestListenMonitored: monitoring an answer holds no subscription up, and
// reports what comes with other calls.
func TestListenMonitored(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		for _, buffer := range []bool{false, true} {
			s := modes(mode, policy.Monitor)
			s.BufferMonitoredStreams = buffer
			w := newWorld(t)
			sc := &scanner{}
			e := newEngine(w.Process, prisma(), s, sc)
			if k := subscribes(t, listenBody).run(e); k.exit != nil || k.buffered() {
				t.Errorf("%s: exit %+v, buffered %v", mode, k.exit, k.buffered())
			}
			if k := subscribes(t, listenBatch).run(e); k.exit != nil || !k.buffered() {
				t.Errorf("%s, a batch: exit %+v, buffered %v", mode, k.exit, k.buffered())
			}
			w.Flush(context.Background())
			if n := len(sc.seen(llm.ResponseLeg)); n != 1 {
				t.Errorf("%s: %d answers were looked at", mode, n)
			}
		}
	}
	w := newWorld(t)
	s := modes(policy.Monitor, policy.Monitor)
	s.KeepBuffering = true
	if k := subscribes(t, listenBody).run(newEngine(w.Process, prisma(), s, &scanner{})); k.exit == nil || k.codes()[`"listen-1"`] != noMethod {
		t.Errorf("where it would be held: %+v", k.exit)
	}
	w.Flush(context.Background())
}

// TestListenUnknown: where the gateway does not give a body that nobody would
// look at, the answer is held, as always.
func TestListenUnknown(t *testing.T) {
	for name, change := range map[string]func(*fakeKong){
		"no body":      func(k *fakeKong) { k.bodyError = "request body did not fit into client body buffer" },
		"no file":      func(k *fakeKong) { k.bodyFile = "/nonexistent/body" },
		"takes stream": func(k *fakeKong) { k.set("accept", "application/json") },
	} {
		w := newWorld(t)
		s := modes(policy.Off, policy.Enforce)
		s.PassMCPGetStream = true
		sc := &scanner{}
		k := subscribes(t, listenBody)
		change(k)
		if k.run(newEngine(w.Process, prisma(), s, sc)); k.exit != nil || !k.buffered() || len(sc.seen(llm.ResponseLeg)) != 1 {
			t.Errorf("%s: exit %+v, buffered %v, %d scans", name, k.exit, k.buffered(), len(sc.seen(llm.ResponseLeg)))
		}
	}
	w := newWorld(t)
	k := subscribes(t, callBody).set("accept", "application/json")
	if k.run(newEngine(w.Process, prisma(), modes(policy.Off, policy.Enforce), &scanner{})); k.count("kong.request.get_raw_body") != 0 {
		t.Error("a body that decides nothing was fetched")
	}
}

// TestListenWithTwoPlugins: one that lets a subscription pass takes nothing
// from one that does not, nor from one that does not know it for one.
func TestListenWithTwoPlugins(t *testing.T) {
	pass, refuse, blind := strict(), strict(), modes(policy.Off, policy.Enforce)
	pass.PassMCPGetStream = true
	for _, c := range []struct {
		name          string
		first, second policy.Settings
		accept        string
		status        int
		buffered      bool
	}{
		{"both pass", pass, pass, "application/json, text/event-stream", 0, false},
		{"the second refuses", pass, refuse, "application/json, text/event-stream", 404, true},
		{"the first refuses", refuse, pass, "application/json, text/event-stream", 404, true},
		{"the second cannot tell", pass, blind, "application/json", 0, true},
		{"the first cannot tell", blind, pass, "application/json", 0, true},
		{"one is off", pass, modes(policy.Off, policy.Off), "application/json, text/event-stream", 0, false},
		{"one was off", modes(policy.Off, policy.Off), pass, "application/json, text/event-stream", 0, false},
	} {
		w1, w2 := newWorld(t), newWorld(t)
		k := subscribes(t, listenBody).set("accept", c.accept)
		k.access(newEngine(w1.Process, noma(), c.first, &scanner{}), newEngine(w2.Process, prisma(), c.second, &scanner{}))
		if status := k.exit; (status != nil) != (c.status != 0) || status != nil && status.status != c.status {
			t.Errorf("%s: answered %+v", c.name, k.exit)
		}
		if k.exit == nil && k.buffered() != c.buffered {
			t.Errorf("%s: buffered is %v", c.name, k.buffered())
		}
	}
}

// TestListenFlows: a relayed subscription begins before its server says
// anything, flows message by message for as long as the server goes on, and ends
// with the message that is blocked, which its client is told of by its id.
func TestListenFlows(t *testing.T) {
	message := func(method, params string) string {
		return "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/" + method + "\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":\"listen-1\"}" + params + "}}\n\n"
	}
	ack := message("subscriptions/acknowledged", `,"notifications":{"toolsListChanged":true}`)
	updated := message("resources/updated", `,"uri":"file:///menu"`)
	poison := message("message", `,"level":"info","data":"Paris."`)
	for _, pass := range []bool{false, true} {
		s := strict()
		s.PassMCPGetStream = pass // it says nothing of what is relayed
		l := stream(t, script{
			settings: s, scanner: blocks("Paris"), path: "/mcp", body: listenBody,
			accept: "application/json, text/event-stream", header: http.Header{"Content-Type": {"text/event-stream"}},
		})
		if a := l.answer(); a.StatusCode != 200 {
			t.Fatalf("answered %d", a.StatusCode)
		}
		l.says(ack)
		l.sees("subscriptions/acknowledged")
		l.says(updated)
		l.sees("file:///menu")
		l.says(message("tools/list_changed", ""))
		l.sees("tools/list_changed")
		l.says(poison, updated)
		got, err := l.all()
		if err != nil || strings.Contains(got, "Paris") || !strings.HasPrefix(got, ack+updated) {
			t.Errorf("got %q, %v", got, err)
		}
		last := got[strings.LastIndex(got, "data: "):]
		if !strings.Contains(last, `"id":"listen-1"`) || !strings.Contains(last, `"error"`) {
			t.Errorf("it ends with %q", last)
		}
		l.ends()
		l.w.settled()
	}
}
