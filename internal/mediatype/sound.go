// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"bytes"
	"encoding/binary"
)

// The builds of files. Each function walks what b, which has the magic, says
// about itself, and returns false where no such file says that. A file that
// goes on beyond b, or whose inside cannot be walked, is sound as far as it
// goes. Its end is then open(b), and it also has to look like noise.

func open(b []byte) int { return len(b) + 1 }

// packed is the build of compressed files, which are noise inside.
func packed(b []byte) (int, bool) { return open(b), true }

func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// png walks chunks: length, type, data, checksum.
func png(b []byte) (int, bool) {
	for pos := 8; ; {
		rest := b[pos:]
		if len(rest) < 12 {
			return open(b), pos > 8 || len(rest) < 8 || string(rest[4:8]) == "IHDR"
		}
		n, kind := uint64(binary.BigEndian.Uint32(rest)), string(rest[4:8])
		if pos == 8 && (kind != "IHDR" || n != 13) || !letters(rest[4:8]) {
			return 0, false
		}
		if n+12 > uint64(len(rest)) {
			return open(b), true
		}
		if pos += int(n) + 12; kind == "IEND" {
			return pos, true
		}
	}
}

func letters(b []byte) bool {
	for _, c := range b {
		if (c|0x20)-'a' >= 26 {
			return false
		}
	}
	return true
}

// jpeg walks segments up to the first scan.
func jpeg(b []byte) (int, bool) {
	for pos := 2; ; {
		rest := b[pos:]
		if len(rest) < 4 {
			return open(b), len(rest) == 0 || rest[0] == 0xff
		}
		switch kind := rest[1]; {
		case rest[0] != 0xff:
			return 0, false
		case kind == 0xff: // filling
			pos++
			continue
		case kind < 0xc0 || kind >= 0xd0 && kind <= 0xd9:
			return 0, false
		case kind == 0xda:
			return scan(b, pos)
		}
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if n < 2 {
			return 0, false
		}
		if n+2 > len(rest) {
			return open(b), true
		}
		pos += n + 2
	}
}

// scan walks the compressed data of a picture to its end, the marker ff d9. In
// the data itself ff stands only before 00 and the like.
func scan(b []byte, pos int) (int, bool) {
	for {
		i := bytes.IndexByte(b[pos:], 0xff)
		if i < 0 || pos+i+1 >= len(b) {
			return open(b), true
		}
		if pos += i + 2; b[pos-1] == 0xd9 {
			return pos, true
		}
	}
}

// gif walks blocks up to the trailer.
func gif(b []byte) (int, bool) {
	if len(b) < 13 {
		return open(b), !printable(b[6:]) || len(b) == 6
	}
	table := func(flags byte) int {
		if flags&0x80 == 0 {
			return 0
		}
		return 3 << (flags&7 + 1)
	}
	for pos := 13 + table(b[10]); ; {
		if pos >= len(b) {
			return open(b), true
		}
		switch b[pos] {
		case 0x3b:
			return pos + 1, true
		case 0x21:
			if pos+1 < len(b) && b[pos+1] != 0x01 && b[pos+1] < 0xf9 {
				return 0, false
			}
			pos += 2
		case 0x2c:
			if pos+9 >= len(b) {
				return open(b), true
			}
			pos += 11 + table(b[pos+9])
		default:
			return 0, false
		}
		for pos < len(b) && b[pos] != 0 {
			pos += int(b[pos]) + 1
		}
		pos++
	}
}

// riff walks chunks: type, length, data.
func riff(b []byte) (int, bool) {
	for pos := 12; ; {
		rest := b[pos:]
		if len(rest) < 8 {
			return open(b), true
		}
		if !printable(rest[:4]) {
			return pos, pos > 12
		}
		n := uint64(binary.LittleEndian.Uint32(rest[4:]))
		if n += n&1 + 8; n > uint64(len(rest)) {
			return open(b), pos > 12 || string(rest[:3]) == "fmt" || string(rest[:2]) == "VP" || string(rest[:4]) == "LIST" || string(rest[:4]) == "JUNK"
		}
		pos += int(n)
	}
}

