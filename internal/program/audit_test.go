// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// recordsIn waits until a file holds records, counts them by plugin and leg, and
// looks for content in them.
func recordsIn(t *testing.T, path string, want map[string]int) {
	t.Helper()
	var got map[string]int
	for deadline := time.Now().Add(patience); !maps.Equal(got, want); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("marker of text")) || bytes.Contains(b, []byte(apiKey)) || bytes.Contains(b, []byte("fine")) {
			t.Fatalf("content in the audit log: %s", b)
		}
		got = map[string]int{}
		for line := range bytes.Lines(b) {
			var r audit.Record
			if err := json.Unmarshal(line, &r); err == nil {
				got[r.Plugin+" "+r.Leg+" "+r.Action]++
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %v, want %v", path, got, want)
		}
	}
}

// TestAuditLog: both real binaries write to one file, which is moved away under
// them, and SIGHUP to what Kong has started makes them open it again.
func TestAuditLog(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "audit.jsonl.1")
	h := build(t, "-audit-log", path)
	each := map[string]int{}
	for _, name := range plugins.Names() {
		each[name+" request allow"], each[name+" response allow"] = 1, 1
	}
	ask := func() {
		for _, name := range plugins.Names() {
			if code := h.ask(t, name, "marker of text"); code != 200 {
				t.Fatalf("%s: %d", name, code)
			}
		}
	}
	ask()
	recordsIn(t, path, each)
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	for _, name := range plugins.Names() {
		if err := h.gateway.Signal(name, syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	// Both have heard of it once the file is there again and takes no record of
	// the next exchanges less.
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody has opened the file again")
		}
	}
	time.Sleep(time.Second) // by now each would have seen it by itself, too
	ask()
	recordsIn(t, path, each)
	recordsIn(t, old, each)
	for _, name := range plugins.Names() {
		if _, metrics := scrape(t, "http://"+h.metrics[name]+"/metrics"); !strings.Contains(metrics, `ai_guard_audit_records_total{plugin="`+name+`",result="written"} 4`) {
			t.Errorf("%s counts no records:\n%s", name, metrics)
		}
	}
}

// A pipe that nobody reads delays nothing, and is no reason not to start.
func TestAuditLogThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	h := build(t, "-audit-log", path)
	for range 3 {
		for _, name := range plugins.Names() {
			if code := h.ask(t, name, "hello"); code != 200 {
				t.Fatalf("%s: %d", name, code)
			}
		}
	}
}

// A path that cannot be opened is an error at start that names the flag.
func TestAuditLogThatCannotBeOpened(t *testing.T) {
	for _, name := range plugins.Names() {
		code, _, stderr := run(t, nil, name, "-kong-prefix", t.TempDir(), "-audit-log", "/no/such/directory/audit.log")
		if code != 1 || !strings.Contains(stderr, "-audit-log /no/such/directory/audit.log: open: no such file or directory") {
			t.Errorf("%s: code %d, %s", name, code, stderr)
		}
	}
}
