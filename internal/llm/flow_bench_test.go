// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// tokenEvent is an event of about 250 bytes that brings a word.
func tokenEvent(i int) []byte {
	return fmt.Appendf(nil, `data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_fc9f1d7035","choices":[{"index":0,"delta":{"content":" w%02d"},"finish_reason":null}]}`+"\n\n", i%100)
}

// flowTokens reads n tokens as a relay does: a window each 100, and what it
// covers goes out.
func flowTokens(t testing.TB, s *Stream, n int) {
	for i := range n {
		if _, err := s.Write(tokenEvent(i)); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 {
			_, end := s.Window(2000)
			s.Take(end)
		}
	}
}

func openStream(t testing.TB) *Stream {
	s, err := NewStream(context.Background(), Input{Leg: ResponseLeg, ContentType: sseKind}, Limits{DecodedBytes: 1 << 40, Ratio: 100, Depth: 256})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// streamMemory is what a stream holds that has said n tokens, in bytes.
func streamMemory(t testing.TB, n int) int {
	const streams = 50
	list := make([]*Stream, streams)
	var before, after runtime.MemStats
	flowTokens(t, openStream(t), n) // what is made once is made now
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range list {
		list[i] = openStream(t)
		flowTokens(t, list[i], n)
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(list)
	return int(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / streams
}

// TestOpenStreamIsSmall: a stream whose bytes have gone out holds its texts and
// little else.
func TestOpenStreamIsSmall(t *testing.T) {
	n := streamMemory(t, 1000)
	t.Logf("%d bytes", n)
	if n > 64<<10 {
		t.Errorf("a stream that has said 1,000 tokens holds %d bytes", n)
	}
}

// BenchmarkRelayedStream reads an event of a stream that has said so many tokens.
func BenchmarkRelayedStream(b *testing.B) {
	for _, said := range []int{0, 1000, 20000} {
		b.Run(fmt.Sprint("after ", said), func(b *testing.B) {
			s := openStream(b)
			flowTokens(b, s, said)
			event := tokenEvent(1)
			i := 0
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Write(event); err != nil {
					b.Fatal(err)
				}
				if i++; i%100 == 0 {
					_, end := s.Window(2000)
					s.Take(end)
				}
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			b.ReportMetric(float64(streamMemory(b, 1000)), "B/stream")
		}
	})
}
