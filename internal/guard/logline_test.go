// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestLineHoldsWhatOperatorsNeed(t *testing.T) {
	for _, c := range []struct {
		vendor vendor
		leg    string
		s      *scanner
		prefix string
	}{
		{prisma(), "request", &scanner{request: block}, "SecurePrismaAIRS request blocked:"},
		{prisma(), "response", &scanner{response: block}, "SecurePrismaAIRS response blocked:"},
		{noma(), "request", &scanner{request: block}, "[noma-runtime-protection] request blocked:"},
	} {
		w := newWorld(t)
		v := c.vendor
		v.Subject = "profile"
		k := chatRequest(t)
		k.body = `{"messages":[{"role":"user","content":"marker-of-text"}]}`
		k.set("authorization", "Bearer marker-of-secret")
		k.run(newEngine(w.Process, v, strict(), c.s))
		if len(k.logs) != 1 {
			t.Fatalf("logged %v", k.logs)
		}
		line := k.logs[0].text
		for _, part := range []string{
			c.prefix, `outcome="policy_block"`, `scan_id="scan-9"`, `report_id="R-9"`, `request_id="` + k.requestID + `"`,
			`consumer="alice"`, `service="llm"`, `route="chat"`, `profile="strict"`, `category="malicious"`, `detectors="prompt_injection,dlp"`, `latency_ms="`,
		} {
			if !strings.Contains(line, part) {
				t.Errorf("the line lacks %s: %s", part, line)
			}
		}
		if strings.Contains(k.allLogs()+w.stderr.String(), "marker") {
			t.Errorf("content was logged: %s%s", k.allLogs(), w.stderr.String())
		}
		if !strings.Contains(w.stderr.String(), c.prefix) {
			t.Errorf("stderr lacks the line: %s", w.stderr.String())
		}
	}
}

func TestDebugShowsWhatPassed(t *testing.T) {
	for _, debug := range []bool{false, true} {
		w := newWorld(t)
		s := strict()
		s.Debug = debug
		k := chatRequest(t).run(newEngine(w.Process, prisma(), s, &scanner{}))
		stderr := w.stderr.String()
		if got := strings.Contains(stderr, "request passed:") && strings.Contains(stderr, "response passed:"); got != debug {
			t.Errorf("debug %v: stderr %s", debug, stderr)
		}
		if strings.Contains(stderr, "Paris") || strings.Contains(stderr, "capital") || len(k.logs) > 0 {
			t.Errorf("debug %v: content was logged: %s%s", debug, stderr, k.allLogs())
		}
	}
}

// Names that cannot be read cost a line nothing but themselves.
func TestLineWithoutNames(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.consumer = scan.Consumer{}
	k.replyErr = map[string]error{"kong.router.get_route": pdk.ErrMalformed}
	k.run(newEngine(w.Process, prisma(), strict(), &scanner{request: block}))
	if k.exit == nil || len(k.logs) != 1 || strings.Contains(k.logs[0].text, "route=") {
		t.Errorf("exit %+v, logged %v", k.exit, k.logs)
	}
}

// A line says which name of a body stands twice, and where. Metrics, whose
// labels are few, and clients do not.
func TestLineHoldsThePlace(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.body = `{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}`
	k.run(newEngine(w.Process, prisma(), strict(), &scanner{}))
	const reason = "duplicate name in a JSON object"
	if line := k.allLogs(); !strings.Contains(line, `reason="`+reason+`: 'content' at byte 54"`) {
		t.Errorf("the line is %s", line)
	}
	if k.exit == nil || k.exit.status != 400 || !strings.Contains(k.exit.body, reason+`"`) || strings.Contains(k.exit.body, "54") {
		t.Errorf("answered with %+v", k.exit)
	}
	if n := w.metric("leg_reasons_total", "request", "malformed", reason); n != 1 {
		t.Errorf("counted %v times", n)
	}
	k = chatRequest(t)
	k.body = `{"model":"m","messages":[],"marker-of-text":1,"marker-of-text":2}`
	k.run(newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), &scanner{}))
	w.Flush(context.Background())
	if line := w.stderr.String(); !strings.Contains(line, "a name of 14 bytes at byte 46") || strings.Contains(line, "marker") {
		t.Errorf("stderr is %s", line)
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
