// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"errors"
	"io"
	"iter"
	"runtime"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// A Decoder is Decode for a body that arrives in pieces. Whatever way it is cut,
// all that Feed and End return together is what Decode returns, and so is the
// error. Some errors show only at the end: what follows the end of the coding,
// and deflate that can be read in two ways. What is decoded is handed out as
// soon as the encoder has flushed it, but what reads as text as it stands only
// once it does not. So the bytes before an error may have been handed out.
//
// A Decoder is for one goroutine. Stop it if it is given up before End.
type Decoder struct {
	name  string
	lim   Limits
	fed   int    // encoded bytes
	lead  []byte // the first encoded bytes, until they are no text
	valid int    // how much of lead is UTF-8
	plain int64  // bytes of a body without coding
	main  *lane
	rival *lane // reads as raw deflate what is zlib; nil once it has failed
	err   error
}

// NewDecoder returns a Decoder for the coding that a Content-Encoding header
// names. The errors are those of Decode.
func NewDecoder(coding string, lim Limits) (*Decoder, error) {
	name, err := nameOf(coding)
	if err != nil {
		return nil, err
	}
	return &Decoder{name: name, lim: lim}, nil
}

// Feed takes the next encoded bytes, which are the caller's, and returns what
// they decode to. That is valid until the next call. After an error the Decoder
// decodes no more.
func (d *Decoder) Feed(p []byte) ([]byte, error) {
	if d.err != nil || len(p) == 0 {
		return nil, d.err
	}
	d.fed += len(p)
	var out []byte
	switch d.name {
	case "", "identity":
		if d.plain += int64(len(p)); d.plain > d.lim.Bytes {
			return nil, d.fail(errTooLarge)
		}
		return p, nil
	case "gzip", "x-gzip", "deflate", "br", "zstd":
		if d.main == nil {
			if p = d.hold(p); p == nil {
				return nil, d.err
			}
			d.begin(p)
		}
		out = d.run(p, false)
	default:
		d.err = errUnknown
	}
	return out, d.err
}

// End says that the body is whole, and returns the rest of what it decodes to.
func (d *Decoder) End() ([]byte, error) {
	if d.err != nil || d.fed == 0 || d.name == "" || d.name == "identity" {
		return nil, d.err
	}
	var rest []byte
	if d.main == nil {
		if rest = d.lead; len(rest) >= textMin && mediatype.Text(rest) {
			return nil, d.fail(errTwoWays)
		}
		d.lead = nil
		d.begin(rest)
	}
	out := d.run(rest, true)
	if d.err == nil && d.rival != nil {
		d.err = errTwoWays // it came to its end, or would have gone on
		if d.rival.err == errMalformed {
			d.err = nil
		}
	}
	d.Stop()
	return out, d.err
}

// Stop gives the Decoder up. It can be called at any time, and more than once.
func (d *Decoder) Stop() {
	for _, l := range [...]*lane{d.main, d.rival} {
		if l != nil {
			l.stop()
		}
	}
	if d.err == nil && d.main != nil && !d.main.done {
		d.err = errMalformed
	}
}

// Memory is about how many bytes the Decoder holds, with its window.
func (d *Decoder) Memory() int {
	n := len(d.lead)
	for _, l := range [...]*lane{d.main, d.rival} {
		if l != nil && !l.done {
			n += l.window
		}
	}
	return n
}

func (d *Decoder) fail(err *Error) error {
	d.err = err
	d.Stop()
	return err
}

// hold keeps p while the body so far could be text, for which Decode has an
// error of its own. It returns all that was kept once that is settled.
func (d *Decoder) hold(p []byte) []byte {
	if int64(len(d.lead)+len(p)) > max(d.lim.Bytes, 1<<20) {
		_ = d.fail(errTooLarge)
		return nil
	}
	d.lead = append(d.lead, p...)
	for d.valid < len(d.lead) {
		rest := d.lead[d.valid:]
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			if !utf8.FullRune(rest) || d.fed < 2 { // deflate is told by two bytes
				return nil
			}
			p, d.lead = d.lead, nil
			return p
		}
		d.valid += n
	}
	return nil
}

// begin chooses how the body is decoded, which begins with p.
func (d *Decoder) begin(p []byte) {
	switch d.name {
	case "br":
		d.main = d.lane(brotliReaders, brotliWindow(p)+brotliMemory)
	case "zstd":
		d.main = d.lane(zstdReaders, zstdWindowOf(p)+zstdMemory)
	case "deflate":
		if !hasZlibHeader(p) {
			d.main = d.lane(flateReaders, flateMemory)
			break
		}
		d.main = d.lane(zlibReaders, flateMemory)
		d.rival = d.lane(flateReaders, flateMemory)
	default:
		d.main = d.lane(gzipReaders, flateMemory)
	}
}

// run decodes p. A slot is held only while there is something to do.
func (d *Decoder) run(p []byte, all bool) []byte {
	slots <- struct{}{}
	defer func() { <-slots }()
	out := d.main.run(p, d.fed, all)
	if d.rival != nil {
		d.rival.run(p, d.fed, all)
		if d.rival.done && d.rival.err == errMalformed && !all {
			d.rival = nil
		}
	}
	if d.err = d.main.err; d.err != nil {
		d.Stop()
		return nil
	}
	return out
}

