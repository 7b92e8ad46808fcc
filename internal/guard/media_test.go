// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"strings"
	"testing"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
)

const (
	picture = `{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}`
	sound   = `{"type":"input_audio","input_audio":{"data":"UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=","format":"wav"}}`
	said    = `{"type":"text","text":"hello"}`
)

func withParts(parts ...string) string {
	return `{"model":"m","messages":[{"role":"user","content":[` + strings.Join(parts, ",") + `]}]}`
}

// TestMediaNobodyJudged: what goes on with media that the service did not look
// at is counted, alone or beside text, on both legs and in both modes; what
// ends is not.
func TestMediaNobodyJudged(t *testing.T) {
	judgesImages := func(v *vendor) {
		v.JudgesMedia = func(m llm.MediaPart) bool { return strings.HasPrefix(m.Type, "image") }
	}
	allowed := verdict(scan.Verdict{Action: scan.Allow, ScanID: "scan-1"})
	for _, c := range []struct {
		name     string
		vendor   func(*vendor)
		settings func(*policy.Settings)
		request  string
		answer   func(*fakeKong)
		scan     func(context.Context, *scan.Scan) (scan.Verdict, error)
		requests float64
		answers  float64
	}{
		{name: "text", request: withParts(said), scan: allowed},
		{name: "a picture alone", request: withParts(picture), scan: allowed, requests: 1},
		{name: "beside text", request: withParts(said, picture, picture), scan: allowed, requests: 1},
		{name: "judged", vendor: judgesImages, request: withParts(picture), scan: allowed},
		{name: "judged and not", vendor: judgesImages, request: withParts(said, picture, sound), scan: allowed, requests: 1},
		{name: "sound to one who judges pictures", vendor: judgesImages, request: withParts(sound), scan: allowed, requests: 1},
		{name: "blocked", request: withParts(said, picture), scan: block},
		{name: "refused", settings: func(s *policy.Settings) { s.BlockMedia = true }, request: withParts(picture), scan: allowed},
		{name: "no verdict", request: withParts(said, picture), scan: fails(&scan.Failure{Kind: scan.Unavailable, Reason: "timeout"})},
		{
			name: "no verdict that is let pass", settings: func(s *policy.Settings) { s.BlockFailures = false },
			request: withParts(said, picture), scan: fails(&scan.Failure{Kind: scan.Unavailable, Reason: "timeout"}), requests: 1,
		},
		{name: "monitored", settings: func(s *policy.Settings) { s.RequestMode = policy.Monitor }, request: withParts(said, picture), scan: block, requests: 1},
		{name: "not looked at", settings: func(s *policy.Settings) { s.RequestMode = policy.Off }, request: withParts(said, picture), scan: allowed},
		{
			name: "an answer of nothing but media", request: withParts(said), scan: allowed, answers: 1,
			answer: func(k *fakeKong) {
				k.answer, k.answerHeader["content-type"] = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"
			},
		},
		{
			name: "monitored answers", settings: func(s *policy.Settings) { s.ResponseMode = policy.Monitor }, request: withParts(said), scan: allowed, answers: 1,
			answer: func(k *fakeKong) {
				k.answer, k.answerHeader["content-type"] = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			settings, vendor := strict(), prisma()
			if c.settings != nil {
				c.settings(&settings)
			}
			if c.vendor != nil {
				c.vendor(&vendor)
			}
			sc := &scanner{request: c.scan}
			e := newEngine(w.Process, vendor, settings, sc)
			var lines []string
			passed := map[string]bool{}
			for range 3 {
				k := chatRequest(t)
				k.body = c.request
				if c.answer != nil {
					c.answer(k)
				}
				k.run(e)
				lines = append(lines, k.logged("warn")...)
				for _, leg := range []string{"request", "response"} {
					l := k.leg("prisma-airs-intercept", leg)
					passed[leg] = l["unscanned"] == "media"
				}
			}
			w.Flush(context.Background())
			k := chatRequest(t)
			k.body = withParts(said)
			k.run(e) // writes what is left
			lines = append(lines, k.logged("warn")...)
			for leg, want := range map[string]float64{"request": c.requests, "response": c.answers} {
				if n := w.metric("unscanned_total", leg, "media"); n != 3*want {
					t.Errorf("%v %ss counted, want %v", n, leg, 3*want)
				}
				enforced := settings.RequestMode
				if leg == "response" {
					enforced = settings.ResponseMode
				}
				if passed[leg] != (want > 0 && enforced == policy.Enforce) {
					t.Errorf("the access log's %s says media: %v", leg, passed[leg])
				}
			}
			warned := 0
			for _, l := range lines {
				if strings.HasPrefix(l, "PREFIX media that the scan service does not judge pass unscanned") {
					warned++
				}
				if passes := strings.Contains(l, `unscanned="media"`); strings.Contains(l, "request ") && strings.Contains(l, "outcome=") && passes != (c.requests > 0) {
					t.Errorf("the line says media: %v: %s", passes, l)
				}
			}
			if want := int(c.requests + c.answers); warned != want {
				t.Errorf("warned %d times, want %d: %q", warned, want, lines)
			}
		})
	}
}

