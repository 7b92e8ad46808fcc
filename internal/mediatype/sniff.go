// SPDX-License-Identifier: Apache-2.0

package mediatype

import "strings"

// A magic is how files of a kind begin. A '?' stands for any byte. sound
// reports whether what follows is built like such a file, as far as the bytes
// go, and where the file ends.
type magic struct {
	head, media string
	sound       func(b []byte) (end int, ok bool)
}

// magics are the known kinds of files. The longer of two heads that fit comes
// first.
var magics = [...]magic{
	{"\x89PNG\r\n\x1a\n", "image/png", png},
	{"\xff\xd8\xff", "image/jpeg", jpeg},
	{"GIF87a", "image/gif", gif},
	{"GIF89a", "image/gif", gif},
	{"RIFF????WEBP", "image/webp", riff},
	{"RIFF????WAVE", "audio/wav", riff},
	{"RIFF????AVI ", "video/x-msvideo", riff},
	{"FORM????AIF", "audio/aiff", packed},
	{"BM????\x00\x00\x00\x00", "image/bmp", bmp},
	{"II*\x00", "image/tiff", tiff},
	{"MM\x00*", "image/tiff", tiff},
	{"\x00\x00\x01\x00", "image/x-icon", icon},
	{"8BPS\x00\x01\x00\x00", "image/vnd.adobe.photoshop", packed},
	{"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl", packed},
	{"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2", packed},
	{"????ftypavi", "image/avif", boxes},
	{"????ftyphe", "image/heic", boxes},
	{"????ftypmif1", "image/heif", boxes},
	{"????ftypmsf1", "image/heif", boxes},
	{"????ftypM4A ", "audio/mp4", boxes},
	{"????ftypqt  ", "video/quicktime", boxes},
	{"????ftyp", "video/mp4", boxes},
	{"\x1aE\xdf\xa3", "video/webm", matroska},
	{"OggS\x00", "audio/ogg", ogg}, // video too
	{"fLaC\x00", "audio/flac", packed},
	{"ID3", "audio/mpeg", id3},
	{"\xff\xfb", "audio/mpeg", mpeg},
	{"\xff\xfa", "audio/mpeg", mpeg},
	{"\xff\xf3", "audio/mpeg", mpeg},
	{"\xff\xf2", "audio/mpeg", mpeg},
	{"\xff\xe3", "audio/mpeg", mpeg},
	{"\xff\xe2", "audio/mpeg", mpeg},
	{"\xff\xf1", "audio/aac", adts},
	{"\xff\xf9", "audio/aac", adts},
	{"MThd\x00\x00\x00\x06", "audio/midi", packed},
	{"#!AMR\n", "audio/amr", amr},
	{"#!AMR-WB\n", "audio/amr-wb", amr},
	{"caff\x00\x01\x00\x00", "audio/x-caf", packed},
	{".snd\x00\x00", "audio/basic", packed},
	{"0&\xb2u\x8ef\xcf\x11", "video/x-ms-asf", packed},
	{"FLV\x01", "video/x-flv", packed},
	{"\x00\x00\x01\xba", "video/mpeg", packed},
	{"\x00\x00\x01\xb3", "video/mpeg", packed},
	{"G", "video/mp2t", transport},
	{"wOF2", "font/woff2", woff},
	{"wOFF", "font/woff", woff},
	{"OTTO\x00", "font/otf", packed},
	{"\x00\x01\x00\x00\x00", "font/ttf", packed},
	{"%PDF-", "application/pdf", pdf},
	{"PK\x03\x04", "application/zip", zip}, // office documents too
	{"PK\x05\x06", "application/zip", emptyZip},
	{"\x1f\x8b\x08", "application/gzip", gzip},
	{"\x28\xb5\x2f\xfd", "application/zstd", packed},
	{"BZh?1AY&SY", "application/x-bzip2", packed},
	{"\xfd7zXZ\x00", "application/x-xz", packed},
	{"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed", packed},
	{"Rar!\x1a\x07", "application/vnd.rar", packed},
	{"\x04\"M\x18", "application/x-lz4", packed},
	{"MSCF\x00\x00\x00\x00", "application/vnd.ms-cab-compressed", packed},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage", ole}, // older office documents
	{"SQLite format 3\x00", "application/vnd.sqlite3", sqlite},
	{"PAR1", "application/vnd.apache.parquet", parquet},
	{"ARROW1\x00\x00", "application/vnd.apache.arrow.file", packed},
	{"\x89HDF\r\n\x1a\n", "application/x-hdf5", packed},
	{"\x93NUMPY", "application/x-npy", packed},
	{"GGUF?\x00\x00\x00", "application/x-gguf", packed},
	{"\x80?\x95", "application/x-pickle", pickle},
	{"\x7fELF", "application/x-elf", elf},
	{"MZ", "application/vnd.microsoft.portable-executable", portable},
	{"\x00asm\x01\x00\x00\x00", "application/wasm", packed},
}

// unnamed are the kinds that are told by what stands further in.
var unnamed = [...]magic{
	{"", "application/x-tar", tar},
	{"", "application/x-safetensors", safetensors},
	{"", "application/dicom", dicom},
}

// Media returns the media type of the file that b is, "" for none that is
// known. Where a text can begin in the same way, a few first bytes are not
// enough: the rest must be built like such a file, as far as b goes. It says
// nothing about text inside the file.
func Media(b []byte) string {
	kind, _ := media(b)
	return kind
}

// media returns the kind of file that b begins with, and where that ends:
// beyond b if b is only a part of it, as far as can be told.
func media(b []byte) (kind string, end int) {
	for i := range magics {
		m := &magics[i]
		if !hasMagic(b, m.head) {
			continue
		}
		if end, ok := m.sound(b); ok {
			return m.media, end
		}
	}
	for i := range unnamed {
		if end, ok := unnamed[i].sound(b); ok {
			return unnamed[i].media, end
		}
	}
	return "", 0
}

// Magic returns the media type whose first bytes b has, whatever follows.
// Somebody who looks no further may take b for that. It is for refusing.
func Magic(b []byte) string {
	for i := range magics {
		if m := &magics[i]; len(m.head) > 1 && hasMagic(b, m.head) {
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
