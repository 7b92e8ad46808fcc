// SPDX-License-Identifier: Apache-2.0

package kong_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// TestExchanges plays what the sandbox demonstrates on a real Kong, over both
// versions of HTTP, as whole answers and as streams.
func TestExchanges(t *testing.T) {
	h := open(t, 1)
	const card = "My card is 4111 1111 1111 1111."
	for _, test := range []struct {
		name   string
		q      question
		status int
		says   string
		calls  int // of the model
	}{
		{"allowed", question{route: "prisma", prompt: harmless}, 200, "2 + 2 = 4.", 1},
		{"malicious prompt", question{route: "prisma", prompt: malicious}, 403, "Request blocked by security policy", 0},
		{"malicious answer", question{route: "prisma", prompt: leading}, 403, "Response blocked by security policy", 1},
		{"Noma allows", question{route: "noma", prompt: harmless}, 200, "2 + 2 = 4.", 1},
		{"Noma, malicious prompt", question{route: "noma", prompt: malicious}, 400, "Request blocked by Noma guardrail", 0},
		{"Noma, malicious answer", question{route: "noma", prompt: leading}, 400, "Response blocked by Noma guardrail", 1},
		{"both allow", question{route: "both", prompt: harmless}, 200, "2 + 2 = 4.", 1},
		{"both, malicious prompt", question{route: "both", prompt: malicious}, 403, "policy_violation", 0},
		{"both, malicious answer", question{route: "both", prompt: leading}, 403, "policy_violation", 1},
		{"mask", question{route: "mask", prompt: card}, 200, "XXXX", 1},
		{"monitor", question{route: "monitor", prompt: malicious}, 200, "", 1},
		{"no key", question{route: "keyed", prompt: harmless}, 401, "", 0},
		{"a consumer", question{route: "keyed", prompt: harmless, key: "shop-key"}, 200, "2 + 2 = 4.", 1},
		{"a consumer's malicious prompt", question{route: "keyed", prompt: malicious, key: "shop-key"}, 400, "Request blocked", 0},
		{"ai-proxy", question{route: "ai", prompt: harmless}, 200, "2 + 2 = 4.", 1},
		{"ai-proxy, malicious prompt", question{route: "ai", prompt: malicious}, 403, "Request blocked", 0},
		{"ai-proxy, malicious answer", question{route: "ai", prompt: leading}, 403, "Response blocked", 1},
	} {
		for _, form := range []struct {
			name                 string
			stream, http2, relay bool
		}{
			{"HTTP1", false, false, false},
			{"HTTP2", false, true, false},
			{"HTTP1 stream", true, false, false},
			{"HTTP2 stream", true, true, false},
			{"HTTP1 relayed", false, false, true},
			{"HTTP2 relayed", false, true, true},
			{"HTTP1 stream relayed", true, false, true},
			{"HTTP2 stream relayed", true, true, true},
		} {
			t.Run(test.name+"/"+form.name, func(t *testing.T) {
				if form.http2 && !form.relay && before(t, 9) {
					t.Skip("this Kong shows plugins no answer over HTTP/2")
				}
				if test.q.route == "ai" && !hasAIProxy(t) {
					t.Skip("this Kong has no ai-proxy")
				}
				q := test.q
				q.stream, q.http2 = form.stream, form.http2
				if form.relay {
					if q.route == "ai" {
						t.Skip("ai-proxy takes the target: the phases judge it")
					}
					q.route += "-relay"
				}
				h.llm.Forget()
				a, err := h.ask(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				status, says := test.status, test.says
				if form.relay && q.route == "both-relay" && status == 403 {
					// The chain goes Kong, Noma, Prisma AIRS: who judges first, refuses.
					status, says = a.status, "policy_violation"
				}
				switch {
				case form.relay && form.stream && test.status >= 400 && a.status == 200:
					// It was blocked after some of it had gone out.
					if !strings.Contains(a.body, "policy_violation") || strings.Contains(a.body, "[DONE]") {
						t.Errorf("%s has no ending", a.body)
					}
				case a.status != status:
					t.Errorf("%d %s, want %d", a.status, a.body, status)
				case form.stream && a.status == 200:
					if !strings.Contains(text(a.body), says) {
						t.Errorf("%s, want %q in it", a.body, says)
					}
				case !strings.Contains(a.body, says):
					t.Errorf("%s, want %q in it", a.body, says)
				}
				if form.http2 != (a.proto == "HTTP/2.0") {
					t.Errorf("over %s", a.proto)
				}
				if n := len(h.llm.Requests()); n != test.calls {
					t.Errorf("the model was asked %d times, want %d", n, test.calls)
				}
			})
		}
	}
	for _, application := range []string{"shop", "kong"} {
		if !scanned(h, `"applicationId":"`+application+`"`) {
			t.Errorf("no scan for the application %s", application)
		}
	}
	log := h.Log()
	for _, line := range []string{"SecurePrismaAIRS request blocked", "SecurePrismaAIRS response blocked", "[noma-runtime-protection] request blocked", "[noma-runtime-protection] monitored request would be refused"} {
		if !strings.Contains(log, line) && !strings.Contains(log, strings.Replace(line, "monitored ", "", 1)) {
			t.Errorf("Kong's log has no line %q", line)
		}
	}
	if strings.Contains(log, "reveal secrets") {
		t.Error("Kong's log quotes a prompt")
	}
}

// TestLabelsOfAnAnswer: no label reaches the client under which the answer was not
// read. Kong sends names with underscores on with hyphens.
func TestLabelsOfAnAnswer(t *testing.T) {
	h := open(t, 1)
	for fields, status := range map[string]int{
		"none":                      200,
		"Content-Encoding=identity": 200,
		"content-encoding=":         200,
		"X_Other=deflate":           200,
		"Content-Encoding=identity;Content-Encoding=deflate": 502,
		"CONTENT-ENCODING=deflate":                           502,
		"Content_Encoding=deflate":                           502,
		"content_encoding=deflate":                           502,
		"Content-Encoding=identity;Content_Encoding=deflate": 502,
		"Content_Encoding=identity;Content-Encoding=deflate": 502,
		"Content_Type=text/event-stream":                     502,
	} {
		a, err := h.ask(t.Context(), question{route: "coded", prompt: fields})
		if err != nil {
			t.Fatal(err)
		}
		if a.status != status || status == 200 && !strings.Contains(a.body, `"said"`) {
			t.Errorf("%q: %d %v %s", fields, a.status, a.header, a.body)
		}
	}
}

// text is what the events of a chat's stream say.
func text(body string) string {
	var b strings.Builder
	for line := range strings.Lines(body) {
		_, rest, ok := strings.Cut(line, `"content":"`)
		if piece, _, end := strings.Cut(rest, `"`); ok && end {
			b.WriteString(piece)
		}
	}
	return b.String()
}

func scanned(h *house, what string) bool {
	for _, r := range h.noma.Requests(fakenoma.ScanPath) {
		if strings.Contains(string(r.Body), what) {
			return true
		}
	}
	return false
}

// TestServiceDown has the scan service fail: nothing passes, but where the
// configuration says so.
func TestServiceDown(t *testing.T) {
	h := open(t, 1)
	h.airs.SetFault(fakeairs.Fault{Status: 500})
	a, err := h.ask(t.Context(), question{route: "prisma", prompt: harmless})
	if err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s, %v, want 503 with Retry-After", a.status, a.header, a.body, err)
	}
	a, err = h.ask(t.Context(), question{route: "open", prompt: harmless})
	if err != nil || a.status != http.StatusOK {
		t.Errorf("%d %s, %v, want 200 with block_failures false", a.status, a.body, err)
	}
}

