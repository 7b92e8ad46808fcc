// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"cmp"
	"container/list"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
)

const (
	// idleUpstream is how long an upstream's connection is kept unused. Many
	// servers and load balancers close theirs after 60 s; see idleTime.
	idleUpstream = 50 * time.Second
	// idlePerHost and idleConns bound how many are kept, for each target and for
	// all of one identity: of net/http's, and as many again of the others.
	idlePerHost = 256
	idleConns   = 1024
	// maxIdentities bounds the transports. Only configurations make new ones.
	maxIdentities = 64
	// continueTime is how long an upstream may take to ask for a body that it
	// was told to expect. Then the body is sent all the same.
	continueTime = time.Second
	// streamBuffer is what one HTTP/2 stream may have received that nobody has
	// read, in bytes. It holds back an upstream that is faster than its reader.
	streamBuffer = 256 << 10
)

// A Client hands requests on. Its connections are kept alive, and shared by all
// exchanges of a process.
type Client struct {
	mu         sync.Mutex
	identities map[*tls.Config]*list.Element
	order      list.List // of *identity, the one that was used last first
}

// An identity is what all connections that are verified in one way share.
type identity struct {
	key       *tls.Config
	tls       *tls.Config
	transport *http.Transport
	kept      http1.Room

	mu    sync.Mutex
	hosts map[hostKey]*host
	http2 map[string]bool // by the name of an upstream
}

// NewClient makes a client.
func NewClient() *Client {
	return &Client{identities: make(map[*tls.Config]*list.Element)}
}

// CloseIdle closes the connections that nobody uses.
func (c *Client) CloseIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; e = e.Next() {
		e.Value.(*identity).closeIdle()
	}
}

func (id *identity) closeIdle() {
	id.transport.CloseIdleConnections()
	id.mu.Lock()
	defer id.mu.Unlock()
	for _, h := range id.hosts {
		h.pool.CloseIdle()
	}
}

// identity finds or makes the one of a configuration.
func (c *Client) identity(key *tls.Config) *identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.identities[key]; e != nil {
		c.order.MoveToFront(e)
		return e.Value.(*identity)
	}
	if c.order.Len() >= maxIdentities { // its exchanges run on
		last := c.order.Remove(c.order.Back()).(*identity)
		delete(c.identities, last.key)
		last.closeIdle()
	}
	id := newIdentity(key)
	c.identities[key] = c.order.PushFront(id)
	return id
}

func newIdentity(key *tls.Config) *identity {
	id := &identity{key: key, tls: new(tls.Config), kept: http1.Room{Max: idleConns}, hosts: make(map[hostKey]*host), http2: make(map[string]bool)}
	if key != nil {
		id.tls = key.Clone()
	}
	if id.tls.ClientSessionCache == nil {
		id.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	if id.tls.NextProtos == nil {
		id.tls.NextProtos = []string{"h2", "http/1.1"}
	}
	id.transport = &http.Transport{
		DialContext:            dialPlain,
		DialTLSContext:         id.dialTLS,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // it would ask for gzip, and take it off
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleUpstream,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ExpectContinueTimeout:  continueTime,
		// A dead connection is found, and not by all streams of an hour.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second,
			MaxReceiveBufferPerStream: streamBuffer,
		},
	}
	return id
}

// A route is how a connection is made. The transport takes connections for the
// same that have the same host in their URL. So that host stands for all that
// tells one route from another, and the route itself comes with the context.
type route struct {
	address, name string
	connect       time.Duration
	websocket     bool // HTTP/1.1 only
}

type routeKey struct{}

func newRoute(t *Target, websocket bool) route {
	return route{address: t.Address, name: serverName(t), connect: t.Connect, websocket: websocket}
}

// serverName is the name that a TLS target is asked for, and verified by.
func serverName(t *Target) string {
	if t.Scheme != "https" {
		return ""
	}
	if t.TLS != nil && t.TLS.ServerName != "" {
		return t.TLS.ServerName
	}
	address := hostname(t.Address)
	if net.ParseIP(address) == nil {
		return address
	}
	return cmp.Or(hostname(t.Host), address)
}

