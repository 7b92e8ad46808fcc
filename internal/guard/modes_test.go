// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"strings"
	"testing"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
)

// Whatever goes wrong, a monitored leg changes nothing: not a byte, not a
// status, and nothing is refused.
func TestMonitorChangesNothing(t *testing.T) {
	hopeless := map[string]func(*fakeKong){
		"plain":             func(*fakeKong) {},
		"malformed":         func(k *fakeKong) { k.body, k.answer = `{"a":1,"a":2}`, `{"a":` },
		"unscannable":       func(k *fakeKong) { k.set("content-encoding", "rot13"); k.answerHeader["content-encoding"] = "rot13" },
		"grpc":              func(k *fakeKong) { k.set("content-type", "application/grpc") },
		"websocket":         func(k *fakeKong) { k.set("upgrade", "websocket") },
		"event stream":      func(k *fakeKong) { k.line, k.body = "GET /mcp HTTP/1.1", ""; k.set("accept", "text/event-stream") },
		"two content types": func(k *fakeKong) { k.headers = append(k.headers, [2]string{"content-type", "text/plain"}) },
		"empty object":      func(k *fakeKong) { k.body = "{}" },
		"body file gone":    func(k *fakeKong) { k.bodyFile = "/no/such/file" },
		"body unreadable":   func(k *fakeKong) { k.bodyError = "no" },
		"request too large": func(k *fakeKong) { k.replyErr = map[string]error{"kong.request.get_raw_body": pdk.ErrTooLarge} },
		"answer too large": func(k *fakeKong) {
			k.replyErr = map[string]error{"kong.service.response.get_raw_body": pdk.ErrTooLarge}
		},
		"headers unreadable": func(k *fakeKong) { k.replyErr = map[string]error{"kong.request.get_headers": pdk.ErrNoRoom} },
		"header flood": func(k *fakeKong) {
			for range 1001 {
				k.headers = append(k.headers, [2]string{"x-a", "1"})
			}
		},
		"no request id": func(k *fakeKong) { k.requestID = "" },
		"error answer":  func(k *fakeKong) { k.status = 500 },
		"empty answer":  func(k *fakeKong) { k.status, k.answer = 304, "" },
	}
	scans := map[string]func(context.Context, *scan.Scan) (scan.Verdict, error){
		"block":   block,
		"failure": fails(&scan.Failure{Kind: scan.Misconfigured, Reason: "status 403"}),
		"panic":   func(context.Context, *scan.Scan) (scan.Verdict, error) { panic("boom") },
		"mask":    verdict(scan.Verdict{Action: scan.Mask, Masked: []llm.Replacement{{Turn: 0, Text: "x"}}}),
	}
	for name, change := range hopeless {
		for scanName, sc := range scans {
			t.Run(name+"/"+scanName, func(t *testing.T) {
				w := newWorld(t)
				s := modes(policy.Monitor, policy.Monitor)
				s.BlockMedia = true
				k := chatRequest(t)
				change(k)
				k.run(newEngine(w.Process, prisma(), s, both(sc)))
				w.Flush(context.Background())
				if k.exits > 0 || k.upstreamBody != nil || len(k.clearedRequest)+len(k.clearedAnswer) > 0 {
					t.Errorf("a monitored exchange was changed: %+v, body %v", k.exit, k.upstreamBody)
				}
				if k.serializeCalls > 1 {
					t.Errorf("%d access log calls", k.serializeCalls)
				}
			})
		}
	}
}

