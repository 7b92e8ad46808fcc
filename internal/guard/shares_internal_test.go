// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

func testShares(size int64) *shares { return newShares(size, "scans", telemetry.NewMetrics("test")) }

func TestShares(t *testing.T) {
	type ask struct {
		caller string
		n      int64
		ok     bool
	}
	for _, c := range []struct {
		name string
		size int64
		asks []ask
	}{
		{"one alone gets three quarters", 8, []ask{{"a", 3, true}, {"a", 3, true}, {"a", 1, false}, {"b", 1, true}}},
		{"the first fits whatever its size", 8, []ask{{"a", 8, true}, {"b", 1, false}}},
		{"more than there is", 8, []ask{{"a", 9, false}, {"a", 8, true}}},
		{"a single slot", 1, []ask{{"a", 1, true}, {"a", 1, false}, {"b", 1, false}}},
		{"two slots are two callers'", 2, []ask{{"a", 1, true}, {"a", 1, false}, {"b", 1, true}}},
		{"the second has his part too", 8, []ask{{"a", 6, true}, {"b", 1, true}, {"b", 1, false}, {"c", 1, true}}},
		{"nobody is limited while little is used", 100, []ask{{"a", 30, true}, {"b", 30, true}, {"a", 1, true}}},
		{"the unknown are one", 8, []ask{{"", 3, true}, {"", 3, true}, {"", 1, false}, {"a", 1, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testShares(c.size)
			for i, a := range c.asks {
				if got := s.offer(a.caller, a.n); got != a.ok {
					t.Errorf("%d: %s asks for %d and gets it: %v", i, a.caller, a.n, got)
				}
			}
		})
	}
}

// However much callers ask for and in whatever order, nobody who holds
// something grows beyond three quarters, and as long as nobody holds more by
// his first one, there is room for one more.
func TestSharesLeaveRoom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := 1 + r.Int64N(1000)
		callers := 1 + r.IntN(8)
		most := 1 + r.Int64N(max(size/16, 1))
		s := testShares(size)
		type grant struct {
			caller string
			n      int64
		}
		var grants []grant
		held := map[string]int64{}
		total := int64(0)
		for range 2000 {
			if len(grants) > 0 && r.IntN(3) == 0 {
				i := r.IntN(len(grants))
				g := grants[i]
				grants = append(grants[:i], grants[i+1:]...)
				s.release(g.caller, g.n)
				held[g.caller] -= g.n
				total -= g.n
				continue
			}
			g := grant{fmt.Sprint(r.IntN(callers)), 1 + r.Int64N(most)}
			first := held[g.caller] == 0
			ok := s.offer(g.caller, g.n)
			if !ok {
				if first && total+g.n <= size {
					t.Fatalf("seed %d: the first of a caller was refused although it fits", seed)
				}
				continue
			}
			grants = append(grants, g)
			held[g.caller] += g.n
			total += g.n
			if total > size {
				t.Fatalf("seed %d: %d of %d are taken", seed, total, size)
			}
			if !first && 4*held[g.caller] > 3*size {
				t.Fatalf("seed %d: one holds %d of %d", seed, held[g.caller], size)
			}
			if !first && held[g.caller] > sharePerFree*(size-total) {
				t.Fatalf("seed %d: one holds %d while %d are free", seed, held[g.caller], size-total)
			}
		}
		if s.held() != total {
			t.Fatalf("seed %d: %d are said to be held, %d are", seed, s.held(), total)
		}
		for _, g := range grants {
			s.release(g.caller, g.n)
		}
		if s.held() != 0 || len(s.owners) != 0 || s.tight.Load() {
			t.Fatalf("seed %d: %d held by %d in the end", seed, s.held(), len(s.owners))
		}
	}
}

// A long queue of one caller's does not hold up another one who comes last.
func TestSharesServeTheCallerWithLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testShares(4)
		ctx := t.Context()
		var mu sync.Mutex
		var order []string
		work := func(caller string) {
			if !s.take(ctx, caller, 1) {
				t.Error("got nothing")
			}
			mu.Lock()
			order = append(order, caller)
			mu.Unlock()
			time.Sleep(time.Second)
			s.release(caller, 1)
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { work("flood") })
		}
		synctest.Wait()
		for _, other := range []string{"a", "b", "a", "b"} {
			wg.Go(func() { work(other) })
			synctest.Wait()
		}
		wg.Wait()
		last := 0
		for i, caller := range order {
			if caller != "flood" {
				last = i
			}
		}
		if len(order) != 24 || last > 11 {
			t.Errorf("served in the order %v", order)
		}
		if s.held() != 0 || len(s.owners) != 0 {
			t.Errorf("%d held by %d in the end", s.held(), len(s.owners))
		}
	})
}

func TestSharesForgetWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testShares(4)
		s.offer("a", 3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if s.take(ctx, "a", 1) || s.take(ctx, "b", 2) {
			t.Error("more than there is")
		}
		s.release("a", 3)
		if len(s.owners) != 0 || len(s.waiters) != 0 {
			t.Errorf("%d owners, %d waiters", len(s.owners), len(s.waiters))
		}
	})
}

// What was taken before its caller was known counts for him afterwards.
func TestSharesMove(t *testing.T) {
	s := testShares(8)
	s.offer("", 5)
	s.move("", "a", 5)
	if s.offer("a", 2) || !s.offer("", 2) || s.held() != 7 {
		t.Errorf("%d are held", s.held())
	}
	s.release("a", 5)
	s.release("", 2)
	if s.held() != 0 {
		t.Errorf("%d are held", s.held())
	}
}

func BenchmarkShares(b *testing.B) {
	for _, caller := range []string{"", "consumer b32379d9"} {
		b.Run("caller="+caller, func(b *testing.B) {
			s := testShares(256)
			b.ReportAllocs()
			for b.Loop() {
				s.offer(caller, 1)
				s.release(caller, 1)
			}
		})
	}
}
