// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json/jsontext"

	"kong-ai-guard/internal/scan"
	"kong-ai-guard/internal/scanhttp"
)

// An endpoint is a place to get tokens from, and the form in which it wants to
// be asked.
type endpoint struct {
	url  string
	form bool // an OAuth form instead of the identity provider's JSON
}

// The service does not publish where its tokens come from; its public clients
// know these two paths.
const (
	authPath  = "/auth"
	oauthPath = "/v1/oauth/token"
)

// endpoints lists what to try, in order. A configured URL is the only one.
func endpoints(base, tokenURL string) []endpoint {
	if tokenURL != "" {
		return []endpoint{{url: tokenURL}, {url: tokenURL, form: true}}
	}
	return []endpoint{{url: base + authPath}, {url: base + oauthPath}, {url: base + oauthPath, form: true}}
}

// credentials get tokens from the service.
type credentials struct {
	cfg       *Config
	client    *scanhttp.Client
	endpoints []endpoint
	// field is the configuration field that says where the endpoints are.
	field  string
	notice func(err bool, text string)
}

// late tells operators about a renewal that failed while nobody waited for it.
func (c *credentials) late(fail *scan.Failure) {
	text := "a token could not be renewed, the old one is used to its end: " + fail.Reason
	if fail.Hint != "" {
		text += " (look at " + fail.Hint + ")"
	}
	c.notice(true, text)
}

// fetch asks the endpoint that worked before, then the others, until one
// returns a token, or a failure that another endpoint cannot cure.
func (c *credentials) fetch(ctx context.Context, worked endpoint) (grant, endpoint, *scan.Failure) {
	secret, err := c.cfg.Secret()
	if err != nil { // it quotes neither the path nor the content
		return grant{}, endpoint{}, &scan.Failure{Kind: scan.Misconfigured, Reason: err.Error(), Hint: "client_secret_file"}
	}
	candidates := c.endpoints
	if worked.url != "" {
		candidates = append([]endpoint{worked}, c.endpoints...)
	}
	var last *scan.Failure
	refused := false // by an endpoint that exists, because of the credentials
	only := ""       // the URL that exists: what is left is its other form
	for i, e := range candidates {
		if i > 0 && e == worked || only != "" && e.url != only {
			continue
		}
		g, status, fail := c.ask(ctx, e, secret)
		if fail == nil {
			return g, e, nil
		}
		if !refused {
			last = fail
		}
		refused = refused || unauthorized(status)
		if misunderstood(status) {
			only = e.url
		} else if !absent(status) {
			break
		}
	}
	if refused {
		c.cfg.ReloadSecret()
	}
	return grant{}, endpoint{}, last
}

func unauthorized(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden
}

// absent reports whether the status says that nothing there issues tokens.
func absent(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed
}

// misunderstood reports whether the endpoint may want to be asked in its other
// form. An endpoint that finds no credentials in a body that it cannot read may
// answer that it is unauthorized.
func misunderstood(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// ask makes one token call. status is 0 if no answer came.
func (c *credentials) ask(ctx context.Context, e endpoint, secret string) (g grant, status int, fail *scan.Failure) {
	r := scanhttp.Request{URL: e.url, MaxRetries: maxRetries}
	if e.form {
		r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		r.Body = []byte(url.Values{"grant_type": {"client_credentials"}, "client_id": {c.cfg.ClientID}, "client_secret": {secret}}.Encode())
	} else {
		r.Body, _ = jsontext.AppendQuote([]byte(`{"clientId":`), c.cfg.ClientID)
		r.Body, _ = jsontext.AppendQuote(append(r.Body, `,"secret":`...), secret)
		r.Body = append(r.Body, '}')
	}
	resp, err := c.client.Post(ctx, r)
	if err != nil {
		f := *asFailure(err)
		f.Reason = "token endpoint: " + f.Reason
		return grant{}, resp.Status, &f
	}
	if g, fail = decodeGrant(resp.Body); fail != nil {
		fail.Hint = c.field
	}
	return g, resp.Status, fail
}

// asFailure is err as the failure that every error of these calls is.
func asFailure(err error) *scan.Failure {
	var f *scan.Failure
	if errors.As(err, &f) {
		return f
	}
	return &scan.Failure{Kind: scan.Misconfigured, Reason: "unknown failure"}
}
