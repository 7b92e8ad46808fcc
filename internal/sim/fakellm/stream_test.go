// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// open sends a request and returns the lines of data of its answer, as they
// come; leave ends it.
func open(t *testing.T, url, method, body string, headers ...string) (next func() string, leave context.CancelFunc) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(leave)
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Body.Close() })
	lines := bufio.NewScanner(w.Body)
	return func() string {
		for lines.Scan() {
			if data, found := strings.CutPrefix(lines.Text(), "data: "); found {
				return data
			}
		}
		return ""
	}, leave
}

// silent waits until no stream has words left to say.
func silent(t *testing.T, s *Server) {
	t.Helper()
	for end := time.Now().Add(time.Minute); s.Speaking() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a stream still speaks")
		}
	}
}

const streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"What is 2+2?"}]}`

func TestHold(t *testing.T) {
	s := New(Options{})
	server := httptest.NewServer(s)
	defer server.Close()
	s.Pause(time.Millisecond)
	s.Hold(true)
	s.Hold(true) // once is enough
	next, _ := open(t, server.URL+"/v1/chat/completions", "POST", streamed)
	next() // the role
	if word := next(); !strings.Contains(word, `"content":"2"`) || s.Speaking() != 1 {
		t.Fatalf("%d streams speak, said %s", s.Speaking(), word)
	}
	s.Hold(false)
	var rest strings.Builder
	for d := next(); d != ""; d = next() {
		rest.WriteString(d)
	}
	if got := rest.String(); !strings.HasSuffix(got, "[DONE]") || !strings.Contains(got, `"content":" 4."`) || s.Speaking() != 0 {
		t.Errorf("%d streams speak, went on with %s", s.Speaking(), got)
	}
}

// TestLastWordIsTheEnd: nobody sees it while the stream counts as speaking.
func TestLastWordIsTheEnd(t *testing.T) {
	s := New(Options{})
	words := httptest.NewRecorder()
	out := s.stream(&call{w: words, r: httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)}, eventStream)
	var speaking []int
	for range out.words("one two three") {
		speaking = append(speaking, s.Speaking())
	}
	if len(speaking) != 3 || speaking[1] != 1 || speaking[2] != 0 {
		t.Errorf("streams that speak, word by word: %v", speaking)
	}
	for range out.words("one two three") {
		break
	}
	if n := s.Speaking(); n != 0 {
		t.Errorf("%d streams speak after one that was broken off", n)
	}
}

func TestCallerThatLeaves(t *testing.T) {
	for name, tempo := range map[string]func(*Server){
		"held":   func(s *Server) { s.Hold(true) },
		"paused": func(s *Server) { s.Pause(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Options{})
			server := httptest.NewServer(s)
			defer server.Close()
			tempo(s)
			next, leave := open(t, server.URL+"/v1/chat/completions", "POST", streamed)
			next()
			next()
			leave()
			silent(t, s)
		})
	}
}

func TestMCPStreamOfTheServer(t *testing.T) {
	s := New(Options{})
	server := httptest.NewServer(s)
	defer server.Close()
	const both = "Accept: application/json, text/event-stream"
	session := "Mcp-Session-Id: " + ask(t, s, "POST", "/mcp", initialize, both).Header().Get("Mcp-Session-Id")
	next, _ := open(t, server.URL+"/mcp", "GET", "", both, session)
	if said := next(); !strings.Contains(said, Greeting) {
		t.Fatalf("said %q", said)
	}
	ask(t, s, "DELETE", "/mcp", "", session)
	if said := next(); said != "" {
		t.Errorf("the session has ended, and it says %q", said)
	}
	if w := ask(t, s, "GET", "/mcp", "", both, session); w.Code != http.StatusNotFound {
		t.Errorf("after the end: %d", w.Code)
	}
}

func TestMCPListen(t *testing.T) {
	for _, tools := range []bool{false, true} {
		s := New(Options{})
		server := httptest.NewServer(s)
		s.Hold(true)
		filter := `"notifications":{},`
		if tools {
			filter = `"notifications":{"toolsListChanged":true,"promptsListChanged":true},`
		}
		body, headers := stateless("subscriptions/listen", filter)
		next, leave := open(t, server.URL+"/mcp", "POST", body, headers...)
		said := next()
		if !strings.Contains(said, "notifications/subscriptions/acknowledged") || !strings.Contains(said, `"io.modelcontextprotocol/subscriptionId":"a"`) ||
			strings.Contains(said, "promptsListChanged") || strings.Contains(said, "toolsListChanged") != tools {
			t.Errorf("said %q", said)
		}
		s.Hold(false)
		if tools {
			if said := next(); !strings.Contains(said, "notifications/tools/list_changed") || !strings.Contains(said, `"io.modelcontextprotocol/subscriptionId":"a"`) {
				t.Errorf("went on with %q", said)
			}
		}
		leave()
		server.Close() // waits for its streams
	}
}
