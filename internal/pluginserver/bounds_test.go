// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/pluginserver"
)

// sized answers each variable with a text of the length that its name gives.
func sized(t *testing.T) func(string, []byte) []byte {
	return func(_ string, args []byte) []byte {
		var n int
		if _, err := fmt.Sscanf(string(args[2:]), "bytes_%d", &n); err != nil {
			t.Errorf("asked for %q", args)
		}
		return text(strings.Repeat("x", n))
	}
}

func ask(n int) pdk.Call { return pdk.NginxVar(fmt.Sprintf("bytes_%d", n)) }

// A room is a budget of bytes. It also knows how much it has ever given.
type room struct {
	left, given int64
	waited      time.Duration
}

func (r *room) Reserve(ctx context.Context, _ string, n int64) error {
	if n > r.left {
		start := time.Now()
		<-ctx.Done()
		r.waited = time.Since(start)
		return ctx.Err()
	}
	r.left -= n
	r.given += n
	return nil
}

func (r *room) Release(_ string, n int64) { r.left += n }

func (r *room) Move(string, string, int64) {}

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

// TestOversizedCall: a call that is too large is answered, since Kong sends it
// again when the connection closes.
func TestOversizedCall(t *testing.T) {
	var configs []string
	s := &pluginserver.Server{MaxFrame: 1000, New: func(config []byte) pluginserver.Instance {
		configs = append(configs, fmt.Sprint(config == nil, len(config)))
		return plugin{}
	}}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		id := must[int32](t)(p.start(`{"__seq__":1,"a":"` + strings.Repeat("x", 1<<20) + `"}`))
		if diff := cmp.Diff([]string{"true 0"}, configs); diff != "" {
			t.Error(diff)
		}
		// The connection is in step, and the instance is one like others.
		if _, err := p.event(id, "access"); err != nil {
			t.Error(err)
		}
		// No Kong sends an event of this size; it must not pass, whatever it is.
		if err := p.send(eventCall(id, strings.Repeat("access", 1000))); err != nil {
			t.Fatal(err)
		}
		if o, err := p.bridge(); err != nil || !refused(o) {
			t.Errorf("%+v, %v", o, err)
		}
		// A command of no consequence, padded with a field that nobody knows.
		p = connect()
		p.seq = 1
		close4 := []byte{0x08, 0x01, 0x9a, 0x02, 0x02, 0x08, 0x04}
		pad := append([]byte{0x12, 0xd0, 0x0f}, make([]byte, 2000)...)
		if _, err := p.Write(frame(append(pad, close4...))); err != nil {
			t.Fatal(err)
		}
		if _, err := p.result(); err != nil {
			t.Error(err)
		}
	})
}

// TestGoPDKKeepsStep: go-pdk sends the first half of a call whose arguments do
// not encode.
func TestGoPDKKeepsStep(t *testing.T) {
	var got []string
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		k := e.PDK()
		bad1, bad2 := k.Log.Err("\xe9"), k.Log.Err("\xe9")
		v, err := k.Nginx.GetVar("bytes_5")
		bad3 := k.Log.Err("\xe9")
		call := ask(6)
		batch := e.Batch(&call)
		b, _ := call.Text()
		bad4 := k.Log.Err("\xe9")
		got = []string{fmt.Sprint(bad1 != nil, bad2 != nil, bad3 != nil, bad4 != nil, batch), v, fmt.Sprint(err), b}
	}})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		p.answer = sized(t)
		id := must[int32](t)(p.start(`{}`))
		for range 2 {
			o := must[outcome](t)(p.event(id, "access"))
			if diff := cmp.Diff([]string{"true true true true <nil>", "xxxxx", "<nil>", "xxxxxx"}, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"kong.nginx.get_var", "kong.nginx.get_var"}, o.calls); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// TestGoPDKReplyThatDoesNotDecode: its payload is not left in the stream.
func TestGoPDKReplyThatDoesNotDecode(t *testing.T) {
	var first, second error
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		_, first = e.PDK().Nginx.GetVar("a")
		call := pdk.NginxVar("b")
		second = e.Batch(&call)
		if v, _ := call.Text(); v != "\xe9" {
			second = fmt.Errorf("got %q", v)
		}
	}})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		p.answer = func(string, []byte) []byte { return text("\xe9") }
		must[outcome](t)(p.event(must[int32](t)(p.start(`{}`)), "access"))
		if first == nil || second != nil {
			t.Errorf("go-pdk: %v, batch: %v", first, second)
		}
	})
}

