// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kong-ai-guard/kong-ai-guard/internal/bearer"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
)

const (
	// maxRetries is how often a call is repeated after a network error or a
	// status 502, 503 or 504, within the scan's deadline.
	maxRetries = 1
	// choicesAtOnce bounds the calls of one scan that run side by side.
	choicesAtOnce = 4
)

const noticeGeneric = "exchanges without a consumer are reported under the application " + genericApplication +
	": set application_ID, or put an authentication plugin on the route"

const reasonTooManyChoices = "more choices than scans for one leg"

// A Scanner judges exchanges with Noma's AI-DR service. It is safe for
// concurrent use.
type Scanner struct {
	cfg    *Config
	client *scanhttp.Client
	url    string
	notice func(err bool, text string)
	// generic makes the plugin say once that exchanges cannot be told apart.
	generic sync.Once
	// source is where tokens come from and creds is how. Both are nil when
	// calls carry the API key, or nothing.
	source *bearer.Source
	creds  *bearer.Credentials
}

// NewScanner returns the scanner of one configuration. Tokens, connections and
// breakers are shared with the process's other scanners that have the same.
// What happens outside any scan goes to notice, where err marks a failure. The
// error is a *scan.Failure that names the field that cannot work.
func NewScanner(cfg *Config, notice func(err bool, text string)) (*Scanner, error) {
	options := scanhttp.Options{
		SSLVerify: cfg.SSLVerify, CAFile: cfg.CAFile, HTTPProxy: cfg.HTTPProxy,
		Account:       cfg.ClientID,
		EndpointField: "API_base or http_proxy", SecretField: "client_ID and client_secret",
	}
	if cfg.ClientID == "" && cfg.APIKey != "" {
		options.SecretField = "api_key"
	}
	client, err := scanhttp.For(options)
	if err != nil {
		return nil, err
	}
	s := &Scanner{cfg: cfg, client: client, notice: notice, url: cfg.APIBase + cmp.Or(cfg.ScanPath, defaultScanPath)}
	if cfg.ClientID == "" {
		return s, nil
	}
	field := "API_base"
	if cfg.TokenURL != "" {
		field = "token_url"
		options.EndpointField = "token_url or http_proxy"
		if client, err = scanhttp.For(options); err != nil {
			return nil, err
		}
	}
	s.creds = &bearer.Credentials{
		ClientID: cfg.ClientID, Secret: cfg.Secret, Reload: cfg.ReloadSecret, SecretField: "client_secret_file",
		Client: client, Endpoints: endpoints(cfg.APIBase, cfg.TokenURL), EndpointField: field, Notice: notice,
	}
	s.source = bearer.SourceFor(s.creds.Endpoints[0].URL, cfg.ClientID, cmp.Or(cfg.ClientSecret, cfg.ClientSecretFile), "")
	return s, nil
}

// Scan judges one leg: the request in one call, an answer in one call for each
// of its choices, all of which must pass.
func (s *Scanner) Scan(ctx context.Context, sc *scan.Scan) (scan.Verdict, error) {
	subject := application(sc.Claim, s.cfg.ApplicationID, sc.Identity.Consumer)
	if sc.Claim == "" && s.cfg.ApplicationID == "" && sc.Identity.Consumer == (scan.Consumer{}) {
		s.generic.Do(func() { s.notice(false, noticeGeneric) })
	}
	split := choices(sc)
	if len(split) > max(sc.MaxCalls, 1) {
		return scan.Verdict{}, &scan.Failure{Kind: scan.TooLarge, Reason: reasonTooManyChoices}
	}
	calls := scanhttp.NewScan(sc, len(split))
	var v scan.Verdict
	var err error
	if len(split) == 1 {
		v, err = s.judge(ctx, calls, sc, split[0], subject)
	} else {
		v, err = s.judgeAll(ctx, calls, sc, split, subject)
	}
	v.Subject = subject
	return v, err
}

// choices returns the choices that need a call each, in their order, or
// everyChoice alone. One more than scan.MaxCalls means that there are too many.
func choices(sc *scan.Scan) []int {
	if sc.Leg == llm.RequestLeg {
		return []int{everyChoice}
	}
	var found []int
	for i := range sc.Turns {
		c := sc.Turns[i].Choice
		if !slices.Contains(found, c) {
			if found = append(found, c); len(found) > max(sc.MaxCalls, 1) {
				return found
			}
		}
	}
	if len(found) <= 1 {
		return []int{everyChoice}
	}
	return found
}

