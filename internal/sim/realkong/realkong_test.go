// SPDX-License-Identifier: Apache-2.0

package realkong

import (
	"os"
	"path/filepath"
	"testing"
)

// TestFailedStart: a start that fails, or that somebody breaks off, leaves no Kong
// behind.
func TestFailedStart(t *testing.T) {
	for name, c := range map[string]struct {
		script  string
		stopped bool
	}{
		"with an nginx":   {`mkdir -p "$p/pids"; echo 1 >"$p/pids/nginx.pid"; exit 1`, true},
		"before an nginx": {"exit 1", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bin, stopped := filepath.Join(dir, "kong"), filepath.Join(dir, "stopped")
			script := "#!/bin/sh\np=" + filepath.Join(dir, "p") + "\ncase $1 in\nstop) echo >" + stopped + ";;\nstart) " + c.script + ";;\nesac\n"
			if err := os.WriteFile(bin, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := Start(t.Context(), dir, Options{Bin: bin, Config: struct{}{}}); err == nil {
				t.Error("a start that failed is none")
			}
			if _, err := os.Stat(stopped); (err == nil) != c.stopped {
				t.Errorf("stopped: %v", err)
			}
		})
	}
}
