// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// BenchmarkRelayForward is a whole exchange, upstream and client included, straight
// and through the relay: with a body that is handed on as it comes, and with one
// that was read before. What the relay costs is the difference.
func BenchmarkRelayForward(b *testing.B) {
	event := []byte("data: {\"choices\":[{\"delta\":{\"content\":\"word \"}}]}\n\n")
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/json" {
			_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"Hello."}}]}`)
			return
		}
		flush := http.NewResponseController(w).Flush
		for range 100 {
			_, _ = w.Write(event)
			_ = flush()
		}
	}))
	b.Cleanup(up.Close)
	s, address := newServer(b, relay.Options{})
	client := newClient(b)
	to := relay.Target{Scheme: "http", Address: up.Listener.Addr().String(), Host: "h", Connect: patience, Read: patience, Send: patience}
	for _, c := range []struct {
		path, relayed string
		size          int
		x             *exchange // nil for straight
	}{
		{"/json", "false", 60, nil},
		{"/json", "true", 60, new(hands(client, to))},
		{"/json", "held", 60, new(holds(client, to))},
		{"/json", "held32K", 32 << 10, new(holds(client, to))},
		{"/stream", "false", 60, nil},
		{"/stream", "true", 60, new(hands(client, to))},
		{"/stream", "held", 60, new(holds(client, to))},
	} {
		body := []byte(strings.Repeat("{}", c.size/2))
		b.Run(fmt.Sprintf("%s/relayed=%v", c.path[1:], c.relayed), func(b *testing.B) {
			transport := new(http.Transport)
			defer transport.CloseIdleConnections()
			base := up.URL
			if c.x != nil {
				base = "http://" + address
			}
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, base+c.path, bytes.NewReader(body))
				if c.x != nil {
					r.Header["X-Relay-Token"] = []string{s.Expect(*c.x)}
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					b.Fatal(err)
				}
				answer.Body.Close()
			}
		})
	}
}

func BenchmarkRelayExpect(b *testing.B) {
	s := relay.New(relay.Options{})
	b.ReportAllocs()
	for b.Loop() {
		s.Forget(s.Expect(exchange{}))
	}
	_ = s.Shutdown(b.Context())
}
