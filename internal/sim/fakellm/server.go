// SPDX-License-Identifier: Apache-2.0

// Package fakellm is a stand-in for the models behind the gateway, for tests
// and for trying things out: OpenAI's chat completions, completions,
// responses, conversations, embeddings and models, Anthropic's messages and
// batches of them, Google's interactions, Ollama's chat, an MCP server and an
// agent that speaks A2A. It is as strict as the real ones about paths, methods,
// types and required fields, answers in their shapes, and says what it says by the few
// rules of reply.
package fakellm

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// maxBody bounds request bodies, in bytes.
	maxBody = 32 << 20
	// maxRequests bounds what is remembered, and maxKept how many bytes of
	// bodies.
	maxRequests = 1000
	maxKept     = 64 << 20
)

// Options say who may call.
type Options struct {
	// Keys are the API keys that are taken, in the header of the provider;
	// none are needed when there are none.
	Keys []string
}

// A Request is one call that came in.
type Request struct {
	Method, Path string
	// Header is without the credentials.
	Header http.Header
	Body   []byte
}

// A Server is the provider of all models. It can be used by many goroutines.
type Server struct {
	options Options
	ids     atomic.Int64
	tempo   tempo

	mu       sync.Mutex
	requests []Request
	weight   int                      // bytes of their bodies
	sessions map[string]chan struct{} // of MCP: each is closed when it ends
	kept     []*conversation          // oldest first
	batches  map[string]string        // of messages: their results
}

// New makes a server.
func New(o Options) *Server {
	return &Server{options: o, sessions: make(map[string]chan struct{})}
}

// Requests returns the latest calls, oldest first, at most 1000
// and bodies of 64 MiB.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Forget drops what Requests returns.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.weight = nil, 0
}

// An endpoint answers the calls of one path.
type endpoint struct {
	method  string
	problem problems
	answer  func(s *Server, c *call)
}

// endpoints are all but MCP's, which has methods of its own.
var endpoints = map[string]endpoint{
	"/v1/chat/completions": {http.MethodPost, openAIProblem, (*Server).chat},
	"/v1/completions":      {http.MethodPost, openAIProblem, (*Server).completions},
	"/v1/responses":        {http.MethodPost, openAIProblem, (*Server).responses},
	"/v1/conversations":    {http.MethodPost, openAIProblem, (*Server).conversations},
	"/v1beta/interactions": {http.MethodPost, interactionProblem, (*Server).interactions},
	"/v1/embeddings":       {http.MethodPost, openAIProblem, (*Server).embeddings},
	"/v1/models":           {http.MethodGet, openAIProblem, (*Server).models},
	"/v1/messages":         {http.MethodPost, anthropicProblem, (*Server).messages},
	"/v1/messages/batches": {http.MethodPost, anthropicProblem, (*Server).makeBatch},
	"/api/chat":            {http.MethodPost, ollamaProblem, (*Server).ollamaChat},
	a2aPath:                {http.MethodPost, a2aProblem, (*Server).a2a},
	"/v1/message:send":     {http.MethodPost, a2aProblem, (*Server).a2aSend},
	"/v1/message:stream":   {http.MethodPost, a2aProblem, (*Server).a2aSendStreaming},

	"/.well-known/agent-card.json": {http.MethodGet, a2aProblem, (*Server).a2aCard},
}

// A call is one request and where its answer goes.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	body    []byte
	problem problems
}

// fail answers with an error in the form of the provider.
func (c *call) fail(status int, p problem) {
	contentType, body := c.problem(status, p)
	c.w.Header().Set("Content-Type", contentType)
	c.w.WriteHeader(status)
	_, _ = io.WriteString(c.w, body) // a caller that left is no news
}

// send answers with JSON.
func (c *call) send(body string) {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(c.w, body) // a caller that left is no news
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, problem: openAIProblem}
	var err error
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		c.fail(http.StatusRequestEntityTooLarge, problem{message: "Request too large."})
		return
	}
	s.remember(c)
	if r.URL.Path == mcpPath {
		s.mcp(c)
		return
	}
	e, known := endpoints[r.URL.Path]
	if !known && conversationOf(r.URL.Path) != "" && (r.Method == http.MethodGet || r.Method == http.MethodPost) {
		e, known = endpoint{r.Method, openAIProblem, (*Server).conversationItems}, true
	}
	if id, ok := resultsOf(r.URL.Path); ok {
		known = true
		e = endpoint{http.MethodGet, anthropicProblem, func(s *Server, c *call) { s.batchResults(c, id) }}
	}
	if !known {
		c.problem = formOf(r.URL.Path)
		c.fail(http.StatusNotFound, problem{message: fmt.Sprintf("Invalid URL (%s %s)", r.Method, r.URL.Path)})
		return
	}
	c.problem = e.problem
	switch {
	case r.Method != e.method:
		w.Header().Set("Allow", e.method)
		c.fail(http.StatusMethodNotAllowed, problem{message: fmt.Sprintf("Not allowed to %s on %s.", r.Method, r.URL.Path)})
	case len(s.options.Keys) > 0 && !slices.Contains(s.options.Keys, key(r)):
		c.fail(http.StatusUnauthorized, problem{message: "Incorrect API key provided.", code: "invalid_api_key"})
	case e.method == http.MethodPost && mediaType(r) != "application/json":
		c.fail(http.StatusUnsupportedMediaType, problem{message: "Unsupported content type: use 'application/json'.", code: "unsupported_content_type"})
	default:
		e.answer(s, c)
	}
}

func (s *Server) remember(c *call) {
	header := c.r.Header.Clone()
	header.Del("Authorization")
	header.Del("X-Api-Key")
	header.Del("X-Goog-Api-Key")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.weight += len(c.body)
	s.requests = append(s.requests, Request{Method: c.r.Method, Path: c.r.URL.Path, Header: header, Body: c.body})
	for len(s.requests) > maxRequests || s.weight > maxKept {
		s.weight -= len(s.requests[0].Body)
		s.requests = slices.Delete(s.requests, 0, 1)
	}
}

// id makes an id with a provider's prefix.
func (s *Server) id(prefix string) string { return fmt.Sprintf("%s%024d", prefix, s.ids.Add(1)) }

// key returns the caller's API key.
func key(r *http.Request) string {
	for _, name := range [...]string{"X-Api-Key", "X-Goog-Api-Key"} {
		if k := r.Header.Get(name); k != "" {
			return k
		}
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}
