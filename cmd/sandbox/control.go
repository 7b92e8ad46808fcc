// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/switches"
)

// A waiting service answers once something has happened, if that is wanted.
type waiting struct {
	handler http.Handler
	wait    atomic.Pointer[waits]
}

// waits are for something to happen before calls are answered.
type waits struct {
	until  func() bool
	inVain atomic.Bool // it did not while a caller was there
}

func (w *waits) wait(ctx context.Context) {
	for !w.until() {
		select {
		case <-ctx.Done():
			w.inVain.Store(true)
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *waiting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if waits := s.wait.Load(); waits != nil {
		waits.wait(r.Context())
	}
	s.handler.ServeHTTP(w, r)
}

// control serves the switches of the sandbox, and its page.
func (s *sandbox) control() http.Handler {
	mux := http.NewServeMux()
	s.panel.Register(mux)
	s.page(mux)
	guarded := switches.OnlyFromHere(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", pagePolicy)
		guarded.ServeHTTP(w, r)
	})
}

// useAgain has a plugin use its service again, from which it keeps away for a
// while after failures: it asks what the plugin lets through now and then until
// that is answered. Where the configuration has no such route, nothing is done.
func (s *sandbox) useAgain(ctx context.Context, of *switches.Service) {
	route := ""
	for _, service := range s.services {
		if service.Service == of {
			route = service.route
		}
	}
	ctx, cancel := context.WithTimeout(ctx, keepsAway)
	defer cancel()
	const body = `{"model":"gpt-3.5-turbo","messages":[{"role":"user","content":"Is it back?"}]}`
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.at.gateway+route+"?"+aside, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return
		}
		res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// keepsAway is longer than a plugin keeps away from a service.
const keepsAway = 20 * time.Second
