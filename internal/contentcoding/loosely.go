// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"archive/zip"
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// maxLayers is how many codings Loosely takes off.
const maxLayers = 4

// Loosely undoes as much of a body's coding as it can: what Decode refuses, and
// the beginning of what is broken, cut off or too large. It goes by the label,
// and then by the bytes. out is body itself when nothing could be undone. whole
// is false when some of the body may not be in out, or when body means
// something as it stands.
//
// It is for showing what a body may say to somebody, never for deciding that it
// says no more.
func Loosely(coding string, body []byte, lim Limits) (out []byte, whole bool) {
	names := strings.Split(strings.ToLower(coding), ",")
	slices.Reverse(names) // the last one was put on last
	out, whole = body, true
	layers := 0
	undo := func(name string) bool {
		next, ok := decodeSome(name, out, lim)
		if layers++; len(next) == 0 {
			whole = whole && ok
			return false
		}
		out, whole = next, whole && ok
		return true
	}
	for _, name := range names[:min(len(names), maxLayers)] {
		if name = strings.Trim(name, " \t"); name != "" && name != "identity" {
			undo(name)
		}
	}
	for layers < 2*maxLayers {
		if name := Sniff(out); name == "" || !undo(name) {
			break
		}
	}
	if layers == 0 && !mediatype.Text(body) && mediatype.Media(body) == "" {
		// Deflate and brotli begin with no mark.
		for _, name := range []string{"deflate", "br"} {
			if next, ok := decodeSome(name, body, lim); ok && len(next) > 0 && mediatype.Text(next) {
				return next, true
			}
		}
	}
	return out, whole
}

// decodeSome decodes the beginning of a body, as far as it goes. whole says
// that it went to the end.
func decodeSome(name string, body []byte, lim Limits) (out []byte, whole bool) {
	var rs *readers
	switch name {
	case "gzip", "x-gzip":
		rs = gzipReaders
	case "br":
		rs = brotliReaders
	case "zstd":
		rs = zstdReaders
	case "deflate":
		if rs = flateReaders; hasZlibHeader(body) {
			rs = zlibReaders
		}
	case "zip":
		return unzip(body, lim)
	default:
		return nil, false
	}
	slots <- struct{}{}
	defer func() { <-slots }()
	r := rs.pool.Get().(*reader)
	r.src.Reset(body)
	if r.reset(&r.src) != nil {
		return nil, false // a reader that failed is not used again
	}
	bound, _ := lim.bound(len(body))
	out, rest, err := readSome(r, body, bound)
	if err != nil && mediatype.Text(rest) { // some put a text behind it
		out = append(out, rest[:min(int64(len(rest)), bound-int64(len(out)))]...)
	}
	if whole = err == nil && int64(len(out)) < bound && r.src.Len() == 0; whole {
		r.src.Reset(nil)
		rs.pool.Put(r)
	}
	return out, whole
}

// readSome reads r until it ends or fails, and at most bound bytes. rest is what
// of body it has not used.
func readSome(r *reader, body []byte, bound int64) (out, rest []byte, err error) {
	members, _ := r.Reader.(*gzip.Reader)
	for {
		if members != nil {
			members.Multistream(false) // or it would use what stands behind it
		}
		more, err := io.ReadAll(io.LimitReader(r, bound-int64(len(out))))
		out = append(out, more...)
		rest = body[len(body)-r.src.Len():]
		if err != nil || members == nil || len(rest) == 0 || int64(len(out)) >= bound {
			return out, rest, err
		}
		if err := members.Reset(&r.src); err != nil {
			return out, rest, err
		}
	}
}

// unzip returns the files of an archive, one behind the other.
func unzip(body []byte, lim Limits) (out []byte, whole bool) {
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, false
	}
	bound, _ := lim.bound(len(body))
	whole = true
	packed := uint64(0)
	for _, file := range archive.File {
		// Files may lie over each other, and unfold to nothing.
		if packed += file.CompressedSize64; packed > 2*uint64(len(body)) {
			return out, false
		}
		r, err := file.Open()
		if err != nil {
			whole = false
			continue
		}
		text, err := io.ReadAll(io.LimitReader(r, bound-int64(len(out))))
		whole = whole && err == nil && r.Close() == nil
		if out = append(out, text...); int64(len(out)) >= bound {
			return out, false
		}
	}
	return out, whole
}
