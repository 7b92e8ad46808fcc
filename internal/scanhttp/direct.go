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
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
)

// A direct makes calls on the goroutine of their callers, which costs half of
// what net/http's client does with its two goroutines for each connection. It
// takes the plain case alone: HTTP/1.1 without a proxy, a call that is not
// large, and no header that is the connection's business. All else is for
// net/http, whose settings it shares.
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

// errOpening stands for a panic, which must not end the process.
var errOpening = errors.New("no connection")

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
	if d == nil || !plainHost(u.Host) {
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
	h = &host{direct: d, addr: net.JoinHostPort(u.Hostname(), port), slots: make(chan struct{}, d.maxConns)}
	if u.Scheme == "https" {
		h.tls = d.tls.Clone()
		h.tls.ServerName = u.Hostname()
	}
	d.hosts[key] = h
	return h
}

// plainHost reports whether an authority goes into a Host field and into a
// dialer as it is: no name in other scripts, no zone.
func plainHost(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c == '%' {
			return false
		}
	}
	return httpguts.ValidHostHeader(s) && !strings.HasSuffix(s, ":")
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

	mu    sync.Mutex
	idle  []*link // the one that was used last is last
	timer *time.Timer
	armed bool
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
	l := h.take()
	if l != nil {
		resp, err := h.over(ctx, l, appendHead, body)
		if err == nil || l.answers.wire.heard || ctx.Err() != nil {
			return resp, err
		}
		h.dropOldest()
	}
	held = false
	l, err := h.connect(ctx)
	if err != nil {
		return Response{}, err
	}
	held = true
	return h.over(ctx, l, appendHead, body)
}

func (h *host) leave() { <-h.slots }

// over makes a call over a connection, and keeps or closes it.
func (h *host) over(ctx context.Context, l *link, appendHead func([]byte) []byte, body []byte) (Response, error) {
	resp, clean, err := l.exchange(ctx, appendHead, body)
	if clean {
		h.keep(l)
	} else {
		l.close()
	}
	return resp, err
}

// take returns an idle connection on which the service has not said anything
// since, nil if there is none.
func (h *host) take() *link {
	for {
		h.mu.Lock()
		last := len(h.idle) - 1
		if last < 0 {
			h.mu.Unlock()
			return nil
		}
		l := h.idle[last]
		h.idle[last] = nil
		h.idle = h.idle[:last]
		h.mu.Unlock()
		if l.quiet() {
			return l
		}
		l.close()
	}
}

// dropOldest makes room for a new connection beside those that are idle.
func (h *host) dropOldest() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.idle) > 0 {
		h.drop(1)
	}
}

// drop closes the n connections that were idle for the longest time. The host
// is locked.
func (h *host) drop(n int) {
	for _, l := range h.idle[:n] {
		l.close()
	}
	rest := copy(h.idle, h.idle[n:])
	clear(h.idle[rest:])
	h.idle = h.idle[:rest]
}

func (h *host) keep(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.idle) >= h.maxIdle {
		h.drop(1)
	}
	l.since = time.Now()
	h.idle = append(h.idle, l)
	if h.armed {
		return
	}
	h.armed = true
	if h.timer == nil {
		h.timer = time.AfterFunc(h.idleFor, h.sweep)
	} else {
		h.timer.Reset(h.idleFor)
	}
}

// sweep closes what was idle for too long, and comes back for the rest.
func (h *host) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, n := time.Now(), 0
	for n < len(h.idle) && now.Sub(h.idle[n].since) >= h.idleFor {
		n++
	}
	h.drop(n)
	if h.armed = len(h.idle) > 0; h.armed {
		h.timer.Reset(h.idleFor - now.Sub(h.idle[0].since))
	}
}

