// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

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

func TestInstancesShareNothingButTheProcess(t *testing.T) {
	w := newWorld(t)
	s := strict()
	s.Scoped = true
	scoped := newEngine(w.Process, prisma(), s, &scanner{})
	global := newEngine(w.Process, prisma(), strict(), &scanner{})
	for i, c := range []struct {
		e     *guard.Engine
		asked int
	}{{scoped, 1}, {scoped, 0}, {global, 1}, {global, 1}} {
		k := chatRequest(t).run(c.e)
		if n := k.count("kong.router.get_service"); n != c.asked {
			t.Errorf("exchange %d: the service's name was asked for %d times, want %d", i, n, c.asked)
		}
	}
	// A record survives its instance: Kong starts a new one when a
	// connection was lost.
	sc := &scanner{}
	k := chatRequest(t).access(global).respond(newEngine(w.Process, prisma(), strict(), sc))
	if k.count("kong.request.get_raw_body") != 1 || len(sc.seen(llm.ResponseLeg)[0].Prompt) != 1 {
		t.Errorf("the new instance did not know the exchange: %v", k.calls)
	}
}
