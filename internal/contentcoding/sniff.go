// SPDX-License-Identifier: Apache-2.0

package contentcoding

import "github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"

// Sniff names the compression that a body without a label begins like: "gzip",
// "zstd", "deflate" (zlib), "bzip2", "xz", "zip", "7z" or "rar", "" for none.
// Text is never taken for compressed.
func Sniff(body []byte) string {
	switch mediatype.Magic(body) {
	case "application/gzip":
		return "gzip"
	case "application/zstd":
		return "zstd"
	case "application/x-bzip2":
		return "bzip2"
	case "application/x-xz":
		return "xz"
	case "application/zip":
		return "zip"
	case "application/x-7z-compressed":
		return "7z"
	case "application/vnd.rar":
		return "rar"
	}
	switch {
	case len(body) >= 8 && body[0]&0xf0 == 0x50 && string(body[1:4]) == "\x2a\x4d\x18":
		return "zstd" // begins with a skippable frame
	case hasZlibHeader(body) && body[0] == 0x78 && !mediatype.Text(body):
		return "deflate"
	}
	return ""
}
