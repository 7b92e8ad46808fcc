// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// BenchmarkRelayForward is a whole exchange, upstream and client included, straight
// and through the relay: with a body that is handed on as it comes, and with one
// that was read before. What the relay costs is the difference.
func BenchmarkRelayForward(b *testing.B) {
	event := []byte("data: {\"choices\":[{\"delta\":{\"content\":\"word \"}}]}\n\n")
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/json" {
			_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"Hello."}}]}`)
			return
		}
		flush := http.NewResponseController(w).Flush
		for range 100 {
			_, _ = w.Write(event)
			_ = flush()
		}
	}))
	b.Cleanup(up.Close)
	s, address := newServer(b, relay.Options{})
	client := newClient(b)
	to := relay.Target{Scheme: "http", Address: up.Listener.Addr().String(), Host: "h", Connect: patience, Read: patience, Send: patience}
	for _, c := range []struct {
		path, relayed string
		size          int
		x             *exchange // nil for straight
	}{
		{"/json", "false", 60, nil},
		{"/json", "true", 60, new(hands(client, to))},
		{"/json", "held", 60, new(holds(client, to))},
		{"/json", "held32K", 32 << 10, new(holds(client, to))},
		{"/stream", "false", 60, nil},
		{"/stream", "true", 60, new(hands(client, to))},
		{"/stream", "held", 60, new(holds(client, to))},
	} {
		body := []byte(strings.Repeat("{}", c.size/2))
		b.Run(fmt.Sprintf("%s/relayed=%v", c.path[1:], c.relayed), func(b *testing.B) {
			transport := new(http.Transport)
			defer transport.CloseIdleConnections()
			base := up.URL
			if c.x != nil {
				base = "http://" + address
			}
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, base+c.path, bytes.NewReader(body))
				if c.x != nil {
					r.Header["X-Relay-Token"] = []string{s.Expect(*c.x)}
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					b.Fatal(err)
				}
				answer.Body.Close()
			}
		})
	}
}

// benchUpstream is set for the process that plays the upstream to
// BenchmarkForward, so that its CPU does not count as the relay's.
const benchUpstream = "RELAY_BENCH_UPSTREAM"

func serveBench() {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"Hello."}}]}`)
	}))
	fmt.Println(up.Listener.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark is over
}

// BenchmarkForward hands on what was read before, of eight exchanges at once, to
// an upstream in another process. cpu-us/op is what this process spent. With
// overNetHTTP in the environment it measures net/http's client.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{60, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			up := exec.Command(os.Args[0], "-test.run=^$")
			up.Env = append(os.Environ(), benchUpstream+"=1")
			stdin, err := up.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			stdout, err := up.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := up.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = stdin.Close(); _ = up.Wait() }()
			address, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				b.Fatal(err)
			}
			client, body := newClient(b), bytes.Repeat([]byte("x"), size)
			to := relay.Target{Scheme: "http", Address: strings.TrimSpace(address), Host: "h", Connect: patience, Read: patience, Send: patience}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(b)
			var callers sync.WaitGroup
			const eight = 8
			for i := range eight {
				callers.Go(func() {
					for range (b.N + i) / eight {
						r := request(b, "/v1/chat/completions", bytes.NewReader(body))
						r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer key"}, "Accept": {"*/*"}, "User-Agent": {"bench"}}
						hold(r, body)
						answer, err := client.Forward(b.Context(), r, nil, &to)
						if err != nil {
							b.Error(err)
							return
						}
						_, _ = io.Copy(io.Discard, answer.Body)
						answer.Body.Close()
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
		})
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

func BenchmarkRelayExpect(b *testing.B) {
	s := relay.New(relay.Options{})
	b.ReportAllocs()
	for b.Loop() {
		s.Forget(s.Expect(exchange{}))
	}
	_ = s.Shutdown(b.Context())
}
