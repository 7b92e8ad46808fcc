// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

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

// TestVanishedKongOnASocket is the same with real sockets, where a close is
// seen by reads and writes in their own ways.
func TestVanishedKongOnASocket(t *testing.T) {
	defer leaks.Verify(t)
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

func TestUnknownInstanceClosesTheConnection(t *testing.T) {
	connect := serve(t, &pluginserver.Server{New: always(plugin{})})
	if _, err := connect().event(99, "access"); !errors.Is(err, io.EOF) {
		t.Errorf("event: %v", err)
	}
	if err := connect().close(99); !errors.Is(err, io.EOF) {
		t.Errorf("close: %v", err)
	}
}

func TestPhaseThatTheDumpDoesNotName(t *testing.T) {
	connect := serve(t, &pluginserver.Server{New: always(plugin{})})
	p := connect()
	id := must[int32](t)(p.start(`{}`))
	if o, err := p.event(id, "log"); err != nil || len(o.calls) > 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestFramesThatAreNoCalls(t *testing.T) {
	connect := serve(t, &pluginserver.Server{New: always(plugin{}), MaxFrame: 100})
	for name, payload := range map[string][]byte{
		"empty":               {},
		"not protobuf":        []byte("GET / HTTP/1.1\r\n"),
		"sequence only":       {0x08, 0x01},
		"large, no protobuf":  bytes.Repeat([]byte("x"), 200),
		"large, no command":   append([]byte{0x08, 0x01, 0x12, 0xc4, 0x01}, make([]byte, 196)...),
		"large, cut command":  append([]byte{0xa2, 0x02, 0xff, 0x7f}, make([]byte, 196)...),
		"large, cut sequence": append(append([]byte{0xa2, 0x02, 0xc4, 0x01}, make([]byte, 196)...), 0x08),
	} {
		p := connect()
		if _, err := p.Write(frame(payload)); err != nil {
			t.Fatal(err)
		}
		if b, err := p.read(); err == nil {
			t.Errorf("%s: answered with %q", name, b)
		}
	}
}
