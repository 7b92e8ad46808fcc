// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
)

// A direct makes calls on the goroutine of their callers, which costs half of
// what net/http's client does with its two goroutines for each connection. It
// takes the plain case alone: HTTP/1.1 without a proxy, and no header that is the
// connection's business. All else is for net/http, whose settings it shares.
type direct struct {
	dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	tls       *tls.Config
	handshake time.Duration // at most, for TLS
	maxConns  int           // to one host
	maxIdle   int           // of those
	idleFor   time.Duration

	mu    sync.Mutex
	hosts map[string]*host // by scheme and authority
}

// errNotDirect says that a call is for net/http, and that nothing was sent.
var errNotDirect = errors.New("for net/http")

// newDirect takes over the settings of a transport that was not used yet. It
// is nil if all calls are the transport's.
func newDirect(t *http.Transport) *direct {
	if t.Proxy != nil || t.MaxConnsPerHost <= 0 || viaTransport {
		return nil
	}
	d := &direct{
		dial: t.DialContext, tls: t.TLSClientConfig.Clone(), handshake: t.TLSHandshakeTimeout,
		maxConns: t.MaxConnsPerHost, maxIdle: t.MaxIdleConnsPerHost, idleFor: t.IdleConnTimeout,
		hosts: make(map[string]*host),
	}
	d.tls.NextProtos = []string{"h2", "http/1.1"}
	return d
}

// viaTransport leaves all calls to net/http. Tests of that way set it.
var viaTransport bool

// host finds or makes the connections to a URL's host. It is nil if calls of
// the URL are for net/http.
func (d *direct) host(u *url.URL) *host {
	if d == nil || !http1.PlainHost(u.Host) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := u.Scheme + "://" + u.Host
	h := d.hosts[key]
	if h != nil {
		return h
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	h = &host{
		direct: d, addr: net.JoinHostPort(u.Hostname(), port), slots: make(chan struct{}, d.maxConns),
		pool: http1.Pool{MaxIdle: d.maxIdle, IdleFor: d.idleFor, MaxHead: maxHead},
	}
	if u.Scheme == "https" {
		h.tls = d.tls.Clone()
		h.tls.ServerName = u.Hostname()
	}
	d.hosts[key] = h
	return h
}

// A host is the connections to one.
type host struct {
	*direct
	addr string
	tls  *tls.Config // nil for plain HTTP
	// slots has an element for each call. Connections are made only while none
	// is idle, so there are never more than slots.
	slots chan struct{}
	// http2 says that the service has chosen HTTP/2.
	http2 atomic.Bool
	pool  http1.Pool
}

// call makes a call: it writes head and body, and reads the answer. A kept
// connection may turn out to have been closed by the service before it began to
// answer. Then the call is made once more on a new one, as net/http does:
// scanning twice does no harm.
func (h *host) call(ctx context.Context, appendHead func([]byte) []byte, body []byte) (Response, error) {
	select {
	case h.slots <- struct{}{}:
	default:
		select {
		case h.slots <- struct{}{}:
		case <-ctx.Done():
			return Response{}, ctx.Err()
		}
	}
	held := true
	defer func() {
		if held {
			h.leave()
		}
	}()
	l := h.pool.Take()
	if l != nil {
		resp, err := h.over(ctx, l, appendHead, body)
		if err == nil || l.Answers.Heard() || ctx.Err() != nil {
			return resp, err
		}
		h.pool.CloseOldest()
	}
	held = false
	l, err := h.pool.Connect(ctx, h.open, h.leave)
	if err != nil {
		return Response{}, err
	}
	held = true
	return h.over(ctx, l, appendHead, body)
}

func (h *host) leave() { <-h.slots }

// over makes a call over a connection, and keeps or closes it.
func (h *host) over(ctx context.Context, l *http1.Link, appendHead func([]byte) []byte, body []byte) (Response, error) {
	resp, clean, err := exchange(ctx, l, appendHead, body)
	if clean {
		h.pool.Keep(l)
	} else {
		_ = l.Close()
	}
	return resp, err
}

// open makes a connection within the times for that. The errors are those of
// net/http's transport, which dials in the same way.
func (h *host) open(ctx context.Context) (net.Conn, error) {
	conn, err := h.dial(ctx, "tcp", h.addr)
	if err != nil || h.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, h.tls)
	hurry, cancel := context.WithTimeout(ctx, h.handshake)
	defer cancel()
	if err := secure.HandshakeContext(hurry); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		h.http2.Store(true)
		_ = conn.Close()
		return nil, errNotDirect
	}
	return secure, nil
}

