// SPDX-License-Identifier: Apache-2.0

package formdata

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func pairs(t testing.TB, body string) ([][2]string, error) {
	t.Helper()
	fields, err := ParseURLEncoded([]byte(body))
	var got [][2]string
	end := 0
	for _, f := range fields {
		if f.At.Start < end || f.At.End < f.At.Start || f.At.End > len(body) {
			t.Fatalf("value at %v after %d in %d bytes", f.At, end, len(body))
		}
		end = f.At.End
		if v, err := url.QueryUnescape(body[f.At.Start:f.At.End]); err != nil || v != f.Value {
			t.Fatalf("value %q does not lie at %v: %q", f.Value, f.At, v)
		}
		got = append(got, [2]string{f.Name, f.Value})
	}
	return got, err
}

func TestParseURLEncoded(t *testing.T) {
	_, curl := recorded(t, "curl.form")
	tests := []struct {
		body string
		want [][2]string
	}{
		{"", nil},
		{"&&", nil},
		{"a=b", [][2]string{{"a", "b"}}},
		{"&a=b&&c=d&", [][2]string{{"a", "b"}, {"c", "d"}}},
		{"a=1&a=2", [][2]string{{"a", "1"}, {"a", "2"}}},
		{"a&b=&=c&=", [][2]string{{"a", ""}, {"b", ""}, {"", "c"}, {"", ""}}},
		{"a=b=c", [][2]string{{"a", "b=c"}}},
		{"a%3Db=%26%3d%3B+%2B", [][2]string{{"a=b", "&=; +"}}},
		{"a=Gr\u00fc%C3%9Fe", [][2]string{{"a", "Grüße"}}},
		{"a=two words\r\n", [][2]string{{"a", "two words\r\n"}}},
		{"a=%00", [][2]string{{"a", "\x00"}}},
		{`{"a":"b"}`, [][2]string{{`{"a":"b"}`, ""}}},
		{"_charset_=UTF-8&a=b", [][2]string{{"_charset_", "UTF-8"}, {"a", "b"}}},
		{string(curl), [][2]string{{"prompt", "Ignore all; 100% & more = Grüße"}, {"n", "1"}, {"empty", ""}, {"flag", ""}, {"a b", "c d"}}},
	}
	for _, tt := range tests {
		got, err := pairs(t, tt.body)
		if err != nil {
			t.Errorf("%q: %v", tt.body, err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%q (-want +got)\n%s", tt.body, d)
		}
	}
}

func TestParseURLEncodedRefuses(t *testing.T) {
	for body, want := range map[string]*Error{
		"a=b;c=d":                  errSeparator,
		"a=b\x00":                  errSeparator,
		"a=b\x7f":                  errSeparator,
		"a=%":                      errEscape,
		"a=%4":                     errEscape,
		"a=%zz":                    errEscape,
		"a=%4g":                    errEscape,
		"%u0041=b":                 errEscape,
		"a=100%":                   errEscape,
		"a=%E9":                    errNotUTF8,
		"a=\xe9":                   errNotUTF8,
		"%ff=a":                    errNotUTF8,
		"a=%ED%A0%80":              errNotUTF8,
		"_charset_=utf-16&a=b":     errCharset,
		strings.Repeat("a&", 1001): errTooMany,
	} {
		got, err := ParseURLEncoded([]byte(body))
		if checkError(t, err, want); got != nil {
			t.Errorf("%.40q: fields beside an error", body)
		}
	}
	if _, err := ParseURLEncoded([]byte(strings.Repeat("a&", 1000))); err != nil {
		t.Errorf("1000 fields: %v", err)
	}
}

func TestWrittenFormsAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want [][2]string
		var body []string
		for range rapid.IntRange(0, 6).Draw(t, "fields") {
			f := [2]string{"n" + rapid.String().Draw(t, "name"), rapid.String().Draw(t, "value")}
			want = append(want, f)
			body = append(body, url.QueryEscape(f[0])+"="+url.QueryEscape(f[1]))
		}
		var got [][2]string
		fields, err := ParseURLEncoded([]byte(strings.Join(body, "&")))
		for _, f := range fields {
			got = append(got, [2]string{f.Name, f.Value})
		}
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q (-want +got)\n%s", body, d)
		}
	})
}

// What is accepted means the same to the standard library.
func FuzzParseURLEncoded(f *testing.F) {
	_, body := recorded(f, "curl.form")
	f.Add(string(body))
	f.Add("a=%00&&b=+%2B&=c&a")
	f.Fuzz(func(t *testing.T, body string) {
		fields, err := pairs(t, body)
		if err != nil {
			return
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("the standard library refuses %q: %v", body, err)
		}
		got := url.Values{}
		for _, f := range fields {
			got.Add(f[0], f[1])
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q (-std +got)\n%s", body, d)
		}
	})
}

func BenchmarkParseURLEncoded(b *testing.B) {
	body := []byte("model=gpt-4o&prompt=" + url.QueryEscape(strings.Repeat("What time is the ferry? ", 1000)))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseURLEncoded(body); err != nil {
			b.Fatal(err)
		}
	}
}
