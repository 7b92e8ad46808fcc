// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/awsframe"
)

// delta is one event of OpenAI's chat stream.
func delta(text string) string {
	return fmt.Sprintf("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", text)
}

const (
	roleEvent   = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
	finishEvent = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
	doneEvent   = "data: [DONE]\n\n"
	streamBody  = `{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"what is the capital of France?"}]}`
)

// A live stream is one that a test plays both ends of.
type live struct {
	t    testing.TB
	w    *world
	u    *upstream
	send chan string   // to the client; closed at the end, "" cuts
	gone chan struct{} // closed when the upstream's call has ended

	head  chan *http.Response
	leave context.CancelFunc

	mu   sync.Mutex
	got  bytes.Buffer
	err  error
	done chan struct{} // closed when the client has all
}

// A script says what a live stream is like; the zero value is an enforced chat.
type script struct {
	settings   policy.Settings
	vendor     *vendor
	scanner    scan.Scanner
	method     string
	path, body string
	header     http.Header // of the answer
	accept     string
	status     int
	world      *world
}

func stream(t testing.TB, sc script) *live {
	if sc.settings.RequestMode == "" {
		sc.settings = strict()
	}
	if sc.vendor == nil {
		v := masking(prisma())
		sc.vendor = &v
	}
	if sc.body == "" && sc.method == "" {
		sc.body = streamBody
	}
	if sc.method == "" {
		sc.method = "POST"
	}
	if sc.path == "" {
		sc.path = chatPath
	}
	w := sc.world
	if w == nil {
		w = newWorld(t)
	}
	l := &live{t: t, w: w, send: make(chan string), gone: make(chan struct{}), head: make(chan *http.Response, 1), done: make(chan struct{})}
	l.u = newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ string) {
		defer close(l.gone)
		rw.Header().Set("Content-Type", "text/event-stream")
		for name, values := range sc.header {
			rw.Header()[name] = values
		}
		if sc.status != 0 {
			rw.WriteHeader(sc.status)
		}
		rw.(http.Flusher).Flush()
		for {
			select {
			case s, ok := <-l.send:
				switch {
				case !ok:
					return
				case s == "":
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(rw, s)
				rw.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	ctx, leave := context.WithCancel(context.Background())
	l.leave = leave
	t.Cleanup(leave)
	r := w.expect(newEngine(w.Process, *sc.vendor, sc.settings, sc.scanner), guard.Relayed{Target: l.u.target()}, sc.method, sc.path, strings.NewReader(sc.body))
	if sc.accept != "" {
		r.Header.Set("Accept", sc.accept)
	}
	r.Header.Set("X-Kong-Request-Id", "0613ba7aca2a02502dc164280c13c967")
	client := kongClient(t)
	go func() {
		defer close(l.done)
		answer, err := client.Do(r.WithContext(ctx))
		if err != nil {
			l.fail(err)
			close(l.head)
			return
		}
		defer answer.Body.Close()
		l.head <- answer
		buf := make([]byte, 4096)
		for {
			n, err := answer.Body.Read(buf)
			l.mu.Lock()
			l.got.Write(buf[:n])
			l.mu.Unlock()
			if err != nil {
				if err != io.EOF {
					l.fail(err)
				}
				return
			}
		}
	}()
	return l
}

func (l *live) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// says has the upstream send something, unless its call has ended.
func (l *live) says(all ...string) {
	for _, s := range all {
		select {
		case l.send <- s:
		case <-l.gone:
		}
	}
}

func (l *live) ends() { close(l.send) }

// cuts has the upstream's connection break.
func (l *live) cuts() { l.says("") }

func (l *live) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got.String()
}

// sees waits until the client has something.
func (l *live) sees(want string) {
	l.t.Helper()
	within(l.t, fmt.Sprintf("%q, have %q", want, l.text()), func() bool { return strings.Contains(l.text(), want) })
}

// answer is the head of the answer.
func (l *live) answer() *http.Response {
	l.t.Helper()
	select {
	case a := <-l.head:
		if a == nil {
			l.t.Fatalf("no answer: %v", l.err)
		}
		l.head <- a
		return a
	case <-time.After(patience):
		l.t.Fatal("no answer")
		return nil
	}
}

// all is what the client got until the end, and whether that was clean.
func (l *live) all() (string, error) {
	l.t.Helper()
	select {
	case <-l.done:
	case <-time.After(patience):
		l.t.Fatalf("no end after %.300q", l.text())
	}
	return l.text(), l.err
}

// blocks is a scanner that blocks what holds a word.
func blocks(word string) *scanner {
	return &scanner{response: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
		for i := range s.Turns {
			if strings.Contains(s.Turns[i].Text, word) {
				return block(ctx, s)
			}
		}
		return scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}, nil
	}}
}

