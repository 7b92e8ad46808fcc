// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// TestSocketTakeover is a reload: the next process starts while the one before
// it still serves its connections.
func TestSocketTakeover(t *testing.T) {
	dir := shortDir(t)
	first := run(t, "ours", dir)
	old := first.connect(t)
	id := must[int32](t)(old.start(`{"mode":"pass"}`))
	stat := must[os.FileInfo](t)(os.Stat(first.socket))
	second := run(t, "ours", dir)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now, err := os.Stat(first.socket)
		if err != nil {
			t.Fatalf("the path was without a socket: %v", err)
		}
		if !os.SameFile(stat, now) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never taken over")
		}
	}
	if _, err := second.connect(t).event(id, "access"); !errors.Is(err, io.EOF) {
		t.Errorf("the new process knows the instance: %v", err)
	}
	if _, err := old.event(id, "access"); err != nil {
		t.Errorf("the old process: %v", err)
	}
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first.says(t, "draining")
	if _, err := old.event(id, "access"); err != nil {
		t.Errorf("the old process after SIGTERM: %v", err)
	}
	old.Close()
	if err := first.Wait(); err != nil {
		t.Errorf("%v\n%s", err, first.stderr.String())
	}
	if _, err := second.connect(t).start(`{}`); err != nil {
		t.Errorf("after the old process ended: %v", err)
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) != 1 {
		t.Errorf("left in the directory: %v", left)
	}
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := pluginserver.Listen(path); err == nil {
		l.Close()
		t.Error("a file was replaced")
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, []byte("mine")) {
		t.Errorf("%q, %v", b, err)
	}
}
