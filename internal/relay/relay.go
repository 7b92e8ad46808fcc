// SPDX-License-Identifier: Apache-2.0

// Package relay is the listener to which Kong sends the requests of relayed
// exchanges, and the client that hands them on to where Kong was about to send
// them. It changes nothing of either side's bytes and knows nothing of what
// they say: that is its users' part.
//
// What net/http does all the same, and nobody can tell apart who keeps to HTTP:
//   - Names of headers arrive in their canonical form, in no order among each
//     other; the values of one name keep theirs.
//   - Chunks are cut anew. Of an upstream's status line only the code goes on.
//   - Interim answers (1xx but 101) go no further. 100 is made here, when the
//     upstream wants the body.
//   - A request without a body says Content-Length: 0 if its method is one that
//     mostly has one. A GET or HEAD does not say that.
//   - Pragma: no-cache gains Cache-Control: no-cache, unless there is one.
//   - Of several User-Agent headers the first goes on, and an empty one does not.
//   - What has both a length and trailers, as HTTP/2 allows, keeps the length.
//   - 204 and 304 say no Content-Length, and 304 no Content-Type.
package relay

import (
	"crypto/tls"
	"errors"
	"net/http"
	"time"
)

// An Exchange is one that Kong will send here.
type Exchange interface {
	// Serve answers the request. It runs on a goroutine of its own, and once
	// more when nginx repeats the request, though never twice at a time. r has
	// no token any more; its RequestURI holds path and query as Kong made them.
	// r.Context ends when Kong or its client goes away. A panic ends the
	// exchange with 503, or cuts it if something was written already, which
	// http.ErrAbortHandler always does. An answer that can't be completed has
	// to be cut, or the client takes what it has for all.
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
	// Connect, Send and Read bound connecting (TLS included), and the time
	// between two writes and two reads; 0 for no bound.
	Connect, Send, Read time.Duration
	// TLS says how an https target is verified; nil for the system's
	// authorities. It is compared by identity: one for each configuration, and
	// not changed any more. Its ServerName is the name to ask for and to verify.
	// Without one, that is the host of Address, and if that is an IP address,
	// the name in Host. Kong takes the name in Host always, which with
	// preserve_host is the client's choice: whoever sits on the path would only
	// need a certificate for any name of his own to read what Kong adds.
	TLS *tls.Config
}

// ErrUpstream is what Forward returns when the target gives no answer.
// ErrUpstreamTimeout is one that took longer than the target's times.
var (
	ErrUpstream        = errors.New("the upstream gave no answer")
	ErrUpstreamTimeout = errors.New("the upstream took too long")
)

const (
	// maxHeaderBytes and maxHeaders bound the head of a request and of an
	// answer. Kong's own bounds are far below.
	maxHeaderBytes = 1 << 20
	maxHeaders     = 1000
)

// countHeaders counts lines, as they are on the wire.
func countHeaders(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}
