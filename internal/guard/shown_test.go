// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// TestMonitorScansWhatItShows: a leg that would be refused unread is scanned as
// the text that it shows. The line says both what would have been refused and
// what the scan found.
func TestMonitorScansWhatItShows(t *testing.T) {
	const said = "the grey heron"
	allow := verdict(scan.Verdict{Action: scan.Allow, ScanID: "scan-9"})
	for _, c := range []struct {
		name    string
		change  func(*fakeKong)
		sc      func(context.Context, *scan.Scan) (scan.Verdict, error)
		leg     llm.Leg
		outcome string
		shown   string // "" for no scan
		partial bool
	}{
		{"malformed, and blocked", func(k *fakeKong) { k.body = `{"a":"` + said + `","a":` }, block, llm.RequestLeg, "malformed", "policy_block", false},
		{"malformed, and allowed", func(k *fakeKong) { k.body = `{"a":"` + said + `","a":"b"}` }, allow, llm.RequestLeg, "malformed", "allow", false},
		{"unscannable", func(k *fakeKong) { k.set("content-type", "application/msgpack"); k.body = "\x0a" + said }, block, llm.RequestLeg, "unscannable", "policy_block", false},
		{"a label that means two things", func(k *fakeKong) {
			k.set("content-type", "text/plain; charset=x; charset=y")
			k.body = said
		}, block, llm.RequestLeg, "malformed", "policy_block", false},
		{"too large", func(k *fakeKong) { k.body = said + strings.Repeat(" and more", 1000) }, block, llm.RequestLeg, "too_large", "policy_block", true},
		{"an answer", func(k *fakeKong) { k.answer = `{"choices":[{"message":{"content":"` + said }, block, llm.ResponseLeg, "malformed", "policy_block", false},
		{"an answer that is too large", func(k *fakeKong) { k.answer = said + strings.Repeat(" and more", 1000) }, block, llm.ResponseLeg, "too_large", "policy_block", true},
		{"media beside a text", func(k *fakeKong) {
			k.body = `{"messages":[{"role":"user","content":[{"type":"text","text":"` + said + `"},{"type":"input_audio","input_audio":{"data":"UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=","format":"wav"}}]}]}`
		}, block, llm.RequestLeg, "media_refused", "policy_block", false},
		{"nothing to see", func(k *fakeKong) { k.set("content-encoding", "rot13"); k.body = "\x01\x02\x03\x04\xff" }, block, llm.RequestLeg, "unscannable", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			s := modes(policy.Monitor, policy.Off)
			if c.leg == llm.ResponseLeg {
				s = modes(policy.Off, policy.Monitor)
			}
			s.MaxRequestBytes, s.MaxResponseBytes, s.BlockMedia = 4<<10, 4<<10, true
			k := chatRequest(t)
			c.change(k)
			sc := both(c.sc)
			k.run(newEngine(w.Process, prisma(), s, sc))
			w.Flush(context.Background())
			if k.exits > 0 {
				t.Fatalf("refused: %+v", k.exit)
			}
			seen := sc.seen(c.leg)
			if (len(seen) > 0) != (c.shown != "") {
				t.Fatalf("%d scans", len(seen))
			}
			log := w.stderr.String()
			line := c.leg.String() + ` would be refused: outcome=\"` + c.outcome + `\"`
			if !strings.Contains(log, line) || c.shown != "" && !strings.Contains(log, `shown=\"`+c.shown+`\"`) || c.shown == "" && strings.Contains(log, "shown=") {
				t.Errorf("logged %s", log)
			}
			if c.partial != strings.Contains(log, `unscanned=\"rest\"`) || strings.Contains(log, said) {
				t.Errorf("logged %s", log)
			}
			if w.metric("legs_total", "monitor", c.outcome) != 1 || w.metric("monitor_jobs_total", "sent") != 1 {
				t.Error("not counted as what it is")
			}
			if c.shown == "" {
				return
			}
			if !strings.Contains(log, `scan_id=\"scan-9\"`) || w.metric("shown_total", c.leg.String(), c.shown) != 1 {
				t.Errorf("the verdict is nowhere: %s", log)
			}
			found := false
			for _, turn := range seen[0].Turns {
				found = found || strings.Contains(turn.Text, said)
			}
			if !found {
				t.Errorf("scanned %+v", seen[0].Turns)
			}
		})
	}
}

