// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"errors"
	"io"
	"math/bits"
	"sync"
)

// The sizes of buffers for bodies, in bytes: powers of two. Larger bodies are
// rare, and what they take is not kept.
const (
	leastBuffer = 4 << 10
	mostBuffer  = 512 << 10
	bufferSizes = 8
)

// buffers has buffers of each size. Two rounds of the collector empty it.
var buffers [bufferSizes]sync.Pool

// Buffer returns an empty buffer with room for n bytes, for the body of a
// Request. Recycle takes it back. What stood in it before is never sent: a body
// is what was appended.
func Buffer(n int) []byte {
	class := bits.Len(uint(max(n, leastBuffer)-1) / leastBuffer)
	if class >= bufferSizes {
		return make([]byte, 0, n)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, leastBuffer<<class)
}

// Recycle takes the memory of a body back for others. It is only for the one who
// has it from Buffer, or has appended to that, and only once: after Post has
// returned. Nothing of it may be used after.
func Recycle(b []byte) {
	class := bits.Len(uint(cap(b))/leastBuffer) - 1 // all that are asked of it fit
	if class < 0 || cap(b) > mostBuffer {
		return
	}
	b = b[:0]
	buffers[class].Put(&b)
}

// A sentBody is a body that net/http sends. Its transport may be reading still
// when the answer is there. It gets nothing after end, so that the body can be
// used again.
type sentBody struct {
	mu    sync.Mutex
	bytes []byte
	ended bool
}

// end waits for a read that runs, and lets none follow.
func (s *sentBody) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.ended = nil, true
}

func (s *sentBody) open() (io.ReadCloser, error) { return &sentReader{sentBody: s}, nil }

type sentReader struct {
	*sentBody
	from   int
	closed bool
}

var errEnded = errors.New("the call has ended")

func (r *sentReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || r.closed {
		return 0, errEnded
	}
	if r.from == len(r.bytes) {
		return 0, io.EOF
	}
	n := copy(p, r.bytes[r.from:])
	r.from += n
	return n, nil
}

func (r *sentReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}
