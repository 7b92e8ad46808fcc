// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"unicode/utf8"
)

// The errors of FrameReader. Their texts are fixed and quote nothing.
var (
	ErrFrameLength   = errors.New("event stream frame has a length that cannot be")
	ErrFrameChecksum = errors.New("event stream frame has a wrong checksum")
	ErrFrameHeaders  = errors.New("event stream frame has headers that cannot be read")
)

const (
	preludeLen = 12 // total length, length of the headers, checksum of both
	frameMin   = preludeLen + 4
	headersMax = 128 << 10 // by the specification of the encoding
	headerMax  = 64        // headers in a frame; services send three to six
)

// A HeaderType is the type of a frame header's value, as it is on the wire.
type HeaderType uint8

// The types of header values.
const (
	HeaderTrue HeaderType = iota
	HeaderFalse
	HeaderByte
	HeaderShort
	HeaderInt
	HeaderLong
	HeaderBytes
	HeaderString
	HeaderTimestamp // milliseconds since 1970
	HeaderUUID
)

// A Header is a header of a frame.
type Header struct {
	// Name is something like ":event-type" or ":exception-type". No two headers
	// of a frame have the same.
	Name []byte
	Type HeaderType
	// Value is the value's bytes: UTF-8 for HeaderString, big-endian for
	// numbers, empty for booleans.
	Value []byte
	// At is the place of Value in the body.
	At Span
}

// A Frame is a message of application/vnd.amazon.eventstream, whose lengths and
// checksums are right.
type Frame struct {
	// Span is the whole frame.
	Span
	// RawHeaders and Payload are where the headers and the payload lie.
	RawHeaders, Payload Span
	Headers             []Header
}

// LooksLikeFrames reports whether body starts with the prelude of a frame:
// three words of which the last is the checksum of the others.
func LooksLikeFrames(body []byte) bool {
	return len(body) >= frameMin && crc32.ChecksumIEEE(body[:8]) == binary.BigEndian.Uint32(body[8:])
}

// AppendFrame appends a frame with these headers, names and string values, and
// this payload to dst, and returns the longer slice. A name has 1 to 255 bytes,
// a value at most 65,535, all together less than 4 GiB.
func AppendFrame(dst []byte, headers [][2]string, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, preludeLen)...)
	for _, h := range headers {
		dst = append(append(dst, byte(len(h[0]))), h[0]...)
		dst = binary.BigEndian.AppendUint16(append(dst, byte(HeaderString)), uint16(len(h[1])))
		dst = append(dst, h[1]...)
	}
	size := len(dst) - start - preludeLen
	dst = append(dst, payload...)
	prelude := dst[start:]
	binary.BigEndian.PutUint32(prelude, uint32(frameMin+size+len(payload)))
	binary.BigEndian.PutUint32(prelude[4:], uint32(size))
	binary.BigEndian.PutUint32(prelude[8:], crc32.ChecksumIEEE(prelude[:8]))
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

// A FrameReader reads the frames of a body in order, as the body arrives.
// Whatever way it is cut, the frames and the error are the same.
type FrameReader struct {
	body  []byte // from offset at on, as far as it is there
	at    int
	all   bool // nothing follows body
	pos   int
	frame Frame
	err   error
}

// NewFrameReader returns a FrameReader for a whole body.
func NewFrameReader(body []byte) *FrameReader { return &FrameReader{body: body, all: true} }

// Feed hands the FrameReader the body from offset at on, as far as it has come;
// all says that it has come to its end. at may not be beyond Begun. The bytes
// have to stay as they are until the next Feed. The zero FrameReader can be fed.
func (r *FrameReader) Feed(body []byte, at int, all bool) {
	r.body, r.at, r.all = body, at, all
	clear(r.frame.Headers) // what they lie in need not be kept
}

// Begun is the offset of the first frame that Next has not returned.
func (r *FrameReader) Begun() int { return r.pos }

// Next reads the next frame. It returns false at the end, on an error, and where
// the rest of the frame has not come yet.
func (r *FrameReader) Next() bool {
	if r.err != nil || r.pos == r.at+len(r.body) {
		return false
	}
	ok, err := r.read()
	r.err = err
	return ok
}

// Frame is the frame that Next read. It is valid until the next call of Next or
// Feed.
func (r *FrameReader) Frame() *Frame { return &r.frame }

// Err is the error that ended the reading, nil at the end of the body and where
// more of it is to come.
func (r *FrameReader) Err() error { return r.err }

func (r *FrameReader) in(s Span) []byte { return r.body[s.Start-r.at : s.End-r.at : s.End-r.at] }

// read reads a frame. It returns false where it is not there yet.
func (r *FrameReader) read() (bool, error) {
	b := r.body[r.pos-r.at:]
	if len(b) < frameMin {
		if r.all {
			return false, ErrFrameLength
		}
		return false, nil
	}
	if !LooksLikeFrames(b) {
		return false, ErrFrameChecksum
	}
	total, headers := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	switch {
	case total < frameMin || headers > total-frameMin || headers > headersMax:
		return false, ErrFrameLength
	case total > uint64(len(b)) && r.all:
		return false, ErrFrameLength
	case total > uint64(len(b)):
		return false, nil
	}
	n := int(total)
	if crc32.ChecksumIEEE(b[:n-4]) != binary.BigEndian.Uint32(b[n-4:]) {
		return false, ErrFrameChecksum
	}
	f := &r.frame
	f.Span = Span{r.pos, r.pos + n}
	f.RawHeaders = Span{r.pos + preludeLen, r.pos + preludeLen + int(headers)}
	f.Payload = Span{f.RawHeaders.End, f.End - 4}
	r.pos = f.End
	err := r.headers()
	return err == nil, err
}

// headers reads the headers of the frame.
func (r *FrameReader) headers() error {
	f := &r.frame
	f.Headers = f.Headers[:0]
	for pos, end := f.RawHeaders.Start, f.RawHeaders.End; pos < end; {
		name := Span{pos + 1, pos + 1 + int(r.body[pos-r.at])}
		if name.Start == name.End || name.End >= end || !utf8.Valid(r.in(name)) {
			return ErrFrameHeaders
		}
		h := Header{Name: r.in(name), Type: HeaderType(r.body[name.End-r.at])}
		at := Span{name.End + 1, name.End + 1}
		switch h.Type {
		case HeaderTrue, HeaderFalse:
		case HeaderByte:
			at.End++
		case HeaderShort:
			at.End += 2
		case HeaderInt:
			at.End += 4
		case HeaderLong, HeaderTimestamp:
			at.End += 8
		case HeaderUUID:
			at.End += 16
		case HeaderBytes, HeaderString:
			if end-at.Start < 2 {
				return ErrFrameHeaders
			}
			n := int(binary.BigEndian.Uint16(r.body[at.Start-r.at:]))
			at = Span{at.Start + 2, at.Start + 2 + n}
		default:
			return ErrFrameHeaders
		}
		if at.End > end {
			return ErrFrameHeaders
		}
		h.At, h.Value = at, r.in(at)
		if h.Type == HeaderString && !utf8.Valid(h.Value) || f.has(h.Name) || len(f.Headers) == headerMax {
			return ErrFrameHeaders
		}
		f.Headers = append(f.Headers, h)
		pos = at.End
	}
	return nil
}

func (f *Frame) has(name []byte) bool {
	for _, h := range f.Headers {
		if string(h.Name) == string(name) {
			return true
		}
	}
	return false
}
