// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/noma"
)

// ask scans a harmless prompt.
func ask(t *testing.T, s *noma.Scanner) error {
	t.Helper()
	v, err := s.Scan(t.Context(), request(prompt(0, hello)))
	if err == nil && v.Action != scan.Allow {
		t.Errorf("action %q", names[v.Action])
	}
	return err
}

// paths lists the calls that the service got.
func paths(fake *fakenoma.Server) []string {
	var all []string
	for _, r := range fake.Requests("") {
		kind := ""
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			kind = " form"
		}
		all = append(all, r.Path+kind)
	}
	return all
}

// TestTokenForms tries the public forms of token calls, and that what worked
// is remembered.
func TestTokenForms(t *testing.T) {
	const auth, oauth, form, scanned = fakenoma.AuthPath, fakenoma.OAuthPath, fakenoma.OAuthPath + " form", fakenoma.ScanPath
	for _, c := range []struct {
		name  string
		forms fakenoma.TokenForm
		snake bool
		want  []string // calls of two scans with the token revoked between them
	}{
		{"JSON at the newer path", fakenoma.AuthJSON, false, []string{auth, scanned, scanned, auth, scanned}},
		{"snake case", fakenoma.AuthJSON, true, []string{auth, scanned, scanned, auth, scanned}},
		{"JSON at the older path", fakenoma.OAuthJSON, false, []string{auth, oauth, scanned, scanned, oauth, scanned}},
		{"a form at the older path", fakenoma.OAuthForm, true, []string{auth, oauth, form, scanned, scanned, form, scanned}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "s&e=c r%t", TokenForms: c.forms, SnakeCase: c.snake})
			s := scanner(t, config)
			if err := ask(t, s); err != nil {
				t.Fatal(err)
			}
			fake.Revoke()
			if err := ask(t, s); err != nil {
				t.Fatal(err)
			}
			if got := paths(fake); !slices.Equal(got, c.want) {
				t.Errorf("calls %q, want %q", got, c.want)
			}
		})
	}
	t.Run("an endpoint that wants another form now", func(t *testing.T) {
		fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "s", TokenForms: fakenoma.OAuthJSON})
		s := scanner(t, config)
		if err := ask(t, s); err != nil {
			t.Fatal(err)
		}
		fake.Revoke()
		fake.Configure(func(o *fakenoma.Options) { o.TokenForms = fakenoma.OAuthForm })
		if err := ask(t, s); err != nil {
			t.Fatal(err)
		}
		want := []string{auth, oauth, scanned, scanned, oauth, form, scanned}
		if got := paths(fake); !slices.Equal(got, want) {
			t.Errorf("calls %q, want %q", got, want)
		}
	})
	t.Run("an endpoint that moved", func(t *testing.T) {
		fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "s"})
		s := scanner(t, config)
		if err := ask(t, s); err != nil {
			t.Fatal(err)
		}
		fake.Revoke()
		fake.Configure(func(o *fakenoma.Options) { o.TokenForms = fakenoma.OAuthForm })
		if err := ask(t, s); err != nil {
			t.Fatal(err)
		}
		want := []string{auth, scanned, scanned, auth, oauth, form, scanned}
		if got := paths(fake); !slices.Equal(got, want) {
			t.Errorf("calls %q, want %q", got, want)
		}
	})
}

// TestTokenIsShared covers TV63: scanners of one configuration, as every
// worker and configuration change makes them, need one token.
func TestTokenIsShared(t *testing.T) {
	fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "s"})
	for range 3 {
		same := *config
		if err := ask(t, scanner(t, &same)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(fake.Requests(fakenoma.AuthPath)); n != 1 {
		t.Errorf("%d token calls, want 1", n)
	}
	other := *config
	other.ClientSecret = "wrong"
	if err := ask(t, scanner(t, &other)); err == nil {
		t.Error("another secret used the same token")
	}
}

// TestTokenFailures covers TV66 and the troubleshooting page: without a token
// there is no scan, and the failure says which setting to look at.
func TestTokenFailures(t *testing.T) {
	for _, c := range []struct {
		name         string
		secret       string
		fault        fakenoma.Fault
		kind         scan.FailureKind
		reason, hint string
	}{
		{"wrong secret", "wrong", fakenoma.Fault{}, scan.Misconfigured, "token endpoint: status 401", "client_ID and client_secret"},
		{"TV66 no token", "s", fakenoma.Fault{Body: `{"expiresIn":60}`}, scan.Degraded, "token endpoint: answer without a token", "API_base"},
		{"an empty token", "s", fakenoma.Fault{Body: `{"accessToken":""}`}, scan.Degraded, "token endpoint: answer without a token", "API_base"},
		{"a token that splits the header", "s", fakenoma.Fault{Body: `{"accessToken":"a\r\nb: c"}`}, scan.Degraded, "token endpoint: answer without a token", "API_base"},
		{"a portal's page", "s", fakenoma.Fault{Body: `<html>`}, scan.Degraded, "token endpoint: answer is not JSON", "API_base"},
		{"down", "s", fakenoma.Fault{Status: 500}, scan.Unavailable, "token endpoint: status 500", ""},
		{"hangs", "s", fakenoma.Fault{Hang: true}, scan.Unavailable, "token endpoint: timeout", "timeout_ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "s"})
			config.ClientSecret = c.secret
			if c.fault.Hang {
				config.Timeout = 300 * time.Millisecond
			}
			fake.SetFault(fakenoma.AuthPath, c.fault)
			f := failure(t, ask(t, scanner(t, config)))
			if f.Kind != c.kind || f.Reason != c.reason || f.Hint != c.hint {
				t.Errorf("%+v", *f)
			}
			if n := len(fake.Requests(fakenoma.ScanPath)); n != 0 {
				t.Errorf("%d scans without a token", n)
			}
		})
	}
}

