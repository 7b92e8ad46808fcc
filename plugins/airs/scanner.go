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

	"kong-ai-guard/internal/scan"
	"kong-ai-guard/internal/scanhttp"
	"kong-ai-guard/internal/strictjson"
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
	// header belongs to the key that was used last: it is made once a key.
	header atomic.Pointer[keyedHeader]
}

type keyedHeader struct {
	key    string
	header http.Header
}

// NewScanner returns the scanner of one configuration. Connections and breakers
// are shared with the process's other scanners that have the same options and
// the same key. The error is a *scan.Failure that names the field that cannot
// work.
func NewScanner(c *Config) (*Scanner, error) {
	client, err := scanhttp.For(scanhttp.Options{
		SSLVerify: c.SSLVerify, CAFile: c.CAFile, HTTPProxy: c.HTTPProxy,
		Account:       account(c),
		EndpointField: "api_endpoint", SecretField: cmp.Or(field(c.APIKeyFile, "api_key_file"), "api_key"),
	})
	if err != nil {
		return nil, err
	}
	return &Scanner{config: c, client: client}, nil
}

// account tells keys apart without revealing them. The service counts quota by
// key.
func account(c *Config) string {
	if c.APIKeyFile != "" {
		return "file " + c.APIKeyFile
	}
	sum := sha256.Sum256([]byte("prisma-airs-intercept " + c.APIKey))
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
		v = r.mask(p, sc)
	}
	v.Alert = v.Action == scan.Allow && (len(v.Detections) > 0 || v.Category != "" && v.Category != benign)
	v.Subject, v.Partial = p.profile.String(), p.partial
	v.Header = s.config.headers(sc, &v, time.Since(start))
	return v, nil
}

// judge makes one call and reads its verdict.
func (s *Scanner) judge(ctx context.Context, sc *scanhttp.Scan, p profile, payload []byte) (result, error) {
	body, err := s.call(ctx, sc, p, payload)
	if err != nil {
		return result{}, err
	}
	return decide(body)
}

// call posts a payload. It posts it a second time when the service refused the
// key and the key's file now holds another one.
func (s *Scanner) call(ctx context.Context, sc *scanhttp.Scan, p profile, body []byte) ([]byte, error) {
	header, err := s.keyHeader()
	if err != nil {
		return nil, err
	}
	resp, err := s.post(ctx, sc, header, body)
	if resp.Status == http.StatusUnauthorized || resp.Status == http.StatusForbidden {
		s.config.ReloadKey()
		if again, keyErr := s.keyHeader(); keyErr == nil && again != header {
			resp, err = s.post(ctx, sc, again, body)
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

// keyHeader returns the headers of a call with the key as it is now.
func (s *Scanner) keyHeader() (*keyedHeader, error) {
	key, err := s.config.Key()
	if err != nil {
		return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: reasonKey, Hint: "api_key_file"}
	}
	if h := s.header.Load(); h != nil && h.key == key {
		return h, nil
	}
	h := &keyedHeader{key: key, header: http.Header{
		"X-Pan-Token":  {key},
		"Content-Type": {"application/json"},
		"Accept":       {"application/json"},
		"User-Agent":   {userAgent},
	}}
	s.header.Store(h)
	return h, nil
}
