// SPDX-License-Identifier: Apache-2.0

// Package procfs has tests see from /proc what becomes of a process.
package procfs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Signal sends a signal to processes, but for those that have ended. After
// SIGSTOP it returns when all of them stand still.
func Signal(sig syscall.Signal, pids ...int) error {
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	if sig == syscall.SIGSTOP {
		StandStill(pids...)
	}
	return nil
}

// StandStill returns when processes that were sent SIGSTOP stand still, where
// there is a /proc: on a busy machine a thread may go on until the one that takes
// the signal has its turn, and answer what the test believes to be lost.
func StandStill(pids ...int) {
	for slices.ContainsFunc(pids, runs) {
		time.Sleep(time.Millisecond)
	}
}

// runs reports whether a thread of a process is neither stopped nor ended.
func runs(pid int) bool {
	states, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	return slices.ContainsFunc(states, func(path string) bool {
		line, err := os.ReadFile(path)
		// The name of the process stands in brackets before the state.
		_, state, found := strings.Cut(string(line[strings.LastIndexByte(string(line), ')')+1:]), " ")
		return err == nil && found && !strings.ContainsAny(state[:1], "TtZX")
	})
}
