// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// The reasons of failures that are not a status. A status gives "status 503".
const (
	ReasonTimeout        = "timeout"
	ReasonCanceled       = "canceled"
	ReasonConnectTimeout = "connect timeout"
	ReasonRefused        = "connection refused"
	ReasonReset          = "connection closed by the service"
	ReasonHost           = "host not found"
	ReasonCertificate    = "certificate not trusted"
	ReasonTLS            = "TLS handshake failed"
	ReasonProxy          = "refused by the proxy"
	ReasonNetwork        = "network error"
	ReasonBreakerOpen    = "breaker open"
	ReasonCallerHeld     = "breaker open for this caller"
	ReasonLargeScan      = "timeout of a large scan"
	ReasonLateScan       = "timeout of a scan that began late"
	ReasonAnswerTooLarge = "answer too large"
	ReasonBadURL         = "not a usable http or https URL"
	ReasonBadCA          = "no usable certificate authorities in the file"
	ReasonBadProxy       = "not a usable proxy URL"
)

// Classify says what a status means when it is not a verdict: nil for 200, and
// for all else why there is none. announced is how long a 429 asks us to wait.
func Classify(status int, announced time.Duration) *scan.Failure {
	f := &scan.Failure{Kind: scan.Degraded, Reason: "status " + strconv.Itoa(status)}
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusTooManyRequests:
		f.Kind, f.RetryAfter = scan.Unavailable, announced
	case status >= 500:
		f.Kind = scan.Unavailable
	case status == http.StatusRequestEntityTooLarge:
		f.Kind = scan.TooLarge
	case status == http.StatusBadRequest, status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusProxyAuthRequired,
		status == http.StatusUnsupportedMediaType, status == http.StatusUnprocessableEntity:
		f.Kind = scan.Misconfigured
	}
	return f
}

// statusHint names the field to look at after a status.
func (c *Client) statusHint(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return c.opts.SecretField
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType:
		return c.opts.EndpointField
	case http.StatusProxyAuthRequired:
		return "http_proxy"
	}
	if status < 400 {
		return c.opts.EndpointField // a redirect or a portal: not the service
	}
	return ""
}

// A setback is an attempt that gave no verdict.
type setback struct {
	failure *scan.Failure
	// again says that another attempt may do better.
	again bool
}

// networkFailure says what a transport error means and whether another attempt
// may do better. It looks at types only, because the texts quote addresses.
func (c *Client) networkFailure(ctx context.Context, err error) *setback {
	f := &scan.Failure{Kind: scan.Unavailable, Reason: ReasonNetwork, Hint: c.opts.EndpointField}
	var (
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		hello tls.RecordHeaderError
		op    *net.OpError
		proxy proxyError
		nerr  net.Error
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		f.Reason, f.Hint = ReasonCanceled, ""
		return &setback{f, false}
	case ctx.Err() != nil:
		f.Reason, f.Hint = ReasonTimeout, "timeout_ms"
		return &setback{f, false}
	case errors.Is(err, errAnswerTooLarge):
		f.Kind, f.Reason = scan.Degraded, ReasonAnswerTooLarge
		return &setback{f, false}
	case errors.As(err, &cert):
		f.Reason, f.Hint = ReasonCertificate, "ca_file"
		return &setback{f, false}
	case errors.As(err, &hello), errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		// crypto/tls gives alerts these names and no type.
		f.Reason = ReasonTLS
		return &setback{f, false}
	case errors.As(err, &proxy):
		f.Reason, f.Hint = ReasonProxy, "http_proxy"
		if proxy.status < 500 {
			f.Kind = scan.Misconfigured
		}
		return &setback{f, proxy.status >= 500}
	case errors.As(err, &dns):
		f.Reason = ReasonHost
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Reason = ReasonRefused
	case errors.As(err, &nerr) && nerr.Timeout():
		f.Reason = ReasonConnectTimeout
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.Reason = ReasonReset
	}
	return &setback{f, true}
}

// outcomeOf returns what an attempt without an answer says about the service:
// nothing, when the caller gave up or the answer was too long.
func outcomeOf(ctx context.Context, err error) outcome {
	switch {
	case errors.Is(ctx.Err(), context.Canceled), errors.Is(err, errAnswerTooLarge):
		return unknown
	case ctx.Err() == nil && unreached(err):
		return away
	}
	return failed
}

// unreached reports whether the error happened on the way to the service,
// before anything of the call was sent.
func unreached(err error) bool {
	var (
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		hello tls.RecordHeaderError
		op    *net.OpError
		proxy proxyError
		nerr  net.Error
	)
	switch {
	case errors.As(err, &dns), errors.As(err, &cert), errors.As(err, &hello), errors.As(err, &proxy), errors.Is(err, syscall.ECONNREFUSED):
		return true
	case errors.As(err, &op) && op.Op != "read" && op.Op != "write" && op.Op != "readfrom" && op.Op != "writev":
		return true // dial, proxyconnect, socks connect, alerts of TLS
	}
	return errors.As(err, &nerr) && nerr.Timeout() // of dialing or of TLS: all else has ctx's
}

func outcomeOfStatus(status int) outcome {
	switch {
	case status == http.StatusTooManyRequests:
		return throttled
	case status == http.StatusOK, status >= 400 && status < 500:
		return healthy
	case status >= 500:
		return failed
	}
	return unknown // a redirect or a portal: who sent it is not the service
}

func retryable(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// pause waits a moment, not the same one for all callers, before a retry. It
// is false when the deadline would not leave time for one.
func pause(ctx context.Context) bool {
	d := 25*time.Millisecond + rand.N(100*time.Millisecond)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 2*d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// maxAnnounced bounds what is believed of an announced time, so that it can
// be added to a clock.
const maxAnnounced = 24 * time.Hour

// retryAfter says how long a 429 asks us to wait: by its body, if the vendor
// can read it there, else by its Retry-After header, in seconds or as a date.
func retryAfter(resp Response, fromBody func([]byte) time.Duration, now time.Time) time.Duration {
	var d time.Duration
	if fromBody != nil {
		d = fromBody(resp.Body)
	}
	if d <= 0 {
		v := resp.Header.Get("Retry-After")
		if n, err := strconv.ParseUint(v, 10, 16); err == nil {
			d = time.Duration(n) * time.Second
		} else if at, err := http.ParseTime(v); err == nil {
			d = at.Sub(now)
		}
	}
	return min(max(d, 0), maxAnnounced)
}
