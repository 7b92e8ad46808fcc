// SPDX-License-Identifier: Apache-2.0

// Package switches makes the stand-ins of the sandbox and of cmd/fakes
// misbehave, and shows what they got, over HTTP:
//
//	POST /airs/fault?down=true    DELETE /airs/fault      GET /airs/requests
//	POST /noma/options?...        DELETE /noma/options    GET /noma/requests
//	POST /llm/options?pause=1s    DELETE /llm/options     GET /llm/requests
//
// docs/sandbox.md lists the faults and options.
package switches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakellm"
)

// A Service is a stand-in for a scan service that can be made to misbehave. Its
// connections are cut before an answer while it is down.
type Service struct {
	word string
	in   standIn
	down atomic.Bool
}

// A standIn plays a scan service.
type standIn interface {
	http.Handler
	saw() []Seen
	fail(Fault) error
	behave(url.Values) error
}

// Word is what the service is called in the paths.
func (s *Service) Word() string { return s.word }

// Saw returns the scans that came in, oldest first. Calls for tokens, which hold
// a secret, are not among them.
func (s *Service) Saw() []Seen { return s.in.saw() }

// Fail makes the service misbehave. The zero Fault ends that. The error says
// that it cannot fail so.
func (s *Service) Fail(f Fault) error {
	if err := s.in.fail(f); err != nil {
		return err
	}
	s.down.Store(f.Down)
	return nil
}

// ServeHTTP answers a call to the service.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.down.Load() {
		panic(http.ErrAbortHandler)
	}
	s.in.ServeHTTP(w, r)
}

// A Seen request is one that a stand-in got.
type Seen struct {
	Path string          `json:"path"`
	Body json.RawMessage `json:"body,omitempty"`
}

func see(path string, body []byte) Seen {
	if !json.Valid(body) {
		body, _ = json.Marshal(string(body)) // strings always can be
	}
	return Seen{Path: path, Body: body}
}

// lastSeen bounds how many requests are shown.
const lastSeen = 10

// A Panel holds the switches. It can be used by many goroutines.
type Panel struct {
	model    *fakellm.Server
	services []*Service
	again    func(context.Context, *Service)

	mu     sync.Mutex
	turned map[string]string
}

// NewPanel returns the switches of these stand-ins. After a fault has ended, also
// when another one is to follow it, again is called, unless it is nil: who turned
// the switch waits for that.
func NewPanel(model *fakellm.Server, services []*Service, again func(context.Context, *Service)) *Panel {
	return &Panel{model: model, services: services, again: again, turned: map[string]string{}}
}

// ErrUnknown says that there is no such switch.
var ErrUnknown = errors.New("there is no such switch")

// Turn turns the switch of a name, such as airs/fault. It replaces all that was
// wanted before: nothing wanted ends it. The error is ErrUnknown, or says what of
// it cannot be.
func (p *Panel) Turn(ctx context.Context, name string, to url.Values) error {
	set, ended := p.set(name)
	if set == nil {
		return ErrUnknown
	}
	// What is shown of a switch is what it was turned to last.
	wanted, before := to.Encode(), ""
	err := func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := set(to); err != nil {
			return err
		}
		before, p.turned[name] = p.turned[name], wanted
		return nil
	}()
	switch {
	case err != nil || ended == nil:
		return err
	case wanted == "":
		ended(ctx)
	case before != "":
		// What was wanted before may keep a plugin from its service, and so from
		// what is wanted now.
		if err := p.setWhile(name, wanted, nil, set); err != nil {
			return err
		}
		ended(ctx)
		return p.setWhile(name, wanted, to, set)
	}
	return nil
}

// setWhile sets something unless a switch was turned to something else since.
func (p *Panel) setWhile(name, wanted string, to url.Values, set func(url.Values) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turned[name] != wanted {
		return nil
	}
	return set(to)
}

// set returns what turns a switch, and what follows when nothing is wanted.
func (p *Panel) set(name string) (set func(url.Values) error, ended func(context.Context)) {
	if name == "llm/options" {
		return p.pace, nil
	}
	word, what, _ := strings.Cut(name, "/")
	for _, s := range p.services {
		switch {
		case s.word != word:
		case what == "options":
			return s.in.behave, nil
		case what == "fault":
			return func(q url.Values) error {
					f, err := readFault(q)
					if err != nil {
						return err
					}
					return s.Fail(f)
				}, func(ctx context.Context) {
					if p.again != nil {
						p.again(ctx, s)
					}
				}
		}
	}
	return nil, nil
}

// Now is what a switch was turned to last, as a query; "" for nothing.
func (p *Panel) Now(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turned[name]
}

// pace has the model's streams speak as options say.
func (p *Panel) pace(q url.Values) (err error) {
	var pause time.Duration
	var hold bool
	for name := range q {
		value := q.Get(name)
		switch name {
		case "pause":
			pause, err = duration(value)
		case "hold":
			hold, err = strconv.ParseBool(value)
		default:
			return fmt.Errorf("there is no option %q: use pause, hold", name)
		}
		if err != nil {
			return fmt.Errorf("%s: %q cannot be used", name, value)
		}
	}
	p.model.Pause(pause)
	p.model.Hold(hold)
	return nil
}

// Register adds the paths of the switches.
func (p *Panel) Register(mux *http.ServeMux) {
	show := func(word string, requests func() []Seen) {
		mux.HandleFunc("GET /"+word+"/requests", func(w http.ResponseWriter, _ *http.Request) {
			all := requests()
			w.Header().Set("Content-Type", "application/json")
			out := json.NewEncoder(w)
			for _, r := range all[max(0, len(all)-lastSeen):] {
				_ = out.Encode(r) // a caller that left is no news
			}
		})
	}
	turn := func(name string) {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			q, err := url.ParseQuery(r.URL.RawQuery)
			if err != nil {
				err = errors.New("the query cannot be read")
			} else {
				err = p.Turn(r.Context(), name, q)
			}
			answer(w, err, http.StatusBadRequest)
		})
		mux.HandleFunc("DELETE /"+name, func(w http.ResponseWriter, r *http.Request) {
			answer(w, p.Turn(r.Context(), name, nil), http.StatusInternalServerError)
		})
	}
	show("llm", p.modelSaw)
	turn("llm/options")
	for _, s := range p.services {
		show(s.word, s.Saw)
		turn(s.word + "/fault")
		turn(s.word + "/options")
	}
}

func (p *Panel) modelSaw() (all []Seen) {
	requests := p.model.Requests()
	for _, r := range requests[max(0, len(requests)-lastSeen):] {
		all = append(all, see(r.Path, r.Body))
	}
	return all
}

func answer(w http.ResponseWriter, err error, status int) {
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// OnlyFromHere keeps pages of other origins from reading what is served and from
// turning switches, also such whose name is led to this machine once they are
// loaded: an address needs no name, and localhost is nobody else's.
func OnlyFromHere(next http.Handler) http.Handler {
	next = http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			w.Header().Set(name, value)
		}
		if !plainHost(r.Host) {
			http.Error(w, "Ask for http://localhost or an address: names could lead anywhere.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// plainHost reports whether a Host header is an address or localhost.
func plainHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil || strings.EqualFold(name, "localhost")
}