// TestStreamFlows: what was allowed goes out while the upstream has more to
// say, and in the end the client has the upstream's bytes.
func TestStreamFlows(t *testing.T) {
	sc := &scanner{}
	l := stream(t, script{scanner: sc})
	l.says(roleEvent, delta("one "))
	l.sees(delta("one "))
	l.says(delta("two "))
	l.sees(delta("two "))
	l.says(finishEvent, doneEvent)
	l.ends()
	got, err := l.all()
	if want := roleEvent + delta("one ") + delta("two ") + finishEvent + doneEvent; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	a := l.answer()
	if a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/event-stream" || a.Header.Get("X-Accel-Buffering") != "no" ||
		a.Header.Get("X-Pad") != "request=allow;scan_id=scan-1;response=pending" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	scans := sc.seen(llm.ResponseLeg)
	last := scans[len(scans)-1]
	if len(scans) != 3 || last.Turns[0].Text != "one two " || last.Model != "gpt-4o" || len(last.Prompt) != 1 || scans[1].Turns[0].Text != "one two " || len(scans[1].Prompt) != 0 {
		t.Errorf("%d scans, the last of %+v", len(scans), last.Turns)
	}
	w := l.w
	within(t, "the exchange to be counted", func() bool { return w.metric("relayed_total", "passed") == 1 })
	for name, want := range map[string]float64{"legs_total": 2, "stream_scans": 1, "stream_hold_seconds": 4, "relay_first_byte_seconds": 1, "streams_open": 0} {
		if n := w.metric(name); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	w.settled()
}

// TestStreamBlockedAtFirst: nothing goes out before the first verdict, so a stream whose
// first text is blocked has its real status.
func TestStreamBlockedAtFirst(t *testing.T) {
	for name, first := range map[string]string{"with a head": roleEvent, "at once": ""} {
		l := stream(t, script{scanner: blocks("SECRET")})
		l.says(": ping\n\n" + first)
		l.says(delta("the SECRET"))
		got, err := l.all()
		if a := l.answer(); a.StatusCode != 403 || a.Header.Get("Content-Type") != "application/json" || err != nil ||
			a.Header.Get("X-Pad") != "request=allow;scan_id=scan-1;response=block;reason=policy_block;scan_id=scan-9" {
			t.Errorf("%s: %d %v %v", name, a.StatusCode, a.Header, err)
		}
		if gjson.Get(got, "error.code").Str != "policy_violation" || strings.Contains(got, "SECRET") {
			t.Errorf("%s: got %s", name, got)
		}
		<-l.gone // the model writes no more
		l.w.settled()
		if lines := l.w.noticed(); len(lines) != 1 || !strings.Contains(lines[0].text, "response blocked") || !strings.Contains(lines[0].text, "scan-9") || strings.Contains(lines[0].text, "released") {
			t.Errorf("%s: logged %v", name, lines)
		}
	}
}

// TestStreamEndings: whatever ends a stream that has begun, nothing uncovered
// has gone out, the client's SDK gets an error of its API, and the model stops.
func TestStreamEndings(t *testing.T) {
	fail := func(err error) *scanner {
		return &scanner{response: func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
			if strings.Contains(s.Turns[0].Text, "SECRET") {
				return scan.Verdict{}, err
			}
			return scan.Verdict{Action: scan.Allow}, nil
		}}
	}
	never := func(s *policy.Settings) { s.BlockFailures, s.BlockFailuresResponse = false, false }
	for _, c := range []struct {
		name    string
		scanner *scanner
		change  func(*policy.Settings)
		second  string
		code    string
		outcome string
	}{
		{"a block", blocks("SECRET"), nil, delta("the SECRET"), "policy_violation", "policy_block"},
		{"no verdict", fail(&scan.Failure{Kind: scan.Unavailable, Reason: "status 503"}), nil, delta("the SECRET"), "scan_unavailable", "no_verdict"},
		{"a provoked failure", fail(&scan.Failure{Kind: scan.Unavailable, Reason: "timeout", Provoked: true}), never, delta("the SECRET"), "scan_unavailable", "no_verdict"},
		{"a degraded verdict", fail(&scan.Failure{Kind: scan.Degraded, Reason: "x"}), never, delta("the SECRET"), "scan_unavailable", "degraded_verdict"},
		{"misconfigured", fail(&scan.Failure{Kind: scan.Misconfigured, Reason: "x"}), never, delta("the SECRET"), "scan_misconfigured", "misconfigured"},
		{"an error of nobody's", fail(errors.New("x")), never, delta("the SECRET"), "guard_failure", "own_fault"},
		{"a panic", &scanner{response: func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
			if strings.Contains(s.Turns[0].Text, "SECRET") {
				panic("SECRET")
			}
			return scan.Verdict{Action: scan.Allow}, nil
		}}, never, delta("the SECRET"), "guard_failure", "own_fault"},
		{"a malformed event", &scanner{}, never, "data: {\"choices\":[{\"delta\":{\"content\":\"SECRET\"}}]]}\n\n", "malformed_body", "malformed"},
		{"too much", &scanner{}, func(s *policy.Settings) { s.MaxResponseBytes = 2000 }, delta(strings.Repeat("SECRET ", 400)), "body_too_large", "too_large"},
		{"media that are not allowed", &scanner{}, func(s *policy.Settings) { s.BlockMedia = true }, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/SECRET.png\"}}]}}]}\n\n", "media_not_allowed", "media_refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := strict()
			if c.change != nil {
				c.change(&s)
			}
			w := newWorld(t)
			records := w.audited()
			l := stream(t, script{scanner: c.scanner, settings: s, world: w})
			l.says(roleEvent, delta("fine "))
			l.sees(delta("fine "))
			l.says(c.second, finishEvent, doneEvent)
			got, err := l.all()
			rest, ok := strings.CutPrefix(got, roleEvent+delta("fine "))
			data, _ := strings.CutPrefix(rest, "data: ")
			if !ok || strings.Contains(got, "SECRET") || strings.Contains(got, "[DONE]") || strings.Contains(got, `"stop"`) || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
			if e := gjson.Get(data, "error"); e.Get("code").Str != c.code || e.Get("message").Str == "" || !strings.HasSuffix(data, "}\n\n") {
				t.Errorf("the ending is %q", rest)
			}
			<-l.gone
			within(t, "the leg to be counted", func() bool { return w.metric("legs_total", "response", "enforce", c.outcome) == 1 })
			w.settled()
			if n := w.metric("relayed_total", "cut"); n != 1 || w.metric("stream_cut_characters_total") != float64(len("fine ")) || w.metric("streams_open") != 0 {
				t.Errorf("%v were cut after %v characters, %v are open", n, w.metric("stream_cut_characters_total"), w.metric("streams_open"))
			}
			lines := w.noticed()
			if n := len(lines); n == 0 || !strings.Contains(lines[n-1].text, "response ") || !strings.Contains(lines[n-1].text, `released="5"`) {
				t.Errorf("logged %v", lines)
			}
			list := slices.DeleteFunc(records(), func(r audit.Record) bool { return r.Plugin == asksForLines })
			if r := list[len(list)-1]; r.Leg != "response" || r.Transport != "relay" || r.Outcome != c.outcome || r.Released != len("fine ") || r.Scans == 0 {
				t.Errorf("audit record %+v", r)
			}
		})
	}
}