// TestGoPDKOnASocket: a large argument and a large reply, and a Kong that goes
// away in the middle of one.
func TestGoPDKOnASocket(t *testing.T) {
	large := strings.Repeat("x", 2<<20)
	results := make(chan string, 3)
	connect := serve(t, &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		k := e.PDK()
		results <- fmt.Sprint(k.ServiceRequest.SetRawBody(large))
		body, err := k.Request.GetRawBody()
		results <- fmt.Sprint(len(body), err)
		_, err = k.Request.GetRawBody()
		call := pdk.RequestRawBody()
		results <- fmt.Sprint(err, e.Batch(&call) != nil)
	}})})
	p := connect()
	if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
		t.Fatal(err)
	}
	for i, reply := range [][]byte{frame(nil), frame(text(large)), frame(text(large))[:3<<19]} {
		method, args := must[[]byte](t)(p.read()), must[[]byte](t)(p.read())
		if i == 0 && (string(method) != "kong.service.request.set_raw_body" || len(args) < len(large)) {
			t.Errorf("%s with %d bytes", method, len(args))
		}
		if _, err := p.Write(reply); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	for _, want := range []string{"<nil>", fmt.Sprint(len(large), " <nil>"), "unexpected EOF true"} {
		if got := <-results; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestKongVanishes: whatever Kong leaves undone, the goroutine of its
// connection ends, within the event's time at the latest. The bubble fails
// when one is left.
func TestKongVanishes(t *testing.T) {
	wholeCall := func(id int32) []byte {
		call := eventCall(id, "access")
		call.Sequence = 1
		payload, err := proto.Marshal(call)
		if err != nil {
			t.Fatal(err)
		}
		return frame(payload)
	}
	for name, c := range map[string]struct {
		write   func(id int32) []byte
		silent  bool // Kong keeps the connection open, and does nothing
		inEvent bool // Kong reads the first frame of the event, and closes
	}{
		"half a header":         {func(int32) []byte { return []byte{9, 0} }, true, false},
		"half a call":           {func(id int32) []byte { return wholeCall(id)[:6] }, true, false},
		"never reads":           {wholeCall, true, false},
		"closes in the event":   {wholeCall, false, true},
		"closes in the header":  {func(int32) []byte { return []byte{9} }, false, false},
		"closes between events": {func(int32) []byte { return nil }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var batch error
			s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
				call := pdk.RequestRawBody()
				batch = e.Batch(&call)
			}})}
			bubble(t, s, func(t *testing.T, connect func() *peer) {
				p := connect()
				id := must[int32](t)(p.start(`{}`))
				start := time.Now()
				if _, err := p.Write(c.write(id)); err != nil {
					t.Fatal(err)
				}
				if c.silent {
					time.Sleep(time.Minute)
					if _, err := p.Write([]byte{0}); err == nil {
						t.Errorf("the connection is open after %v", time.Since(start))
					}
					return
				}
				if c.inEvent {
					must[[]byte](t)(p.read())
				}
				p.Close()
				synctest.Wait()
				if c.inEvent && !errors.Is(batch, pdk.ErrGone) {
					t.Errorf("the handler learned of %v, want %v", batch, pdk.ErrGone)
				}
			})
		})
	}
}

func TestKongAnswersHalfAReply(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		call := pdk.RequestRawBody()
		e.Batch(&call)
	}})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
			t.Fatal(err)
		}
		p.read()
		p.read()
		p.Write(append(binary.LittleEndian.AppendUint32(nil, 100), "half"...))
		start := time.Now()
		if b, err := p.read(); err == nil {
			t.Errorf("the event went on with %q", b)
		}
		if took := time.Since(start); took > 55*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// TestKongIgnoresAnExit: the wait for Kong's close has an end, and nothing is
// written meanwhile.
func TestKongIgnoresAnExit(t *testing.T) {
	for name, answer := range map[string][]byte{"silence": nil, "a reply": frame(nil)} {
		t.Run(name, func(t *testing.T) {
			s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) { e.Exit(403, nil, nil) }})}
			bubble(t, s, func(t *testing.T, connect func() *peer) {
				p := connect()
				if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
					t.Fatal(err)
				}
				p.read()
				p.read()
				start := time.Now()
				if _, err := p.Write(answer); err != nil {
					t.Fatal(err)
				}
				if b, err := p.read(); err == nil {
					t.Errorf("after the exit came %q", b)
				}
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("closed after %v, want 10 s", took)
				}
			})
		})
	}
}

// TestVanishedKongOnASocket is the same with real sockets, where a close is
// seen by reads and writes in their own ways.
func TestVanishedKongOnASocket(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		for {
			call := pdk.LogErr(strings.Repeat("x", 10<<10))
			if e.Batch(&call) != nil {
				return
			}
		}
	}})}
	t.Run("", func(t *testing.T) {
		connect := serve(t, s)
		for range 20 {
			p := connect()
			if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
				t.Fatal(err)
			}
			must[[]byte](t)(p.read())
			p.Close()
		}
	})
}

func TestEventDeadline(t *testing.T) {
	var lasted time.Duration
	s := &pluginserver.Server{New: always(plugin{access: func(ctx context.Context, e *pluginserver.Event) {
		start := time.Now()
		<-ctx.Done()
		lasted = time.Since(start)
		e.Exit(503, nil, []byte(`{"error":"too late"}`))
	}})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		time.Sleep(24 * time.Hour) // idle connections live as long as Kong likes
		if o := must[outcome](t)(p.event(id, "access")); !refused(o) || lasted != 50*time.Second {
			t.Errorf("%+v after %v", o, lasted)
		}
	})
}
