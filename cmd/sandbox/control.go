// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"kong-ai-guard/internal/sim/fakeairs"
	"kong-ai-guard/internal/sim/fakenoma"
)

// breakable is a service that can be switched off: its connections are then
// cut before an answer.
type breakable struct {
	handler http.Handler
	down    atomic.Bool
}

func (b *breakable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.down.Load() {
		panic(http.ErrAbortHandler)
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

func (s *sandbox) breakAIRS(f fault) {
	s.airsOff.down.Store(f.down)
	a := fakeairs.Fault{Status: f.status, Body: f.body(), Delay: f.delay, Dribble: f.dribble, Hang: f.hang, Degraded: f.degraded}
	if f.retryAfter > 0 {
		a.RetryAfter, a.Unit = f.retryAfter, "second"
	}
	s.airs.SetFault(a)
}

func (s *sandbox) breakNoma(f fault) {
	s.nomaOff.down.Store(f.down)
	n := fakenoma.Fault{Status: f.status, Body: f.body(), Delay: f.delay, Dribble: f.dribble, Hang: f.hang}
	if f.retryAfter > 0 {
		n.RetryAfter = strconv.Itoa(f.retryAfter)
	}
	s.noma.SetFault(fakenoma.ScanPath, n)
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
	show("airs", s.airsSaw)
	show("noma", s.nomaSaw)
	show("llm", s.llmSaw)
	for name, set := range map[string]func(fault){"airs": s.breakAIRS, "noma": s.breakNoma} {
		mux.HandleFunc("POST /"+name+"/fault", func(w http.ResponseWriter, r *http.Request) {
			f, err := readFault(r.URL.Query())
			if err == nil && f.degraded != "" && name != "airs" {
				err = errors.New("degraded: only AIRS knows such answers")
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			set(f)
			w.WriteHeader(http.StatusNoContent)
		})
		mux.HandleFunc("DELETE /"+name+"/fault", func(w http.ResponseWriter, _ *http.Request) {
			set(fault{})
			w.WriteHeader(http.StatusNoContent)
		})
	}
	mux.HandleFunc("POST /airs/options", func(w http.ResponseWriter, r *http.Request) {
		o, err := readAIRSOptions(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.airs.SetOptions(o)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /airs/options", func(w http.ResponseWriter, _ *http.Request) {
		s.airs.SetOptions(soundAIRS())
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /noma/options", func(w http.ResponseWriter, r *http.Request) {
		change, err := readNomaOptions(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.noma.Configure(change)
		s.noma.Revoke() // so that what changed about tokens shows at once
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /noma/options", func(w http.ResponseWriter, _ *http.Request) {
		s.noma.Configure(func(o *fakenoma.Options) { *o = soundNoma() })
		s.noma.Revoke()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func (s *sandbox) airsSaw() (all []seen) {
	for _, r := range s.airs.Requests() {
		all = append(all, see(fakeairs.Path, r.Body))
	}
	return all
}

// nomaSaw leaves out the calls for tokens, which hold a secret.
func (s *sandbox) nomaSaw() (all []seen) {
	for _, r := range s.noma.Requests(fakenoma.ScanPath) {
		all = append(all, see(r.Path, r.Body))
	}
	return all
}

func (s *sandbox) llmSaw() (all []seen) {
	for _, r := range s.llm.Requests() {
		all = append(all, see(r.Path, r.Body))
	}
	return all
}
