// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"runtime"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// TestBatchesCostWhatTheyAreWorth: a batch of many members is refused or goes
// as text, and takes no memory for each of them on the way.
func TestBatchesCostWhatTheyAreWorth(t *testing.T) {
	for name, tc := range map[string]struct {
		member string
		kind   scan.FailureKind
	}{
		"calls":         {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"a":"b"}}}`, scan.TooLarge},
		"notifications": {`{"jsonrpc":"2.0","method":"notifications/progress","params":{"message":"b"}}`, 0},
	} {
		s := scanOf(t, mcpPath, "["+strings.Repeat(tc.member+",", 10_000)+tc.member+"]", "")
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, fail := planOf(&Config{ProfileName: "p"}, s)
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 8<<20 {
			t.Errorf("%s: %d bytes taken", name, taken)
		}
		if tc.kind != 0 && (fail == nil || fail.Kind != tc.kind) || tc.kind == 0 && fail != nil {
			t.Errorf("%s: %+v", name, fail)
		}
	}
}
