// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// TestRefusedHeads: net/http answers some heads by itself, which nginx lets
// through. Whoever sends one must not be able to have it said that a request
// went elsewhere.
func TestRefusedHeads(t *testing.T) {
	s, address := newServer(t, relay.Options{Within: time.Hour})
	var missed string
	for name, head := range map[string]string{
		"a control character":   "POST /x HTTP/1.1\r\nHost: h\r\nX-A: a\x01b\r\nX-Relay-Token: TOKEN\r\nContent-Length: 0\r\n\r\n",
		"delete":                "POST /x HTTP/1.1\r\nHost: h\r\nx-relay-token:TOKEN\r\nX-A: a\x7fb\r\n\r\n",
		"a Host that is none":   "GET /x HTTP/1.1\r\nHost: a\"b\r\nX-Relay-Token: TOKEN\r\n\r\n",
		"an expectation":        "GET /x HTTP/1.1\r\nHost: h\r\nExpect: much\r\nX-Relay-Token: TOKEN\r\n\r\n",
		"a long head":           "GET /x HTTP/1.1\r\nHost: h\r\nX-Long: " + strings.Repeat("a", 20<<10) + "\r\nX-Relay-Token: TOKEN\r\nX-A: \x02\r\n\r\n",
		"after an exchange":     "GET /x HTTP/1.1\r\nHost: h\r\nX-Relay-Token: OTHER\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\nX-A: \x02\r\nX-Relay-Token: TOKEN\r\n\r\n",
		"after one with a body": "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Relay-Token: OTHER\r\n\r\nabcGET /x HTTP/1.1\r\nHost: h\r\nX-A: \x02\r\nX-Relay-Token: TOKEN\r\n\r\n",
	} {
		token := s.Expect(exchange{
			serve:  func(http.ResponseWriter, *http.Request) { t.Errorf("%s: it was served", name) },
			missed: func() { missed = name },
		})
		head = strings.ReplaceAll(head, "TOKEN", token)
		if strings.Contains(head, "OTHER") {
			head = strings.ReplaceAll(head, "OTHER", s.Expect(exchange{serve: func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, "one")
			}}))
		}
		c := dial(t, address)
		first, second, two := strings.Cut(head, "GET /x HTTP/1.1\r\nHost: h\r\nX-A: \x02")
		if two && first != "" { // as nginx does, the second follows the first one's answer
			_, _ = c.Write([]byte(first))
			for b, seen := make([]byte, 1<<10), ""; !strings.HasSuffix(seen, "one"); {
				n, err := c.Read(b)
				if seen += string(b[:n]); err != nil {
					t.Fatalf("%s: %q, %v", name, seen, err)
				}
			}
			head = "GET /x HTTP/1.1\r\nHost: h\r\nX-A: \x02" + second
		}
		_, _ = c.Write([]byte(head))
		for end := time.Now().Add(patience); s.Waiting() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the token still waits", name)
			}
		}
	}
	if missed != "" {
		t.Errorf("%s: it counts as missed", missed)
	}
	// Others cannot have tokens forgotten that they do not know.
	s.Expect(says(""))
	_, _ = dial(t, address).Write([]byte("GET /x HTTP/1.1\r\nHost: h\r\nX-A: \x02\r\nX-Relay-Token: 0123456789abcdef0123456789abcdef\r\n\r\n"))
	exchangeRaw(t, address, get(""), "")
	if n := s.Waiting(); n != 1 {
		t.Errorf("%d wait", n)
	}
}

// TestRandomHeader: it is a header's name, and another one each time.
func TestRandomHeader(t *testing.T) {
	a, b := relay.RandomHeader("plug-in"), relay.RandomHeader("plug-in")
	if a == b || !strings.HasPrefix(a, "X-Relay-Plug-In-") || len(a) != len("X-Relay-Plug-In-")+16 || http.CanonicalHeaderKey(a) != a {
		t.Errorf("%q and %q", a, b)
	}
}
