// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
)

// What is plain is sent on the goroutine of its exchange, which costs half or
// less of what net/http's client does with its two goroutines for each
// connection: HTTP/1.1, a body that is there as a whole or none, and nothing
// that is the connection's business. All else is for net/http.

const (
	// mostDirect bounds what is sent directly, head and body, in bytes. It is
	// what a connection takes of which nobody reads: an upstream may answer before
	// it has read all.
	mostDirect = 64 << 10
	// maxHosts bounds the pools of an identity, and the names that it knows.
	maxHosts = 1024
)

// errNotDirect says that a request is for net/http, which may send it: the
// upstream has seen nothing of it, or it is repeatable.
var errNotDirect = errors.New("for net/http")

// viaTransport leaves all requests to net/http. Tests of that way set it.
var viaTransport bool

// A host is the connections of one route.
type host struct{ pool http1.Pool }

type hostKey struct{ scheme, host string }

// host finds or makes that of a request to the upstream of that name, as far as
// it has one. It is nil if that is known to choose HTTP/2.
func (id *identity) host(out *http.Request, name string) *host {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.http2[name] {
		return nil
	}
	key := hostKey{out.URL.Scheme, out.URL.Host}
	if h := id.hosts[key]; h != nil {
		return h
	}
	if len(id.hosts) >= maxHosts {
		for other, h := range id.hosts { // any one; what it has in use ends like all that is idle
			h.pool.CloseIdle()
			delete(id.hosts, other)
			break
		}
	}
	h := &host{pool: http1.Pool{MaxIdle: idlePerHost, IdleFor: idleUpstream, MaxHead: maxHeaderBytes, All: &id.kept}}
	id.hosts[key] = h
	return h
}

// choosesHTTP2 notes that an upstream does. It is known by its name, since the
// addresses of one name come and go.
func (id *identity) choosesHTTP2(name string) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if len(id.http2) >= maxHosts {
		clear(id.http2)
	}
	id.http2[name] = true
}

// messages has buffers for requests as they are sent.
var messages = sync.Pool{New: func() any { return new([]byte) }}

// direct sends a request, made by outgoing of r, on the caller's goroutine. The
// error is errNotDirect if it is none of those that are sent so.
func (id *identity) direct(ctx context.Context, out, r *http.Request, body []byte, t *Target, to *route) (*http.Response, error) {
	size, whole := inMemory(r, body)
	if viaTransport || to.websocket || !whole || size > mostDirect {
		return nil, errNotDirect
	}
	h, uri := id.host(out, to.name), out.URL.RequestURI()
	if h == nil || !plain(out, uri) {
		return nil, errNotDirect
	}
	buf := messages.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= 2*mostDirect {
			messages.Put(buf)
		}
	}()
	*buf = appendHead((*buf)[:0], out, uri, size, saysLength(r, body))
	var ok bool
	if *buf, ok = appendBody(*buf, r, body, int(size)); !ok || len(*buf) > mostDirect {
		return nil, errNotDirect
	}
	c := directCall{ctx: ctx, host: h, out: out, message: *buf, again: repeatable(out, size), send: t.Send, read: t.Read}
	answer, err := c.do(func(ctx context.Context) (net.Conn, error) { return id.open(ctx, t.Scheme, to) })
	if err == nil || err == errNotDirect { //nolint:errorlint // it is ours
		return answer, err
	}
	return nil, failureOf(ctx, err)
}

// open makes a connection, but none of HTTP/2.
func (id *identity) open(ctx context.Context, scheme string, r *route) (net.Conn, error) {
	if scheme != "https" {
		return r.open(ctx)
	}
	conn, err := id.secure(ctx, r)
	if err != nil {
		return nil, err
	}
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		id.choosesHTTP2(r.name)
		_ = conn.NetConn().Close()
		return nil, errNotDirect
	}
	return conn, nil
}

// inMemory reports whether the body that goes with r is at hand as a whole, and
// how long it is.
func inMemory(r *http.Request, body []byte) (size int64, ok bool) {
	switch {
	case body != nil:
		return int64(len(body)), true
	case !hasBody(r):
		return 0, true
	}
	return r.ContentLength, r.ContentLength > 0 && r.GetBody != nil
}

