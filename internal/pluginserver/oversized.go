// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

// Numbers of fields in RpcCall.
const (
	fieldSequence      protowire.Number = 1
	fieldStartInstance protowire.Number = 33
	fieldHandleEvent   protowire.Number = 36
	fieldFirstCommand  protowire.Number = 31
)

// oversized answers a call whose frame of n bytes is over the limit. Only its
// outline is read: the sequence, and which command it is. Closing the
// connection would make Kong send it again and again. So each command gets the
// answer that is true and ends the matter:
//   - an instance whose configuration is too large starts, and refuses;
//   - an event is refused; Kong's are a few bytes long, so this one is odd;
//   - for all else the answer is empty, as for a command without a result.
//
// What has no outline does not come from Kong, and the connection ends.
func (c *conn) oversized(n int64) error {
	sequence, command, err := c.outline(n)
	if err != nil {
		return err
	}
	switch command {
	case fieldStartInstance:
		return c.giveBack(sequence, c.server.instances.start("", nil))
	case fieldHandleEvent:
		exit := pdk.ResponseExit(http.StatusServiceUnavailable, refusalHeader, refusalBody)
		c.addCall(&exit)
		if err := c.flush(); err != nil {
			return err
		}
		return c.awaitClose()
	default:
		return c.giveBack(sequence, nil)
	}
}

var errNoOutline = errors.New("an oversized frame is no call")

// outline reads n bytes and keeps what oversized needs to know.
func (c *conn) outline(n int64) (sequence int64, command protowire.Number, err error) {
	rest := &io.LimitedReader{R: c.in, N: n}
	for rest.N > 0 {
		tag, err := binary.ReadUvarint(byteReader{rest})
		if err != nil {
			return 0, 0, errNoOutline
		}
		num, typ := protowire.DecodeTag(tag)
		if typ != protowire.VarintType && typ != protowire.BytesType {
			return 0, 0, errNoOutline
		}
		v, err := binary.ReadUvarint(byteReader{rest})
		if err != nil {
			return 0, 0, errNoOutline
		}
		if num == fieldSequence && typ == protowire.VarintType {
			sequence = int64(v)
		}
		if typ == protowire.VarintType {
			continue
		}
		if num >= fieldFirstCommand {
			command = num
		}
		if v > uint64(rest.N) {
			return 0, 0, errNoOutline
		}
		if _, err := io.CopyN(io.Discard, rest, int64(v)); err != nil {
			return 0, 0, err
		}
	}
	if command == 0 {
		return 0, 0, errNoOutline
	}
	return sequence, command, nil
}

// A byteReader reads single bytes and none ahead.
type byteReader struct{ r io.Reader }

func (b byteReader) ReadByte() (byte, error) {
	var p [1]byte
	_, err := io.ReadFull(b.r, p[:])
	return p[0], err
}
