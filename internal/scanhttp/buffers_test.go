// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
)

func TestBuffers(t *testing.T) {
	for n := range 2 * leastBuffer {
		if b := Buffer(n); len(b) != 0 || cap(b) < n {
			t.Fatalf("Buffer(%d) has %d bytes and room for %d", n, len(b), cap(b))
		}
	}
	for n := 1; n <= 4*mostBuffer; n *= 2 {
		for _, size := range []int{n - 1, n, n + 1} {
			Recycle(make([]byte, size)) // whatever it is, it has to fit who gets it
			for _, want := range []int{size - 1, size, size + 1, 2 * size} {
				if b := Buffer(max(want, 0)); len(b) != 0 || cap(b) < want {
					t.Fatalf("Buffer(%d) has %d bytes and room for %d", want, len(b), cap(b))
				}
			}
		}
	}
	Recycle(nil)
}

// Bodies that lie in one buffer after the other arrive as they were meant, or
// not at all: whichever way they are sent, whenever a call ends.
func TestNoCallSendsAnothersBody(t *testing.T) {
	type said struct{ size, other int }
	var mu sync.Mutex
	heard := map[string][]said{}
	slow := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mark := r.Header.Get("X-Mark")
		switch mark[len(mark)-1] {
		case '0': // answered before it is read
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "{}")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond)
		case '1': // answered too late
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			<-slow
		}
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		heard[mark] = append(heard[mark], said{len(body), len(strings.ReplaceAll(string(body), mark, ""))})
	}))
	defer srv.Close()
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := range 30 {
				mark := fmt.Sprintf("%02d%03d%d", caller, i, i%5)
				size := []int{600, 30_000, 300_000}[i%3]
				body := append(Buffer(size), bytes.Repeat([]byte(mark), size/len(mark))...)
				ctx := deadline.New(t.Context(), time.Now().Add(time.Minute))
				if i%5 == 1 {
					ctx = deadline.New(t.Context(), time.Now().Add(20*time.Millisecond))
				}
				c, err := For(Options{Account: mark}) // on shared connections, with a breaker of its own
				if err != nil {
					t.Error(err)
					return
				}
				_, err = c.Post(ctx, Request{URL: srv.URL, Header: http.Header{"X-Mark": {mark}}, Body: body, MaxRetries: 1})
				ctx.Release()
				Recycle(body)
				if err != nil && i%5 > 1 {
					t.Errorf("call %s of %d bytes: %v", mark, size, err)
				}
			}
		})
	}
	callers.Wait()
	close(slow)
	srv.Close() // waits for the handlers
	mu.Lock()
	defer mu.Unlock()
	if len(heard) < 8*18 { // those that are neither answered early nor late
		t.Errorf("only %d calls were heard", len(heard))
	}
	for mark, all := range heard {
		for _, s := range all {
			if s.other >= len(mark) { // the piece of a mark that was cut off is shorter
				t.Errorf("of call %s %d bytes came, %d of them not its own", mark, s.size, s.other)
			}
		}
	}
}

// A body that no buffer is kept of is sent from where it lies.
func TestLargeBodiesAreNotCopied(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	c, err := For(Options{Account: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	const size, times = 8 << 20, 4
	body := append(Buffer(size), make([]byte, size)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		if _, err := c.Post(t.Context(), Request{URL: srv.URL, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > times*size/2 {
		t.Errorf("%d calls of %d bytes took %d bytes of memory", times, size, took)
	}
	Recycle(body)
	if b := Buffer(size); &b[:1][0] == &body[0] {
		t.Error("it is kept all the same")
	}
}
