// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// A peer is a Kong worker with one connection, as far as the tests need it.
type peer struct {
	net.Conn
	in  *bufio.Reader
	seq int64
	// answer returns the reply to a PDK call; nil answers all with nothing.
	answer func(method string, args []byte) []byte
	// frames are those that came from the plugin, "" for an end of event.
	frames []string
}

func newPeer(nc net.Conn) *peer { return &peer{Conn: nc, in: bufio.NewReader(nc)} }

func (p *peer) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.LittleEndian.Uint32(head[:]))
	_, err := io.ReadFull(p.in, b)
	p.frames = append(p.frames, string(b))
	return b, err
}

func frame(payload []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}

func (p *peer) send(call *kong_plugin_protocol.RpcCall) error {
	p.seq++
	call.Sequence = p.seq
	payload, err := proto.Marshal(call)
	if err != nil {
		return err
	}
	_, err = p.Write(frame(payload))
	return err
}

// result reads the end of a call.
func (p *peer) result() (*kong_plugin_protocol.RpcReturn, error) {
	payload, err := p.read()
	if err != nil {
		return nil, err
	}
	ret := new(kong_plugin_protocol.RpcReturn)
	if err := proto.Unmarshal(payload, ret); err != nil {
		return nil, err
	}
	if ret.Sequence != p.seq {
		return nil, fmt.Errorf("call %d was answered with %d", p.seq, ret.Sequence)
	}
	return ret, nil
}

func (p *peer) start(config string) (id int32, err error) {
	if err := p.send(startCall(config)); err != nil {
		return 0, err
	}
	ret, err := p.result()
	return ret.GetInstanceStatus().GetInstanceId(), err
}

func startCall(config string) *kong_plugin_protocol.RpcCall {
	return &kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
		CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: "plugin", Config: []byte(config)},
	}}
}

func (p *peer) close(id int32) error {
	err := p.send(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdCloseInstance{
		CmdCloseInstance: &kong_plugin_protocol.CmdCloseInstance{InstanceId: id},
	}})
	if err != nil {
		return err
	}
	_, err = p.result()
	return err
}

func eventCall(id int32, phase string) *kong_plugin_protocol.RpcCall {
	return &kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
		CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: id, EventName: phase},
	}}
}

// An outcome is how an event ended: with an exit, or else Kong went on.
type outcome struct {
	calls []string // methods, the exit's too
	exit  *kong_plugin_protocol.ExitArgs
}

// event runs one event as Kong does: it answers the calls in order, and closes
// the connection upon an exit.
func (p *peer) event(id int32, phase string) (o outcome, err error) {
	if err := p.send(eventCall(id, phase)); err != nil {
		return o, err
	}
	return p.bridge()
}

func (p *peer) bridge() (o outcome, err error) {
	for {
		method, err := p.read()
		if err != nil {
			return o, err
		}
		if len(method) == 0 {
			_, err := p.result()
			return o, err
		}
		args, err := p.read()
		if err != nil {
			return o, err
		}
		o.calls = append(o.calls, string(method))
		if string(method) == pdk.ExitMethod {
			o.exit = new(kong_plugin_protocol.ExitArgs)
			return o, errors.Join(proto.Unmarshal(args, o.exit), p.Close())
		}
		var reply []byte
		if p.answer != nil {
			reply = p.answer(string(method), args)
		}
		if _, err := p.Write(frame(reply)); err != nil {
			return o, err
		}
	}
}

// A plugin is an Instance made of functions; nil ones do nothing.
type plugin struct {
	access, response func(ctx context.Context, e *pluginserver.Event)
	close            func()
}

func (p plugin) Access(ctx context.Context, e *pluginserver.Event) {
	if p.access != nil {
		p.access(ctx, e)
	}
}

func (p plugin) Response(ctx context.Context, e *pluginserver.Event) {
	if p.response != nil {
		p.response(ctx, e)
	}
}

func (p plugin) Close() {
	if p.close != nil {
		p.close()
	}
}

func always(p plugin) func([]byte) pluginserver.Instance {
	return func([]byte) pluginserver.Instance { return p }
}

// socketPath returns a path that is short enough for a socket.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ps")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "p.socket")
}

// serve runs a server on a socket until the test ends and returns a way to
// connect to it.
func serve(t testing.TB, s *pluginserver.Server) (connect func() *peer) {
	t.Helper()
	path := socketPath(t)
	l, err := pluginserver.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return func() *peer {
		t.Helper()
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return newPeer(nc)
	}
}

// must fails the test when there is an error.
func must[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func refused(o outcome) bool {
	return o.exit != nil && o.exit.Status == 503 && strings.Contains(string(o.exit.Body), `"error"`)
}

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

// text encodes a reply that is one text.
func text(s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
}
