// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	gopdk "github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/recording"
)

// The six calls that a request leg needs.
var sixMethods = []string{
	"kong.request.get_raw_body", "kong.request.get_headers", "kong.nginx.get_var",
	"kong.nginx.get_var", "kong.client.get_consumer", "kong.router.get_service",
}

// recordedReplies returns what a real Kong answered to the six calls, as
// frames.
func recordedReplies(b *testing.B) [][]byte {
	frames, err := recording.Load("../../testdata/protocol/kong-3.9.1-frames.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	var replies [][]byte
	for _, method := range sixMethods {
		for _, f := range frames {
			if f.Kind == "reply" && f.Method() == method {
				replies = append(replies, frame(f.Data))
				break
			}
		}
	}
	if len(replies) != len(sixMethods) {
		b.Fatal("a reply is not in the recording")
	}
	return replies
}

// replay plays Kong's half of one event and allocates nothing.
func replay(nc net.Conn, in *bufio.Reader, event []byte, replies [][]byte) (calls int, err error) {
	if _, err := nc.Write(event); err != nil {
		return 0, err
	}
	skip := func() (int, error) {
		head, err := in.Peek(4)
		if err != nil {
			return 0, err
		}
		n := int(binary.LittleEndian.Uint32(head))
		_, err = in.Discard(4 + n)
		return n, err
	}
	for {
		n, err := skip() // method
		if err != nil {
			return calls, err
		}
		if _, err := skip(); err != nil { // arguments, or the end of the event
			return calls, err
		}
		if n == 0 {
			return calls, nil
		}
		if _, err := nc.Write(replies[calls%len(replies)]); err != nil {
			return calls, err
		}
		calls++
	}
}

func benchmarkEvent(b *testing.B, nc net.Conn) {
	replies := recordedReplies(b)
	p := newPeer(nc)
	id := must[int32](b)(p.start(`{"__seq__":1}`))
	payload := must[[]byte](b)(proto.Marshal(eventCall(id, "access")))
	event := frame(payload)
	calls := 0
	b.ReportAllocs()
	for b.Loop() {
		n, err := replay(nc, p.in, event, replies)
		if err != nil {
			b.Fatal(err)
		}
		calls = n
	}
	b.ReportMetric(float64(calls), "PDKcalls/op")
}

// sixCalls is the handler, once on our batches and once on go-pdk's API.
type sixCalls struct{}

func (sixCalls) Access(_ context.Context, e *pluginserver.Event) {
	calls := [6]pdk.Call{
		pdk.RequestRawBody(), pdk.RequestHeaders(), requestID, requestLine, pdk.ClientConsumer(), pdk.RouterService(),
	}
	err := e.Batch(&calls[0], &calls[1], &calls[2], &calls[3], &calls[4], &calls[5])
	body, err1 := calls[0].RawBody()
	headers, _, err2 := calls[1].Headers()
	id, err3 := calls[2].Text()
	line, err4 := calls[3].Text()
	who, err5 := calls[4].Consumer()
	service, err6 := calls[5].Service()
	if err != nil || err1 != nil || err2 != nil || err3 != nil || err4 != nil || err5 != nil || err6 != nil ||
		len(body.Content) == 0 || headers.Get("host") == "" || id == "" || line == "" || who.ID == "" || service.Name == "" {
		e.Exit(500, nil, nil)
	}
}
func (sixCalls) Response(context.Context, *pluginserver.Event) {}
func (sixCalls) Close()                                        {}

var requestID, requestLine = pdk.NginxVar("kong_request_id"), pdk.NginxVar("request")

type sixCallsGoPDK struct{}

func (*sixCallsGoPDK) Access(k *gopdk.PDK) {
	body, err1 := k.Request.GetRawBody()
	headers, err2 := k.Request.GetHeaders(1000)
	id, err3 := k.Nginx.GetVar("kong_request_id")
	line, err4 := k.Nginx.GetVar("request")
	who, err5 := k.Client.GetConsumer()
	service, err6 := k.Router.GetService()
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || err5 != nil || err6 != nil ||
		len(body) == 0 || len(headers["host"]) == 0 || id == "" || line == "" || who.Id == "" || service.Name == "" {
		k.Response.ExitStatus(500)
	}
}

// socketPair returns the two ends of a connection.
func socketPair(b *testing.B) (ours, kongs net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), fmt.Sprint("socket ", i))
		if ends[i], err = net.FileConn(file); err != nil {
			b.Fatal(err)
		}
		file.Close()
	}
	return ends[0], ends[1]
}

// BenchmarkEvent measures one event of six calls, with Kong's half in the same
// process.
func BenchmarkEvent(b *testing.B) {
	b.Run("one batch", func(b *testing.B) {
		s := &pluginserver.Server{New: func([]byte) pluginserver.Instance { return sixCalls{} }}
		ours, kongs := socketPair(b)
		go s.ServeConn(ours)
		benchmarkEvent(b, kongs)
		kongs.Close()
		s.Shutdown(b.Context())
	})
	b.Run("go-pdk's API", func(b *testing.B) {
		h := new(sixCallsGoPDK)
		s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) { h.Access(e.PDK()) }})}
		ours, kongs := socketPair(b)
		go s.ServeConn(ours)
		benchmarkEvent(b, kongs)
		kongs.Close()
		s.Shutdown(b.Context())
	})
	b.Run("go-pdk's server", func(b *testing.B) {
		nc, err := startGoPDK(b)
		if err != nil {
			b.Skip(err)
		}
		defer nc.Close()
		benchmarkEvent(b, nc)
	})
}

// startGoPDK runs go-pdk's server in this process and connects to it. It can
// not be stopped: it is started once and stays.
func startGoPDK(b *testing.B) (net.Conn, error) {
	if goPDKSocket == "" {
		dir, err := os.MkdirTemp("", "ps")
		if err != nil {
			b.Fatal(err)
		}
		if err := flag.Set("kong-prefix", dir); err != nil {
			b.Fatal(err)
		}
		goPDKSocket = filepath.Join(dir, filepath.Base(must[string](b)(os.Executable()))+".socket")
		log.SetOutput(io.Discard)
		go server.StartServer(func() any { return new(sixCallsGoPDK) }, "1", 1)
	}
	var nc net.Conn
	var err error
	for range 1000 {
		if nc, err = net.Dial("unix", goPDKSocket); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return nc, err
}

var goPDKSocket string