// TestStreamPassesUnscanned: with block_failures_response off, an outage lets a
// stream pass, which is said once.
func TestStreamPassesUnscanned(t *testing.T) {
	s := strict()
	s.BlockFailuresResponse = false
	n := 0
	sc := &scanner{response: func(context.Context, *scan.Scan) (scan.Verdict, error) {
		if n++; n == 1 {
			return scan.Verdict{Action: scan.Allow}, nil
		}
		return scan.Verdict{}, &scan.Failure{Kind: scan.Unavailable, Reason: "status 503"}
	}}
	l := stream(t, script{scanner: sc, settings: s})
	l.says(delta("one "))
	l.sees("one ")
	l.says(delta("two "))
	l.sees("two ")
	l.says(delta("three "))
	l.sees("three ")
	l.says(finishEvent, doneEvent)
	l.ends()
	if got, err := l.all(); err != nil || got != delta("one ")+delta("two ")+delta("three ")+finishEvent+doneEvent {
		t.Errorf("got %q, %v", got, err)
	}
	within(t, "the leg to be counted", func() bool { return l.w.metric("legs_total", "response", "unscanned") == 1 })
	if got := l.w.metric("unscanned_total", "response", "no_verdict"); got != 1 {
		t.Errorf("counted %v times", got)
	}
	if lines := l.w.noticed(); len(lines) != 1 || lines[0].level != "err" || !strings.Contains(lines[0].text, "response passed unscanned") {
		t.Errorf("logged %v", lines)
	}
}

// TestStreamFasterThanItsScans: what comes during a scan goes into the next one,
// and the number of scans is bounded.
func TestStreamFasterThanItsScans(t *testing.T) {
	begun, let := make(chan struct{}, 100), make(chan struct{})
	sc := &scanner{response: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
		begun <- struct{}{}
		select {
		case <-let:
		case <-ctx.Done():
			return scan.Verdict{}, ctx.Err()
		}
		return scan.Verdict{Action: scan.Allow}, nil
	}}
	l := stream(t, script{scanner: sc})
	l.says(delta("first "))
	<-begun
	want := delta("first ")
	chars := len("first ")
	for i := range 200 {
		word := fmt.Sprintf("word %d ", i)
		chars += len(word)
		e := delta(word)
		want += e
		l.says(e)
	}
	want += finishEvent + doneEvent
	l.says(finishEvent, doneEvent)
	l.ends()
	<-l.gone
	if got := l.text(); got != "" {
		t.Errorf("went out before a verdict: %.200q", got)
	}
	close(let)
	if got, err := l.all(); got != want || err != nil {
		t.Errorf("got %d bytes, want %d, %v", len(got), len(want), err)
	}
	// Some of it may still be on its way to us when the first verdict comes.
	if n := len(sc.seen(llm.ResponseLeg)); n > chars/400+2 {
		t.Errorf("%d scans of %d characters", n, chars)
	}
	l.w.settled()
}

// TestLongStream: a stream of ten megabytes takes bounded scans and memory, and
// comes out as it was.
func TestLongStream(t *testing.T) {
	event := delta(strings.Repeat("all work and no play ", 200))
	n := 10<<20/len(event) - 2
	sc := &scanner{}
	w := newWorld(t)
	u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for range n {
			_, _ = io.WriteString(rw, event)
		}
		_, _ = io.WriteString(rw, finishEvent+doneEvent)
	})
	answer := do(t, w.expect(newEngine(w.Process, prisma(), strict(), sc), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(streamBody)))
	got := readAll(t, answer)
	if want := strings.Repeat(event, n) + finishEvent + doneEvent; got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
	chars := n * 4200
	if scans := len(sc.seen(llm.ResponseLeg)); scans > chars/400+2 || scans < 2 {
		t.Errorf("%d scans of %d characters", scans, chars)
	}
	w.settled()
}

