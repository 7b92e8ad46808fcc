// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCleanKeepsAValueInsideItsQuotes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"alice", "alice"},
		{"team one", "team one"},
		{"jürgen", "jürgen"},
		{"j\xe9r\xf4me", "j?r?me"},
		{"a\" outcome=\"allow", "a? outcome=?allow"},
		{"a\\", "a?"},
		{"a\nSecurePrismaAIRS forged", "a?SecurePrismaAIRS forged"},
		{"a\r\x00\x1b[31m", "a???[31m"},
		{"a\u2028b\u202eb\u0085", "a?b?b?"},
		{"\ufffd", "\ufffd"},
		{strings.Repeat("x", MaxValue), strings.Repeat("x", MaxValue)},
		{strings.Repeat("x", MaxValue+1), strings.Repeat("x", MaxValue) + "..."},
		{strings.Repeat("é", MaxValue), strings.Repeat("é", MaxValue/2) + "..."},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestLineStaysOneLine(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`token refresh failed: status="401" \`, `token refresh failed: status="401" \`},
		{"a\nb\xe9\u2029", "a?b??"},
		{strings.Repeat("x", MaxLine+1), strings.Repeat("x", MaxLine) + "..."},
	} {
		if got := Line(c.in); got != c.want {
			t.Errorf("Line(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("alice")
	f.Add("a\"\n\xe9\u202e")
	f.Add(strings.Repeat("é", 300))
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if !utf8.ValidString(got) || len(got) > MaxValue+3 || strings.ContainsAny(got, "\"\\\n\r\u2028\u2029\x00") {
			t.Fatalf("Clean(%q) = %q", s, got)
		}
		if Clean(got) != got && len(got) <= MaxValue {
			t.Fatalf("Clean is not stable on %q", got)
		}
	})
}

func TestMetricsCarryThePlugin(t *testing.T) {
	m := NewMetrics("some-plugin")
	m.Limit("records", 7)
	m.Gauge("held_bytes", "Bytes held.", func() float64 { return 42 })
	m.UnscannedAnswers.Inc()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]float64{}
	for _, f := range families {
		for _, metric := range f.Metric {
			plugin := ""
			for _, l := range metric.Label {
				if l.GetName() == "plugin" {
					plugin = l.GetValue()
				}
			}
			if plugin != "some-plugin" {
				t.Errorf("%s has plugin %q", f.GetName(), plugin)
			}
			seen[f.GetName()] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{"ai_guard_limit": 7, "ai_guard_held_bytes": 42, "ai_guard_unscanned_answers_total": 1} {
		if seen[name] != want {
			t.Errorf("%s = %v, want %v", name, seen[name], want)
		}
	}
}
