// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
)

// TestForms: a token endpoint gets the credentials in the form that it takes,
// and in one form at a time.
func TestForms(t *testing.T) {
	for _, c := range []struct {
		name    string
		takes   Form
		tried   []Form
		refuses int
		calls   int
	}{
		{"the header", Basic, []Form{Basic, Post}, 401, 1},
		{"the body", Post, []Form{Basic, Post}, 401, 2},
		{"the body, and the header is malformed", Post, []Form{Basic, Post}, 400, 2},
		{"JSON", JSON, []Form{JSON}, 400, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				var body strings.Builder
				if _, err := io.Copy(&body, r.Body); err != nil {
					t.Error(err)
				}
				id, secret, basic := r.BasicAuth()
				form, _ := url.ParseQuery(body.String())
				got := JSON
				switch {
				case basic:
					if got = Basic; form.Has("client_id") || form.Has("client_secret") {
						t.Error("the credentials are sent in two forms")
					}
				case form.Has("client_id"):
					got, id, secret = Post, form.Get("client_id"), form.Get("client_secret")
				default:
					id, secret = "me@1.iam.example", "s:e c/r+et"
					if body.String() != `{"clientId":"me@1.iam.example","secret":"s:e c/r+et"}` {
						t.Errorf("body %s", body.String())
					}
				}
				if got != JSON && (form.Get("grant_type") != "client_credentials" || form.Get("scope") != "tsg_id:7" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded") {
					t.Errorf("form %v of type %s", form, r.Header.Get("Content-Type"))
				}
				if got != c.takes || id != "me@1.iam.example" || secret != "s:e c/r+et" {
					w.WriteHeader(c.refuses)
					return
				}
				_, _ = w.Write([]byte(`{"access_token":"t","expires_in":"3599"}`))
			}))
			defer srv.Close()
			client, err := scanhttp.For(scanhttp.Options{Account: t.Name()})
			if err != nil {
				t.Fatal(err)
			}
			creds := &Credentials{
				ClientID: "me@1.iam.example", Scope: "tsg_id:7", Client: client, Notice: func(bool, string) {},
				Secret: func() (string, error) { return "s:e c/r+et", nil }, Reload: func() {},
			}
			for _, f := range c.tried {
				creds.Endpoints = append(creds.Endpoints, Endpoint{srv.URL, f})
			}
			g, works, fail := creds.fetch(t.Context(), Endpoint{})
			if fail != nil || g.token != "t" || works.Form != c.takes || calls != c.calls {
				t.Errorf("%+v from %+v after %d calls: %v", g, works, calls, fail)
			}
		})
	}
	t.Run("no secret", func(t *testing.T) {
		creds := &Credentials{Secret: func() (string, error) { return "", errors.New("config.x: gone") }, SecretField: "x", Endpoints: []Endpoint{{URL: "http://127.0.0.1:1"}}}
		if _, _, fail := creds.fetch(t.Context(), Endpoint{}); fail == nil || fail.Hint != "x" {
			t.Errorf("%+v", fail)
		}
	})
}
