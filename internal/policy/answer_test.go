// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"net/http"
	"testing"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
)

// The truth table of plans: each combination of settings and requests is in
// exactly one row, and has that row's plan.
func TestPlanAnswer(t *testing.T) {
	const (
		no = iota
		yes
		any
	)
	const (
		plain   = iota // asks for no stream
		accepts        // would take nothing but an event stream
		stream         // asks for a stream in its body
		open           // a GET for an event stream
		all
		flows // accepts or stream
	)
	rows := []struct {
		mode                        policy.Mode
		keep, bufferMonitored, pass int
		request                     int
		want                        policy.AnswerPlan
	}{
		{policy.Off, no, any, any, all, policy.IgnoreAnswer},
		{policy.Off, yes, any, any, all, policy.KeepAnswer},
		{policy.Enforce, yes, any, any, all, policy.ScanAnswer},
		{policy.Enforce, no, any, any, open, policy.PassOpenStream},
		{policy.Enforce, no, any, any, plain, policy.ScanAnswer},
		{policy.Enforce, no, any, any, accepts, policy.ScanAnswer},
		{policy.Enforce, no, any, no, stream, policy.ScanAnswer},
		{policy.Enforce, no, any, yes, stream, policy.PassStream},
		{policy.Monitor, yes, any, any, all, policy.WatchAnswer},
		{policy.Monitor, no, any, any, open, policy.PassWatchedOpenStream},
		{policy.Monitor, no, any, any, plain, policy.WatchAnswer},
		{policy.Monitor, no, no, any, flows, policy.PassWatchedStream},
		{policy.Monitor, no, yes, any, accepts, policy.WatchAnswer},
		{policy.Monitor, no, yes, no, stream, policy.WatchAnswer},
		{policy.Monitor, no, yes, yes, stream, policy.PassUnscannedWatchedStream},
	}
	is := func(have bool, want int) bool { return want == any || have == (want == yes) }
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		for bits := range 8 {
			for request := plain; request <= open; request++ {
				s := policy.Settings{
					RequestMode: policy.Enforce, ResponseMode: mode,
					KeepBuffering: bits&1 != 0, BufferMonitoredStreams: bits&2 != 0, PassStreams: bits&4 != 0,
				}
				h := &policy.RequestHead{Method: http.MethodPost, Header: http.Header{}}
				in := &llm.Input{Path: "/v1/chat/completions", Body: []byte(`{"messages":[]}`)}
				switch request {
				case accepts:
					h.Header.Set("Accept", "text/event-stream")
				case stream:
					in.Body = []byte(`{"messages":[],"stream":true}`)
				case open:
					h.Method, in.Body = http.MethodGet, nil
					h.Header.Set("Accept", "application/json, text/event-stream")
				}
				name := fmt.Sprintf("%s keep=%v buffer=%v pass=%v request %d", mode, s.KeepBuffering, s.BufferMonitoredStreams, s.PassStreams, request)
				matches := 0
				for _, r := range rows {
					same := r.request == all || r.request == request || r.request == flows && (request == accepts || request == stream)
					if r.mode != mode || !is(s.KeepBuffering, r.keep) || !is(s.BufferMonitoredStreams, r.bufferMonitored) || !is(s.PassStreams, r.pass) || !same {
						continue
					}
					matches++
					if got := policy.PlanAnswer(&s, h, in, nil); got != r.want {
						t.Errorf("%s: plan %d, want %d", name, got, r.want)
					}
				}
				if matches != 1 {
					t.Errorf("%s: in %d rows", name, matches)
				}
			}
		}
	}
}

// What each plan says to Kong, and to whom else.
func TestPlansTable(t *testing.T) {
	for plan, want := range map[policy.AnswerPlan]struct {
		unseen    string
		buffering policy.Buffering
		ends      bool
	}{
		policy.ScanAnswer:                 {"", policy.BufferingSaid, false},
		policy.WatchAnswer:                {"", policy.BufferingHeld, false},
		policy.IgnoreAnswer:               {"", policy.BufferingReleasedIfFree, true},
		policy.KeepAnswer:                 {"", policy.BufferingSaid, true},
		policy.PassOpenStream:             {policy.ReasonEventStream, policy.BufferingReleased, true},
		policy.PassWatchedOpenStream:      {policy.ReasonEventStream, policy.BufferingAskedAndReleasedIfFree, true},
		policy.PassWatchedStream:          {policy.ReasonStream, policy.BufferingAskedAndReleasedIfFree, true},
		policy.PassStream:                 {policy.ReasonPassed, policy.BufferingRestored, true},
		policy.PassUnscannedWatchedStream: {policy.ReasonPassed, policy.BufferingAskedAndReleasedIfFree, true},
	} {
		if plan.Unseen() != want.unseen || plan.Buffering() != want.buffering || plan.Ends() != want.ends {
			t.Errorf("plan %d: %q, %d, %v", plan, plan.Unseen(), plan.Buffering(), plan.Ends())
		}
		if plan.Unseen() != "" && !plan.Ends() {
			t.Errorf("plan %d: an answer that is not looked at does not end the exchange", plan)
		}
	}
}

// An answer is let go unseen only where the configuration says so by name.
func TestStrictSettingsScanEachAnswer(t *testing.T) {
	s := policy.Settings{RequestMode: policy.Enforce, ResponseMode: policy.Enforce}
	for _, body := range []string{``, `{}`, `{"messages":[],"stream":true}`, `data: {}`} {
		h := &policy.RequestHead{Method: http.MethodPost, Header: http.Header{"Accept": {"text/event-stream"}}}
		if got := policy.PlanAnswer(&s, h, &llm.Input{Body: []byte(body)}, nil); got != policy.ScanAnswer {
			t.Errorf("%s: plan %d", body, got)
		}
	}
}
