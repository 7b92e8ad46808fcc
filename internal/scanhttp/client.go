// SPDX-License-Identifier: Apache-2.0

// Package scanhttp makes the calls to a scan service: pooled connections, TLS,
// proxy, one deadline over everything, retries, a circuit breaker and bounded
// reads. It knows no vendor; what an answer means is the caller's business.
//
// Nothing here starts a goroutine, but to open a connection and to write a large
// call, follows a redirect, reads the environment or logs. Secrets travel in request headers only, and no error
// quotes a header, a URL, a body or a parser.
package scanhttp

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

const (
	// maxAnswer is how much longer than what was sent an answer may be, in
	// bytes: services repeat the text that they judge.
	maxAnswer = 1 << 20
	// maxCall bounds a call whose context has no deadline. It lies above the
	// longest timeout that can be configured.
	maxCall = time.Minute
)

// Options says how a service is reached. Equal Options share one Client, and
// clients that differ only in Account or in the names of fields share their
// connections.
type Options struct {
	// SSLVerify says that the service's certificate is to be verified.
	SSLVerify bool
	// CAFile is a PEM file of certificate authorities to trust instead of the
	// system's, "" for those. It is read by For.
	CAFile string
	// HTTPProxy is the URL of a proxy (http, https or socks5), "" for none.
	// The environment is never asked.
	HTTPProxy string
	// MaxConns bounds the connections to one host; 0 means 1024.
	MaxConns int
	// Account tells apart callers whose quota the service counts separately.
	// Each account has its own breakers. It must not be a secret.
	Account string
	// EndpointField and SecretField are the configuration fields that a
	// failure's Hint names: where the service is, and how we prove who we are.
	EndpointField, SecretField string
}

// A Client calls one kind of service. It is safe for concurrent use and
// outlives the plugin instances that use it.
type Client struct {
	opts      Options
	transport *http.Transport
	direct    *direct // nil if all calls are the transport's

	mu      sync.RWMutex
	targets map[string]*target // by URL
	hosts   map[string]*breaker
}

// A target is a URL that was called before, parsed once.
type target struct {
	url     *url.URL
	breaker *breaker
	host    *host  // nil if all calls are net/http's
	line    string // of heads
}

// A Request is one call.
type Request struct {
	URL string
	// Header must not change until Post has returned. Content-Type is
	// application/json unless it says otherwise.
	Header http.Header
	// Body must not change until Post has returned, nor after that, but that
	// Recycle may have it: what that keeps is not read any more.
	Body []byte
	// Scan is what the call is for, nil for nothing that a caller wrote.
	Scan *Scan
	// MaxRetries is how often a call is repeated after a connection error or
	// a status 502, 503 or 504, within the context's deadline.
	MaxRetries int
	// RetryAfter reads from the body of a 429 how long to wait. 0 means that
	// the body does not say, and then the Retry-After header counts. It may be
	// nil.
	RetryAfter func(body []byte) time.Duration
}

// A Response is what the service answered. Status is 0 if nothing came back.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Post sends r and reads the answer to its end, retries included, before
// ctx's deadline. The error is nil for status 200 and a *scan.Failure for
// all else; Response is filled in for every status that came back whole.
func (c *Client) Post(ctx context.Context, r Request) (Response, error) {
	t, fail := c.target(r.URL)
	if fail != nil {
		return Response{}, fail
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxCall)
		defer cancel()
	}
	header := callHeader(r.Header)
	if parent := tracing.Header(ctx); parent != "" {
		header["Traceparent"] = []string{parent}
	}
	for attempt := 0; ; attempt++ {
		resp, lost := c.try(ctx, t, header, &r)
		if lost == nil {
			return resp, nil
		}
		if !lost.again || attempt >= r.MaxRetries || !pause(ctx) {
			return resp, lost.failure
		}
	}
}

// try makes one attempt, if the breaker lets it.
func (c *Client) try(ctx context.Context, t *target, header http.Header, r *Request) (Response, *setback) {
	explained := r.Scan.explains(len(r.Body))
	if err := ctx.Err(); err != nil { // too late to learn anything of the service
		lost := c.networkFailure(ctx, err)
		t.weigh(lost.failure, r, explained)
		return Response{}, lost
	}
	caller, insists := r.Scan.who()
	epoch, no := t.breaker.acquire(time.Now(), caller, insists)
	if no.wait > 0 {
		attempts[HeldBack].Add(1)
		fail := &scan.Failure{Kind: scan.Unavailable, Reason: ReasonBreakerOpen, Hint: t.breaker.blamed(), RetryAfter: no.wait}
		if no.sole {
			fail.Reason = ReasonCallerHeld
		}
		return Response{}, &setback{failure: fail}
	}
	resp, err := c.roundTrip(ctx, t, header, r.Body)
	if err != nil {
		attempts[Unanswered].Add(1)
		o := outcomeOf(ctx, err)
		lost := c.networkFailure(ctx, err)
		t.breaker.blame(lost.failure.Hint)
		if o == failed {
			t.weigh(lost.failure, r, explained)
		}
		t.breaker.record(epoch, time.Now(), caller, r.Scan.counts(o, explained), 0)
		return resp, lost
	}
	attempts[resultOf(resp.Status)].Add(1)
	var after time.Duration
	if resp.Status == http.StatusTooManyRequests {
		after = retryAfter(resp, r.RetryAfter, time.Now())
	}
	fail := Classify(resp.Status, after)
	if fail != nil {
		fail.Hint = c.statusHint(resp.Status)
		t.breaker.blame(fail.Hint)
	}
	explained = explained && resp.Status == http.StatusGatewayTimeout // a timeout that somebody else noticed
	if explained {
		t.weigh(fail, r, true)
	}
	t.breaker.record(epoch, time.Now(), caller, r.Scan.counts(outcomeOfStatus(resp.Status), explained), after)
	if fail == nil {
		return resp, nil
	}
	return resp, &setback{fail, retryable(resp.Status)}
}

// weigh marks a timeout as the scan's own doing, if that explains it and the
// service is not known to be away.
func (t *target) weigh(fail *scan.Failure, r *Request, explained bool) {
	if !explained || fail.Reason == ReasonCanceled || t.breaker.isAway(time.Now()) {
		return
	}
	fail.Provoked = true
	if fail.Reason == ReasonTimeout {
		fail.Reason = r.Scan.reason(len(r.Body))
	}
}

// target finds or makes what is remembered of a URL.
func (c *Client) target(raw string) (*target, *scan.Failure) {
	c.mu.RLock()
	t := c.targets[raw]
	c.mu.RUnlock()
	if t != nil {
		return t, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: ReasonBadURL, Hint: c.opts.EndpointField}
	}
	u.Fragment = ""
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.targets[raw]; t != nil {
		return t, nil
	}
	host := u.Scheme + "://" + u.Host
	b := c.hosts[host]
	if b == nil {
		b = new(breaker)
		c.hosts[host] = b
	}
	t = &target{url: u, breaker: b, host: c.direct.host(u), line: requestLine(u)}
	c.targets[raw] = t
	return t, nil
}
