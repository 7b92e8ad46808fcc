// SPDX-License-Identifier: Apache-2.0

// Package relay is the listener to which Kong sends the requests of relayed
// exchanges, and the client that hands them on to where Kong was about to send
// them. It changes nothing of either side's bytes and knows nothing of what
// they say: that is its users' part.
package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"time"
)

// An Exchange is one that Kong will send here.
type Exchange interface {
	// Serve answers the request. It runs on a goroutine of its own, and again
	// when nginx repeats the request. r has no token any more; its URL holds
	// path and query as Kong made them. A panic ends the exchange with 503.
	Serve(w http.ResponseWriter, r *http.Request)
	// Missed is called once if the request never came.
	Missed()
}

// A Target is where a request is handed on to.
type Target struct {
	// Scheme is http or https. Address is host and port to connect to.
	Scheme, Address string
	// Host is the Host header that Kong would have sent.
	Host string
	// Connect, Send and Read bound connecting, and the time between two writes
	// and two reads; 0 for no bound.
	Connect, Send, Read time.Duration
	// TLS says how an https target is verified; nil for the system's
	// authorities and the name in Host. It is compared by identity: one for
	// each configuration.
	TLS *tls.Config
}

// ErrUpstream is what Forward returns when the target gives no answer.
// ErrUpstreamTimeout is one that took longer than the target's times.
var (
	ErrUpstream        = errors.New("the upstream gave no answer")
	ErrUpstreamTimeout = errors.New("the upstream took too long")
)

// A Server is the listener of a process. It starts with the first Expect.
type Server struct{}

// Options are what a Server is made of. Each has a default.
type Options struct {
	// Header is the name of the header that carries the token.
	Header string
	// Within is how long after Expect the request may come.
	Within time.Duration
	// Panicked hears of each panic that was recovered.
	Panicked func(v any)
}

// New makes a server that listens to nothing yet.
func New(o Options) *Server { return &Server{} }

// Address is where Kong has to send requests to. It starts listening, on a
// loopback port of the system's choice, if nobody has yet.
func (s *Server) Address() (netip.AddrPort, error) { return netip.AddrPort{}, nil }

// Header is the name of the header that carries the token.
func (s *Server) Header() string { return "" }

// Expect makes the token with which the request of x has to come. It is good
// until the exchange is answered or Forget is called.
func (s *Server) Expect(x Exchange) (token string) { return "" }

// Forget makes a token worthless, unless its request is being served. Missed is
// not called.
func (s *Server) Forget(token string) {}

// Open is how many exchanges are being served.
func (s *Server) Open() int { return 0 }

// Shutdown takes no new exchange and waits until those that run have ended, or
// until ctx ends, when it cuts them.
func (s *Server) Shutdown(ctx context.Context) error { return nil }

// A Client hands requests on. Its connections are kept alive, and shared by all
// exchanges of a process.
type Client struct{}

// NewClient makes a client.
func NewClient() *Client { return &Client{} }

// Forward sends r, as it came, to t and returns the answer, whose body the
// caller closes. With body not nil, that goes in place of r's and describes
// itself. When ctx ends, so does the call. The error is, or wraps, ErrUpstream
// or ErrUpstreamTimeout, or is the context's.
func (c *Client) Forward(ctx context.Context, r *http.Request, body []byte, t *Target) (*http.Response, error) {
	return nil, ErrUpstream
}

// WriteHead writes the status and the headers of an upstream's answer, all but
// those of the connection. It announces its trailers.
func WriteHead(w http.ResponseWriter, answer *http.Response) {}

// WriteTrailers writes the trailers, once the body was read and written.
func WriteTrailers(w http.ResponseWriter, answer *http.Response) {}

// Tunnel joins the client and the upstream of an answer with status 101 until
// one of them ends.
func Tunnel(w http.ResponseWriter, r *http.Request, answer *http.Response) error { return nil }

// Pass hands an answer on as it comes: its head, its body, its trailers, or what
// follows an upgrade. It closes the answer's body. When either side breaks, it
// cuts the exchange with http.ErrAbortHandler, as Exchange.Serve has it.
func Pass(w http.ResponseWriter, r *http.Request, answer *http.Response) {}