// under has eight callers ask until the returned function is called, which says
// how each kind of answer was counted: "200", "500", "error".
func (h *house) under(q question) (stop func() map[string]int) {
	var wg sync.WaitGroup
	var ended atomic.Bool
	var mu sync.Mutex
	seen := map[string]int{}
	for range 8 {
		wg.Go(func() {
			for !ended.Load() {
				kind := "error"
				if a, err := h.ask(h.t.Context(), q); err == nil {
					kind = http.StatusText(a.status)
				}
				mu.Lock()
				seen[kind]++
				mu.Unlock()
			}
		})
	}
	return func() map[string]int {
		ended.Store(true)
		wg.Wait()
		return seen
	}
}

// TestReload reloads Kong under load: no exchange is lost, and none goes on
// unscanned.
func TestReload(t *testing.T) {
	for _, workers := range []int{1, 2} {
		h := open(t, workers)
		// An old worker closes the connections that it keeps, and a request that
		// was on its way on one of them is lost, with any plugins.
		h.http1.Transport.(*http.Transport).DisableKeepAlives = true
		for _, q := range []question{{route: "both", prompt: harmless}, {route: "both", prompt: harmless, stream: true}} {
			stop := h.under(q)
			time.Sleep(time.Second)
			if err := h.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if seen := stop(); len(seen) != 1 || seen["OK"] < 100 {
				t.Errorf("%d workers, stream %v: %v, want 200 alone", workers, q.stream, seen)
			}
		}
	}
}

// TestKilled kills the plugin server: until its successor serves, exchanges end
// with an error, and the model sees none of them.
func TestKilled(t *testing.T) {
	if version != "" && before(t, 8) {
		t.Skip("this Kong goes on without a plugin whose server fails: TestSealed shows what closes that")
	}
	h := open(t, 2)
	for range 3 {
		h.llm.Forget()
		stop := h.under(question{route: "prisma", prompt: malicious})
		time.Sleep(300 * time.Millisecond)
		if err := h.Signal(prisma, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		seen := stop()
		if seen["OK"] > 0 || len(h.llm.Requests()) > 0 {
			t.Errorf("%v, and the model was asked %d times", seen, len(h.llm.Requests()))
		}
		if seen["Forbidden"] == 0 {
			t.Errorf("nothing was judged: %v", seen)
		}
	}
	h.await(func() bool {
		a, err := h.ask(t.Context(), question{route: "prisma", prompt: harmless})
		return err == nil && a.status == http.StatusOK
	})
}

// TestHung stops the plugin server without ending it: nothing passes.
func TestHung(t *testing.T) {
	if version != "" && before(t, 8) {
		t.Skip("this Kong goes on without a plugin whose server fails: TestSealed shows what closes that")
	}
	h := open(t, 1)
	if err := h.Signal(prisma, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.llm.Forget()
	h.http1.Timeout = 3 * time.Second
	if a, err := h.ask(t.Context(), question{route: "prisma", prompt: malicious}); err == nil && a.status < 500 {
		t.Errorf("%d %s, want no answer, or an error", a.status, a.body)
	}
	if n := len(h.llm.Requests()); n > 0 {
		t.Errorf("the model was asked %d times", n)
	}
	if err := h.Signal(prisma, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.http1.Timeout = patience
	h.await(func() bool {
		a, err := h.ask(t.Context(), question{route: "prisma", prompt: harmless})
		return err == nil && a.status == http.StatusOK
	})
}