func TestModesByLeg(t *testing.T) {
	all := []policy.Mode{policy.Enforce, policy.Monitor, policy.Off}
	for _, request := range all {
		for _, response := range all {
			t.Run(string(request)+" and "+string(response), func(t *testing.T) {
				for _, blocking := range []bool{false, true} {
					w := newWorld(t)
					sc := &scanner{}
					if blocking {
						sc = both(block)
					}
					k := chatRequest(t).run(newEngine(w.Process, prisma(), modes(request, response), sc))
					w.Flush(context.Background())

					refusedRequest := blocking && request == policy.Enforce
					refusedAnswer := blocking && response == policy.Enforce && !refusedRequest
					if got := k.exit != nil; got != (refusedRequest || refusedAnswer) {
						t.Errorf("blocking %v: refused is %v", blocking, got)
					}
					scanned := map[bool]int{true: 1, false: 0}
					if n := len(sc.seen(llm.RequestLeg)); n != scanned[request != policy.Off] {
						t.Errorf("blocking %v: %d scans of the request", blocking, n)
					}
					if n := len(sc.seen(llm.ResponseLeg)); n != scanned[response != policy.Off && !refusedRequest] {
						t.Errorf("blocking %v: %d scans of the answer", blocking, n)
					}
					for _, s := range sc.seen(llm.ResponseLeg) {
						if want := request != policy.Off; (len(s.Prompt) == 1) != want || want && s.Prompt[0].Text != "what is the capital of France?" {
							t.Errorf("the answer's scan has the prompt %v", s.Prompt)
						}
						if s.Identity.Service != "llm" || s.RequestID != k.requestID || s.Header.Get("User-Agent") != "test" || s.Model != "gpt-4o" {
							t.Errorf("the answer's scan lacks facts: %+v", s)
						}
					}
					if n := k.count("kong.service.response.get_raw_body"); n > 0 && response == policy.Off {
						t.Error("an answer was read although its leg is off")
					}
					if request == policy.Off && response != policy.Monitor && k.count("kong.request.get_raw_body") > 0 {
						t.Error("a request was read although its leg is off")
					}
					if request == policy.Monitor && k.leg("prisma-airs-intercept", "request")["action"] != "pending" {
						t.Errorf("access log %v", k.serialized)
					}
					if response == policy.Monitor && !refusedRequest && k.leg("prisma-airs-intercept", "response")["action"] != "pending" {
						t.Errorf("access log %v", k.serialized)
					}
					if (request == policy.Off) != (k.leg("prisma-airs-intercept", "request") == nil) {
						t.Errorf("access log %v", k.serialized)
					}
					if want := 1; request == policy.Off && response == policy.Off {
						if k.serializeCalls != 0 {
							t.Errorf("%d access log calls", k.serializeCalls)
						}
					} else if k.serializeCalls != want {
						t.Errorf("%d access log calls", k.serializeCalls)
					}
					if k.buffered() == (response == policy.Off) && !refusedRequest {
						t.Errorf("buffered is %v", k.buffered())
					}
				}
			})
		}
	}
}

// Whenever the connection is lost, the event ends there: no exit on it, and
// nothing stays taken.
func TestLostConnections(t *testing.T) {
	for _, c := range []struct {
		settings policy.Settings
		scan     func(context.Context, *scan.Scan) (scan.Verdict, error)
	}{
		{strict(), nil},
		{strict(), block},
		{strict(), maskAll},
		{modes(policy.Monitor, policy.Monitor), nil},
		{modes(policy.Monitor, policy.Off), nil},
		{modes(policy.Off, policy.Off), nil},
	} {
		for _, stream := range []bool{false, true} {
			for n := 1; n <= 6; n++ {
				for _, leg := range []string{"access", "response"} {
					w := newWorld(t)
					sc := both(c.scan)
					k := chatRequest(t)
					if stream {
						k.body = `{"stream":true,"messages":[{"role":"user","content":"hello"}]}`
					}
					k.breakAt = n
					e := newEngine(w.Process, masking(prisma()), c.settings, sc)
					if leg == "access" {
						k.access(e)
					} else {
						k.respond(e)
					}
					if k.exit != nil && k.batches >= n {
						t.Errorf("%v: an exit after batch %d was lost: %v", c.settings, n, k.calls)
					}
					w.Flush(context.Background())
					if w.metric("held_bytes") != 0 || w.metric("monitor_items") != 0 || w.metric("monitor_bytes") != 0 {
						t.Errorf("%v: %v bytes and %v legs are held", c.settings, w.metric("held_bytes"), w.metric("monitor_items"))
					}
					if k.batches < n && w.metric("records") > 1 {
						t.Errorf("%v records", w.metric("records"))
					}
				}
			}
		}
	}
}