// TestRefusedTwice: a token that the service refuses is replaced once, not for ever.
func TestRefusedTwice(t *testing.T) {
	fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "s"})
	fake.SetFault(fakenoma.ScanPath, fakenoma.Fault{Status: 401})
	f := failure(t, ask(t, scanner(t, config)))
	if f.Kind != scan.Misconfigured || f.Hint != "client_ID and client_secret" {
		t.Errorf("%+v", *f)
	}
	want := []string{fakenoma.AuthPath, fakenoma.ScanPath, fakenoma.AuthPath, fakenoma.ScanPath}
	if got := paths(fake); !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// TestSecretInAFile: a secret that is rotated in its file is used when the
// service refuses the old one.
func TestSecretInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "old"})
	config.ClientSecret, config.ClientSecretFile = "", path
	s := scanner(t, config)
	if f := failure(t, ask(t, s)); f.Kind != scan.Misconfigured || f.Hint != "client_secret_file" {
		t.Errorf("no file: %+v", *f)
	}
	write := func(secret string) {
		if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		config.ReloadSecret()
	}
	write("old")
	retry(t, func() error { return ask(t, s) })
	fake.Configure(func(o *fakenoma.Options) { o.ClientSecret = "new" })
	fake.Revoke()
	write("new")
	if err := ask(t, s); err != nil {
		t.Error(err)
	}
}

// retry calls f until a refusal is no longer remembered.
func retry(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestKeyInstead: an API key goes where a token would, and client credentials
// win over it.
func TestKeyInstead(t *testing.T) {
	fake, config := service(t, fakenoma.Options{APIKey: "key"})
	config.APIKey = "key"
	if err := ask(t, scanner(t, config)); err != nil {
		t.Error(err)
	}
	wrong := *config
	wrong.APIKey = "wrong"
	if f := failure(t, ask(t, scanner(t, &wrong))); f.Kind != scan.Misconfigured || f.Hint != "api_key" {
		t.Errorf("%+v", *f)
	}
	if want, got := []string{fakenoma.ScanPath, fakenoma.ScanPath}, paths(fake); !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	both := *config
	both.ClientID, both.ClientSecret = "id", "s"
	fake.Configure(func(o *fakenoma.Options) { o.ClientID, o.ClientSecret, o.APIKey = "id", "s", "" })
	if err := ask(t, scanner(t, &both)); err != nil {
		t.Error(err)
	}
}

// TestTokenURL: a configured URL is the only one that is asked, in both forms.
func TestTokenURL(t *testing.T) {
	const oauth, form = fakenoma.OAuthPath, fakenoma.OAuthPath + " form"
	for _, c := range []struct {
		name  string
		forms fakenoma.TokenForm
		path  string
		want  []string
		hint  string // of the failure
	}{
		{"JSON", fakenoma.OAuthJSON, oauth, []string{oauth, fakenoma.ScanPath}, ""},
		{"form", fakenoma.OAuthForm, oauth, []string{oauth, form, fakenoma.ScanPath}, ""},
		{"not there", fakenoma.AuthJSON, oauth, []string{oauth, form}, "token_url or http_proxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake, config := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "s", TokenForms: c.forms})
			config.TokenURL = config.APIBase + c.path
			err := ask(t, scanner(t, config))
			if c.hint == "" && err != nil || c.hint != "" && failure(t, err).Hint != c.hint {
				t.Errorf("%+v", err)
			}
			if got := paths(fake); !slices.Equal(got, c.want) {
				t.Errorf("calls %q, want %q", got, c.want)
			}
		})
	}
}

// TestScanPath: another deployment may have another path.
func TestScanPath(t *testing.T) {
	fake, config := service(t, fakenoma.Options{})
	config.APIBase += "/ai-dr"
	config.ScanPath = "/v2/prompt/scan"
	if err := ask(t, scanner(t, config)); err != nil {
		t.Errorf("%v after %q", err, paths(fake))
	}
}
