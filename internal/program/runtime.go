// SPDX-License-Identifier: Apache-2.0

package program

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// maxProcs bounds -procs.
	maxProcs = 1024
	// procsCheck is how often it is looked whether the process may use another
	// number of cores than before: a cgroup's limit may be changed at any time.
	procsCheck = 30 * time.Second
	// maxBallast bounds the ballast.
	maxBallast = 32 << 20
)

// tuning is how the process uses Go's scheduler and collector.
type tuning struct {
	// procs is how many cores may run Go code at once, 0 for as many as the
	// machine suggests.
	procs int
}

// ballast is held for the collector's sake and never touched; see ballastSize.
var ballast atomic.Pointer[[]byte]

func (t *tuning) flags(fs *flag.FlagSet) {
	fs.Func("procs", "how many cores the process may use at once, 1 to 1024 (default GOMAXPROCS of the environment, or else half of what the machine or the cgroup has, at least 1: Kong's workers take the others)", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxProcs {
			return fmt.Errorf("must be a number from 1 to %d", maxProcs)
		}
		t.procs = n
		return nil
	})
}

// apply sets up the runtime. limit is the memory limit that fits the bounds, in
// bytes. GOMEMLIMIT, GOGC and GOMAXPROCS in the environment are the operator's
// word and stay, but that -procs is a nearer one. What goes on ends with done, and
// panicked takes what it recovers.
func (t *tuning) apply(limit int64, done <-chan struct{}, panicked func(any)) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	if os.Getenv("GOGC") == "" {
		untouched := make([]byte, ballastSize(debug.SetMemoryLimit(-1)))
		ballast.Store(&untouched)
	}
	switch {
	case t.procs > 0:
		runtime.GOMAXPROCS(t.procs)
	case os.Getenv("GOMAXPROCS") == "":
		runtime.GOMAXPROCS(procs(runtime.GOMAXPROCS(0)))
		go followCores(done, panicked)
	}
}

// ballastSize is how many bytes to hold untouched under a memory limit. The
// collector starts when the heap is twice what the last round left, and an
// exchange leaves nothing: the heap is a few MB, and busy processes collected
// every few milliseconds. With the ballast, which takes no memory and no time,
// there are as many bytes of garbage between two rounds at least. A percentage
// (GOGC) that does the same would multiply also the heap of a process that
// holds hundreds of MB.
func ballastSize(limit int64) int64 {
	return max(0, min(maxBallast, limit/16))
}

// procs is how many of the cores that the process may use run it at once. What
// an exchange costs is shared about evenly by Kong's worker and us. With as many
// threads as cores most of what is ready to run finds a core that Kong's worker
// has, and the scheduler spends a quarter of our time on waking threads in vain.
func procs(cores int) int { return max(1, cores/2) }

// followCores does what Go does by itself while nobody has set a number.
func followCores(done <-chan struct{}, panicked func(any)) {
	defer func() {
		if v := recover(); v != nil {
			panicked(v)
		}
	}()
	tick := time.NewTicker(procsCheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			adjustProcs()
		case <-done:
			return
		}
	}
}

// adjustProcs asks Go for its own number, which it has to set for that.
func adjustProcs() {
	runtime.SetDefaultGOMAXPROCS()
	runtime.GOMAXPROCS(procs(runtime.GOMAXPROCS(0)))
}
