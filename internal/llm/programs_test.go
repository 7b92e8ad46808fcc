// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCodingPrograms: what in the requests of programs that write code is new, and
// what in the user's messages they wrote themselves. The bodies are ours, in the
// shapes that the programs' public sources show.
func TestCodingPrograms(t *testing.T) {
	for _, tc := range []struct {
		file       string
		fresh      []string
		scaffolded []string // of the system, in users' messages
		words      []string // of users
	}{
		{
			"anthropic/request-claude-code.json",
			[]string{
				"     1\tpackage ferries\n\n<system-reminder>\nThis file is long.\n</system-reminder>",
				"<system-reminder>\nThe list of things to do is empty.\n</system-reminder>",
			},
			[]string{
				"<system-reminder>\nAs you answer, you can use the notes of the project:\n# CLAUDE.md\nRun make before a commit.\n</system-reminder>",
				"<system-reminder>\nThe list of things to do is empty.\n</system-reminder>",
			},
			[]string{"Why does the timetable lose its last line?"},
		},
		{
			"responses/request-codex.json",
			[]string{"Mend it."},
			[]string{
				"<user_instructions>\n\nRun make before a commit.\n\n</user_instructions>",
				"<environment_context>\n  <cwd>/src/ferries</cwd>\n  <approval_policy>on-request</approval_policy>\n  <shell>zsh</shell>\n</environment_context>",
			},
			[]string{"Why does the timetable lose its last line?", "Mend it."},
		},
		{
			"openai/request-opencode.json",
			[]string{"<file>\n00001| package ferries\n</file>"},
			[]string{"<system-reminder>\nPlan mode is on: change nothing.\n</system-reminder>"},
			[]string{"Why does the timetable lose its last line?"},
		},
		{
			"openai/request-cline.json",
			[]string{
				"[read_file for 'reader.go'] Result:", "package ferries",
				"<environment_details>\n# Visible Files\nreader.go\n</environment_details>",
			},
			[]string{
				"<environment_details>\n# Visible Files\nreader.go\n\n# Current Mode\nACT MODE\n</environment_details>",
				"<environment_details>\n# Visible Files\nreader.go\n</environment_details>",
			},
			[]string{"<task>\nWhy does the timetable lose its last line?\n</task>", "[read_file for 'reader.go'] Result:", "package ferries"},
		},
	} {
		t.Run(tc.file, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "llm", filepath.FromSlash(tc.file)))
			if err != nil {
				t.Fatal(err)
			}
			m, err := Read(Input{ContentType: "application/json", Body: body}, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			var fresh []string
			for _, i := range m.Select(New) {
				if t := &m.Turns[i]; t.Message >= 0 && t.Role != RoleSystem && !t.Joined {
					fresh = append(fresh, t.Text)
				}
			}
			if d := cmp.Diff(tc.fresh, fresh); d != "" {
				t.Errorf("new (-want +got):\n%s", d)
			}
			s := m.Separate(m.Turns, nil)
			if s == nil {
				t.Fatal("nothing was separated")
			}
			var scaffolded, words []string
			for i, from := range s.from {
				switch turn := &s.Turns[i]; {
				case from.segment >= 0 && turn.Role == RoleSystem:
					scaffolded = append(scaffolded, turn.Text)
				case turn.Role == RoleUser && turn.Kind == KindText && !turn.Joined:
					words = append(words, turn.Text)
				}
			}
			if d := cmp.Diff(tc.scaffolded, scaffolded); d != "" {
				t.Errorf("scaffolding (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.words, words); d != "" {
				t.Errorf("words (-want +got):\n%s", d)
			}
		})
	}
}
