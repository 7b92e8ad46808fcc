// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
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

// Kong does not start with a plugin whose version is not three numbers.
func TestDumpedVersion(t *testing.T) {
	for _, test := range []struct{ built, want string }{
		{"0.1.0", "0.1.0"},
		{"v1.20.3", "1.20.3"},
		{"v1.2.3-4-gabcdef0-dirty", "1.2.3"},
		{"v0.0.0-20261127120000-abcdef012345", "0.0.0"},
		{"1.2.3.4", "1.2.3"},
		{"(devel)", "0.0.0"},
		{"unknown", "0.0.0"},
		{"", "0.0.0"},
		{"94410837", "0.0.0"},
		{"abc1.2.3", "0.0.0"},
		{"1.2", "0.0.0"},
	} {
		if got := pluginserver.KongVersion(test.built); got != test.want {
			t.Errorf("%q is dumped as %q, want %q", test.built, got, test.want)
		}
	}
}
