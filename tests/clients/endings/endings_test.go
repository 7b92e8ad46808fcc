// SPDX-License-Identifier: Apache-2.0

// Package endings holds what real clients make of a stream that is broken off,
// and of a refusal that comes before its first event.
package endings

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

const (
	message = "Response blocked by security policy"
	said    = "The ferry leaves " // what was streamed before the block
)

// patience is how long a client may take before it counts as hanging.
const patience = time.Minute

// A client is one way of streaming with an SDK.
type client struct {
	// errorsOnly says that no turn of the model's is written for this API.
	errorsOnly bool
	// framing and events are how its API streams said.
	framing llm.Framing
	events  []string
	// ask asks the server at url and returns the text that came, and what the
	// SDK raised.
	ask func(ctx context.Context, url string) (text string, err error)
	// broken and refused return what is wrong with the error, "" for nothing: of
	// a stream that was broken off, and of a refusal with status 403.
	broken, refused func(err error) string
	// id is the id of the answer said.
	id string
	// atOnce is for a client that finds an empty event where the next one has
	// not arrived yet.
	atOnce bool
}

// run lets a client ask servers that break the stream off and that refuse.
func run(t *testing.T, c client) {
	t.Helper()
	for _, tt := range []struct {
		name   string
		events []string
		check  func(error) string
	}{{"in mid-stream", c.events, c.broken}, {"before the stream", nil, c.refused}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { serve(w, req, &c, tt.events) }))
			defer server.Close()
			text, err := c.ask(ctx, server.URL)
			if ctx.Err() != nil {
				t.Fatalf("the client waited: %v", err)
			}
			want := ""
			if tt.events != nil {
				want = said
			}
			if text != want {
				t.Errorf("streamed %q, not %q", text, want)
			}
			if err == nil {
				t.Fatal("the client raised nothing")
			}
			if wrong := tt.check(err); wrong != "" {
				t.Errorf("%s: %T %v", wrong, err, err)
			}
		})
	}
	if c.errorsOnly {
		return
	}
	for name, began := range map[string]bool{"a turn in mid-stream": true, "a turn before the stream": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { serveTurn(t, w, req, &c, began) }))
			defer server.Close()
			text, err := c.ask(ctx, server.URL)
			if err != nil {
				t.Fatalf("%T %v", err, err)
			}
			// Where a turn has blocks, the last words are one of their own.
			want := []string{message}
			if began {
				want = []string{said + message, said + "\n\n" + message}
			}
			if !slices.Contains(want, text) {
				t.Errorf("streamed %q", text)
			}
		})
	}
}

// serveTurn answers a request with a block as the model's turn, or ends a stream
// so that has begun.
func serveTurn(t *testing.T, w http.ResponseWriter, req *http.Request, c *client, began bool) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Error(err)
		return
	}
	asked, err := llm.Read(llm.Input{Leg: llm.RequestLeg, Path: req.URL.Path, Body: body}, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 64})
	if err != nil || !asked.Asked.Answerable() {
		t.Errorf("%s %s: %v", req.URL.Path, body, err)
		return
	}
	r := llm.Refusal{
		Format: asked.Format, Status: http.StatusForbidden, Message: message, Code: "policy_violation", Policy: true,
		Asked: asked.Asked, Model: asked.Model, Events: req.URL.Query().Get("alt") == "sse", Stamp: llm.NewStamp(), Told: llm.NewTold(asked.Asked),
	}
	if !began {
		kind, body := llm.Render(r)
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Type", contentTypes[c.framing])
	for _, event := range c.events {
		r.Told.Note(c.framing, []byte(event))
		_, _ = io.WriteString(w, event)
		if !c.atOnce {
			_ = http.NewResponseController(w).Flush()
		}
	}
	_, _ = w.Write(llm.RenderEnding(r, c.framing, c.id))
}

var contentTypes = map[llm.Framing]string{
	llm.Events: "text/event-stream", llm.Lines: "application/x-ndjson", llm.Frames: "application/vnd.amazon.eventstream",
}

// serve streams events and ends with a block, or refuses if there are none.
func serve(w http.ResponseWriter, req *http.Request, c *client, events []string) {
	_, _ = io.Copy(io.Discard, req.Body)
	r := llm.Refusal{
		Format: llm.FormatOf(req.URL.Path), Status: http.StatusForbidden, Message: message,
		Code: "policy_violation", Policy: true, RequestID: "req-1", ScanID: "scan-1",
	}
	if events == nil {
		kind, body := llm.Render(r)
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(r.Status)
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Type", contentTypes[c.framing])
	units := append(events[:len(events):len(events)], string(llm.RenderEnding(r, c.framing, "")))
	if c.atOnce {
		units = []string{strings.Join(units, "")}
	}
	for _, unit := range units {
		_, _ = io.WriteString(w, unit)
		_ = http.NewResponseController(w).Flush()
	}
}

// lacking returns which of the words an error does not show, "" for none.
func lacking(err error, words ...string) string {
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return "no " + word
		}
	}
	return ""
}
