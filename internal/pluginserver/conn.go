// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
)

// The phases that the dump names.
const (
	phaseAccess   = "access"
	phaseResponse = "response"
)

// A conn is one connection of a Kong worker, which sends one call after the
// other over it.
type conn struct {
	frames
	server *Server

	mu       sync.Mutex
	busy     bool // a call is under way
	draining bool
}

const (
	// lastCallTime is how long a connection that has to go waits for a call. A
	// worker that uses it now and then does so within that time. The connection
	// then ends with the call, when Kong checks whether it may be kept.
	lastCallTime = 100 * time.Millisecond
	// partTime is how long Kong may take to close a connection of which we have
	// closed our half; busyTime is how long if it still has to answer what Tell
	// has called for: as long as an end waits for events at most.
	partTime = 3 * time.Second
	busyTime = shutdownTimeout
)

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{frames: newFrames(nc, s), server: s}
}

// serve answers calls until the connection is closed or dead.
func (c *conn) serve() {
	for {
		if err := c.await(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) { // of drain
				c.part()
			}
			return
		}
		c.begin()
		err := c.call()
		c.release()
		if err != nil {
			c.server.Log.Debug("connection ends", zap.Error(err))
			return
		}
		if !c.end() {
			c.part()
			return
		}
	}
}

// await waits for a call. Between calls Kong may keep a connection as long as it
// likes.
func (c *conn) await() error {
	if err := c.skipUnread(); err != nil {
		return err
	}
	_, err := c.in.Peek(1)
	return err
}

// part closes our half of the connection. If Kong is sending a call on it, Kong
// reads an end and makes the call once more on another connection. With both
// halves closed Kong would fail to send, be it a call or a reply, and its client
// would get 500.
func (c *conn) part() {
	patience := partTime
	if c.unread > 0 {
		patience = busyTime
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(patience)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.Conn)
}

// begin marks the connection as busy.
func (c *conn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = true
}

// end marks the connection as idle, unless it has to go.
func (c *conn) end() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	return !c.draining
}

// drain makes the call that is under way, or about to come, the last one.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.busy {
		_ = c.SetReadDeadline(time.Now().Add(lastCallTime))
	}
}

// call reads one call of Kong's and answers it. Whatever happens, it ends
// within the event's time, so that nobody waits for a Kong that has gone.
func (c *conn) call() error {
	start := time.Now()
	if err := c.SetDeadline(start.Add(c.server.EventTimeout + afterTimeout)); err != nil {
		return err
	}
	n, err := c.length()
	if err != nil {
		return err
	}
	if n > c.max {
		c.counters.TooLarge.Add(1)
		if err := c.oversized(n); err != nil {
			return err
		}
	} else if err := c.read(int(n), start); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

func (c *conn) read(n int, start time.Time) error {
	frame := c.memory(n) // what is kept of a call is copied out of it
	if _, err := io.ReadFull(c.in, frame); err != nil {
		return err
	}
	var call kong_plugin_protocol.RpcCall
	if err := proto.Unmarshal(frame, &call); err != nil {
		return fmt.Errorf("a frame of %d bytes is no call", n)
	}
	return c.answer(&call, start)
}

// answer does what go-pdk's server does, with the same frames.
func (c *conn) answer(call *kong_plugin_protocol.RpcCall, start time.Time) error {
	var status *kong_plugin_protocol.InstanceStatus
	var err error
	switch cmd := call.Call.(type) {
	case *kong_plugin_protocol.RpcCall_CmdHandleEvent:
		return c.event(call.Sequence, cmd.CmdHandleEvent, start)
	case *kong_plugin_protocol.RpcCall_CmdStartInstance:
		status = c.server.instances.start(cmd.CmdStartInstance.GetName(), cmd.CmdStartInstance.GetConfig())
	case *kong_plugin_protocol.RpcCall_CmdGetInstanceStatus:
		status, err = c.server.instances.status(cmd.CmdGetInstanceStatus.GetInstanceId())
	case *kong_plugin_protocol.RpcCall_CmdCloseInstance:
		status, err = c.server.instances.close(cmd.CmdCloseInstance.GetInstanceId())
	case *kong_plugin_protocol.RpcCall_CmdGetPluginNames, *kong_plugin_protocol.RpcCall_CmdGetPluginInfo:
		c.add(nil) // Kong reads the dump instead
		return c.flush()
	default:
		return fmt.Errorf("unknown call %T", cmd)
	}
	if err != nil {
		return err
	}
	return c.giveBack(call.Sequence, status)
}

// giveBack ends a call of Kong's.
func (c *conn) giveBack(sequence int64, status *kong_plugin_protocol.InstanceStatus) error {
	ret := kong_plugin_protocol.RpcReturn{Sequence: sequence}
	if status != nil {
		ret.Return = &kong_plugin_protocol.RpcReturn_InstanceStatus{InstanceStatus: status}
	}
	payload, err := proto.Marshal(&ret)
	if err != nil {
		return err
	}
	c.add(payload)
	return c.flush()
}

// event runs one event to its end. The connection lives on unless the event
// ended with an exit.
func (c *conn) event(sequence int64, cmd *kong_plugin_protocol.CmdHandleEvent, start time.Time) error {
	in, ok := c.server.instances.enter(cmd.GetInstanceId())
	if !ok {
		// Kong starts the instance anew when the connection closes, and then
		// runs the event again.
		return fmt.Errorf("no plugin instance %d", cmd.GetInstanceId())
	}
	defer in.leave()
	c.counters.Events.Add(1)
	ctx := deadline.New(c.server.base, start.Add(c.server.EventTimeout))
	defer ctx.Release()
	e := &Event{conn: c, ctx: ctx, phase: cmd.GetEventName()}
	c.run(ctx, e, in.Instance)
	c.release() // now, since after an exit Kong may take its time
	return e.finish(sequence)
}

// run calls the handler. If that panics, the event ends with a refusal.
func (c *conn) run(ctx context.Context, e *Event, in Instance) {
	defer func() {
		if v := recover(); v != nil {
			c.server.panicked(e.phase, v)
			e.refuse()
		}
	}()
	switch e.phase {
	case phaseAccess:
		in.Access(ctx, e)
	case phaseResponse:
		in.Response(ctx, e)
	default:
		// The dump does not name this phase, so somebody wrote another one by
		// hand. There is nothing for us to do in it.
		c.server.Log.Error("an event of a phase that the dump does not name", zap.String("phase", e.phase))
	}
}
