// SPDX-License-Identifier: Apache-2.0

package mediatype_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// wide writes a text as UTF-16, little-endian or big-endian.
func wide(s string, big bool) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		if big {
			b.WriteByte(byte(u >> 8))
		}
		b.WriteByte(byte(u))
		if !big {
			b.WriteByte(byte(u >> 8))
		}
	}
	return b.String()
}

func in(e encoding.Encoding, s string) string {
	out, err := e.NewEncoder().String(s)
	if err != nil {
		panic(err)
	}
	return out
}

func TestShown(t *testing.T) {
	const (
		english = "the grey heron hides seven copper lanterns"
		russian = "Серая цапля прячет семь медных фонарей под мостом"
		greek   = "Ο γκρίζος ερωδιός κρύβει επτά χάλκινα φανάρια"
		kana    = "ハイイロノサギハフルイサンバシノシタニ"
		kanji   = "灰色の鷺は古い桟橋の下に七つの銅の灯籠を隠す"
		chinese = "灰色的苍鹭在旧码头下藏了七盏铜灯笼"
		hangul  = "회색 왜가리가 낡은 부두 아래에 일곱 개의 구리 등불을 숨긴다"
	)
	for _, c := range []struct{ name, body, charset, want string }{
		{"UTF-8", english, "", english},
		{"UTF-8 with marks", "\ufeff\ufeff" + english, "", english},
		{"NUL in it", english + "\x00", "", english},
		{"mostly control characters", strings.Join(strings.Split(english, ""), "\x01\x02"), "", english},
		{"a bad byte", "\xff" + english, "", english},
		{"bad bytes everywhere", strings.Join(strings.Split(english, ""), "\xff\xfe"), "", english},
		{"an overlong character", "\xc1\xb4he grey heron hides seven copper lanterns", "", english},
		{"a longer one", "\xe0\x81\xb4he grey heron hides seven copper lanterns", "", english},
		{"UTF-16, labelled", wide(english, false), "utf-16le", english},
		{"UTF-16", wide(english, false), "", english},
		{"UTF-16, big-endian", wide(english, true), "", english},
		{"UTF-16 in another script, with a mark", "\xff\xfe" + wide(russian, false), "", russian},
		{"UTF-7", "the grey heron +AGgAaQBkAGUAcw- seven copper lanterns", "utf-7", english},
		{"EBCDIC", in(charmap.CodePage037, english), "ibm037", english},
		{"EBCDIC label on ASCII", english, "ibm037", english},
		{"a label that nobody knows", english, "x-mine", english},
		{"Latin 1", "caf\xe9 " + english, "iso-8859-1", "café " + english},
		{"windows-1251", in(charmap.Windows1251, russian), "", russian},
		{"windows-1251 behind a magic", "ID3" + in(charmap.Windows1251, russian), "", russian},
		{"windows-1251 in English", strings.Repeat("An ordinary line.\n", 30) + in(charmap.Windows1251, russian), "", russian},
		{"windows-1251 behind a program's magic", "\x00asm\x01\x00\x00\x00" + in(charmap.Windows1251, russian+", и никто об этом не знает"), "", russian},
		{"KOI8-R", in(charmap.KOI8R, russian), "", russian},
		{"windows-1253", in(charmap.Windows1253, greek), "", greek},
		{"Shift JIS", in(japanese.ShiftJIS, kana), "", kana},
		{"EUC-JP", in(japanese.EUCJP, kanji), "", kanji},
		{"GB 18030", in(simplifiedchinese.GB18030, chinese), "", chinese},
		{"EUC-KR", in(korean.EUCKR, hangul), "", hangul},
	} {
		texts := mediatype.Shown([]byte(c.body), c.charset)
		if !strings.Contains(strings.Join(texts, "\x00"), c.want) {
			t.Errorf("%s: %.200q", c.name, texts)
		}
	}
	for name, body := range map[string]string{
		"empty": "", "blanks": " \t\r\n", "marks alone": "\ufeff", "a picture": "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\x00IEND\xaeB`\x82",
	} {
		if texts := mediatype.Shown([]byte(body), ""); len(texts) > 0 {
			t.Errorf("%s: %q", name, texts)
		}
	}
}

func FuzzShown(f *testing.F) {
	for _, s := range []string{"plain", "\xff\xfea\x00b\x00", "\xc1\xb4he", "caf\xe9", "+AGg-", "\xd1\xe5\xf0\xe0\xff \xf6\xe0\xef\xeb\xff"} {
		f.Add([]byte(s), "utf-7")
		f.Add([]byte(s), "shift_jis")
	}
	f.Fuzz(func(t *testing.T, b []byte, charset string) {
		texts := mediatype.Shown(b, charset)
		size := 0
		for i, s := range texts {
			size += len(s)
			if strings.TrimSpace(s) == "" {
				t.Fatal("a blank text")
			}
			for _, other := range texts[:i] {
				if s == other {
					t.Fatal("a text twice")
				}
			}
		}
		if size > 50*len(b)+1<<10 {
			t.Fatalf("%d bytes of %d", size, len(b))
		}
		if utf8.Valid(b) && strings.ContainsFunc(string(b), unicode.IsLetter) && len(texts) == 0 {
			t.Fatal("nothing is shown of a text")
		}
	})
}
