// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// markers are words of the prompt, the answer, keys and errors of a test, none
// of which may stand in a record.
var markers = []string{"capital of France", "Paris.", "marker", "secret", "Bearer"}

// audited gives the process an audit log. records ends it and returns what is
// in it.
func (w *world) audited() (records func() []audit.Record) {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "audit.log")
	log, err := audit.Open(path, audit.Options{
		Dropped: func() { w.t.Error("a record was dropped") },
		Failed:  func(err error) { w.t.Error(err) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Audit = log
	w.t.Cleanup(func() { log.Close(context.Background()) })
	return func() (list []audit.Record) {
		w.t.Helper()
		log.Close(context.Background())
		b, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range markers {
			if bytes.Contains(b, []byte(m)) {
				w.t.Errorf("%q stands in the audit log: %s", m, b)
			}
		}
		for line := range bytes.Lines(b) {
			var r audit.Record
			if err := json.Unmarshal(line, &r); err != nil {
				w.t.Fatalf("%v: %s", err, line)
			}
			if r.Plugin != asksForLines {
				list = append(list, r)
			}
		}
		return list
	}
}

// TestRecords: what a record says in each mode, as far as it is known, at no
// call to Kong.
func TestRecords(t *testing.T) {
	const id = "0613ba7aca2a02502dc164280c13c967"
	allowed := func(leg, mode string, chars int) audit.Record {
		return audit.Record{
			Plugin: "prisma-airs-intercept", RequestID: id, Leg: leg, Mode: mode, Transport: "phases", Action: "allow", Outcome: "allow",
			ScanID: "scan-1", Service: "llm", Model: "gpt-4o", Format: "openai.chat", Characters: chars, Scans: 1,
		}
	}
	blocked := func(leg, mode string, chars int) audit.Record {
		return audit.Record{
			Plugin: "prisma-airs-intercept", RequestID: id, Leg: leg, Mode: mode, Transport: "phases", Action: "block", Outcome: "policy_block",
			ScanID: "scan-9", ReportID: "R-9", Service: "llm", Route: "chat", Consumer: "alice", Subject: "strict",
			Model: "gpt-4o", Format: "openai.chat", Detectors: []string{"prompt_injection", "dlp"}, Characters: chars, Scans: 1,
		}
	}
	alerted := func(r audit.Record) audit.Record {
		r.Alert, r.Detectors, r.Route, r.Consumer = true, []string{"dlp"}, "chat", "alice" // its line names them
		return r
	}
	const asked, answered = len("what is the capital of France?"), len("Paris.")
	for _, tc := range []struct {
		name     string
		settings policy.Settings
		change   func(*policy.Settings)
		kong     func(*fakeKong)
		scanner  *scanner
		want     []audit.Record
	}{
		{
			name: "allowed", settings: strict(), scanner: both(nil),
			want: []audit.Record{allowed("request", "enforce", asked), allowed("response", "enforce", answered)},
		},
		{
			name: "allowed with an alert", settings: strict(), scanner: both(func(context.Context, *scan.Scan) (scan.Verdict, error) {
				return scan.Verdict{Action: scan.Allow, ScanID: "scan-1", Alert: true, Detections: []string{"dlp"}}, nil
			}),
			want: []audit.Record{alerted(allowed("request", "enforce", asked)), alerted(allowed("response", "enforce", answered))},
		},
		{
			name: "blocked", settings: strict(), scanner: &scanner{request: block},
			want: []audit.Record{blocked("request", "enforce", asked)},
		},
		{
			name: "an answer that is blocked", settings: strict(), scanner: &scanner{response: block},
			want: []audit.Record{allowed("request", "enforce", asked), blocked("response", "enforce", answered)},
		},
		{
			name: "monitored", settings: modes(policy.Monitor, policy.Monitor), scanner: both(block),
			want: []audit.Record{blocked("request", "monitor", asked), blocked("response", "monitor", answered)},
		},
		{name: "off", settings: modes(policy.Off, policy.Off), scanner: both(block)},
		{
			name: "an answer that is not looked at", settings: modes(policy.Enforce, policy.Off), scanner: both(nil),
			want: []audit.Record{allowed("request", "enforce", asked)},
		},
		{
			name: "a request that is not looked at", settings: modes(policy.Off, policy.Enforce), scanner: both(nil),
			// Nobody has read the request.
			want: []audit.Record{allowed("response", "enforce", answered)},
		},
		{
			name: "refused although the leg is off", settings: modes(policy.Off, policy.Enforce), scanner: both(nil),
			kong: func(k *fakeKong) { k.set("upgrade", "websocket") },
			want: []audit.Record{{
				Plugin: "prisma-airs-intercept", RequestID: id, Leg: "request", Mode: "off", Transport: "phases", Action: "refuse",
				Outcome: "upgrade_refused", Service: "llm", Route: "chat", Consumer: "alice",
			}},
		},
		{
			name: "passed without a verdict", settings: modes(policy.Enforce, policy.Off),
			change:  func(s *policy.Settings) { s.BlockFailures = false },
			scanner: both(fails(&scan.Failure{Kind: scan.Unavailable, Reason: "status 5xx"})),
			want: []audit.Record{{
				Plugin: "prisma-airs-intercept", RequestID: id, Leg: "request", Mode: "enforce", Transport: "phases", Action: "unscanned",
				Outcome: "no_verdict", Reason: "status 5xx", Service: "llm", Route: "chat", Consumer: "alice",
				Model: "gpt-4o", Format: "openai.chat", Characters: asked, Scans: 1,
			}},
		},
		{
			name: "an answer that nobody sees", settings: modes(policy.Off, policy.Enforce), scanner: both(nil),
			change: func(s *policy.Settings) { s.PassStreams = true },
			kong: func(k *fakeKong) {
				k.body = `{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"marker"}]}`
			},
			want: []audit.Record{{
				Plugin: "prisma-airs-intercept", RequestID: id, Leg: "response", Mode: "enforce", Transport: "phases", Action: "unscanned",
				Outcome: "unscanned", Reason: policy.ReasonPassed, Service: "llm",
			}},
		},
		{
			name: "names of a body", settings: modes(policy.Enforce, policy.Off), scanner: both(nil),
			kong: func(k *fakeKong) { k.body = `{"marker":1,"marker":2}` },
			want: []audit.Record{{
				Plugin: "prisma-airs-intercept", RequestID: id, Leg: "request", Mode: "enforce", Transport: "phases", Action: "refuse",
				Outcome: "malformed", Reason: "duplicate name in a JSON object", Service: "llm", Route: "chat", Consumer: "alice",
			}},
		},
		{
			name: "a panic", settings: modes(policy.Enforce, policy.Off),
			scanner: both(func(context.Context, *scan.Scan) (scan.Verdict, error) { panic("secret") }),
			want: []audit.Record{{
				Plugin: "prisma-airs-intercept", RequestID: id, Leg: "request", Mode: "enforce", Transport: "phases", Action: "refuse",
				Outcome: "own_fault", Reason: "panic", Service: "llm", Route: "chat", Consumer: "alice",
			}},
		},
		{
			name: "a monitored panic", settings: modes(policy.Monitor, policy.Off),
			scanner: both(func(context.Context, *scan.Scan) (scan.Verdict, error) { panic("secret") }),
			want: []audit.Record{{
				Plugin: "prisma-airs-intercept", RequestID: id, Leg: "request", Mode: "monitor", Transport: "phases", Action: "refuse",
				Outcome: "own_fault", Reason: "panic", Service: "llm", Route: "chat", Consumer: "alice",
			}},
		},
		{
			name: "a monitored answer that is an error", settings: modes(policy.Off, policy.Monitor), scanner: both(block),
			kong: func(k *fakeKong) { k.status = 500 },
			want: []audit.Record{{
				Plugin: "prisma-airs-intercept", RequestID: id, Leg: "response", Mode: "monitor", Transport: "phases", Action: "unscanned",
				Outcome: "unscanned", Reason: "error answer", Service: "llm", Route: "chat", Consumer: "alice",
			}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			settings := tc.settings
			if tc.change != nil {
				tc.change(&settings)
			}
			runs := func(log bool) (k *fakeKong, list []audit.Record) {
				w := newWorld(t)
				records := func() []audit.Record { return nil }
				if log {
					records = w.audited()
				}
				k = chatRequest(t).set("authorization", "Bearer secret")
				if tc.kong != nil {
					tc.kong(k)
				}
				over := make(chan struct{})
				k.run(newEngine(w.Process, prisma(), settings, &scanner{
					request:  monitoredAfter(over, settings.RequestMode, tc.scanner),
					response: monitoredAfter(over, settings.ResponseMode, tc.scanner),
				}))
				close(over)
				w.Flush(context.Background())
				alerts := 0
				for _, r := range tc.want {
					if r.Alert {
						alerts++
					}
				}
				if n := w.metric("alerts_total"); n != float64(alerts) {
					t.Errorf("%v alerts are counted, not %d", n, alerts)
				}
				return k, records()
			}
			k, got := runs(true)
			if without, _ := runs(false); !slices.Equal(k.calls, without.calls) {
				t.Errorf("the log costs calls to Kong: %q, without it %q", k.calls, without.calls)
			}
			for _, r := range got {
				if r.Time.IsZero() || r.LatencyMS < 0 {
					t.Errorf("record %+v", r)
				}
			}
			byLeg := cmpopts.SortSlices(func(a, b audit.Record) bool { return a.Leg < b.Leg })
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(audit.Record{}, "Time", "LatencyMS"), byLeg); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// monitoredAfter has the scans of a monitored leg wait until the exchange is over:
// a verdict that is there before makes other calls to Kong.
func monitoredAfter(over <-chan struct{}, m policy.Mode, s *scanner) func(context.Context, *scan.Scan) (scan.Verdict, error) {
	return func(ctx context.Context, sc *scan.Scan) (scan.Verdict, error) {
		if m == policy.Monitor {
			<-over
		}
		return s.Scan(ctx, sc)
	}
}

// A monitored leg has one record, however often it is tried, and one when it is
// never judged.
func TestRecordsOfMonitoredLegs(t *testing.T) {
	for name, tc := range map[string]struct {
		back    bool
		outcome string
		scans   int
	}{
		"the service comes back":  {true, "allow", 1},
		"the service stays away":  {false, "no_verdict", 0},
		"no time is left for one": {false, "unscanned", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(b *guard.Bounds) { b.MonitorWorkers = 1 })
				records := w.audited()
				service := &away{fail: refused()}
				hangs := tc.outcome == "unscanned"
				e := newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), &scanner{request: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
					if hangs {
						<-ctx.Done()
						return scan.Verdict{}, ctx.Err()
					}
					return service.Scan(ctx, s)
				}})
				legs := 1
				if hangs {
					legs = 2 // the first one takes the only worker
				}
				for range legs {
					chatRequest(t).run(e)
				}
				time.Sleep(3 * time.Second)
				service.mu.Lock()
				service.back = tc.back
				service.mu.Unlock()
				if !hangs {
					time.Sleep(time.Hour)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				w.Flush(ctx)
				synctest.Wait()
				list := records()
				list = slices.DeleteFunc(list, func(r audit.Record) bool { return hangs && r.Outcome != tc.outcome })
				if len(list) != 1 || list[0].Outcome != tc.outcome || list[0].Mode != "monitor" {
					t.Fatalf("records %+v", list)
				}
				switch tries := service.count(); {
				case tc.outcome == "no_verdict" && (list[0].Scans != tries || tries < 3):
					t.Errorf("%d scans of %d", list[0].Scans, tries)
				case tc.outcome != "no_verdict" && list[0].Scans != tc.scans:
					t.Errorf("%d scans", list[0].Scans)
				}
			})
		})
	}
}