// TestMonitorReadsTheBeginningOfAFile: a request that Kong keeps in a file and
// that is too large is reported as far as it may be; where it is enforced it is
// refused unread.
func TestMonitorReadsTheBeginningOfAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte(`{"messages":[{"role":"user","content":"the grey heron `+strings.Repeat("and more ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []policy.Mode{policy.Monitor, policy.Enforce} {
		w := newWorld(t)
		s := modes(mode, policy.Off)
		s.MaxRequestBytes = 4 << 10
		k := chatRequest(t)
		k.bodyFile = file
		sc := both(block)
		k.run(newEngine(w.Process, prisma(), s, sc))
		w.Flush(context.Background())
		seen := sc.seen(llm.RequestLeg)
		if mode == policy.Enforce {
			if k.exit == nil || k.exit.status != 413 || len(seen) > 0 {
				t.Errorf("enforced: %+v, %d scans", k.exit, len(seen))
			}
			continue
		}
		if k.exit != nil || len(seen) != 1 || !strings.Contains(seen[0].Turns[0].Text, "the grey heron") || len(seen[0].Turns[0].Text) > 4<<10 {
			t.Errorf("monitored: %+v, %d scans", k.exit, len(seen))
		}
		if w.metric("held_bytes") != 0 || w.metric("monitor_bytes") != 0 {
			t.Error("memory is held")
		}
	}
}

// TestMonitorScansWhatTheServiceTakes: of a leg that is too large for the
// service, the beginning is scanned.
func TestMonitorScansWhatTheServiceTakes(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.body = `{"messages":[{"role":"user","content":"the grey heron ` + strings.Repeat("änd more ", 10_000) + `"}]}`
	sc := both(func(ctx context.Context, s *scan.Scan) (scan.Verdict, error) {
		size := 0
		for _, turn := range s.Turns {
			size += len(turn.Text)
		}
		if size > 20_000 {
			return scan.Verdict{}, &scan.Failure{Kind: scan.TooLarge}
		}
		return block(ctx, s)
	})
	k.run(newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), sc))
	w.Flush(context.Background())
	seen := sc.seen(llm.RequestLeg)
	last := seen[len(seen)-1].Turns
	if len(last) != 1 || len(last[0].Text) < 10_000 || !strings.HasPrefix(last[0].Text, "the grey heron") || strings.ToValidUTF8(last[0].Text, "?") != last[0].Text {
		t.Errorf("scanned %d turns", len(last))
	}
	if log := w.stderr.String(); !strings.Contains(log, `outcome=\"too_large\"`) || !strings.Contains(log, `shown=\"policy_block\" unscanned=\"rest\"`) {
		t.Errorf("logged %s", log)
	}
	// It ends where nothing is taken at all.
	w = newWorld(t)
	sc = both(fails(&scan.Failure{Kind: scan.TooLarge}))
	k.run(newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), sc))
	w.Flush(context.Background())
	if n := len(sc.seen(llm.RequestLeg)); n < 3 || n > 20 || w.metric("shown_total", "too_large") != 1 || w.metric("monitor_jobs_total", "sent") != 1 {
		t.Errorf("%d scans: %s", n, w.stderr.String())
	}
}

// TestShownTriesAgain: while the service is away, such a leg waits as any other,
// and a service that refuses us is told of.
func TestShownTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := &away{fail: refused()}
		k := chatRequest(t)
		k.body = `{"a":"the grey heron`
		k.run(newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), sc))
		time.Sleep(20 * time.Second)
		if w.metric("monitor_items") != 1 || w.metric("legs_total") != 0 || sc.count() < 2 {
			t.Errorf("the leg was given up after %d tries", sc.count())
		}
		sc.mu.Lock()
		sc.back = true
		sc.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.metric("monitor_items") != 0 || w.metric("legs_total", "malformed") != 1 || w.metric("shown_total", "request") != 1 {
			t.Error("the leg was not reported")
		}
	})
	w := newWorld(t)
	k := chatRequest(t)
	k.body = `{"a":"the grey heron`
	k.run(newEngine(w.Process, noma(), modes(policy.Monitor, policy.Off), both(fails(&scan.Failure{Kind: scan.Misconfigured, Reason: "status 401", Hint: "client_secret"}))))
	w.Flush(context.Background())
	if log := w.stderr.String(); !strings.Contains(log, "monitored exchange without a verdict") || !strings.Contains(log, `check=\"client_secret\"`) || w.metric("monitor_jobs_total", "failed") != 1 {
		t.Errorf("logged %s", log)
	}
}

// TestShownTakesNoMoreThanTheQueue: what is read loosely is paid for from the
// queue's memory, which is given back.
func TestShownTakesNoMoreThanTheQueue(t *testing.T) {
	w := newWorld(t, func(b *guard.Bounds) { b.MonitorBytes = 8 << 20 })
	k := chatRequest(t)
	k.body = strings.Repeat("caf\xe9 au lait ", 1<<17)
	sc := both(block)
	k.run(newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), sc))
	w.Flush(context.Background())
	if k.exit != nil || w.metric("monitor_bytes") != 0 || len(sc.seen(llm.RequestLeg)) != 0 || w.metric("monitor_jobs_total", "failed") != 1 {
		t.Errorf("%+v, %v bytes are held, %d scans", k.exit, w.metric("monitor_bytes"), len(sc.seen(llm.RequestLeg)))
	}
}