// TestManyStreams: a thousand open streams take little each.
func TestManyStreams(t *testing.T) {
	const bar = 64 << 10
	manyStreams(t, 100, modes(policy.Off, policy.Off)) // fills what is kept for reuse
	plain := manyStreams(t, 200, modes(policy.Off, policy.Off))
	guarded := manyStreams(t, 1000, strict())
	// The client and the upstream of the test live in this process, too, as
	// those of a relay that only hands on.
	t.Logf("%d bytes each, %d of them for the scans", guarded, guarded-plain)
	if guarded-plain > bar {
		t.Errorf("each takes %d bytes more than one that is handed on, at most %d are right", guarded-plain, bar)
	}
}

// manyStreams opens many streams, and returns how much memory each takes.
func manyStreams(t testing.TB, many int, s policy.Settings) int64 {
	w := newWorld(t)
	s.Timeout = 45 * time.Second // the machine may be slow
	e := newEngine(w.Process, prisma(), s, allower{})
	hold := make(chan struct{})
	first := roleEvent + delta("open")
	u := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ string) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(rw, first)
		rw.(http.Flusher).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(rw, finishEvent+doneEvent)
	})
	client := kongClient(t)
	before := heap()
	answers := make(chan *http.Response, many)
	for range many {
		r := w.expect(e, guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(streamBody))
		go func() {
			answer, err := client.Do(r)
			if err != nil {
				t.Error(err)
			}
			answers <- answer
		}()
	}
	var open []*http.Response
	for range many {
		a := <-answers
		if a == nil {
			continue
		}
		open = append(open, a)
		got := make([]byte, len(first))
		if n, err := io.ReadFull(a.Body, got); err != nil || a.StatusCode != 200 {
			t.Errorf("answered %d %q, %v", a.StatusCode, got[:n], err)
		}
	}
	if held := w.metric("held_bytes"); held > float64(many*64<<10) {
		t.Errorf("%v bytes are counted for them", held)
	}
	each := (heap() - before) / int64(many)
	close(hold)
	for _, a := range open {
		if got := readAll(t, a); got != finishEvent+doneEvent {
			t.Errorf("the rest is %q", got)
		}
	}
	w.settled()
	return each
}

// TestStreamMasksAtItsEnd: a mask stands where the scan has found its text, also
// when the stream ends while that scan runs and the whole has other turns.
func TestStreamMasksAtItsEnd(t *testing.T) {
	second := func(text string) string { return strings.Replace(delta(text), `"index":0`, `"index":1`, 1) }
	scanning, let := make(chan struct{}), make(chan struct{})
	sc := &scanner{response: func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
		for i := range s.Turns {
			if text := s.Turns[i].Text; strings.Contains(text, "SECRET") {
				close(scanning)
				select {
				case <-let:
				case <-ctx.Done():
				}
				return scan.Verdict{Action: scan.Mask, Masked: []llm.Replacement{{Turn: i, Text: strings.ReplaceAll(text, "SECRET", "***")}}}, nil
			}
		}
		return scan.Verdict{Action: scan.Allow}, nil
	}}
	l := stream(t, script{scanner: sc})
	l.says(delta("one "))
	l.sees("one ")
	l.says(second("the SECRET"))
	<-scanning
	end := delta("two ") + strings.ReplaceAll(finishEvent+second(""), "\"finish_reason\":null", "\"finish_reason\":\"stop\"") + doneEvent
	l.says(end)
	l.ends()
	<-l.gone
	time.Sleep(50 * time.Millisecond) // for the end to be read
	close(let)
	got, err := l.all()
	if want := delta("one ") + second("the ***") + end; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	l.w.settled()
}

// TestStreamMasks: a mask stands in the held text, in the upstream's own event,
// and where its place has gone out the stream ends.
func TestStreamMasks(t *testing.T) {
	mask := func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
		v := scan.Verdict{Action: scan.Mask, ScanID: "scan-5"}
		for i := range s.Turns {
			if text := strings.ReplaceAll(s.Turns[i].Text, "4111", "****"); text != s.Turns[i].Text && s.Turns[i].Maskable {
				v.Masked = append(v.Masked, llm.Replacement{Turn: i, Text: text})
			}
		}
		if v.Masked == nil {
			return scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}, nil
		}
		return v, nil
	}
	l := stream(t, script{scanner: &scanner{response: mask}})
	l.says(delta("my card "))
	l.sees("my card ")
	l.says(delta("is 4111 ok"))
	l.sees("ok")
	l.says(delta(" bye"), finishEvent, doneEvent)
	l.ends()
	got, err := l.all()
	if want := delta("my card ") + delta("is **** ok") + delta(" bye") + finishEvent + doneEvent; got != want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	within(t, "the leg to be counted", func() bool { return l.w.metric("legs_total", "response", "mask") == 1 })

	// The second half of a match that had begun to go out.
	l = stream(t, script{scanner: &scanner{response: mask}})
	l.says(delta("my card 41"))
	l.sees("41")
	l.says(delta("11 ok"))
	got, _ = l.all()
	if strings.Contains(got, "11 ok") || !strings.Contains(got, "policy_violation") {
		t.Errorf("got %q", got)
	}

	plain := prisma()
	l = stream(t, script{scanner: &scanner{response: mask}, vendor: &plain})
	l.says(delta("my card is 4111"))
	if got, _ := l.all(); strings.Contains(got, "4111") || l.answer().StatusCode != 403 {
		t.Errorf("a vendor that does not say so: %q", got)
	}
}

