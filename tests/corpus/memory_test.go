// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// TestMemory sends 300 bodies of 10 MiB at once: each ends by policy, the
// memory stays within what the bounds say, and the process lives on.
func TestMemory(t *testing.T) {
	const exchanges, size = 300, 10 << 20
	head, tail := `{"model":"gpt-4o","messages":[{"role":"user","content":"`, `"}]}`
	body := []byte(head + strings.Repeat("The ferry leaves at noon. ", size)[:size-len(head)-len(tail)] + tail)

	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, completion.body)
	}))
	t.Cleanup(upstream.Close)
	// A service that allows all, without looking: its own work is not measured.
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"action":"allow","category":"benign","scan_id":"a","aggregatedAction":"allow","aggregatedScanResult":false,"scanResult":[]}`)
	}))
	t.Cleanup(service.Close)
	bounds := guard.DefaultBounds()

	for plugin, config := range map[string]map[string]any{
		prisma: {"api_key": "key", "profile_name": "strict", "api_endpoint": service.URL, "timeout_ms": 45000},
		noma:   {"API_base": service.URL, "timeout_ms": 45000},
	} {
		t.Run(plugin, func(t *testing.T) {
			gw := startGateway(t, []kongtest.PluginServer{{Path: filepath.Join(binaries, plugin)}}, kongtest.Service{
				Name: "llm", URL: upstream.URL, Routes: []kongtest.Route{{Name: plugin, Paths: []string{"/"}, Plugins: []kongtest.Plugin{{Name: plugin, Config: config}}}},
			})
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: exchanges}, Timeout: 10 * time.Minute}
			t.Cleanup(client.CloseIdleConnections)
			post := func(body []byte) (int, error) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.URL()+chatPath, bytes.NewReader(body))
				if err != nil {
					return 0, err
				}
				r.Header.Set("Content-Type", "application/json")
				res, err := client.Do(r)
				if err != nil {
					return 0, err
				}
				defer res.Body.Close()
				_, err = io.Copy(io.Discard, res.Body)
				return res.StatusCode, err
			}

			var mu sync.Mutex
			statuses := make(map[int]int)
			var all sync.WaitGroup
			for range exchanges {
				all.Go(func() {
					status, err := post(body)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					statuses[status]++
				})
			}
			all.Wait()
			t.Logf("statuses %v", statuses)
			for status := range statuses {
				switch status {
				case http.StatusOK, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable:
				default:
					t.Errorf("an exchange ended as %d", status)
				}
			}
			if statuses[http.StatusOK] == 0 {
				t.Error("nothing passed at all")
			}
			if peak, ok := peakMemory(t, plugin); ok {
				t.Logf("peak of the process: %d MiB, its limit: %d MiB", peak>>20, bounds.MemoryLimit()>>20)
				if peak > bounds.MemoryLimit() {
					t.Errorf("the process took %d MiB, over its limit of %d MiB", peak>>20, bounds.MemoryLimit()>>20)
				}
			}
			if status, err := post([]byte(question.body)); status != http.StatusOK || err != nil {
				t.Errorf("afterwards: %d, %v", status, err)
			}
			if n := gw.Starts(plugin); n != 1 {
				t.Errorf("the process was started %d times", n)
			}
		})
	}
}

// peakMemory returns the most memory that a plugin's process ever had, in
// bytes, its keeper's included, where /proc tells.
func peakMemory(t *testing.T, plugin string) (bytes int64, ok bool) {
	binary, err := filepath.EvalSymlinks(filepath.Join(binaries, plugin))
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range paths {
		if exe, err := filepath.EvalSymlinks(path); err != nil || exe != binary {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil {
			return 0, false
		}
		for line := range strings.Lines(string(status)) {
			if value, is := strings.CutPrefix(line, "VmHWM:"); is {
				kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
				if err != nil {
					t.Fatal(fmt.Errorf("VmHWM: %w", err))
				}
				bytes += kib << 10
				found++
			}
		}
	}
	if found == 0 {
		t.Log("no /proc that tells the process's memory")
		return 0, false
	}
	if found < 2 {
		t.Errorf("%d processes of %s, want the keeper and the one that works", found, plugin)
	}
	return bytes, true
}
