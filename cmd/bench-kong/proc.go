// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit in which Linux tells programs a process's CPU time, whatever
// the kernel counts in.
const tick = 10 * time.Millisecond

// usage is what processes have used since they started.
type usage struct {
	cpu time.Duration // in user and in kernel mode
	// voluntary counts the context switches of threads that had to wait, forced
	// those of threads that were made to.
	voluntary, forced int64
	// calls are reads and writes, those that found nothing included. Sends and
	// receives are not among them: nginx makes those, Go's runtime does not.
	calls int64
}

func (u usage) plus(v usage) usage {
	return usage{u.cpu + v.cpu, u.voluntary + v.voluntary, u.forced + v.forced, u.calls + v.calls}
}

func (u usage) minus(v usage) usage {
	return usage{u.cpu - v.cpu, u.voluntary - v.voluntary, u.forced - v.forced, u.calls - v.calls}
}

// used adds up what processes have used. The error says that one has ended.
func used(pids []int) (usage, error) {
	var sum usage
	for _, pid := range pids {
		u, err := usedBy(filepath.Join("/proc", strconv.Itoa(pid)))
		if err != nil {
			return usage{}, err
		}
		sum = sum.plus(u)
	}
	return sum, nil
}

// usedBy reads a process's directory under /proc.
func usedBy(dir string) (u usage, err error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return usage{}, err
	}
	if u.cpu, err = cpuTime(stat); err != nil {
		return usage{}, err
	}
	io, err := os.ReadFile(filepath.Join(dir, "io"))
	if err != nil {
		return usage{}, err
	}
	for _, name := range []string{"syscr", "syscw"} {
		n, err := counter(io, name)
		if err != nil {
			return usage{}, err
		}
		u.calls += n
	}
	// Switches are counted by thread. Those of threads that have ended are lost;
	// neither nginx nor Go's runtime ends its threads under load.
	threads, err := filepath.Glob(filepath.Join(dir, "task", "*", "status"))
	if err != nil {
		return usage{}, err
	}
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		voluntary, err1 := counter(status, "voluntary_ctxt_switches")
		forced, err2 := counter(status, "nonvoluntary_ctxt_switches")
		if err := errors.Join(err1, err2); err != nil {
			return usage{}, err
		}
		u.voluntary, u.forced = u.voluntary+voluntary, u.forced+forced
	}
	return u, nil
}

// cpuTime reads the fields utime and stime, the 14th and the 15th, of a file
// stat. The second one, the command in parentheses, may hold anything.
func cpuTime(stat []byte) (time.Duration, error) {
	const first, utime, stime = 3, 14, 15
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= stime-first {
		return 0, fmt.Errorf("/proc: %d fields in stat", len(fields))
	}
	user, err1 := strconv.ParseInt(fields[utime-first], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime-first], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// counter reads a line "name: number" of a file.
func counter(file []byte, name string) (int64, error) {
	for line := range strings.Lines(string(file)) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == name {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc: no %s", name)
}
