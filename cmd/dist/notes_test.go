// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestNotes(t *testing.T) {
	const changelog = "# Changelog\n\nPreface.\n\n## 0.2.0 (2026-12-01)\n\n- new\n### Detail\n- more\n\n## 0.1.0\n\n- first\n\n## 0.0.1\n"
	for _, test := range []struct{ version, want string }{
		{"v0.2.0", "- new\n### Detail\n- more\n"},
		{"0.1.0", "- first\n"},
		{"0.0.1", ""},
		{"0.1", ""},
		{"", ""},
	} {
		got, err := notes(changelog, test.version)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v, want %q", test.version, got, err, test.want)
		}
	}
}
