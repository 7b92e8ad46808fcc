// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// Each row of the policy's table of outcomes, on both legs: what comes in or
// what the service says, and what the client gets.
func TestEachOutcomeOnBothLegs(t *testing.T) {
	type want struct {
		status  int // 0: the exchange goes on
		code    string
		message string
		action  string
		reason  string
		level   string // of the line in Kong's log, "" for none
		retry   string
		scanID  string
		notice  string // of the process, "" for none
	}
	unavailable := fails(&scan.Failure{Kind: scan.Unavailable, Reason: "status 429", RetryAfter: 1500 * time.Millisecond})
	cases := []struct {
		name      string
		settings  func(*policy.Settings)
		vendor    func(*vendor)
		kong      func(*fakeKong) // for both legs
		requestIn func(*fakeKong)
		answerIn  func(*fakeKong)
		scan      func(context.Context, *scan.Scan) (scan.Verdict, error)
		request   want
		response  want
		// phasesOnly is a case that only Kong's phases can have.
		phasesOnly bool
	}{
		{
			name:     "allow",
			request:  want{action: "allow", scanID: "scan-1"},
			response: want{action: "allow", scanID: "scan-1"},
		},
		{
			name: "policy block", scan: block,
			request:  want{403, "policy_violation", "prompt blocked", "block", "policy_block", "warn", "", "scan-9", ""},
			response: want{403, "policy_violation", "answer blocked", "block", "policy_block", "warn", "", "scan-9", ""},
		},
		{
			name: "policy block of the other vendor", scan: block,
			vendor: func(v *vendor) {
				other := noma()
				v.BlockStatus, v.BlockMessage = other.BlockStatus, other.BlockMessage
			},
			request:  want{400, "policy_violation", "Request blocked by Noma guardrail", "block", "policy_block", "warn", "", "scan-9", ""},
			response: want{400, "policy_violation", "Response blocked by Noma guardrail", "block", "policy_block", "warn", "", "scan-9", ""},
		},
		{
			name:      "missing prompt: a conversation of nothing",
			requestIn: func(k *fakeKong) { k.body = `{"model":"m","messages":[]}` },
			request:   want{403, "missing_prompt", "The request holds no prompt that could be checked", "block", "missing_prompt", "warn", "", "", ""},
		},
		{
			name:      "missing prompt: an empty object",
			requestIn: func(k *fakeKong) { k.body = " { }\n" },
			request:   want{403, "missing_prompt", "", "block", "missing_prompt", "warn", "", "", ""},
		},
		{
			name:      "missing prompt: an empty object under compression",
			requestIn: func(k *fakeKong) { k.body = gz("{}"); k.set("content-encoding", "gzip") },
			request:   want{403, "missing_prompt", "", "block", "missing_prompt", "warn", "", "", ""},
		},
		{
			name:      "an empty object where the vendor does not ask for a prompt",
			vendor:    func(v *vendor) { v.RefuseMissingPrompt = false },
			requestIn: func(k *fakeKong) { k.body = "{}" },
			request:   want{action: "allow", reason: "nothing_to_scan"},
		},
		{
			name:      "an MCP notification is no missing prompt",
			requestIn: func(k *fakeKong) { k.body = `{"jsonrpc":"2.0","method":"notifications/initialized"}` },
			request:   want{action: "allow", reason: "nothing_to_scan"},
		},
		{
			name:      "an empty body",
			requestIn: func(k *fakeKong) { k.body = "" },
			answerIn:  func(k *fakeKong) { k.answer, k.status = "", 204 },
			request:   want{action: "allow", reason: "nothing_to_scan"},
			response:  want{action: "allow", reason: "nothing_to_scan"},
		},
		{
			name:      "malformed",
			requestIn: func(k *fakeKong) { k.body = `{"messages":[{"role":"user","content":"a","content":"b"}]}` },
			answerIn:  func(k *fakeKong) { k.answer = `{"choices":[],` },
			request:   want{400, "malformed_body", "The request body is malformed", "refuse", "malformed", "warn", "", "", ""},
			response:  want{502, "malformed_body", "The answer of the upstream is malformed", "refuse", "malformed", "warn", "", "", ""},
		},
		{
			name:      "ambiguous: two content types",
			requestIn: func(k *fakeKong) { k.headers = append(k.headers, [2]string{"content-type", "text/plain"}) },
			request:   want{400, "ambiguous_request", "", "refuse", "ambiguous", "warn", "", "", ""},
		},
		{
			name: "ambiguous: two content encodings",
			requestIn: func(k *fakeKong) {
				k.headers = append(k.headers, [2]string{"content-encoding", "identity"}, [2]string{"content-encoding", "gzip"})
			},
			request: want{400, "ambiguous_request", "", "refuse", "ambiguous", "warn", "", "", ""},
		},
		{
			name: "ambiguous: more headers than Kong shows", phasesOnly: true,
			requestIn: func(k *fakeKong) {
				for i := range 1000 {
					k.headers = append(k.headers, [2]string{fmt.Sprintf("x-%d", i), "1"})
				}
			},
			request: want{400, "ambiguous_request", "", "refuse", "ambiguous", "warn", "", "", ""},
		},
		{
			name:     "too large",
			settings: func(s *policy.Settings) { s.MaxRequestBytes, s.MaxResponseBytes = 2000, 2000 },
			requestIn: func(k *fakeKong) {
				k.body = `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 2000) + `"}]}`
			},
			answerIn: func(k *fakeKong) { k.answer = strings.Repeat("x", 2001) },
			request:  want{413, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
			response: want{502, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
		},
		{
			name:     "too large once decompressed",
			settings: func(s *policy.Settings) { s.MaxRequestBytes, s.MaxResponseBytes = 2000, 2000 },
			requestIn: func(k *fakeKong) {
				k.body = gz(`{"messages":[{"role":"user","content":"` + strings.Repeat("abcdefgh", 400) + `"}]}`)
				k.set("content-encoding", "gzip")
			},
			answerIn: func(k *fakeKong) {
				k.answer = gz(strings.Repeat("abcdefgh", 400))
				k.answerHeader["content-encoding"] = "gzip"
			},
			request:  want{413, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
			response: want{502, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
		},
		{
			name: "too large for a frame", phasesOnly: true,
			requestIn: func(k *fakeKong) { k.replyErr = map[string]error{"kong.request.get_raw_body": pdk.ErrTooLarge} },
			answerIn: func(k *fakeKong) {
				k.replyErr = map[string]error{"kong.service.response.get_raw_body": pdk.ErrTooLarge}
			},
			request:  want{413, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
			response: want{502, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
		},
		{
			name: "too large for the service", scan: fails(&scan.Failure{Kind: scan.TooLarge, Reason: "pieces"}),
			request:  want{413, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
			response: want{502, "body_too_large", "", "refuse", "too_large", "warn", "", "", ""},
		},
		{
			name:      "unscannable encoding",
			requestIn: func(k *fakeKong) { k.set("content-encoding", "rot13") },
			answerIn:  func(k *fakeKong) { k.answerHeader["content-encoding"] = "rot13" },
			request:   want{415, "unscannable_body", "", "refuse", "unscannable", "warn", "", "", ""},
			response:  want{502, "unscannable_body", "", "refuse", "unscannable", "warn", "", "", ""},
		},
		{
			name:      "unscannable protocol",
			requestIn: func(k *fakeKong) { k.set("content-type", "Application/gRPC-web+proto"); k.body = "" },
			answerIn:  func(k *fakeKong) { k.answerHeader["content-type"] = "application/grpc" },
			request:   want{415, "unscannable_body", "", "refuse", "unscannable", "warn", "", "", ""},
			response:  want{502, "unscannable_body", "", "refuse", "unscannable", "warn", "", "", ""},
		},
		{
			name:      "unscannable that is let pass",
			settings:  func(s *policy.Settings) { s.AllowUnscannable = true },
			requestIn: func(k *fakeKong) { k.set("content-encoding", "rot13") },
			answerIn:  func(k *fakeKong) { k.answerHeader["content-encoding"] = "rot13" },
			request:   want{action: "unscanned", reason: "unscannable", level: "warn"},
			response:  want{action: "unscanned", reason: "unscannable", level: "warn"},
		},
		{
			name:     "media that are not allowed",
			settings: func(s *policy.Settings) { s.BlockMedia, s.AllowUnscannable = true, true },
			requestIn: func(k *fakeKong) {
				k.body = `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]}`
			},
			request: want{415, "media_not_allowed", "", "refuse", "media_refused", "warn", "", "", ""},
		},
		{
			name: "media alone are no missing prompt",
			requestIn: func(k *fakeKong) {
				k.body = `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]}`
			},
			request: want{action: "allow", reason: "nothing_to_scan", notice: "media that the scan service does not judge"},
		},
		{
			name:      "stored context that is not allowed",
			settings:  func(s *policy.Settings) { s.BlockStoredContext, s.AllowUnscannable = true, true },
			requestIn: func(k *fakeKong) { k.body = `{"model":"m","input":"Why?","previous_response_id":"resp_1"}` },
			request: want{
				403, "stored_context_not_allowed", "The request refers to stored content, which cannot be checked and is not allowed here: previous_response",
				"refuse", "stored_context_refused", "warn", "", "", "",
			},
		},
		{
			name:      "upgrade to WebSocket",
			requestIn: func(k *fakeKong) { k.set("upgrade", "WebSocket") },
			request:   want{415, "upgrade_not_supported", "", "refuse", "upgrade_refused", "warn", "", "", ""},
		},
		{
			name: "HTTP/2 where the gateway would not show the answer", phasesOnly: true,
			settings:  func(s *policy.Settings) { s.RefuseHTTP2 = true },
			requestIn: func(k *fakeKong) { k.line = "POST /v1/chat/completions?HTTP/1.1 HTTP/2.0" },
			request:   want{505, "http2_not_supported", "", "refuse", "http2_refused", "warn", "", "", ""},
		},
		{
			name: "an event stream by GET", phasesOnly: true,
			requestIn: func(k *fakeKong) { k.line = "GET /events HTTP/1.1"; k.body = ""; k.set("accept", "text/event-stream") },
			request:   want{405, "event_stream_not_supported", "", "refuse", "event_stream_refused", "warn", "", "", ""},
		},
		{
			name: "no verdict", scan: unavailable,
			request:  want{503, "scan_unavailable", "", "refuse", "no_verdict", "err", "2", "", ""},
			response: want{503, "scan_unavailable", "", "refuse", "no_verdict", "err", "2", "", ""},
		},
		{
			name: "no verdict that is let pass", scan: unavailable,
			settings: func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false },
			request:  want{action: "unscanned", reason: "no_verdict", level: "err"},
			response: want{action: "unscanned", reason: "no_verdict", level: "err"},
		},
		{
			name: "a degraded verdict", scan: fails(&scan.Failure{Kind: scan.Degraded, Reason: "verdict incomplete"}),
			request:  want{503, "scan_unavailable", "", "refuse", "degraded_verdict", "err", "5", "", ""},
			response: want{503, "scan_unavailable", "", "refuse", "degraded_verdict", "err", "5", "", ""},
		},
		{
			name: "a degraded verdict never passes", scan: fails(&scan.Failure{Kind: scan.Degraded, Reason: "verdict incomplete"}),
			settings: func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false },
			request:  want{503, "scan_unavailable", "", "refuse", "degraded_verdict", "err", "5", "", ""},
			response: want{503, "scan_unavailable", "", "refuse", "degraded_verdict", "err", "5", "", ""},
		},
		{
			name: "misconfigured", scan: fails(&scan.Failure{Kind: scan.Misconfigured, Reason: "status 403", Hint: "api_key"}),
			settings: func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false },
			request:  want{503, "scan_misconfigured", "", "refuse", "misconfigured", "err", "", "", ""},
			response: want{503, "scan_misconfigured", "", "refuse", "misconfigured", "err", "", "", ""},
		},
		{
			name:     "own fault: a panic",
			scan:     func(context.Context, *scan.Scan) (scan.Verdict, error) { panic("secret prompt") },
			settings: func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false },
			request:  want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
			response: want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
		},
		{
			name: "own fault: an error nobody classed", scan: fails(errors.New("secret prompt")),
			settings: func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false },
			request:  want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
			response: want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
		},
		{
			name: "own fault: a verdict nobody filled in", scan: verdict(scan.Verdict{}),
			settings: func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false },
			request:  want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
			response: want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
		},
		{
			name: "own fault: a body that Kong could not read", phasesOnly: true,
			requestIn: func(k *fakeKong) { k.bodyError = "request body is too large" },
			request:   want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
		},
		{
			name: "own fault: a body file that is not there", phasesOnly: true,
			requestIn: func(k *fakeKong) { k.bodyFile = "/no/such/file" },
			request:   want{503, "guard_failure", "", "refuse", "own_fault", "err", "", "", ""},
		},
		{
			name: "out of room", phasesOnly: true,
			requestIn: func(k *fakeKong) { k.replyErr = map[string]error{"kong.request.get_raw_body": pdk.ErrNoRoom} },
			answerIn:  func(k *fakeKong) { k.replyErr = map[string]error{"kong.service.response.get_raw_body": pdk.ErrNoRoom} },
			settings:  func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false },
			request:   want{503, "guard_overloaded", "", "refuse", "no_room", "err", "5", "", ""},
			response:  want{503, "guard_overloaded", "", "refuse", "no_room", "err", "5", "", ""},
		},
		{
			name:     "an upstream's error",
			answerIn: func(k *fakeKong) { k.status, k.answer = 429, `{"error":{"message":"slow down"}}` },
			scan:     block,
			response: want{action: "unscanned", reason: "error answer"},
		},
		{
			name:     "an upstream's error that is scanned",
			settings: func(s *policy.Settings) { s.ScanErrorAnswers = true },
			answerIn: func(k *fakeKong) { k.status, k.answer = 429, `{"error":{"message":"slow down"}}` },
			scan:     block,
			response: want{403, "policy_violation", "answer blocked", "block", "policy_block", "warn", "", "scan-9", ""},
		},
	}
	check := func(t *testing.T, k *fakeKong, leg string, w want) {
		t.Helper()
		if w.status == 0 {
			if k.exit != nil {
				t.Fatalf("refused with %d %s", k.exit.status, k.exit.body)
			}
			if k.upstreamBody != nil {
				t.Error("the request was rewritten")
			}
		} else {
			r := k.refusal()
			if k.exit.status != w.status || r.Error.Code != w.code {
				t.Errorf("answered %d %s, want %d %s", k.exit.status, k.exit.body, w.status, w.code)
			}
			if !strings.HasPrefix(r.Message, w.message) || r.Message == "" || r.Error.Message != r.Message {
				t.Errorf("message %q, in error %q, want %q", r.Message, r.Error.Message, w.message)
			}
			if r.RequestID != k.requestID || r.ScanID != w.scanID {
				t.Errorf("request id %q, scan id %q", r.RequestID, r.ScanID)
			}
			h := k.exit.header
			if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Retry-After") != w.retry {
				t.Errorf("header %v", h)
			}
			if got, want := h.Get("X-Should-Retry"), leg == "response" && w.retry != ""; (got == "false") != want {
				t.Errorf("x-should-retry is %q", got)
			}
			for _, detector := range []string{"prompt_injection", "dlp", "malicious", "strict", "R-9"} {
				if strings.Contains(k.exit.body, detector) {
					t.Errorf("the client is told %q: %s", detector, k.exit.body)
				}
			}
			wantCleared := leg == "response"
			if got := strings.Join(k.clearedAnswer, " "); (got == "content-encoding etag last-modified content-md5 digest content-digest repr-digest content-range accept-ranges content-disposition") != wantCleared {
				t.Errorf("cleared %q", got)
			}
		}
		if w.notice != "" {
			if len(k.logs) != 1 || k.logs[0].level != "warn" || !strings.HasPrefix(k.logs[0].text, "PREFIX "+w.notice) {
				t.Errorf("logged %v, want the notice", k.logs)
			}
		} else if w.level == "" && len(k.logs) > 0 {
			t.Errorf("logged %v", k.logs)
		}
		if w.level != "" && (len(k.logs) != 1 || k.logs[0].level != w.level || !strings.HasPrefix(k.logs[0].text, "SecurePrismaAIRS "+leg+" ")) {
			t.Errorf("logged %v, want one line at %s", k.logs, w.level)
		}
		if k.serializeCalls != 1 {
			t.Errorf("%d access log calls", k.serializeCalls)
		}
		l := k.leg("prisma-airs-intercept", leg)
		if l["action"] != w.action || orEmpty(l["reason"]) != w.reason || orEmpty(l["scan_id"]) != w.scanID {
			t.Errorf("access log %v", k.serialized)
		}
		if _, ok := l["latency_ms"].(float64); !ok {
			t.Errorf("access log %v", k.serialized)
		}
	}
	recorded := func(t *testing.T, by string, list []audit.Record, leg string, w want) {
		t.Helper()
		var found []audit.Record
		for _, r := range list {
			if r.Leg == leg {
				found = append(found, r)
			}
		}
		if len(found) != 1 || w.status != 0 && list[len(list)-1].Leg != leg {
			t.Fatalf("audit log %+v", list)
		}
		r := found[0]
		outcome := w.reason
		switch {
		case w.action == "unscanned" && r.Outcome == "unscanned": // it was not to be judged
			outcome = "unscanned"
			if r.Reason != w.reason {
				t.Errorf("audit record %+v, want the reason %s", r, w.reason)
			}
		case w.reason == "":
			outcome = w.action
		}
		if r.Action != w.action || r.Outcome != outcome || r.ScanID != w.scanID || r.Mode != "enforce" || r.Transport != by ||
			r.Plugin != "prisma-airs-intercept" || (r.Characters > 0) != (r.Scans > 0) && r.Outcome != "nothing_to_scan" {
			t.Errorf("audit record %+v, want %+v", r, w)
		}
	}
	for _, c := range cases {
		settings, vendor := strict(), prisma()
		if c.settings != nil {
			c.settings(&settings)
		}
		if c.vendor != nil {
			c.vendor(&vendor)
		}
		run := func(t *testing.T, by transport, change func(*fakeKong), s *scanner) *fakeKong {
			w := newWorld(t)
			records := w.audited()
			k := chatRequest(t)
			if change != nil {
				change(k)
			}
			by.run(w, k, newEngine(w.Process, vendor, settings, s))
			k.records = records()
			if held := w.metric("held_bytes"); held != 0 {
				t.Errorf("%v bytes of room are still held", held)
			}
			if strings.Contains(k.allLogs()+w.stderr.String(), "secret") {
				t.Errorf("what a panic or an error said was logged: %s%s", k.allLogs(), w.stderr.String())
			}
			return k
		}
		for _, by := range transports {
			if by.name == "relay" && c.phasesOnly {
				continue
			}
			if c.request.action != "" {
				t.Run(by.name+"/"+c.name+"/request", func(t *testing.T) {
					k := run(t, by, c.requestIn, &scanner{request: c.scan})
					check(t, k, "request", c.request)
					recorded(t, by.name, k.records, "request", c.request)
				})
			}
			if c.response.action != "" {
				t.Run(by.name+"/"+c.name+"/response", func(t *testing.T) {
					k := run(t, by, c.answerIn, &scanner{response: c.scan})
					check(t, k, "response", c.response)
					recorded(t, by.name, k.records, "response", c.response)
				})
			}
		}
	}
}

