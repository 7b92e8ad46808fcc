// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

const upgrade = "GET /realtime?x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n"

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n"

// echoes is an upstream that switches, says hello and then what it hears, and
// bye at the end.
func echoes(_ int, c net.Conn, in *bufio.Reader) {
	if readRequest(in) != nil {
		return
	}
	_, _ = io.WriteString(c, switched+"hello")
	_, _ = io.Copy(c, in)
	_, _ = io.WriteString(c, "bye")
}

// tunnelled opens a tunnel and reads the head of its answer.
func tunnelled(t *testing.T, s *relay.Server, address string, to relay.Target, ended chan<- error) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, in, answer := asksForTunnel(t, s, address, to, ended)
	if answer.StatusCode != 101 || answer.Header.Get("Upgrade") != "websocket" || answer.Header.Get("Connection") != "Upgrade" || answer.Header.Get("Sec-Websocket-Accept") != "a" {
		t.Errorf("%d %v", answer.StatusCode, answer.Header)
	}
	return c, in
}

func asksForTunnel(t *testing.T, s *relay.Server, address string, to relay.Target, ended chan<- error) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	client := newClient(t)
	token := s.Expect(exchange{serve: func(w http.ResponseWriter, r *http.Request) {
		answer, err := client.Forward(r.Context(), r, nil, &to)
		if err == nil {
			err = relay.Tunnel(w, r, answer)
		}
		ended <- err
	}})
	c := dial(t, address)
	// The client does not wait for the answer before it says something.
	_, _ = io.WriteString(c, withToken(upgrade, token)+"early")
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, in, answer
}

func hears(t *testing.T, in io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(in, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v", got, err)
	}
}

func TestTunnel(t *testing.T) {
	up, _ := script(t, echoes)
	s, address := newServer(t, relay.Options{})
	ended := make(chan error, 1)
	c, in := tunnelled(t, s, address, target(up), ended)
	hears(t, in, "helloearly")
	for range 10 {
		_, _ = io.WriteString(c, "frame")
		hears(t, in, "frame")
	}
	if s.Open() != 1 {
		t.Errorf("%d open", s.Open())
	}
	// The client ends, and the upstream still says something.
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(in); string(rest) != "bye" || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestTunnelOverTLS: an upstream that would talk HTTP/2 is not asked to.
func TestTunnelOverTLS(t *testing.T) {
	up, identity := tlsUpstream(t, true, func(w http.ResponseWriter, _ *http.Request) {
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		echoBack(c, buf.Reader)
	})
	s, address := newServer(t, relay.Options{})
	ended := make(chan error, 1)
	c, in := tunnelled(t, s, address, relay.Target{Scheme: "https", Address: up, TLS: identity}, ended)
	hears(t, in, "helloearly")
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(in); string(rest) != "bye" || err != nil {
		t.Errorf("rest %q, %v", rest, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func echoBack(c net.Conn, in *bufio.Reader) {
	_, _ = io.WriteString(c, switched+"hello")
	_, _ = io.Copy(c, in)
	_, _ = io.WriteString(c, "bye")
}

func TestTunnelEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(c net.Conn, s *relay.Server)
		read time.Duration
		want error
	}{
		"silence": {func(net.Conn, *relay.Server) {}, 50 * time.Millisecond, relay.ErrUpstreamTimeout},
		"shutdown": {func(_ net.Conn, s *relay.Server) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = s.Shutdown(ctx)
		}, patience, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			up, _ := script(t, echoes)
			s, address := newServer(t, relay.Options{})
			ended := make(chan error, 1)
			to := target(up)
			to.Read = c.read
			conn, in, answer := asksForTunnel(t, s, address, to, ended)
			for answer.StatusCode != 101 && to.Read < patience { // the head took the upstream longer
				if err := <-ended; err != relay.ErrUpstreamTimeout { //nolint:errorlint // nothing more is known
					t.Fatalf("not opened: %v", err)
				}
				to.Read *= 4
				conn, in, answer = asksForTunnel(t, s, address, to, ended)
			}
			c.end(conn, s)
			if err := <-ended; !errors.Is(err, c.want) {
				t.Errorf("ended with %v", err)
			}
			_, _ = io.Copy(io.Discard, in) // it is closed
		})
	}
}

// TestTunnelBroken: an upstream that breaks ends the tunnel.
func TestTunnelBroken(t *testing.T) {
	up, _ := script(t, func(_ int, c net.Conn, in *bufio.Reader) {
		_ = readRequest(in)
		_, _ = io.WriteString(c, switched)
		_, _ = io.ReadFull(in, make([]byte, 5))
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	s, address := newServer(t, relay.Options{})
	ended := make(chan error, 1)
	_, in := tunnelled(t, s, address, target(up), ended)
	if err := <-ended; err == nil || strings.ContainsAny(err.Error(), "0123456789") {
		t.Errorf("ended with %v", err)
	}
	_, _ = io.Copy(io.Discard, in)
}

// TestUpgradesThatAreNone: what is no WebSocket is not asked for, and an answer
// of the upstream's own goes on.
func TestUpgradesThatAreNone(t *testing.T) {
	for name, c := range map[string]struct{ headers, want string }{
		"h2c":             {"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n", ""},
		"not listed":      {"Connection: keep-alive\r\nUpgrade: websocket\r\n", ""},
		"two":             {"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", ""},
		"a list":          {"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", ""},
		"refused upgrade": {"Connection: upgrade\r\nUpgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			up := record(t, "", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", true)
			raw := through(t, target(up.Addr().String()), "GET / HTTP/1.1\r\nHost: h\r\n"+c.headers+"\r\n", "no")
			if !strings.HasPrefix(raw, "HTTP/1.1 403") || !strings.HasSuffix(raw, "no") {
				t.Errorf("answer %q", raw)
			}
			if got, want := up.requests()[0], "GET / HTTP/1.1\r\nHost: api.example:8443\r\n"+c.want+"\r\n"; got != want {
				t.Errorf("asked %q", got)
			}
		})
	}
}
