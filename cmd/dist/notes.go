// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// notes returns what a changelog says of a version: the text below the heading
// that names it, up to the next heading of its level. A leading "v" of the
// version does not count.
func notes(changelog, version string) (string, error) {
	version = strings.TrimPrefix(version, "v")
	var out strings.Builder
	inside := false
	for line := range strings.Lines(changelog) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			if inside {
				break
			}
			name, _, _ := strings.Cut(strings.TrimSpace(heading), " ")
			inside = name == version
			continue
		}
		if inside {
			out.WriteString(line)
		}
	}
	if text := strings.TrimSpace(out.String()); text != "" {
		return text + "\n", nil
	}
	return "", fmt.Errorf("the changelog says nothing of version %s", version)
}