// exchange writes a call and reads its answer, before ctx ends. The answer may
// come, and count, before all is written: services refuse what they do not like
// early. clean says that the link may be kept.
func exchange(ctx context.Context, l *http1.Link, appendHead func([]byte) []byte, body []byte) (resp Response, clean bool, err error) {
	stop := endWith(ctx, l)
	defer func() {
		clean = stop() && clean && l.Drained()
	}()
	l.Answers.Next()
	wait := send(l, appendHead, body)
	resp, clean, err = readResponse(l.Answers, int64(len(body)))
	if unsent := wait(); unsent != nil {
		if err != nil && !l.Answers.Heard() && !errors.Is(unsent, errCutOff) {
			err = unsent
		}
		clean = false
	}
	return resp, clean, err
}

// endWith ends reading and writing when ctx ends. stop reports whether it has
// not, and that the link can be used by another call.
func endWith(ctx context.Context, l *http1.Link) (stop func() bool) {
	end := func() { _ = l.SetDeadline(http1.Past) }
	if c, ok := ctx.(*deadline.Context); ok {
		// The socket can watch the time by itself.
		until, _ := c.Deadline()
		_ = l.SetDeadline(until)
		if stop, ok := c.AfterCancel(end); ok {
			return func() bool {
				if !stop() {
					return false
				}
				if !time.Now().Before(until) {
					return false
				}
				return l.SetDeadline(time.Time{}) == nil
			}
		}
		_ = l.SetDeadline(time.Time{})
	}
	return context.AfterFunc(ctx, end)
}

// calls has buffers for calls as they are sent.
var calls = sync.Pool{New: func() any { return new([]byte) }}

// mostCopied is the body up to which a call is written from one buffer, in bytes,
// before its answer is read. That takes one system call, and over TLS no more
// records than needed. It is what a connection takes of which nobody reads: a
// service may answer before it has read all.
const mostCopied = 64 << 10

// errCutOff is why a call was not sent as a whole: its answer was there before.
var errCutOff = errors.New("answered before it was sent")

// writeGrace is how long the end of a write may take that is over for the service:
// it has answered, as most do once they have read all.
const writeGrace = 50 * time.Millisecond

// send writes a call. wait comes after its answer, and says why not all was sent.
func send(l *http1.Link, appendHead func([]byte) []byte, body []byte) (wait func() error) {
	buf := calls.Get().(*[]byte)
	*buf = appendHead((*buf)[:0])
	if len(body) <= mostCopied {
		defer calls.Put(buf)
		*buf = append(*buf, body...)
		_, err := l.Write(*buf)
		return func() error { return err }
	}
	sent := make(chan error, 1)
	go func() {
		err := errCutOff // stands for a panic, too
		defer func() {
			_ = recover()
			sent <- err
		}()
		defer calls.Put(buf)
		_, err = (&net.Buffers{*buf, body}).WriteTo(l.Conn)
	}()
	return func() error {
		select {
		case err := <-sent:
			return err
		default:
		}
		select {
		case err := <-sent:
			return err
		case <-time.After(writeGrace):
		}
		_ = l.SetWriteDeadline(http1.Past)
		<-sent // the body is its caller's again
		return errCutOff
	}
}

// requestLine is the part of a call's head that its URL decides.
func requestLine(u *url.URL) string {
	return "POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nContent-Length: "
}

// agentField names who calls; defaultAgent is what net/http says where its caller
// says nothing.
const (
	agentField   = "User-Agent"
	defaultAgent = "\r\nUser-Agent: Go-http-client/1.1"
)

// ordinary reports whether fields can be written as they are, and leave the
// connection and the length alone. net/http knows what to do with the others.
func ordinary(fields http.Header) bool {
	for name, values := range fields {
		if !http1.Fit(name, values) {
			return false
		}
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			return false
		case agentField:
			if name != agentField || len(values) != 1 || strings.Trim(values[0], " \t") == "" {
				return false // net/http leaves out what is empty
			}
		}
	}
	return true
}

// appendHead writes the head of a call with ordinary fields.
func appendHead(b []byte, line string, fields http.Header, size int) []byte {
	b = strconv.AppendInt(append(b, line...), int64(size), 10)
	if fields[agentField] == nil {
		b = append(b, defaultAgent...)
	}
	for name, values := range fields {
		for _, v := range values {
			b = http1.AppendField(b, name, v)
		}
	}
	return append(b, "\r\n\r\n"...)
}
