// SPDX-License-Identifier: Apache-2.0

package mediatype

import "strings"

// magics are the first bytes of kinds of files. A '?' stands for any byte; the
// longer of two that fit comes first.
var magics = []struct{ magic, media string }{
	{"\x89PNG\r\n\x1a\n", "image/png"},
	{"\xff\xd8\xff", "image/jpeg"},
	{"GIF87a", "image/gif"},
	{"GIF89a", "image/gif"},
	{"RIFF????WEBP", "image/webp"},
	{"RIFF????WAVE", "audio/wav"},
	{"RIFF????AVI ", "video/x-msvideo"},
	{"BM????\x00\x00\x00\x00", "image/bmp"},
	{"II*\x00", "image/tiff"},
	{"MM\x00*", "image/tiff"},
	{"\x00\x00\x01\x00", "image/x-icon"},
	{"????ftypavif", "image/avif"},
	{"????ftyphei", "image/heic"},
	{"????ftypmif1", "image/heif"},
	{"????ftypM4A ", "audio/mp4"},
	{"????ftypqt  ", "video/quicktime"},
	{"????ftyp", "video/mp4"},
	{"\x1aE\xdf\xa3", "video/webm"}, // Matroska too
	{"OggS\x00", "audio/ogg"},       // video too
	{"fLaC\x00", "audio/flac"},
	{"ID3", "audio/mpeg"},
	{"\xff\xfb", "audio/mpeg"},
	{"\xff\xfa", "audio/mpeg"},
	{"\xff\xf3", "audio/mpeg"},
	{"\xff\xf2", "audio/mpeg"},
	{"\xff\xf1", "audio/aac"},
	{"\xff\xf9", "audio/aac"},
	{"MThd\x00\x00\x00\x06", "audio/midi"},
	{"#!AMR", "audio/amr"},
	{"%PDF-", "application/pdf"},
	{"PK\x03\x04", "application/zip"}, // office documents too
	{"PK\x05\x06", "application/zip"},
	{"\x1f\x8b\x08", "application/gzip"},
	{"\x28\xb5\x2f\xfd", "application/zstd"},
	{"BZh?1AY&SY", "application/x-bzip2"},
	{"\xfd7zXZ\x00", "application/x-xz"},
	{"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"},
	{"Rar!\x1a\x07", "application/vnd.rar"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"}, // older office documents
}

// Media gives the media type that the first bytes of b are known for, "" for
// none. It says nothing of the bytes that follow, and nothing of text.
func Media(b []byte) string {
	for _, m := range magics {
		if hasMagic(b, m.magic) {
			return m.media
		}
	}
	return ""
}

func hasMagic(b []byte, magic string) bool {
	if len(b) < len(magic) {
		return false
	}
	if strings.IndexByte(magic, '?') < 0 {
		return string(b[:len(magic)]) == magic
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != b[i] {
			return false
		}
	}
	return true
}