// TestAuditLogHoldsNobodyUp: neither a pipe that nobody reads nor one whose
// reader sleeps ends or delays an exchange.
func TestAuditLogHoldsNobodyUp(t *testing.T) {
	for name, opened := range map[string]bool{"nobody reads": false, "the reader sleeps": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if opened {
				r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
			}
			w := newWorld(t)
			dropped := make(chan struct{}, 1)
			log, err := audit.Open(path, audit.Options{Dropped: func() {
				select {
				case dropped <- struct{}{}:
				default:
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			w.Audit = log
			now, cancel := context.WithCancel(context.Background())
			cancel()
			defer log.Close(now)
			e := newEngine(w.Process, prisma(), strict(), both(nil))
			// More than the pipe and the queue take. That this ends shows that
			// nothing waits.
			for lost := false; !lost; {
				if k := chatRequest(t).run(e); k.exit != nil {
					t.Fatalf("refused: %+v", k.exit)
				}
				select {
				case <-dropped:
					lost = true
				default:
				}
			}
		})
	}
}

var errSecret = errors.New(strings.Repeat("secret ", 3))

// What a scanner says in an error of its own is in no record.
func TestRecordsHoldNoErrorText(t *testing.T) {
	w := newWorld(t)
	records := w.audited()
	chatRequest(t).run(newEngine(w.Process, noma(), strict(), both(fails(errSecret))))
	if list := records(); len(list) != 1 || list[0].Outcome != "own_fault" {
		t.Errorf("records %+v", list)
	}
}
