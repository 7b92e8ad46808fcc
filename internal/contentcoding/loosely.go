// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"io"
	"slices"
	"strings"

	"kong-ai-guard/internal/mediatype"
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
	default:
		return nil, false
	}
	slots <- struct{}{}
	defer func() { <-slots }()
	r := rs.pool.Get().(*reader)
	r.src.Reset(body)
	if r.reset() != nil {
		return nil, false // a reader that failed is not used again
	}
	bound, _ := lim.bound(len(body))
	out, err := io.ReadAll(io.LimitReader(r, bound))
	if whole = err == nil && int64(len(out)) < bound && r.src.Len() == 0; whole {
		r.src.Reset(nil)
		rs.pool.Put(r)
	}
	return out, whole
}