func orEmpty(v any) string {
	s, _ := v.(string)
	return s
}

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// Details stand in the answer to a block, and in no other.
func TestDetails(t *testing.T) {
	details := []byte(`{"prompt":{"x":{"result":true}}}`)
	for _, c := range []struct {
		name string
		scan func(context.Context, *scan.Scan) (scan.Verdict, error)
		want string
	}{
		{"block", verdict(scan.Verdict{Action: scan.Block, Details: details}), string(details)},
		{"block without", verdict(scan.Verdict{Action: scan.Block}), ""},
		{"no action", verdict(scan.Verdict{Details: details}), ""},
	} {
		for _, by := range transports {
			w := newWorld(t)
			k := chatRequest(t)
			by.run(w, k, newEngine(w.Process, noma(), strict(), &scanner{request: c.scan}))
			if got := gjson.Get(k.exit.body, "error.details").Raw; got != c.want {
				t.Errorf("%s, %s: details %q in %s", by.name, c.name, got, k.exit.body)
			}
		}
	}
}

const (
	requestMark  = "ai_guard:prisma-airs-intercept:request"
	responseMark = "ai_guard:prisma-airs-intercept:response"
)

// A leg has its mark exactly when nothing can go wrong with it any more.
func TestMarks(t *testing.T) {
	stream := func(k *fakeKong) {
		k.body = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`
	}
	for _, c := range []struct {
		name              string
		request, response policy.Mode
		change            func(*fakeKong)
		scan              *scanner
		access, all       []string // marks after the access phase and at the end
	}{
		{"both legs", policy.Enforce, policy.Enforce, nil, &scanner{}, []string{requestMark}, []string{requestMark, responseMark}},
		{"monitored", policy.Monitor, policy.Monitor, nil, &scanner{}, []string{requestMark}, []string{requestMark, responseMark}},
		{"an answer that is not looked at", policy.Enforce, policy.Off, nil, &scanner{}, []string{requestMark, responseMark}, []string{requestMark, responseMark}},
		{"a stream that is let go", policy.Enforce, policy.Monitor, stream, &scanner{}, []string{requestMark, responseMark}, []string{requestMark, responseMark}},
		{"a request that is not looked at", policy.Off, policy.Enforce, nil, &scanner{}, []string{requestMark}, []string{requestMark, responseMark}},
		{"nothing is looked at", policy.Off, policy.Off, nil, &scanner{}, []string{requestMark, responseMark}, []string{requestMark, responseMark}},
		{"a refused request", policy.Enforce, policy.Enforce, nil, &scanner{request: block}, nil, nil},
		{"a refused answer", policy.Enforce, policy.Enforce, nil, &scanner{response: block}, []string{requestMark}, []string{requestMark}},
		{"a connection that is lost before the end", policy.Enforce, policy.Enforce, func(k *fakeKong) { k.breakAt = 2 }, &scanner{}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := modes(c.request, c.response)
			s.MarkRequests = true
			e := newEngine(newWorld(t).Process, prisma(), s, c.scan)
			k := chatRequest(t)
			if c.change != nil {
				c.change(k)
			}
			k.access(e)
			marks := func() []string { return slices.Sorted(maps.Keys(k.shared)) }
			if diff := cmp.Diff(c.access, marks()); diff != "" {
				t.Errorf("after access (-want +got):\n%s", diff)
			}
			k.breakAt = 0
			if k.exit == nil && k.buffered() && c.all != nil {
				k.respond(e)
			}
			if diff := cmp.Diff(c.all, marks()); diff != "" {
				t.Errorf("at the end (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMarksCostNothingUnlessAskedFor(t *testing.T) {
	k := chatRequest(t).run(newEngine(newWorld(t).Process, prisma(), strict(), &scanner{}))
	if n := k.count("kong.ctx.shared.set"); n != 0 || len(k.shared) != 0 {
		t.Errorf("%d calls, marks %v", n, k.shared)
	}
}

func TestAPartialVerdictIsNoAllow(t *testing.T) {
	for _, by := range transports {
		w := newWorld(t)
		s := &scanner{response: verdict(scan.Verdict{Action: scan.Allow, ScanID: "scan-9", Partial: true})}
		k := chatRequest(t)
		by.run(w, k, newEngine(w.Process, prisma(), strict(), s))
		leg := k.leg("prisma-airs-intercept", "response")
		if k.exit != nil || leg["action"] != "unscanned" || leg["reason"] != "too_large" || !contains(k.logged("warn"), "passed unscanned") {
			t.Errorf("%s: %v, %v, %s", by.name, k.exit, leg, k.allLogs())
		}
		if n := w.metric("unscanned_total", "response", "too_large"); n != 1 {
			t.Errorf("%s: counted %v times", by.name, n)
		}
	}
}

func TestRefusalsSpeakTheCalledAPI(t *testing.T) {
	for _, c := range []struct{ line, body, want string }{
		{"POST /v1/messages HTTP/1.1", `{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}`, `{"type":"error","error":{`},
		{"POST /v1/messages HTTP/1.1", `{"a":1,"a":2}`, `{"type":"error","error":{`},
		{"POST /mcp HTTP/1.1", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}`, `{"jsonrpc":"2.0","id":7,"error":{"code":-31001`},
		{"POST /anything HTTP/1.1", `{"messages":[{"role":"user","content":"hi"}]}`, `{"error":{`},
	} {
		for _, leg := range []string{"request", "response"} {
			if leg == "response" && strings.HasPrefix(c.body, `{"a"`) {
				continue
			}
			sc := &scanner{request: block}
			if leg == "response" {
				sc = &scanner{response: block}
			}
			for _, by := range transports {
				w := newWorld(t)
				k := chatRequest(t)
				k.line, k.body = c.line, c.body
				if strings.Contains(c.body, "jsonrpc") {
					k.status, k.answer = 400, `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"out"}]}}`
				}
				by.run(w, k, newEngine(w.Process, prisma(), strict(), sc))
				if k.exit == nil || !strings.HasPrefix(k.exit.body, c.want) {
					t.Errorf("%s, %s of %s: %+v", by.name, leg, c.body, k.exit)
				}
			}
		}
	}
}
