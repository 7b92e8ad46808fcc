// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// FuzzTarget sends what may be a request through the relay. Whatever net/http
// takes for one reaches the upstream with the same target, and its header with
// the same values; nothing else reaches it, least of all a second request.
func FuzzTarget(f *testing.F) {
	for _, uri := range []string{"/", "//a/../b?x", "/%2F;?%zz", "*", "http://a/b", "//\"<?", "//%", "/\x80", "//\x80/%7e", "/?#", "//?", "?", ""} {
		f.Add(uri, "X-A", "caf\xe9")
	}
	f.Add("/", "Connection", "x-else, close")
	f.Add("/", "Content-Length", "5")
	f.Add("/", "Transfer-Encoding", "chunked")
	f.Add("/", "x-relay-token", "0123456789abcdef0123456789abcdef")
	var mu sync.Mutex
	var got []string
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					var head strings.Builder
					for !strings.HasSuffix(head.String(), "\r\n\r\n") {
						line, err := in.ReadString('\n')
						if err != nil {
							return
						}
						head.WriteString(line)
					}
					mu.Lock()
					got = append(got, head.String())
					mu.Unlock()
					_, _ = io.WriteString(c, ok)
				}
			}()
		}
	}()
	s, address := newServer(f, relay.Options{})
	x := hands(newClient(f), relay.Target{Scheme: "http", Address: l.Addr().String(), Host: "h", Read: time.Second})
	var round atomic.Int64
	f.Fuzz(func(t *testing.T, uri, name, value string) {
		if strings.Contains(strings.ToLower(value), "x-mark") {
			return // Connection takes it away
		}
		mark := fmt.Sprintf("\r\nX-Mark: %d\r\n", round.Add(1)) // of the one before, something may still come
		token := s.Expect(x)
		defer s.Forget(token)
		raw := "GET " + uri + " HTTP/1.1\r\nHost: k\r\nX-Relay-Token: " + token + mark + "X-Last: 1\r\n" + name + ": " + value + "\r\n\r\n"
		parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		c, err2 := net.Dial("tcp", address)
		if err2 != nil {
			t.Fatal(err2)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetLinger(0) // or it runs out of ports
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(c, raw)
		var answer string
		if r, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			body, _ := io.ReadAll(r.Body)
			answer = r.Status + " " + string(body)
		}
		mu.Lock()
		defer mu.Unlock()
		mine := slices.DeleteFunc(got, func(head string) bool { return !strings.Contains(head, mark) })
		got = nil
		served := answer == "200 OK ok"
		if served && (err != nil || len(mine) != 1) || len(mine) > 1 {
			t.Fatalf("%q: %d requests, %v, answer %q", raw, len(mine), err, answer)
		}
		if !served {
			return
		}
		line, rest, _ := strings.Cut(mine[0], "\r\n")
		want := parsed.RequestURI
		if strings.HasPrefix(want, "//") {
			want = plain(want)
		}
		if line != "GET "+want+" HTTP/1.1" {
			t.Errorf("%q became %q", parsed.RequestURI, line)
		}
		sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(mine[0])))
		if err != nil {
			t.Fatalf("%q: %v", mine[0], err)
		}
		if strings.Contains(strings.ToLower("\r\n"+rest), "\r\nx-relay-token:") || sent.URL.Host == "" && sent.Host != "h" {
			t.Errorf("sent %q", rest)
		}
		canonical := http.CanonicalHeaderKey(name)
		switch canonical {
		case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Host", "User-Agent", "X-Relay-Token", "Expect":
			return
		}
		if !slices.Equal(parsed.Header[canonical], sent.Header[canonical]) {
			t.Errorf("%s: %q became %q", canonical, parsed.Header[canonical], sent.Header[canonical])
		}
	})
}

// plain is a target of two slashes with what can't stand in a path escaped.
func plain(target string) string {
	path, query, ask := strings.Cut(target, "?")
	var b strings.Builder
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"#<>\\^`{|}", c) >= 0 {
			b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15])))
		} else {
			b.WriteByte(c)
		}
	}
	if ask {
		b.WriteString("?" + query)
	}
	return b.String()
}
