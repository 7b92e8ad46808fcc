// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// rawService answers each request on loopback with the bytes that say returns
// for the call'th request of the conn'th connection, both from 1, and then
// closes the connection if these are its last.
func rawService(t *testing.T, say func(conn, call int) (answer string, last bool)) (address string, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	conns = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(conns.Add(1))
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for call := 1; ; call++ {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					answer, last := say(n, call)
					if _, err := io.WriteString(c, answer); err != nil || last {
						return
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), conns
}

func TestAnswersAreReadInOneWay(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name, answer string
		last         bool   // the service closes behind it
		body         string // "" with reason
		status       int    // 0 for 200
		conns        int32  // of two calls, 0 for 1
		reason       string // of the failure
		otherwise    bool   // net/http does something else with it
	}{
		{name: "a length", answer: ok + "Content-Length: 2\r\n\r\n{}", body: "{}"},
		{name: "a length of nothing", answer: ok + "Content-Length: 0\r\n\r\n"},
		{name: "chunks", answer: ok + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n", body: "{}"},
		{name: "chunks, in capitals", answer: ok + "transfer-encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n", body: "{}"},
		{name: "chunks and a trailer", answer: ok + "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n", body: "{}"},
		{name: "up to the end", answer: ok + "\r\n{}", last: true, body: "{}", conns: 2},
		{name: "the last one", answer: ok + "Connection: x, Close\r\nContent-Length: 2\r\n\r\n{}", body: "{}", conns: 2},
		{name: "version 1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", body: "{}", conns: 2},
		{name: "no reason phrase", answer: "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}", body: "{}"},
		{name: "100 before", answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok + "Content-Length: 2\r\n\r\n{}", body: "{}"},
		{name: "another answer behind it", answer: ok + "Content-Length: 2\r\n\r\n{}" + ok + "Content-Length: 2\r\n\r\n[]", body: "{}", conns: 2, otherwise: true},
		{name: "204", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reason: "status 204"},
		{name: "204 with a length", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", status: 204, reason: "status 204", conns: 2},
		{name: "101", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", last: true, status: 101, reason: "status 101", conns: 2},
		{name: "204 with a length of nothing", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", status: 204, reason: "status 204"},
		{name: "204 with a length and no body", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", status: 204, reason: "status 204", conns: 2},
		{name: "101 that stays", answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", status: 101, reason: "status 101", conns: 2, otherwise: true},
		{name: "a status of its own", answer: "HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n", status: 999, reason: "status 999"},

		{name: "two lengths", answer: ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", reason: ReasonNetwork},
		{name: "a length twice", answer: ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork, otherwise: true},
		{name: "a list of lengths", answer: ok + "Content-Length: 2, 2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "a length and chunks", answer: ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", reason: ReasonNetwork, otherwise: true},
		{name: "a signed length", answer: ok + "Content-Length: +2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "a negative length", answer: ok + "Content-Length: -2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "an empty length", answer: ok + "Content-Length:\r\n\r\n{}", last: true, reason: ReasonNetwork},
		{name: "a huge length", answer: ok + "Content-Length: 99999999999999999999\r\n\r\n{}", reason: ReasonNetwork},
		{name: "a length in hex", answer: ok + "Content-Length: 0x2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "another coding", answer: ok + "Transfer-Encoding: gzip\r\n\r\n{}", last: true, reason: ReasonNetwork},
		{name: "two codings", answer: ok + "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", reason: ReasonNetwork},
		{name: "two fields of codings", answer: ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", reason: ReasonNetwork},
		{name: "chunks of version 1.0", answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", last: true, reason: ReasonNetwork, otherwise: true},
		{name: "a bad chunk", answer: ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n", reason: ReasonNetwork},
		{name: "a chunk that is longer", answer: ok + "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", reason: ReasonNetwork},
		{name: "a blank before the colon", answer: ok + "Content-Length : 2\r\n\r\n{}", last: true, reason: ReasonNetwork, otherwise: true},
		{name: "a bare CR", answer: ok + "X: a\rContent-Length: 3\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork, otherwise: true},
		{name: "a zero byte", answer: ok + "X: \x00\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork, otherwise: true},
		{name: "no colon", answer: ok + "Content-Length 2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "version 0.9", answer: "{}\r\n\r\n", last: true, reason: ReasonNetwork},
		{name: "version 2.0", answer: "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork, otherwise: true},
		{name: "a long status", answer: "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "a status of letters", answer: "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "status 000", answer: "HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork, otherwise: true},
		{name: "a head too large", answer: ok + "X: " + strings.Repeat("x", 80<<10) + "\r\nContent-Length: 2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "a head of too many fields", answer: ok + strings.Repeat("X: y\r\n", 20<<10) + "Content-Length: 2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "too many before it", answer: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 4<<10) + ok + "Content-Length: 2\r\n\r\n{}", reason: ReasonNetwork},
		{name: "a trailer too large", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", reason: ReasonNetwork},
		{name: "nothing", last: true, reason: ReasonReset},
		{name: "half a status", answer: "HTTP/1.1 200", last: true, reason: ReasonReset},
		{name: "half a head", answer: ok + "Content-Len", last: true, reason: ReasonNetwork},
		{name: "a head without its end", answer: ok + "Content-Length: 2\r\n", last: true, reason: ReasonReset},
		{name: "half a body", answer: ok + "Content-Length: 3\r\n\r\n{}", last: true, reason: ReasonReset},
		{name: "half a chunk", answer: ok + "Transfer-Encoding: chunked\r\n\r\n3\r\n{}", last: true, reason: ReasonReset},
		{name: "chunks without an end", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", last: true, reason: ReasonReset},
		{name: "half a trailer", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX", last: true, reason: ReasonNetwork},
	} {
		t.Run(c.name, func(t *testing.T) {
			if viaTransport && c.otherwise {
				t.Skip("net/http does something else")
			}
			address, conns := rawService(t, func(int, int) (string, bool) { return c.answer, c.last })
			cl := client(t, Options{})
			for range 2 {
				resp, err := cl.Post(t.Context(), Request{URL: address, Body: []byte("x")})
				if c.reason == "" {
					if err != nil || string(resp.Body) != c.body {
						t.Fatalf("got %q, %v", resp.Body, err)
					}
					continue
				}
				if f := failure(t, err); f.Reason != c.reason || resp.Status != c.status || len(resp.Body) > 0 {
					t.Fatalf("got %+v, %d %q", *f, resp.Status, resp.Body)
				}
			}
			want := max(c.conns, 1)
			if c.reason != "" && c.status == 0 {
				want = 2
			}
			if got := conns.Load(); got != want && !viaTransport {
				t.Errorf("two calls took %d connections, want %d", got, want)
			}
		})
	}
}

// The body of an answer counts, and not how it is packed into segments.
func TestAnswersInPieces(t *testing.T) {
	const answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n"
	for size := 1; size < len(answer); size++ {
		onPipes(t, nil, func() (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				req, _ := http.ReadRequest(bufio.NewReader(theirs))
				_, _ = io.Copy(io.Discard, req.Body)
				for rest := answer; rest != ""; rest = rest[min(size, len(rest)):] {
					_, _ = io.WriteString(theirs, rest[:min(size, len(rest))])
				}
				_ = theirs.Close()
			}()
			return ours, nil
		}, func(t *testing.T, c *Client) {
			if resp, err := c.Post(t.Context(), Request{URL: serviceURL, Body: []byte("x")}); err != nil || string(resp.Body) != "{}" {
				t.Errorf("in pieces of %d: %q, %v", size, resp.Body, err)
			}
		})
	}
}

// bytesConn is a connection that says what it says and takes all.
type bytesConn struct {
	io.Reader
	unsent error // of writing
}

func (c *bytesConn) Write(p []byte) (int, error)      { return len(p), c.unsent }
func (*bytesConn) Close() error                       { return nil }
func (*bytesConn) LocalAddr() net.Addr                { return &net.UnixAddr{} }
func (*bytesConn) RemoteAddr() net.Addr               { return &net.UnixAddr{} }
func (*bytesConn) SetDeadline(time.Time) error        { return nil }
func (*bytesConn) SetReadDeadline(time.Time) error    { return nil }
func (*bytesConn) SetWriteDeadline(t time.Time) error { return nil }

// FuzzAnswer holds that whatever is taken for an answer net/http takes for the
// same one, and that a connection is kept only where the answer ends for both.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\n{}",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
		"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\nz",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length:\t2 \r\n\r\n{}HTTP/1.1 200 OK\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := http1.NewAnswerReader(bytes.NewReader(data), maxHead)
		a.Next()
		got, clean, err := readResponse(a, 0)
		if err != nil {
			if clean {
				t.Fatal("a connection is kept after an error")
			}
			return
		}
		r := bufio.NewReader(bytes.NewReader(data))
		var want *http.Response
		for {
			if want, err = http.ReadResponse(r, &http.Request{Method: http.MethodPost}); err != nil {
				t.Fatalf("net/http does not read it: %v", err)
			}
			if want.StatusCode >= 200 || want.StatusCode == http.StatusSwitchingProtocols {
				break
			}
		}
		body, err := io.ReadAll(want.Body)
		if err != nil || got.Status != want.StatusCode || !bytes.Equal(got.Body, body) {
			t.Fatalf("status %d %q, net/http reads %d %q, %v", got.Status, got.Body, want.StatusCode, body, err)
		}
		if rest, _ := io.ReadAll(r); clean && (want.Close || len(rest) > 0) {
			t.Fatalf("kept, while net/http closes: %v, or with %q behind it", want.Close, rest)
		}
	})
}

// FuzzHead holds that the head of a call says what it was given and nothing
// else, whoever wrote that.
func FuzzHead(f *testing.F) {
	f.Add("http://scan.example/v1?a=b", "X-Key", "k", "", "body")
	f.Add("http://scan.example/", "User-Agent", "kong-ai-guard", "X-Key", "")
	f.Add("http://[::1]:80", "x-a b", "k\r\nX: y", "Transfer-Encoding", "POST / HTTP/1.1\r\n\r\n")
	f.Add("https://scan.example/a%0d%0ab", "Content-length", " 7\t", "Host", "")
	f.Fuzz(func(t *testing.T, raw, name, value, other, body string) {
		c := &Client{targets: make(map[string]*target), hosts: make(map[string]*breaker), direct: &direct{tls: new(tls.Config), hosts: make(map[string]*host)}}
		to, fail := c.target(raw)
		fields := callHeader(http.Header{name: {value}, other: {"v", value}})
		if fail != nil || to.host == nil || !ordinary(fields) {
			return
		}
		head := appendHead(nil, to.line, fields, len(body))
		r := bufio.NewReader(strings.NewReader(string(head) + body))
		got, err := http.ReadRequest(r)
		if err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		read, err := io.ReadAll(got.Body)
		if err != nil || string(read) != body || r.Buffered() > 0 || got.ContentLength != int64(len(body)) || got.TransferEncoding != nil || got.Close {
			t.Fatalf("%q: a body of %d, %q, %v", head, got.ContentLength, read, err)
		}
		u, _ := url.Parse(raw)
		if got.Method != http.MethodPost || got.Host != u.Host || got.RequestURI != u.RequestURI() {
			t.Fatalf("%q: %s %q to %q", head, got.Method, got.RequestURI, got.Host)
		}
		want := make(http.Header)
		for k, vs := range fields {
			for _, v := range vs {
				want.Add(k, strings.Trim(v, " \t"))
			}
		}
		if want.Get("User-Agent") == "" {
			want.Set("User-Agent", "Go-http-client/1.1")
		}
		if got.UserAgent() != want.Get("User-Agent") {
			t.Fatalf("%q: called by %q", head, got.UserAgent())
		}
		got.Header.Del("Content-Length")
		if len(got.Header) != len(want) {
			t.Fatalf("%q: fields %q, want %q", head, got.Header, want)
		}
		for k, vs := range want {
			if len(got.Header[k]) != len(vs) {
				t.Fatalf("%q: %s is %q, want %q", head, k, got.Header[k], vs)
			}
		}
	})
}

// What a caller of Post puts into a header stays in it, or is not sent.
func TestHeadersCannotSayMore(t *testing.T) {
	for _, h := range []http.Header{
		{"X-Key": {"k\r\nX-Other: y"}},
		{"X-Key": {"k\n\nPOST / HTTP/1.1"}},
		{"X-Key": {"k\x00"}},
		{"X-Key: y\r\nX-Other": {"k"}},
		{"X Key": {"k"}},
		{"": {"k"}},
	} {
		var calls atomic.Int32
		address, _ := rawService(t, func(int, int) (string, bool) {
			calls.Add(1)
			return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false
		})
		_, err := client(t, Options{}).Post(t.Context(), Request{URL: address, Header: h, Body: []byte("x")})
		if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != ReasonNetwork || calls.Load() != 0 {
			t.Errorf("%q: %+v, %d calls", h, *f, calls.Load())
		}
	}
}

// A service may answer before it has read all, and hang up.
func TestPostHearsAnEarlyAnswer(t *testing.T) {
	onlyDirect(t) // net/http writes and reads at the same time
	onPipes(t, nil, func() (net.Conn, error) {
		const answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"
		return &bytesConn{Reader: strings.NewReader(answer), unsent: &net.OpError{Op: "write", Err: io.ErrClosedPipe}}, nil
	}, func(t *testing.T, c *Client) {
		for range 2 {
			resp, err := c.Post(context.Background(), Request{URL: serviceURL, Body: []byte("x")})
			if f := failure(t, err); f.Kind != scan.TooLarge || resp.Status != 413 {
				t.Errorf("got %+v", *f)
			}
		}
	})
}
