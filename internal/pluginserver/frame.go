// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

const (
	// readBuffer holds the replies to one batch in the usual case.
	readBuffer = 8 << 10
	// largeFrame is the size from which a reply needs room, in bytes.
	largeFrame = 64 << 10
	// maxKept bounds the memory that an idle connection keeps for small replies.
	maxKept = 64 << 10
	// roomWait is how long a large reply waits for room.
	roomWait = time.Second
	// batchBytes is how much may be written before replies are read. It is
	// less than a socket's buffer takes: with more, we would wait for Kong to
	// read while Kong waits for us to read a reply.
	batchBytes = 48 << 10
)

const headerSize = 4

// frames reads and writes frames: a length of four bytes, lowest first, and
// that many bytes.
type frames struct {
	net.Conn
	in  *bufio.Reader
	out []byte // frames to be written
	// tail comes after out: arguments too large to be copied into it.
	tail []byte
	// unread is how many replies come first that nobody needs.
	unread int

	max      int64
	room     Room
	counters *Counters
	reserved int64
	owner    string // of what is reserved

	// kept is where small replies lie until the event ends. used counts what an
	// event needed, so that the next one finds it in one piece.
	kept []byte
	used int
}

func newFrames(nc net.Conn, s *Server) frames {
	return frames{
		Conn: nc, in: bufio.NewReaderSize(nc, readBuffer),
		max: s.MaxFrame, room: s.Room, counters: s.Counters,
	}
}

// add puts a frame to those that the next flush writes.
func (f *frames) add(payload []byte) {
	f.out = binary.LittleEndian.AppendUint32(f.out, uint32(len(payload)))
	f.out = append(f.out, payload...)
}

// addCall adds the two frames of a PDK call. Large arguments are not copied:
// they become the tail, and nothing can be added after them before the flush.
func (f *frames) addCall(call *pdk.Call) {
	f.add([]byte(call.Method))
	f.out = binary.LittleEndian.AppendUint32(f.out, uint32(len(call.Args)))
	if len(call.Args) > batchBytes {
		f.tail = call.Args
		return
	}
	f.out = append(f.out, call.Args...)
}

func (f *frames) flush() (err error) {
	if f.tail == nil {
		_, err = f.Write(f.out)
	} else {
		_, err = (&net.Buffers{f.out, f.tail}).WriteTo(f.Conn)
	}
	f.dropUnwritten()
	return err
}

func (f *frames) dropUnwritten() {
	if cap(f.out) > maxKept {
		f.out = nil
	}
	f.out, f.tail = f.out[:0], nil
}

// length reads the header of the next frame.
func (f *frames) length() (int64, error) {
	head, err := f.in.Peek(headerSize)
	if err != nil {
		if errors.Is(err, io.EOF) && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	n := int64(binary.LittleEndian.Uint32(head))
	_, err = f.in.Discard(headerSize)
	return n, err
}

// reply reads the next frame into a call, where it lasts until release. When
// the frame was thrown away instead, that is the call's error, and the stream
// is in step.
func (f *frames) reply(ctx context.Context, call *pdk.Call) error {
	call.Reply, call.Err = nil, nil
	n, err := f.length()
	if err != nil {
		return err
	}
	if call.Err = f.admit(ctx, n); call.Err != nil {
		return f.discard(n)
	}
	call.Reply = f.memory(int(n))
	_, err = io.ReadFull(f.in, call.Reply)
	return err
}

// admit returns nil if a reply of n bytes may be read into memory, else the
// reason why not.
func (f *frames) admit(ctx context.Context, n int64) error {
	if n > f.max {
		f.counters.TooLarge.Add(1)
		return pdk.ErrTooLarge
	}
	if n <= largeFrame || f.room == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roomWait)
	defer cancel()
	if f.room.Reserve(ctx, f.owner, n) != nil {
		f.counters.NoRoom.Add(1)
		return pdk.ErrNoRoom
	}
	f.reserved += n
	return nil
}

// skipUnread reads the replies that nobody needs.
func (f *frames) skipUnread() error {
	for ; f.unread > 0; f.unread-- {
		n, err := f.length()
		if err != nil {
			return err
		}
		if err := f.discard(n); err != nil {
			return err
		}
	}
	return nil
}

// discard reads n bytes and throws them away, a little at a time.
func (f *frames) discard(n int64) error {
	if n == 0 { // as most replies are that nobody needs
		return nil
	}
	_, err := io.CopyN(io.Discard, f.in, n)
	return err
}

// memory returns n bytes that last until release.
func (f *frames) memory(n int) []byte {
	if n > largeFrame {
		return make([]byte, n)
	}
	f.used += n
	if cap(f.kept)-len(f.kept) < n {
		f.kept = make([]byte, 0, max(n, 4<<10))
	}
	start := len(f.kept)
	f.kept = f.kept[:start+n]
	return f.kept[start:len(f.kept):len(f.kept)]
}

// own says whose memory the replies take, including those that were read
// before.
func (f *frames) own(owner string) {
	if f.reserved > 0 {
		f.room.Move(f.owner, owner, f.reserved)
	}
	f.owner = owner
}

// release ends the life of all replies.
func (f *frames) release() {
	if f.reserved > 0 {
		f.room.Release(f.owner, f.reserved)
		f.reserved = 0
	}
	f.owner = ""
	if need := min(f.used, maxKept); need > cap(f.kept) {
		f.kept = make([]byte, 0, need)
	}
	f.kept, f.used = f.kept[:0], 0
}