// What decoders take besides their windows, in bytes.
const (
	flateMemory  = 48 << 10
	brotliMemory = 64 << 10
	zstdMemory   = 256 << 10
)

// brotliWindow returns the size of the window that a brotli stream says it needs
// (RFC 7932, 9.1).
func brotliWindow(p []byte) int {
	bits := 16
	switch b := p[0]; {
	case b&1 == 0:
	case b>>1&7 != 0:
		bits = 17 + int(b>>1&7)
	case b>>4&7 == 0:
		bits = 17
	default:
		bits = 8 + int(b>>4&7)
	}
	return 1 << bits
}

// zstdWindowOf returns the size of the window that a zstd frame says it needs
// (RFC 8878, 3.1.1.1), the largest if p does not show it.
func zstdWindowOf(p []byte) int {
	const single = 1 << 5
	if len(p) < 6 || string(p[:4]) != "\x28\xb5\x2f\xfd" || p[4]&single != 0 {
		return zstdWindow
	}
	base := uint64(1) << (10 + p[5]>>3)
	return int(min(base+base/8*uint64(p[5]&7), zstdWindow))
}

var errStopped = errors.New("decoding was stopped")

// A lane runs a decoder, which pulls its input, on input that is pushed: in a
// coroutine that waits where the next byte is missing.
type lane struct {
	in     []byte
	kept   []byte // the memory of what is left of an input
	all    bool   // nothing follows in
	fed    int
	lim    Limits
	out    []byte
	total  int64
	window int
	silent bool // nobody asks for what it decodes
	done   bool
	err    error
	resume func() (struct{}, bool)
	stop   func()
	wait   func(struct{}) bool
}

func (d *Decoder) lane(rs *readers, window int) *lane {
	l := &lane{lim: d.lim, window: window, silent: d.main != nil}
	l.resume, l.stop = iter.Pull(func(yield func(struct{}) bool) {
		l.wait = yield
		l.err = l.decode(rs)
		l.done = true
	})
	runtime.AddCleanup(d, func(stop func()) { stop() }, l.stop) // should it be forgotten
	return l
}

// run decodes p as far as that goes.
func (l *lane) run(p []byte, fed int, all bool) []byte {
	if l.out = l.out[:0]; cap(l.out) > maxKept {
		l.out = nil
	}
	l.fed, l.all = fed, all
	if len(l.in) > 0 {
		l.in = append(l.in, p...)
	} else {
		l.in = p
	}
	for more := !l.done; more; {
		_, more = l.resume()
		more = more && all
	}
	switch {
	case l.done && l.err == nil && len(l.in) > 0:
		l.err = errMalformed // behind the end
	case len(l.in) > 0 && !l.done:
		l.kept = append(l.kept[:0], l.in...) // p is the caller's
		l.in = l.kept
	default:
		l.in = nil
	}
	return l.out
}

// maxKept is how much room for output is kept for the next piece.
const maxKept = 8 << 10

func (l *lane) decode(rs *readers) error {
	r := rs.pool.Get().(*reader)
	if err := r.reset(l); err != nil {
		return malformed(err) // a reader that failed is not used again
	}
	var err error
	if w, ok := r.Reader.(io.WriterTo); ok && rs == zstdReaders {
		_, err = w.WriteTo(l) // its Read waits for more than it has
	} else {
		err = l.copy(r)
	}
	if err != nil {
		return malformed(err)
	}
	rs.pool.Put(r)
	return nil
}

// malformed returns err if it is one of ours, and errMalformed for a decoder's.
func malformed(err error) error {
	if over, ok := err.(*Error); ok {
		return over
	}
	return errMalformed
}

// copy decodes everything.
func (l *lane) copy(r io.Reader) error {
	buf := make([]byte, 2<<10) // and not out, which is handed out while Read waits
	for {
		n, err := r.Read(buf)
		if _, over := l.Write(buf[:n]); over != nil {
			return over
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// Write takes decoded bytes.
func (l *lane) Write(p []byte) (int, error) {
	if !l.silent {
		l.out = append(l.out, p...)
	}
	return len(p), l.count(len(p))
}

// count holds what was decoded against the limits. As long as more of the body
// may come, a ratio that is too high may yet become one that is not.
func (l *lane) count(n int) error {
	for l.total += int64(n); ; {
		bound, over := l.lim.bound(l.fed)
		switch {
		case l.total <= bound:
			return nil
		case l.all || over == errTooLarge:
			return over
		case !l.wait(struct{}{}):
			return errStopped
		}
	}
}

// more waits for input.
func (l *lane) more() error {
	for len(l.in) == 0 {
		if l.all {
			return io.EOF
		}
		if !l.wait(struct{}{}) {
			return errStopped
		}
	}
	return nil
}

func (l *lane) Read(p []byte) (int, error) {
	if err := l.more(); err != nil {
		return 0, err
	}
	n := copy(p, l.in)
	l.in = l.in[n:]
	return n, nil
}

// ReadByte makes decoders read no byte behind their end.
func (l *lane) ReadByte() (byte, error) {
	if err := l.more(); err != nil {
		return 0, err
	}
	c := l.in[0]
	l.in = l.in[1:]
	return c, nil
}

var _ flate.Reader = (*lane)(nil)