// TestMediaAreWarnedOfOncePerInstance: the next instance says it again.
func TestMediaAreWarnedOfOncePerInstance(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		e := newEngine(w.Process, prisma(), strict(), &scanner{})
		for range 2 {
			k := chatRequest(t)
			k.body = withParts(picture)
			k.run(e)
		}
	}
	if n := strings.Count(w.stderr.String(), "media that the scan service does not judge"); n != 2 {
		t.Errorf("%d lines: %s", n, w.stderr.String())
	}
}

// TestMonitoredLinesSayWhoCalledWhat: they name what the others name, also
// when the exchange was forgotten before its answer came.
func TestMonitoredLinesSayWhoCalledWhat(t *testing.T) {
	for name, vendor := range map[string]vendor{"prisma": prisma(), "noma": noma()} {
		for _, m := range []struct{ request, response policy.Mode }{
			{policy.Monitor, policy.Monitor}, {policy.Monitor, policy.Off}, {policy.Off, policy.Monitor}, {policy.Enforce, policy.Monitor},
		} {
			for _, scoped := range []bool{false, true} {
				for _, forgets := range []bool{false, true} {
					w := newWorld(t, func(b *guard.Bounds) {
						if forgets {
							b.RecordBytes = 1
						}
					})
					settings := modes(m.request, m.response)
					settings.Scoped, settings.ScopedToRoute, settings.ScopedToConsumer = scoped, scoped, scoped
					sc := both(block)
					if m.request == policy.Enforce {
						sc.request = nil
					}
					e := newEngine(w.Process, vendor, settings, sc)
					chatRequest(t).run(e)
					chatRequest(t).run(e) // now the names are known, if scoped
					w.Flush(context.Background())
					want := 0
					for _, mode := range []policy.Mode{m.request, m.response} {
						if mode == policy.Monitor {
							want += 2
						}
					}
					got := strings.Count(w.stderr.String(), `consumer=\"alice\" service=\"llm\" route=\"chat\"`)
					if lines := strings.Count(w.stderr.String(), "would be refused"); got != want || lines != want {
						t.Errorf("%s, %v, scoped %v, forgotten %v: %d of %d lines name all, want %d: %s", name, m, scoped, forgets, got, lines, want, w.stderr.String())
					}
				}
			}
		}
	}
}

// TestMonitoringDoesNotHangOnNames: a name that Kong cannot say costs the line
// the name and nothing else, unless a scan needs it.
func TestMonitoringDoesNotHangOnNames(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.replyErr = map[string]error{"kong.router.get_route": context.Canceled, "kong.router.get_service": context.Canceled}
	sc := both(block)
	k.run(newEngine(w.Process, noma(), modes(policy.Monitor, policy.Monitor), sc))
	w.Flush(context.Background())
	if n := strings.Count(w.stderr.String(), "would be refused"); n != 2 || k.exit != nil {
		t.Errorf("%d lines, %+v", n, k.exit)
	}
}