// TestStreamToolCalls: the arguments of a call are held until they are whole.
func TestStreamToolCalls(t *testing.T) {
	call := func(id, name, args string) string {
		head := ""
		if id != "" {
			head = fmt.Sprintf(`"id":%q,"type":"function",`, id)
		}
		return fmt.Sprintf("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,%s\"function\":{\"name\":%q,\"arguments\":%q}}]},\"finish_reason\":null}]}\n\n", head, name, args)
	}
	finish := strings.Replace(finishEvent, "stop", "tool_calls", 1)
	for _, bad := range []bool{false, true} {
		l := stream(t, script{scanner: blocks("rm -rf /home")})
		l.says(delta("let me see "))
		l.sees("let me see ")
		args := []string{`{"command":"rm -`, `rf /`, `home"}`}
		if !bad {
			args[2] = `tmp"}`
		}
		events := call("c1", "sh", args[0]) + call("", "", args[1]) + call("", "", args[2])
		l.says(events)
		time.Sleep(600 * time.Millisecond) // longer than new text waits
		if strings.Contains(l.text(), "command") {
			t.Errorf("a call that is open went out: %q", l.text())
		}
		l.says(finish, doneEvent)
		l.ends()
		got, err := l.all()
		if err != nil || bad && (strings.Contains(got, "command") || !strings.Contains(got, "policy_violation")) {
			t.Errorf("got %q, %v", got, err)
		}
		if want := delta("let me see ") + events + finish + doneEvent; !bad && got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestStreamAtOnce: text goes out before its scan, and a verdict ends the
// stream all the same. What says that the answer is complete waits.
func TestStreamAtOnce(t *testing.T) {
	s := strict()
	s.ReleaseAtOnce = true
	let := make(chan struct{})
	bad := &scanner{response: func(ctx context.Context, sc *scan.Scan) (scan.Verdict, error) {
		select {
		case <-let:
		case <-ctx.Done():
		}
		return block(ctx, sc)
	}}
	l := stream(t, script{scanner: bad, settings: s})
	l.says(roleEvent)
	l.sees(roleEvent)
	l.says(delta("one "), delta("two "))
	l.sees("two ")
	l.says(finishEvent, doneEvent)
	l.ends()
	<-l.gone
	close(let)
	got, err := l.all()
	if strings.Contains(got, "[DONE]") || strings.Contains(got, `"stop"`) || !strings.Contains(got, "policy_violation") || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	l = stream(t, script{scanner: &scanner{}, settings: s})
	l.says(delta("one "), finishEvent, doneEvent)
	l.ends()
	if got, err := l.all(); got != delta("one ")+finishEvent+doneEvent || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestMonitoredStream: it flows untouched and is reported whole, in whatever
// encoding, also when its client leaves.
func TestMonitoredStream(t *testing.T) {
	hung := make(chan struct{})
	for _, c := range []struct {
		name         string
		gzip, leaves bool
	}{{"plain", false, false}, {"gzip", true, false}, {"left early", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			sc := both(func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
				select {
				case <-hung: // no scan ends while the stream runs
				case <-ctx.Done():
				}
				return block(ctx, s)
			})
			h := http.Header{"Etag": {"x"}}
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			encode := func(s string) string {
				if !c.gzip {
					return s
				}
				packed.Reset()
				_, _ = z.Write([]byte(s))
				_ = z.Flush()
				return packed.String()
			}
			if c.gzip {
				h.Set("Content-Encoding", "gzip")
			}
			hung = make(chan struct{})
			l := stream(t, script{scanner: sc, settings: modes(policy.Monitor, policy.Monitor), header: h})
			want := ""
			for _, e := range []string{roleEvent, delta("one "), delta("two ")} {
				e = encode(e)
				l.says(e)
				want += e
				l.sees(want)
			}
			if c.leaves {
				l.leave()
				<-l.gone
			} else {
				e := encode(finishEvent + doneEvent)
				if c.gzip {
					packed.Reset()
					_ = z.Close()
					e += packed.String()
				}
				want += e
				l.says(e)
				l.ends()
			}
			if got, err := l.all(); got != want || (err != nil) != c.leaves {
				t.Errorf("got %q, %v", got, err)
			}
			if a := l.answer(); a.Header.Get("Etag") != "x" || a.Header.Get("Content-Encoding") != h.Get("Content-Encoding") {
				t.Errorf("header %v", a.Header)
			}
			within(t, "the exchange to end", func() bool { return l.w.Relay.Open() == 0 })
			close(hung)
			l.w.Flush(context.Background())
			scans := sc.seen(llm.ResponseLeg)
			if len(scans) != 1 || scans[0].Turns[0].Text != "one two " || len(scans[0].Prompt) != 1 {
				t.Errorf("judged as %+v", scans)
			}
			if n := strings.Count(l.w.stderr.String(), "response would be refused"); n != 1 {
				t.Errorf("reported %d times", n)
			}
			l.w.settled()
		})
	}
}

// TestMonitoredStreamBeyondBounds: nothing changes for the client. Of what is too
// large the beginning is judged, and what is not judged is counted.
func TestMonitoredStreamBeyondBounds(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*policy.Settings)
		bounds func(*guard.Bounds)
		metric []string
		scans  int
	}{
		// What fits is looked at.
		{"too large", func(s *policy.Settings) { s.MaxResponseBytes = 1000 }, func(*guard.Bounds) {}, []string{"legs_total", "response", "too_large"}, 1},
		{"queue full", func(*policy.Settings) {}, func(b *guard.Bounds) { b.MonitorBytes = 1 << 10 }, []string{"monitor_jobs_total", "dropped"}, 0},
	} {
		s := modes(policy.Off, policy.Monitor)
		c.change(&s)
		sc := &scanner{}
		l := stream(t, script{scanner: sc, settings: s, world: newWorld(t, c.bounds)})
		event := delta(strings.Repeat("x", 1000))
		l.says(event, doneEvent)
		l.ends()
		if got, err := l.all(); got != event+doneEvent || err != nil {
			t.Errorf("%s: got %q, %v", c.name, got, err)
		}
		within(t, c.name, func() bool { return l.w.metric(c.metric[0], c.metric[1:]...) == 1 })
		l.w.Flush(context.Background())
		if len(sc.seen(llm.ResponseLeg)) != c.scans || l.w.metric("monitor_bytes") != 0 {
			t.Errorf("%s: %d scans, %v bytes are held", c.name, len(sc.scans), l.w.metric("monitor_bytes"))
		}
	}
}

