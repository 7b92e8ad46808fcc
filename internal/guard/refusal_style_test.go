// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func asMessages() policy.Settings {
	s := strict()
	s.RefuseAsMessage = true
	return s
}

const refusedHeader = "X-AI-Guard-Refused"

// TestBlockAsMessage: through Kong's phases a block of either leg is a turn of
// the model's. Operators read of it what they read of any block.
func TestBlockAsMessage(t *testing.T) {
	for _, v := range []vendor{prisma(), noma()} {
		for _, c := range []struct {
			name, line, body string
			scanner          *scanner
			leg              int
			kind, text       string // where the answer says it, "" for an error
		}{
			{"a request", "", "", &scanner{request: block}, 0, "application/json", "choices.0.message.content"},
			{"an answer", "", "", &scanner{response: block}, 1, "application/json", "choices.0.message.content"},
			{"a streamed request", "", streamBody, &scanner{request: block}, 0, "text/event-stream", ""},
			{"an answer that was to be streamed", "", streamBody, &scanner{response: block}, 1, "text/event-stream", ""},
			{"Google's events", "POST /v1beta/models/m:streamGenerateContent?alt=sse HTTP/1.1", `{"contents":[{"parts":[{"text":"x"}]}]}`, &scanner{request: block}, 0, "text/event-stream", ""},
			{"Google's array", "POST /v1beta/models/m:streamGenerateContent?alt=json HTTP/1.1", `{"contents":[{"parts":[{"text":"x"}]}]}`, &scanner{request: block}, 0, "application/json", "0.candidates.0.content.parts.0.text"},
		} {
			t.Run(v.Plugin+"/"+c.name, func(t *testing.T) {
				w := newWorld(t)
				records := w.audited()
				k := chatRequest(t)
				if c.line != "" {
					k.line = c.line
				}
				if c.body != "" {
					k.body = c.body
				}
				k.run(newEngine(w.Process, v, asMessages(), c.scanner))
				if k.exit == nil || k.exit.status != http.StatusOK {
					t.Fatalf("got %+v", k.exit)
				}
				leg := []string{"request", "response"}[c.leg]
				if got := k.exit.header.Get(refusedHeader); got != v.Plugin+`; request_id="`+k.requestID+`"; scan_id="scan-9"` {
					t.Errorf("marked %q", got)
				}
				if got := k.exit.header.Get("Content-Type"); got != c.kind {
					t.Errorf("content type %q", got)
				}
				if c.text != "" && gjson.Get(k.exit.body, c.text).String() != v.BlockMessage[c.leg] || !strings.Contains(k.exit.body, v.BlockMessage[c.leg]) ||
					strings.Contains(k.exit.body, "France") || strings.Contains(k.exit.body, "Paris") || strings.Contains(k.exit.body, "policy_violation") {
					t.Errorf("body %s", k.exit.body)
				}
				if got := k.leg(v.Plugin, leg); got["action"] != "block" || got["reason"] != "policy_block" {
					t.Errorf("access log %v", got)
				}
				if w.metric("legs_total", leg, "enforce", "policy_block") != 1 || !contains(k.logged("warn"), "blocked") {
					t.Errorf("counted %v, logged %v", w.metric("legs_total", leg, "enforce", "policy_block"), k.logged("warn"))
				}
				list := slices.DeleteFunc(records(), func(r audit.Record) bool { return r.Plugin == asksForLines })
				if r := list[len(list)-1]; r.Leg != leg || r.Action != "block" || r.Outcome != "policy_block" {
					t.Errorf("audit record %+v", r)
				}
			})
		}
	}
}

// TestOtherRefusalsStayErrors: what could not be read or judged is not the
// model's to say.
func TestOtherRefusalsStayErrors(t *testing.T) {
	for _, c := range []struct {
		name, body string
		scanner    *scanner
		status     int
	}{
		{"no verdict", "", &scanner{request: fails(&scan.Failure{Kind: scan.Unavailable, Reason: "x"})}, 503},
		{"misconfigured", "", &scanner{request: fails(&scan.Failure{Kind: scan.Misconfigured, Reason: "x"})}, 503},
		{"no verdict on the answer", "", &scanner{response: fails(&scan.Failure{Kind: scan.Unavailable, Reason: "x"})}, 503},
		{"malformed", `{"messages":[{"role":"user","content":"x"}]`, &scanner{}, 400},
		{"no prompt", `{"messages":[]}`, &scanner{}, 403},
		{"no conversation", `{"prompt_of_nobody":"x"}`, &scanner{request: block}, 403},
	} {
		w := newWorld(t)
		k := chatRequest(t)
		if c.body != "" {
			k.body = c.body
		}
		k.run(newEngine(w.Process, prisma(), asMessages(), c.scanner))
		if k.exit == nil || k.exit.status != c.status || k.exit.header.Get(refusedHeader) != "" || k.refusal().Error.Code == "" {
			t.Errorf("%s: %+v", c.name, k.exit)
		}
	}
}

