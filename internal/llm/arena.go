// SPDX-License-Identifier: Apache-2.0

package llm

import "unsafe"

// An arena makes strings that share few allocations. Bytes that a string
// stands on are never written again.
type arena struct {
	buf   []byte
	start int // of the string being built
	chunk int // how large the next chunk is to be
}

// room makes sure that n bytes fit without moving what is being built.
func (r *arena) room(n int) {
	if cap(r.buf)-len(r.buf) < n {
		r.buf = make([]byte, 0, max(n, r.chunk))
		r.start = 0
	}
}

// copy makes a string of b.
func (r *arena) copy(b []byte) string {
	r.room(len(b))
	from := len(r.buf)
	r.buf = append(r.buf, b...)
	return r.string(from)
}

// begin starts a string of about n bytes; the caller appends to buf.
func (r *arena) begin(n int) {
	if len(r.buf) > 2*r.chunk {
		// One large string has made it grow. Growing it further for the next
		// one would copy that string.
		r.buf = nil
	}
	r.room(max(n+n/8, min(r.chunk, 512)))
	r.start = len(r.buf)
}

// end makes a string of what was appended since begin, without the last
// newline.
func (r *arena) end() string {
	if n := len(r.buf); n > r.start && r.buf[n-1] == '\n' {
		r.buf = r.buf[:n-1]
	}
	return r.string(r.start)
}

func (r *arena) string(from int) string {
	if from == len(r.buf) {
		return ""
	}
	// Sound because buf only ever grows behind these bytes: begin, copy and
	// end leave what stands before len(buf) alone.
	return unsafe.String(&r.buf[from], len(r.buf)-from)
}