// plain reports whether a request can be written as it is, and leaves the
// connection alone. net/http knows what to do with the others.
func plain(out *http.Request, uri string) bool {
	if out.URL.Scheme != "http" && out.URL.Scheme != "https" {
		return false
	}
	if out.Host == "" || !http1.PlainHost(out.Host) || !httpguts.ValidHeaderFieldName(out.Method) || out.Method == http.MethodConnect || out.Header["Expect"] != nil {
		return false
	}
	if uri == "" || strings.IndexFunc(uri, func(c rune) bool { return c <= ' ' || c == 0x7f }) >= 0 {
		return false
	}
	for name, values := range out.Header {
		if !http1.Fit(name, values) {
			return false
		}
	}
	return true
}

// appendHead writes what net/http would write, in another order.
func appendHead(b []byte, out *http.Request, uri string, size int64, says bool) []byte {
	b = append(append(b, out.Method...), ' ')
	b = append(append(b, uri...), " HTTP/1.1"...)
	b = http1.AppendField(b, "Host", out.Host)
	for name, values := range out.Header {
		switch name {
		case "Host":
			continue
		case "User-Agent":
			if len(values) == 0 || strings.Trim(values[0], " \t") == "" {
				continue
			}
			values = values[:1]
		}
		for _, v := range values {
			b = http1.AppendField(b, name, v)
		}
	}
	switch out.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		says = true
	case http.MethodGet, http.MethodHead:
		says = false
	}
	if size > 0 || says {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), size, 10)
	}
	return append(b, "\r\n\r\n"...)
}

// appendBody writes the body of inMemory. It is not ok if that has another
// length.
func appendBody(b []byte, r *http.Request, body []byte, size int) (_ []byte, ok bool) {
	if body != nil || size == 0 {
		return append(b, body...), true
	}
	from, err := r.GetBody()
	if err != nil {
		return b, false
	}
	defer from.Close()
	b = slices.Grow(b, size)
	n, err := io.ReadFull(from, b[len(b):len(b)+size])
	if err != nil {
		return b, false
	}
	more, err := from.Read(make([]byte, 1))
	return b[:len(b)+n], more == 0 && err == io.EOF //nolint:errorlint // as io.Reader has it
}

// repeatable reports whether a request may be sent again to an upstream that may
// have seen it, by the rule of net/http, which takes a key for leave to do so. We
// do not where there is a body.
func repeatable(out *http.Request, size int64) bool {
	keyed := out.Header["Idempotency-Key"] != nil || out.Header["X-Idempotency-Key"] != nil
	switch out.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return size == 0 || !keyed
	}
	return size == 0 && keyed
}

// A directCall is a request that is sent on its caller's goroutine.
type directCall struct {
	ctx        context.Context
	host       *host
	out        *http.Request
	message    []byte // all of it
	again      bool   // repeatable
	send, read time.Duration
}

// do sends the request and reads the head of its answer. A kept connection may
// turn out to have been closed by the upstream. Then the request is sent once
// more, on a new one: if nothing of it was sent, or it is repeatable and nothing
// was heard.
func (c *directCall) do(open func(context.Context) (net.Conn, error)) (*http.Response, error) {
	if err := c.ctx.Err(); err != nil { // watching it would end what is sent, too late
		return nil, err
	}
	if l := c.host.pool.Take(); l != nil {
		answer, sent, err := c.over(l)
		if err == nil || c.ctx.Err() != nil || isTimeout(err) || sent && (l.Answers.Heard() || !c.again) {
			return answer, err
		}
	}
	l, err := c.host.pool.Connect(c.ctx, open, nil)
	if err != nil {
		return nil, err
	}
	answer, _, err := c.over(l)
	return answer, err
}

