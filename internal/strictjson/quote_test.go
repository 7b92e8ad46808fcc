// SPDX-License-Identifier: Apache-2.0

package strictjson_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// sameQuote holds that AppendQuote writes what jsontext does.
func sameQuote(t *testing.T, s string) {
	t.Helper()
	want, _ := jsontext.AppendQuote([]byte("before"), s)
	if got := strictjson.AppendQuote([]byte("before"), s); string(got) != string(want) {
		t.Errorf("AppendQuote(%q) = %q, want %q", s, got, want)
	}
}

// Every byte, at every place of the eight that are looked at together, beside
// each that could be taken for its neighbour.
func TestAppendQuote(t *testing.T) {
	for _, filler := range []string{"a", "\x00", "\x1f", " ", "!", "\"", "#", "[", "\\", "]", "\x7f", "\u00e4", "\xff", "\u2028", "\ud7ff", "\U0001F600"} {
		for c := range 256 {
			for at := range 9 {
				sameQuote(t, strings.Repeat(filler, at)+string([]byte{byte(c)})+strings.Repeat(filler, 17-at))
			}
		}
	}
	for n := range 20 {
		sameQuote(t, strings.Repeat("x", n))
	}
}

func FuzzAppendQuote(f *testing.F) {
	f.Add("What is the \"capital\" of\tFrance?\r\n")
	f.Add("\x00\x01\u2028\xed\xa0\x80 \\u0000")
	f.Fuzz(sameQuote)
}
