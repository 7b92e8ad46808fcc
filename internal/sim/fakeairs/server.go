// SPDX-License-Identifier: Apache-2.0

// Package fakeairs is a strict stand-in for Prisma AIRS' synchronous scan: it
// answers what the real service was seen to answer, in the same shapes, by
// rules that anyone can read. It is for tests and for trying things out.
package fakeairs

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Path is where the service takes scans.
const Path = "/v1/scan/sync/request"

const (
	// maxBody is the service's documented limit in bytes.
	maxBody = 2_000_000
	// maxRequests bounds what is remembered, and maxKept how many bytes of
	// bodies.
	maxRequests = 1000
	maxKept     = 64 << 20
)

// Options are the service's customers.
type Options struct {
	// Keys are the API keys that are taken, any but "" when there are none.
	Keys []string
	// Profiles are the names of the profiles that exist, any when there are
	// none.
	Profiles []string
	// DefaultProfile judges scans that name no profile, "" for an error.
	DefaultProfile string
	// BlockedTopic is a word that the profiles allow in no text, "" for none.
	BlockedTopic string
	// Client may get tokens, nobody if it has no id.
	Client Client
	// AlertOnly makes the profiles report what they find and allow it.
	AlertOnly bool
}

// A Request is one call that was answered.
type Request struct {
	// Header is without the credentials.
	Header http.Header
	Body   []byte
	// Status is what it was answered with before any fault.
	Status int
}

// A Server is the service. It can be used by many goroutines.
type Server struct {
	mu       sync.Mutex
	options  Options
	fault    Fault
	calls    int
	requests []Request
	kept     int                  // bytes of their bodies
	tokens   map[string]time.Time // and when they end
	issued   int
}

// New starts a service without faults.
func New(o Options) *Server { return &Server{options: o} }

// SetOptions changes the customers, as when a key is revoked.
func (s *Server) SetOptions(o Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options = o
}

// Calls is how many calls came in.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Requests returns the latest calls, oldest first, at most 1000
// and bodies of 64 MiB.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ServeHTTP answers a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != TokenPath {
		s.mu.Lock()
		s.calls++
		s.mu.Unlock()
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) {
		return // the caller left
	}
	if r.URL.Path == TokenPath {
		s.mu.Lock()
		options := s.options
		s.mu.Unlock()
		status, answer := s.token(options, r, body)
		Fault{}.send(w, r, status, answer)
		return
	}
	s.mu.Lock()
	options, fault := s.options, s.fault.take(body)
	s.mu.Unlock()
	status, answer := s.answer(options, r, body, err != nil, fault.Degraded)
	s.remember(r, body, status)
	fault.send(w, r, status, answer)
}

func (s *Server) remember(r *http.Request, body []byte, status int) {
	header := r.Header.Clone()
	header.Del("X-Pan-Token")
	header.Del("Authorization")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept += len(body)
	s.requests = append(s.requests, Request{Header: header, Body: body, Status: status})
	for len(s.requests) > maxRequests || s.kept > maxKept {
		s.kept -= len(s.requests[0].Body)
		s.requests = slices.Delete(s.requests, 0, 1)
	}
}

func (s *Server) answer(o Options, r *http.Request, body []byte, tooLarge bool, d Degraded) (int, []byte) {
	switch {
	case r.URL.Path != Path:
		return problem(http.StatusNotFound, "Resource is not found")
	case r.Method != http.MethodPost:
		return problem(http.StatusMethodNotAllowed, "The method is not allowed")
	}
	if status, message := s.admits(o, r); status != 0 {
		return problem(status, message)
	}
	switch {
	case mediaType(r) != "application/json":
		return problem(http.StatusUnsupportedMediaType, "The media type is not supported")
	case tooLarge:
		return problem(http.StatusRequestEntityTooLarge, "The request body is too large")
	}
	q, what := parse(body)
	if what == "" {
		what = q.wrong(o)
	}
	if what != "" {
		return problem(http.StatusBadRequest, what)
	}
	return http.StatusOK, judge(o, q, d)
}

func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}