// over sends the request over a connection. sent says that the upstream may have
// seen something of it.
func (c *directCall) over(l *http1.Link) (answer *http.Response, sent bool, err error) {
	b := &directBody{ctx: c.ctx, host: c.host, link: l, within: c.read}
	// A client that leaves ends the upstream's work.
	b.stop = context.AfterFunc(c.ctx, func() { _ = l.Close() })
	defer func() {
		if answer == nil {
			b.end(false)
		}
	}()
	l.Answers.Next()
	_ = l.SetWriteDeadline(after(c.send))
	n, unsent := l.Write(c.message)
	if unsent != nil && (n == 0 || isTimeout(unsent)) {
		return nil, n > 0, unsent
	}
	_ = l.SetDeadline(after(c.read)) // for writing, too: TLS answers while it reads
	head, err := l.Answers.Head(c.out.Method == http.MethodHead)
	switch {
	case err != nil && unsent != nil && !l.Answers.Heard():
		return nil, true, unsent
	case err != nil:
		return nil, true, err
	}
	if answer, err = c.answer(&head); err != nil {
		return nil, true, err
	}
	b.stays = head.Stays && unsent == nil
	if head.Length == 0 {
		b.end(b.stays && l.Answers.Done())
		answer.Body = http.NoBody
		return answer, true, nil
	}
	b.answer, b.from = answer, l.Answers.Body(&head)
	answer.Body = b
	return answer, true, nil
}

// after is a deadline, none for 0.
func after(d time.Duration) (t time.Time) {
	if d > 0 {
		t = time.Now().Add(d)
	}
	return t
}

// answer is what net/http would make of a head.
func (c *directCall) answer(head *http1.Head) (*http.Response, error) {
	h := head.Fields
	answer := &http.Response{
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		StatusCode: head.Status, Header: h, ContentLength: head.Length, Request: c.out,
	}
	if !usable(answer, false) {
		return nil, errNonsense
	}
	if c.out.Method == http.MethodHead {
		answer.ContentLength = -1
		if said := h["Content-Length"]; said != nil {
			answer.ContentLength, _ = strconv.ParseInt(said[0], 10, 64) // as http1 has seen
		}
	}
	if pragma := h["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && h["Cache-Control"] == nil {
		h["Cache-Control"] = []string{"no-cache"}
	}
	if h["Transfer-Encoding"] == nil {
		return answer, nil
	}
	for _, v := range h["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			switch name = http.CanonicalHeaderKey(strings.Trim(name, " \t")); name {
			case "":
			case "Transfer-Encoding", "Trailer", "Content-Length":
				return nil, errNonsense
			default:
				if answer.Trailer == nil {
					answer.Trailer = http.Header{}
				}
				answer.Trailer[name] = nil
			}
		}
	}
	delete(h, "Trailer")
	delete(h, "Transfer-Encoding")
	return answer, nil
}

// failureOf says in our words why a call failed.
func failureOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return inWords(err)
}

// A directBody is the body of an answer on a connection that goes back to its
// pool at the end. It may be closed while it is read.
type directBody struct {
	ctx    context.Context // what the caller gave
	host   *host
	link   *http1.Link
	from   *http1.Body
	answer *http.Response
	within time.Duration // between two reads
	stays  bool
	stop   func() bool // watching ctx
	err    error       // of Read
	over   atomic.Bool
}

func (b *directBody) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.over.Load():
		return 0, failureOf(b.ctx, http.ErrBodyReadAfterClose)
	}
	_ = b.link.SetDeadline(after(b.within))
	n, err := b.from.Read(p)
	switch err {
	case nil:
		return n, nil
	case io.EOF:
		b.takeTrailers()
		b.end(b.stays && b.link.Answers.Done())
	default:
		err = failureOf(b.ctx, err)
		b.end(false)
	}
	b.err = err
	return n, err
}

// takeTrailers takes those that nobody has announced, too.
func (b *directBody) takeTrailers() {
	if b.from.Trailer != nil && b.answer.Trailer == nil {
		b.answer.Trailer = http.Header{}
	}
	for name, values := range b.from.Trailer {
		b.answer.Trailer[name] = values
	}
}

func (b *directBody) Close() error {
	b.end(false)
	return nil
}

// end gives the connection back, once. One that was given up is not used again.
func (b *directBody) end(clean bool) {
	if b.over.Swap(true) {
		return
	}
	if b.stop() && clean && b.link.Drained() && b.link.SetDeadline(time.Time{}) == nil {
		b.host.pool.Keep(b.link)
	} else {
		_ = b.link.Close()
	}
}
