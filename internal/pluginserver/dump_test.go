// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSameDumpAsGoPDK(t *testing.T) {
	dir := shortDir(t)
	dumps := map[string]any{}
	for _, as := range []string{"go-pdk", "ours"} {
		stdout, stderr, code := outputOf(t, as, dir, "-dump")
		if code != 0 || stderr != "" || strings.Count(stdout, "\n") != 1 {
			t.Fatalf("%s: code %d, stdout %q, stderr %q", as, code, stdout, stderr)
		}
		var v any
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Fatal(err)
		}
		dumps[as] = v
	}
	if diff := cmp.Diff(dumps["go-pdk"], dumps["ours"]); diff != "" {
		t.Errorf("(-go-pdk +ours)\n%s", diff)
	}
}
