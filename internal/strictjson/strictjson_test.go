// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	gojson "github.com/goccy/go-json"
	"github.com/tidwall/gjson"
)

func TestParseRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name, text string
		want       error
	}{
		{"empty", "", ErrSyntax},
		{"blank", " \n", ErrSyntax},
		{"cut", `{"a":`, ErrSyntax},
		{"trailing comma", `[1,]`, ErrSyntax},
		{"comment", `[1]//x`, ErrTrailing},
		{"single quotes", `{'a':1}`, ErrSyntax},
		{"NaN", `[NaN]`, ErrSyntax},
		{"leading zero", `[01]`, ErrSyntax},
		{"raw control byte", "[\"a\nb\"]", ErrSyntax},
		{"two documents", `{}{}`, ErrTrailing},
		{"two documents on lines", "{}\n{}", ErrTrailing},
		{"trailing NUL", "{}\x00", ErrTrailing},
		{"duplicate name", `{"a":1,"a":2}`, ErrDuplicateName},
		{"duplicate name, escaped", `{"messages":1,"\u006dessages":2}`, ErrDuplicateName},
		{"duplicate name, deep", `{"x":[{"y":{"a":1,"b":2,"a":3}}]}`, ErrDuplicateName},
		{"byte order mark", "\xef\xbb\xbf{}", ErrBOM},
		{"invalid UTF-8", "[\"\xff\"]", ErrUTF8},
		{"overlong UTF-8", "[\"\xc0\xaf\"]", ErrUTF8},
		{"UTF-8 surrogate", "[\"\xed\xa0\x80\"]", ErrUTF8},
		{"lone high surrogate", `["\ud800"]`, ErrSurrogate},
		{"lone low surrogate", `["\udc00"]`, ErrSurrogate},
		{"surrogates in wrong order", `["\udc00\ud800"]`, ErrSurrogate},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", ErrUTF8},
		{"UTF-16", "{\x00}\x00", ErrSyntax},
		{"one level too deep", deep(9), ErrDepth},
		{"depth bomb", deep(100_000), ErrDepth},
		{"unclosed depth bomb", strings.Repeat("[", 100_000), ErrDepth},
		{"too many values", "[" + strings.Repeat("0,", MaxValues) + "0]", ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Parse([]byte(tt.text), 8); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// tree decodes an accepted text through the public API.
func tree(d *Doc, v int) any {
	switch d.Kind(v) {
	case Object:
		m := map[string]any{}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			m[string(d.Name(c))] = tree(d, c)
		}
		return m
	case Array:
		a := []any{}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			a = append(a, tree(d, c))
		}
		return a
	case String:
		return string(d.Bytes(v))
	case Number:
		return json.Number(d.Raw(v))
	case True:
		return true
	case False:
		return false
	}
	return nil
}

