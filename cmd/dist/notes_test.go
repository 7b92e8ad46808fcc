// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"regexp"
	"testing"
)

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

// TestNotesOfTheChangelog: a release finds what the changelog says of it. What
// comes next has its place above.
func TestNotesOfTheChangelog(t *testing.T) {
	b, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	headings := regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(string(b), -1)
	if len(headings) < 2 || headings[0][1] != "Unreleased" {
		t.Fatalf("it begins with %q", headings)
	}
	for _, h := range headings[1:] {
		m := regexp.MustCompile(`^([0-9]+\.[0-9]+\.[0-9]+) \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$`).FindStringSubmatch(h[1])
		if m == nil {
			t.Errorf("%q is no version with its day", h[1])
			continue
		}
		if _, err := notes(string(b), "v"+m[1]); err != nil {
			t.Error(err)
		}
	}
}
