// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// A workflow, as far as what it may do goes.
type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses        string
		Permissions map[string]string
		Timeout     int `yaml:"timeout-minutes"`
		Steps       []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

// mayWrite are the permissions that jobs need beyond reading the sources.
var mayWrite = map[string]map[string]string{
	"release.yml archives": {"contents": "write", "id-token": "write"},
	"release.yml image":    {"contents": "read", "packages": "write", "id-token": "write"},
}

// TestWorkflowsMayDoNoMoreThanTheyNeed: actions are pinned to commits, jobs read
// alone unless they are listed above, keep no credentials for what they run, and
// end by themselves. actionlint, in `make lint`, looks at the rest.
func TestWorkflowsMayDoNoMoreThanTheyNeed(t *testing.T) {
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	said := regexp.MustCompile(`(?m)uses: \S+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$`)
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		if err := yaml.Unmarshal(b, &w); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		file := filepath.Base(path)
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s may do %v", file, w.Permissions)
		}
		actions := 0
		for name, job := range w.Jobs {
			may := mayWrite[file+" "+name]
			for what, how := range job.Permissions {
				if may[what] != how {
					t.Errorf("%s: %s may %s %s", file, name, how, what)
				}
			}
			if job.Uses != "" {
				if !strings.HasPrefix(job.Uses, "./.github/workflows/") {
					t.Errorf("%s: %s is another's", file, name)
				}
				continue
			}
			if job.Timeout == 0 || len(job.Steps) == 0 {
				t.Errorf("%s: %s has no end, or nothing to do", file, name)
			}
			for _, s := range job.Steps {
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: %s writes values into a script: %s", file, name, s.Run)
				}
				if strings.Contains(s.Run, "@latest") {
					t.Errorf("%s: %s takes whatever is newest: %s", file, name, s.Run)
				}
				if s.Uses == "" {
					continue
				}
				actions++
				if !pinned.MatchString(s.Uses) {
					t.Errorf("%s: %s is not pinned", file, s.Uses)
				}
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != false {
					t.Errorf("%s: %s leaves its credentials to what runs later", file, name)
				}
			}
		}
		if n := len(said.FindAll(b, -1)); n != actions {
			t.Errorf("%s: %d of %d actions say which version they are pinned to", file, n, actions)
		}
	}
}
