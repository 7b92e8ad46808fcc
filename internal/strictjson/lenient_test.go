// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

func TestParseLenient(t *testing.T) {
	for _, tt := range []struct {
		text    string
		want    error
		doubled bool
	}{
		{`{"a":1,"b":2}`, nil, false},
		{`{"a":1,"a":2}`, nil, true},
		{`{"a":1,"\u0061":2}`, nil, true},
		{`[{"x":{"a":1,"b":[],"a":2}}]`, nil, true},
		{`{"a":{"b":1},"c":{"b":1}}`, nil, false},
		{`{"\ud800":1,"\udc00":2}`, nil, true}, // one name to whoever replaces them
		{`{"\ud800":1}`, nil, false},
		{`["\ud83d"]`, nil, false},
		{`["\ude00\ud83d"]`, nil, false},
		{"[\"\xff\"]", ErrUTF8, false},
		{"[\"\xed\xa0\xbd\"]", ErrUTF8, false},
		{"{\"a\":1,\"a\":\"\xff\"}", ErrUTF8, false},
		{"[\"\\ud83d\xff\"]", ErrUTF8, false},
		{`{"a":1,"a":2`, ErrSyntax, false},
		{`{"a":1,"a":2}{}`, ErrTrailing, false},
		{"\xef\xbb\xbf{\"a\":1,\"a\":2}", ErrBOM, false},
		{`{"a":1,"a":[[[[[[[[1]]]]]]]]}`, ErrDepth, false},
		{`["\ud83d",` + strings.Repeat("0,", MaxValues) + `0]`, ErrTooLarge, false},
	} {
		var d Doc
		err := d.ParseLenient([]byte(tt.text), 8)
		if !errors.Is(err, tt.want) || err == nil != (tt.want == nil) {
			t.Errorf("%.40s: got %v, want %v", tt.text, err, tt.want)
		}
		if err == nil && d.Doubled() != tt.doubled {
			t.Errorf("%.40s: doubled is %t", tt.text, d.Doubled())
		}
	}
}

func TestFault(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Fault
	}{
		{`{"a":1, "content" : 2,"b":[{"content":1, "\u0063ontent" :3}]}`, Fault{Offset: 41, Name: []byte("content"), Known: true}},
		{`{"a":"\ud83d\ude00 \\ud83d \ud83d"}`, Fault{Offset: 27, Known: true}},
		{`{"\ud83dx":1}`, Fault{Offset: 2, Known: true}},
		{`{"a":1`, Fault{}},
		{"[\"\xff\"]", Fault{}},
	} {
		var d Doc
		if d.Parse([]byte(tt.text), 8) == nil {
			t.Fatalf("%s is accepted", tt.text)
		}
		if got := d.Fault(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.text, got, tt.want)
		}
		if d.Parse([]byte(`1`), 8) != nil || d.Fault().Known {
			t.Errorf("%s: the fault outlives its text", tt.text)
		}
	}
}

func parsed(t testing.TB, text string) *Doc {
	d := new(Doc)
	if err := d.ParseLenient([]byte(text), 64); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestReadings(t *testing.T) {
	for _, tt := range []struct{ text, first, last, merged string }{
		{`{"a":1,"a":2,"a":3}`, `{"a":1}`, `{"a":3}`, `{"a":3}`},
		{`{"a":{"x":1,"y":2},"b":0,"a":{"x":3}}`, `{"a":{"x":1,"y":2},"b":0}`, `{"a":{"x":3},"b":0}`, `{"a":{"x":3,"y":2},"b":0}`},
		{`{"a":{"x":1},"a":[]}`, `{"a":{"x":1}}`, `{"a":[]}`, `{"a":[]}`},
		{`{"a":{"x":1},"a":null,"a":{"y":[{"z":1,"z":{}}]}}`, `{"a":{"x":1}}`, `{"a":{"y":[{"z":{}}]}}`, `{"a":{"x":1,"y":[{"z":{}}]}}`},
		{`[ {"a" : [] , "a" : [1 , "2"]}, {} ]`, `[{"a":[]},{}]`, `[{"a":[1,"2"]},{}]`, `[{"a":[1,"2"]},{}]`},
		{`{"a":[{"x":1},{"y":2},3],"a":[{"z":4},[]]}`, `{"a":[{"x":1},{"y":2},3]}`, `{"a":[{"z":4},[]]}`, `{"a":[{"x":1,"z":4},[]]}`},
		{`{"\ud800":1,"\udc00":2}`, `{"\ud800":1}`, `{"\ud800":2}`, `{"\ud800":2}`},
		{`[{"a":","}]`, `[{"a":","}]`, `[{"a":","}]`, `[{"a":","}]`},
	} {
		for i, want := range []string{tt.first, tt.last, tt.merged} {
			one := parsed(t, tt.text)
			if err := one.Choose(Readings[i], 8); err != nil || string(one.src) != want || one.Doubled() {
				t.Errorf("%s, reading %d: %v, got %s, want %s", tt.text, i, err, one.src, want)
			}
		}
	}
}

func TestHalves(t *testing.T) {
	for _, tt := range []struct {
		pieces []string
		want   string
	}{
		{[]string{`"a\ud83d"`, `"\ude00b"`}, "a😀b"},
		{[]string{`"\ud83d"`, `"\ud83d"`, `"\ude00"`, `"\ude00"`}, "\ufffd😀\ufffd"},
		{[]string{`"\ud83d"`}, "\ufffd"},
		{[]string{`"\ude00"`, `"\ud83d"`}, "\ufffd\ufffd"},
		{[]string{`"\ud83d"`, `" "`, `"\ude00"`}, "\ufffd \ufffd"},
		{[]string{`"\ud83d\ude00"`, `"한글"`, `"\\ud83d"`}, `😀한글\ud83d`},
	} {
		var buf []byte
		for _, p := range tt.pieces {
			var d Doc
			if err := d.ParseLenient([]byte(p), 8); err != nil {
				t.Fatal(err)
			}
			if got, want := d.Halved(Root), strings.Contains(string(d.Bytes(Root)), "\ufffd"); got != want {
				t.Errorf("%s: halved is %t", p, got)
			}
			buf = d.AppendHalves(buf, Root)
		}
		if got := string(JoinHalves(buf)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.pieces, got, tt.want)
		}
	}
}

