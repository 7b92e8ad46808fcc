// SPDX-License-Identifier: Apache-2.0

package fakenoma

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// token answers a call for a token. A path whose forms are all switched off
// does not exist. On any other path, a body of the wrong form is refused.
func (s *Server) token(o Options, r *http.Request, body []byte) (int, []byte) {
	forms := o.TokenForms
	if forms == 0 {
		forms = AuthJSON
	}
	if r.URL.Path == AuthPath {
		forms &= AuthJSON
	} else {
		forms &= OAuthJSON | OAuthForm
	}
	if forms == 0 {
		return problem(http.StatusNotFound, "no such path")
	}
	id, secret, ok := readCredentials(forms, r, body)
	switch {
	case !ok && mediaType(r) != "application/json" && mediaType(r) != formType:
		return problem(http.StatusUnsupportedMediaType, "content type not supported")
	case !ok:
		return problem(http.StatusBadRequest, "credentials not understood")
	case o.ClientID == "" || !same(id, o.ClientID) || !same(secret, o.ClientSecret):
		return problem(http.StatusUnauthorized, "wrong credentials")
	}
	lifetime := o.Lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	name, expiry := "accessToken", "expiresIn"
	if o.SnakeCase {
		name, expiry = "access_token", "expires_in"
	}
	// Whole seconds, as the service announces them, but never none.
	seconds := max(int64(lifetime/time.Second), 1)
	return http.StatusOK, []byte(`{"` + name + `":"` + s.newToken(lifetime) + `","` + expiry + `":` + strconv.FormatInt(seconds, 10) + `}`)
}

const formType = "application/x-www-form-urlencoded"

func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}

// readCredentials reads the body in one of the given forms.
func readCredentials(forms TokenForm, r *http.Request, body []byte) (id, secret string, ok bool) {
	switch mediaType(r) {
	case "application/json":
		if forms&(AuthJSON|OAuthJSON) == 0 {
			return "", "", false
		}
		var c struct {
			ClientID string `json:"clientId"`
			Secret   string `json:"secret"`
		}
		err := json.Unmarshal(body, &c, json.RejectUnknownMembers(true))
		return c.ClientID, c.Secret, err == nil
	case formType:
		if forms&OAuthForm == 0 {
			return "", "", false
		}
		form, err := url.ParseQuery(string(body))
		return form.Get("client_id"), form.Get("client_secret"), err == nil && form.Get("grant_type") == "client_credentials"
	}
	return "", "", false
}
