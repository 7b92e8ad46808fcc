// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// gated makes a scan that waits for the gate, or the end of its time.
func gated(gate <-chan struct{}, then func(context.Context, *scan.Scan) (scan.Verdict, error)) func(context.Context, *scan.Scan) (scan.Verdict, error) {
	return func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
		select {
		case <-gate:
			return then(ctx, s)
		case <-ctx.Done():
			return scan.Verdict{}, ctx.Err()
		}
	}
}

func panics(context.Context, *scan.Scan) (scan.Verdict, error) { panic("a scanner's secret") }

// shut is a gate that never opens.
var shut chan struct{}

// TestBeside: a request goes on at once, and whatever the verdict is and
// whenever it comes, nothing of the answer goes out before it. What refuses is
// the request's leg, in the answer, in metrics, in logs and in the audit log.
func TestBeside(t *testing.T) {
	down := &scan.Failure{Kind: scan.Unavailable, Reason: "connection refused", RetryAfter: 7 * time.Second}
	for _, c := range []struct {
		name    string
		scan    func(context.Context, *scan.Scan) (scan.Verdict, error)
		never   bool // no verdict comes by itself
		open    bool // block_failures is false
		status  int  // of the refusal, 0 for none
		outcome string
		action  string
		reason  string
		level   string
		retry   string
	}{
		{name: "allow", scan: verdict(scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}), outcome: "allow", action: "allow"},
		{name: "alert", scan: verdict(scan.Verdict{Action: scan.Allow, Alert: true}), outcome: "allow", action: "allow", level: "warn"},
		{name: "block", scan: block, status: 403, outcome: "policy_block", action: "block", level: "warn"},
		{name: "mask", scan: maskAll, status: 403, outcome: "policy_block", action: "block", reason: policy.ReasonMaskBeside, level: "warn"},
		{name: "away", scan: fails(down), status: 503, outcome: "no_verdict", action: "refuse", level: "err", retry: "7"},
		{name: "away, which may pass", scan: fails(down), open: true, outcome: "unscanned", action: "unscanned", level: "err"},
		{name: "degraded", scan: fails(&scan.Failure{Kind: scan.Degraded}), open: true, status: 503, outcome: "degraded_verdict", action: "refuse", level: "err", retry: "5"},
		{name: "misconfigured", scan: fails(&scan.Failure{Kind: scan.Misconfigured}), status: 503, outcome: "misconfigured", action: "refuse", level: "err"},
		{name: "another error", scan: fails(errors.New("secret")), open: true, status: 503, outcome: "own_fault", action: "refuse", level: "err"},
		{name: "no action", scan: verdict(scan.Verdict{}), status: 503, outcome: "own_fault", action: "refuse", level: "err"},
		{name: "panic", scan: panics, open: true, status: 503, outcome: "own_fault", action: "refuse", reason: policy.ReasonPanic, level: "err"},
		{name: "too slow", never: true, scan: block, status: 503, outcome: "no_verdict", action: "refuse", reason: policy.ReasonTimeout, level: "err", retry: "5"},
	} {
		for _, answer := range []struct {
			name   string
			status int
			body   string
			scans  int
		}{
			{"a chat's", 200, chatAnswer, 1},
			{"none, as to a HEAD or with 204", 204, "", 0},
			{"an error's", 500, `{"error":{"message":"no"}}`, 0},
			{"an event stream", 200, "data: {\"choices\":[{\"delta\":{\"content\":\"Paris.\"}}]}\n\ndata: [DONE]\n\n", 1},
		} {
			for _, model := range []string{"faster", "slower"} {
				t.Run(fmt.Sprintf("%s/%s answer/%s model", c.name, answer.name, model), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						records := w.audited()
						s := inFive(besideUs())
						s.BlockFailures, s.BlockFailuresResponse = !c.open, !c.open
						gate := make(chan struct{})
						wait := (<-chan struct{})(gate)
						if c.never {
							wait = shut
						}
						sc := &scanner{request: gated(wait, c.scan)}
						e := newEngine(w.Process, prisma(), s, sc)
						k := chatRequest(t)
						k.status, k.answer = answer.status, answer.body

						k.access(e)
						synctest.Wait()
						if k.exit != nil || len(sc.seen(llm.RequestLeg)) != 1 || w.metric("legs_total") != 0 {
							t.Fatalf("before its verdict: exit %+v, %d scans, %v legs counted", k.exit, len(sc.seen(llm.RequestLeg)), w.metric("legs_total"))
						}
						if w.metric("held_bytes") == 0 {
							t.Error("the scan takes no room")
						}
						over := make(chan struct{})
						respond := func() { k.respond(e); close(over) }
						switch model {
						case "faster":
							go respond()
							synctest.Wait()
							select {
							case <-over:
								t.Error("the answer did not wait")
							default:
							}
							if n := w.metric("legs_total"); len(sc.seen(llm.ResponseLeg)) != 0 || n != 0 {
								t.Error("the answer was dealt with before the request's verdict")
							}
							close(gate)
						case "slower":
							close(gate)
							time.Sleep(20 * time.Second)
							synctest.Wait()
							if w.metric("held_bytes") != 0 {
								t.Errorf("%v bytes are held after the scan", w.metric("held_bytes"))
							}
							go respond()
						}
						<-over

						leg := k.leg("prisma-airs-intercept", "request")
						if leg["action"] != c.action {
							t.Errorf("access log %v", k.serialized)
						}
						if latency := leg["latency_ms"].(float64); latency > 5001 {
							t.Errorf("the request's leg took %v ms: that is the model's time", latency)
						}
						if n := w.metric("legs_total", "request", c.outcome); n != 1 || w.metric("legs_total", "request") != 1 {
							t.Errorf("%v legs of the request are counted, %v of them %s", w.metric("legs_total", "request"), n, c.outcome)
						}
						lines := k.logged(c.level)
						if mine := slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, " request ") }); c.level != "" && len(mine) != 1 ||
							c.level == "" && len(k.logs) != 0 {
							t.Errorf("logged %v", k.logs)
						} else if c.level != "" && (!strings.Contains(mine[0], k.requestID) || !strings.Contains(mine[0], `route="chat"`) || !strings.Contains(mine[0], c.reason)) {
							t.Errorf("logged %v", mine)
						}
						if strings.Contains(k.allLogs()+w.stderr.String(), "secret") {
							t.Error("a secret was logged")
						}
						if c.status == 0 {
							if k.exit != nil || len(sc.seen(llm.ResponseLeg)) != answer.scans || k.serializeCalls != 1 {
								t.Errorf("exit %+v, %d scans of the answer, access log %v", k.exit, len(sc.seen(llm.ResponseLeg)), k.serialized)
							}
							if k.leg("prisma-airs-intercept", "response") == nil {
								t.Errorf("access log %v", k.serialized)
							}
							for _, s := range sc.seen(llm.ResponseLeg) {
								if len(s.Prompt) != 1 || s.Prompt[0].Text != "what is the capital of France?" || s.Request == nil || s.Request.Model != "gpt-4o" {
									t.Errorf("the answer was scanned as that to %+v", s.Prompt)
								}
							}
						} else {
							r := k.refusal()
							if k.exit.status != c.status || r.RequestID != k.requestID || r.Error.Message == "" || strings.Contains(r.Message, "answer") {
								t.Errorf("answered %d %s", k.exit.status, k.exit.body)
							}
							if len(sc.seen(llm.ResponseLeg)) != 0 || k.leg("prisma-airs-intercept", "response") != nil || w.metric("legs_total", "response") != 0 {
								t.Errorf("the answer to a refused request was dealt with: %v", k.serialized)
							}
							if got := k.exit.header.Get("Retry-After"); got != c.retry || (k.exit.header.Get("X-Should-Retry") == "false") != (c.retry != "") {
								t.Errorf("header %v", k.exit.header)
							}
							if !slices.Contains(k.clearedAnswer, "content-encoding") || !slices.Contains(k.clearedAnswer, "etag") {
								t.Errorf("cleared %v", k.clearedAnswer)
							}
						}
						n := 0
						for _, r := range records() {
							if r.Leg != "request" {
								continue
							}
							n++
							if r.Action != c.action || r.Transport != "phases" || r.Characters != len("what is the capital of France?") && r.Reason != policy.ReasonPanic ||
								r.LatencyMS > 5001 || r.Service != "llm" {
								t.Errorf("record %+v", r)
							}
						}
						if n != 1 {
							t.Errorf("%d records of the request", n)
						}
						if w.metric("held_bytes") != 0 || w.metric("records") != 0 || w.metric("scans_running") != 0 || w.metric("in_flight") != 0 {
							t.Errorf("%v bytes, %v records, %v scans, %v legs are left", w.metric("held_bytes"), w.metric("records"), w.metric("scans_running"), w.metric("in_flight"))
						}
						// Nothing more is said later.
						w.Audit = nil
						time.Sleep(time.Hour)
						if later := w.noticed(); len(later) != 0 {
							t.Errorf("said once more: %v", later)
						}
					})
				})
			}
		}
	}
}