// connect makes a connection, and gives up the call's slot if there is none. A
// connection that takes longer than its call has time is finished all the same,
// for the next one: else a service to which connections take longer than a
// call's deadline could never be called. That is the only goroutine there is.
func (h *host) connect(ctx context.Context) (*link, error) {
	type attempt struct {
		*link
		err error
	}
	made, taken := make(chan attempt), ctx.Done()
	go func() {
		l, err := h.open(context.WithoutCancel(ctx))
		if err != nil {
			h.leave()
		}
		select {
		case made <- attempt{l, err}:
		case <-taken:
			if err == nil {
				h.keep(l)
				h.leave()
			}
		}
	}()
	select {
	case a := <-made:
		return a.link, a.err
	case <-taken:
		return nil, ctx.Err()
	}
}

// open makes a connection within the times for that. The errors are those of
// net/http's transport, which dials in the same way.
func (h *host) open(ctx context.Context) (l *link, err error) {
	defer func() {
		if recover() != nil {
			l, err = nil, errOpening
		}
	}()
	conn, err := h.dial(ctx, "tcp", h.addr)
	if err != nil {
		return nil, err
	}
	l = &link{Conn: conn, socket: conn}
	if h.tls != nil {
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
		l.Conn, l.secure = secure, true
	}
	if s, ok := conn.(syscall.Conn); ok {
		if l.raw, err = s.SyscallConn(); err != nil {
			l.close()
			return nil, err
		}
	}
	l.answers = newAnswerReader(l.Conn)
	return l, nil
}

// A link is a connection, used by one call at a time.
type link struct {
	net.Conn
	socket  net.Conn // below TLS
	secure  bool
	raw     syscall.RawConn // of the socket, nil if it is none
	since   time.Time       // when it became idle
	answers *answerReader
}

// past is a deadline that ends reading and writing at once.
var past = time.Unix(1, 0)

// exchange writes a call and reads its answer, before ctx ends. The answer may
// come, and count, before all is written: services refuse what they do not like
// early. clean says that the link may be kept.
func (l *link) exchange(ctx context.Context, appendHead func([]byte) []byte, body []byte) (resp Response, clean bool, err error) {
	stop := l.endWith(ctx)
	defer func() {
		clean = stop() && clean && l.drained()
	}()
	l.answers.next()
	unsent := l.send(appendHead, body)
	resp, clean, err = l.answers.read(int64(len(body)))
	if unsent != nil {
		if err != nil && !l.answers.wire.heard {
			err = unsent
		}
		clean = false
	}
	return resp, clean, err
}

// endWith ends reading and writing when ctx ends. stop reports whether it has
// not, and that the link can be used by another call.
func (l *link) endWith(ctx context.Context) (stop func() bool) {
	end := func() { _ = l.SetDeadline(past) }
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

// send writes a call from one buffer, which takes one system call, and over TLS
// no more records than needed. Copying a body that is not large costs less than
// another system call.
func (l *link) send(appendHead func([]byte) []byte, body []byte) error {
	buf := calls.Get().(*[]byte)
	defer calls.Put(buf)
	*buf = append(appendHead((*buf)[:0]), body...)
	_, err := l.Write(*buf)
	return err
}

// quiet reports whether nothing has come since the last answer: the service has
// neither closed the connection, nor said something that the next call would
// take for its answer.
func (l *link) quiet() bool {
	if l.raw == nil {
		return true
	}
	quiet := false
	err := l.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// drained reports whether nothing that came with the answer is left in TLS's
// buffer, where quiet does not see it.
func (l *link) drained() bool {
	if !l.secure {
		return true
	}
	_ = l.SetReadDeadline(past)
	_, err := l.answers.buf.Peek(1)
	_ = l.SetReadDeadline(time.Time{})
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// close does not say farewell over TLS: that can wait for seconds.
func (l *link) close() { _ = l.socket.Close() }

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
		if !httpguts.ValidHeaderFieldName(name) {
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
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return false
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
			b = append(append(b, "\r\n"...), name...)
			b = append(append(b, ": "...), strings.Trim(v, " \t")...)
		}
	}
	return append(b, "\r\n\r\n"...)
}
