// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// wideText returns the text of b if it is in one of wides.
func wideText(b []byte) (text string, ok bool) {
	few := bytes.Count(b, []byte{0}) < len(b)/4 // ASCII in them has more
	for i := range wides {
		if few && !bytes.HasPrefix(b, []byte(wides[i].mark)) {
			continue
		}
		if s, ok := wides[i].text(b, (*wide).ascii); ok {
			if few {
				s += narrowText(b)
			}
			return s, true
		}
	}
	for i := range wides {
		if few || wides[i].size != 4 {
			continue
		}
		if s, ok := wides[i].text(b, (*wide).letters); ok {
			return s, true
		}
	}
	return "", false
}

// narrowText returns, on a line of its own, what b says to a reader of UTF-8 who
// skips errors, the mark of UTF-16 too. It is "" if less than two thirds of b
// are a text to him, as in UTF-16 that is what its mark says.
func narrowText(b []byte) string {
	text, printed := bytes.ToValidUTF8(b, nil), 0
	for _, r := range string(text) {
		if unicode.IsPrint(r) || unicode.IsSpace(r) {
			printed += utf8.RuneLen(r)
		}
	}
	if 3*printed < 2*len(b) {
		return ""
	}
	return "\n" + string(text)
}

// wides are the encodings whose characters take two or four bytes. A mark of
// UTF-32 begins with one of UTF-16, so it comes first.
var wides = [...]wide{
	{4, binary.LittleEndian, "\xff\xfe\x00\x00"},
	{4, binary.BigEndian, "\x00\x00\xfe\xff"},
	{2, binary.LittleEndian, "\xff\xfe"},
	{2, binary.BigEndian, "\xfe\xff"},
}

// Wide reports whether some stretch of b looks like UTF-16 in a script other
// than Latin.
func Wide(b []byte) (found bool) {
	windows(count(b), func(w counts, _, _ int) { found = found || w.wide16() })
	return found
}

type wide struct {
	size  int // of a unit
	order binary.ByteOrder
	mark  string
}

// text decodes b if it has the mark and then reads as text, or if three units
// in four are counted, which is rare in bytes of another meaning.
func (w *wide) text(b []byte, counted func(*wide, []byte) int) (string, bool) {
	marked := strings.HasPrefix(string(b[:min(len(b), len(w.mark))]), w.mark)
	units := len(b) / w.size
	if units < base64Min/2 || !marked && counted(w, b) < units-units/4 {
		return "", false
	}
	text := w.decode(b)
	bad := 0
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) && !unicode.IsSpace(r) && !unicode.Is(unicode.Cf, r) {
			bad++
		}
	}
	return text, bad <= units/10
}

func (w *wide) unit(b []byte) rune {
	if w.size == 2 {
		return rune(w.order.Uint16(b))
	}
	// Beyond Unicode, the sign does not matter.
	return rune(w.order.Uint32(b))
}

// ascii counts the units of b that are printable ASCII.
func (w *wide) ascii(b []byte) (n int) {
	for ; len(b) >= w.size; b = b[w.size:] {
		if u := w.unit(b); u >= ' ' && u < 0x7f || u == '\n' || u == '\r' || u == '\t' {
			n++
		}
	}
	return n
}

// letters counts the units of b that are printable ASCII or letters. Four bytes
// are a letter only by design.
func (w *wide) letters(b []byte) (n int) {
	for n = w.ascii(b); len(b) >= w.size; b = b[w.size:] {
		if u := w.unit(b); u > 0x7f && unicode.IsLetter(u) {
			n++
		}
	}
	return n
}

func (w *wide) decode(b []byte) string {
	out := make([]byte, 0, len(b))
	for len(b) >= w.size {
		u := w.unit(b)
		b = b[w.size:]
		if w.size == 2 && utf16.IsSurrogate(u) && len(b) >= w.size {
			if pair := utf16.DecodeRune(u, w.unit(b)); pair != utf8.RuneError {
				u, b = pair, b[w.size:]
			}
		}
		out = utf8.AppendRune(out, u)
	}
	return string(out)
}
