// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"testing"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
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
	scans := map[string]func(context.Context, *guard.Scan) (guard.Verdict, error){
		"block":   block,
		"failure": fails(&guard.Failure{Kind: guard.Misconfigured, Reason: "status 403"}),
		"panic":   func(context.Context, *guard.Scan) (guard.Verdict, error) { panic("boom") },
		"mask":    verdict(guard.Verdict{Action: guard.Mask, Masked: []llm.Replacement{{Turn: 0, Text: "x"}}}),
	}
	for name, change := range hopeless {
		for scanName, scan := range scans {
			t.Run(name+"/"+scanName, func(t *testing.T) {
				w := newWorld(t)
				s := modes(guard.Monitor, guard.Monitor)
				s.BlockMedia = true
				k := chatRequest(t)
				change(k)
				k.run(guard.New(w.Process, prisma(), s, both(scan)))
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
	all := []guard.Mode{guard.Enforce, guard.Monitor, guard.Off}
	for _, request := range all {
		for _, response := range all {
			t.Run(string(request)+" and "+string(response), func(t *testing.T) {
				for _, blocking := range []bool{false, true} {
					w := newWorld(t)
					sc := &scanner{}
					if blocking {
						sc = both(block)
					}
					k := chatRequest(t).run(guard.New(w.Process, prisma(), modes(request, response), sc))
					w.Flush(context.Background())

					refusedRequest := blocking && request == guard.Enforce
					refusedAnswer := blocking && response == guard.Enforce && !refusedRequest
					if got := k.exit != nil; got != (refusedRequest || refusedAnswer) {
						t.Errorf("blocking %v: refused is %v", blocking, got)
					}
					scanned := map[bool]int{true: 1, false: 0}
					if n := len(sc.seen(llm.RequestLeg)); n != scanned[request != guard.Off] {
						t.Errorf("blocking %v: %d scans of the request", blocking, n)
					}
					if n := len(sc.seen(llm.ResponseLeg)); n != scanned[response != guard.Off && !refusedRequest] {
						t.Errorf("blocking %v: %d scans of the answer", blocking, n)
					}
					for _, s := range sc.seen(llm.ResponseLeg) {
						if want := request != guard.Off; (len(s.Prompt) == 1) != want || want && s.Prompt[0].Text != "what is the capital of France?" {
							t.Errorf("the answer's scan has the prompt %v", s.Prompt)
						}
						if s.Identity.Service != "llm" || s.RequestID != k.requestID || s.Header.Get("User-Agent") != "test" || s.Model != "gpt-4o" {
							t.Errorf("the answer's scan lacks facts: %+v", s)
						}
					}
					if n := k.count("kong.service.response.get_raw_body"); n > 0 && response == guard.Off {
						t.Error("an answer was read although its leg is off")
					}
					if request == guard.Off && response != guard.Monitor && k.count("kong.request.get_raw_body") > 0 {
						t.Error("a request was read although its leg is off")
					}
					if request == guard.Monitor && k.leg("prisma-airs-intercept", "request")["action"] != "pending" {
						t.Errorf("access log %v", k.serialized)
					}
					if response == guard.Monitor && !refusedRequest && k.leg("prisma-airs-intercept", "response")["action"] != "pending" {
						t.Errorf("access log %v", k.serialized)
					}
					if (request == guard.Off) != (k.leg("prisma-airs-intercept", "request") == nil) {
						t.Errorf("access log %v", k.serialized)
					}
					if want := 1; request == guard.Off && response == guard.Off {
						if k.serializeCalls != 0 {
							t.Errorf("%d access log calls", k.serializeCalls)
						}
					} else if k.serializeCalls != want {
						t.Errorf("%d access log calls", k.serializeCalls)
					}
					if k.buffered() == (response == guard.Off) && !refusedRequest {
						t.Errorf("buffered is %v", k.buffered())
					}
				}
			})
		}
	}
}

func TestFaultsOfTheGatewayEndTheEvent(t *testing.T) {
	for _, method := range []string{
		"kong.request.get_headers", "kong.service.response.get_raw_body", "kong.log.set_serialize_value",
	} {
		w := newWorld(t)
		sc := &scanner{}
		k := chatRequest(t)
		k.broken = method
		k.access(guard.New(w.Process, prisma(), strict(), sc))
		if len(k.calls) > 0 {
			k.respond(guard.New(w.Process, prisma(), strict(), sc))
		}
		if k.exit != nil {
			t.Errorf("%s: an exit on a connection that is lost", method)
		}
		if method == "kong.request.get_headers" && len(sc.scans) > 0 {
			t.Error("scanned although nothing was read")
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
	k.run(guard.New(w.Process, prisma(), strict(), &scanner{}))
}

func TestBlockFailuresByLeg(t *testing.T) {
	down := both(fails(&guard.Failure{Kind: guard.Unavailable, Reason: "connection refused"}))
	for _, c := range []struct{ request, response bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		w := newWorld(t)
		s := strict()
		s.BlockFailures, s.BlockFailuresResponse = c.request, c.response
		k := chatRequest(t).run(guard.New(w.Process, prisma(), s, down))
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
	e := guard.NewRefusing(w.Process, prisma(), "api_key")
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
