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

// maskAll masks every turn that has a place.
func maskAll(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
	v := scan.Verdict{Action: scan.Mask, ScanID: "scan-5", Detections: []string{"dlp"}}
	for i := range s.Turns {
		if !s.Turns[i].Maskable {
			continue
		}
		v.Masked = append(v.Masked, llm.Replacement{Turn: i, Text: "***"})
	}
	return v, nil
}

func masking(v vendor) vendor {
	v.Masks = true
	return v
}

func TestMaskedRequest(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.body = gz(`{"model":"m", "messages":[{"role":"user","content":"my card is 4111"}], "big":12345678901234567890}`)
	k.set("content-encoding", "gzip").set("content-md5", "abc").set("digest", "x")
	sc := &scanner{request: maskAll}
	s := strict()
	s.Scope = llm.User
	k.run(newEngine(w.Process, masking(prisma()), s, sc))
	if k.exit != nil || k.upstreamBody == nil {
		t.Fatalf("exit %+v", k.exit)
	}
	if want := `{"model":"m", "messages":[{"role":"user","content":"***"}], "big":12345678901234567890}`; *k.upstreamBody != want {
		t.Errorf("upstream gets %s", *k.upstreamBody)
	}
	if got := strings.Join(k.clearedRequest, " "); got != "content-encoding content-md5 digest" {
		t.Errorf("cleared %q", got)
	}
	if l := k.leg("prisma-airs-intercept", "request"); l["action"] != "mask" || l["scan_id"] != "scan-5" {
		t.Errorf("access log %v", k.serialized)
	}
	if p := sc.seen(llm.ResponseLeg)[0].Prompt; p[0].Text != "***" {
		t.Errorf("the answer's scan gets the prompt %v", p)
	}
	if lines := k.logged("warn"); len(lines) != 1 || !contains(lines, "request masked") || strings.Contains(k.allLogs(), "4111") {
		t.Errorf("logged %v", k.logs)
	}
}

func TestMaskWithoutACertainPlaceBlocks(t *testing.T) {
	for name, masked := range map[string][]llm.Replacement{
		"none":    nil,
		"outside": {{Turn: 7, Text: "x"}},
		"before":  {{Turn: -1, Text: "x"}},
		"twice":   {{Turn: 0, Text: "x"}, {Turn: 0, Text: "y"}},
	} {
		for _, leg := range []string{"request", "response"} {
			w := newWorld(t)
			f := verdict(scan.Verdict{Action: scan.Mask, ScanID: "scan-5", Masked: masked})
			sc := &scanner{request: f}
			if leg == "response" {
				sc = &scanner{response: f}
			}
			k := chatRequest(t).run(newEngine(w.Process, masking(prisma()), strict(), sc))
			if r := k.refusal(); k.exit.status != 403 || r.ScanID != "scan-5" || k.upstreamBody != nil {
				t.Errorf("%s, %s: %+v", name, leg, k.exit)
			}
		}
	}
}

// An answer is masked by the last of our plugins that looks at it: a mask
// ends the phase for those that come later.
func TestMaskedAnswer(t *testing.T) {
	other := func(m policy.Mode) func(*world) *guard.Engine {
		return func(w *world) *guard.Engine {
			return newEngine(w.Process, noma(), modes(policy.Enforce, m), &scanner{})
		}
	}
	for _, c := range []struct {
		name          string
		before, after func(*world) *guard.Engine
		change        func(*policy.Settings, *vendor)
		blocked       bool
	}{
		{name: "alone"},
		{name: "last of two", before: other(policy.Enforce)},
		{name: "before one that enforces", after: other(policy.Enforce), blocked: true},
		{name: "before one that monitors", after: other(policy.Monitor), blocked: true},
		{name: "before one that is off", after: other(policy.Off)},
		{
			name: "early, as the operator wants it", after: other(policy.Enforce),
			change: func(s *policy.Settings, _ *vendor) { s.AllowEarlyMask = true },
		},
		{
			name:   "by a vendor that does not say so",
			change: func(_ *policy.Settings, v *vendor) { v.Masks = false }, blocked: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, w2 := newWorld(t), newWorld(t)
			s, v := strict(), masking(prisma())
			if c.change != nil {
				c.change(&s, &v)
			}
			var route []*guard.Engine
			if c.before != nil {
				route = append(route, c.before(w2))
			}
			route = append(route, newEngine(w.Process, v, s, &scanner{response: maskAll}))
			if c.after != nil {
				route = append(route, c.after(w2))
			}
			k := chatRequest(t)
			k.status = 201
			k.answer = gz(k.answer)
			k.answerHeader["content-encoding"] = "gzip"
			k.run(route...)
			if k.exit == nil {
				t.Fatal("the answer went out as it was")
			}
			if c.blocked {
				if k.exit.status != 403 || strings.Contains(k.exit.body, "Paris") {
					t.Errorf("answered %+v", k.exit)
				}
				return
			}
			if k.exit.status != 201 || strings.Contains(k.exit.body, "Paris") || !strings.Contains(k.exit.body, `"content":"***"`) {
				t.Errorf("answered %+v", k.exit)
			}
			if !contains(k.clearedAnswer, "content-encoding") || !contains(k.clearedAnswer, "etag") {
				t.Errorf("cleared %v", k.clearedAnswer)
			}
			if k.leg("prisma-airs-intercept", "response")["action"] != "mask" {
				t.Errorf("access log %v", k.serialized)
			}
		})
	}
}

// What an answer with a name twice says is never masked, but blocked.
func TestMaskOfAnAnswerWithANameTwiceBlocks(t *testing.T) {
	for _, c := range []struct{ answer, action string }{
		{`{"choices":[{"index":0,"message":{"content":"my card is 4111","reasoning_content":"a","reasoning_content":"a"}}]}`, "block"},
		{`{"choices":[{"index":0,"message":{"content":"my card is 4111","reasoning_content":"a"}}]}`, "mask"},
	} {
		w := newWorld(t)
		k := chatRequest(t)
		k.answer = c.answer
		k.run(newEngine(w.Process, masking(prisma()), strict(), &scanner{response: maskAll}))
		l := k.leg("prisma-airs-intercept", "response")
		if k.exit == nil || strings.Contains(k.exit.body, "4111") || l["action"] != c.action {
			t.Errorf("%s: exit %+v, access log %v", c.answer, k.exit, l)
		}
	}
}