func bmp(b []byte) (int, bool) {
	if len(b) < 18 {
		return open(b), true
	}
	switch binary.LittleEndian.Uint32(b[14:]) {
	case 12, 40, 52, 56, 64, 108, 124:
		if int64(binary.LittleEndian.Uint32(b[2:])) != int64(len(b)) {
			return open(b), true
		}
		return len(b), true
	}
	return 0, false
}

func icon(b []byte) (int, bool) {
	if len(b) < 10 {
		return open(b), true
	}
	n := int(binary.LittleEndian.Uint16(b[4:]))
	if n == 0 || n > 256 || b[9] != 0 {
		return 0, false
	}
	if last := 16*n - 10; len(b) >= last+16 &&
		uint64(binary.LittleEndian.Uint32(b[last+8:]))+uint64(binary.LittleEndian.Uint32(b[last+12:])) == uint64(len(b)) {
		return len(b), true
	}
	return open(b), true
}

// boxes walks the boxes of MPEG-4: length, type, data.
func boxes(b []byte) (int, bool) {
	for pos := 0; ; {
		rest := b[pos:]
		switch {
		case len(rest) == 0:
			return pos, true
		case len(rest) < 8:
			return open(b), true
		}
		n, head := uint64(binary.BigEndian.Uint32(rest)), uint64(8)
		if n == 1 && len(rest) >= 16 {
			n, head = binary.BigEndian.Uint64(rest[8:]), 16
		}
		switch {
		case !printable(rest[4:8]) && rest[4] != 0xa9:
			return pos, pos > 0
		case n == 0 && pos > 0 || n >= head && n > uint64(len(rest)) && (pos > 0 || n < 1024):
			return open(b), true
		case n < head:
			return pos, pos > 0
		case n > uint64(len(rest)):
			return 0, false // the first box is small
		}
		pos += int(n)
	}
}

// matroska looks for the name of the format in the header.
func matroska(b []byte) (int, bool) {
	head := b[:min(len(b), 80)]
	if len(b) < 40 {
		return open(b), true
	}
	return len(b), bytes.Contains(head, []byte("webm")) || bytes.Contains(head, []byte("matroska"))
}

// ogg walks pages.
func ogg(b []byte) (int, bool) {
	for pos := 0; ; {
		rest := b[pos:]
		if len(rest) < 27 {
			return open(b), pos > 0 || len(rest) < 6 || rest[5] < 8
		}
		if string(rest[:5]) != "OggS\x00" || rest[5] > 7 {
			return pos, pos > 0
		}
		n := 27 + int(rest[26])
		if n > len(rest) {
			return open(b), true
		}
		for _, segment := range rest[27:n] {
			n += int(segment)
		}
		if n > len(rest) {
			return open(b), true
		}
		pos += n
	}
}

// id3 reads the head of a tag, behind which the sound begins.
func id3(b []byte) (int, bool) {
	if len(b) < 10 {
		return open(b), len(b) > 3 && b[3] >= 2 && b[3] <= 4
	}
	if b[3] < 2 || b[3] > 4 || b[4] == 0xff || b[5]&0x0f != 0 || (b[6]|b[7]|b[8]|b[9])&0x80 != 0 {
		return 0, false
	}
	n := 10 + int(b[6])<<21 + int(b[7])<<14 + int(b[8])<<7 + int(b[9])
	if n >= len(b) {
		return open(b), true
	}
	sound := bytes.TrimLeft(b[n:], "\x00")
	if len(sound) == 0 || string(sound[:min(3, len(sound))]) == "TAG" || bytes.HasPrefix(sound, []byte("fLaC")) {
		return len(b), true
	}
	if len(sound) >= 2 && sound[0] == 0xff && sound[1]&0xf6 == 0xf0 {
		end, ok := adts(sound)
		return len(b) - len(sound) + end, ok
	}
	end, ok := mpeg(sound)
	return len(b) - len(sound) + end, ok
}

