// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWithSlack: only what is started has the slack. The thread that starts it has
// its own again, however the start ends.
func TestWithSlack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const none = -1 // of a kernel without timer slack, where what is started does without
	slack := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			return none
		}
		return n
	}
	before, during := slack(), int(timerSlack)
	if before == none {
		during = none
	}
	check := func(want error) (err error) {
		defer func() {
			if p := recover(); p != nil && p != any("start") {
				panic(p)
			}
			if now := slack(); now != before {
				t.Errorf("%d ns are left, of %d", now, before)
			}
		}()
		return withSlack(func() error {
			if now := slack(); now != during {
				t.Errorf("a start under %d ns", now)
			}
			if want == nil {
				panic("start")
			}
			return want
		})
	}
	if err := check(os.ErrPermission); !errors.Is(err, os.ErrPermission) {
		t.Error(err)
	}
	_ = check(nil)
}
