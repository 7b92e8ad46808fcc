// SPDX-License-Identifier: Apache-2.0

// Package bearer gets OAuth tokens for client credentials and keeps them: one
// for each set of credentials in the process, renewed before it ends.
package bearer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/singleflight"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

const (
	// defaultLifetime is how long a token is used when its answer does not say:
	// the smallest of the defaults that public clients of the service have.
	defaultLifetime = 5 * time.Minute
	// maxLifetime bounds what is believed of an announced lifetime.
	maxLifetime = 24 * time.Hour
	// refreshMargin is how long before its end a token is renewed, but never
	// more than half of its lifetime.
	refreshMargin = time.Minute
	// refusalHold is how long a refusal of the credentials is remembered, so
	// that wrong ones do not cost a call of the token endpoint per exchange.
	refusalHold = time.Second
	// maxToken bounds a token, in bytes: it goes into a header.
	maxToken = 16 << 10
	// maxSources bounds the credentials that are remembered. They change with
	// configurations only. One that is forgotten too early costs a token call.
	maxSources = 256
)

// The reasons why the answer of a token endpoint holds no token.
const (
	reasonTokenNotJSON = "token endpoint: answer is not JSON"
	reasonNoToken      = "token endpoint: answer without a token"
)

// A grant is a token and how long it is good for.
type grant struct {
	token    string
	lifetime time.Duration
}

// decodeGrant reads the answer of a token endpoint, in the spelling of RFC 6749
// or in that of identity providers which write names in camel case.
func decodeGrant(body []byte) (grant, *scan.Failure) {
	if !jsontext.Value(body).IsValid() {
		return grant{}, &scan.Failure{Kind: scan.Degraded, Reason: reasonTokenNotJSON}
	}
	root := gjson.ParseBytes(body)
	g := grant{lifetime: defaultLifetime}
	for _, name := range [...]string{"accessToken", "access_token", "token"} {
		if v := root.Get(name); v.Type == gjson.String && Sendable(v.Str) {
			g.token = v.Str
			break
		}
	}
	if g.token == "" {
		return grant{}, &scan.Failure{Kind: scan.Degraded, Reason: reasonNoToken}
	}
	for _, name := range [...]string{"expiresIn", "expires_in"} {
		if d := lifetime(root.Get(name)); d > 0 {
			g.lifetime = d
			break
		}
	}
	return g, nil
}

// Sendable reports whether a token or key can stand in a header.
func Sendable(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != "" && len(token) <= maxToken
}

// lifetime reads seconds from a number or a string that holds one; 0 if they
// are not positive.
func lifetime(v gjson.Result) time.Duration {
	seconds := v.Num
	if v.Type == gjson.String {
		n, err := strconv.ParseFloat(v.Str, 64)
		if err != nil {
			return 0
		}
		seconds = n
	} else if v.Type != gjson.Number {
		return 0
	}
	if math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, maxLifetime.Seconds()) * float64(time.Second))
}

// sources are the process's tokens. They outlive the plugin instances, so
// that a configuration change or another worker costs no token call.
var sources struct {
	sync.Mutex
	byKey map[sourceKey]*Source
}

type sourceKey struct {
	url, client, scope string
	secret             [sha256.Size]byte
}

// SourceFor returns the process's source for these credentials at this URL and
// with this scope, "" for none. secret tells two apart: it is the secret itself
// or the name of its file.
func SourceFor(url, client, secret, scope string) *Source {
	key := sourceKey{url: url, client: client, scope: scope, secret: sha256.Sum256([]byte(secret))}
	sources.Lock()
	defer sources.Unlock()
	if s := sources.byKey[key]; s != nil {
		return s
	}
	if sources.byKey == nil || len(sources.byKey) >= maxSources {
		sources.byKey = make(map[sourceKey]*Source)
	}
	s := new(Source)
	sources.byKey[key] = s
	return s
}

