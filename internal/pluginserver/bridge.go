// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"encoding/binary"
	"io"
	"net"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

// A bridgeConn is what go-pdk's API sees as its connection. It shares the
// buffers and the bounds of the event's batches, and makes up for two things.
// go-pdk allocates whatever length a frame's header says. And a call whose
// arguments do not encode leaves its first frame behind, without the second.
type bridgeConn struct {
	net.Conn
	event *Event

	head [headerSize]byte
	// unseen is the part of head that go-pdk has not read. unread is what is
	// still to come of the reply's payload.
	unseen []byte
	unread int64
}

// Write keeps what go-pdk writes until it asks for the reply.
func (b *bridgeConn) Write(p []byte) (int, error) {
	if b.event.over != nil {
		return 0, b.event.over
	}
	b.event.conn.out = append(b.event.conn.out, p...)
	return len(p), nil
}

// Read writes the call, then returns the header of the reply and its payload. A
// reply that may not be read into memory is an error before go-pdk learns its
// length.
func (b *bridgeConn) Read(p []byte) (int, error) {
	e := b.event
	if e.over != nil {
		return 0, e.over
	}
	if len(b.unseen) == 0 && b.unread == 0 {
		if err := b.ask(); err != nil {
			return 0, err
		}
	}
	if len(b.unseen) > 0 {
		n := copy(p, b.unseen)
		b.unseen = b.unseen[n:]
		return n, nil
	}
	if int64(len(p)) > b.unread {
		p = p[:b.unread]
	}
	n, err := e.conn.in.Read(p)
	b.unread -= int64(n)
	if err != nil {
		return n, b.lost(err)
	}
	return n, nil
}

// ask writes the call that is complete and reads the header of its reply.
func (b *bridgeConn) ask() error {
	c := b.event.conn
	method, call := lastCall(c.out)
	if call == nil {
		c.dropUnwritten()
		return io.ErrNoProgress
	}
	c.counters.Calls.Add(1)
	if method == pdk.ExitMethod {
		if err := c.SetReadDeadline(time.Now().Add(exitTimeout)); err != nil {
			return b.lost(err)
		}
	}
	_, err := c.Conn.Write(call)
	c.dropUnwritten()
	if err != nil {
		return b.lost(err)
	}
	n, err := c.length()
	if err != nil {
		return b.lost(err)
	}
	if refused := c.admit(b.event.ctx, n); refused != nil {
		if err := c.discard(n); err != nil {
			return b.lost(err)
		}
		return refused
	}
	binary.LittleEndian.PutUint32(b.head[:], uint32(n))
	b.unseen, b.unread = b.head[:], n
	return nil
}

// lastCall returns the last two frames and the method that the first of them
// names, nil when there are no two whole frames. Frames before them are the
// remains of calls whose arguments did not encode.
func lastCall(out []byte) (method string, call []byte) {
	var starts []int
	for at := 0; len(out)-at >= headerSize; {
		starts = append(starts, at)
		at += headerSize + int(binary.LittleEndian.Uint32(out[at:]))
	}
	if len(starts) < 2 {
		return "", nil
	}
	first, second := starts[len(starts)-2], starts[len(starts)-1]
	return string(out[first+headerSize : second]), out[first:]
}

// lost ends the event because of an error on its connection, and tells go-pdk
// which, as any connection would.
func (b *bridgeConn) lost(cause error) error {
	b.event.broken(cause)
	return cause
}

// settle brings the stream back in step before somebody else uses it.
func (b *bridgeConn) settle() error {
	b.event.conn.dropUnwritten()
	n := b.unread
	b.unseen, b.unread = nil, 0
	return b.event.conn.discard(n)
}

// Close is called by go-pdk after an exit.
func (b *bridgeConn) Close() error {
	b.event.over = errExited
	return nil
}
