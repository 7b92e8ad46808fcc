// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
)

func TestSubjectHeaderOfAClientNeverGetsThrough(t *testing.T) {
	const name = "X-Profile-Used"
	for _, tc := range []struct {
		name     string
		settings policy.Settings
		tell     bool
		sent     bool
		set      []string
		cleared  []string
	}{
		{"told", strict(), true, true, []string{name + ": strict"}, nil},
		{"not told", strict(), false, true, nil, []string{strings.ToLower(name)}},
		{"not sent", strict(), false, false, nil, nil},
		{"monitored", modes(policy.Monitor, policy.Monitor), true, true, nil, []string{strings.ToLower(name)}},
		{"the answer only", modes(policy.Off, policy.Enforce), true, true, nil, []string{strings.ToLower(name)}},
		{"off", modes(policy.Off, policy.Off), true, true, nil, []string{strings.ToLower(name)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := prisma()
			v.SubjectHeader, v.Needs.TellSubject = name, tc.tell
			k := chatRequest(t)
			if tc.sent {
				k.set("x-profile-used", "forged")
			}
			k.access(newEngine(newWorld(t).Process, v, tc.settings, both(verdict(scan.Verdict{Action: scan.Allow, Subject: "strict"}))))
			if !slices.Equal(k.setRequest, tc.set) || !slices.Equal(k.clearedRequest, tc.cleared) {
				t.Errorf("set %q, cleared %q", k.setRequest, k.clearedRequest)
			}
		})
	}
}

func TestOnlyAVerifiedTokenIsGiven(t *testing.T) {
	const token = "h.p.s"
	for _, tc := range []struct {
		name          string
		authorization []string
		verified      any
		want          string
	}{
		{"verified", []string{"Bearer " + token}, token, token},
		{"another case", []string{"bearer  " + token}, token, token},
		{"nobody verified it", []string{"Bearer " + token}, nil, ""},
		{"another one was verified", []string{"Bearer " + token}, "x.y.z", ""},
		{"no token, none verified", nil, "", ""},
		{"verified from elsewhere", nil, token, ""},
		{"another scheme", []string{"Basic " + token}, token, ""},
		{"two headers", []string{"Bearer " + token, "Bearer forged"}, token, ""},
		{"no text", []string{"Bearer true"}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := prisma()
			v.Needs.Token = true
			s := &scanner{}
			k := chatRequest(t)
			k.shared["authenticated_jwt_token"] = tc.verified
			for _, a := range tc.authorization {
				k.headers = append(k.headers, [2]string{"authorization", a})
			}
			k.run(newEngine(newWorld(t).Process, v, strict(), s))
			for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
				if scans := s.seen(leg); len(scans) != 1 || scans[0].Token != tc.want {
					t.Errorf("%v: %+v", leg, scans)
				}
			}
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		k := chatRequest(t).run(newEngine(newWorld(t).Process, prisma(), strict(), &scanner{}))
		if n := k.count("kong.ctx.shared.get"); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestHeadersOfAVerdict(t *testing.T) {
	tell := func(a scan.Action) *scanner {
		v := scan.Verdict{Action: a, ScanID: "scan-9", Header: http.Header{"X-Verdict": {"x"}}}
		return &scanner{response: verdict(v)}
	}
	v := prisma()
	v.ScanIDHeader = "X-Scan-Id"
	k := chatRequest(t).run(newEngine(newWorld(t).Process, v, strict(), tell(scan.Allow)))
	if !slices.Equal(k.setAnswer, []string{"X-Verdict: x"}) {
		t.Errorf("an answer that goes on: %q", k.setAnswer)
	}
	k = chatRequest(t).run(newEngine(newWorld(t).Process, v, strict(), tell(scan.Block)))
	if h := k.exit.header; k.setAnswer != nil || h.Get("X-Verdict") != "x" || h.Get("X-Scan-Id") != "scan-9" || h.Get("Content-Type") != "application/json" {
		t.Errorf("a block: %v, %q", h, k.setAnswer)
	}
	k = chatRequest(t).run(newEngine(newWorld(t).Process, v, strict(), both(fails(&scan.Failure{Kind: scan.Degraded}))))
	if h := k.exit.header; h.Get("X-Scan-Id") != "" {
		t.Errorf("no verdict: %v", h)
	}
}

func TestFindingsThatPassAreLogged(t *testing.T) {
	found := verdict(scan.Verdict{Action: scan.Allow, ScanID: "scan-9", Category: "malicious", Detections: []string{"injection"}, Subject: "alert-only", Alert: true})
	k := chatRequest(t).run(newEngine(newWorld(t).Process, prisma(), strict(), both(found)))
	lines := k.logged("warn")
	if k.exit != nil || len(lines) != 2 {
		t.Fatalf("%+v, %q", k.exit, lines)
	}
	for i, leg := range []string{"request", "response"} {
		for _, want := range []string{"SecurePrismaAIRS " + leg + " passed with findings", `outcome="allow"`, `category="malicious"`, `detectors="injection"`, `profile="alert-only"`} {
			if !strings.Contains(lines[i], want) {
				t.Errorf("no %s in %s", want, lines[i])
			}
		}
	}

	w := newWorld(t)
	k = chatRequest(t).run(newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), both(found)))
	w.Flush(t.Context())
	if k.exit != nil || !strings.Contains(w.stderr.String(), "request would pass with findings") {
		t.Errorf("monitored: %s", w.stderr.String())
	}
}

func TestAPartialVerdictIsNoAllow(t *testing.T) {
	w := newWorld(t)
	s := &scanner{response: verdict(scan.Verdict{Action: scan.Allow, ScanID: "scan-9", Partial: true})}
	k := chatRequest(t).run(newEngine(w.Process, prisma(), strict(), s))
	leg := k.leg("prisma-airs-intercept", "response")
	if k.exit != nil || leg["action"] != "unscanned" || leg["reason"] != "too_large" || !contains(k.logged("warn"), "passed unscanned") {
		t.Errorf("%v, %v, %s", k.exit, leg, k.allLogs())
	}
	if n := w.metric("unscanned_total", "response", "too_large"); n != 1 {
		t.Errorf("counted %v times", n)
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
