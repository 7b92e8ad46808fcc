// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"encoding/binary"
	"fmt"
	"io"
)

// maxFrame bounds what is read from a plugin in one frame, in bytes: more than
// any answer that a plugin may send, but small enough not to break the tests.
const maxFrame = 256 << 20

// readFrame reads one frame: a length of four bytes, little endian, and as
// many bytes.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes from the plugin", n)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return frame, nil
}

// writeFrame writes one frame with one write.
func writeFrame(w io.Writer, payload []byte) error {
	frame := make([]byte, 4, 4+len(payload))
	binary.LittleEndian.PutUint32(frame, uint32(len(payload)))
	_, err := w.Write(append(frame, payload...))
	return err
}
