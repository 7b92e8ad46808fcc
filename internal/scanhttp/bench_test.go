// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// benchService is set for the process that plays the service to
// BenchmarkScanCall, so that its CPU does not count as the client's.
const benchService = "SCANHTTP_BENCH_SERVICE"

func serveBench(scheme string) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = io.WriteString(w, benchAnswer)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if scheme == "https" {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	fmt.Println(srv.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark is over
}

var benchAnswer = `{"action":"allow","category":"benign","profile_name":"chat","report_id":"R00000000-0000-0000-0000-000000000000","scan_id":"00000000-0000-0000-0000-000000000000","tr_id":"1"}` + strings.Repeat(" ", 230)

// BenchmarkScanCall makes calls of eight callers at once to a service in
// another process. cpu-us/op is what the process of the client spent. With
// overNetHTTP in the environment it measures net/http's client.
func BenchmarkScanCall(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		for _, size := range []int{400, 32 << 10} {
			b.Run(fmt.Sprintf("%s/%d", scheme, size), func(b *testing.B) {
				service := exec.Command(os.Args[0], "-test.run=^$")
				service.Env = append(os.Environ(), benchService+"="+scheme)
				stdin, err := service.StdinPipe()
				if err != nil {
					b.Fatal(err)
				}
				stdout, err := service.StdoutPipe()
				if err != nil {
					b.Fatal(err)
				}
				if err := service.Start(); err != nil {
					b.Fatal(err)
				}
				defer func() { _ = stdin.Close(); _ = service.Wait() }()
				url, err := bufio.NewReader(stdout).ReadString('\n')
				if err != nil {
					b.Fatal(err)
				}
				c, err := For(Options{Account: b.Name()})
				if err != nil {
					b.Fatal(err)
				}
				r := Request{URL: strings.TrimSpace(url), Header: http.Header{"X-Pan-Token": {"k"}}, Body: bytes.Repeat([]byte("x"), size)}
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu(b)
				var callers sync.WaitGroup
				const eight = 8
				for i := range eight {
					callers.Go(func() {
						for range (b.N + i) / eight {
							if _, err := c.Post(b.Context(), r); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				callers.Wait()
				b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
			})
		}
	}
}

// cpu is what this process has spent so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