func TestParseReadsAsOthersDo(t *testing.T) {
	tests := []string{
		`null`, `true`, ` false `, `0`, `-1.5e+10`, `1e999`, `123456789012345678901234567890`, `""`, `"a"`,
		`[]`, `{}`, `[[],{}]`, `{"":1}`, `{"a":{"b":[1,2,{"c":null}]},"d":"e"}`,
		"\t{ \"a\" : [ 1 , \"x\" ] }\r\n", `{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, `["\\","\\\\\"",""]`,
		`{"a\"b":1,"a\\":2}`, `{"tools":[]}`, `"é😀"`, `[true,false,null,1,"s"]`, `{"\u0061b":1}`,
	}
	for _, text := range tests {
		d, err := Parse([]byte(text), 8)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		want := stdTree(t, []byte(text))
		if got := tree(d, Root); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", text, got, want)
		}
		for v := range d.Len() {
			start, end := d.Span(v)
			if string(d.Raw(v)) != text[start:end] || !json.Valid(d.Raw(v)) {
				t.Errorf("%s: value %d spans %q", text, v, text[start:end])
			}
		}
	}
}

func stdTree(t testing.TB, text []byte) any {
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", text, err)
	}
	return v
}

func TestMember(t *testing.T) {
	d, err := Parse([]byte(`{"x":1,"\u0061":{"b":2},"A":3}`), 8)
	if err != nil {
		t.Fatal(err)
	}
	if v := d.Member(Root, "a"); v < 0 || string(d.Raw(v)) != `{"b":2}` {
		t.Errorf("a is %d", v)
	}
	if v := d.Member(Root, "b"); v >= 0 {
		t.Errorf("found b of an inner object: %d", v)
	}
	if v := d.Member(d.Member(Root, "x"), "y"); v >= 0 {
		t.Errorf("found a member of a number: %d", v)
	}
}

func TestAppendStringOfLooseText(t *testing.T) {
	for raw, want := range map[string]string{
		`"\ud800"`: "\ufffd", `"\udc00x"`: "\ufffdx", `"\ud800\n\\"`: "\ufffd\n\\", `"\ud83d\ude00"`: "😀", `"\ud800\u0041"`: "\ufffdA", `""`: "", `"\u00E9\u00e9\/\""`: `éé/"`,
	} {
		if !Loose([]byte(raw)) {
			t.Fatalf("%s is not loose", raw)
		}
		if got := string(AppendString(nil, []byte(raw))); got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

func TestDocIsReusable(t *testing.T) {
	var d Doc
	for i := range 3 {
		text := fmt.Sprintf(`{"n":%d}`, i)
		if err := d.Parse([]byte(text), 8); err != nil {
			t.Fatal(err)
		}
		if got := string(d.Raw(d.Member(Root, "n"))); got != fmt.Sprint(i) {
			t.Errorf("text %d: n is %s", i, got)
		}
	}
	if err := d.Parse([]byte(`{`), 8); err == nil {
		t.Error("a broken text was accepted")
	}
}

// FuzzParse: what is accepted, every parser that a provider may use reads in
// the same way.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,"x",{"b":null}],"c":"\ud83d\ude00\\"}`, `[]`, `"\""`, `1e999`, "{\"a\":1,\"a\":2}", "\xef\xbb\xbf{}", `{"A":1,"a":2}`, `[1][2]`, `{"\u0000":""}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse(text, 64)
		if err != nil {
			if e := new(Error); !errors.As(err, &e) {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		got := tree(d, Root)
		if want := stdTree(t, text); !reflect.DeepEqual(got, want) {
			t.Fatalf("encoding/json reads %#v, we read %#v", want, got)
		}
		dec := gojson.NewDecoder(strings.NewReader(string(text)))
		dec.UseNumber()
		var other any
		if err := dec.Decode(&other); err == nil && !reflect.DeepEqual(normal(other), normal(got)) {
			t.Fatalf("goccy/go-json reads %#v, we read %#v", other, got)
		}
		if !gjson.ValidBytes(text) {
			t.Fatal("gjson refuses what we accept")
		}
		if want := gjsonTree(gjson.ParseBytes(text)); !reflect.DeepEqual(want, got) {
			t.Fatalf("gjson reads %#v, we read %#v", want, got)
		}
	})
}

// normal makes the empty containers and numbers of the parsers comparable.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			m[k] = normal(e)
		}
		return m
	case []any:
		a := []any{}
		for _, e := range v {
			a = append(a, normal(e))
		}
		return a
	case json.Number:
		return string(v)
	}
	return v
}

func gjsonTree(r gjson.Result) any {
	switch {
	case r.IsObject():
		m := map[string]any{}
		r.ForEach(func(k, v gjson.Result) bool { m[k.String()] = gjsonTree(v); return true })
		return m
	case r.IsArray():
		a := []any{}
		r.ForEach(func(_, v gjson.Result) bool { a = append(a, gjsonTree(v)); return true })
		return a
	case r.Type == gjson.String:
		return r.String()
	case r.Type == gjson.Number:
		return json.Number(strings.TrimSpace(r.Raw))
	case r.Type == gjson.True:
		return true
	case r.Type == gjson.False:
		return false
	}
	return nil
}