// TestBesideWaits: what keeping the answer back would not undo has its verdict
// before it goes on, and so has all to whose answer no event of ours belongs.
func TestBesideWaits(t *testing.T) {
	chat := func(members string) func(*fakeKong, *policy.Settings, *vendor) {
		return func(k *fakeKong, _ *policy.Settings, _ *vendor) {
			k.body = `{"model":"m","messages":[{"role":"user","content":"hello"}]` + members + `}`
		}
	}
	to := func(line, body string) func(*fakeKong, *policy.Settings, *vendor) {
		return func(k *fakeKong, _ *policy.Settings, _ *vendor) { k.line, k.body = line+" HTTP/1.1", body }
	}
	set := func(change func(*policy.Settings)) func(*fakeKong, *policy.Settings, *vendor) {
		return func(_ *fakeKong, s *policy.Settings, _ *vendor) { change(s) }
	}
	for _, c := range []struct {
		name   string
		change func(*fakeKong, *policy.Settings, *vendor)
		beside bool
	}{
		{"a chat", chat(""), true},
		{"a chat with a stream", chat(`,"stream":true`), true},
		{"a chat with tools' results", to("POST /v1/chat/completions", `{"messages":[{"role":"user","content":"go"},{"role":"tool","tool_call_id":"1","content":"done"}]}`), true},
		{"messages", to("POST /v1/messages", `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hello"}]}`), true},
		{"a response after another", to("POST /v1/responses", `{"input":"hello","previous_response_id":"resp_1"}`), true},
		{"a conversation of none", to("POST /v1/responses", `{"input":"hello","conversation":null,"store":false}`), true},

		{"a conversation", to("POST /v1/responses", `{"input":"hello","conversation":"conv_1"}`), false},
		{"a conversation as an object", to("POST /v1/responses", `{"input":"hello","conversation":{"id":"conv_1"}}`), false},
		{"a container", to("POST /v1/messages", `{"model":"m","max_tokens":5,"container":"c_1","messages":[{"role":"user","content":"hello"}]}`), false},
		{"a store", chat(`,"store":true`), false},
		{"a place of what is kept", to("POST /v1/threads/thread_1/messages", `{"role":"user","content":"hello"}`), false},
		{"a place of what is kept, with a chat", to("POST /v1/batches", `{"messages":[{"role":"user","content":"hello"}]}`), false},
		{"MCP", to("POST /mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}`), false},
		{"MCP in a chat's place", to("POST /v1/chat/completions", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}`), false},
		{"MCP, several", to("POST /mcp", `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}]`), false},
		{"an unknown API", to("POST /launch", `{"rocket":"go"}`), false},
		{"text", func(k *fakeKong, _ *policy.Settings, _ *vendor) {
			k.line, k.body = "POST /launch HTTP/1.1", "go"
			k.set("content-type", "text/plain")
		}, false},
		{"another method", to("PUT /v1/chat/completions", `{"messages":[{"role":"user","content":"hello"}]}`), false},
		{"masks", set(func(s *policy.Settings) { s.MayMask = true }), false},
		{"answers monitored", set(func(s *policy.Settings) { s.ResponseMode = policy.Monitor }), false},
		{"answers monitored, streams too", set(func(s *policy.Settings) { s.ResponseMode, s.BufferMonitoredStreams = policy.Monitor, true }), false},
		{"answers off", set(func(s *policy.Settings) { s.ResponseMode = policy.Off }), false},
		{"answers off and buffered", set(func(s *policy.Settings) { s.ResponseMode, s.KeepBuffering = policy.Off, true }), false},
		{"always before", set(func(s *policy.Settings) { s.PromptBeside = false }), false},
		{"streams pass", func(k *fakeKong, s *policy.Settings, v *vendor) {
			s.PassStreams = true
			chat(`,"stream":true`)(k, s, v)
		}, false},
		{"streams pass, this is none", set(func(s *policy.Settings) { s.PassStreams = true }), true},
		{"buffering kept", set(func(s *policy.Settings) { s.KeepBuffering = true }), true},
		{"no id", func(k *fakeKong, _ *policy.Settings, _ *vendor) { k.requestID = "" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				k, s, v := chatRequest(t), besideUs(), prisma()
				c.change(k, &s, &v)
				gate := make(chan struct{})
				sc := &scanner{request: gated(gate, block)}
				e := newEngine(w.Process, v, s, sc)
				over := make(chan struct{})
				go func() { k.access(e); close(over) }()
				synctest.Wait()
				if n := len(sc.seen(llm.RequestLeg)); n != 1 {
					t.Fatalf("%d scans, exit %+v", n, k.exit)
				}
				select {
				case <-over:
					if !c.beside {
						t.Error("it went on before its verdict")
					}
				default:
					if c.beside {
						t.Error("it waits for its verdict")
					}
				}
				close(gate)
				<-over
				if k.exit == nil && k.buffered() {
					k.respond(e)
				}
				if k.exit == nil || k.exit.status != 403 || !strings.Contains(k.exit.body, "scan-9") {
					t.Errorf("answered %+v", k.exit)
				}
				if w.metric("held_bytes") != 0 {
					t.Errorf("%v bytes are held", w.metric("held_bytes"))
				}
			})
		})
	}
}

// listening is a scanner that listens to a member of bodies.
type listening struct{ *scanner }

func (listening) ClaimMember() string { return "guardrails" }

func (listening) Claim(member []byte, h http.Header) string {
	return string(member) + h.Get("X-Claim")
}

// TestBesideClaims: a claim in the body makes the request wait, since it goes on
// without; one in a header is known in both scans.
func TestBesideClaims(t *testing.T) {
	for _, inBody := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			gate := make(chan struct{})
			sc := &scanner{request: gated(gate, verdict(scan.Verdict{Action: scan.Allow}))}
			e := newEngine(w.Process, noma(), besideUs(), listening{sc})
			k := chatRequest(t).set("x-claim", "header")
			if inBody {
				k.body = `{"guardrails":{"a":1},"messages":[{"role":"user","content":"hello"}]}`
			}
			over := make(chan struct{})
			go func() { k.access(e); close(over) }()
			synctest.Wait()
			select {
			case <-over:
				if inBody {
					t.Error("a request that is rewritten went on before its verdict")
				}
			default:
				if !inBody {
					t.Error("a claim in a header makes the request wait")
				}
			}
			close(gate)
			<-over
			if k.respond(e); k.exit != nil || (k.upstreamBody != nil) != inBody {
				t.Errorf("exit %+v, body %v", k.exit, k.upstreamBody)
			}
			want := "header"
			if inBody {
				want = `{"a":1}header`
			}
			for _, s := range sc.scans {
				if s.Claim != want {
					t.Errorf("%s: claim %q", s.Leg, s.Claim)
				}
			}
		})
	}
}

// TestBesideEndsAtOnce: what needs no scan ends in the access phase.
func TestBesideEndsAtOnce(t *testing.T) {
	for body, want := range map[string]int{
		`{"messages":[{"role":"user","content":"a"},]}`: 400,
		`{"messages":[]}`:             403,
		strings.Repeat("x", 10<<20+1): 413,
	} {
		w := newWorld(t)
		sc := &scanner{}
		k := chatRequest(t)
		k.body = body
		if k.access(newEngine(w.Process, prisma(), besideUs(), sc)); k.exit == nil || k.exit.status != want || len(sc.scans) != 0 {
			t.Errorf("%.40q: %+v", body, k.exit)
		}
	}
	w := newWorld(t)
	k := chatRequest(t)
	k.body = ""
	if k.run(newEngine(w.Process, prisma(), besideUs(), &scanner{})); k.exit != nil || w.metric("legs_total", "request", "nothing_to_scan") != 1 {
		t.Errorf("an empty body: %+v", k.exit)
	}
}

// TestBesideIsItsOwn: the scan sees what the client sent although the event's
// memory is another's by then, from a file too.
func TestBesideIsItsOwn(t *testing.T) {
	long := strings.Repeat("word ", 50_000)
	body := `{"model":"gpt-4o","messages":[{"role":"system","content":"é\n"},{"role":"user","content":[{"type":"text","text":"` + long + `"},{"type":"image_url","image_url":{"url":"https://x.example/i.png"}}]}]}`
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, inFile := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			gate := make(chan struct{})
			var texts []string
			var model, media, agent string
			sc := &scanner{request: gated(gate, func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
				for _, turn := range s.Turns {
					texts = append(texts, turn.Text)
				}
				model, media, agent = s.Model, s.Message.Media[0].URL, s.Header.Get("User-Agent")
				return scan.Verdict{Action: scan.Allow}, nil
			})}
			e := newEngine(w.Process, prisma(), besideUs(), sc)
			k := chatRequest(t)
			k.body = body
			if inFile {
				k.body, k.bodyFile = "", file
			}
			k.access(e)
			if held := w.metric("held_bytes"); held < float64(2*len(body)) {
				t.Errorf("%v bytes are held for a scan of %d", held, len(body))
			}
			close(gate)
			k.respond(e)
			if k.exit != nil || !slices.Contains(texts, long) || !slices.Contains(texts, "é\n") || model != "gpt-4o" || media != "https://x.example/i.png" || agent != "test" {
				t.Errorf("exit %+v; scanned %.100q, model %q, media %q, agent %q", k.exit, texts, model, media, agent)
			}
			if w.metric("held_bytes") != 0 {
				t.Errorf("%v bytes are held", w.metric("held_bytes"))
			}
		})
	}
}

// TestBesideForgotten: when nobody knows the scan any more, the request is judged
// again before its answer.
func TestBesideForgotten(t *testing.T) {
	for _, c := range []struct {
		name   string
		scan   func(context.Context, *scan.Scan) (scan.Verdict, error)
		change func(*fakeKong)
		status int
	}{
		{name: "allowed"},
		{name: "blocked", scan: block, status: 403},
		{name: "to be masked", scan: maskAll, status: 403},
		{name: "panic", scan: panics, status: 503},
		{name: "its body cannot be had", change: func(k *fakeKong) { k.bodyError = "gone" }, status: 503},
		{name: "its file cannot be read", change: func(k *fakeKong) { k.bodyFile = "/nonexistent/body" }, status: 503},
		{name: "it is malformed by now", change: func(k *fakeKong) { k.body = "{" }, status: 400},
		{name: "it is too large by now", change: func(k *fakeKong) { k.body = strings.Repeat("x", 11<<20) }, status: 413},
		{name: "without a body", change: func(k *fakeKong) { k.body = "" }},
	} {
		for _, answer := range []int{200, 500} {
			w, next := newWorld(t), newWorld(t)
			k := chatRequest(t).access(newEngine(w.Process, prisma(), besideUs(), &scanner{}))
			w.Flush(context.Background())
			sc := &scanner{request: c.scan}
			if c.change != nil {
				c.change(k)
			}
			k.status = answer
			k.respond(newEngine(next.Process, prisma(), besideUs(), sc))
			if (k.exit == nil) != (c.status == 0) || k.exit != nil && (k.exit.status != c.status || k.leg("prisma-airs-intercept", "request") == nil) {
				t.Errorf("%s, answer %d: %+v, access log %v", c.name, answer, k.exit, k.serialized)
			}
			if n := len(sc.seen(llm.ResponseLeg)); c.status != 0 && n != 0 {
				t.Errorf("%s: %d scans of the answer", c.name, n)
			}
			if next.metric("held_bytes") != 0 || w.metric("held_bytes") != 0 || next.metric("in_flight") != 0 {
				t.Errorf("%s: %v and %v bytes are held", c.name, w.metric("held_bytes"), next.metric("held_bytes"))
			}
		}
	}
}

// Where all requests have their verdict before they go on, a forgotten one is
// not scanned again.
func TestForgottenButJudged(t *testing.T) {
	w := newWorld(t)
	sc := &scanner{request: block}
	if k := chatRequest(t).respond(newEngine(w.Process, prisma(), strict(), sc)); k.exit != nil || len(sc.seen(llm.RequestLeg)) != 0 {
		t.Errorf("%+v, %d scans", k.exit, len(sc.seen(llm.RequestLeg)))
	}
}

// TestBesideDroppedRecord: a record that makes room for others takes its scan
// along, and the answer's event makes another.
func TestBesideDroppedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.Records = 1 })
		sc := &scanner{}
		gate := make(chan struct{})
		sc.request = gated(gate, block)
		e := newEngine(w.Process, prisma(), besideUs(), sc)
		first, second := chatRequest(t), chatRequest(t)
		second.requestID = "second"
		first.access(e)
		second.access(e)
		synctest.Wait()
		if n := w.metric("scans_running"); n != 1 {
			t.Errorf("%v scans run for one record", n)
		}
		close(gate)
		first.respond(e)
		second.respond(e)
		for _, k := range []*fakeKong{first, second} {
			if k.exit == nil || k.exit.status != 403 {
				t.Errorf("%+v", k.exit)
			}
		}
		if n := w.metric("legs_total", "request", "policy_block"); n != 2 {
			t.Errorf("%v blocks are counted", n)
		}
		if w.metric("held_bytes") != 0 || w.metric("records") != 0 {
			t.Errorf("%v bytes, %v records are left", w.metric("held_bytes"), w.metric("records"))
		}
	})
}

// TestBesideRunAgain: Kong runs the access event again when it lost the
// connection in it. The later scan decides, and the earlier one ends.
func TestBesideRunAgain(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				gate := make(chan struct{})
				ended := 0
				sc := &scanner{}
				sc.request = func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
					if len(sc.seen(llm.RequestLeg)) == 1 {
						if late {
							<-ctx.Done()
							ended++
							return scan.Verdict{}, ctx.Err()
						}
						return scan.Verdict{Action: scan.Allow}, nil
					}
					return gated(gate, block)(ctx, s)
				}
				e := newEngine(w.Process, prisma(), besideUs(), sc)
				k := chatRequest(t)
				if lost {
					k.breakAt = 2 // the last batch of the event
				}
				k.access(e)
				synctest.Wait()
				k.breakAt = 0
				k.access(e)
				synctest.Wait()
				if n := w.metric("scans_running"); n != 1 || late && ended != 1 {
					t.Errorf("lost %v, late %v: %v scans run, %d ended", lost, late, n, ended)
				}
				close(gate)
				k.respond(e)
				if k.exit == nil || k.exit.status != 403 {
					t.Errorf("lost %v, late %v: %+v", lost, late, k.exit)
				}
				if n := w.metric("legs_total", "request", "policy_block"); n != 1 {
					t.Errorf("%v blocks", n)
				}
				if w.metric("held_bytes") != 0 || w.metric("records") != 0 {
					t.Errorf("%v bytes, %v records are left", w.metric("held_bytes"), w.metric("records"))
				}
			})
		}
	}
}

// TestBesideNeverAnswered: a block is told although the answer's event never
// comes, soon and once, and nothing stays taken.
func TestBesideNeverAnswered(t *testing.T) {
	for _, blocked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			records := w.audited()
			sc := &scanner{}
			if blocked {
				sc.request = block
			}
			e := newEngine(w.Process, prisma(), besideUs(), sc)
			chatRequest(t).access(e)
			synctest.Wait()
			if w.metric("held_bytes") != 0 || w.metric("scans_running") != 0 {
				t.Errorf("%v bytes, %v scans are left", w.metric("held_bytes"), w.metric("scans_running"))
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			want := 0.0
			if blocked {
				want = 1
			}
			if n := w.metric("legs_total", "request", "policy_block"); n != want {
				t.Errorf("%v blocks are counted after a minute, want %v", n, want)
			}
			time.Sleep(guard.DefaultRecordAge)
			synctest.Wait()
			if w.metric("records") != 0 || w.metric("legs_total", "request") != 1 || w.metric("unscanned_answers_total") != 1 {
				t.Errorf("%v records, %v legs, %v unscanned answers", w.metric("records"), w.metric("legs_total", "request"), w.metric("unscanned_answers_total"))
			}
			told := 0
			for _, l := range w.noticed() {
				if strings.Contains(l.text, "request blocked") && l.level == "warn" && strings.Contains(l.text, `scan_id="scan-9"`) && strings.Contains(l.text, `service="llm"`) {
					told++
				}
			}
			if float64(told) != want {
				t.Errorf("told %d times, want %v", told, want)
			}
			if list := records(); len(list) != 1 || list[0].Leg != "request" || list[0].Transport != "phases" || (list[0].Action == "block") != blocked {
				t.Errorf("records %+v", list)
			}
		})
	}
}

// An answer that comes after its request's block was told of is refused all the
// same, and nothing is told twice.
func TestBesideAnsweredLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		records := w.audited()
		e := newEngine(w.Process, prisma(), besideUs(), &scanner{request: block})
		k := chatRequest(t).access(e)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if k.respond(e); k.exit == nil || k.exit.status != 403 || k.leg("prisma-airs-intercept", "request")["action"] != "block" {
			t.Fatalf("%+v, %v", k.exit, k.serialized)
		}
		if n := w.metric("legs_total", "request"); n != 1 || len(k.logs) != 1 || len(records()) != 1 {
			t.Errorf("%v legs, logged %v", n, k.logs)
		}
	})
}

// TestBesideEventEnds: an event that has no more time refuses, also while a
// scanner does not end with its context.
func TestBesideEventEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		gate := make(chan struct{})
		e := newEngine(w.Process, prisma(), besideUs(), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			<-gate
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		k := chatRequest(t).access(e)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		e.Response(ctx, k)
		if r := k.refusal(); k.exit.status != 503 || r.Error.Code != "guard_failure" {
			t.Errorf("answered %+v", k.exit)
		}
		close(gate)
		synctest.Wait()
		if w.metric("held_bytes") != 0 || w.metric("legs_total", "request") != 1 {
			t.Errorf("%v bytes held, %v legs", w.metric("held_bytes"), w.metric("legs_total", "request"))
		}
	})
}

// TestBesideFlushed: a process that ends breaks off what nobody will ask for.
func TestBesideFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		running := newEngine(w.Process, prisma(), besideUs(), &scanner{request: gated(shut, nil)})
		ended := newEngine(w.Process, prisma(), besideUs(), &scanner{request: block})
		one, other := chatRequest(t), chatRequest(t)
		other.requestID = "other"
		one.access(running)
		other.access(ended)
		synctest.Wait()
		w.Flush(context.Background())
		synctest.Wait()
		if w.metric("held_bytes") != 0 || w.metric("scans_running") != 0 || w.metric("legs_total", "request", "policy_block") != 1 {
			t.Errorf("%v bytes, %v scans are left, %v blocks", w.metric("held_bytes"), w.metric("scans_running"), w.metric("legs_total", "request", "policy_block"))
		}
	})
}

// TestBesideChained: with both plugins on the route, what either blocks is
// refused by the one that did, and only what both allow goes out.
func TestBesideChained(t *testing.T) {
	for bits := range 16 {
		w := newWorld(t)
		of := func(n int) func(context.Context, *scan.Scan) (scan.Verdict, error) {
			if bits&n != 0 {
				return block
			}
			return nil
		}
		first := newEngine(w.Process, prisma(), besideUs(), &scanner{request: of(1), response: of(2)})
		second := newEngine(w.Process, noma(), besideUs(), &scanner{request: of(4), response: of(8)})
		k := chatRequest(t).run(first, second)
		want := 0
		switch {
		case bits&3 != 0:
			want = 403
		case bits != 0:
			want = 400
		}
		if (k.exit == nil) != (want == 0) || k.exit != nil && k.exit.status != want {
			t.Errorf("%04b: %+v, want %d", bits, k.exit, want)
		}
		w.Flush(context.Background())
		w.settled()
	}
}

// TestBesideUnlikeBefore: what becomes of an exchange is the same as when the
// request waits, whatever it says and whatever the verdicts are.
func TestBesideUnlikeBefore(t *testing.T) {
	verdicts := map[string]func(context.Context, *scan.Scan) (scan.Verdict, error){
		"allow": nil, "block": block, "away": fails(&scan.Failure{Kind: scan.Unavailable}), "fault": fails(errors.New("x")),
	}
	for name, request := range verdicts {
		for other, response := range verdicts {
			for _, blocks := range []bool{true, false} {
				for _, v := range []vendor{prisma(), noma()} {
					one := func(beside bool) *fakeKong {
						w := newWorld(t)
						s := strict()
						s.PromptBeside, s.BlockFailures, s.BlockFailuresResponse = beside, blocks, blocks
						return chatRequest(t).run(newEngine(w.Process, v, s, &scanner{request: request, response: response}))
					}
					before, beside := one(false), one(true)
					same := (before.exit == nil) == (beside.exit == nil)
					if same && before.exit != nil {
						same = before.exit.status == beside.exit.status && before.exit.body == beside.exit.body
					}
					if !same {
						t.Errorf("%s, request %s, answer %s: before %+v, beside %+v", v.Plugin, name, other, before.exit, beside.exit)
					}
					for _, leg := range []string{"request", "response"} {
						if a, b := before.leg(v.Plugin, leg)["action"], beside.leg(v.Plugin, leg)["action"]; a != b {
							t.Errorf("%s, request %s, answer %s: %s is %v before, %v beside", v.Plugin, name, other, leg, a, b)
						}
					}
				}
			}
		}
	}
}

// TestManyBeside: exchanges at once, in every order of their ends, some of which
// are lost on the way. Each that is answered is answered by its own verdict.
func TestManyBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.Records, b.Scans = 40, 5000 })
		sc := &scanner{request: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
			select {
			case <-time.After(rand.N(3 * time.Second)):
			case <-ctx.Done():
				return scan.Verdict{}, ctx.Err()
			}
			if strings.Contains(s.Turns[0].Text, "bad") {
				return block(ctx, s)
			}
			return scan.Verdict{Action: scan.Allow}, nil
		}}
		e := newEngine(w.Process, noma(), besideUs(), sc)
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() {
				k := chatRequest(t)
				k.requestID = fmt.Sprint("request-", i)
				k.consumer.ID = fmt.Sprint("caller-", i%7)
				word := "good"
				if i%3 == 0 {
					word = "bad"
				}
				k.body = `{"messages":[{"role":"user","content":"` + word + strings.Repeat(" x", i) + `"}]}`
				time.Sleep(rand.N(20 * time.Second))
				if i%5 == 0 {
					k.breakAt = 2
				}
				k.access(e)
				k.breakAt = 0
				if i%10 == 0 {
					k.access(e)
				}
				if i%11 == 0 {
					return
				}
				time.Sleep(rand.N(4 * time.Second))
				if i%4 == 0 {
					k.status = 500
				}
				k.respond(e)
				if word == "bad" && (k.exit == nil || k.exit.status != 400) {
					t.Errorf("%d: a blocked prompt's answer: %+v", i, k.exit)
				}
				if word == "good" && k.exit != nil {
					t.Errorf("%d: %+v", i, k.exit)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.metric("held_bytes") != 0 || w.metric("scans_running") != 0 || w.metric("in_flight") != 0 {
			t.Errorf("%v bytes, %v scans, %v legs are left", w.metric("held_bytes"), w.metric("scans_running"), w.metric("in_flight"))
		}
	})
}

// TestBesideRoom: a scan that goes on keeps the memory that it takes, so that
// callers cannot pile up more than there is.
func TestBesideRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes, b.RoomWait = 192<<10, time.Millisecond })
		gate := make(chan struct{})
		e := newEngine(w.Process, prisma(), besideUs(), &scanner{request: gated(gate, verdict(scan.Verdict{Action: scan.Allow}))})
		var went []*fakeKong
		for i := range 6 {
			k := chatRequest(t)
			k.requestID = fmt.Sprint(i)
			k.body = `{"messages":[{"role":"user","content":"` + string(bytes.Repeat([]byte("word "), 5000)) + `"}]}`
			if k.access(e); k.exit == nil {
				went = append(went, k)
			} else if k.exit.status != 503 || k.refusal().Error.Code != "guard_overloaded" {
				t.Errorf("%+v", k.exit)
			}
		}
		if len(went) == 0 || len(went) == 6 {
			t.Errorf("%d of 6 went on", len(went))
		}
		close(gate)
		for _, k := range went {
			if k.respond(e); k.exit != nil {
				t.Errorf("%+v", k.exit)
			}
		}
		if w.metric("held_bytes") != 0 {
			t.Errorf("%v bytes are held", w.metric("held_bytes"))
		}
	})
}
