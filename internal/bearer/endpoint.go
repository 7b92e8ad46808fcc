// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A Form is how a token endpoint wants to be asked.
type Form uint8

// The forms.
const (
	JSON  Form = iota // {"clientId":...,"secret":...}, as some identity providers have it
	Post              // RFC 6749's form, with the credentials in it (section 2.3.1)
	Basic             // RFC 6749's form, with the credentials in the Authorization header
)

// An Endpoint is a place to get tokens from, and the form in which it wants to
// be asked.
type Endpoint struct {
	URL  string
	Form Form
}

// maxRetries is how often a call is repeated after a network error or a status
// 502, 503 or 504.
const maxRetries = 1

// Credentials get tokens from an identity provider.
type Credentials struct {
	ClientID string
	// Scope is asked for in RFC 6749's forms, "" for none.
	Scope string
	// Secret returns the client's secret as it is now; its error quotes neither
	// path nor content. Reload makes the next Secret look again. SecretField is
	// the configuration field that is wrong when there is none.
	Secret      func() (string, error)
	Reload      func()
	SecretField string
	// Endpoints are tried in order. EndpointField is the configuration field
	// that says where they are.
	Client        *scanhttp.Client
	Endpoints     []Endpoint
	EndpointField string
	// Notice hears of what happens while nobody waits.
	Notice func(err bool, text string)
}

// late tells operators about a renewal that failed while nobody waited for it.
func (c *Credentials) late(fail *scan.Failure) {
	text := "a token could not be renewed, the old one is used to its end: " + fail.Reason
	if fail.Hint != "" {
		text += " (look at " + fail.Hint + ")"
	}
	c.Notice(true, text)
}

// fetch asks the endpoint that worked before, then the others, until one
// returns a token, or a failure that another endpoint cannot cure.
func (c *Credentials) fetch(ctx context.Context, worked Endpoint) (grant, Endpoint, *scan.Failure) {
	secret, err := c.Secret()
	if err != nil { // it quotes neither the path nor the content
		return grant{}, Endpoint{}, &scan.Failure{Kind: scan.Misconfigured, Reason: err.Error(), Hint: c.SecretField}
	}
	candidates := c.Endpoints
	if worked.URL != "" {
		candidates = append([]Endpoint{worked}, c.Endpoints...)
	}
	var last *scan.Failure
	refused := false // by an endpoint that exists, because of the credentials
	only := ""       // the URL that exists: what is left is its other form
	for i, e := range candidates {
		if i > 0 && e == worked || only != "" && e.URL != only {
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
			only = e.URL
		} else if !absent(status) {
			break
		}
	}
	if refused {
		c.Reload()
	}
	return grant{}, Endpoint{}, last
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
func (c *Credentials) ask(ctx context.Context, e Endpoint, secret string) (g grant, status int, fail *scan.Failure) {
	r := scanhttp.Request{URL: e.URL, MaxRetries: maxRetries}
	if e.Form == JSON {
		r.Body = strictjson.AppendQuote([]byte(`{"clientId":`), c.ClientID)
		r.Body = strictjson.AppendQuote(append(r.Body, `,"secret":`...), secret)
		r.Body = append(r.Body, '}')
	} else {
		r.Header, r.Body = c.form(e.Form, secret)
	}
	resp, err := c.Client.Post(ctx, r)
	if err != nil {
		f := *asFailure(err)
		f.Reason = "token endpoint: " + f.Reason
		return grant{}, resp.Status, &f
	}
	if g, fail = decodeGrant(resp.Body); fail != nil {
		fail.Hint = c.EndpointField
	}
	return g, resp.Status, fail
}

// form returns the header and the body of a call in a form of RFC 6749. The
// credentials in the header are not escaped: servers differ about that, and
// identity providers make ids and secrets that need none.
func (c *Credentials) form(f Form, secret string) (http.Header, []byte) {
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	body := url.Values{"grant_type": {"client_credentials"}}
	if f == Basic {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.ClientID+":"+secret)))
	} else {
		body.Set("client_id", c.ClientID)
		body.Set("client_secret", secret)
	}
	if c.Scope != "" {
		body.Set("scope", c.Scope)
	}
	return header, []byte(body.Encode())
}

// asFailure is err as the failure that every error of these calls is.
func asFailure(err error) *scan.Failure {
	var f *scan.Failure
	if errors.As(err, &f) {
		return f
	}
	return &scan.Failure{Kind: scan.Misconfigured, Reason: "unknown failure"}
}
