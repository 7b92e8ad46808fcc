// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// slowly allows after a while.
type slowly time.Duration

func (d slowly) Scan(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
	select {
	case <-time.After(time.Duration(d)):
		return scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}, nil
	case <-ctx.Done():
		return scan.Verdict{}, ctx.Err()
	}
}

// BenchmarkRelayExchange is a small chat through the listener to an upstream
// and back: two connections of loopback, both legs scanned.
func BenchmarkRelayExchange(b *testing.B) {
	for _, c := range []struct {
		name     string
		settings policy.Settings
	}{
		{"handed on", modes(policy.Off, policy.Off)}, {"monitor", modes(policy.Monitor, policy.Monitor)}, {"enforce", strict()}, {"beside", besideUs()},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b).relaying()
			e := newEngine(w.Process, prisma(), c.settings, allower{})
			u := newUpstream(b, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				rw.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(rw, chatAnswer)
			})
			client, target := kongClient(b), u.target()
			b.ReportAllocs()
			for b.Loop() {
				answer, err := client.Do(w.expect(e, guard.Relayed{Target: target}, "POST", chatPath, strings.NewReader(chatBody)))
				if err != nil || answer.StatusCode != 200 {
					b.Fatal(answer, err)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
		})
	}
}

// BenchmarkRelayStream is a stream of 200 events of 20 characters.
func BenchmarkRelayStream(b *testing.B) {
	event := delta("twenty characters ab")
	atOnce := strict()
	atOnce.ReleaseAtOnce = true
	for _, c := range []struct {
		name     string
		settings policy.Settings
		scanner  scan.Scanner
	}{
		{"handed on", modes(policy.Off, policy.Off), allower{}},
		{"monitor", modes(policy.Monitor, policy.Monitor), allower{}},
		{"enforce", strict(), allower{}},
		{"at once", atOnce, allower{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b).relaying()
			e := newEngine(w.Process, prisma(), c.settings, c.scanner)
			u := newUpstream(b, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				rw.Header().Set("Content-Type", "text/event-stream")
				flush := http.NewResponseController(rw).Flush
				for range 200 {
					_, _ = io.WriteString(rw, event)
					_ = flush()
				}
				_, _ = io.WriteString(rw, finishEvent+doneEvent)
			})
			client, target := kongClient(b), u.target()
			b.ReportAllocs()
			b.SetBytes(int64(200 * len(event)))
			for b.Loop() {
				answer, err := client.Do(w.expect(e, guard.Relayed{Target: target}, "POST", chatPath, strings.NewReader(streamBody)))
				if err != nil || answer.StatusCode != 200 {
					b.Fatal(answer, err)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			b.ReportMetric(w.metric("scan_seconds", "response")/float64(b.N), "scans/op")
		})
	}
}

// BenchmarkRelayFirstEvent is how long the first event takes from the upstream
// to the client.
func BenchmarkRelayFirstEvent(b *testing.B) {
	atOnce := strict()
	atOnce.ReleaseAtOnce = true
	for _, c := range []struct {
		name     string
		settings policy.Settings
		scanner  scan.Scanner
	}{
		{"handed on", modes(policy.Off, policy.Off), allower{}},
		{"monitor", modes(policy.Monitor, policy.Monitor), slowly(200 * time.Millisecond)},
		{"scan of 0 ms", strict(), allower{}},
		{"scan of 200 ms", modes(policy.Off, policy.Enforce), slowly(200 * time.Millisecond)},
		{"scan of 200 ms, at once", func() policy.Settings { s := atOnce; s.RequestMode = policy.Off; return s }(), slowly(200 * time.Millisecond)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b).relaying()
			e := newEngine(w.Process, prisma(), c.settings, c.scanner)
			sent := make(chan time.Time, 1)
			u := newUpstream(b, func(rw http.ResponseWriter, r *http.Request, _ string) {
				rw.Header().Set("Content-Type", "text/event-stream")
				rw.(http.Flusher).Flush()
				sent <- time.Now()
				_, _ = io.WriteString(rw, delta("first"))
				rw.(http.Flusher).Flush()
				<-r.Context().Done() // more would come
			})
			client, target := kongClient(b), u.target()
			b.ReportAllocs()
			var added time.Duration
			first := make([]byte, len(delta("first")))
			for b.Loop() {
				ctx, leave := context.WithCancel(context.Background())
				answer, err := client.Do(w.expect(e, guard.Relayed{Target: target}, "POST", chatPath, strings.NewReader(streamBody)).WithContext(ctx))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(answer.Body, first); err != nil {
					b.Fatal(err)
				}
				added += time.Since(<-sent)
				leave()
				answer.Body.Close()
			}
			b.ReportMetric(float64(added.Microseconds())/float64(b.N), "us-added/op")
		})
	}
}

// BenchmarkRelayLag is how far later events fall behind the upstream while each
// scan takes 200 ms: the furthest of all, in scans. A stream that brings more
// than stream_scan_chars in the time of a scan waits for scans alone. A slower
// one also waits until there is enough for one, at most 500 ms.
func BenchmarkRelayLag(b *testing.B) {
	const takes = 200 * time.Millisecond
	for _, c := range []struct {
		name   string
		atOnce bool
		events int
		pause  time.Duration
	}{
		{"4000 characters a second", false, 300, 5 * time.Millisecond},
		{"1000 characters a second", false, 75, 20 * time.Millisecond},
		{"1000 characters a second, at once", true, 75, 20 * time.Millisecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b).relaying()
			s := modes(policy.Off, policy.Enforce)
			s.ReleaseAtOnce = c.atOnce
			e := newEngine(w.Process, prisma(), s, slowly(takes))
			sent := make(chan time.Time, c.events)
			event := delta("twenty characters ab")
			u := newUpstream(b, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				rw.Header().Set("Content-Type", "text/event-stream")
				for range c.events {
					sent <- time.Now()
					_, _ = io.WriteString(rw, event)
					rw.(http.Flusher).Flush()
					time.Sleep(c.pause)
				}
				_, _ = io.WriteString(rw, finishEvent+doneEvent)
			})
			client, target := kongClient(b), u.target()
			var most time.Duration
			got := make([]byte, len(event))
			for b.Loop() {
				answer, err := client.Do(w.expect(e, guard.Relayed{Target: target}, "POST", chatPath, strings.NewReader(streamBody)))
				if err != nil {
					b.Fatal(err)
				}
				for range c.events {
					if _, err := io.ReadFull(answer.Body, got); err != nil {
						b.Fatal(err)
					}
					most = max(most, time.Since(<-sent))
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			b.ReportMetric(float64(most)/float64(takes), "scans-behind")
			b.ReportMetric(float64(most.Milliseconds()), "ms-behind")
		})
	}
}

// BenchmarkRelayOpenStreams is what each of a thousand open streams holds more
// than one that is only handed on: the client and the upstream are in this
// process, too.
func BenchmarkRelayOpenStreams(b *testing.B) {
	manyStreams(b, 100, modes(policy.Off, policy.Off)) // fills what is kept for reuse
	for b.Loop() {
		plain := manyStreams(b, 1000, modes(policy.Off, policy.Off))
		guarded := manyStreams(b, 1000, strict())
		b.ReportMetric(float64(guarded), "B/stream-in-all")
		b.ReportMetric(float64(guarded-plain), "B/stream")
	}
}
