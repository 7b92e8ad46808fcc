// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
)

// errExited ends an event whose handler called kong.response.exit. Kong never
// answers that call, and closes the connection.
var errExited = errors.New("exited")

// errClosed is what Kong says of a connection that the plugin closed.
var errClosed = errors.New("closed")

// A Frame is one frame between Kong and a plugin, or the end of a connection.
type Frame struct {
	// Conn numbers the connections of the gateway, from 1.
	Conn     int64
	FromKong bool
	// Kind is RpcCall, RpcReturn, method, args, reply, end-of-event or closed.
	Kind    string
	Payload []byte
}

// A worker is what one Kong worker process holds of a plugin server: its own
// connections, instances and sequence numbers.
type worker struct {
	gw       *Gateway
	plugin   *plugin
	mu       sync.Mutex
	idle     []*conn
	seq      int64
	running  map[string]running // by the plugin configuration's id
	starting sync.Mutex         // one StartInstance at a time
	closed   bool
}

type running struct {
	seq int
	id  int32
}

type conn struct {
	net.Conn
	r      *bufio.Reader
	number int64
}

func newWorker(gw *Gateway, p *plugin) *worker {
	// Kong's first call carries the number 2.
	return &worker{gw: gw, plugin: p, seq: 1, running: map[string]running{}}
}

func (w *worker) connect() (*conn, error) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		c := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		return c, nil
	}
	w.mu.Unlock()
	nc, err := net.Dial("unix", w.plugin.socket)
	if err != nil {
		return nil, connectError(err)
	}
	return &conn{Conn: nc, r: bufio.NewReader(nc), number: w.gw.conns.Add(1)}, nil
}

// connectError is a failed connect in nginx's words.
func connectError(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, os.ErrNotExist):
		return errors.New("no such file or directory")
	}
	return err
}

// keep puts a connection that is in step back for the next call.
func (w *worker) keep(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		c.Close()
		return
	}
	w.idle = append(w.idle, c)
}

// drop closes a connection. nginx notices at once when idle connections are
// closed by the other side, so none of them is used again either.
func (w *worker) drop(c *conn, closedByPlugin bool) {
	c.Close()
	if !closedByPlugin {
		return
	}
	w.mu.Lock()
	idle := w.idle
	w.idle = nil
	w.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

func (w *worker) close() {
	w.mu.Lock()
	w.closed = true
	idle := w.idle
	w.idle = nil
	w.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// call makes one remote call. In an event, x answers the PDK calls that come
// before its return.
func (w *worker) call(msg *kong_plugin_protocol.RpcCall, x *exchange) (ret *kong_plugin_protocol.RpcReturn, err error) {
	w.mu.Lock()
	w.seq++
	msg.Sequence = w.seq
	w.mu.Unlock()
	c, err := w.connect()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = rpcError(err)
			w.drop(c, err == errClosed)
			w.gw.frame(c, true, "closed", nil)
			return
		}
		w.keep(c)
	}()
	out, err := proto.Marshal(msg)
	if err != nil {
		return nil, err
	}
	if err := w.write(c, "RpcCall", out); err != nil {
		return nil, err
	}
	if x != nil {
		if err := w.bridge(c, x); err != nil {
			return nil, err
		}
	}
	in, err := w.read(c, "RpcReturn")
	if err != nil {
		return nil, err
	}
	ret = &kong_plugin_protocol.RpcReturn{}
	if err := proto.Unmarshal(in, ret); err != nil {
		return nil, err
	}
	if ret.Sequence != msg.Sequence {
		return nil, fmt.Errorf("return carries sequence %d, expected %d", ret.Sequence, msg.Sequence)
	}
	return ret, nil
}

// bridge answers PDK calls in the order they come until the event ends.
func (w *worker) bridge(c *conn, x *exchange) error {
	for {
		method, err := w.read(c, "method")
		if err != nil {
			return err
		}
		if len(method) == 0 {
			return nil
		}
		args, err := w.read(c, "args")
		if err != nil {
			return err
		}
		reply, err := x.answer(string(method), args)
		if err != nil {
			return err
		}
		if err := w.write(c, "reply", reply); err != nil {
			return err
		}
	}
}

