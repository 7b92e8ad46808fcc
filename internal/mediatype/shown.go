// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// Of some bytes, so many are read in each of foreigns. Fewer say too little to
// be told from noise.
const (
	minForeign = 24
	maxForeign = 256 << 10
)

// Shown returns what bytes may say to somebody, in each charset that they may be
// in: the one that the label names, "" for none, and those that they look like.
// There is no reading in it twice, and none for bytes that are no text in any
// charset. What is UTF-8 and holds a letter always has one.
//
// It is for showing what was not understood, never for deciding that there is
// no more in it. It takes linear time; all readings together are at most fifty
// times as long as b.
func Shown(b []byte, charset string) (texts []string) {
	add := func(s string) {
		if strings.ContainsFunc(s, unicode.IsGraphic) && strings.TrimSpace(s) != "" && !slices.Contains(texts, s) {
			texts = append(texts, s)
		}
	}
	for bytes.HasPrefix(b, []byte("\ufeff")) {
		b = b[len("\ufeff"):]
	}
	if Text(b) {
		add(string(b))
	}
	add(labelled(b, charset))
	if text, ok := wideText(b); ok {
		add(text)
		return texts
	}
	if len(texts) > 0 && Text(b) {
		return texts
	}
	text, _, known := Decode(b)
	add(text)
	if long := unfold(b); (text != "" || !known) && !bytes.Equal(long, b) {
		add(strings.ToValidUTF8(string(long), ""))
	}
	if known && (text != "" || !utf8.Valid(b)) {
		return texts
	}
	// First what is likely: whoever has room for some readings takes those.
	for _, s := range foreignTexts(b[:min(len(b), maxForeign)]) {
		add(s)
	}
	d := decoder{of: NewDecoder(len(b))}
	d.text(b)
	add(string(d.out))
	return texts
}

// labelled returns what b says in a charset, "" if that is none that can be
// read.
func labelled(b []byte, charset string) string {
	switch charset = strings.ToLower(charset); charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return ""
	case "utf-7":
		return utf7(b)
	case "utf-32", "utf-32le":
		return (&wides[0]).decode(b)
	case "utf-32be":
		return (&wides[1]).decode(b)
	}
	e, err := ianaindex.IANA.Encoding(charset)
	if err != nil || e == nil {
		return ""
	}
	return decodeAll(e, b)
}

func decodeAll(e encoding.Encoding, b []byte) string {
	text, err := e.NewDecoder().Bytes(b)
	if err != nil {
		return ""
	}
	return string(text)
}

var shifted = regexp.MustCompile(`\+[A-Za-z0-9+/]*-?`)

// utf7 resolves the stretches of UTF-7 that are written in base64.
func utf7(b []byte) string {
	return string(shifted.ReplaceAllFunc(b, func(s []byte) []byte {
		s = bytes.TrimSuffix(s[1:], []byte("-"))
		if len(s) == 0 {
			return []byte("+")
		}
		units := make([]byte, base64.RawStdEncoding.DecodedLen(len(s)))
		n, _ := base64.RawStdEncoding.Decode(units, s) // as far as it goes
		return []byte((&wide{size: 2, order: binary.BigEndian}).decode(units[:n]))
	}))
}

// unfold writes characters that are encoded in more bytes than they need, or in
// halves, as careless decoders of UTF-8 read them.
func unfold(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		if r, n := utf8.DecodeRune(b); r != utf8.RuneError || n > 1 {
			out, b = append(out, b[:n]...), b[n:]
			continue
		}
		n, r := 0, rune(0)
		switch c := b[0]; {
		case c&0xe0 == 0xc0:
			n, r = 2, rune(c&0x1f)
		case c&0xf0 == 0xe0:
			n, r = 3, rune(c&0x0f)
		case c&0xf8 == 0xf0:
			n, r = 4, rune(c&0x07)
		}
		whole := n > 0 && len(b) >= n
		for i := 1; whole && i < n; i++ {
			whole = b[i]&0xc0 == 0x80
			r = r<<6 | rune(b[i]&0x3f)
		}
		if !whole {
			out, b = append(out, b[0]), b[1:]
			continue
		}
		out, b = utf8.AppendRune(out, r), b[n:]
	}
	return out
}

// foreigns are the charsets beyond the Western ones that texts are in, as far as
// their bytes look alike.
var foreigns = [...]encoding.Encoding{
	charmap.Windows1251, charmap.KOI8R, charmap.Windows1253, charmap.Windows1255, charmap.Windows1256, charmap.Windows874,
	japanese.ShiftJIS, japanese.EUCJP, simplifiedchinese.GB18030, traditionalchinese.Big5, korean.EUCKR,
}

// foreignReadings is how many of foreigns are believed.
const foreignReadings = 3

// foreignTexts returns what b says in the charsets in which it looks most like a
// text.
func foreignTexts(b []byte) []string {
	if len(b) < minForeign || controls(b) > len(b)/10 {
		return nil
	}
	type reading struct {
		text string
		fits int // in thousandths
	}
	var all []reading
	for _, e := range foreigns {
		if text := decodeAll(e, b); text != "" {
			if fits := fluent(text); fits >= 700 {
				all = append(all, reading{text, fits})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b reading) int { return cmp.Compare(b.fits, a.fits) })
	var texts []string
	for _, r := range all[:min(len(all), foreignReadings)] {
		texts = append(texts, r.text)
	}
	return texts
}

// controls counts the control characters of b, which text has hardly any of.
func controls(b []byte) (n int) {
	for _, c := range b {
		if isControl(c) {
			n++
		}
	}
	return n
}

// scriptsOf are those of foreigns.
var scriptsOf = []*unicode.RangeTable{
	unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Hebrew, unicode.Arabic, unicode.Thai, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana,
}

// fluent returns how much of a text follows what precedes it as in writing, in
// thousandths: a letter of the same script that is not suddenly a capital, or
// what is no letter and can be printed.
func fluent(text string) int {
	good, all := 0, 0
	before := rune(0)
	script := -1
	for _, r := range text {
		all++
		now := -1
		if unicode.IsLetter(r) || unicode.IsMark(r) {
			now = slices.IndexFunc(scriptsOf, func(t *unicode.RangeTable) bool { return unicode.Is(t, r) })
		}
		switch {
		case r == utf8.RuneError:
		case now >= 0:
			if now == script && unicode.IsLower(before) && unicode.IsUpper(r) {
				break
			}
			if script < 0 || now == script || now >= 6 && script >= 6 {
				good++
			}
		case r < utf8.RuneSelf && !isControl(byte(r)) || unicode.IsPunct(r) || unicode.IsSpace(r):
			good++ // not lines and signs, as which letters are misread
		}
		before, script = r, now
	}
	if all == 0 {
		return 0
	}
	return good * 1000 / all
}
