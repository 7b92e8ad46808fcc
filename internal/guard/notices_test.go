// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

func TestNoticesAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 150 {
		w.Notice(false, fmt.Sprintf("line %d\nforged", i))
	}
	e := newEngine(w.Process, prisma(), strict(), &scanner{})
	var lines []string
	for range 6 {
		k := chatRequest(t).access(e)
		first := len(k.logs)
		k.respond(e)
		if first > 11 || len(k.logs)-first > 11 {
			t.Errorf("%d and %d lines in one event", first, len(k.logs)-first)
		}
		lines = append(lines, k.logged("warn")...)
	}
	if len(lines) != 101 || !contains(lines, "PREFIX more lines were not kept: 50") || !contains(lines, "PREFIX line 7?forged (") {
		t.Errorf("%d lines: %v", len(lines), lines)
	}
}

// An outage gives a line by the second request, and then one a minute with a
// count, whatever each of its failures is called.
func TestRepeatsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		sc := &away{fail: refused()}
		e := newEngine(w.Process, noma(), modes(policy.Monitor, policy.Monitor), sc)
		var lines []string
		for i := range 100 {
			k := chatRequest(t).run(e)
			lines = append(lines, k.logged("err")...)
			if i == 1 && len(lines) != 1 {
				t.Errorf("by the second request: %v", lines)
			}
			time.Sleep(time.Second)
			sc.mu.Lock()
			sc.fail.Reason = "breaker open"
			sc.mu.Unlock()
		}
		if len(lines) != 2 || !strings.Contains(lines[0], `reason="connection refused" check="API_base"`) || !strings.Contains(lines[1], " times, first ") {
			t.Errorf("logged %v", lines)
		}
		sc.mu.Lock()
		sc.back = true
		sc.mu.Unlock()
		w.Flush(t.Context())
	})
}

// TestTheNextEventWritesLines: whichever it is, also one whose exchange goes on
// for long, and one that has nothing to say itself.
func TestTheNextEventWritesLines(t *testing.T) {
	for name, c := range map[string]struct {
		settings policy.Settings
		first    func(e *guard.Engine) *fakeKong // before there is a line
		then     func(e *guard.Engine, k *fakeKong) *fakeKong
	}{
		"a request whose answer is still to come": {
			settings: strict(),
			then:     func(e *guard.Engine, _ *fakeKong) *fakeKong { return chatRequest(t).access(e) },
		},
		"one that is only watched": {
			settings: modes(policy.Monitor, policy.Monitor),
			then:     func(e *guard.Engine, _ *fakeKong) *fakeKong { return chatRequest(t).access(e) },
		},
		"one that nobody looks at": {
			settings: modes(policy.Off, policy.Off),
			then:     func(e *guard.Engine, _ *fakeKong) *fakeKong { return chatRequest(t).access(e) },
		},
		"its answer": {
			settings: strict(),
			first:    func(e *guard.Engine) *fakeKong { return chatRequest(t).access(e) },
			then:     func(e *guard.Engine, k *fakeKong) *fakeKong { return k.respond(e) },
		},
		"one that is refused": {
			settings: strict(),
			then: func(e *guard.Engine, _ *fakeKong) *fakeKong {
				k := chatRequest(t)
				k.body = `{"a":1,"a":2}`
				return k.access(e)
			},
		},
	} {
		w := newWorld(t)
		e := newEngine(w.Process, prisma(), c.settings, &scanner{})
		var k *fakeKong
		if c.first != nil {
			k = c.first(e)
		}
		w.Notice(true, "something happened")
		k = c.then(e, k)
		if n := strings.Count(k.allLogs(), "something happened"); n != 1 {
			t.Errorf("%s: written %d times: %v", name, n, k.logs)
		}
		if again := chatRequest(t).run(e); strings.Contains(again.allLogs(), "something happened") {
			t.Errorf("%s: written again", name)
		}
	}
}

// TestRepeatsNeedNoEvent: their count goes to stderr within a minute, though
// nobody calls.
func TestRepeatsNeedNoEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := newEngine(w.Process, prisma(), strict(), &scanner{})
		w.Notice(true, "something happened")
		chatRequest(t).run(e)
		for range 3 {
			w.Notice(true, "something happened")
		}
		if strings.Contains(w.stderr.String(), "3 times") {
			t.Error("repeats are told at once")
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if !strings.Contains(w.stderr.String(), "something happened (3 times, first 1m0s ago)") {
			t.Errorf("stderr has %s", w.stderr.String())
		}
		if k := chatRequest(t).access(e); len(k.logged("err")) != 1 || !contains(k.logged("err"), "3 times") {
			t.Errorf("logged %v", k.logs)
		}
	})
}
