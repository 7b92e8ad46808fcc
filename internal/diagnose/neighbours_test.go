// SPDX-License-Identifier: Apache-2.0

package diagnose_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/diagnose"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// TestNeighboursKnowAllOfOurs: a binary cannot import the list, which would
// link every vendor into each, so what it knows of the others is held against
// the list here.
func TestNeighboursKnowAllOfOurs(t *testing.T) {
	want := map[string]int{}
	for _, p := range plugins.All() {
		want[p.Vendor.Plugin] = p.Priority
	}
	if diff := cmp.Diff(want, diagnose.Ours()); diff != "" {
		t.Errorf("neighboursOfKong (-want +got):\n%s", diff)
	}
}
