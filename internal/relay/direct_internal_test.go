// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
)

// over sends a GET, or another method, over a connection.
func over(t *testing.T, conn net.Conn, method string, send time.Duration) (*host, *http.Response, bool, error) {
	t.Helper()
	h := &host{pool: http1.Pool{MaxIdle: 1, IdleFor: time.Minute, MaxHead: maxHeaderBytes}}
	t.Cleanup(h.pool.CloseIdle)
	l, err := h.pool.Connect(t.Context(), func(context.Context) (net.Conn, error) { return conn, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := directCall{ctx: t.Context(), host: h, out: &http.Request{Method: method}, message: []byte("message"), send: send}
	answer, sent, err := c.over(l)
	if err != nil {
		err = failureOf(c.ctx, err)
	}
	return h, answer, sent, err
}

// TestSendIsBounded: an upstream that takes nothing. What a pipe takes, somebody
// has read.
func TestSendIsBounded(t *testing.T) {
	for _, takes := range []int{0, 3} {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go func() { _, _ = io.ReadFull(theirs, make([]byte, takes)) }()
		_, _, sent, err := over(t, ours, http.MethodPost, 20*time.Millisecond)
		if err != ErrUpstreamTimeout || sent != (takes > 0) { //nolint:errorlint // nothing more is known
			t.Errorf("took %d: %v, sent %v", takes, err, sent)
		}
	}
}

// A timedConn is one whose time for writing must not be over before that for
// reading.
type timedConn struct {
	saidConn
	t           *testing.T
	read, write time.Time
}

func (c *timedConn) SetDeadline(at time.Time) error      { c.read, c.write = at, at; return nil }
func (c *timedConn) SetReadDeadline(at time.Time) error  { c.read = at; return nil }
func (c *timedConn) SetWriteDeadline(at time.Time) error { c.write = at; return nil }

func (c *timedConn) Read(p []byte) (int, error) {
	if !c.write.Equal(c.read) {
		c.t.Errorf("read until %v, written until %v", c.read, c.write)
	}
	return c.saidConn.Read(p[:1])
}

// TestTimeToAnswerWhileReading: TLS may have to write while it reads. If the time
// for that was over, the connection would fail in its next use.
func TestTimeToAnswerWhileReading(t *testing.T) {
	_, answer, _, err := over(t, &timedConn{t: t, saidConn: saidConn{strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")}}, http.MethodPost, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(answer.Body); string(all) != "text" || err != nil {
		t.Errorf("%q, %v", all, err)
	}
}

// A saidConn is a connection on which everything was said before.
type saidConn struct{ io.Reader }

func (saidConn) Write(p []byte) (int, error)      { return len(p), nil }
func (saidConn) Close() error                     { return nil }
func (saidConn) LocalAddr() net.Addr              { return nil }
func (saidConn) RemoteAddr() net.Addr             { return nil }
func (saidConn) SetDeadline(time.Time) error      { return nil }
func (saidConn) SetReadDeadline(time.Time) error  { return nil }
func (saidConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzDirectAnswer holds that whatever is taken for an answer net/http takes for
// the same one, and that a connection is kept only where it ends for both.
func FuzzDirectAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 304 X\r\nContent-Length: 5\r\nPragma: no-cache\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\n{}",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length:\t2 \r\n\r\n{}HTTP/1.1 200 OK\r\n",
	} {
		f.Add([]byte(s), http.MethodGet)
		f.Add([]byte(s), http.MethodHead)
	}
	f.Fuzz(func(t *testing.T, data []byte, method string) {
		if method != http.MethodHead {
			method = http.MethodPost
		}
		h, got, _, err := over(t, saidConn{bytes.NewReader(data)}, method, 0)
		if err != nil {
			if h.pool.Idle() != 0 {
				t.Fatal("a connection is kept after an error")
			}
			return
		}
		body, err := io.ReadAll(got.Body)
		r := bufio.NewReader(bytes.NewReader(data))
		var want *http.Response
		for want == nil || want.StatusCode < 200 {
			var bad error
			if want, bad = http.ReadResponse(r, &http.Request{Method: method}); bad != nil {
				t.Fatalf("net/http does not read it: %v", bad)
			}
		}
		wanted, bad := io.ReadAll(want.Body)
		if (bad != nil) != (err != nil) || !bytes.Equal(body, wanted) {
			t.Fatalf("%q, %v, net/http reads %q, %v", body, err, wanted, bad)
		}
		if err != nil {
			if h.pool.Idle() != 0 {
				t.Fatal("a connection is kept after an error")
			}
			return
		}
		delete(got.Header, "Connection") // net/http takes it off where it says close
		delete(want.Header, "Connection")
		if got.StatusCode != want.StatusCode || got.ContentLength != want.ContentLength || !maps.EqualFunc(got.Header, want.Header, equalValues) || !maps.EqualFunc(got.Trailer, want.Trailer, equalValues) {
			t.Fatalf("%+v, net/http reads %+v", got, want)
		}
		if rest, _ := io.ReadAll(r); h.pool.Idle() > 0 && (want.Close || len(rest) > 0) {
			t.Fatalf("kept, while net/http closes: %v, or with %q behind it", want.Close, rest)
		}
	})
}

func equalValues(a, b []string) bool { return reflect.DeepEqual(a, b) || len(a) == 0 && len(b) == 0 }