// A Source holds the current token of one set of credentials. It is safe for
// concurrent use. However many callers need a new token, only one fetches it.
type Source struct {
	flight singleflight.Group

	mu      sync.Mutex
	token   string
	renewAt time.Time
	endsAt  time.Time
	refusal *scan.Failure // the last failure that waiting does not cure
	refused time.Time
	worked  Endpoint // the one that gave the last token
}

// A fetcher gets tokens: Credentials, or what stands for them in tests.
type fetcher interface {
	// fetch gets one. worked is the endpoint that issued the last one, the zero
	// value for none yet. works is the one that did now.
	fetch(ctx context.Context, worked Endpoint) (g grant, works Endpoint, fail *scan.Failure)
	// late hears of a renewal that failed while the old token serves on.
	late(fail *scan.Failure)
}

// Get returns a token that is still good. One that is due for renewal stays in
// use while the new one is fetched. timeout bounds the fetch, which goes on
// when this caller leaves, for the others who wait for it. The error is a
// *scan.Failure, or our own fault.
func (s *Source) Get(ctx context.Context, timeout time.Duration, from fetcher) (string, error) {
	now := time.Now()
	s.mu.Lock()
	token, good, due := s.token, now.Before(s.endsAt), !now.Before(s.renewAt)
	refusal := s.refusal
	if now.Sub(s.refused) >= refusalHold {
		refusal = nil
	}
	s.mu.Unlock()
	switch {
	case good && (!due || refusal != nil):
		return token, nil
	case refusal != nil:
		return "", refusal
	}
	done := s.flight.DoChan("", func() (any, error) {
		return s.renew(context.WithoutCancel(ctx), timeout, from, good)
	})
	if good {
		return token, nil
	}
	select {
	case r := <-done:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	case <-ctx.Done():
		return "", &scan.Failure{Kind: scan.Unavailable, Reason: "token endpoint: " + scanhttp.ReasonTimeout, Hint: "timeout_ms"}
	}
}

// renew fetches a token and remembers it. beside says that the old one stays in
// use meanwhile. It runs on a goroutine of its own, where a panic would end the
// process.
func (s *Source) renew(ctx context.Context, timeout time.Duration, from fetcher, beside bool) (token any, err error) {
	defer recovered(&err)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	asked := time.Now()
	s.mu.Lock()
	token, worked, fresh := s.token, s.worked, asked.Before(s.renewAt)
	s.mu.Unlock()
	if fresh { // a flight ended between our caller's look and ours
		return token, nil
	}
	g, works, fail := from.fetch(ctx, worked)
	if fail == nil {
		tokens.fetched.Add(1)
	} else {
		tokens.failed.Add(1)
	}
	if fail != nil && beside {
		from.late(fail)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fail != nil {
		if fail.Kind != scan.Unavailable {
			s.refusal, s.refused = fail, time.Now()
		}
		return nil, fail
	}
	s.token, s.worked, s.refusal = g.token, works, nil
	s.endsAt = asked.Add(g.lifetime)
	s.renewAt = s.endsAt.Add(-min(refreshMargin, g.lifetime/2))
	return g.token, nil
}

// Drop forgets a token that the service refused, unless another caller has
// already got a new one.
func (s *Source) Drop(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == token {
		s.token, s.endsAt, s.renewAt = "", time.Time{}, time.Time{}
	}
}

// tokens counts the process's token fetches.
var tokens struct{ fetched, failed atomic.Int64 }

// Metrics registers the count of the process's token fetches.
func Metrics(m *telemetry.Metrics) {
	const help = "Tokens fetched for scans, by how that ended."
	m.Counter("token_refreshes_total", help, map[string]string{"result": "ok"}, func() float64 { return float64(tokens.fetched.Load()) })
	m.Counter("token_refreshes_total", help, map[string]string{"result": "failed"}, func() float64 { return float64(tokens.failed.Load()) })
}

// recovered turns a panic into an error. The panic's value may quote a secret, so
// the error has only its type. It is to be deferred.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic (%T)\n%s", v, debug.Stack())
	}
}
