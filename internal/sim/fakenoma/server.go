// SPDX-License-Identifier: Apache-2.0

// Package fakenoma stands in for Noma's AI-DR service in tests and in the
// sandbox. It is strict where the real service may be lenient: a wrong path,
// method, credential or shape gets the status that a client must be able to
// deal with. What it finds harmful follows a few plain rules (see detect).
package fakenoma

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// ScanPath is where scans are posted to. AuthPath and OAuthPath are where
// tokens come from.
const (
	ScanPath  = "/ai-dr/v2/prompt/scan"
	AuthPath  = "/auth"
	OAuthPath = "/v1/oauth/token"
)

// A TokenForm is one of the ways of asking for a token that public clients of
// the service know.
type TokenForm uint8

// The forms of token calls.
const (
	AuthJSON  TokenForm = 1 << iota // JSON to AuthPath
	OAuthJSON                       // JSON to OAuthPath
	OAuthForm                       // an OAuth form to OAuthPath
)

// A Dialect is one of the service's ways of giving a verdict.
type Dialect uint8

// The dialects.
const (
	ActionDialect  Dialect = iota // aggregatedAction beside aggregatedScanResult
	ResultDialect                 // aggregatedScanResult: true means unsafe
	VerdictDialect                // verdict: true means safe
)

// Options say how the service behaves.
type Options struct {
	// ClientID and ClientSecret are the credentials that tokens are issued for.
	// APIKey is the key that is accepted instead of a token. Scans need neither
	// when all are empty.
	ClientID, ClientSecret, APIKey string
	// TokenForms are the forms of token calls that are understood. 0 stands for
	// AuthJSON.
	TokenForms TokenForm
	// SnakeCase spells the token's answer access_token and expires_in.
	SnakeCase bool
	// Lifetime is how long a token is good for; 0 means an hour.
	Lifetime time.Duration
	Dialect  Dialect
	// BlockSensitive makes the policy block sensitive data instead of masking
	// it. It matters for ActionDialect only.
	BlockSensitive bool
	// MaxBody is the longest body in bytes; 0 means 16 MiB.
	MaxBody int64
}

// A Request is one call that the service got.
type Request struct {
	Path   string
	Header http.Header
	Body   []byte
	// Status is what it was answered with, 0 if it got no answer.
	Status int
}

// maxRequests bounds what is remembered of calls, and maxKept how many bytes of
// bodies.
const (
	maxRequests = 1000
	maxKept     = 64 << 20
)

// A Server is the service. The zero value cannot be used: call New.
type Server struct {
	mu       sync.Mutex
	options  Options
	tokens   map[string]time.Time // and when they end
	faults   map[string]Fault     // by path
	requests []Request
	kept     int // bytes of their bodies
}

// New returns a service with these options.
func New(o Options) *Server {
	return &Server{options: o, tokens: make(map[string]time.Time), faults: make(map[string]Fault)}
}

// Configure changes the options of a running service.
func (s *Server) Configure(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.options)
}

// Revoke ends all tokens at once.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Requests returns the calls of a path so far, oldest first, or of all paths
// for "". The last thousand are remembered, with
// bodies of 64 MiB at most.
func (s *Server) Requests(path string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Request
	for _, r := range s.requests {
		if path == "" || r.Path == path {
			found = append(found, r)
		}
	}
	return found
}

func (s *Server) record(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept += len(r.Body)
	s.requests = append(s.requests, r)
	for len(s.requests) > maxRequests || s.kept > maxKept {
		s.kept -= len(s.requests[0].Body)
		s.requests = slices.Delete(s.requests, 0, 1)
	}
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	o, fault := s.options, s.faults[r.URL.Path]
	s.mu.Unlock()
	if o.MaxBody == 0 {
		o.MaxBody = 16 << 20
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, o.MaxBody+1))
	if err != nil {
		return
	}
	status, answer := s.answer(o, r, body)
	if !bytes.Contains(body, []byte(fault.In)) {
		fault = Fault{}
	}
	status, answer = fault.apply(status, answer, body)
	seen := Request{Path: r.URL.Path, Header: r.Header.Clone(), Body: body}
	if !fault.Hang {
		seen.Status = status
	}
	s.record(seen) // first, so that who got the answer finds it here
	fault.send(w, r, status, answer)
}

// answer returns the answer that a sound service gives.
func (s *Server) answer(o Options, r *http.Request, body []byte) (status int, answer []byte) {
	var handle func(Options, *http.Request, []byte) (int, []byte)
	switch r.URL.Path {
	case ScanPath:
		handle = s.scan
	case AuthPath, OAuthPath:
		handle = s.token
	default:
		return problem(http.StatusNotFound, "no such path")
	}
	switch {
	case r.Method != http.MethodPost:
		return problem(http.StatusMethodNotAllowed, "POST only")
	case int64(len(body)) > o.MaxBody:
		return problem(http.StatusRequestEntityTooLarge, "body too large")
	}
	return handle(o, r, body)
}

// authorized reports whether the call carries a token that is good, or the key.
func (s *Server) authorized(o Options, r *http.Request) bool {
	if o.ClientID == "" && o.APIKey == "" {
		return true
	}
	bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return false
	}
	if o.APIKey != "" && same(bearer, o.APIKey) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ends, known := s.tokens[bearer]
	return known && time.Now().Before(ends)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func problem(status int, text string) (int, []byte) {
	return status, []byte(`{"error":"` + text + `"}`)
}

// newToken makes a token that is good for the given time.
func (s *Server) newToken(lifetime time.Duration) string {
	token := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = time.Now().Add(lifetime)
	return token
}