// TestStreamClientGone: the model's call ends with its client.
func TestStreamClientGone(t *testing.T) {
	l := stream(t, script{scanner: &scanner{}})
	l.says(delta("one "))
	l.sees("one ")
	l.leave()
	<-l.gone
	within(t, "the exchange to be counted", func() bool { return l.w.metric("relayed_total", "client_gone") == 1 })
	l.w.settled()
}

// TestStreamUpstreamCut: what the upstream breaks off is never ended cleanly.
func TestStreamUpstreamCut(t *testing.T) {
	l := stream(t, script{scanner: blocks("uncovered")})
	l.says(delta("one "))
	l.sees("one ")
	l.cuts()
	if got, err := l.all(); err == nil || got != delta("one ") {
		t.Errorf("got %q, %v", got, err)
	}
	within(t, "it to be counted", func() bool {
		return l.w.metric("legs_total", "response", "upstream_failed") == 1 && l.w.metric("relayed_total", "upstream_failed") == 1
	})
	l.w.settled()

	let := make(chan struct{})
	l = stream(t, script{scanner: &scanner{response: func(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
		select {
		case <-let:
		case <-ctx.Done():
		}
		return scan.Verdict{Action: scan.Allow}, nil
	}}})
	l.says(delta("one "))
	l.cuts()
	if got, err := l.all(); err != nil || l.answer().StatusCode != 502 || !strings.Contains(got, "upstream_failed") {
		t.Errorf("nothing had gone out: %q, %v", got, err)
	}
	close(let)
	l.w.settled()
}

// TestEncodedStream: it goes out decoded, and says so.
func TestEncodedStream(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	encode := func(s string) string {
		packed.Reset()
		_, _ = z.Write([]byte(s))
		_ = z.Flush()
		return packed.String()
	}
	plain := prisma()
	l := stream(t, script{scanner: blocks("SECRET"), vendor: &plain, header: http.Header{"Content-Encoding": {"gzip"}, "Etag": {"x"}}})
	l.says(encode(delta("one ")))
	l.sees(delta("one "))
	l.says(encode(delta("SECRET")))
	got, err := l.all()
	a := l.answer()
	if strings.Contains(got, "SECRET") || !strings.HasPrefix(got, delta("one ")+"data: {\"error\"") || err != nil || a.Header.Get("Content-Encoding") != "" || a.Header.Get("Etag") != "" {
		t.Errorf("got %q, %v, %v", got, err, a.Header)
	}
	l = stream(t, script{scanner: &scanner{}, header: http.Header{"Content-Encoding": {"rot13"}}})
	l.says("qngn")
	if got, _ := l.all(); l.answer().StatusCode != 502 || !strings.Contains(got, "unscannable_body") {
		t.Errorf("got %q", got)
	}
	s := strict()
	s.AllowUnscannable = true
	l = stream(t, script{scanner: &scanner{}, settings: s, header: http.Header{"Content-Encoding": {"rot13"}}})
	l.says("qngn", "more")
	l.ends()
	if got, err := l.all(); got != "qngnmore" || err != nil || l.answer().Header.Get("Content-Encoding") != "rot13" {
		t.Errorf("allowed: %q, %v", got, err)
	}
}

