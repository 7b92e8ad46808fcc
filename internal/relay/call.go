// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
)

var (
	errNonsense = errors.New("nonsense")
	errRepeated = errors.New("repeated before")
	// errDone ends the context of a call that is over.
	errDone = errors.New("done")
)

// A call is one request to an upstream.
type call struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	given  context.Context // what the caller gave
	// sending runs while net/http writes, heading from then until the head of
	// the answer is there, reading while somebody reads the answer's body.
	sending, heading, reading bound
	idle                      time.Duration // Target.Read, for tunnels
	repeated                  atomic.Bool
	conn                      net.Conn // of a WebSocket

	mu       sync.Mutex
	bodyFail error // of reading the request's body
}

func newCall(ctx context.Context, t *Target, to *route) *call {
	c := &call{given: ctx, idle: t.Read}
	ctx, c.cancel = context.WithCancelCause(ctx)
	c.sending.init(t.Send, c.late)
	c.heading.init(t.Read, c.late)
	c.reading.init(t.Read, c.late)
	ctx = context.WithValue(ctx, routeKey{}, to)
	c.ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if to.websocket {
				c.conn = info.Conn
			}
			c.heading.stop() // of a connection that broke
			c.sending.start()
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			c.sending.stop()
			c.heading.start()
		},
	})
	return c
}

// late ends a call that takes too long.
func (c *call) late() { c.cancel(ErrUpstreamTimeout) }

// end frees what the call holds. An answer that was not read to its end goes no
// further, and neither does its connection.
func (c *call) end() {
	c.sending.end()
	c.heading.end()
	c.reading.end()
	c.cancel(errDone)
}

// failure says in our words why a call failed. An upstream's address stands in
// most of net/http's own.
func (c *call) failure(err error) error {
	c.mu.Lock()
	bodyFail := c.bodyFail
	c.mu.Unlock()
	switch {
	case context.Cause(c.ctx) == ErrUpstreamTimeout: //nolint:errorlint // it is ours
		return ErrUpstreamTimeout
	case c.given.Err() != nil:
		return c.given.Err()
	case bodyFail != nil:
		return bodyFail
	}
	return inWords(err)
}

// isTimeout reports whether an error is a connection's, that time is over.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// inWords is what is said of an error of the upstream's.
func inWords(err error) error {
	if isTimeout(err) {
		return ErrUpstreamTimeout
	}
	if what := reason(err); what != "" {
		return fmt.Errorf("%w: %s", ErrUpstream, what)
	}
	return ErrUpstream
}

// reason is what an operator can do something about, in fixed words.
func reason(err error) string {
	var (
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
		record      tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &name):
		return "its name was not found"
	case errors.As(err, &certificate):
		return "its certificate was not accepted"
	case errors.As(err, &alert), errors.As(err, &record):
		return "TLS failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refuses connections"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection broke"
	case errors.Is(err, errNonsense), errors.Is(err, http1.ErrMalformed):
		return "what it says is no answer"
	}
	return ""
}

// wrap has the answer's body watched.
func (c *call) wrap(answer *http.Response) {
	b := answerBody{call: c, from: answer.Body}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		answer.Body = &tunnelBody{answerBody: b, to: answer.Body.(io.Writer)} // as usable has seen
		return
	}
	answer.Body = &b
}

// An answerBody is the body of an answer.
type answerBody struct {
	call *call
	from io.ReadCloser
}

func (b *answerBody) Read(p []byte) (int, error) {
	b.call.reading.start()
	n, err := b.from.Read(p)
	b.call.reading.stop()
	if err != nil && err != io.EOF { //nolint:errorlint // as io.Reader has it
		err = b.call.failure(err)
	}
	return n, err
}

func (b *answerBody) Close() error {
	err := b.from.Close()
	b.call.end()
	return err
}

// A sentBody is the body of a request on its way to the upstream. Time counts
// while net/http has what was read and does not come back for more.
type sentBody struct {
	call    *call
	from    io.ReadCloser
	came    *http.Request // nil for one of ours
	trailer http.Header
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.call.sending.stop()
	n, err := b.from.Read(p)
	switch err {
	case nil:
	case io.EOF:
		b.takeTrailers()
	default:
		b.call.mu.Lock()
		b.call.bodyFail = err
		b.call.mu.Unlock()
		return n, err
	}
	b.call.sending.start()
	return n, err
}

// takeTrailers takes those that nobody has announced.
func (b *sentBody) takeTrailers() {
	if b.came == nil || b.trailer == nil {
		return
	}
	for name, values := range b.came.Trailer {
		b.trailer[name] = values
	}
}

func (b *sentBody) Close() error { return b.from.Close() }

// A bound calls late when it runs for too long. It can be started and stopped
// again and again until its end.
type bound struct {
	after time.Duration // 0 for none
	late  func()

	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func (b *bound) init(after time.Duration, late func()) { b.after, b.late = after, late }

func (b *bound) start() {
	if b.after <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.over:
	case b.timer == nil:
		b.timer = time.AfterFunc(b.after, b.late)
	default:
		b.timer.Reset(b.after)
	}
}

func (b *bound) stop() {
	if b.after <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
}

func (b *bound) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	if b.timer != nil {
		b.timer.Stop()
	}
}
