// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// Bodies end where their answers do, and give what there is before they wait.
// What is wrong with an answer and what ends it in other ways is tested by those
// who make calls.
func TestBody(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		name, answer string
		bare         bool
		body         string
		length       int64
		stays        bool
		trailer      string // of X
		broken       bool
	}{
		{name: "a length", answer: ok + "Content-Length: 4\r\n\r\ntext", body: "text", length: 4, stays: true},
		{name: "none", answer: ok + "Content-Length: 0\r\n\r\n", stays: true},
		{name: "chunks", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nte\r\n2\r\nxt\r\n0\r\n\r\n", body: "text", length: -1, stays: true},
		{name: "a trailer", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nte\r\n0\r\nX: y\r\n\r\n", body: "te", length: -1, stays: true, trailer: "y"},
		{name: "up to the end", answer: ok + "\r\ntext", body: "text", length: -1},
		{name: "of a HEAD", answer: ok + "Content-Length: 4\r\n\r\n", bare: true, stays: true},
		{name: "of a HEAD, in chunks", answer: ok + "Transfer-Encoding: chunked\r\n\r\n", bare: true, stays: true},
		{name: "of a HEAD, without a length", answer: ok + "\r\n", bare: true, stays: true},
		{name: "of a HEAD, the last one", answer: ok + "Connection: close\r\n\r\n", bare: true},
		{name: "of a HEAD, 304", answer: "HTTP/1.1 304 X\r\n\r\n", bare: true, stays: true},
		{name: "cut", answer: ok + "Content-Length: 5\r\n\r\ntext", body: "text", length: 5, stays: true, broken: true},
		{name: "cut chunk", answer: ok + "Transfer-Encoding: chunked\r\n\r\n4\r\nte", body: "te", length: -1, stays: true, broken: true},
		{name: "cut trailer", answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nte\r\n0\r\nX: y", body: "te", length: -1, stays: true, broken: true},
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "by byte": iotest.OneByteReader, "with the end": iotest.DataErrReader,
		} {
			t.Run(c.name+", "+how, func(t *testing.T) {
				a := NewAnswerReader(reader(strings.NewReader(c.answer)), 1000)
				a.Next()
				h, err := a.Head(c.bare)
				if err != nil {
					t.Fatal(err)
				}
				body := a.Body(&h)
				all, err := io.ReadAll(body)
				if string(all) != c.body || h.Length != c.length || h.Stays != c.stays || body.Trailer.Get("X") != c.trailer || !a.Done() {
					t.Errorf("%q, %+v, trailer %v", all, h, body.Trailer)
				}
				if c.broken != (err != nil) || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// A trailer has a bound, behind a body that has none.
func TestTrailerIsBounded(t *testing.T) {
	const most = 8 << 10
	a := NewAnswerReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5000\r\n"+strings.Repeat("x", 0x5000)+"\r\n0\r\nX: "+strings.Repeat("x", 2*most)+"\r\n\r\n"), most)
	a.Next()
	h, err := a.Head(false)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, a.Body(&h)); n != 0x5000 || !errors.Is(err, errHeadTooLarge) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// What a Room bounds is the sum of all pools, and what goes leaves room.
func TestRoom(t *testing.T) {
	room := &Room{Max: 3}
	pools := []*Pool{{MaxIdle: 2, IdleFor: time.Hour, All: room}, {MaxIdle: 2, IdleFor: time.Hour, All: room}}
	connect := func(p *Pool) *Link {
		l, err := p.Connect(t.Context(), func(context.Context) (net.Conn, error) { c, _ := net.Pipe(); return c, nil }, nil)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	want := func(first, second int) {
		t.Helper()
		if a, b := pools[0].Idle(), pools[1].Idle(); a != first || b != second {
			t.Fatalf("%d and %d are kept, want %d and %d", a, b, first, second)
		}
	}
	for range 3 { // of which one takes another's place
		pools[0].Keep(connect(pools[0]))
	}
	want(2, 0)
	refused := connect(pools[1])
	pools[1].Keep(connect(pools[1]))
	pools[1].Keep(refused)
	want(2, 1)
	if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("what is not kept is not closed: %v", err)
	}
	if pools[0].Take() == nil {
		t.Fatal("nothing was kept")
	}
	pools[1].Keep(connect(pools[1]))
	want(1, 2)
	pools[1].CloseOldest()
	pools[0].Keep(connect(pools[0]))
	want(2, 1)
	for _, p := range pools {
		p.CloseIdle()
	}
	want(0, 0)
	if n := room.kept.Load(); n != 0 {
		t.Errorf("%d are counted", n)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"X-A", "caf\xe9 \t", true},
		{"x_a", "", true},
		{"X A", "", false},
		{"", "", false},
		{"X", "a\r\nB: c", false},
		{"X", "a\x00", false},
	} {
		if got := Fit(c.name, []string{"x", c.value}); got != c.want {
			t.Errorf("%q: %q is %v", c.name, c.value, got)
		}
	}
	if got := string(AppendField([]byte("GET"), "X-A", " b ")); got != "GET\r\nX-A: b" {
		t.Errorf("%q", got)
	}
}