// TestOtherStreams: streams of other APIs flow and end in their own forms.
func TestOtherStreams(t *testing.T) {
	frame := func(text string) string {
		var h []byte
		for _, pair := range [][2]string{{":message-type", "event"}, {":event-type", "contentBlockDelta"}, {":content-type", "application/json"}} {
			h = append(append(h, byte(len(pair[0]))), pair[0]...)
			h = append(append(h, 7, 0, byte(len(pair[1]))), pair[1]...) // a string
		}
		return string(awsframe.Append(nil, h, fmt.Appendf(nil, `{"contentBlockIndex":0,"delta":{"text":%q}}`, text)))
	}
	line := func(text string) string {
		return fmt.Sprintf("{\"model\":\"llama\",\"created_at\":\"2026-01-01T00:00:00Z\",\"message\":{\"role\":\"assistant\",\"content\":%q},\"done\":false}\n", text)
	}
	anthropic := func(text string) string {
		return fmt.Sprintf("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":%q}}\n\n", text)
	}
	rpc := func(text string) string {
		return fmt.Sprintf("event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":%q}}\n\n", text)
	}
	unknown := func(text string) string { return fmt.Sprintf("event: x\ndata: {\"free\":%q}\n\n", text) }
	const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"a":"b"}}}`
	for _, c := range []struct {
		name, method, path, body, contentType string
		event                                 func(string) string
		end                                   string
		cut                                   bool
	}{
		{"Bedrock", "", "/model/m/converse-stream", `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`, "application/vnd.amazon.eventstream", frame, ":exception-type", false},
		{"JSON lines", "", "/api/chat", `{"model":"llama","messages":[{"role":"user","content":"hi"}]}`, "application/x-ndjson", line, "{\"error\"", false},
		{"Anthropic", "", "/v1/messages", `{"model":"claude","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, "text/event-stream", anthropic, "event: error\ndata: {\"type\":\"error\"", false},
		{"MCP by POST", "", "/mcp", call, "text/event-stream", rpc, `"id":7,"error"`, false},
		{"MCP by GET", "GET", "/mcp", "", "text/event-stream", rpc, `"error"`, false},
		{"nobody's", "", "/events", `{"q":"hi"}`, "text/event-stream", unknown, "event: error\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := stream(t, script{scanner: blocks("SECRET"), method: c.method, path: c.path, body: c.body, header: http.Header{"Content-Type": {c.contentType}}, accept: "text/event-stream"})
			l.says(c.event("one ")) // a line alone may be the whole
			l.says(c.event("two "))
			l.sees(c.event("two "))
			l.says(c.event("the SECRET"))
			got, err := l.all()
			rest, _ := strings.CutPrefix(got, c.event("one ")+c.event("two "))
			if strings.Contains(got, "SECRET") || !strings.Contains(rest, c.end) || (err != nil) != c.cut {
				t.Errorf("got %q, %v", got, err)
			}
			<-l.gone
		})
	}
}

// TestStreamByGETOpens: a client that opens a stream by GET has its head before
// the server says anything, and nothing more than an allow covers.
func TestStreamByGETOpens(t *testing.T) {
	event := "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"Paris.\"}}\n\n"
	const whole = `{"free":"Paris."}`
	for _, c := range []struct {
		name, body string
		bad        bool
		want       string // what the answer begins with
		broken     bool   // its connection is cut
	}{
		{"an event", event, false, event, false},
		{"a blocked event", event, true, `event: message` + "\n" + `data: {"jsonrpc":"2.0","method":"notifications/message"`, false},
		{"no stream", whole, false, whole, false},
		{"no stream, blocked", whole, true, "", true},
		{"nothing", "", false, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			word := "none"
			if c.bad {
				word = "Paris"
			}
			l := stream(t, script{scanner: blocks(word), method: "GET", path: "/mcp", accept: "text/event-stream", header: http.Header{"Content-Type": {"text/event-stream"}}})
			if a := l.answer(); a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/event-stream" {
				t.Fatalf("answered %d %v", a.StatusCode, a.Header)
			}
			if c.body != "" {
				l.says(c.body)
			}
			l.ends()
			got, err := l.all()
			if !strings.HasPrefix(got, c.want) || c.bad && strings.Contains(got, "Paris") || (err != nil) != c.broken {
				t.Errorf("got %q, %v", got, err)
			}
			if n := l.w.metric("relayed_total", "cut"); (n == 1) != c.bad {
				t.Errorf("%v exchanges were counted as cut", n)
			}
			l.w.settled()
		})
	}
}

