// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/noma"
)

// TestClaim covers TV32 and TV33: which application a trusted client names.
func TestClaim(t *testing.T) {
	long := strings.Repeat("é", 100)
	named := func(id string) string { return `{"noma-guard":{"extra_body":{"application_id":"` + id + `"}}}` }
	for _, c := range []struct {
		name, member string
		header       http.Header
		want         string
	}{
		{"TV32 body before header", named("dynamic-app"), http.Header{"X-Noma-Application-Id": {"header-app"}}, "dynamic-app"},
		{"TV33 header", "", http.Header{"X-Noma-Application-Id": {"header-app"}}, "header-app"},
		{"nobody says", "", nil, ""},
		{"blanks are unset", named(" \\t"), http.Header{"X-Noma-Application-Id": {" header-app "}}, "header-app"},
		{"a blank header", "", http.Header{"X-Noma-Application-Id": {" "}}, ""},
		{"trimmed", named(" a "), nil, "a"},
		{"a hundred characters", named(long), nil, long},
		{"more", named(long + "x"), nil, ""},
		{"a control character", named("a\\nb"), nil, ""},
		{"a long header", "", http.Header{"X-Noma-Application-Id": {strings.Repeat("a", 101)}}, ""},
		{"a header that is not UTF-8", "", http.Header{"X-Noma-Application-Id": {"a\xe9"}}, ""},
		{"no string", `{"g":{"extra_body":{"application_id":7}}}`, nil, ""},
		{"no object", `{"g":"x","h":{"extra_body":[]},"i":{"extra_body":{"application_id":null}}}`, nil, ""},
		{"the first that can be one", `{"a":{},"b":{"extra_body":{"application_id":""}},"c":{"extra_body":{"application_id":"third"}},"d":{"extra_body":{"application_id":"fourth"}}}`, nil, "third"},
		{"escaped names", `{"g":{"extra\u005fbody":{"\u0061pplication_id":"esc"}}}`, nil, "esc"},
		{"a name with a dot is another name", `{"g":{"extra_body.application_id":"x"}}`, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, config := service(t, fakenoma.Options{})
			config.TrustClientApplication = true
			s := scanner(t, config)
			if got := s.Claim([]byte(c.member), c.header); got != c.want || s.ClaimMember() != "guardrails" {
				t.Errorf("%q, want %q", got, c.want)
			}
			config.TrustClientApplication = false
			if got := s.Claim([]byte(c.member), c.header); got != "" || s.ClaimMember() != "" {
				t.Errorf("not trusted: %q", got)
			}
		})
	}
}

// A claim comes before all that the gateway knows, and spares the notice that
// nothing is known.
func TestClaimedApplication(t *testing.T) {
	fake, config := service(t, fakenoma.Options{})
	told := 0
	scanner, err := noma.NewScanner(config, func(bool, string) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	s := request(prompt(0, hello))
	s.Identity.Consumer, s.Claim = scan.Consumer{}, "dynamic-app"
	v, err := scanner.Scan(t.Context(), s)
	if err != nil || v.Subject != "dynamic-app" || told != 0 {
		t.Errorf("%+v, %v, told %d", v, err, told)
	}
	if got := gjson.GetBytes(fake.Requests(fakenoma.ScanPath)[0].Body, "x-noma-context.applicationId").Str; got != "dynamic-app" {
		t.Errorf("application %q", got)
	}
	s.Claim = ""
	if v, err = scanner.Scan(t.Context(), s); err != nil || v.Subject != "kong" || told != 1 {
		t.Errorf("%+v, %v, told %d", v, err, told)
	}
}

// FuzzClaim: whatever a client says, what is taken of it can stand in a console.
func FuzzClaim(f *testing.F) {
	f.Add([]byte(`{"g":{"extra_body":{"application_id":" a "}}}`), "header-app")
	f.Add([]byte(`{"g":{"extra_body":{"application_id":"\u0000"}},"h":7}`), "\xe9")
	f.Add([]byte(`{`), "")
	s, err := noma.NewScanner(&noma.Config{APIBase: "http://noma.invalid", TrustClientApplication: true}, func(bool, string) {})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, member []byte, header string) {
		id := s.Claim(member, http.Header{"X-Noma-Application-Id": {header}})
		if !utf8.ValidString(id) || utf8.RuneCountInString(id) > 100 || strings.ContainsFunc(id, unicode.IsControl) || id != strings.TrimSpace(id) {
			t.Errorf("%q of %q and %q", id, member, header)
		}
	})
}