func (w *worker) read(c *conn, kind string) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(w.gw.cfg.RPCTimeout)); err != nil {
		return nil, err
	}
	b, err := readFrame(c.r)
	if err == nil {
		if kind == "method" && len(b) == 0 {
			kind = "end-of-event"
		}
		w.gw.frame(c, false, kind, b)
	}
	return b, err
}

func (w *worker) write(c *conn, kind string, payload []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(w.gw.cfg.RPCTimeout)); err != nil {
		return err
	}
	w.gw.frame(c, true, kind, payload)
	return writeFrame(c, payload)
}

// rpcError is an error of a connection in nginx's words.
func rpcError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("timeout")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return errClosed
	}
	return err
}

// instance returns the id of the instance that runs this configuration. It
// starts the instance when this worker has not done so, and then closes an
// older one of the same plugin.
func (w *worker) instance(conf *pluginConfig) (int32, error) {
	w.starting.Lock()
	defer w.starting.Unlock()
	w.mu.Lock()
	old, isOld := w.running[conf.id]
	w.mu.Unlock()
	if isOld && old.seq == conf.seq {
		return old.id, nil
	}
	ret, err := w.call(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
		CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: conf.name, Config: conf.json},
	}}, nil)
	if err != nil {
		return 0, err
	}
	id := ret.GetInstanceStatus().GetInstanceId()
	w.mu.Lock()
	w.running[conf.id] = running{seq: conf.seq, id: id}
	w.mu.Unlock()
	if isOld {
		// Another worker may have closed it: its error means nothing.
		_, _ = w.call(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdCloseInstance{
			CmdCloseInstance: &kong_plugin_protocol.CmdCloseInstance{InstanceId: old.id},
		}}, nil)
	}
	return id, nil
}

// event runs one phase of a plugin. An error means that the client gets 500.
// Old Kongs only log it, and the exchange goes on.
func (w *worker) event(conf *pluginConfig, phase string, x *exchange) error {
	err := w.handleEvent(conf, phase, x)
	var raised luaError
	if err != nil && w.gw.version < failsClosed && !errors.As(err, &raised) {
		return nil
	}
	return err
}

// A luaError is raised by the Lua code that answers a call. No Kong goes past
// it.
type luaError struct{ error }

// handleEvent runs one phase. When the plugin closes the connection, Kong
// forgets the plugin's instances and runs the event again, without end. Here it
// ends after cfg.MaxAttempts.
func (w *worker) handleEvent(conf *pluginConfig, phase string, x *exchange) error {
	for attempt := 1; ; attempt++ {
		id, err := w.instance(conf)
		if err != nil {
			x.log("err", w.plugin.name, "starting instance: "+err.Error())
			return err
		}
		_, err = w.call(&kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
			CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: id, EventName: phase},
		}}, x)
		if err == nil || err == errExited {
			return nil
		}
		text := strings.ToLower(err.Error())
		if !strings.Contains(text, "no plugin instance") && !strings.Contains(text, "closed") {
			x.log("err", w.plugin.name, "pluginserver error: "+err.Error())
			return err
		}
		w.mu.Lock()
		clear(w.running)
		w.mu.Unlock()
		x.log("warn", w.plugin.name, err.Error())
		if attempt == w.gw.cfg.MaxAttempts {
			return fmt.Errorf("%s: gave up after %d attempts: %w", conf.name, attempt, err)
		}
		x.countRetry()
	}
}

// configJSON is what Kong hands to StartInstance: the configuration without
// what is unset, and Kong's own keys.
func configJSON(config map[string]any, extra map[string]any) ([]byte, error) {
	out := map[string]any{}
	for name, v := range config {
		if v = withoutNulls(v); v != nil {
			out[name] = v
		}
	}
	for name, v := range extra {
		out[name] = v
	}
	return json.Marshal(out)
}

func withoutNulls(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(m))
	for name, v := range m {
		if v = withoutNulls(v); v != nil {
			out[name] = v
		}
	}
	return out
}
