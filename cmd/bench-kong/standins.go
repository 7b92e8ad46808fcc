// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// A load is one kind of exchange: so many bytes of text in the prompt, and as
// many in the answer.
type load struct {
	size, form      string
	request, answer []byte
}

// name is how the load is called by -only, and in the stand-ins' header.
func (l load) name() string { return l.size + "-" + l.form }

// The two forms of an answer.
const (
	whole  = "json"
	stream = "stream"
)

// piece is how much text an event of a stream carries.
const piece = 32

func loads() []load {
	var all []load
	for _, size := range []struct {
		name  string
		bytes int
	}{{"60B", 60}, {"32KB", 32 << 10}} {
		text := words(size.bytes)
		all = append(
			all,
			load{size.name, whole, question(text, false), chat(text)},
			load{size.name, stream, question(text, true), events(text)},
		)
	}
	return all
}

// words is text of n bytes that no service objects to.
func words(n int) string {
	const sentence = "The harbour was quiet, and the boats came home with the tide. "
	return strings.Repeat(sentence, n/len(sentence)+1)[:n]
}

func question(text string, streamed bool) []byte {
	return encode(map[string]any{
		"model": "gpt-4o-mini", "stream": streamed,
		"messages": []any{map[string]any{"role": "user", "content": text}},
	})
}

func chat(text string) []byte {
	return encode(map[string]any{
		"id": "chatcmpl-1", "object": "chat.completion", "created": 1741569952, "model": "gpt-4o-mini",
		"choices": []any{map[string]any{"index": 0, "message": map[string]any{"role": "assistant", "content": text}, "finish_reason": "stop"}},
		"usage":   map[string]any{"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
	})
}

// events is the answer's stream.
func events(text string) []byte {
	var b bytes.Buffer
	event := func(delta map[string]any, finish any) {
		fmt.Fprintf(&b, "data: %s\n\n", encode(map[string]any{
			"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1741569952, "model": "gpt-4o-mini",
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}},
		}))
	}
	event(map[string]any{"role": "assistant", "content": ""}, nil)
	for len(text) > 0 {
		n := min(piece, len(text))
		event(map[string]any{"content": text[:n]}, nil)
		text = text[n:]
	}
	event(map[string]any{}, "stop")
	b.WriteString("data: [DONE]\n\n")
	return b.Bytes()
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // values that we made ourselves
	}
	return b
}

// Standins answer at once, without looking. What they cost is not counted, but
// it is taken from the same machine.
type standins struct {
	model, airs, noma string       // their URLs
	scans             atomic.Int64 // how many both services were asked for

	servers []*http.Server
}

const (
	airsAllows = `{"action":"allow","category":"benign","profile_id":"d3b5b6f2-5c4e-4b1c-9c52-0e1d8d9d7a10","profile_name":"profile","report_id":"R3f0c2f7e-2a52-4f0e-8d7f-6a1b2c3d4e5f",` +
		`"scan_id":"3f0c2f7e-2a52-4f0e-8d7f-6a1b2c3d4e5f","tr_id":"1","prompt_detected":{"dlp":false,"injection":false,"url_cats":false},"response_detected":{"dlp":false,"url_cats":false}}`
	nomaAllows = `{"aggregatedAction":"allow","aggregatedScanResult":false,"scanResult":[]}`
	nomaToken  = `{"accessToken":"token","expiresIn":86400}`
)

func startStandins(all []load) (*standins, error) {
	s := &standins{}
	scan := func(verdict string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s.scans.Add(1)
			say(w, r, []byte(verdict))
		}
	}
	noma := http.NewServeMux()
	noma.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) { say(w, r, []byte(nomaToken)) })
	noma.HandleFunc("/", scan(nomaAllows))
	for _, server := range []struct {
		url     *string
		handler http.Handler
	}{{&s.model, model(all)}, {&s.airs, scan(airsAllows)}, {&s.noma, noma}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		*server.url = "http://" + l.Addr().String()
		h := &http.Server{Handler: server.handler}
		s.servers = append(s.servers, h)
		go func() { _ = h.Serve(l) }() // it ends with close
	}
	return s, nil
}

func (s *standins) close() error {
	var errs []error
	for _, h := range s.servers {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// model gives the answer of the load that a request names.
func model(all []load) http.HandlerFunc {
	byName := map[string]load{}
	for _, l := range all {
		byName[l.name()] = l
	}
	return func(w http.ResponseWriter, r *http.Request) {
		l, ok := byName[r.Header.Get(answerHeader)]
		switch {
		case !ok:
			http.Error(w, "no such answer", http.StatusNotFound)
		case l.form == stream:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush() // no Content-Length, as real streams have none
			_, _ = w.Write(l.answer)
		default:
			say(w, r, l.answer)
		}
	}
}

// say reads the whole request, so that its connection can be used again, and
// answers it in JSON.
func say(w http.ResponseWriter, r *http.Request, body []byte) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
