// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"strings"
	"unicode/utf8"
)

// base64Min is the shortest base64 that Base64Text looks at, in characters.
// Shorter words may, by chance, decode to something that reads as text.
const base64Min = 16

// Values of sextets for characters that are none.
const (
	none    = 0xff
	space   = 0xfe
	padding = 0xfd
)

// sextets holds the values of both alphabets: Node's decoder, for one, takes
// them mixed.
var sextets = func() (t [256]byte) {
	for i := range t {
		t[i] = none
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = byte(i)
	}
	t['-'], t['_'] = 62, 63
	for _, c := range " \t\r\n\f" {
		t[c] = space
	}
	t['='] = padding
	return t
}()

// A base64Decoder decodes what any decoder in use decodes: both alphabets,
// white space anywhere, padding or none, several paddings after each other
// (each ends a piece).
type base64Decoder struct {
	bits  uint32
	count int // sextets in bits
}

// put takes one sextet and appends a whole group to dst.
func (d *base64Decoder) put(dst []byte, sextet byte) []byte {
	d.bits = d.bits<<6 | uint32(sextet)
	if d.count++; d.count == 4 {
		dst = append(dst, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
		*d = base64Decoder{}
	}
	return dst
}

// flush appends an incomplete group to dst, at a padding and at the end.
func (d *base64Decoder) flush(dst []byte) []byte {
	switch d.count {
	case 2:
		dst = append(dst, byte(d.bits>>4))
	case 3:
		dst = append(dst, byte(d.bits>>10), byte(d.bits>>2))
	}
	*d = base64Decoder{}
	return dst
}

// Base64 decodes s as the most lenient decoders do: characters of neither
// alphabet are skipped, as Python's decoder skips them. It is for places where
// base64 is expected. The result is at most three quarters as long as s.
func Base64(s string) []byte {
	dst := make([]byte, 0, len(s)/4*3+3)
	var d base64Decoder
	for i := range len(s) {
		switch v := sextets[s[i]]; v {
		case none, space:
		case padding:
			dst = d.flush(dst)
		default:
			dst = d.put(dst, v)
		}
	}
	return d.flush(dst)
}

// Base64Text returns the text that s holds in base64, in either alphabet, with
// padding or without, with white space anywhere. It returns false when s is
// shorter than 16 characters, has any other character, or decodes to something
// that does not read as text, as ordinary words and media do. Up to one byte in
// ten may be a control character or not UTF-8 (it becomes U+FFFD), so that a
// few such bytes do not hide a text. It takes memory only for what reads as
// text so far, at most the length of s.
func Base64Text(s string) (text string, ok bool) {
	if len(s) < base64Min {
		return "", false
	}
	// Nearly every string ends here, at its first character that is not base64.
	chars := 0
	for i := range len(s) {
		switch sextets[s[i]] {
		case none:
			return "", false
		case space, padding:
		default:
			chars++
		}
	}
	if chars < base64Min-2 {
		return "", false
	}
	most := chars * 3 / 4 / 10 // junk that the whole may have
	var (
		d      base64Decoder
		dst    []byte
		judged int
		bad    int
	)
	for i := range len(s) {
		switch v := sextets[s[i]]; v {
		case space:
		case padding:
			dst = d.flush(dst)
		default:
			dst = d.put(dst, v)
		}
		if len(dst)-judged >= 1024 {
			// Judge in steps, so that an image is given up early. A character
			// cut in two by a step counts as up to three bad bytes, so allow
			// them.
			if bad += max(0, junk(dst[judged:])-6); bad > most {
				return "", false
			}
			judged = len(dst)
		}
	}
	dst = d.flush(dst)
	if len(dst) == 0 || junk(dst) > len(dst)/10 {
		return "", false
	}
	if !utf8.Valid(dst) {
		return strings.ToValidUTF8(string(dst), "\uFFFD"), true
	}
	return string(dst), true
}
