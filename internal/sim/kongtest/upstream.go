// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hopHeaders are about one connection and are not passed on.
var hopHeaders = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// hiddenHeaders of an upstream are for nginx and not for the client. (nginx
// hides more; those are the ones that we meet.)
var hiddenHeaders = []string{"X-Accel-Buffering", "X-Pad"}

// isWebSocket reports whether Kong takes a request for the start of a
// websocket: the first Upgrade header decides, whatever the protocol.
func (x *exchange) isWebSocket() bool {
	return strings.EqualFold(x.requestHeader("upgrade"), "websocket")
}

// proxy asks the upstream and answers the client.
func (x *exchange) proxy(w http.ResponseWriter, run func(phase string) error) {
	to, err := x.aim()
	if err != nil {
		x.log("err", "", "balancer: "+err.Error())
		x.fail(http.StatusInternalServerError, "")
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	x.asked = to.address
	ctx, cancel := context.WithCancel(x.req.Context())
	defer cancel()
	// nginx counts from when the request is sent.
	patience := &patience{limit: to.read, cancel: cancel}
	defer patience.stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { patience.start() }})
	ctx = context.WithValue(ctx, connectTimeoutKey{}, to.connect)

	x.buffered = truthy(x.ctx[buffering]) && !x.websocket && (x.req.ProtoMajor < 2 || x.gw.version >= buffersHTTP2)
	if x.unread != nil {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 is so anyhow
	}
	body, err := x.openBody()
	if err != nil {
		x.fail(http.StatusInternalServerError, "")
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	res, err := x.transport(to).RoundTrip(x.upstreamRequest(ctx, to, body))
	if err != nil {
		x.upstreamFailed(w, err, patience.late(), run)
		return
	}
	defer res.Body.Close()
	x.status = res.StatusCode
	x.upHeader = res.Header.Clone()
	for _, name := range connectionHeaders(x.upHeader) {
		x.upHeader.Del(name)
	}
	if !x.buffered {
		x.pad = strings.Join(x.upHeader["X-Pad"], ", ")
	}
	held := isTrue(x.route.ResponseBuffering) && !strings.EqualFold(x.upHeader.Get("X-Accel-Buffering"), "no")
	for _, name := range hiddenHeaders {
		x.upHeader.Del(name)
	}
	for name, values := range x.upHeader {
		if x.buffered { // ngx.header does so (seen)
			name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		}
		x.answerHeader[name] = values
	}
	x.answerHeader.Set("Via", "1.1 kong/3.9.1")
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		patience.stop()
		x.tunnel(w, res)
	case x.buffered:
		x.ctx[ctxHeaders] = lazyTable(x.bufferedHeaders)
		x.answerBuffered(w, patience.reader(res.Body), run)
	case x.needsBuffering:
		x.answerHeader.Del("Content-Length")
		x.writeHeader(w, x.status) // seen: ai-proxy has no body to send
	default:
		x.stream(w, patience.reader(res.Body), held)
	}
}

// bufferedHeaders are the upstream's headers as Lua has them: a list where one
// came more than once, and a number for the length (seen).
func (x *exchange) bufferedHeaders() map[string]any {
	table := map[string]any{}
	for name, values := range x.upHeader {
		if n, err := strconv.ParseFloat(values[0], 64); err == nil && name == "Content-Length" {
			table[name] = n
			continue
		}
		if len(values) == 1 {
			table[name] = values[0]
			continue
		}
		var list []any
		for _, v := range values {
			list = append(list, v)
		}
		table[name] = list
	}
	return table
}

type connectTimeoutKey struct{}

// dial connects as nginx does: with the service's own timeout, and to sockets.
func (gw *Gateway) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	d.Timeout, _ = ctx.Value(connectTimeoutKey{}).(time.Duration)
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if name, isSocket := strings.CutSuffix(host, socketSuffix); isSocket {
		path, err := hex.DecodeString(name)
		if err != nil {
			return nil, err
		}
		return d.DialContext(ctx, "unix", string(path))
	}
	return d.DialContext(ctx, network, address)
}

// socketSuffix marks the path of a socket, in hex, as a host.
const socketSuffix = ".unix-socket"

