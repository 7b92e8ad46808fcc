// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/bearer"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

const (
	// userAgent names us to the service's operators.
	userAgent = "kong-ai-guard"

	// benign is the category of what nothing was found in.
	benign = "benign"

	reasonKey     = "no usable API key"
	reasonProfile = "the service does not know the profile"
)

// A Scanner judges exchanges with Prisma AIRS. It is safe for concurrent use.
type Scanner struct {
	config *Config
	client *scanhttp.Client
	// header belongs to the key and token that were used last: it is made once
	// for them.
	header atomic.Pointer[keyedHeader]
	// source is where bearer tokens come from and creds is how. Both are nil
	// when calls carry the API key alone.
	source *bearer.Source
	creds  *bearer.Credentials
}

type keyedHeader struct {
	key, token string
	header     http.Header
}

// NewScanner returns the scanner of one configuration. Connections, tokens and
// breakers are shared with the process's other scanners that have the same
// options and the same key. What happens outside any scan goes to notice, where
// err marks a failure. The error is a *scan.Failure that names the field that
// cannot work.
func NewScanner(c *Config, notice func(err bool, text string)) (*Scanner, error) {
	options := scanhttp.Options{
		SSLVerify: c.SSLVerify, CAFile: c.CAFile, HTTPProxy: c.HTTPProxy,
		Account:       account(c),
		EndpointField: "api_endpoint", SecretField: cmp.Or(field(c.APIKeyFile, "api_key_file"), field(c.APIKey, "api_key"), credentialFields),
	}
	client, err := scanhttp.For(options)
	if err != nil {
		return nil, err
	}
	s := &Scanner{config: c, client: client}
	if c.OAuthClientID == "" {
		return s, nil
	}
	options.EndpointField, options.SecretField = "oauth_token_url or http_proxy", credentialFields
	if client, err = scanhttp.For(options); err != nil {
		return nil, err
	}
	s.creds = &bearer.Credentials{
		ClientID: c.OAuthClientID, Scope: c.OAuthScope,
		Secret: func() (string, error) { return c.OAuthClientSecret, nil }, Reload: func() {}, SecretField: "oauth_client_secret",
		Client: client, EndpointField: "oauth_token_url", Notice: notice,
		Endpoints: []bearer.Endpoint{{URL: c.OAuthTokenURL, Form: bearer.Basic}, {URL: c.OAuthTokenURL, Form: bearer.Post}},
	}
	s.source = bearer.SourceFor(c.OAuthTokenURL, c.OAuthClientID, c.OAuthClientSecret, c.OAuthScope)
	return s, nil
}

// credentialFields are the fields to look at when a client's credentials are
// refused.
const credentialFields = "oauth_client_id and oauth_client_secret"

// account tells keys and clients apart without revealing them. The service
// counts quota by key.
func account(c *Config) string {
	if c.APIKeyFile != "" {
		return "file " + c.APIKeyFile
	}
	sum := sha256.Sum256([]byte("prisma-airs-intercept " + cmp.Or(c.APIKey, "client "+c.OAuthClientID)))
	return hex.EncodeToString(sum[:8])
}

func field(value, name string) string {
	if value == "" {
		return ""
	}
	return name
}

// Scan judges one leg, in one call unless it is larger than the service takes.
func (s *Scanner) Scan(ctx context.Context, sc *scan.Scan) (scan.Verdict, error) {
	start := time.Now()
	p, fail := planOf(s.config, sc)
	if fail != nil {
		return scan.Verdict{}, fail
	}
	calls := scanhttp.NewScan(sc, len(p.bodies))
	var r result
	var err error
	switch len(p.bodies) {
	case 0:
		r.Action = scan.Allow
	case 1:
		r, err = s.judge(ctx, calls, p.profile, p.bodies[0])
	default:
		r, err = s.judgeAll(ctx, calls, p.profile, p.bodies)
	}
	if err != nil {
		return scan.Verdict{}, err
	}
	v := r.Verdict
	if s.config.MaskSensitiveData {
		v = r.mask(p, sc, s.config.AlertOnly)
	}
	v.Alert = v.Action == scan.Allow && (len(v.Detections) > 0 || v.Category != "" && v.Category != benign)
	v.Subject, v.Partial = p.profile.String(), p.partial
	v.Header = s.config.headers(sc, &v, time.Since(start))
	return v, nil
}

// judge makes one call and reads its verdict. The payload is used up.
func (s *Scanner) judge(ctx context.Context, sc *scanhttp.Scan, p profile, payload []byte) (result, error) {
	body, err := s.call(ctx, sc, p, payload)
	scanhttp.Recycle(payload)
	if err != nil {
		return result{}, err
	}
	r, err := decide(body)
	r.soften(s.config)
	return r, err
}

// call posts a payload. It posts it a second time when the service refused the
// key or the token and there is another one now: the key's file was changed, or
// a new token was issued. The service answers 403 to what it knows no more.
func (s *Scanner) call(ctx context.Context, sc *scanhttp.Scan, p profile, body []byte) ([]byte, error) {
	header, err := s.keyHeader(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := s.post(ctx, sc, header, body)
	if resp.Status == http.StatusUnauthorized || resp.Status == http.StatusForbidden {
		s.config.ReloadKey()
		if s.source != nil {
			s.source.Drop(header.token)
		}
		if again, keyErr := s.keyHeader(ctx); keyErr == nil && again != header {
			resp, err = s.post(ctx, sc, again, body)
		} else if keyErr != nil && s.source != nil {
			return nil, keyErr // no new token: why is in it
		}
	}
	if resp.Status == http.StatusBadRequest && namesProfile(resp.Body) {
		return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: reasonProfile, Hint: p.field}
	}
	return resp.Body, err
}

// namesProfile reports whether the service refuses a call because of its
// profile. Its words stay here; they are not ours to log.
func namesProfile(body []byte) bool {
	doc, err := strictjson.Parse(body, answerDepth)
	if err != nil {
		return false
	}
	problem := doc.Member(strictjson.Root, "error")
	return problem >= 0 && strings.Contains(strings.ToLower(textOf(doc, doc.Member(problem, "message"))), "profile")
}

func (s *Scanner) post(ctx context.Context, sc *scanhttp.Scan, header *keyedHeader, body []byte) (scanhttp.Response, error) {
	return s.client.Post(ctx, scanhttp.Request{
		URL: s.config.APIEndpoint, Header: header.header, Body: body, Scan: sc,
		MaxRetries: s.config.MaxRetries, RetryAfter: retryAfter,
	})
}

// keyHeader returns the headers of a call with the key and the token as they are
// now.
func (s *Scanner) keyHeader(ctx context.Context) (*keyedHeader, error) {
	key, err := s.config.Key()
	if err != nil {
		return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: reasonKey, Hint: "api_key_file"}
	}
	token := ""
	if s.source != nil {
		if token, err = s.source.Get(ctx, s.config.Timeout, s.creds); err != nil {
			return nil, err
		}
	}
	if h := s.header.Load(); h != nil && h.key == key && h.token == token {
		return h, nil
	}
	h := &keyedHeader{key: key, token: token, header: http.Header{
		"Content-Type": {"application/json"},
		"Accept":       {"application/json"},
		"User-Agent":   {userAgent},
	}}
	if key != "" {
		h.header["X-Pan-Token"] = []string{key}
	}
	if token != "" {
		h.header["Authorization"] = []string{"Bearer " + token}
	}
	s.header.Store(h)
	return h, nil
}
