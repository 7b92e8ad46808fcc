// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bufio"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// ErrMalformed is an answer that nobody can read in one way only.
var ErrMalformed = errors.New("malformed answer")

var errHeadTooLarge = errors.New("head of the answer too large")

// maxTrailer bounds a trailer, in bytes, as Pool.MaxHead does.
const maxTrailer = 64 << 10

// A wire is what answers are read from. It counts, and stops when heads are
// too long.
type wire struct {
	io.Reader
	// left is how many bytes may still be read.
	left int64
	// heard says that something was read.
	heard bool
}

func (w *wire) Read(p []byte) (int, error) {
	if w.left <= 0 {
		return 0, errHeadTooLarge
	}
	n, err := w.Reader.Read(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	w.heard = w.heard || n > 0
	return n, err
}

// An AnswerReader reads the answers of one HTTP/1.1 connection. Lines, fields
// and chunks are read by the standard library; how long an answer is, is
// decided here, and never in two ways: what another reader could take for
// longer or shorter is an error.
type AnswerReader struct {
	maxHead int64
	wire    wire
	buf     *bufio.Reader
	text    *textproto.Reader
	body    Body
}

// NewAnswerReader makes one that reads heads and trailers of up to maxHead bytes.
func NewAnswerReader(r io.Reader, maxHead int64) *AnswerReader {
	a := &AnswerReader{maxHead: maxHead, wire: wire{Reader: r}}
	a.buf = bufio.NewReader(&a.wire)
	a.text = textproto.NewReader(a.buf)
	return a
}

// Next begins an answer: nothing was heard yet.
func (a *AnswerReader) Next() { a.wire.left, a.wire.heard = a.maxHead, false }

// Heard reports whether anything has come since Next.
func (a *AnswerReader) Heard() bool { return a.wire.heard }

// Done reports whether the connection is at the end of an answer whose body was
// read to its end, as far as is known.
func (a *AnswerReader) Done() bool { return a.buf.Buffered() == 0 }

// A Head is what comes before an answer's body.
type Head struct {
	Status int
	Fields http.Header
	// Length is that of the body in bytes, -1 if it is not said. It is 0
	// when there is none.
	Length  int64
	Chunked bool
	// Stays says that the service keeps the connection.
	Stays bool
}

// Head reads the head of an answer after Next, and skips those before it that
// only say that it will come. bare says that it has no body, whatever it says,
// since it answers a HEAD.
func (a *AnswerReader) Head(bare bool) (Head, error) {
	h, err := a.head(bare)
	for err == nil && h.Status < 200 && h.Status != http.StatusSwitchingProtocols {
		h, err = a.head(bare)
	}
	return h, err
}

func (a *AnswerReader) head(bare bool) (Head, error) {
	line, err := a.text.ReadLine()
	if err != nil {
		if a.wire.heard {
			err = early(err)
		}
		return Head{}, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.ParseUint(code, 10, 16)
	if err != nil || len(code) != 3 || status < 100 || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return Head{}, ErrMalformed
	}
	fields, err := a.text.ReadMIMEHeader()
	if err != nil {
		return Head{}, early(err)
	}
	for name, values := range fields {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, unfit) {
			return Head{}, ErrMalformed
		}
	}
	h := Head{Status: int(status), Fields: http.Header(fields)}
	return h, h.measure(version, bare)
}

// unfit reports whether readers may differ about a field's value.
func unfit(value string) bool { return !httpguts.ValidHeaderFieldValue(value) }

// measure finds out how long the body is.
func (h *Head) measure(version string, bare bool) error {
	codings, coded := h.Fields["Transfer-Encoding"]
	lengths, said := h.Fields["Content-Length"]
	h.Length = -1
	switch {
	case coded && (said || version == "HTTP/1.0" || len(codings) != 1 || !strings.EqualFold(codings[0], "chunked")):
		return ErrMalformed
	case said:
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil || len(lengths) != 1 {
			return ErrMalformed
		}
		h.Length = int64(n)
	}
	h.Chunked = coded
	known := coded || said // where the body ends
	switch {
	case h.Status < 200 || h.Status == http.StatusNoContent || h.Status == http.StatusNotModified:
		// Without a body, whatever the fields say. If they say that there is
		// one, nobody knows what the next bytes are.
		known = !coded && h.Length <= 0 && h.Status >= 200
		h.Chunked, h.Length = false, 0
	case bare:
		known, h.Chunked, h.Length = true, false, 0
	}
	h.Stays = known && version == "HTTP/1.1" && !httpguts.HeaderValuesContainsToken(h.Fields["Connection"], "close")
	return nil
}

// Body is the body that belongs to a head, until Next.
func (a *AnswerReader) Body(h *Head) *Body {
	a.wire.left = math.MaxInt64 // bodies have no bound here
	a.body = Body{answers: a, left: h.Length}
	if h.Chunked {
		a.body.chunks = httputil.NewChunkedReader(a.buf)
	}
	return &a.body
}

// A Body is the body of an answer. Its end is io.EOF only where the answer ends.
type Body struct {
	// Trailer is there at the end, nil if there is none.
	Trailer http.Header

	answers *AnswerReader
	chunks  io.Reader // nil if it is not in chunks
	left    int64     // of its length, less than 0 without one
}

// Read gives what has come, and waits only while that is nothing.
func (b *Body) Read(p []byte) (int, error) {
	switch {
	case b.chunks != nil:
		n, err := b.chunks.Read(p)
		if err == io.EOF { //nolint:errorlint // as io.Reader has it
			err = b.end()
		}
		return n, err
	case b.left < 0:
		return b.answers.buf.Read(p)
	case b.left == 0:
		return 0, io.EOF
	}
	n, err := b.answers.buf.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if b.left == 0 {
		return n, io.EOF
	}
	return n, early(err)
}

// end reads what comes behind the last chunk.
func (b *Body) end() error {
	b.answers.wire.left = min(b.answers.maxHead, maxTrailer)
	fields, err := b.answers.text.ReadMIMEHeader()
	if err != nil {
		return early(err)
	}
	if len(fields) > 0 {
		b.Trailer = http.Header(fields)
	}
	return io.EOF
}

// early is the error of an answer that ended too early.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
