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
	for _, service := range s.services {
		show(service.word, service.saw)
	}
	for name, sw := range s.switches() {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			s.answerSwitch(w, sw.turn(r.Context(), r.URL.Query()), http.StatusBadRequest)
		})
		mux.HandleFunc("DELETE /"+name, func(w http.ResponseWriter, r *http.Request) {
			s.answerSwitch(w, sw.turn(r.Context(), nil), http.StatusInternalServerError)
		})
	}
	s.page(mux)
	return onlyFromHere(mux)
}

func (s *sandbox) answerSwitch(w http.ResponseWriter, err error, status int) {
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// A toggle is one of the switches.
type toggle struct {
	s    *sandbox
	name string
	// set makes something behave as it is told, or as it does by itself.
	set func(url.Values) error
	// after, unless nil, is what is waited for once nothing is wanted any more.
	after func(context.Context)
}

// turn turns a switch, to where it is by itself if nothing is wanted.
func (t *toggle) turn(ctx context.Context, to url.Values) error {
	if err := t.set(to); err != nil {
		return err
	}
	t.s.mu.Lock()
	before := t.s.turned[t.name]
	t.s.turned[t.name] = to.Encode()
	t.s.mu.Unlock()
	switch {
	case t.after == nil:
	case len(to) == 0:
		t.after(ctx)
	case before != "":
		// What was wanted before may keep a plugin from its service, and so from
		// what is wanted now.
		if err := t.set(nil); err != nil {
			return err
		}
		t.after(ctx)
		return t.set(to)
	}
	return nil
}

// switches are all of them, by the paths at which they are turned.
func (s *sandbox) switches() map[string]*toggle {
	all := map[string]*toggle{}
	add := func(name string, set func(url.Values) error, after func(context.Context)) {
		all[name] = &toggle{s, name, set, after}
	}
	add("llm/options", s.pace, nil)
	for _, service := range s.services {
		add(service.word+"/fault", func(q url.Values) error {
			f, err := readFault(q)
			if err != nil {
				return err
			}
			return service.fail(f)
		}, func(ctx context.Context) { s.useAgain(ctx, service) })
		add(service.word+"/options", service.behave, nil)
	}
	return all
}

// useAgain has a plugin use its service again, from which it keeps away for a
// while after failures: it asks what the plugin lets through now and then until
// that is answered. Where the configuration has no such route, nothing is done.
func (s *sandbox) useAgain(ctx context.Context, of *service) {
	ctx, cancel := context.WithTimeout(ctx, keepsAway)
	defer cancel()
	const body = `{"model":"gpt-3.5-turbo","messages":[{"role":"user","content":"Is it back?"}]}`
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.at.gateway+of.route+"?"+aside, strings.NewReader(body))
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