// TestStreamThatIsNone: what does not flow although it was asked for is judged
// as a whole, and goes out with its own status.
func TestStreamThatIsNone(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"JSON", "application/json", chatAnswer, 200},
		{"JSON, said to be events", "text/event-stream", chatAnswer, 201},
		{"text", "text/plain", "Paris.", 200},
		{"a JSON array", "application/json", `[{"candidates":[{"content":{"parts":[{"text":"Paris."}]}}]}]`, 200},
		{"events, one of them malformed", "text/event-stream", delta("Paris.") + "data: {\"choices\":[}]}\n\n", 0},
		{"an event without an end", "text/event-stream", strings.TrimSuffix(delta("Paris."), "\n\n"), 200},
	} {
		for _, bad := range []bool{false, true} {
			word := "none"
			if bad {
				word = "Paris"
			}
			l := stream(t, script{scanner: blocks(word), header: http.Header{"Content-Type": {c.contentType}}, status: c.status})
			if half := len(c.body) / 2; c.status == 0 {
				l.says(c.body)
			} else {
				l.says(c.body[:half], c.body[half:])
			}
			l.ends()
			got, err := l.all()
			a := l.answer()
			if c.status == 0 {
				if a.StatusCode != 502 || !strings.Contains(got, "malformed_body") || err != nil {
					t.Errorf("%s: %d %q, %v", c.name, a.StatusCode, got, err)
				}
				continue
			}
			if err != nil || !bad && (got != c.body || a.StatusCode != c.status) || bad && (a.StatusCode != 403 || strings.Contains(got, "Paris")) {
				t.Errorf("%s, bad %v: %d %q, %v", c.name, bad, a.StatusCode, got, err)
			}
			l.w.settled()
		}
	}
}

// TestStreamOutOfRoom: a stream that holds more than there is ends by policy.
func TestStreamOutOfRoom(t *testing.T) {
	w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = 600 << 10 })
	let := make(chan struct{})
	sc := &scanner{response: func(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
		select {
		case <-let:
		case <-ctx.Done():
		}
		return scan.Verdict{Action: scan.Allow}, nil
	}}
	l := stream(t, script{scanner: sc, world: w})
	l.says(delta("one "))
	for range 80 {
		l.says(delta(strings.Repeat("held back ", 1000)))
	}
	got, err := l.all()
	if err != nil || l.answer().StatusCode != 503 || !strings.Contains(got, "guard_overloaded") {
		t.Errorf("got %.300q, %v", got, err)
	}
	<-l.gone
	close(let)
	w.settled()
}

// TestPassedStream: streams that the operator lets pass flow unseen.
func TestPassedStream(t *testing.T) {
	for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		s := modes(request, policy.Enforce)
		s.PassStreams = true
		sc := blocks("SECRET")
		l := stream(t, script{scanner: sc, settings: s})
		l.says(delta("SECRET"))
		l.sees("SECRET")
		l.says(doneEvent)
		l.ends()
		if got, err := l.all(); got != delta("SECRET")+doneEvent || err != nil {
			t.Errorf("%s: got %q, %v", request, got, err)
		}
		if n := l.w.metric("unscanned_total", "response", "stream that is not to be scanned"); n != 1 {
			t.Errorf("%s: counted %v times", request, n)
		}
		l.w.Flush(context.Background())
	}
}

// TestStreamsByChance: however a stream is cut and however long its scans take,
// what goes out is a piece of what came, in its order, without the text that was
// not allowed, and all of it if there was none.
func TestStreamsByChance(t *testing.T) {
	w := newWorld(t)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		words := rng.IntN(60) + 1
		marked := -1
		if rng.IntN(2) == 0 {
			marked = rng.IntN(words)
		}
		var body strings.Builder
		before := 0 // where the event with the marker begins
		for i := range words {
			text := strings.Repeat("word ", rng.IntN(40))
			if i == marked {
				text += "SECRET"
				before = body.Len()
			}
			if rng.IntN(5) == 0 {
				body.WriteString(": ping\n\n")
				if i == marked {
					before = body.Len()
				}
			}
			body.WriteString(delta(text))
		}
		body.WriteString(finishEvent + doneEvent)
		sent := body.String()
		var cuts []int
		for at := 0; at < len(sent); at += rng.IntN(900) + 1 {
			cuts = append(cuts, at)
		}
		delays := make([]time.Duration, 16)
		for i := range delays {
			delays[i] = time.Duration(rng.IntN(3000)) * time.Microsecond
		}
		s := strict()
		s.StreamScanChars, s.StreamContextChars = rng.IntN(300)+1, rng.IntN(300)+10
		var n atomic.Int32
		sc := blocks("SECRET")
		inner := sc.response
		sc.response = func(ctx context.Context, x *scan.Scan) (scan.Verdict, error) {
			time.Sleep(delays[int(n.Add(1))%len(delays)])
			return inner(ctx, x)
		}
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
			rw.Header().Set("Content-Type", "text/event-stream")
			for i, at := range cuts {
				end := len(sent)
				if i+1 < len(cuts) {
					end = cuts[i+1]
				}
				_, _ = io.WriteString(rw, sent[at:end])
				_ = http.NewResponseController(rw).Flush()
				if i%8 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
		answer := do(t, w.expect(newEngine(w.Process, prisma(), s, sc), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(streamBody)))
		got := readAll(t, answer)
		switch {
		case strings.Contains(got, "SECRET"):
			t.Fatalf("seed %d: the text went out: %q", seed, got)
		case marked < 0 && got != sent:
			t.Fatalf("seed %d: got %q of %q", seed, got, sent)
		case marked >= 0 && answer.StatusCode == 200:
			out, _, ok := strings.Cut(got, "data: {\"error\"")
			if !ok || !strings.HasPrefix(sent[:before], out) {
				t.Fatalf("seed %d: got %q, the marker's event begins at %d of %q", seed, got, before, sent)
			}
		case marked >= 0 && answer.StatusCode != 403:
			t.Fatalf("seed %d: answered %d", seed, answer.StatusCode)
		}
	}
	w.settled()
}
