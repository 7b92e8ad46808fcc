// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// hopHeaders are about one connection and are not passed on.
var hopHeaders = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// isWebSocket reports whether Kong takes a request for the start of a
// websocket: the first Upgrade header decides, whatever the protocol.
func (x *exchange) isWebSocket() bool {
	return strings.EqualFold(x.requestHeader("upgrade"), "websocket")
}

// proxy asks the upstream and answers the client.
func (x *exchange) proxy(w http.ResponseWriter, run func(phase string) error) {
	ctx, cancel := context.WithCancel(x.req.Context())
	defer cancel()
	patience := time.Duration(x.route.service.ReadTimeout) * time.Millisecond
	timer := time.AfterFunc(patience, cancel)
	defer timer.Stop()

	x.buffered = truthy(x.ctx[buffering]) && !x.websocket
	body, err := x.openBody()
	if err != nil {
		x.fail(http.StatusInternalServerError, "")
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	res, err := x.gw.transport.RoundTrip(x.upstreamRequest(ctx, body))
	if err != nil {
		x.upstreamFailed(w, err, !timer.Stop(), run)
		return
	}
	defer res.Body.Close()
	x.status = res.StatusCode
	x.upHeader = res.Header.Clone()
	for _, name := range hopHeaders {
		x.upHeader.Del(name)
	}
	for name, values := range x.upHeader {
		x.answerHeader[name] = values
	}
	x.answerHeader.Set("Via", "1.1 kong/3.9.1")
	answer := &patientReader{r: res.Body, timer: timer, patience: patience}
	if x.buffered {
		x.answerBuffered(w, answer, run)
		return
	}
	x.stream(w, answer)
}

func (x *exchange) upstreamRequest(ctx context.Context, body io.ReadCloser) *http.Request {
	s := x.route.service
	host := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	if x.target != "" {
		host = x.target
	}
	req := &http.Request{
		Method: x.req.Method,
		// The path goes on as it is, byte for byte.
		URL:           &url.URL{Scheme: x.scheme, Host: host, Opaque: "/" + strings.TrimLeft(x.upstream, "/"), RawQuery: x.query},
		Host:          host,
		Header:        http.Header{},
		ContentLength: x.size,
		Body:          body,
	}
	for name, values := range x.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	for _, name := range append(hopHeaders, "Host", "Content-Length") {
		req.Header.Del(name)
	}
	if x.websocket {
		req.Header.Set("Connection", "keep-alive, Upgrade")
		req.Header.Set("Upgrade", "websocket")
	}
	if len(x.header["user-agent"]) == 0 {
		req.Header["User-Agent"] = []string{""} // else net/http adds its own
	}
	if x.route.PreserveHost {
		req.Host = x.req.Host
	}
	ip := x.remoteIP()
	req.Header["X-Forwarded-For"] = []string{strings.Join(append(x.header["x-forwarded-for"], ip), ", ")}
	req.Header.Set("X-Forwarded-Proto", "http")
	req.Header.Set("X-Forwarded-Host", x.variable("host"))
	req.Header.Set("X-Forwarded-Path", requestURI(x.req))
	req.Header.Set("X-Real-Ip", ip)
	req.Header.Set("X-Kong-Request-Id", x.id)
	return req.WithContext(ctx)
}

// upstreamFailed answers when no upstream did. nginx then makes an answer of
// Kong's, which a buffered request takes for the upstream's.
func (x *exchange) upstreamFailed(w http.ResponseWriter, err error, late bool, run func(string) error) {
	if x.req.Context().Err() != nil {
		x.sent = 499
		panic(http.ErrAbortHandler)
	}
	status := http.StatusBadGateway
	if late || errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	x.log("err", "", "upstream: "+err.Error())
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

// stream passes the answer on as it comes.
func (x *exchange) stream(w http.ResponseWriter, body io.Reader) {
	x.writeHeader(w, x.status)
	flush := http.NewResponseController(w)
	buf := make([]byte, 16<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return // the client has gone
			}
			_ = flush.Flush() // a failed one shows in the next write
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

// A patientReader gives each read of the upstream's body the whole timeout.
type patientReader struct {
	r        io.Reader
	timer    *time.Timer
	patience time.Duration
}

func (p *patientReader) Read(b []byte) (int, error) {
	p.timer.Reset(p.patience)
	return p.r.Read(b)
}
