// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

// breakable is a service that can be switched off. Its connections are then cut
// before an answer.
type breakable struct {
	handler http.Handler
	down    atomic.Bool
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

func (b *breakable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.down.Load() {
		panic(http.ErrAbortHandler)
	}
	if w := b.wait.Load(); w != nil {
		w.wait(r.Context())
	}
	b.handler.ServeHTTP(w, r)
}

// A fault is how a scan service is to misbehave.
type fault struct {
	down, hang, garbage bool
	status              int
	retryAfter          int // seconds
	delay, dribble      time.Duration
	degraded            fakeairs.Degraded // AIRS alone
}

// garbage is what a captive portal might answer.
const garbage = "<html><body>Please sign in</body></html>"

// body is the answer of a fault, "" for the service's own.
func (f fault) body() string {
	if f.garbage {
		return garbage
	}
	return ""
}

func readFault(q url.Values) (f fault, err error) {
	for name := range q {
		value := q.Get(name)
		switch name {
		case "down":
			f.down, err = strconv.ParseBool(value)
		case "hang":
			f.hang, err = strconv.ParseBool(value)
		case "garbage":
			f.garbage, err = strconv.ParseBool(value)
		case "status":
			if f.status, err = strconv.Atoi(value); err == nil && (f.status < 200 || f.status > 599) {
				err = strconv.ErrRange
			}
		case "retry_after":
			f.retryAfter, err = strconv.Atoi(value)
		case "delay":
			f.delay, err = time.ParseDuration(value)
		case "dribble":
			f.dribble, err = time.ParseDuration(value)
		case "degraded":
			f.degraded = fakeairs.Degraded(value)
			err = known(slices.Contains([]fakeairs.Degraded{fakeairs.ScanError, fakeairs.ScanTimeout, fakeairs.DetectorTimeout}, f.degraded))
		default:
			return f, fmt.Errorf("there is no fault %q: use down, hang, garbage, status, retry_after, delay, dribble, degraded", name)
		}
		if err != nil {
			return f, fmt.Errorf("%s: %q cannot be used", name, value)
		}
	}
	return f, nil
}

// A seen request is one that a stand-in got.
type seen struct {
	Path string          `json:"path"`
	Body json.RawMessage `json:"body,omitempty"`
}

func see(path string, body []byte) seen {
	if !json.Valid(body) {
		body, _ = json.Marshal(string(body)) // strings always can be
	}
	return seen{Path: path, Body: body}
}

// lastSeen bounds how many requests are shown.
const lastSeen = 10

// control serves the switches of the sandbox.
func (s *sandbox) control() http.Handler {
	mux := http.NewServeMux()
	show := func(name string, requests func() []seen) {
		mux.HandleFunc("GET /"+name+"/requests", func(w http.ResponseWriter, _ *http.Request) {
			all := requests()
			w.Header().Set("Content-Type", "application/json")
			out := json.NewEncoder(w)
			for _, r := range all[max(0, len(all)-lastSeen):] {
				_ = out.Encode(r) // a caller that left is no news
			}
		})
	}
	show("llm", s.llmSaw)
	// try answers with what is wrong with a request, if anything is.
	try := func(pattern string, do func(url.Values) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.URL.Query()); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
	}
	try("POST /llm/options", s.pace)
	try("DELETE /llm/options", func(url.Values) error { return s.pace(nil) })
	for _, service := range s.services {
		show(service.word, service.saw)
		try("POST /"+service.word+"/fault", func(q url.Values) error {
			f, err := readFault(q)
			if err != nil {
				return err
			}
			return service.fail(f)
		})
		mux.HandleFunc("DELETE /"+service.word+"/fault", func(w http.ResponseWriter, r *http.Request) {
			if err := service.fail(fault{}); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			s.useAgain(r.Context(), service)
			w.WriteHeader(http.StatusNoContent)
		})
		try("POST /"+service.word+"/options", service.behave)
		try("DELETE /"+service.word+"/options", func(url.Values) error { return service.behave(nil) })
	}
	return mux
}

// useAgain has a plugin use its service again, from which it keeps away for a
// while after failures: it asks what the plugin lets through now and then until
// that is answered. Where the configuration has no such route, nothing is done.
func (s *sandbox) useAgain(ctx context.Context, of *service) {
	ctx, cancel := context.WithTimeout(ctx, keepsAway)
	defer cancel()
	const body = `{"model":"gpt-3.5-turbo","messages":[{"role":"user","content":"Is it back?"}]}`
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.at.gateway+of.route, strings.NewReader(body))
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

// pace has the model's streams speak as options say. They replace all that was
// wanted before.
func (s *sandbox) pace(q url.Values) (err error) {
	var pause time.Duration
	var hold bool
	for name := range q {
		value := q.Get(name)
		switch name {
		case "pause":
			pause, err = time.ParseDuration(value)
		case "hold":
			hold, err = strconv.ParseBool(value)
		default:
			return fmt.Errorf("there is no option %q: use pause, hold", name)
		}
		if err != nil {
			return fmt.Errorf("%s: %q cannot be used", name, value)
		}
	}
	s.llm.Pause(pause)
	s.llm.Hold(hold)
	return nil
}

func (s *sandbox) llmSaw() (all []seen) {
	for _, r := range s.llm.Requests() {
		all = append(all, see(r.Path, r.Body))
	}
	return all
}
