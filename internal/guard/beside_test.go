// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// besideUs sends requests on while they are scanned.
func besideUs() policy.Settings {
	s := strict()
	s.PromptBeside = true
	return s
}

// held is a scanner whose verdict on requests waits.
func held(let <-chan struct{}, f func(context.Context, *scan.Scan) (scan.Verdict, error)) *scanner {
	return &scanner{request: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
		select {
		case <-let:
		case <-ctx.Done():
			return scan.Verdict{}, ctx.Err()
		}
		if f == nil {
			return scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}, nil
		}
		return f(ctx, s)
	}}
}

// TestBesideTheModelIsFirst: its answer waits for the request's verdict, its
// head too.
func TestBesideTheModelIsFirst(t *testing.T) {
	for name, f := range map[string]func(context.Context, *scan.Scan) (scan.Verdict, error){"allow": nil, "block": block} {
		let := make(chan struct{})
		sc := held(let, f)
		l := stream(t, script{scanner: sc, settings: besideUs()})
		l.says(roleEvent, delta("one "), finishEvent, doneEvent)
		l.ends()
		<-l.gone
		select {
		case a := <-l.head:
			t.Fatalf("%s: answered with %d before the verdict", name, a.StatusCode)
		default:
		}
		if n := len(sc.seen(llm.ResponseLeg)); n != 0 {
			t.Errorf("%s: the answer was scanned %d times", name, n)
		}
		close(let)
		got, err := l.all()
		if f == nil && (got != roleEvent+delta("one ")+finishEvent+doneEvent || l.answer().StatusCode != 200) ||
			f != nil && (l.answer().StatusCode != 403 || !strings.Contains(got, "prompt blocked") || strings.Contains(got, "one ")) || err != nil {
			t.Errorf("%s: %d %q, %v", name, l.answer().StatusCode, got, err)
		}
		want := "allow"
		if f != nil {
			want = "policy_block"
		}
		if n := l.w.metric("legs_total", "request", "enforce", want); n != 1 {
			t.Errorf("%s: counted %v times", name, n)
		}
		if n := l.w.metric("legs_total", "response"); f != nil && n != 0 {
			t.Errorf("%s: the answer was counted %v times", name, n)
		}
		l.w.settled()
	}
}

// TestBesideABlockStopsTheModel: as soon as the verdict is there, whether the
// model has begun to answer or not.
func TestBesideABlockStopsTheModel(t *testing.T) {
	for _, begun := range []bool{false, true} {
		let, called, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
		w := newWorld(t)
		u := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ string) {
			defer close(gone)
			if begun {
				rw.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(rw, roleEvent+delta("SECRET"))
				rw.(http.Flusher).Flush()
			}
			close(called)
			<-r.Context().Done()
		})
		r := w.expect(newEngine(w.Process, prisma(), besideUs(), held(let, block)), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(streamBody))
		go func() {
			<-called
			close(let)
		}()
		answer := do(t, r)
		if got := readAll(t, answer); answer.StatusCode != 403 || strings.Contains(got, "SECRET") || !strings.Contains(got, "policy_violation") {
			t.Errorf("begun %v: %d %q", begun, answer.StatusCode, got)
		}
		<-gone
		w.settled()
	}
}

// TestBesideTheScanIsFirst: nothing waits for anything then.
func TestBesideTheScanIsFirst(t *testing.T) {
	judged := make(chan struct{})
	sc := &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
		defer close(judged)
		return scan.Verdict{Action: scan.Allow}, nil
	}}
	w := newWorld(t)
	u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
		<-judged
		_, _ = io.WriteString(rw, chatAnswer)
	})
	answer := do(t, w.expect(newEngine(w.Process, prisma(), besideUs(), sc), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody)))
	if got := readAll(t, answer); got != chatAnswer || answer.StatusCode != 200 {
		t.Errorf("%d %q", answer.StatusCode, got)
	}
	if s := sc.seen(llm.ResponseLeg); len(s) != 1 || len(s[0].Prompt) != 1 {
		t.Errorf("the answer was judged as %+v", s)
	}
}

// TestBesideOutcomes: every other end of the request's scan is the same as
// before, and the answer never goes out.
func TestBesideOutcomes(t *testing.T) {
	never := func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false }
	for _, c := range []struct {
		name   string
		scan   func(context.Context, *scan.Scan) (scan.Verdict, error)
		change func(*policy.Settings)
		status int
		want   string
	}{
		{"no verdict", fails(&scan.Failure{Kind: scan.Unavailable, Reason: "x"}), nil, 503, "scan_unavailable"},
		{"no verdict that is let pass", fails(&scan.Failure{Kind: scan.Unavailable, Reason: "x"}), never, 200, "Paris"},
		{"a panic", func(context.Context, *scan.Scan) (scan.Verdict, error) { panic("x") }, never, 503, "guard_failure"},
		{"a mask that comes too late", maskAll, nil, 403, "policy_violation"},
	} {
		for _, fail := range []bool{false, true} {
			w := newWorld(t)
			u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				if fail {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(rw, chatAnswer)
			})
			s := besideUs()
			if c.change != nil {
				c.change(&s)
			}
			answer := do(t, w.expect(newEngine(w.Process, masking(prisma()), s, &scanner{request: c.scan}), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody)))
			got := readAll(t, answer)
			status, want := c.status, c.want
			if fail && status == 200 {
				status, want = 502, "upstream_failed"
			}
			if answer.StatusCode != status || !strings.Contains(got, want) {
				t.Errorf("%s, upstream fails %v: %d %q", c.name, fail, answer.StatusCode, got)
			}
			if c.status != 200 && strings.Contains(got, "Paris") {
				t.Errorf("%s: the answer went out", c.name)
			}
			w.settled()
			if lines := w.noticed(); strings.HasPrefix(c.name, "a mask") && (len(lines) != 1 || !strings.Contains(lines[0].text, policy.ReasonMaskBeside)) {
				t.Errorf("%s: logged %v", c.name, lines)
			}
		}
	}
}

// TestBesideGoesBefore: what has effects, or cannot go on as it is, waits for
// its verdict, and so does what settles itself without one.
func TestBesideGoesBefore(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"a call of a tool", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}`, 400},
		{"a member that is for us", claiming, 400},
		{"malformed", `{"a":1,"a":2}`, 400},
	} {
		w := newWorld(t)
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) { _, _ = io.WriteString(rw, chatAnswer) })
		sc := claimer{&scanner{request: block}}
		answer := do(t, w.expect(newEngine(w.Process, noma(), besideUs(), sc), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(c.body)))
		got := readAll(t, answer)
		if n, _, _ := u.got(); n != 0 || answer.StatusCode != c.status {
			t.Errorf("%s: called %d times, %d %q", c.name, n, answer.StatusCode, got)
		}
		w.settled()
	}
	w := newWorld(t)
	u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) { _, _ = io.WriteString(rw, chatAnswer) })
	answer := do(t, w.expect(newEngine(w.Process, noma(), besideUs(), claimer{&scanner{}}), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(claiming)))
	readAll(t, answer)
	if _, _, body := u.got(); body != withoutThat {
		t.Errorf("the upstream got %q", body)
	}
}
