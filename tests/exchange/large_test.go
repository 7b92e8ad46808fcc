// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
)

// largePrompt is how long the prompts are with which gateways are compared that
// hand whole bodies to a processor, in bytes.
const largePrompt = 220 << 10

// BenchmarkLargeBodies has many exchanges with large prompts at once, through
// the real binary, with both legs scanned over HTTP. Kong hands a body over by
// its socket, or as a file where it is over client_body_buffer_size. It
// reports exchanges a second, the slowest of a hundred, the most memory that
// the binary ever had, and its CPU.
func BenchmarkLargeBodies(b *testing.B) {
	var scans, scanned atomic.Int64
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		scans.Add(1)
		scanned.Add(n)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"action":"allow","category":"benign","profile_name":"p","report_id":"R1","scan_id":"2f0db789-1b35-4fe7-9930-e892888fa102","tr_id":"1"}`)
	}))
	defer service.Close()
	path := build(b)
	t := record(b, path, service.URL)
	text := strings.Repeat(`What is the capital of France? Tell me \"all\" that you know.\n`, largePrompt/60)[:largePrompt]
	body := strings.Replace(prompt, "What is the capital of France?", strings.TrimRight(text, `\`), 1)
	file := filepath.Join(b.TempDir(), "body")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, by := range []struct {
		name string
		body *kong_plugin_protocol.RawBodyResult
	}{
		{"socket", &kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_Content{Content: []byte(body)}}},
		{"file", &kong_plugin_protocol.RawBodyResult{Kind: &kong_plugin_protocol.RawBodyResult_BodyFilepath{BodyFilepath: file}}},
	} {
		large := *t
		large.replies = maps.Clone(t.replies)
		large.answer(b, "kong.request.get_raw_body", "", by.body)
		// While half of the scans run, the plugin asks who is calling.
		large.replies["kong.client.get_consumer\x00"] = empty
		large.replies["kong.client.get_forwarded_ip\x00"] = empty
		for _, atOnce := range []int{20, 150} {
			b.Run(fmt.Sprintf("%s/%d", by.name, atOnce), func(b *testing.B) {
				scans.Store(0)
				scanned.Store(0)
				large.crowd(b, path, atOnce)
				if n := int64(b.N); scans.Load() != 2*n || scanned.Load() < n*largePrompt {
					b.Errorf("%d scans of %d bytes in %d exchanges", scans.Load(), scanned.Load(), n)
				}
			})
		}
	}
}

// answer has Kong reply differently to a call. what is in the call's arguments.
func (t *tape) answer(b *testing.B, method, what string, m proto.Message) {
	reply, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	for call := range t.replies {
		if name, args, _ := strings.Cut(call, "\x00"); name == method && strings.Contains(args, what) {
			t.replies[call] = frame(reply)
			return
		}
	}
	b.Fatalf("%s was not called", method)
}

// crowd plays the tape to a binary over so many connections at once, each with
// request ids of its own.
func (t *tape) crowd(b *testing.B, path string, atOnce int) {
	socket, cmd, stop := serve(b, path)
	var kongs []*kong
	for i := range atOnce {
		conn := dial(b, socket)
		defer conn.Close()
		own := *t
		own.replies = maps.Clone(t.replies)
		own.answer(b, "kong.nginx.get_var", "kong_request_id", &kong_plugin_protocol.String{V: fmt.Sprintf("%032x", i)})
		kongs = append(kongs, own.connect(b, conn))
	}

	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var crowd sync.WaitGroup
	b.ResetTimer()
	for _, k := range kongs {
		crowd.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				start := time.Now()
				if _, err := k.exchange(); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(start)
			}
		})
	}
	crowd.Wait()
	b.StopTimer()
	peak := peakMemory(b, cmd.Process.Pid)
	for _, k := range kongs {
		k.conn.Close()
	}
	stop()
	slices.Sort(took)
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exchanges/s")
	b.ReportMetric(float64(took[(len(took)*99-1)/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "plugin-cpu-us/op")
}

// serve runs a binary as a plugin server. It ends by stop, or with the benchmark.
func serve(b *testing.B, path string) (socket string, cmd *exec.Cmd, stop func()) {
	prefix, err := os.MkdirTemp("", "kong")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(prefix) })
	cmd = exec.Command(path, "-kong-prefix", prefix)
	cmd.Env = []string{}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	b.Cleanup(stop)
	return filepath.Join(prefix, name+".socket"), cmd, stop
}

// dial waits for a socket to be there.
func dial(b *testing.B, path string) net.Conn {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// peakMemory is the most memory that a process and those below it have had
// resident, in bytes; 0 where the system does not tell.
func peakMemory(b *testing.B, pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	sum, err := strconv.ParseInt(kilobytes, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	sum <<= 10
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, thread := range threads {
		children, err := os.ReadFile(thread)
		if err != nil {
			continue // the thread is gone
		}
		for child := range strings.FieldsSeq(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += peakMemory(b, n)
			}
		}
	}
	return sum
}
