// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
)

//go:embed page
var pageFiles embed.FS

var pageTemplate = template.Must(template.ParseFS(pageFiles, "page/index.html"))

const (
	// pagePolicy lets the page load its own stylesheet and script, and talk to
	// its own server. Texts of models and of attackers are shown on it.
	pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
	// maxForm bounds a form, in bytes: a prompt may be three times as long when
	// it is encoded.
	maxForm = 3*maxPrompt + 4096
	// maxAsking bounds the forms of a kind that are being answered.
	maxAsking = 16
)

// A choice is one of a switch.
type choice struct{ To, Says string }

// A setting is a switch as the page shows it.
type setting struct {
	Name, Title string
	Choices     []choice
	Now         string
}

// The settings that the page offers. More can be had by curl, and are shown as
// they are.
var (
	faultChoices = []choice{
		{"", "works"},
		{"down=true", "is down"},
		{"delay=2s", "takes 2 s"},
		{"delay=8s", "takes 8 s"},
		{"hang=true", "never answers"},
		{"status=500", "answers 500"},
		{"retry_after=5&status=429", "answers 429: too many requests"},
		{"garbage=true", "is behind a captive portal"},
	}
	extraFaults   = map[string][]choice{"airs": {{"degraded=timeout", "judges half of it"}}}
	policyChoices = map[string][]choice{
		"llm":  {{"", "streams at once"}, {"pause=100ms", "a word each 100 ms"}, {"pause=300ms", "a word each 300 ms"}, {"hold=true", "waits behind its first word"}},
		"airs": {{"", "as it is set up"}, {"api_key=rotated", "refuses the plugin's key"}, {"profile=other", "has no such profile"}, {"alert_only=true", "reports, and allows"}},
		"noma": {{"", "as it is set up"}, {"client_secret=changed", "refuses the plugin's secret"}, {"block_sensitive=true", "blocks sensitive data"}, {"dialect=result", "says no action"}},
	}
)

func (s *sandbox) settings() (all []setting) {
	add := func(name, title string, choices []choice) {
		now := s.panel.Now(name)
		if !slices.ContainsFunc(choices, func(c choice) bool { return c.To == now }) {
			choices = append(slices.Clip(choices), choice{now, now})
		}
		all = append(all, setting{name, title, choices, now})
	}
	for _, service := range s.services {
		add(service.word+"/fault", service.title, slices.Concat(faultChoices, extraFaults[service.word]))
		add(service.word+"/options", service.title+", its policy", policyChoices[service.word])
	}
	add("llm/options", "The model", policyChoices["llm"])
	return all
}

// A pageData is what the template shows.
type pageData struct {
	Ways      []way
	Formats   []format
	Callers   []string
	Settings  []setting
	Plugins   []string
	Meters    []meter
	Exchanges []view
	Number    int64
	Gateway   string
	Wrong     string // with what was asked for
	// What the form has.
	Prompt, Route, Beside, Format, Caller string
	Stream                                bool
}

func (s *sandbox) pageData(r *http.Request) pageData {
	d := pageData{
		Ways: s.ways, Formats: formats, Settings: s.settings(), Gateway: s.at.gateway,
		Prompt: malicious, Format: formats[0].Name, Stream: true,
	}
	for who := range s.keys {
		d.Callers = append(d.Callers, who)
	}
	slices.Sort(d.Callers)
	for _, w := range slices.Backward(s.ways) {
		if w.Relayed {
			d.Beside = w.Path // the first one
		} else {
			d.Route = w.Path
		}
	}
	// What was typed stays.
	q := r.Form
	if q == nil {
		q = r.URL.Query()
	}
	if q.Has("prompt") {
		d.Prompt, d.Route, d.Beside, d.Format, d.Caller = q.Get("prompt"), q.Get("route"), q.Get("beside"), q.Get("format"), q.Get("caller")
		d.Stream = q.Has("stream")
	}
	d.Plugins, d.Meters = s.meters(r.Context())
	d.Exchanges, d.Number = s.book.since(0)
	for i := range min(2, len(d.Exchanges)) {
		d.Exchanges[i].Open = true
	}
	return d
}

// page serves the page, and what it asks for.
func (s *sandbox) page(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.show(w, http.StatusOK, s.pageData(r)) })
	for _, file := range []struct{ name, kind string }{{"style.css", "text/css"}, {"script.js", "text/javascript"}} {
		mux.HandleFunc("GET /"+file.name, func(w http.ResponseWriter, _ *http.Request) {
			b, err := pageFiles.ReadFile("page/" + file.name)
			if err != nil {
				http.Error(w, "not there", http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Type", file.kind+"; charset=utf-8")
			_, _ = w.Write(b) // a caller that left is no news
		})
	}
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /state", s.tellState)
	// What is asked may wait for a switch, which therefore has room of its own.
	asking, turning := make(chan struct{}, maxAsking), make(chan struct{}, maxAsking)
	form := func(pattern string, room chan struct{}, do func(http.ResponseWriter, *http.Request)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			select {
			case room <- struct{}{}:
				defer func() { <-room }()
			default:
				http.Error(w, "too much is being asked at once", http.StatusServiceUnavailable)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				http.Error(w, "the form cannot be read", http.StatusBadRequest)
				return
			}
			do(w, r)
		})
	}
	form("POST /{$}", asking, s.askAndShow)
	form("POST /ask", asking, s.askAndTell)
	form("POST /set", turning, s.setAndShow)
}

func (s *sandbox) show(w http.ResponseWriter, status int, d pageData) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, d); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w) // a caller that left is no news
}

// askAndShow is what a browser without scripts gets.
func (s *sandbox) askAndShow(w http.ResponseWriter, r *http.Request) {
	all, err := s.questions(r)
	for _, q := range all {
		if err == nil {
			_, err = s.pose(r.Context(), q, func(tale) {})
		}
	}
	d := s.pageData(r)
	if err != nil {
		d.Wrong = err.Error()
		s.show(w, http.StatusBadRequest, d)
		return
	}
	s.show(w, http.StatusOK, d)
}

// askAndTell answers the script: a line of JSON for each thing that happens.
func (s *sandbox) askAndTell(w http.ResponseWriter, r *http.Request) {
	all, err := s.questions(r)
	if err == nil && len(all) > 1 {
		err = errors.New("one route at a time")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	var mu sync.Mutex
	tell := func(t tale) {
		mu.Lock()
		defer mu.Unlock()
		if line, err := json.Marshal(t); err == nil {
			_, _ = w.Write(append(line, '\n')) // a caller that left is no news
			_ = flush.Flush()
		}
	}
	if _, err := s.pose(r.Context(), all[0], tell); err != nil {
		tell(tale{Kind: "end", Text: err.Error()})
	}
}

// setAndShow turns a switch.
func (s *sandbox) setAndShow(w http.ResponseWriter, r *http.Request) {
	to, err := url.ParseQuery(r.PostFormValue("to"))
	if err == nil {
		err = s.panel.Turn(r.Context(), r.PostFormValue("name"), to)
	}
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case r.Header.Get("Accept") == "application/json":
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// tellState tells the script what has changed since a number.
func (s *sandbox) tellState(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64) // else all
	var state struct {
		Settings  []setting `json:"settings"`
		Meters    []meter   `json:"meters"`
		Exchanges []view    `json:"exchanges"`
		Number    int64     `json:"number"`
	}
	state.Settings = s.settings()
	_, state.Meters = s.meters(r.Context())
	state.Exchanges, state.Number = s.book.since(since)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(state) // a caller that left is no news
}
