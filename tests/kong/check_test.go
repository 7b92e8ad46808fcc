// SPDX-License-Identifier: Apache-2.0

package kong_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// TestCheck: both binaries find nothing wrong with the Kong that runs them, by
// its Admin API and by its Status API with what the machine shows.
func TestCheck(t *testing.T) {
	h := open(t, 1)
	for _, name := range plugins.Names() {
		binary := filepath.Join(binaries, name)
		for by, c := range map[string]struct {
			args []string
			want []string
		}{
			"Admin API": {
				[]string{"-check", "-admin", h.Admin},
				[]string{`a running Kong, \d+ configurations of `, `the scan service answers from here in`, `\n0 errors, `},
			},
			"Status API": {
				[]string{"-check", "-status", h.Status, "-kong-prefix", h.Prefix},
				[]string{
					`its settings are read from .*/\.kong_env`, binary + ` is this binary`, `a plugin server listens at .*\.socket`, `\d+ processes of ` + name,
					`a declarative configuration, \d+ configurations of `, `the scan service answers from here in`, `\n0 errors, `,
				},
			},
		} {
			cmd := exec.Command(binary, c.args...)
			cmd.Env = []string{}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s, %s: %v", name, by, err)
			}
			want := append(c.want, `Kong `+regexp.QuoteMeta(version)+` `)
			if !before(t, 3) && by == "Status API" {
				want = append(want, `it is ready for exchanges`)
			}
			for _, w := range want {
				if !regexp.MustCompile(w).Match(out) {
					t.Errorf("%s, %s: does not say %q", name, by, w)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		}
	}
}
