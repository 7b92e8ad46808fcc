// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func linesOf(body []byte) (lines []string) {
	for l := range Lines(body) {
		lines = append(lines, string(l.In(body)))
	}
	return lines
}

func TestLines(t *testing.T) {
	tests := []struct {
		body string
		want []string
	}{
		{"", nil},
		{"\n \r\n\t\n", nil},
		{"{}", []string{"{}"}},
		{"{}\n[]\n", []string{"{}", "[]"}},
		{"{}\r\n\r\n  {\"a\": 1} \r\n{}", []string{"{}", "{\"a\": 1}", "{}"}},
		{"{\"a\":\r1}\n{}", []string{"{\"a\":\r1}", "{}"}},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, linesOf([]byte(tt.body))); d != "" {
			t.Errorf("%q (-want +got)\n%s", tt.body, d)
		}
	}
	for range Lines([]byte("a\nb")) {
		break // a caller may stop
	}
}

func TestLooksLikeLines(t *testing.T) {
	for body, want := range map[string]bool{
		"":                                     false,
		"{}":                                   false,
		"{}\n":                                 false,
		"{}\n{}":                               true,
		"\n{\"a\":1}\r\n\r\n[1]\n":             true,
		"[1]\n{\"cut":                          true,
		"{\n  \"a\": 1\n}\n":                   false,
		"[\n{\n\"a\": 1\n}\n]\n":               false,
		"[\n[\n1\n]\n]\n":                      false,
		"{\"a\":1}\nhello":                     false,
		"hello\n{}\n{}":                        false,
		string(testdata(t, "ollama.ndjson")):   true,
		string(testdata(t, "openai.sse")):      false,
		"{}" + strings.Repeat("\n", 9) + " {}": true,
	} {
		if got := LooksLikeLines([]byte(body)); got != want {
			t.Errorf("LooksLikeLines(%q) = %v", body, got)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add(testdata(f, "ollama.ndjson"))
	f.Add([]byte("{}\r\n\n [] \n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var want []string
		for line := range bytes.SplitSeq(body, []byte("\n")) {
			if line = bytes.Trim(line, " \t\r\x1e"); len(line) > 0 { // as JSON text sequences have it
				want = append(want, string(line))
			}
		}
		if d := cmp.Diff(want, linesOf(body)); d != "" {
			t.Fatalf("%q (-naive +got)\n%s", body, d)
		}
	})
}