// A reply that cannot be read is a fault of ours to the client, never a pass.
func TestRepliesThatCannotBeRead(t *testing.T) {
	v := prisma()
	v.Needs.Consumer, v.Needs.ClientIP = true, true
	for method, legs := range map[string]string{
		"kong.request.get_headers":           "access",
		"kong.nginx.get_var":                 "access response",
		"kong.router.get_service":            "access",
		"kong.client.get_consumer":           "access",
		"kong.client.get_forwarded_ip":       "access",
		"kong.request.get_raw_body":          "access",
		"kong.service.response.get_raw_body": "response",
		"kong.service.response.get_status":   "response",
		"kong.service.response.get_header":   "response",
	} {
		for _, leg := range []string{"access", "response"} {
			if !strings.Contains(legs, leg) {
				continue
			}
			w := newWorld(t)
			e := newEngine(w.Process, v, strict(), &scanner{})
			k := chatRequest(t)
			if leg == "response" {
				k.access(e)
			}
			k.replyErr = map[string]error{method: pdk.ErrMalformed}
			if leg == "response" {
				k.respond(e)
			} else {
				k.access(e)
			}
			if k.refusal(); k.exit.status != 503 || k.leg("prisma-airs-intercept", map[string]string{"access": "request", "response": "response"}[leg])["reason"] != "own_fault" {
				t.Errorf("%s in %s: %+v, %v", method, leg, k.exit, k.serialized)
			}
		}
	}
}

func TestPanicInsideTheConnectionIsItsOwners(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.panicIn = "kong.request.get_headers"
	defer func() {
		if recover() == nil {
			t.Error("the connection may be out of step, and its owner does not know")
		}
		if k.exit != nil {
			t.Error("an exit on a connection that may be out of step")
		}
	}()
	k.run(newEngine(w.Process, prisma(), strict(), &scanner{}))
}

func TestBlockFailuresByLeg(t *testing.T) {
	down := both(fails(&scan.Failure{Kind: scan.Unavailable, Reason: "connection refused"}))
	for _, c := range []struct{ request, response bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		w := newWorld(t)
		s := strict()
		s.BlockFailures, s.BlockFailuresResponse = c.request, c.response
		k := chatRequest(t).run(newEngine(w.Process, prisma(), s, down))
		wantLeg := ""
		switch {
		case c.request:
			wantLeg = "request"
		case c.response:
			wantLeg = "response"
		}
		if (k.exit != nil) != (wantLeg != "") || wantLeg != "" && k.leg("prisma-airs-intercept", wantLeg)["action"] != "refuse" {
			t.Errorf("%+v: exit %+v, access log %v", c, k.exit, k.serialized)
		}
		passed := 0.0
		for _, blocks := range []bool{c.request, c.request || c.response} {
			if !blocks {
				passed++
			}
		}
		if got := w.metric("unscanned_total", "no_verdict"); got != passed {
			t.Errorf("%+v: %v legs counted as unscanned, want %v", c, got, passed)
		}
	}
}

func TestUnusableConfigurationRefusesAndNamesTheField(t *testing.T) {
	w := newWorld(t)
	e := guard.NewRefusing(w.Process, prisma().Vendor, "api_key")
	k := chatRequest(t).run(e)
	if r := k.refusal(); k.exit.status != 503 || r.Error.Code != "scan_misconfigured" {
		t.Errorf("answered %d %s", k.exit.status, k.exit.body)
	}
	if lines := k.logged("err"); len(lines) != 1 || !contains(lines, `check="api_key"`) {
		t.Errorf("logged %v", k.logs)
	}
	k = chatRequest(t).respond(e)
	if k.refusal(); k.exit.status != 503 {
		t.Errorf("the answer of an exchange from before went out: %+v", k.exit)
	}
}