// mpegRates are the bit rates of layer III, in kbit/s: MPEG 1, and 2 and 2.5.
var mpegRates = [2][16]int{
	{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
	{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
}

// mpeg walks the first frames of layer III.
func mpeg(b []byte) (int, bool) {
	pos := 0
	for frame := range 8 {
		rest := b[pos:]
		if len(rest) < 4 {
			return open(b), true
		}
		if rest[0] != 0xff || rest[1]&0xe6 != 0xe2 {
			return len(b), frame > 3 // between songs that were put together stands anything
		}
		version := rest[1] >> 3 & 3
		rates, hertz, samples := &mpegRates[1], 22050, 72
		switch version {
		case 1:
			return 0, false
		case 3:
			rates, hertz, samples = &mpegRates[0], 44100, 144
		case 0:
			hertz = 11025
		}
		kbits, rate := rates[rest[2]>>4], rest[2]>>2&3
		if kbits == 0 || rate == 3 {
			return 0, false
		}
		switch rate {
		case 1:
			hertz = hertz * 480 / 441
		case 2:
			hertz = hertz * 320 / 441
		}
		pos += samples*kbits*1000/hertz + int(rest[2]>>1&1)
		if pos >= len(b) {
			return open(b), true
		}
	}
	return len(b), true
}

// adts walks the first frames of AAC.
func adts(b []byte) (int, bool) {
	pos := 0
	for range 8 {
		rest := b[pos:]
		if len(rest) < 7 {
			return open(b), pos > 0 || len(rest) < 3 || rest[2]>>2&0xf < 13
		}
		n := int(rest[3]&3)<<11 | int(rest[4])<<3 | int(rest[5])>>5
		if rest[0] != 0xff || rest[1]&0xf6 != 0xf0 || rest[2]>>2&0xf > 12 || n < 7 {
			return 0, false
		}
		if pos += n; pos >= len(b) {
			return open(b), true
		}
	}
	return len(b), true
}

// amr looks at the first frame's head, of which some bits are zero.
func amr(b []byte) (int, bool) {
	i := bytes.IndexByte(b, '\n') + 1
	return open(b), i == len(b) || b[i]&0x83 == 0
}

// transport looks at the sync bytes of the first packets.
func transport(b []byte) (int, bool) {
	const packet = 188
	if len(b) < 2*packet {
		return 0, false
	}
	for pos := 0; pos < min(len(b), 16*packet); pos += packet {
		if b[pos] != 'G' {
			return 0, false
		}
	}
	return len(b), true
}

func woff(b []byte) (int, bool) {
	if len(b) < 8 {
		return open(b), true
	}
	switch string(b[4:8]) {
	case "\x00\x01\x00\x00", "OTTO", "true", "ttcf":
		return open(b), true
	}
	return 0, false
}

// pdf looks for the version, an object near the start and the mark at the end.
func pdf(b []byte) (int, bool) {
	if len(b) >= 8 && (b[5]-'0' >= 10 || b[6] != '.' || b[7]-'0' >= 10) {
		return 0, false
	}
	if bytes.Contains(b[max(0, len(b)-1024):], []byte("%%EOF")) {
		return len(b), bytes.Contains(b[:min(len(b), 4096)], []byte(" obj"))
	}
	return open(b), len(b) < 64 || bytes.Contains(b[:min(len(b), 4096)], []byte(" obj"))
}

// zip reads the head of the first entry, and looks for the list at the end.
func zip(b []byte) (int, bool) {
	if len(b) >= 6 && (b[4] > 63 || b[5] > 20) {
		return 0, false
	}
	if len(b) < 30 {
		return open(b), true
	}
	n := int(binary.LittleEndian.Uint16(b[26:]))
	name := b[30:min(len(b), 30+n)]
	for _, c := range name {
		if isControl(c) {
			return 0, false
		}
	}
	if b[9] != 0 || n > 1024 {
		return 0, false
	}
	if bytes.Contains(b[max(0, len(b)-22-1<<16):], []byte("PK\x05\x06")) {
		return len(b), true
	}
	return open(b), true
}

func emptyZip(b []byte) (int, bool) {
	if len(b) < 22 {
		return open(b), true
	}
	return 22 + int(binary.LittleEndian.Uint16(b[20:])), true
}

func gzip(b []byte) (int, bool) { return open(b), len(b) < 4 || b[3]&0xe0 == 0 }

func parquet(b []byte) (int, bool) {
	return open(b), len(b) >= 12 && string(b[len(b)-4:]) == "PAR1"
}

// pickle reads the protocol and the length of the first frame.
func pickle(b []byte) (int, bool) {
	if len(b) < 11 || b[1] < 4 || b[1] > 5 {
		return 0, false
	}
	n := binary.LittleEndian.Uint64(b[3:])
	return len(b), n > 0 && n < 1<<32 && b[len(b)-1] == '.'
}

func elf(b []byte) (int, bool) {
	return len(b), len(b) >= 52 && (b[4] == 1 || b[4] == 2) && (b[5] == 1 || b[5] == 2) && b[6] == 1
}

// portable follows the old header to the new one.
func portable(b []byte) (int, bool) {
	if len(b) < 64 {
		return 0, false
	}
	at := uint64(binary.LittleEndian.Uint32(b[60:]))
	return len(b), at+4 <= uint64(len(b)) && string(b[at:at+4]) == "PE\x00\x00"
}

func tar(b []byte) (int, bool) {
	if len(b) < 512 || string(b[257:262]) != "ustar" {
		return 0, false
	}
	// The header's checksum, in which its own field counts as blanks.
	sum, want := 8*int(' '), 0
	for i, c := range b[:512] {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	for _, c := range bytes.Trim(b[148:156], " \x00") {
		if c-'0' > 7 {
			return 0, false
		}
		want = want<<3 | int(c-'0')
	}
	return len(b), sum == want
}

// safetensors reads the length of the header, which is JSON.
func safetensors(b []byte) (int, bool) {
	if len(b) < 10 || b[8] != '{' || b[9] != '"' {
		return 0, false
	}
	n := binary.LittleEndian.Uint64(b)
	if n < 2 || n > 100<<20 {
		return 0, false
	}
	return len(b), n+8 > uint64(len(b)) || bytes.HasSuffix(bytes.TrimRight(b[8:8+n], " "), []byte("}"))
}

func dicom(b []byte) (int, bool) {
	return len(b), len(b) >= 132 && string(b[128:132]) == "DICM"
}

// tiff follows the address of the first directory.
func tiff(b []byte) (int, bool) {
	if len(b) < 8 {
		return open(b), true
	}
	var order binary.ByteOrder = binary.LittleEndian
	if b[0] == 'M' {
		order = binary.BigEndian
	}
	at := uint64(order.Uint32(b[4:]))
	if at < 8 {
		return 0, false
	}
	if at+14 > uint64(len(b)) {
		return open(b), true
	}
	n, tag, kind := order.Uint16(b[at:]), order.Uint16(b[at+2:]), order.Uint16(b[at+4:])
	return len(b), n > 0 && n <= 512 && tag >= 254 && kind > 0 && kind <= 13
}

// ole looks at the order of bytes and the size of sectors.
func ole(b []byte) (int, bool) {
	if len(b) < 32 {
		return open(b), true
	}
	return len(b), b[28] == 0xfe && b[29] == 0xff && (b[30] == 9 || b[30] == 12) && b[31] == 0
}

// sqlite looks at the size of pages and the fixed fractions.
func sqlite(b []byte) (int, bool) {
	return len(b), len(b) >= 100 && b[21] == 64 && b[22] == 32 && b[23] == 32
}
