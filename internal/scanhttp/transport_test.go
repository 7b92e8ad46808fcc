// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// tlsService starts a service on loopback and returns the file of its CA.
func tlsService(t *testing.T, handler http.HandlerFunc, configure func(*httptest.Server)) (srv *httptest.Server, caFile string) {
	t.Helper()
	srv = httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if configure != nil {
		configure(srv)
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	writeCA(t, caFile, srv)
	return srv, caFile
}

func writeCA(t *testing.T, name string, srv *httptest.Server) {
	t.Helper()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(name, block, 0o600); err != nil {
		t.Fatal(err)
	}
}

func client(t *testing.T, o Options) *Client {
	t.Helper()
	o.Account = t.Name() // breakers of its own
	c, err := For(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.transport.CloseIdleConnections)
	return c
}

func TestTLS(t *testing.T) {
	ok := func(http.ResponseWriter, *http.Request) {}
	srv, ca := tlsService(t, ok, nil)
	old, oldCA := tlsService(t, ok, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	})
	plain := httptest.NewServer(http.HandlerFunc(ok))
	defer plain.Close()
	for _, tc := range []struct {
		name, url    string
		opts         Options
		reason, hint string
	}{
		{"trusted", srv.URL, Options{SSLVerify: true, CAFile: ca}, "", ""},
		{"not trusted", srv.URL, Options{SSLVerify: true}, ReasonCertificate, "ca_file"},
		{"another authority", srv.URL, Options{SSLVerify: true, CAFile: foreignCA(t)}, ReasonCertificate, "ca_file"},
		{"not verified", srv.URL, Options{}, "", ""},
		{"TLS 1.1", old.URL, Options{SSLVerify: true, CAFile: oldCA}, ReasonTLS, ""},
		{"no TLS at all", "https" + plain.URL[len("http"):], Options{SSLVerify: true}, ReasonTLS, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := client(t, tc.opts).Post(t.Context(), Request{URL: tc.url})
			if tc.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != tc.reason || f.Hint != tc.hint {
				t.Errorf("got %+v", f)
			}
		})
	}
}

// foreignCA is a real certificate that has signed nothing here.
func foreignCA(t *testing.T) string {
	t.Helper()
	key, err := os.ReadFile(filepath.Join("testdata", "foreign-ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, key, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestHTTP2WhenOffered(t *testing.T) {
	var proto atomic.Value
	srv, ca := tlsService(t, func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) }, func(s *httptest.Server) { s.EnableHTTP2 = true })
	if _, err := client(t, Options{SSLVerify: true, CAFile: ca}).Post(t.Context(), Request{URL: srv.URL}); err != nil {
		t.Fatal(err)
	}
	if proto.Load() != "HTTP/2.0" {
		t.Errorf("spoke %v", proto.Load())
	}
}

func TestConnectionRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	_, err = client(t, Options{EndpointField: "api_endpoint"}).Post(t.Context(), Request{URL: "http://" + addr})
	if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != ReasonRefused || f.Hint != "api_endpoint" {
		t.Errorf("got %+v", f)
	}
}

func TestResetInMidBody(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"action":"allow"}`)
		w.(http.Flusher).Flush()
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}))
	defer srv.Close()
	resp, err := client(t, Options{}).Post(t.Context(), Request{URL: srv.URL})
	if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != ReasonReset || resp.Body != nil {
		t.Errorf("got %+v and %q", f, resp.Body)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var conns atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, "an error that has to be read to its end")
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := client(t, Options{})
	for range 5 {
		_, _ = c.Post(t.Context(), Request{URL: srv.URL, Body: []byte("x")})
	}
	if conns.Load() != 1 {
		t.Errorf("5 calls took %d connections", conns.Load())
	}
}

func TestProxy(t *testing.T) {
	// A direct connection would be answered with 500.
	direct := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer direct.Close()
	var seen, auth string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen, auth = r.URL.String(), r.Header.Get("Proxy-Authorization")
		if r.Method == http.MethodConnect {
			w.WriteHeader(map[string]int{"refuse.example:443": 407, "away.example:443": 503}[r.Host])
		}
	}))
	defer proxy.Close()
	through := Options{HTTPProxy: "http://user:hunter2@" + proxy.Listener.Addr().String()}
	if _, err := client(t, through).Post(t.Context(), Request{URL: direct.URL + "/v1"}); err != nil {
		t.Fatal(err)
	}
	if seen != direct.URL+"/v1" || auth == "" {
		t.Errorf("the proxy saw %q, authorization %q", seen, auth)
	}
	for url, kind := range map[string]scan.FailureKind{"https://refuse.example/": scan.Misconfigured, "https://away.example/": scan.Unavailable} {
		_, err := client(t, through).Post(t.Context(), Request{URL: url})
		if f := failure(t, err); f.Kind != kind || f.Reason != ReasonProxy || f.Hint != "http_proxy" {
			t.Errorf("%s: %+v", url, f)
		}
	}
}

func TestTheEnvironmentIsNotAsked(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	c := client(t, Options{})
	if c.transport.Proxy != nil {
		t.Error("a proxy that no option names")
	}
}

func TestForFindsUnusableOptions(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		opts         Options
		reason, hint string
	}{
		{Options{CAFile: filepath.Join(t.TempDir(), "none.pem")}, ReasonBadCA, "ca_file"},
		{Options{CAFile: empty}, ReasonBadCA, "ca_file"},
		{Options{HTTPProxy: "proxy:3128"}, ReasonBadProxy, "http_proxy"},
		{Options{HTTPProxy: "ftp://proxy:3128"}, ReasonBadProxy, "http_proxy"},
		{Options{HTTPProxy: "http://user:hunter2@pro\x7fxy"}, ReasonBadProxy, "http_proxy"},
	} {
		_, err := For(tc.opts)
		if f := failure(t, err); f.Kind != scan.Misconfigured || f.Reason != tc.reason || f.Hint != tc.hint {
			t.Errorf("%+v: %+v", tc.opts, f)
		}
	}
}

func TestClientsAreShared(t *testing.T) {
	srv, ca := tlsService(t, nil, nil)
	a := client(t, Options{SSLVerify: true, CAFile: ca})
	if client(t, Options{SSLVerify: true, CAFile: ca}) != a {
		t.Error("equal options gave two clients")
	}
	other, err := For(Options{SSLVerify: true, CAFile: ca, Account: "another"})
	if err != nil {
		t.Fatal(err)
	}
	if other == a || other.transport != a.transport {
		t.Error("another account needs its own breakers on the same connections")
	}
	if client(t, Options{CAFile: ca}).transport == a.transport {
		t.Error("connections that are not verified were shared with ones that are")
	}
	// The file's content counts, not its name.
	data, err := os.ReadFile(foreignCA(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if client(t, Options{SSLVerify: true, CAFile: ca}) == a {
		t.Error("a new authority in the same file is not noticed")
	}
	_ = srv
}

func TestTheRegistryIsBounded(t *testing.T) {
	for i := range maxClients + 10 {
		if _, err := For(Options{MaxConns: 7, Account: string(rune('a' + i))}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(registry.clients); n != maxClients || len(registry.order) != n {
		t.Errorf("%d clients in %d places, want %d", n, len(registry.order), maxClients)
	}
}

func BenchmarkPost(b *testing.B) {
	answer := []byte(`{"action":"allow","category":"benign"}`)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	}))
	defer srv.Close()
	c, err := For(Options{Account: b.Name()})
	if err != nil {
		b.Fatal(err)
	}
	r := Request{URL: srv.URL, Header: http.Header{"X-Pan-Token": {"k"}}, Body: make([]byte, 600)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Post(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
