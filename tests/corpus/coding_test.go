// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// The content codings, as clients and models make them.

func gzipped(b []byte) []byte {
	return coded(b, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func zlibbed(b []byte) []byte {
	return coded(b, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func deflated(b []byte) []byte {
	return coded(b, func(w io.Writer) io.WriteCloser {
		z, err := flate.NewWriter(w, flate.BestCompression)
		if err != nil {
			panic(err) // only for levels that cannot be
		}
		return z
	})
}

func brotlied(b []byte) []byte {
	return coded(b, func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) })
}

func zstandard(b []byte) []byte {
	return coded(b, func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			panic(err) // only for options that cannot be
		}
		return z
	})
}

// flushedGzip writes each event so that it can be read at once.
func flushedGzip(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	for event := range bytes.SplitAfterSeq(b, []byte("\n\n")) {
		if _, err := w.Write(event); err != nil {
			panic(err) // a buffer takes all
		}
		if err := w.Flush(); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func same(b []byte) []byte { return b }

func coded(b []byte, to func(io.Writer) io.WriteCloser) []byte {
	var out bytes.Buffer
	w := to(&out)
	if _, err := w.Write(b); err != nil {
		panic(err) // a buffer takes all
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}
