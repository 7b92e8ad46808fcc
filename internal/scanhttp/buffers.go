// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
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
