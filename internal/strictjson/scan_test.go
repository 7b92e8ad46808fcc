// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// sameAsJSONText compares scan with what decides where it gives up, and reports
// whether it does not.
func sameAsJSONText(t *testing.T, text []byte) bool {
	t.Helper()
	const depth = 16
	fast, slow := new(Doc), new(Doc)
	if fast.begin(text) != nil || !fast.scan(depth) {
		return false
	}
	_ = slow.begin(text)
	if !jsontext.Value(text).IsValid() {
		t.Fatalf("jsontext refuses %q", text)
	}
	if err := slow.index(depth); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if !slices.Equal(fast.nodes, slow.nodes) {
		t.Fatalf("%q: indexed as\n%v, want\n%v", text, fast.nodes, slow.nodes)
	}
	return true
}

// scanned are texts that scan is for.
var scanned = []string{
	`{"a":[1,"x",{"b":null}],"c":"\ud83d\ude00\\"}`, ` [ ] `, "\t{\r\n}", `"\""`, `0`, `-0`, `-12.50e-3`, `1e999`, `1E+0`, `[true,false,null]`,
	`{"":"","a":{"a":{}},"b":[[],{}]}`, `{"A":1,"a":2}`, `"\u0000\u00Ff\/\b\f\n\r\t"`, `"é€😀\u007f` + "\x7f" + `"`, `{"é":1,"è":2}`,
	`{"ab":1,"cb":2,"ba":3,"bc":4,"ad":5,"da":6}`, `[` + strings.Repeat(`{"a":1},`, 100) + `{}]`, `"` + strings.Repeat("long ", 100) + `"`,
	strings.Repeat("[", 16) + strings.Repeat("]", 16),
}

func TestScan(t *testing.T) {
	for _, text := range scanned {
		if !sameAsJSONText(t, []byte(text)) {
			t.Errorf("gives up on %s", text)
		}
		// A text with any byte more, fewer or changed is accepted by both or
		// left to jsontext.
		for i := range len(text) {
			sameAsJSONText(t, []byte(text[:i]))
			sameAsJSONText(t, []byte(text[:i]+text[i+1:]))
			for _, c := range "\x00\x1f \n\"\\,:[]{}0-.eu\x80\xc3\xedd" {
				sameAsJSONText(t, []byte(text[:i]+string(c)+text[i:]))
				sameAsJSONText(t, []byte(text[:i]+string(c)+text[i+1:]))
			}
			for _, c := range []byte{0x80, 0xc0, 0xc3, 0xed, 0xf4, 0xff} {
				sameAsJSONText(t, []byte(text[:i]+string([]byte{c})+text[i:]))
			}
		}
	}
}

// TestScanGivesUp: on what is no JSON, and on what it does not know.
func TestScanGivesUp(t *testing.T) {
	for _, text := range []string{
		``, ` `, `{`, `[`, `]`, `[1}`, `{"a":1]`, `[1,]`, `[,1]`, `{,}`, `{"a":1,}`, `{"a"}`, `{"a",1}`, `{"a":}`, `{1:2}`, `{a:1}`, `[1 2]`, `{}{}`, `1,`,
		`01`, `-`, `-01`, `1.`, `.5`, `1.e1`, `1e`, `1e+`, `+1`, `0x1`, `1-2`, `1.2.3`, `nul`, `nulll`, `True`, `NaN`, `falsetrue`,
		`"`, `"a`, `"\`, `"\"`, `"\x41"`, `"\u12"`, `"\u12g4"`, `"\ud800"`, `"\udc00\ud800"`, `"\ud800\u0041"`, `"\ud800\ud800"`, "\"\n\"", "\"\x00\"",
		"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xe2\x82\"", "{\"\xff\":1}", "\xef\xbb\xbf{}",
		`{"a":1,"a":2}`, `{"":1,"":2}`, `{"a":{"b":1,"c":2,"b":3}}`, `{"é":1,"é":2}`,
		`{"a":1,"\u0061":2}`, `{"\u0061":1}`, strings.Repeat("[", 17) + strings.Repeat("]", 17), `"` + strings.Repeat("a", scanBytes) + `"`,
		`[` + strings.Repeat(`0,`, scanGrows) + `0]`, `{` + strings.Repeat(`"a":[],`, 3),
	} {
		if sameAsJSONText(t, []byte(text)) {
			t.Errorf("accepts %.40q", text)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, text := range scanned {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { sameAsJSONText(t, text) })
}
