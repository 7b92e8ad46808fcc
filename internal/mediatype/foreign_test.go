// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode/utf32"
)

// TestNoMagicHidesAText: a text in another charset is no media for the bytes in
// front of it.
func TestNoMagicHidesAText(t *testing.T) {
	old, err := charmap.Windows1251.NewEncoder().String(strings.Repeat("Серая цапля прячет семь медных фонарей. ", 20))
	if err != nil {
		t.Fatal(err)
	}
	for i := range magics {
		head := strings.ReplaceAll(magics[i].head, "?", "\x02")
		if text, kind, ok := Decode([]byte(head + old)); ok {
			t.Errorf("%q: %q, %.60q", head, kind, text)
		}
	}
}

// TestUTF32WithoutAMark: it is read in every script.
func TestUTF32WithoutAMark(t *testing.T) {
	for _, want := range []string{"Серая цапля прячет семь фонарей.", "灰色のサギが橋の下に七つの銅のランタンを隠している", "회색 왜가리가 다리 아래에 숨긴다"} {
		for _, order := range []utf32.Endianness{utf32.LittleEndian, utf32.BigEndian} {
			b, err := utf32.UTF32(order, utf32.IgnoreBOM).NewEncoder().String(want)
			if err != nil {
				t.Fatal(err)
			}
			if text, kind, ok := Decode([]byte(b)); !ok || text != want || kind != "" {
				t.Errorf("%q: %q %q %v", want, text, kind, ok)
			}
		}
	}
}
