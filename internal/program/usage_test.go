// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// TestHelp: each flag once, and what the codes mean.
func TestHelp(t *testing.T) {
	for _, name := range plugins.Names() {
		code, stdout, stderr := run(t, nil, name, "-help")
		if code != 2 || stdout != "" {
			t.Errorf("code %d, stdout %q", code, stdout)
		}
		for _, flag := range []string{"kong-prefix", "dump", "check", "admin", "status", "scan", "scan-file", "explain", "config", "for", "leg", "metrics", "otlp-endpoint", "audit-log", "priority", "procs", "max-held-bytes", "max-scans"} {
			if n := len(regexp.MustCompile(`(?m)^  -`+flag+`( |$)`).FindAllString(stderr, -1)); n != 1 {
				t.Errorf("-%s stands there %d times", flag, n)
			}
		}
		if !strings.Contains(stderr, "Exit codes:") || !bytes.HasPrefix([]byte(stderr), []byte(name+" is a plugin of Kong Gateway")) {
			t.Error(stderr)
		}
	}
}

// TestWrongFlags: what is wrong stands alone, not above all flags.
func TestWrongFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-chek", "kong.yml"}, "flag provided but not defined: -chek\nNAME -help lists the flags\n"},
		{[]string{"-drain-time", "soon"}, "invalid value \"soon\" for flag -drain-time: parse error\nNAME -help lists the flags\n"},
		{[]string{"kong.yml"}, "unexpected argument \"kong.yml\"\nNAME -help lists the flags\n"},
	} {
		for _, name := range plugins.Names() {
			code, stdout, stderr := run(t, nil, name, c.args...)
			if want := strings.ReplaceAll(c.want, "NAME", name); code != 2 || stdout != "" || stderr != want {
				t.Errorf("%q: code %d, stdout %q, stderr %q", c.args, code, stdout, stderr)
			}
		}
	}
}
