// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

const (
	// maxPrompt and maxAnswer bound what the page sends and reads, in bytes.
	maxPrompt = 64 << 10
	maxAnswer = 1 << 20
	// askTime bounds a request of the page's: longer than any fault takes to
	// end it.
	askTime = 2 * time.Minute
	// settleTime is how long what is known at once may take to be written down.
	settleTime = time.Second
)

// A question is what the page is to ask.
type question struct {
	way    *way
	format *format
	prompt string
	stream bool
	key    string // of a consumer, "" for none
}

// An asked is a question, and what its client got.
type asked struct {
	format       *format
	request      []byte
	stream       bool
	first, ended time.Duration // since it was sent; first is 0 before any text
	text         string
	failure      string // that the answer is, or ends with
	body         string
	short        bool // the body is not whole
}

// A tale is a line of what the page is told while it asks.
type tale struct {
	Kind string `json:"kind"` // note, head, text, end
	Text string `json:"text,omitempty"`
	// Status is that of the answer, in its head.
	Status int    `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	// MS is when it came, in milliseconds since the request was sent.
	MS float64 `json:"ms"`
}

// pose sends a question through the gateway and tells of its answer as it comes.
// It returns Kong's id of the exchange.
func (s *sandbox) pose(ctx context.Context, q question, tell func(tale)) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	body, err := q.format.request(q.prompt, q.stream)
	if err != nil {
		return "", err
	}
	if q.way.Relayed && s.showTheWay(ctx, q) {
		tell(tale{Kind: "note", Text: "The first exchanges of a relayed route take Kong's phases: harmless ones went ahead."})
	}
	req, err := s.request(ctx, q, body, "")
	if err != nil {
		return "", err
	}
	a := &asked{format: q.format, request: body[:min(len(body), maxKept)], stream: q.stream}
	sent := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", errors.New("the gateway does not answer")
	}
	defer res.Body.Close()
	id = res.Header.Get("X-Kong-Request-Id")
	since := func() float64 { return float64(time.Since(sent).Microseconds()) / 1000 }
	tell(tale{Kind: "head", Status: res.StatusCode, ID: id, MS: since()})
	a.hear(res, func(word string) {
		if a.first == 0 {
			a.first = time.Since(sent)
		}
		tell(tale{Kind: "text", Text: word, MS: since()})
	})
	a.ended = time.Since(sent)
	s.book.tell(id, a)
	for end := time.Now().Add(settleTime); !s.book.settled(id) && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(2 * time.Millisecond)
	}
	tell(tale{Kind: "end", Text: a.failure, ID: id, MS: float64(a.ended.Microseconds()) / 1000})
	return id, nil
}

// hear reads an answer to its end.
func (a *asked) hear(res *http.Response, say func(word string)) {
	var all bytes.Buffer
	body := io.TeeReader(io.LimitReader(res.Body, maxAnswer), &all)
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if streams := kind == "text/event-stream" || kind == "application/x-ndjson"; streams {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxAnswer)
		for lines.Scan() {
			word, failure := a.format.streamed(lines.Text())
			if word != "" {
				a.text += word
				say(word)
			}
			if failure != "" {
				a.failure = failure
			}
		}
		if lines.Err() != nil {
			a.failure = "the answer was cut off"
		}
	} else {
		if _, err := io.Copy(io.Discard, body); err != nil {
			a.failure = "the answer was cut off"
		}
		text := a.format.answered(all.Bytes())
		if res.StatusCode >= http.StatusBadRequest {
			a.failure = text
		} else if text != "" {
			a.text = text
			say(text)
		}
	}
	a.short = all.Len() > maxKept
	a.body = string(all.Bytes()[:min(all.Len(), maxKept)])
}

func (s *sandbox) request(ctx context.Context, q question, body []byte, query string) (*http.Request, error) {
	url := s.gateway.URL() + q.way.address(q.format)
	if query != "" {
		url += "?" + query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if q.format.header != nil {
		for name, value := range q.format.header(q.stream) {
			req.Header.Set(name, value)
		}
	}
	if q.key != "" && q.way.keyHeader != "" {
		req.Header.Set(q.way.keyHeader, q.key)
	}
	return req, nil
}

// showTheWay sends a relayed route its first exchanges, which the relay has to
// see before it gets the next ones: some, since each of Kong's workers has to
// see its own. It reports whether it did, which it does once for a route and
// caller.
func (s *sandbox) showTheWay(ctx context.Context, q question) bool {
	kind := q.way.Path
	if q.way.keyHeader != "" {
		kind += " " + q.key
	}
	s.mu.Lock()
	known := s.shown[kind]
	s.shown[kind] = true
	s.mu.Unlock()
	if known {
		return false
	}
	q.stream = false
	body, err := q.format.request(harmless, false)
	if err != nil {
		return false
	}
	// A connection belongs to one worker, in turn.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 2 * kongtest.DefaultWorkers {
		req, err := s.request(ctx, q, body, aside)
		if err != nil {
			return false
		}
		res, err := client.Do(req)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // its end is all that counts
		res.Body.Close()
		if res.StatusCode >= http.StatusBadRequest { // a service is down: another time
			s.mu.Lock()
			delete(s.shown, kind)
			s.mu.Unlock()
			return false
		}
	}
	return true
}

// questions reads what the page's form has: one question, or two that are to be
// compared.
func (s *sandbox) questions(r *http.Request) ([]question, error) {
	q := question{format: formatNamed(r.PostFormValue("format")), prompt: r.PostFormValue("prompt"), stream: r.PostFormValue("stream") != ""}
	switch {
	case q.format == nil:
		return nil, errors.New("there is no such format")
	case strings.TrimSpace(q.prompt) == "":
		return nil, errors.New("type a prompt first")
	case len(q.prompt) > maxPrompt:
		return nil, fmt.Errorf("the prompt is longer than %d bytes", maxPrompt)
	}
	var all []question
	for _, name := range []string{"route", "beside"} {
		path := r.PostFormValue(name)
		if path == "" && name == "beside" {
			continue
		}
		i := slices.IndexFunc(s.ways, func(w way) bool { return w.Path == path })
		if i < 0 {
			return nil, errors.New("there is no such route")
		}
		one := q
		if one.way = &s.ways[i]; !one.way.takes(q.format) {
			return nil, fmt.Errorf("%s does not take %s", path, q.format.Title)
		}
		if who := r.PostFormValue("caller"); who != "" {
			var known bool
			if one.key, known = s.keys[who]; !known {
				return nil, errors.New("there is no such caller")
			}
		}
		all = append(all, one)
	}
	return all, nil
}
