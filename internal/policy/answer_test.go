// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
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
		policy.RefuseListen:               {"", policy.BufferingSaid, true},
		policy.PassListen:                 {policy.ReasonListen, policy.BufferingRestored, true},
		policy.PassWatchedListen:          {policy.ReasonListen, policy.BufferingAskedAndReleasedIfFree, true},
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

// A subscription never waits for an end that does not come, and flows unseen
// only where streams that stay open may. What comes with other calls, or is a
// subscription for some servers only, never does.
func TestPlanListen(t *testing.T) {
	const (
		alone  = `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{}}}`
		batch  = `[{"jsonrpc":"2.0","id":1,"method":"tools/list"},` + alone + `]`
		spelt  = `{"jsonrpc":"2.0","id":1,"Method":"subscriptions/listen"}`
		twice  = `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"subscriptions/listen"}`
		around = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"subscriptions/listen","method":"subscriptions/listen"}}`
	)
	type row struct {
		mode       policy.Mode
		keep, pass bool
		body       string
		want       policy.AnswerPlan
	}
	var rows []row
	for _, pass := range []bool{false, true} {
		for _, body := range []string{alone, batch, spelt, twice, around} {
			rows = append(rows, row{policy.Off, false, pass, body, policy.IgnoreAnswer}, row{policy.Off, true, pass, body, policy.KeepAnswer})
		}
		for _, keep := range []bool{false, true} {
			for _, body := range []string{batch, spelt} {
				rows = append(rows, row{policy.Enforce, keep, pass, body, policy.RefuseListen}, row{policy.Monitor, keep, pass, body, policy.WatchAnswer})
			}
			for _, body := range []string{twice, around} {
				rows = append(rows, row{policy.Enforce, keep, pass, body, policy.ScanAnswer}, row{policy.Monitor, keep, pass, body, policy.WatchAnswer})
			}
		}
		rows = append(rows, row{policy.Enforce, true, pass, alone, policy.RefuseListen}, row{policy.Monitor, true, pass, alone, policy.RefuseListen},
			row{policy.Monitor, false, pass, alone, policy.PassWatchedListen})
	}
	rows = append(rows, row{policy.Enforce, false, false, alone, policy.RefuseListen}, row{policy.Enforce, false, true, alone, policy.PassListen})
	for _, r := range rows {
		for _, header := range []http.Header{
			{"Accept": {"application/json, text/event-stream"}},
			{"Accept": {"application/json, text/event-stream"}, "Mcp-Method": {"tools/list"}},
		} {
			s := policy.Settings{RequestMode: policy.Enforce, ResponseMode: r.mode, KeepBuffering: r.keep, PassMCPGetStream: r.pass}
			in := &llm.Input{Leg: llm.RequestLeg, Path: "/mcp", Body: []byte(r.body)}
			h := &policy.RequestHead{Method: http.MethodPost, Header: header}
			if got := policy.PlanAnswer(&s, h, in, nil); got != r.want {
				t.Errorf("%s keep=%v pass=%v, unread %s: plan %d, want %d", r.mode, r.keep, r.pass, r.body, got, r.want)
			}
			m, err := llm.Read(*in, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: llm.DefaultDepth})
			if err != nil {
				if r.body != twice {
					t.Errorf("%s: %v", r.body, err)
				}
				continue
			}
			if got := policy.PlanAnswer(&s, h, in, m); got != r.want {
				t.Errorf("%s keep=%v pass=%v, read %s: plan %d, want %d", r.mode, r.keep, r.pass, r.body, got, r.want)
			}
			if got := policy.PlanRelayed(&s, in, m); got.Unseen() != "" {
				t.Errorf("%s: relayed with plan %d", r.body, got)
			}
		}
	}
}

// The header that names a method decides nothing.
func TestMethodHeaderDecidesNothing(t *testing.T) {
	for _, pass := range []bool{false, true} {
		s := policy.Settings{RequestMode: policy.Enforce, ResponseMode: policy.Enforce, PassMCPGetStream: pass}
		in := &llm.Input{Leg: llm.RequestLeg, Path: "/mcp", Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)}
		h := &policy.RequestHead{Method: http.MethodPost, Header: http.Header{
			"Accept": {"application/json, text/event-stream"}, "Mcp-Method": {"subscriptions/listen"},
		}}
		m, err := llm.Read(*in, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: llm.DefaultDepth})
		if err != nil {
			t.Fatal(err)
		}
		for _, read := range []*llm.Message{nil, m} {
			if got := policy.PlanAnswer(&s, h, in, read); got != policy.ScanAnswer {
				t.Errorf("pass=%v read=%v: plan %d", pass, read != nil, got)
			}
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
