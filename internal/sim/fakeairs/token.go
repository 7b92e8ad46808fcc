// SPDX-License-Identifier: Apache-2.0

package fakeairs

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// TokenPath is where tokens come from, by OAuth's client credentials grant.
const TokenPath = "/oauth2/access_token"

// A Client may get tokens. The real identity provider takes its credentials in
// the Authorization header or in the form, as it is documented in both ways.
type Client struct {
	ID, Secret string
	// Scope is what has to be asked for, "" for nothing.
	Scope string
	// NotInHeader and NotInForm switch the two ways off.
	NotInHeader, NotInForm bool
	// Refused is the status of calls whose token is not known, 0 for 403.
	Refused int
	// Lifetime is how long a token is good for; 0 means an hour.
	Lifetime time.Duration
}

// Revoke ends all tokens at once.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Issued is how many tokens were given out.
func (s *Server) Issued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// token answers a call of TokenPath, with the errors of RFC 6749, section 5.2.
func (s *Server) token(o Options, r *http.Request, body []byte) (int, []byte) {
	refuse := func(status int, code string) (int, []byte) { return status, encode(map[string]any{"error": code}) }
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "invalid_request")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || mediaType(r) != "application/x-www-form-urlencoded" || repeats(form) {
		return refuse(http.StatusBadRequest, "invalid_request")
	}
	c := o.Client
	id, secret, header := r.BasicAuth()
	inForm := form.Has("client_id") || form.Has("client_secret")
	switch {
	case header && inForm: // one way at a time
		return refuse(http.StatusBadRequest, "invalid_request")
	case header && c.NotInHeader, !header && (!inForm || c.NotInForm):
		return refuse(http.StatusUnauthorized, "invalid_client")
	case !header:
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	switch {
	case c.ID == "" || !same(id, c.ID) || !same(secret, c.Secret):
		return refuse(http.StatusUnauthorized, "invalid_client")
	case form.Get("grant_type") != "client_credentials":
		return refuse(http.StatusBadRequest, "unsupported_grant_type")
	case form.Get("scope") != c.Scope:
		return refuse(http.StatusBadRequest, "invalid_scope")
	}
	lifetime := c.Lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	token := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil || len(s.tokens) > maxRequests {
		s.tokens = make(map[string]time.Time)
	}
	s.tokens[token] = time.Now().Add(lifetime)
	s.issued++
	return http.StatusOK, encode(map[string]any{
		"access_token": token, "token_type": "Bearer", "scope": c.Scope,
		"expires_in": max(int64(lifetime/time.Second), 1),
	})
}

func repeats(form url.Values) bool {
	for _, values := range form {
		if len(values) > 1 {
			return true
		}
	}
	return false
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// admits answers what the service says of a caller's credentials, 0 for
// nothing. Whatever a caller shows has to be right.
func (s *Server) admits(o Options, r *http.Request) (status int, message string) {
	key, authorization := r.Header.Get("X-Pan-Token"), r.Header.Get("Authorization")
	if key == "" && authorization == "" {
		return http.StatusUnauthorized, "Not Authenticated"
	}
	if key != "" && len(o.Keys) > 0 && !contains(o.Keys, key) {
		return http.StatusForbidden, "Invalid API Key or OAuth Token"
	}
	if authorization != "" {
		token, bearer := strings.CutPrefix(authorization, "Bearer ")
		s.mu.Lock()
		end, known := s.tokens[token]
		s.mu.Unlock()
		if !bearer || !known || time.Now().After(end) {
			return cmp.Or(o.Client.Refused, http.StatusForbidden), "Invalid API Key or OAuth Token"
		}
	}
	return 0, ""
}

func contains(keys []string, key string) bool {
	for _, k := range keys {
		if same(k, key) {
			return true
		}
	}
	return false
}
