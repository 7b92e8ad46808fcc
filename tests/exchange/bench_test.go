// SPDX-License-Identifier: Apache-2.0

// Package exchange measures whole exchanges: both legs of an allowed chat with
// 25 request headers, as a real Kong asks for them.
package exchange

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/airs"
)

const (
	name   = "prisma-airs-intercept"
	prompt = `{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"What is the capital of France?"}]}`
	answer = `{"id":"chatcmpl-1","object":"chat.completion","created":1741569952,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}`
)

// tape is what Kong says in one exchange: the frames that begin its events,
// and its replies by the frames of the call.
type tape struct {
	start   []byte
	events  [][]byte
	replies map[string][]byte
}

// record lets a gateway that plays Kong run one exchange with the real binary
// at path, and keeps what it says.
func record(b *testing.B, path, service string) *tape {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer upstream.Close()
	t := &tape{replies: map[string][]byte{}}
	var mu sync.Mutex
	var call []byte
	var calls [][]byte // a batch's calls come before its replies
	gateway, err := kongtest.New(kongtest.Config{
		Servers: []kongtest.PluginServer{{Path: path}},
		Declarative: kongtest.Declarative{
			Services: []kongtest.Service{{Name: "llm", URL: upstream.URL, Routes: []kongtest.Route{{Name: "chat", Paths: []string{"/llm"}}}}},
			Plugins: []kongtest.Plugin{{Name: name, Config: map[string]any{
				"api_key": "k", "profile_name": "p", "api_endpoint": service,
			}}},
		},
		OnFrame: func(f kongtest.Frame) {
			mu.Lock()
			defer mu.Unlock()
			switch f.Kind {
			case "method":
				call = append([]byte(nil), f.Payload...)
			case "args":
				calls = append(calls, append(append(call, 0), f.Payload...))
			case "reply":
				t.replies[string(calls[0])] = frame(f.Payload)
				calls = calls[1:]
			case "RpcCall":
				var c kong_plugin_protocol.RpcCall
				if proto.Unmarshal(f.Payload, &c) != nil {
					return
				}
				if _, ok := c.Call.(*kong_plugin_protocol.RpcCall_CmdStartInstance); ok {
					t.start = frame(f.Payload)
				}
			}
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer gateway.Close()
	if err := gateway.Start(); err != nil {
		b.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, gateway.URL()+"/llm/v1/chat/completions", strings.NewReader(prompt))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := range 20 { // with those that net/http adds: 25
		req.Header.Set(fmt.Sprintf("X-Header-%d", i), "a value of ordinary length")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	got, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusOK || string(got) != answer {
		b.Fatalf("the recorded exchange ended with %d: %s", res.StatusCode, got)
	}
	mu.Lock()
	defer mu.Unlock()
	return t
}

func frame(payload []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

// A kong plays the tape to a plugin server and allocates nothing.
type kong struct {
	*tape
	conn net.Conn
	in   *bufio.Reader
	key  []byte
}

// connect starts an instance and makes the frames of its events.
func (t *tape) connect(b *testing.B, conn net.Conn) *kong {
	k := &kong{tape: t, conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	if _, err := conn.Write(t.start); err != nil {
		b.Fatal(err)
	}
	var ret kong_plugin_protocol.RpcReturn
	payload, err := k.read(nil)
	if err != nil || proto.Unmarshal(payload, &ret) != nil {
		b.Fatal("no instance")
	}
	t.events = nil
	for _, phase := range []string{"access", "response"} {
		payload, err := proto.Marshal(&kong_plugin_protocol.RpcCall{Sequence: 9, Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
			CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: ret.GetInstanceStatus().GetInstanceId(), EventName: phase},
		}})
		if err != nil {
			b.Fatal(err)
		}
		t.events = append(t.events, frame(payload))
	}
	return k
}

// read appends the next frame's payload to dst.
func (k *kong) read(dst []byte) ([]byte, error) {
	head, err := k.in.Peek(4)
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head))
	_, _ = k.in.Discard(4)
	body, err := k.in.Peek(n)
	if err != nil {
		return nil, err
	}
	dst = append(dst, body...)
	_, err = k.in.Discard(n)
	return dst, err
}

// exchange plays both legs and counts the calls.
func (k *kong) exchange() (calls int, err error) {
	for _, event := range k.events {
		if _, err := k.conn.Write(event); err != nil {
			return calls, err
		}
		for {
			if k.key, err = k.read(k.key[:0]); err != nil {
				return calls, err
			}
			end := len(k.key) == 0
			if !end {
				k.key = append(k.key, 0)
			}
			if k.key, err = k.read(k.key); err != nil { // arguments, or the event's return
				return calls, err
			}
			if end {
				break
			}
			calls++
			reply, ok := k.replies[string(k.key)]
			switch {
			case !ok && strings.HasPrefix(string(k.key), "kong.log."):
				reply = empty // its argument holds this exchange's times
			case !ok:
				return calls, fmt.Errorf("a call that the recorded exchange did not make: %q", k.key)
			}
			if _, err := k.conn.Write(reply); err != nil {
				return calls, err
			}
		}
	}
	return calls, nil
}

var empty = frame(nil)

func (k *kong) benchmark(b *testing.B) {
	calls := 0
	b.ReportAllocs()
	for b.Loop() {
		n, err := k.exchange()
		if err != nil {
			b.Fatal(err)
		}
		calls = n
	}
	b.ReportMetric(float64(calls), "PDKcalls/op")
}

// build builds the real binary.
func build(b *testing.B) string {
	path := filepath.Join(b.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "github.com/kong-ai-guard/kong-ai-guard/cmd/"+name).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

type allower struct{}

func (allower) Scan(context.Context, *scan.Scan) (scan.Verdict, error) {
	return scan.Verdict{Action: scan.Allow, ScanID: "2f0db789-1b35-4fe7-9930-e892888fa102"}, nil
}

type instance struct{ engine *guard.Engine }

func (i instance) Access(ctx context.Context, e *pluginserver.Event)   { i.engine.Access(ctx, e) }
func (i instance) Response(ctx context.Context, e *pluginserver.Event) { i.engine.Response(ctx, e) }
func (instance) Close()                                                {}

// BenchmarkExchange: "server" is the plugin server and the engine in this
// process on a socket pair, with a scanner in memory; its allocations are those
// of one exchange. "binary" is the real binary on its socket, with a scan
// service over HTTP in this process.
func BenchmarkExchange(b *testing.B) {
	service := httptest.NewServer(fakeairs.New(fakeairs.Options{Keys: []string{"k"}, Profiles: []string{"p"}}))
	defer service.Close()
	path := build(b)
	t := record(b, path, service.URL)

	b.Run("server", func(b *testing.B) {
		plugin := airs.Plugin()
		process := guard.NewProcess(guard.DefaultBounds(), plugin.Vendor.LogPrefix, zap.NewNop(), telemetry.NewMetrics(name))
		defer process.Flush(context.Background())
		s := &pluginserver.Server{Room: process.Room, New: func(config []byte) pluginserver.Instance {
			c, err := airs.Decode(config)
			if err != nil {
				b.Error(err)
				return nil
			}
			return instance{guard.New(process, guard.Config{
				Vendor: plugin.Vendor, Needs: guard.Needs{Service: true, Prompt: true}, Settings: c.Settings, Scanner: allower{},
			})}
		}}
		ours, kongs := socketPair(b)
		go s.Serve(&lonely{conn: ours})
		t.connect(b, kongs).benchmark(b)
		kongs.Close()
		s.Shutdown(context.Background())
	})
	b.Run("binary", func(b *testing.B) {
		socket, cmd, stop := serve(b, path)
		conn := dial(b, socket)
		defer conn.Close()
		t.connect(b, conn).benchmark(b)
		conn.Close()
		stop()
		cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "plugin-cpu-ns/op")
	})
}

// lonely is a listener to which one connection comes.
type lonely struct{ conn net.Conn }

func (l *lonely) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	conn := l.conn
	l.conn = nil
	return conn, nil
}

func (l *lonely) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }
func (l *lonely) Close() error   { return nil }

func socketPair(b *testing.B) (ours, kongs net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(file); err != nil {
			b.Fatal(err)
		}
		file.Close()
	}
	return ends[0], ends[1]
}
