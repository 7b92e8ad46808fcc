// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"mime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLabel(t *testing.T) {
	tests := []struct {
		value string
		want  Label
	}{
		{"", Label{}},
		{" \t", Label{}},
		{"text/plain", Label{Type: "text/plain"}},
		{" Application/JSON ; Charset=UTF-8", Label{"application/json", []Param{{"charset", "UTF-8"}}}},
		{"text/plain;", Label{Type: "text/plain"}},
		{"text/plain; ;a=b;", Label{"text/plain", []Param{{"a", "b"}}}},
		{`multipart/form-data; boundary="a b:c"; x=y`, Label{"multipart/form-data", []Param{{"boundary", "a b:c"}, {"x", "y"}}}},
		{`text/plain; a="" ; b="x;y=z"`, Label{"text/plain", []Param{{"a", ""}, {"b", "x;y=z"}}}},
		{"application/vnd.api+json", Label{Type: "application/vnd.api+json"}},
	}
	for _, tt := range tests {
		got, err := ParseLabel(tt.value)
		if err != nil {
			t.Errorf("%q: %v", tt.value, err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%q (-want +got)\n%s", tt.value, d)
		}
	}
}

func TestParseLabelRefuses(t *testing.T) {
	for _, value := range []string{
		"text/plain; a=1; b=1; c=1; d=1; e=1; f=1; g=1; h=1; i=1; j=1; k=1; l=1; m=1; n=1; o=1; p=1; q=1",
		"text", "/plain", "text/", "text/plain/x", "te xt/plain", "text/plain, application/json", "text/pl\xe9in",
		"text/plain; a", "text/plain; =b", "text/plain; a=", "text/plain; a=b c", "text/plain; a =b", "text/plain; a= b",
		`text/plain; a="b`, `text/plain; a="b"c`, `text/plain; a="b\"c"`, `text/plain; a="b\c"`, "text/plain; a=b=c", "text/plain; a=b/c",
		"text/plain; a=1; a=2", "text/plain; a=1; A=1", "text/plain; a*=utf-8''x", "text/plain; a*0=x", "text/plain; a=b,c",
		"text/plain; a=\"b\x00\"", "text/plain; a=\"b\r\nc\"", "text/plain; a=\"\x7f\"",
	} {
		if got, err := ParseLabel(value); err == nil {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestCharset(t *testing.T) {
	for value, want := range map[string]string{
		"text/plain": "", "text/plain; charset=UTF-8": "utf-8", `text/plain; x=y; CHARSET="Utf-16"`: "utf-16", "": "",
	} {
		l, err := ParseLabel(value)
		if err != nil || l.Charset() != want {
			t.Errorf("%q: %q, %v", value, l.Charset(), err)
		}
	}
	if _, ok := (Label{}).Param("charset"); ok {
		t.Error("an empty label has a charset")
	}
}

// What is accepted means the same to the standard library's lenient parser.
func FuzzParseLabel(f *testing.F) {
	for _, s := range []string{"text/plain; charset=utf-8", `multipart/form-data; boundary="a b"`, "a/b;c=d;e=\"f\\\"g\"", "a/b; c*0=d; c*1=e", "a/b;;c=d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := ParseLabel(value)
		if err != nil || got.Type == "" {
			return
		}
		media, params, err := mime.ParseMediaType(value)
		if err != nil {
			return // the standard library knows fewer separators
		}
		want := map[string]string{}
		for _, p := range got.Params {
			want[p.Name] = p.Value
		}
		if media != got.Type {
			t.Fatalf("%q: %q and %q", value, got.Type, media)
		}
		if d := cmp.Diff(params, want); d != "" {
			t.Fatalf("%q (-mime +got)\n%s", value, d)
		}
	})
}
