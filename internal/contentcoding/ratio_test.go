// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"bytes"
	"testing"
)

// TestRatioCountsOnlyForLargeBodies: what a body unfolds to is a danger, not
// how well it was packed.
func TestRatioCountsOnlyForLargeBodies(t *testing.T) {
	for coding, encode := range codings {
		for _, n := range []int{180 << 10, RatioFloor} {
			body := encode(bytes.Repeat([]byte("\n"), n))
			if n/len(body) <= int(defaults.Ratio) {
				t.Fatalf("%s: %d bytes pack to %d only", coding, n, len(body))
			}
			if out, err := Decode(coding, body, defaults); err != nil || len(out) != n {
				t.Errorf("%s: %d bytes from %d: %v", coding, len(out), len(body), err)
			}
		}
		if _, err := Decode(coding, encode(bytes.Repeat([]byte("\n"), RatioFloor+1)), defaults); err == nil || kindOf(t, err) != Bomb {
			t.Errorf("%s beyond the floor: %v", coding, err)
		}
	}
}
