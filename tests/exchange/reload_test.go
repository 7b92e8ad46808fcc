// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
)

var reloadScenes = func() (list []scene) {
	for _, workers := range []int{1, 2, 4} {
		for _, sealed := range []bool{false, true} {
			for _, version := range []string{"3.9", "3.4"} {
				if version == "3.4" && (workers != 2 || !sealed) {
					continue
				}
				list = append(list, scene{
					name:    fmt.Sprintf("%d workers, sealed %v, %s", workers, sealed, version),
					version: version, workers: workers, plugins: []string{name, second}, sealed: sealed,
				})
			}
		}
	}
	return list
}()

// Kong is reloaded again and again while streams are open through both plugins
// in a chain: those of each worker and each generation come to their end, and
// no request fails meanwhile. Worker 0 of a generation takes its commands with
// it when its own streams have ended, whoever else has some.
func TestReloadsCutNoStream(t *testing.T) {
	for _, s := range reloadScenes {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			h := furnish(t, s)
			h.prove()
			var held []*openStream
			stop := h.under()
			const reloads = 3
			for range reloads {
				held = append(held, h.beginAll(t.Context(), 2*s.workers)...)
				if err := h.Reload(); err != nil {
					t.Fatal(err)
				}
				h.prove() // by the new plugin servers
			}
			for _, plugin := range s.plugins {
				if n := h.Starts(plugin); n != 1+reloads {
					t.Errorf("%s was started %d times", plugin, n)
				}
			}
			attacks, others := stop()
			t.Logf("attacks %v, others %v", attacks, others)
			for status := range attacks {
				if status != http.StatusForbidden && status != http.StatusBadRequest {
					t.Errorf("an attack was answered with %d", status)
				}
			}
			for status := range others {
				if status != http.StatusOK {
					t.Errorf("a request was answered with %d", status)
				}
			}
			close(h.free)
			for i, st := range held {
				if err := h.complete(st); err != nil {
					t.Errorf("stream %d of %d: %v", i, len(held), err)
				}
			}
			h.clean()
		})
	}
}

// The streams of the workers that outlive worker 0, which has taken the commands
// with it.
func TestStreamsOutliveTheirCommand(t *testing.T) {
	for _, workers := range []int{2, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			t.Parallel()
			h := furnish(t, scene{workers: workers, plugins: []string{name, second}})
			h.prove()
			// Workers get clients in turn. Worker 0 has no stream when Kong is
			// reloaded.
			var held []*openStream
			for len(held) < 2*(workers-1) {
				before, err := h.send(t.Context(), harmless, true)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.rest(before); err != nil {
					t.Fatal(err)
				}
				if (h.worker(before)+1)%workers != 0 {
					held = append(held, h.beginAll(t.Context(), 1)...)
				}
			}
			old := map[string][]int{}
			for _, plugin := range h.scene.plugins {
				pids, err := h.Processes(plugin)
				if err != nil || len(pids) != 2 {
					t.Fatal(pids, err)
				}
				old[plugin] = pids
			}
			if err := h.Reload(); err != nil {
				t.Fatal(err)
			}
			for plugin, pids := range old {
				h.eventually("the old command of "+plugin+" has ended", func() bool { return syscall.Kill(pids[0], 0) != nil })
				if err := syscall.Kill(pids[1], 0); err != nil {
					t.Errorf("the old server of %s has gone with it", plugin)
				}
			}
			h.prove()
			close(h.free)
			for _, s := range held {
				if err := h.complete(s); err != nil {
					t.Error(err)
				}
				if n := h.worker(s); n == 0 {
					t.Error("the stream was worker 0's")
				}
			}
			for plugin, pids := range old {
				h.eventually("the old server of "+plugin+" has ended", func() bool { return syscall.Kill(pids[1], 0) != nil })
			}
			h.clean()
		})
	}
}

// Monitored streams that run across a reload are reported whole once they have
// ended, by a process that then ends.
func TestMonitoredStreamsAcrossReloads(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			t.Parallel()
			h := furnish(t, scene{workers: workers, plugins: []string{name, second}, config: map[string]any{"monitor_mode": true}})
			h.prove()
			held := h.beginAll(t.Context(), 2*workers)
			old := map[string][]int{}
			for _, plugin := range h.scene.plugins {
				pids, err := h.Processes(plugin)
				if err != nil || len(pids) != 2 {
					t.Fatal(pids, err)
				}
				old[plugin] = pids
			}
			for range 2 {
				if err := h.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			close(h.free)
			for _, s := range held {
				if err := h.complete(s); err != nil {
					t.Error(err)
				}
			}
			for plugin, pids := range old {
				h.eventually("the old server of "+plugin+" has ended", func() bool { return syscall.Kill(pids[1], 0) != nil })
			}
			// The servers that could report them have gone.
			for _, s := range held {
				for _, said := range []string{fmt.Sprintf("ask-%d-0", s.number), fmt.Sprintf("say-%d-0", s.number), fmt.Sprintf("say-%d-4", s.number)} {
					if n := h.reports(said); n != len(h.scene.plugins) {
						t.Errorf("%s was reported to %d services", said, n)
					}
				}
			}
		})
	}
}
