// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestPanicsAreLoggedOncePerPlace(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.Process, prisma(), strict(), both(func(context.Context, *scan.Scan) (scan.Verdict, error) {
		panic("the prompt was: marker-of-text")
	}))
	other := newEngine(w.Process, prisma(), strict(), both(func(context.Context, *scan.Scan) (scan.Verdict, error) {
		var none []int
		_ = none[len(none)]
		return scan.Verdict{}, nil
	}))
	for range 5 {
		chatRequest(t).run(e)
		chatRequest(t).run(other)
	}
	stderr := w.stderr.String()
	if n := strings.Count(stderr, "recovered from a panic"); n != 2 {
		t.Errorf("%d stacks: %s", n, stderr)
	}
	if strings.Contains(stderr, "marker") || !strings.Contains(stderr, "index out of range") || !strings.Contains(stderr, "panics_test.go") {
		t.Errorf("logged %s", stderr)
	}
	if w.metric("panics_total") != 10 {
		t.Errorf("%v panics counted", w.metric("panics_total"))
	}
}