// transport returns the connections to a target. Those of https are kept by
// what is verified with which certificate.
func (x *exchange) transport(to target) *http.Transport {
	gw, s := x.gw, x.route.service
	if to.scheme != "https" {
		return gw.transport
	}
	verify := s.TLSVerify != nil && *s.TLSVerify
	key := fmt.Sprint(to.name, verify, s.ClientCertificate, s.CACertificates)
	gw.mu.Lock()
	defer gw.mu.Unlock()
	if t := gw.secure[key]; t != nil {
		return t
	}
	config := &tls.Config{ServerName: to.name, InsecureSkipVerify: !verify}
	if s.ClientCertificate != "" {
		config.Certificates = []tls.Certificate{x.snap.certificates[string(s.ClientCertificate)]}
	}
	if len(s.CACertificates) > 0 {
		config.RootCAs = x509.NewCertPool()
		for _, id := range s.CACertificates {
			config.RootCAs.AddCert(x.snap.authorities[id])
		}
	}
	t := gw.transport.Clone()
	t.TLSClientConfig = config
	gw.secure[key] = t
	return t
}

func (x *exchange) upstreamRequest(ctx context.Context, to target, body io.ReadCloser) *http.Request {
	address := to.address
	if to.unix {
		address = hex.EncodeToString([]byte(to.address)) + socketSuffix
	}
	req := &http.Request{
		Method: x.req.Method,
		// The path goes on as it is, byte for byte.
		URL: &url.URL{
			Scheme: to.scheme, Host: address, Opaque: "/" + strings.TrimLeft(x.upstream, "/"),
			RawQuery: x.query, ForceQuery: strings.HasSuffix(requestURI(x.req), "?"),
		},
		Host:          to.host,
		Header:        http.Header{},
		ContentLength: x.size,
		Body:          body,
	}
	if x.unread != nil {
		req.ContentLength = x.req.ContentLength
	}
	for name, values := range x.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	trailers := strings.Contains(strings.ToLower(strings.Join(x.header["te"], ",")), "trailers")
	for _, name := range append(connectionHeaders(req.Header), "Host", "Content-Length", "Expect", "Proxy") {
		req.Header.Del(name)
	}
	if trailers {
		req.Header.Set("Te", "trailers")
	}
	if x.websocket {
		req.Header.Set("Connection", "keep-alive, Upgrade")
		req.Header.Set("Upgrade", "websocket")
	}
	if len(x.header["user-agent"]) == 0 {
		req.Header["User-Agent"] = []string{""} // else net/http adds its own
	}
	ip := x.remoteIP()
	req.Header["X-Forwarded-For"] = []string{strings.Join(append(slices.Clone(x.header["x-forwarded-for"]), ip), ", ")}
	req.Header.Set("X-Forwarded-Proto", "http")
	req.Header.Set("X-Forwarded-Host", x.variable("host"))
	req.Header.Set("X-Forwarded-Port", x.gw.port())
	req.Header.Set("X-Forwarded-Path", x.path)
	req.Header.Del("X-Forwarded-Prefix")
	if prefix := x.path[:x.matched]; x.matched > 0 && prefix != "/" {
		req.Header.Set("X-Forwarded-Prefix", prefix)
	}
	req.Header.Set("X-Real-Ip", ip)
	req.Header.Set("X-Kong-Request-Id", x.id)
	req.Header["Via"] = []string{strings.Join(append(slices.Clone(x.header["via"]), fmt.Sprintf("%d.%d kong/3.9.1", x.req.ProtoMajor, x.req.ProtoMinor)), ", ")}
	return req.WithContext(ctx)
}

// connectionHeaders are those that are about one connection, among them what
// Connection names.
func connectionHeaders(h http.Header) []string {
	names := slices.Clone(hopHeaders)
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// tunnel joins the client and an upstream that has switched to another
// protocol.
func (x *exchange) tunnel(w http.ResponseWriter, res *http.Response) {
	upstream, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		x.fail(http.StatusBadGateway, "")
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	x.sent = res.StatusCode
	x.worker.tunnels.Add(1) // nobody else waits for it
	defer x.worker.tunnels.Done()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		x.log("err", "", "tunnel: "+err.Error())
		return
	}
	defer client.Close()
	defer context.AfterFunc(x.gw.life, func() { client.Close() })()
	header := http.Header{"Connection": {"upgrade"}, "Upgrade": res.Header["Upgrade"], "X-Kong-Request-Id": {x.id}}
	for name, values := range x.answerHeader {
		header[name] = values
	}
	_ = client.SetDeadline(time.Time{})
	fmt.Fprintf(buffered, "HTTP/1.1 %s\r\n", res.Status)
	_ = header.Write(buffered)
	_, _ = buffered.WriteString("\r\n")
	if buffered.Flush() != nil {
		return // the client has gone
	}
	ended := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(upstream, buffered)
		ended <- struct{}{}
	}()
	go func() {
		_, _ = io.Copy(client, upstream)
		ended <- struct{}{}
	}()
	<-ended // one that has closed ends both
	client.Close()
	upstream.Close()
	<-ended
}

