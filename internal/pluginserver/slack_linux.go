// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is by how much Linux may be late when it wakes a thread of the process
// that serves, so that it wakes for several timers at once. Go's runtime has a thread
// that looks after the others and sleeps for 20 us at a time, for as long as there
// is work. With Linux's default of 50 us its awakenings are a seventh of the
// process's CPU under load, with 1 ms a twelfth, with 4 ms a fiftieth; more gives
// little. For as long, a file that does not answer can hold up what else the process
// does. No timer of ours has to be more exact, and what comes over a connection is no
// timer.
const timerSlack = 4 * time.Millisecond

// withSlack runs start, which starts a process, so that the process has the timer
// slack: a thread's is handed on to the processes and threads that it starts
// (prctl(2), PR_SET_TIMERSLACK). Where that cannot be had, the process does without.
func withSlack(start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack.Nanoseconds()), 0, 0, 0) != nil {
		return start()
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(before), 0, 0, 0) }() // as the call before, it cannot fail
	return start()
}
