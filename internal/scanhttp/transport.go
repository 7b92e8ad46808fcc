// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

const (
	// defaultConns is what 256 scans of four calls at once take. Who has many
	// slots must not have all connections, or the others would wait for those.
	defaultConns = 4 * 256
	// idleConns is how many are kept.
	idleConns = 256
	// maxCAFile bounds the file of certificate authorities, in bytes.
	maxCAFile = 4 << 20
	// maxClients bounds the registry. Options change with configurations only,
	// so nobody reaches it who does not rotate them for years. The client that
	// was asked for the longest time ago goes first.
	maxClients = 1024
)

// dialTimeout is short compared with the usual deadline of 5 s, so that a
// blackholed address leaves time for the retry.
var dialTimeout = 2 * time.Second // but for tests on a busy machine

// registry holds the process's clients. They keep connections and breakers over
// configuration changes, which replace plugin instances.
var registry struct {
	sync.Mutex
	clients map[registryKey]*Client
	order   []registryKey // least recently asked for first
}

type registryKey struct {
	opts Options
	ca   [sha256.Size]byte // of the CA file's content, which may change under one name
}

// For returns the process's client for these options. The error is a
// *scan.Failure that names the field that cannot work.
func For(opts Options) (*Client, error) {
	if opts.MaxConns <= 0 {
		opts.MaxConns = defaultConns
	}
	key := registryKey{opts: opts}
	var pem []byte
	if opts.CAFile != "" {
		var err error
		if pem, err = readCA(opts.CAFile); err != nil {
			return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: ReasonBadCA, Hint: "ca_file"}
		}
		key.ca = sha256.Sum256(pem)
	}
	registry.Lock()
	defer registry.Unlock()
	if c := registry.clients[key]; c != nil {
		i := slices.Index(registry.order, key)
		registry.order = append(slices.Delete(registry.order, i, i+1), key)
		return c, nil
	}
	c := sibling(key)
	if c == nil {
		transport, fail := newTransport(opts, pem)
		if fail != nil {
			return nil, fail
		}
		c = newClient(opts, transport)
	} else {
		c = c.with(opts)
	}
	if len(registry.order) >= maxClients {
		delete(registry.clients, registry.order[0])
		registry.order = slices.Delete(registry.order, 0, 1)
	}
	if registry.clients == nil {
		registry.clients = make(map[registryKey]*Client)
	}
	registry.clients[key] = c
	registry.order = append(registry.order, key)
	return c, nil
}

func newClient(opts Options, transport *http.Transport) *Client {
	return (&Client{transport: transport, direct: newDirect(transport)}).with(opts)
}

// with returns a client with other options on the same connections.
func (c *Client) with(opts Options) *Client {
	return &Client{opts: opts, transport: c.transport, direct: c.direct, targets: make(map[string]*target), hosts: make(map[string]*breaker)}
}

// sibling finds a client that was made with the same options as far as
// connections go. The registry is locked.
func sibling(key registryKey) *Client {
	for k, c := range registry.clients {
		if k.connections() == key.connections() {
			return c
		}
	}
	return nil
}

// connections is the part of the key that decides what a connection is.
func (k registryKey) connections() registryKey {
	k.opts.Account, k.opts.EndpointField, k.opts.SecretField = "", "", ""
	return k
}

// Authorities reads a PEM file of certificate authorities. The error is a
// *scan.Failure that names the field.
func Authorities(name, field string) (*x509.CertPool, error) {
	pem, err := readCA(name)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: ReasonBadCA, Hint: field}
	}
	return pool, nil
}

func readCA(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	if err == nil && len(pem) > maxCAFile {
		err = errors.New("too large")
	}
	return pem, err
}

func newTransport(opts Options, ca []byte) (*http.Transport, *scan.Failure) {
	tlsConfig := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: !opts.SSLVerify,
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	if ca != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: ReasonBadCA, Hint: "ca_file"}
		}
		tlsConfig.RootCAs = pool
	}
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		MaxConnsPerHost:     opts.MaxConns,
		MaxIdleConnsPerHost: min(opts.MaxConns, idleConns),
		IdleConnTimeout:     90 * time.Second,
		// Verdicts are small; one way of reading them is enough.
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHead,
		// A dead HTTP/2 connection is found while it is idle or waiting,
		// not by the next 256 scans.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 3 * time.Second},
		OnProxyConnectResponse: proxyAnswer,
	}
	if opts.HTTPProxy != "" {
		u, err := url.Parse(opts.HTTPProxy)
		if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
			return nil, &scan.Failure{Kind: scan.Misconfigured, Reason: ReasonBadProxy, Hint: "http_proxy"}
		}
		t.Proxy = http.ProxyURL(u)
	}
	return t, nil
}

// A proxyError is a refusal by the proxy, and not by the service.
type proxyError struct{ status int }

func (proxyError) Error() string { return ReasonProxy }

func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return proxyError{answer.StatusCode}
}

// callHeader returns h with what every call carries. The nil key is net/http's
// way to say that the call may be sent again when a kept connection turns out
// to be closed; it is not sent.
func callHeader(h http.Header) http.Header {
	header := make(http.Header, len(h)+2)
	header["Content-Type"] = []string{"application/json"}
	for k, v := range h {
		header[k] = v
	}
	header["X-Idempotency-Key"] = nil
	return header
}

var errAnswerTooLarge = errors.New("answer too large")

// roundTrip sends one request, without following redirects, and reads the
// whole answer, up to maxAnswer more than was sent.
func (c *Client) roundTrip(ctx context.Context, t *target, header http.Header, body []byte) (Response, error) {
	if t.host != nil && !t.host.http2.Load() && ordinary(header) {
		head := func(b []byte) []byte { return appendHead(b, t.line, header, len(body)) }
		if resp, err := t.host.call(ctx, head, body); !errors.Is(err, errNotDirect) {
			return resp, err
		}
	}
	// The transport may be reading still when the answer is there. It writes head
	// and body together only if it knows the body's type, so the body is not one
	// that could be taken back from it. What nobody uses again is not copied:
	// hundreds of calls of megabytes would take twice the memory.
	if cap(body) <= mostBuffer {
		body = bytes.Clone(body)
	}
	req := (&http.Request{
		Method: http.MethodPost, URL: t.url, Host: t.url.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(body)),
		Body:          io.NopCloser(bytes.NewReader(body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}).WithContext(ctx)
	answer, err := c.transport.RoundTrip(req)
	if err != nil {
		return Response{}, err
	}
	defer answer.Body.Close()
	data, err := readAnswer(answer.Body, answer.ContentLength, int64(len(body)))
	if err != nil {
		return Response{}, err
	}
	return Response{Status: answer.StatusCode, Header: answer.Header, Body: data}, nil
}

// readAnswer reads to the end, so that the connection can be used again, or
// fails beyond maxAnswer more than was sent. The announced length is a hint
// that is trusted for a buffer about as large as what was sent.
func readAnswer(r io.Reader, length, sent int64) ([]byte, error) {
	most := sent + maxAnswer
	if length > most {
		return nil, errAnswerTooLarge
	}
	var buf bytes.Buffer
	buf.Grow(int(min(max(length, 1024), sent+16<<10)) + bytes.MinRead)
	if _, err := buf.ReadFrom(io.LimitReader(r, most+1)); err != nil {
		return nil, err
	}
	if int64(buf.Len()) > most {
		return nil, errAnswerTooLarge
	}
	return buf.Bytes(), nil
}
