// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

func TestNoticesAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 150 {
		w.Notice(false, fmt.Sprintf("line %d\nforged", i))
	}
	e := newEngine(w.Process, prisma(), strict(), &scanner{})
	var lines []string
	for range 12 {
		k := chatRequest(t).run(e)
		if len(k.logs) > 11 {
			t.Errorf("%d lines in one event", len(k.logs))
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
