// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestRoomIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = 64 << 10 })
		release := make(chan struct{})
		e := newEngine(w.Process, prisma(), strict(), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			<-release
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		big := func() *fakeKong {
			k := chatRequest(t)
			k.body = `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", 4000) + `"}]}`
			return k
		}
		holder, waiter, small := big(), big(), chatRequest(t)
		small.consumer.ID = "somebody else"
		var wg sync.WaitGroup
		wg.Go(func() { holder.access(e) })
		synctest.Wait()
		start := time.Now()
		wg.Go(func() {
			waiter.access(e)
			if waited := time.Since(start); waited != time.Second {
				t.Errorf("waited %s", waited)
			}
			close(release)
		})
		synctest.Wait()
		wg.Go(func() { small.access(e) }) // it fits: the waiter does not hold it up
		synctest.Wait()
		if n := w.metric("scans_running"); n != 2 {
			t.Errorf("%v scans run", n)
		}
		wg.Wait()
		if r := waiter.refusal(); waiter.exit.status != 503 || r.Error.Code != "guard_overloaded" {
			t.Errorf("answered %+v", waiter.exit)
		}
		if holder.exit != nil || small.exit != nil || w.metric("held_bytes") != 0 {
			t.Errorf("%+v, %+v, %v bytes held", holder.exit, small.exit, w.metric("held_bytes"))
		}
	})
}

func TestRoomGivesWaitersTheirShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		room := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = 300 }).Room
		ctx := context.Background()
		if err := room.Reserve(ctx, "holder", 100); err != nil {
			t.Fatal(err)
		}
		var got [3]error
		var wg sync.WaitGroup
		for i, n := range []int64{80, 30, 50} {
			wg.Go(func() { got[i] = room.Reserve(ctx, fmt.Sprint(n), n) })
			synctest.Wait()
		}
		room.Release("holder", 60) // 30 fits, then nothing
		synctest.Wait()
		room.Release("holder", 40) // 50 fits
		wg.Wait()
		if got[0] == nil || got[1] != nil || got[2] != nil || room.Held() != 80 {
			t.Errorf("%v, %d held", got, room.Held())
		}
		canceled, cancel := context.WithCancel(ctx)
		cancel()
		start := time.Now()
		if room.Reserve(canceled, "holder", 30) == nil || time.Since(start) > 0 {
			t.Error("waited although the context had ended")
		}
		if room.Reserve(ctx, "holder", 101) == nil || time.Since(start) > 0 {
			t.Error("waited for more than there is")
		}
		if err := room.Reserve(ctx, "holder", 20); err != nil {
			t.Error(err)
		}
	})
}

// Many large bodies at once: those that have their body in memory get to work
// on it, the others end by policy, and memory stays within its bound.
func TestManyLargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, bound = 64 << 10, 1 << 20
		w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes = bound })
		e := newEngine(w.Process, noma(), modes(policy.Enforce, policy.Off), &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
			if held := w.metric("held_bytes"); held > bound {
				t.Errorf("%v bytes are held", held)
			}
			time.Sleep(300 * time.Millisecond)
			return scan.Verdict{Action: scan.Allow}, nil
		}})
		body := `{"messages":[{"role":"user","content":"` + strings.Repeat("word ", size/5) + `"}]}`
		path := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		kongs := make([]*fakeKong, 60)
		var wg sync.WaitGroup
		for i := range kongs {
			kongs[i] = chatRequest(t)
			kongs[i].bodyFile = path
			kongs[i].consumer.ID = fmt.Sprint(i)
			wg.Go(func() { kongs[i].run(e) })
		}
		wg.Wait()
		passed := 0
		for _, k := range kongs {
			if k.exit == nil {
				passed++
			} else if r := k.refusal(); r.Error.Code != "guard_overloaded" {
				t.Errorf("answered %+v", k.exit)
			}
		}
		// Five bodies fit at once, and in the second of waiting three more
		// rounds of them.
		if passed != 20 || w.metric("held_bytes") != 0 {
			t.Errorf("%d passed, %v bytes are held", passed, w.metric("held_bytes"))
		}
	})
}