// judgeAll judges each choice by itself, so that neither a verdict nor a mask
// of one can stand for another.
func (s *Scanner) judgeAll(ctx context.Context, calls *scanhttp.Scan, sc *scan.Scan, split []int, subject string) (scan.Verdict, error) {
	verdicts := make([]scan.Verdict, len(split))
	errs := make([]error, len(split))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(choicesAtOnce)
	for i, choice := range split {
		group.Go(func() error {
			defer recovered(&errs[i])
			verdicts[i], errs[i] = s.judge(ctx, calls, sc, choice, subject)
			if verdicts[i].Action == scan.Block {
				cancel() // the others can change nothing
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return combine(verdicts, errs)
}

// combine makes one verdict out of several. A block of any choice decides, then
// a failure, one that never passes before one that may, then the masks of all.
func combine(verdicts []scan.Verdict, errs []error) (scan.Verdict, error) {
	all := scan.Verdict{Action: scan.Allow}
	for _, v := range verdicts {
		if v.Action == scan.Block {
			return v, nil
		}
	}
	if err := scan.Strictest(errs); err != nil {
		return scan.Verdict{}, err
	}
	for _, v := range verdicts {
		if v.Action == scan.Mask {
			all.Action = scan.Mask
			all.Masked = append(all.Masked, v.Masked...)
		}
		all.Alert = all.Alert || v.Alert
		for _, d := range v.Detections {
			if !slices.Contains(all.Detections, d) {
				all.Detections = append(all.Detections, d)
			}
		}
		if all.Category == "" {
			all.Category = v.Category
		}
	}
	return all, nil
}

// judge makes one call and reads its verdict. Nothing to judge is an allow.
func (s *Scanner) judge(ctx context.Context, calls *scanhttp.Scan, sc *scan.Scan, choice int, subject string) (scan.Verdict, error) {
	p := newPayload(sc, choice, subject)
	if len(p.items) == 0 {
		return scan.Verdict{Action: scan.Allow}, nil
	}
	body, err := s.call(ctx, calls, p.body, sc.RequestID)
	scanhttp.Recycle(p.body)
	p.body = nil
	if err != nil {
		return scan.Verdict{}, err
	}
	r, fail := decode(body, sc.Leg)
	if fail != nil {
		return scan.Verdict{}, fail
	}
	v := r.verdict(&p, sc.Turns, s.cfg.AnonymizeInput)
	if v.Action != scan.Allow && s.cfg.ShowDetectors {
		v.Details = details(sc.Leg, r.fired())
	}
	return v, nil
}

// call posts a payload, with a new token when the service refuses the one we
// have.
func (s *Scanner) call(ctx context.Context, calls *scanhttp.Scan, body []byte, requestID string) ([]byte, error) {
	resp, token, err := s.post(ctx, calls, body, requestID)
	if resp.Status == http.StatusUnauthorized && s.source != nil {
		s.source.Drop(token)
		s.cfg.ReloadSecret()
		resp, _, err = s.post(ctx, calls, body, requestID)
	}
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (s *Scanner) post(ctx context.Context, calls *scanhttp.Scan, body []byte, requestID string) (resp scanhttp.Response, token string, err error) {
	header := make(http.Header, 2)
	if requestID != "" {
		header.Set("X-Noma-Request-ID", requestID)
	}
	token = s.cfg.APIKey
	if s.source != nil {
		if token, err = s.source.Get(ctx, s.cfg.Timeout, s.creds); err != nil {
			return scanhttp.Response{}, "", err
		}
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	resp, err = s.client.Post(ctx, scanhttp.Request{URL: s.url, Header: header, Body: body, Scan: calls, MaxRetries: maxRetries})
	return resp, token, err
}

// The service does not publish where its tokens come from; its public clients
// know these two paths.
const (
	authPath  = "/auth"
	oauthPath = "/v1/oauth/token"
)

// endpoints lists where to ask for tokens, in order. A configured URL is the
// only one.
func endpoints(base, tokenURL string) []bearer.Endpoint {
	if tokenURL != "" {
		return []bearer.Endpoint{{URL: tokenURL}, {URL: tokenURL, Form: bearer.Post}}
	}
	return []bearer.Endpoint{{URL: base + authPath}, {URL: base + oauthPath}, {URL: base + oauthPath, Form: bearer.Post}}
}

// recovered turns a panic into an error, for the goroutines that we start.
// There a panic would end the process, and every exchange with it. The panic's
// value may quote content, so the error has only its type. It is to be
// deferred.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic (%T)\n%s", v, debug.Stack())
	}
}
