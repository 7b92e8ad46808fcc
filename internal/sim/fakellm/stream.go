// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"time"
)

// eventStream is the type of server-sent events.
const eventStream = "text/event-stream; charset=utf-8"

// A tempo is how fast streams speak.
type tempo struct {
	mu    sync.Mutex
	pause time.Duration
	held  chan struct{} // closed when streams may go on; nil when they may
	// speaking is how many streams have words left to say.
	speaking int
}

// Pause makes streams wait before each word but the first.
func (s *Server) Pause(d time.Duration) {
	s.tempo.mu.Lock()
	defer s.tempo.mu.Unlock()
	s.tempo.pause = d
}

// Hold makes streams wait behind their first word until they may go on, so
// that what is seen of them before was certainly seen before they ended.
func (s *Server) Hold(on bool) {
	s.tempo.mu.Lock()
	defer s.tempo.mu.Unlock()
	switch {
	case on == (s.tempo.held != nil):
	case on:
		s.tempo.held = make(chan struct{})
	default:
		close(s.tempo.held)
		s.tempo.held = nil
	}
}

// Speaking is how many streams have begun whose last word has not been sent.
func (s *Server) Speaking() int {
	s.tempo.mu.Lock()
	defer s.tempo.mu.Unlock()
	return s.tempo.speaking
}

func (t *tempo) speak(by int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.speaking += by
}

// wait waits before a word that is not the first. It is false when the caller
// has left.
func (t *tempo) wait(ctx context.Context) bool {
	t.mu.Lock()
	pause, held := t.pause, t.held
	t.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return false
		}
	}
	if pause > 0 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// A stream writes server-sent events.
type stream struct {
	w     http.ResponseWriter
	flush *http.ResponseController
	ctx   context.Context // the caller's: it ends when he leaves
	tempo *tempo
}

func (s *Server) stream(c *call, contentType string) *stream {
	c.w.Header().Set("Content-Type", contentType)
	c.w.Header().Set("Cache-Control", "no-cache")
	c.w.WriteHeader(http.StatusOK)
	return &stream{c.w, http.NewResponseController(c.w), c.r.Context(), &s.tempo}
}

// words are those of a text, each when it is time for it. A caller that has
// left gets no more.
func (s *stream) words(text string) iter.Seq[string] {
	return s.each(pieces(text))
}

func (s *stream) each(words []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(words) == 0 {
			return
		}
		s.tempo.speak(1)
		left := func() { s.tempo.speak(-1) }
		defer func() { left() }()
		for i, word := range words {
			if i > 0 && !s.tempo.wait(s.ctx) {
				return
			}
			if i == len(words)-1 {
				left() // before it can be seen
				left = func() {}
			}
			if !yield(word) {
				return
			}
		}
	}
}

// event sends one event; its type may be "".
func (s *stream) event(kind, format string, args ...any) {
	if kind != "" {
		kind = "event: " + kind + "\n"
	}
	s.raw(kind+"data: "+format+"\n\n", args...)
}

func (s *stream) raw(format string, args ...any) {
	_, _ = fmt.Fprintf(s.w, format, args...) // a caller that left is no news
	_ = s.flush.Flush()
}
