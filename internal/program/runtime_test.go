// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
)

// TestBallastSize: tens of megabytes of garbage at the default bounds, never
// more, and little of a small limit.
func TestBallastSize(t *testing.T) {
	bounds := guard.DefaultBounds()
	for limit, want := range map[int64]int64{
		bounds.MemoryLimit(): 32 << 20,
		1<<63 - 1:            32 << 20, // GOMEMLIMIT=off
		1 << 30:              32 << 20,
		160 << 20:            10 << 20,
		1 << 20:              64 << 10,
		0:                    0,
		-1:                   0,
	} {
		if got := program.BallastSize(limit); got != want {
			t.Errorf("%d: %d, want %d", limit, got, want)
		}
	}
}

func TestProcs(t *testing.T) {
	for cores, want := range map[int]int{1: 1, 2: 1, 3: 1, 4: 2, 7: 3, 16: 8, 128: 64} {
		if got := program.Procs(cores); got != want {
			t.Errorf("of %d cores: %d, want %d", cores, got, want)
		}
	}
}

// TestCoresAreFollowed: what was set before is no reason not to look again.
func TestCoresAreFollowed(t *testing.T) {
	defer runtime.SetDefaultGOMAXPROCS()
	runtime.SetDefaultGOMAXPROCS()
	all := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(all + 5)
	program.AdjustProcs()
	if got := runtime.GOMAXPROCS(0); got != program.Procs(all) {
		t.Errorf("%d of %d cores", got, all)
	}
}

// TestTuning: the flag is obeyed, else the environment, else it is ours.
func TestTuning(t *testing.T) {
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	// The environment without these.
	plain := slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return name == "GOGC" || name == "GOMEMLIMIT" || name == "GOMAXPROCS"
	})
	bounds := guard.DefaultBounds()
	limit := float64(bounds.MemoryLimit())
	before := runtime.GOMAXPROCS(0)
	runtime.SetDefaultGOMAXPROCS() // what Go takes here for all cores
	half := float64(program.Procs(runtime.GOMAXPROCS(0)))
	runtime.GOMAXPROCS(before)
	const least = 32 << 20 // of a heap with the ballast; one without is a few MB
	for _, c := range []struct {
		name         string
		flags, env   []string
		procs, limit float64
		ballast      bool
	}{
		{"neither", nil, nil, half, limit, true},
		{"flag", []string{"-procs", "3"}, nil, 3, limit, true},
		{"environment", nil, []string{"GOMAXPROCS=5"}, 5, limit, true},
		{"both", []string{"-procs", "3"}, []string{"GOMAXPROCS=5"}, 3, limit, true},
		{"GOGC", nil, []string{"GOGC=200"}, half, limit, false},
		{"GOMEMLIMIT", nil, []string{"GOMEMLIMIT=512MiB"}, half, 512 << 20, true},
		{"a small GOMEMLIMIT", nil, []string{"GOMEMLIMIT=64MiB"}, half, 64 << 20, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := freeAddress(t)
			cmd := exec.Command(dir+"/"+airs, append([]string{"-kong-prefix", t.TempDir(), "-metrics", address}, c.flags...)...)
			cmd.Env = append(slices.Clone(plain), c.env...)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			said := listen(stderr)
			said.wait(t, "metrics are shown")
			_, text := scrape(t, "http://"+address+"/metrics")
			values, _, _ := samples(t, text)
			if got := values["go_sched_gomaxprocs_threads"]; got != c.procs {
				t.Errorf("%v cores, want %v", got, c.procs)
			}
			if got := values["go_gc_gomemlimit_bytes"]; got != c.limit {
				t.Errorf("a limit of %v, want %v", got, c.limit)
			}
			if got := values["go_memstats_heap_inuse_bytes"]; got >= least != c.ballast {
				t.Errorf("a heap of %v", got)
			}
			if got := values["process_resident_memory_bytes"]; got > 64<<20 {
				t.Errorf("%v bytes of memory before the first exchange", got)
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for range said.said { // to its end, before Wait closes the pipe
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, n := range []string{"0", "-1", "x", "1025", ""} {
		if code, stdout, stderr := run(t, nil, airs, "-procs", n); code != 2 || stdout != "" || !strings.Contains(stderr, "must be a number from 1 to 1024") {
			t.Errorf("-procs %q: %d %s", n, code, stderr)
		}
	}
}
