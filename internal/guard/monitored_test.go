// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

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
			for _, by := range transports {
				if by.name == "relay" && name == "header flood" {
					continue // its listener takes no more than 1,000
				}
				t.Run(by.name+"/"+name+"/"+scanName, func(t *testing.T) {
					w := newWorld(t)
					s := modes(policy.Monitor, policy.Monitor)
					s.BlockMedia = true
					k := chatRequest(t)
					change(k)
					by.run(w, k, newEngine(w.Process, prisma(), s, both(sc)))
					w.Flush(context.Background())
					if k.exits > 0 || k.exit != nil || k.upstreamBody != nil || len(k.clearedRequest)+len(k.clearedAnswer) > 0 {
						t.Errorf("a monitored exchange was changed: %+v, body %v", k.exit, k.upstreamBody)
					}
					if k.serializeCalls > 1 {
						t.Errorf("%d access log calls", k.serializeCalls)
					}
				})
			}
		}
	}
}

func TestMonitorReturnsAtOnceAndJudgesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := both(func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
			time.Sleep(3 * time.Second)
			return block(ctx, s)
		})
		e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Monitor), sc)
		start := time.Now()
		k := chatRequest(t).run(e)
		if took := time.Since(start); took != 0 {
			t.Errorf("the exchange was held up for %s", took)
		}
		w.Flush(context.Background())
		if n := w.metric("monitor_jobs_total", "sent"); n != 2 || w.metric("legs_total", "monitor", "policy_block") != 2 {
			t.Errorf("%v legs judged", n)
		}
		if s := sc.seen(llm.ResponseLeg)[0]; len(s.Prompt) != 1 || s.Turns[0].Text != "Paris." {
			t.Errorf("the answer was judged as %+v", s)
		}
		for _, part := range []string{`scan_id=\"scan-9\"`, `request_id=\"` + k.requestID + `\"`, `detectors=\"prompt_injection,dlp\"`, `profile=\"strict\"`} {
			if !strings.Contains(w.stderr.String(), part) {
				t.Errorf("stderr lacks %s: %s", part, w.stderr.String())
			}
		}
		// The next event writes them where operators look.
		later := chatRequest(t).run(newEngine(w.Process, prisma(), strict(), &scanner{}))
		if lines := later.logged("warn"); len(lines) != 2 || !contains(lines, "request would be refused") || !contains(lines, "response would be refused") || !contains(lines, "s ago)") {
			t.Errorf("logged %v", later.logs)
		}
	})
}

func TestMonitorFailuresAreCountedNotRepeated(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), both(fails(&scan.Failure{
		Kind: scan.Misconfigured, Reason: "status 401", Hint: "client_secret",
	})))
	var lines []string
	for range 20 {
		lines = append(lines, chatRequest(t).run(e).logged("err")...)
	}
	w.Flush(context.Background())
	lines = append(lines, chatRequest(t).run(newEngine(w.Process, noma(), strict(), &scanner{})).logged("err")...)
	if len(lines) != 1 || !contains(lines, `check="client_secret"`) || !contains(lines, "[noma-runtime-protection] monitored exchange without a verdict") {
		t.Errorf("logged %v", lines)
	}
	if n := strings.Count(w.stderr.String(), `"level":"error"`); n > 20 || n == 0 {
		t.Errorf("%d lines at error on stderr", n)
	}
}

func TestMonitoredBodiesAreCopies(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	sc := both(func(context.Context, *scan.Scan) (scan.Verdict, error) {
		<-release
		return scan.Verdict{Action: scan.Allow}, nil
	})
	e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Monitor), sc)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			k := chatRequest(t)
			k.requestID = fmt.Sprint(i)
			k.body = fmt.Sprintf(`{"messages":[{"role":"user","content":"text of %d"}]}`, i)
			k.run(e)
		})
	}
	wg.Wait()
	close(release)
	w.Flush(context.Background())
	for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
		for _, s := range sc.seen(leg) {
			turns := s.Turns
			if leg == llm.ResponseLeg {
				turns = s.Prompt
			}
			if len(turns) != 1 || turns[0].Text != "text of "+s.RequestID {
				t.Errorf("%s of %s was judged with %v", leg, s.RequestID, turns)
			}
		}
	}
}

func TestMonitoredAnswerOfAForgottenExchange(t *testing.T) {
	w := newWorld(t, func(b *guard.Bounds) { b.MonitorWorkers = 1 })
	release := make(chan struct{})
	sc := &scanner{response: func(context.Context, *scan.Scan) (scan.Verdict, error) {
		<-release
		return scan.Verdict{Action: scan.Allow}, nil
	}}
	e := newEngine(w.Process, prisma(), modes(policy.Enforce, policy.Monitor), sc)
	for range 3 { // some are read after their replies were taken back
		chatRequest(t).respond(e)
	}
	close(release)
	w.Flush(context.Background())
	scans := sc.seen(llm.ResponseLeg)
	if len(scans) != 3 {
		t.Fatalf("%d scans", len(scans))
	}
	for _, s := range scans {
		if len(s.Prompt) != 1 || s.Prompt[0].Text != "what is the capital of France?" || s.Turns[0].Text != "Paris." {
			t.Errorf("judged with %+v", s)
		}
	}
}