// hostname is a host without its port and brackets.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// host is a host for an URL, another one for each address and name.
func (r *route) host() string {
	host, port, err := net.SplitHostPort(r.address)
	if err != nil {
		host, port = r.address, ""
	}
	b := make([]byte, 0, len(host)+len(r.name)+16)
	b = appendPlain(b, host)
	if r.name != "" && r.name != host {
		b = append(b, "__"...)
		b = appendPlain(b, r.name)
	}
	if port != "" {
		b = append(b, ':')
		b = append(b, port...)
	}
	return string(b)
}

// appendPlain spells s so that net/http takes it for a name and changes nothing
// of it: what is no letter, digit, dot or hyphen becomes _ and its code.
func appendPlain(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' {
			b = append(b, c)
		} else {
			b = fmt.Appendf(b, "_%02x", c)
		}
	}
	return b
}

func dialPlain(ctx context.Context, _, _ string) (net.Conn, error) {
	return ctx.Value(routeKey{}).(*route).open(ctx)
}

func (id *identity) dialTLS(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := id.secure(ctx, ctx.Value(routeKey{}).(*route))
	if err != nil {
		return nil, err // and no connection of a type
	}
	return conn, nil
}

// open connects without TLS.
func (r *route) open(ctx context.Context) (net.Conn, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	return r.dial(ctx)
}

// secure connects with TLS.
func (id *identity) secure(ctx context.Context, r *route) (*tls.Conn, error) {
	ctx, cancel := r.bounded(ctx)
	defer cancel()
	plain, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	config := id.tls.Clone()
	config.ServerName = r.name
	if r.websocket {
		config.NextProtos = nil
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

func (r *route) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.connect <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, r.connect)
}

func (r *route) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", r.address)
}

// Forward sends r, as a server has it, to t and returns the answer, whose body the
// caller closes. A ContentLength of 0 means that r has no body. With body not nil, that goes in place of r's, and headers that
// describe r's own do not. When ctx ends, so does the call. The error is, or
// wraps, ErrUpstream or ErrUpstreamTimeout, or is the context's, or that of
// reading r's body. So are those of reading the answer's body. None names an
// address.
//
// Nothing is sent twice, but for two cases in which the upstream has not begun
// to work on it: a kept connection turns out to be closed, and the request has no
// body and a method that may be repeated, or none of it was sent; or an HTTP/2
// upstream says that it did not take the request. For a request with a body that
// takes body, or GetBody of r.
//
// A request to upgrade to a WebSocket is handed on, and answered with status 101
// if the upstream agrees; see Tunnel. Other upgrades are not asked for.
func (c *Client) Forward(ctx context.Context, r *http.Request, body []byte, t *Target) (*http.Response, error) {
	to := newRoute(t, wantsWebSocket(r))
	id, out := c.identity(t.TLS), outgoing(r, body != nil, t, &to)
	if answer, err := id.direct(ctx, out, r, body, t, &to); err != errNotDirect { //nolint:errorlint // it is ours
		return answer, err
	}
	call := newCall(ctx, t, &to)
	call.load(out, r, body)
	answer, err := id.transport.RoundTrip(out.WithContext(call.ctx))
	call.heading.end()
	if err == nil && !usable(answer, to.websocket) {
		answer.Body.Close()
		err = errNonsense
	}
	if err != nil {
		err = call.failure(err)
		call.end()
		return nil, err
	}
	call.wrap(answer)
	return answer, nil
}

// usable reports whether an answer is one that can be handed on.
func usable(answer *http.Response, websocket bool) bool {
	switch {
	case countHeaders(answer.Header) > maxHeaders:
		return false
	case answer.StatusCode == http.StatusSwitchingProtocols:
		_, both := answer.Body.(io.ReadWriteCloser)
		return websocket && both
	}
	return answer.StatusCode >= 200 && answer.StatusCode <= 999
}