// upstreamFailed answers when no upstream did. nginx then makes an answer of
// Kong's, which a buffered request takes for the upstream's.
func (x *exchange) upstreamFailed(w http.ResponseWriter, err error, late bool, run func(string) error) {
	if x.req.Context().Err() != nil {
		x.sent = 499
		panic(http.ErrAbortHandler)
	}
	x.log("err", "", "upstream: "+err.Error())
	var unknown *net.DNSError
	if errors.As(err, &unknown) && unknown.IsNotFound { // Kong looks names up itself
		x.fail(http.StatusServiceUnavailable, unknownHost)
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	status := http.StatusBadGateway
	if late || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	message := x.kongError(status, "")
	if !x.buffered {
		x.respond(w, status, message)
		return
	}
	x.status, x.upBody = status, message
	x.upHeader = http.Header{"Content-Type": {kongErrorType}}
	x.finishBuffered(w, run)
}

// answerBuffered reads the whole answer, runs the response phase and sends
// what is left of it.
func (x *exchange) answerBuffered(w http.ResponseWriter, body io.Reader, run func(string) error) {
	all, err := io.ReadAll(io.LimitReader(body, x.gw.cfg.MaxBody+1))
	if err == nil && int64(len(all)) > x.gw.cfg.MaxBody {
		err = errors.New("the answer is larger than MaxBody")
	}
	if err != nil {
		// Seen: the status stays, the body is Kong's, and no plugin is asked.
		x.log("err", "", "upstream prematurely closed connection: "+err.Error())
		x.answerHeader = http.Header{}
		x.respond(w, x.status, x.kongError(x.status, ""))
		return
	}
	x.upBody = all
	x.finishBuffered(w, run)
}

func (x *exchange) finishBuffered(w http.ResponseWriter, run func(string) error) {
	length := x.answerHeader.Get("Content-Length")
	if err := run("response"); err != nil {
		x.fail(http.StatusInternalServerError, "")
	}
	if x.exit != nil {
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	if x.req.Method == http.MethodHead || x.status == http.StatusNotModified {
		if length != "" {
			x.answerHeader.Set("Content-Length", length)
		}
		x.send(w, x.status, nil)
		return
	}
	x.respond(w, x.status, x.upBody)
}

// held is how much of an answer nginx collects before it sends it on.
const heldBytes = 4 << 10

// stream passes the answer on as it comes, or, when it is held, in pieces of
// heldBytes.
func (x *exchange) stream(w http.ResponseWriter, body io.Reader, held bool) {
	x.writeHeader(w, x.status)
	flush := http.NewResponseController(w)
	if !held {
		_ = flush.Flush() // a failed one shows in the next write
	}
	buf := make([]byte, 16<<10)
	waiting := make([]byte, 0, heldBytes+len(buf))
	for {
		n, err := body.Read(buf)
		waiting = append(waiting, buf[:n]...)
		if len(waiting) > 0 && (!held || len(waiting) >= heldBytes || err != nil) {
			if _, werr := w.Write(waiting); werr != nil {
				return // the client has gone
			}
			_ = flush.Flush()
			waiting = waiting[:0]
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			x.log("err", "", "upstream prematurely closed connection: "+err.Error())
			panic(http.ErrAbortHandler)
		}
	}
}

// A patience cancels a request whose upstream says nothing for too long.
type patience struct {
	limit   time.Duration
	cancel  context.CancelFunc
	expired atomic.Bool
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

// start gives the upstream the whole time from now.
func (p *patience) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, func() {
			p.expired.Store(true)
			p.cancel()
		})
		return
	}
	p.timer.Reset(p.limit)
}

func (p *patience) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (p *patience) late() bool { return p.expired.Load() }

func (p *patience) reader(r io.Reader) io.Reader { return patientReader{r, p} }

// A patientReader gives each read of the upstream's body the whole time.
type patientReader struct {
	r io.Reader
	p *patience
}

func (r patientReader) Read(b []byte) (int, error) {
	r.p.start()
	return r.r.Read(b)
}
