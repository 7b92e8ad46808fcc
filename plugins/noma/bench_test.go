// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// BenchmarkMonitorMode is a chat through a gateway that plays Kong: on a route
// without the plugin, and on one where the real binary monitors it, with the
// service in each state. It reports how long a client waits and how much CPU
// time the plugin and all the rest (gateway, client, model, service) take.
func BenchmarkMonitorMode(b *testing.B) {
	for _, c := range []struct {
		name, route string
		fault       fakenoma.Fault
	}{
		{"no plugin", "/bare", fakenoma.Fault{}},
		{"monitor", "/open", fakenoma.Fault{}},
		{"monitor/slow", "/open", fakenoma.Fault{Delay: 100 * time.Millisecond}},
		{"monitor/hung", "/open", fakenoma.Fault{Hang: true}},
		{"monitor/garbage", "/open", fakenoma.Fault{Body: "<html>"}},
		{"monitor/failing", "/open", fakenoma.Fault{Status: 500}},
	} {
		b.Run(c.name, func(b *testing.B) {
			metrics := freeAddress(b)
			h := build(b, map[string]any{"monitor_mode": true}, "-metrics", metrics)
			h.noma.SetFault(fakenoma.ScanPath, c.fault)
			h.answers("application/json", completion("The capital of France is Paris."))
			url, body := h.gateway.URL()+c.route+"/v1/chat/completions", chat("What is the capital of France?")
			one := func() time.Duration {
				start := time.Now()
				resp, err := http.Post(url, "application/json", strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					b.Fatal(resp.StatusCode, err)
				}
				return time.Since(start)
			}
			for range 50 {
				one()
			}
			plugin, rest := pluginCPU(b, metrics), ownCPU(b)
			var took []time.Duration
			b.ResetTimer()
			for range b.N {
				took = append(took, one())
			}
			b.StopTimer()
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
			b.ReportMetric(per(pluginCPU(b, metrics)-plugin), "plugin-cpu-us/op")
			b.ReportMetric(per(ownCPU(b)-rest), "rest-cpu-us/op")
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
		})
	}
}

// freeAddress is one on loopback that nobody listens at.
func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pluginCPU is the time that the plugin's process has used.
func pluginCPU(b *testing.B, metrics string) time.Duration {
	resp, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && strings.HasPrefix(name, "process_cpu_seconds_total") {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			return time.Duration(seconds * float64(time.Second))
		}
	}
	b.Fatal("the process does not tell its CPU time")
	return 0
}

// ownCPU is the time that this process has used.
func ownCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