// TestRelayedBlockAsMessage: the relay answers a block in the same way.
func TestRelayedBlockAsMessage(t *testing.T) {
	for _, c := range []struct {
		name, body string
		scanner    *scanner
		said       string
		kind       string
	}{
		{"a request", "", &scanner{request: block}, "prompt blocked", "application/json"},
		{"a streamed request", streamBody, &scanner{request: block}, "prompt blocked", "text/event-stream"},
		{"an answer", "", &scanner{response: block}, "answer blocked", "application/json"},
		{"an answer that was to be streamed", streamBody, &scanner{response: block}, "answer blocked", "text/event-stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				rw.Header().Set("Content-Type", "application/json")
				rw.Header().Set("ETag", "abc")
				_, _ = rw.Write([]byte(`{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}]}`))
			})
			body := c.body
			if body == "" {
				body = `{"model":"gpt-4o","messages":[{"role":"user","content":"France?"}]}`
			}
			r := w.expect(newEngine(w.Process, prisma(), asMessages(), c.scanner), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(body))
			a := do(t, r)
			b, err := io.ReadAll(a.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := string(b)
			if a.StatusCode != http.StatusOK || !strings.HasPrefix(a.Header.Get(refusedHeader), "prisma-airs-intercept; ") || a.Header.Get("Content-Type") != c.kind || a.Header.Get("ETag") != "" {
				t.Errorf("%d %v", a.StatusCode, a.Header)
			}
			if a.ContentLength != int64(len(got)) || !strings.Contains(got, c.said) || strings.Contains(got, "Paris") || strings.Contains(got, "France") {
				t.Errorf("body %q", got)
			}
			if shown := a.Header.Get("X-Pad"); !strings.Contains(shown, "=block;reason=policy_block") {
				t.Errorf("verdicts %q", shown)
			}
		})
	}
}

// TestStreamEndsAsMessage: a stream that has begun ends with the model's last
// words, as a whole turn, and not with an error.
func TestStreamEndsAsMessage(t *testing.T) {
	w := newWorld(t)
	l := stream(t, script{scanner: blocks("SECRET"), settings: asMessages(), world: w})
	l.says(roleEvent, delta("fine "))
	l.sees(delta("fine "))
	l.says(delta("the SECRET"), finishEvent, doneEvent)
	got, err := l.all()
	rest, ok := strings.CutPrefix(got, roleEvent+delta("fine "))
	if !ok || err != nil || strings.Contains(got, "SECRET") || strings.Contains(got, "policy_violation") {
		t.Fatalf("got %q, %v", got, err)
	}
	events := strings.Split(strings.TrimSuffix(rest, "\n\n"), "\n\n")
	if len(events) != 3 || events[2] != "data: [DONE]" {
		t.Fatalf("ends with %q", events)
	}
	words, end := gjson.Parse(strings.TrimPrefix(events[0], "data: ")), gjson.Parse(strings.TrimPrefix(events[1], "data: "))
	if words.Get("id").Str != "chatcmpl-1" || words.Get("choices.0.delta.content").Str != "\n\nanswer blocked" || end.Get("choices.0.finish_reason").Str != "stop" {
		t.Errorf("ends with %q", events)
	}
	<-l.gone
	within(t, "the leg to be counted", func() bool { return w.metric("legs_total", "response", "enforce", "policy_block") == 1 })
	w.settled()
	if n := w.metric("relayed_total", "cut"); n != 1 {
		t.Errorf("%v were cut", n)
	}
}

// failsAt is a scanner's leg that gives no verdict on what holds a word.
func failsAt(word string) func(context.Context, *scan.Scan) (scan.Verdict, error) {
	return func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
		for i := range s.Turns {
			if strings.Contains(s.Turns[i].Text, word) {
				return scan.Verdict{}, &scan.Failure{Kind: scan.Unavailable, Reason: "x"}
			}
		}
		return scan.Verdict{Action: scan.Allow}, nil
	}
}

// TestStreamFailureStaysAnError: no verdict in mid-stream is not the model's
// last word.
func TestStreamFailureStaysAnError(t *testing.T) {
	l := stream(t, script{settings: asMessages(), scanner: &scanner{response: failsAt("SECRET")}})
	l.says(roleEvent, delta("fine "))
	l.sees(delta("fine "))
	l.says(delta("the SECRET"), finishEvent, doneEvent)
	got, _ := l.all()
	if !strings.Contains(got, "scan_unavailable") || strings.Contains(got, "[DONE]") {
		t.Errorf("got %q", got)
	}
}

// TestBlocksOfAnthropicsStream: the last words are a block behind those that
// have gone out.
func TestBlocksOfAnthropicsStream(t *testing.T) {
	event := func(data string) string {
		return "event: " + gjson.Get(data, "type").Str + "\ndata: " + data + "\n\n"
	}
	l := stream(t, script{
		scanner: blocks("SECRET"), settings: asMessages(), path: "/v1/messages",
		body: `{"model":"claude-sonnet-4-5","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}`,
	})
	first := []string{
		event(`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}`),
		event(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`),
		event(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"fine "}}`),
	}
	l.says(first...)
	l.sees("fine ")
	l.says(event(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"the SECRET"}}`), event(`{"type":"content_block_stop","index":0}`))
	l.ends()
	got, err := l.all()
	rest, ok := strings.CutPrefix(got, strings.Join(first, ""))
	if !ok || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	var types []string
	for part := range strings.SplitSeq(strings.TrimSuffix(rest, "\n\n"), "\n\n") {
		_, data, _ := strings.Cut(part, "\ndata: ")
		types = append(types, gjson.Get(data, "type").Str+" "+gjson.Get(data, "index").Raw)
	}
	if want := []string{"content_block_stop 0", "content_block_start 1", "content_block_delta 1", "content_block_stop 1", "message_delta ", "message_stop "}; !slices.Equal(types, want) {
		t.Errorf("ends with %q", types)
	}
}
