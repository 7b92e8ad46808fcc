// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"bytes"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// readers decode one coding; they are used again, as they are costly to make.
type readers struct{ pool sync.Pool }

// A reader decodes what it reads from its source.
type reader struct {
	src bytes.Reader // the source of whole bodies
	io.Reader
	// reset makes the reader ready for a new source. It may read from it.
	reset func(src flate.Reader) error
}

func newReaders(attach func(r *reader)) *readers {
	return &readers{sync.Pool{New: func() any {
		r := new(reader)
		attach(r)
		return r
	}}}
}

var gzipReaders = newReaders(func(r *reader) {
	z := new(gzip.Reader)
	r.Reader = z
	r.reset = func(src flate.Reader) error { return z.Reset(src) }
})

var flateReaders = newReaders(func(r *reader) {
	z := flate.NewReader(&r.src)
	r.Reader = z
	r.reset = func(src flate.Reader) error { return z.(flate.Resetter).Reset(src, nil) }
})

var zlibReaders = newReaders(func(r *reader) {
	r.reset = func(src flate.Reader) error {
		if r.Reader != nil {
			return r.Reader.(zlib.Resetter).Reset(src, nil)
		}
		// The first reader is made on the first body: making one reads from it.
		z, err := zlib.NewReader(src)
		if err == nil {
			r.Reader = z
		}
		return err
	}
})

var brotliReaders = newReaders(func(r *reader) {
	z := brotli.NewReader(&r.src)
	r.Reader = z
	r.reset = func(src flate.Reader) error { return z.Reset(src) }
})

// zstdWindow is the largest window that HTTP allows (RFC 9659), in bytes.
const zstdWindow = 8 << 20

var zstdReaders = newReaders(func(r *reader) {
	z, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), // no goroutines
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		panic(err) // only for options that cannot be
	}
	r.Reader = z
	r.reset = func(src flate.Reader) error { return z.Reset(src) }
})

// decode returns the decoded body, or over when it is longer than bound.
func (rs *readers) decode(body []byte, bound int64, over *Error) ([]byte, error) {
	r := rs.pool.Get().(*reader)
	r.src.Reset(body)
	if r.reset(&r.src) != nil {
		return nil, errMalformed // a reader that failed is not used again
	}
	out, err := readAll(r, len(body), bound, over)
	if err == nil && r.src.Len() > 0 {
		err = errMalformed
	}
	if err != nil {
		return nil, err
	}
	r.src.Reset(nil) // the pool is not to keep bodies alive
	rs.pool.Put(r)
	return out, nil
}

// readAll reads r to its end into memory that never grows past bound.
func readAll(r io.Reader, encoded int, bound int64, over *Error) ([]byte, error) {
	// One byte more shows whether there is more.
	out := make([]byte, 0, min(4*int64(encoded)+512, bound+1))
	for {
		if len(out) == cap(out) {
			grown := make([]byte, len(out), min(2*int64(cap(out)), bound+1))
			copy(grown, out)
			out = grown
		}
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		switch {
		case int64(len(out)) > bound:
			return nil, over
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, errMalformed
		}
	}
}
