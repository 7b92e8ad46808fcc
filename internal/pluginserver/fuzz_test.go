// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// FuzzConnection: whatever comes over a connection, the server neither panics
// nor hangs nor holds room when it has ended.
func FuzzConnection(f *testing.F) {
	call := func(b []byte, err error) []byte {
		if err != nil {
			f.Fatal(err)
		}
		return frame(b)
	}
	start := call(proto.Marshal(startCall(`{"__seq__":1}`)))
	event := call(proto.Marshal(eventCall(1, "access")))
	f.Add(start)
	f.Add(append(append(start, event...), make([]byte, 40)...))
	f.Add(append(append(start, event...), frame(make([]byte, 300))...))
	f.Add([]byte{200, 0, 0, 0, 0x9a, 2, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		counters := new(pluginserver.Counters)
		r := &room{left: 1 << 20}
		s := &pluginserver.Server{
			MaxFrame: 128, Room: r, Counters: counters, EventTimeout: 2 * time.Second,
			New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
				calls := [2]pdk.Call{pdk.RequestRawBody(), pdk.RequestHeaders()}
				if e.Batch(&calls[0], &calls[1]) != nil {
					return
				}
				calls[0].RawBody()
				calls[1].Headers()
				if _, err := e.PDK().Nginx.GetVar("a"); err != nil {
					e.Exit(500, nil, nil)
				}
			}}),
		}
		ours, kongs := net.Pipe()
		done := make(chan struct{})
		go func() {
			s.ServeConn(ours)
			close(done)
		}()
		go io.Copy(io.Discard, kongs)
		kongs.Write(b)
		kongs.Close()
		<-done
		if counters.Panics.Load() != 0 || r.left != 1<<20 || counters.Connections.Load() != 0 {
			t.Errorf("%d panics, %d bytes left, %d connections", counters.Panics.Load(), r.left, counters.Connections.Load())
		}
		s.Shutdown(t.Context())
	})
}