// TestManyCopies: an object may have many names, each of them many times.
func TestManyCopies(t *testing.T) {
	for _, names := range []int{1, fewNames - 1, fewNames, fewNames + 1, 500} {
		var b, first strings.Builder
		for i := range 3 * names {
			fmt.Fprintf(&b, `,"n%d":%d`, i%names, i)
		}
		for i := range names {
			fmt.Fprintf(&first, `,"n%d":%d`, i, i)
		}
		d := parsed(t, "{"+b.String()[1:]+"}")
		i := 0
		for c := d.First(Root); c < d.Next(Root); c = d.Next(c) {
			if d.CopyOf(c) != i/names {
				t.Fatalf("%d names: member %d is copy %d", names, i, d.CopyOf(c))
			}
			i++
		}
		if err := d.Choose(FirstCopy, 8); err != nil || string(d.src) != "{"+first.String()[1:]+"}" {
			t.Errorf("%d names: %v %s", names, err, d.src)
		}
	}
}

// FuzzParseLenient: what is accepted reads in one of our readings as it does
// for a parser that takes the first of equal names, and for one that takes the
// last; and each reading has one reading.
func FuzzParseLenient(f *testing.F) {
	for _, s := range []string{`{"a":1,"a":2}`, `{"a":{"b":1},"a":{"c":[{"d":1,"d":"\ud83d"}]}}`, `{"\ud800":"x","\udc00":1}`, `["\ud83d","\ude00"]`, `{"a":{},"a":[],"b":1e9}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var d, strict Doc
		if err := d.ParseLenient(text, 64); err != nil {
			if strict.Parse(text, 64) == nil {
				t.Fatalf("refused, and has one reading: %v", err)
			}
			return
		}
		if strict.Parse(text, 64) == nil && d.Doubled() {
			t.Fatal("doubled, and has one reading")
		}
		chosen := func(how Reading) []byte {
			one := parsed(t, string(text))
			if err := one.Choose(how, 64); err != nil {
				t.Fatal(err)
			}
			return one.src
		}
		last := chosen(LastCopy)
		if got, want := stdTree(t, last), stdTree(t, text); !reflect.DeepEqual(got, want) {
			t.Fatalf("the last copies are %s", last)
		}
		for _, how := range Readings {
			text := chosen(how)
			var again Doc
			if err := again.ParseLenient(text, 64); err != nil || again.Doubled() {
				t.Fatalf("reading %d is %s: %v", how, text, err)
			}
		}
		var first map[string]json.RawMessage
		if d.Kind(Root) == Object && json.Unmarshal(chosen(FirstCopy), &first) == nil && !bytes.ContainsRune(text, '\\') {
			for name, value := range first {
				path := gjson.Escape(name)
				if name == "" || !gjson.ValidBytes(text) || strings.ContainsAny(name, ".*?|#@\\!{}[]()=<>%\"':,~") {
					continue
				}
				if got := gjson.GetBytes(text, path); len(got.Raw) > 0 && got.Raw[0] != '{' && got.Raw[0] != '[' && got.Raw != string(value) {
					t.Fatalf("gjson reads %s, we read %s", got.Raw, value)
				}
			}
		}
		for v := range d.Len() {
			if d.Kind(v) == String {
				if s := JoinHalves(d.AppendHalves(nil, v)); !utf8.Valid(s) || !bytes.Equal(s, d.Bytes(v)) {
					t.Fatalf("%s is %q", d.Raw(v), s)
				}
			}
		}
	})
}
