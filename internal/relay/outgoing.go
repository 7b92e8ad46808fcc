// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// outgoing makes the request to send out of the one that came, but for its body.
// replaced says that this is another one than came.
func outgoing(r *http.Request, replaced bool, t *Target, to *route) *http.Request {
	out := &http.Request{
		Method: r.Method,
		URL:    requestURL(r, t.Scheme, to.host()),
		Host:   t.Host,
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: endToEnd(r.Header),
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // or net/http says its own
	}
	if to.websocket {
		out.Header["Connection"] = []string{"Upgrade"}
		out.Header["Upgrade"] = r.Header["Upgrade"]
	}
	if replaced {
		for _, name := range []string{"Content-Encoding", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Expect"} {
			delete(out.Header, name)
		}
	}
	return out
}

// hasBody reports whether r, as a server has it, comes with a body.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// saysLength reports whether a request without a body says so.
func saysLength(r *http.Request, body []byte) bool {
	return body != nil || r.Header["Content-Length"] != nil
}

// load gives out its body: body if that is not nil, else that of r.
func (c *call) load(out, r *http.Request, body []byte) {
	switch {
	case len(body) > 0:
		out.ContentLength = int64(len(body))
		out.Body = &sentBody{call: c, from: io.NopCloser(bytes.NewReader(body))}
		out.GetBody = c.again(out.Header, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil })
	case body == nil && hasBody(r):
		c.pass(out, r)
	case saysLength(r, body):
		// net/http says Content-Length: 0 by itself for some methods only.
		out.Body, out.TransferEncoding = http.NoBody, []string{"identity"}
	}
}

// pass has the body sent that comes with r, and its trailers.
func (c *call) pass(out, r *http.Request) {
	out.ContentLength, out.TransferEncoding = r.ContentLength, r.TransferEncoding
	if r.ContentLength < 0 {
		// Those that nobody has announced are known at the end.
		if out.Trailer = r.Trailer; out.Trailer == nil {
			out.Trailer = http.Header{}
		}
	}
	out.Body = &sentBody{call: c, from: r.Body, came: r, trailer: out.Trailer}
	if r.GetBody != nil {
		out.GetBody = c.again(out.Header, r.GetBody)
	}
}

// again lets net/http send a body once more: when it has sent nothing of the
// request, or when an HTTP/2 upstream says that it took nothing. It takes an
// Idempotency-Key for leave to repeat what an upstream may have worked on, too;
// we do not.
func (c *call) again(h http.Header, get func() (io.ReadCloser, error)) func() (io.ReadCloser, error) {
	if h["Idempotency-Key"] != nil || h["X-Idempotency-Key"] != nil {
		return nil
	}
	return func() (io.ReadCloser, error) {
		if !c.repeated.CompareAndSwap(false, true) {
			return nil, errRepeated
		}
		body, err := get()
		if err != nil {
			return nil, err
		}
		return &sentBody{call: c, from: body}, nil
	}
}

// requestURL has net/http send path and query as they came.
func requestURL(r *http.Request, scheme, host string) *url.URL {
	raw := r.RequestURI
	if raw == "" { // no server has read it
		raw = r.URL.RequestURI()
	}
	u := &url.URL{Scheme: scheme, Host: host, Opaque: raw}
	if !strings.HasPrefix(raw, "//") {
		return u
	}
	// As an opaque part, that would get the scheme in front. As a path, what
	// can't stand in one would be escaped, and all escapes made anew: so it is
	// escaped here. Kong itself leaves nothing of that kind.
	path, query, ok := strings.Cut(raw, "?")
	u.Opaque, u.RawPath, u.RawQuery, u.ForceQuery = "", escape(path), query, ok
	if u.Path, _ = url.PathUnescape(u.RawPath); u.Path == "" {
		u.Path = u.RawPath
	}
	return u
}

// escape leaves all that is allowed in a path, escapes too.
func escape(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@/%[]", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// endToEnd returns the headers that are not about a connection. The values are
// shared.
func endToEnd(h http.Header) http.Header {
	out := make(http.Header, len(h)+2)
	copyEndToEnd(out, h)
	if teTrailers(h["Te"]) {
		out["Te"] = []string{"trailers"}
	}
	return out
}

// copyEndToEnd copies what is not there yet.
func copyEndToEnd(to, from http.Header) {
	listed := connectionNames(from["Connection"])
	for name, values := range from {
		switch name {
		case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			continue
		}
		if _, ok := to[name]; !ok && !slices.Contains(listed, name) {
			to[name] = values
		}
	}
}

// connectionNames are the headers that Connection says are of the connection.
func connectionNames(values []string) (names []string) {
	for _, v := range values {
		for v := range strings.SplitSeq(v, ",") {
			switch v = http.CanonicalHeaderKey(strings.Trim(v, " \t")); v {
			case "", "Close", "Keep-Alive", "Upgrade":
			default:
				names = append(names, v)
			}
		}
	}
	return names
}

func teTrailers(values []string) bool { return hasToken(values, "trailers") }

// hasToken reports whether one of a list of words is token, in any case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for v := range strings.SplitSeq(v, ",") {
			v, _, _ = strings.Cut(v, ";")
			if strings.EqualFold(strings.Trim(v, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// wantsWebSocket is what net/http takes for it, too: it must not ask an HTTP/2
// upstream then.
func wantsWebSocket(r *http.Request) bool {
	upgrade := r.Header["Upgrade"]
	return len(upgrade) == 1 && strings.EqualFold(upgrade[0], "websocket") && hasToken(r.Header["Connection"], "upgrade")
}
