// SPDX-License-Identifier: Apache-2.0

package scanhttp

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

// maxHead bounds the head of an answer, of the 1xx before it, and its trailer,
// in bytes. What was read together with it may be up to a buffer more.
const maxHead = 64 << 10

var (
	errHeadTooLarge    = errors.New("head of the answer too large")
	errMalformedAnswer = errors.New("malformed answer")
)

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

// An answerReader reads the answers of one HTTP/1.1 connection. Lines, fields
// and chunks are read by the standard library; how long an answer is, is
// decided here, and never in two ways: what another reader could take for
// longer or shorter is an error.
type answerReader struct {
	wire wire
	buf  *bufio.Reader
	text *textproto.Reader
}

func newAnswerReader(r io.Reader) *answerReader {
	a := &answerReader{wire: wire{Reader: r}}
	a.buf = bufio.NewReader(&a.wire)
	a.text = textproto.NewReader(a.buf)
	return a
}

// next begins an answer: nothing was heard yet.
func (a *answerReader) next() { a.wire.left, a.wire.heard = maxHead, false }

// read reads the answer to a POST of that many bytes, after next. clean says
// that the connection is at the end of the answer, as far as is known, and that
// the service keeps it open.
func (a *answerReader) read(sent int64) (resp Response, clean bool, err error) {
	head, err := a.head()
	for err == nil && head.status < 200 && head.status != http.StatusSwitchingProtocols {
		head, err = a.head()
	}
	if err != nil {
		return Response{}, false, err
	}
	resp = Response{Status: head.status, Header: head.fields}
	if resp.Body, err = a.body(head, sent); err != nil {
		return Response{}, false, err
	}
	return resp, head.stays && a.buf.Buffered() == 0, nil
}

// body reads what belongs to a head, up to maxAnswer more than was sent.
func (a *answerReader) body(h head, sent int64) ([]byte, error) {
	a.wire.left = math.MaxInt64 // readAnswer has a bound of its own
	switch {
	case h.chunked:
		data, err := readAnswer(httputil.NewChunkedReader(a.buf), -1, sent)
		if err != nil {
			return nil, err
		}
		a.wire.left = maxHead
		if _, err := a.text.ReadMIMEHeader(); err != nil {
			return nil, early(err)
		}
		return data, nil
	case h.length >= 0:
		exact := io.LimitedReader{R: a.buf, N: h.length}
		data, err := readAnswer(&exact, h.length, sent)
		if err == nil && exact.N > 0 {
			err = io.ErrUnexpectedEOF
		}
		return data, err
	}
	return readAnswer(a.buf, -1, sent)
}

// A head is what comes before an answer's body.
type head struct {
	status int
	fields http.Header
	// length is that of the body in bytes, -1 if it is not said. It is 0
	// when there is none.
	length  int64
	chunked bool
	// stays says that the service keeps the connection.
	stays bool
}

func (a *answerReader) head() (head, error) {
	line, err := a.text.ReadLine()
	if err != nil {
		if a.wire.heard {
			err = early(err)
		}
		return head{}, err
	}
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	status, err := strconv.ParseUint(code, 10, 16)
	if err != nil || len(code) != 3 || status < 100 || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return head{}, errMalformedAnswer
	}
	fields, err := a.text.ReadMIMEHeader()
	if err != nil {
		return head{}, early(err)
	}
	for name, values := range fields {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, unfit) {
			return head{}, errMalformedAnswer
		}
	}
	h := head{status: int(status), fields: http.Header(fields)}
	return h, h.measure(version)
}

// unfit reports whether readers may differ about a field's value.
func unfit(value string) bool { return !httpguts.ValidHeaderFieldValue(value) }

// measure finds out how long the body is.
func (h *head) measure(version string) error {
	codings, coded := h.fields["Transfer-Encoding"]
	lengths, said := h.fields["Content-Length"]
	h.length = -1
	switch {
	case coded && (said || version == "HTTP/1.0" || len(codings) != 1 || !strings.EqualFold(codings[0], "chunked")):
		return errMalformedAnswer
	case said:
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil || len(lengths) != 1 {
			return errMalformedAnswer
		}
		h.length = int64(n)
	}
	h.chunked = coded
	known := coded || said // where the body ends
	if h.status < 200 || h.status == http.StatusNoContent || h.status == http.StatusNotModified {
		// Without a body, whatever the fields say. If they say that there is
		// one, nobody knows what the next bytes are.
		known = !coded && h.length <= 0 && h.status >= 200
		h.chunked, h.length = false, 0
	}
	h.stays = known && version == "HTTP/1.1" && !httpguts.HeaderValuesContainsToken(h.fields["Connection"], "close")
	return nil
}

// early is the error of an answer that ended too early.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
