// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

func TestOversizedReplyKeepsStep(t *testing.T) {
	const limit = 200 << 10
	var got []string
	handler := func(_ context.Context, e *pluginserver.Event) {
		got = nil
		calls := []pdk.Call{ask(1), ask(limit + 1), ask(2), ask(limit - 10), ask(10 << 20), ask(3)}
		err := e.Batch(&calls[0], &calls[1], &calls[2], &calls[3], &calls[4], &calls[5])
		for i := range calls {
			s, err := calls[i].Text()
			got = append(got, fmt.Sprint(len(s), err))
		}
		s, err1 := e.PDK().Nginx.GetVar(fmt.Sprintf("bytes_%d", 4<<20))
		s2, err2 := e.PDK().Nginx.GetVar("bytes_4")
		got = append(got, fmt.Sprint(len(s), err1), fmt.Sprint(len(s2), err2), fmt.Sprint(err))
	}
	counters := new(pluginserver.Counters)
	s := &pluginserver.Server{New: always(plugin{access: handler, response: handler}), MaxFrame: limit, Counters: counters}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		p.answer = sized(t)
		id := must[int32](t)(p.start(`{}`))
		for range 2 { // twice on one connection
			o := must[outcome](t)(p.event(id, "access"))
			want := []string{
				"1 <nil>", "0 " + pdk.ErrTooLarge.Error(), "2 <nil>", fmt.Sprint(limit-10, " <nil>"), "0 " + pdk.ErrTooLarge.Error(), "3 <nil>",
				"0 " + pdk.ErrTooLarge.Error(), "4 <nil>", "<nil>",
			}
			if diff := cmp.Diff(want, got); diff != "" || len(o.calls) != 8 {
				t.Error(diff, o.calls)
			}
		}
		if counters.TooLarge.Load() != 6 {
			t.Errorf("%d counted, want 6", counters.TooLarge.Load())
		}
	})
}

func TestNoRoom(t *testing.T) {
	r := &room{left: 300 << 10}
	var errs []error
	handler := func(_ context.Context, e *pluginserver.Event) {
		calls := []pdk.Call{ask(60 << 10), ask(200 << 10), ask(200 << 10), ask(1)}
		err := e.Batch(&calls[0], &calls[1], &calls[2], &calls[3])
		_, err2 := e.PDK().Nginx.GetVar(fmt.Sprintf("bytes_%d", 200<<10))
		errs = []error{calls[0].Err, calls[1].Err, calls[2].Err, calls[3].Err, err, err2}
	}
	counters := new(pluginserver.Counters)
	s := &pluginserver.Server{New: always(plugin{access: handler}), Room: r, Counters: counters}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		p.answer = sized(t)
		id := must[int32](t)(p.start(`{}`))
		for range 2 {
			must[outcome](t)(p.event(id, "access"))
			want := []error{nil, nil, pdk.ErrNoRoom, nil, nil, pdk.ErrNoRoom}
			for i, err := range errs {
				if !errors.Is(err, want[i]) {
					t.Errorf("call %d: %v, want %v", i, err, want[i])
				}
			}
			if r.left != 300<<10 {
				t.Errorf("%d bytes left after the event", r.left)
			}
			if r.waited != time.Second {
				t.Errorf("waited %v for room, want 1 s", r.waited)
			}
		}
		if counters.NoRoom.Load() != 4 {
			t.Errorf("%d counted, want 4", counters.NoRoom.Load())
		}
	})
}
