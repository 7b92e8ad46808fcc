// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// isChild marks, in the environment, the process that a thin parent has started.
const isChild = "KONGTEST_CHILD=1"

// relaying is how many requests the probe's relay serves now.
var relaying atomic.Int64

// thinParent starts this executable again, in a process group of its own, and
// waits for it. Its child knows by its stdin that the parent has gone.
func thinParent() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(self, os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), isChild)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := child.StdinPipe(); err != nil {
		return err
	}
	return child.Run()
}

// endAfterParent ends this process when its parent has gone and nothing is
// relayed any more.
func endAfterParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	for relaying.Load() > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	os.Exit(0)
}

// asChild reports whether a thin parent has started this process, which then
// ends after it.
func asChild() bool {
	if !slices.Contains(os.Environ(), isChild) {
		return false
	}
	go endAfterParent()
	return true
}
