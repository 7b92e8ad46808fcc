// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

const (
	chatBody   = `{"model":"gpt-4o","messages":[{"role":"user","content":"what is the capital of France?"}]}`
	chatAnswer = `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}]}`
	chatPath   = "/v1/chat/completions"
)

// do sends a request as Kong would.
func do(t testing.TB, r *http.Request) *http.Response {
	t.Helper()
	answer, err := kongClient(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

func (w *world) settled() {
	w.t.Helper()
	within(w.t, "all memory to be handed back", func() bool { return w.metric("held_bytes") == 0 })
}

// within waits for something that another goroutine brings about.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("waited in vain for %s", what)
			return
		}
	}
}

// TestRelayedBytes: what is allowed goes through as it came, in whatever mode,
// with its headers and trailers, encoded as it was.
func TestRelayedBytes(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		for _, beside := range []bool{false, true} {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, beside %v, chunked %v", mode, beside, chunked), func(t *testing.T) {
					w := newWorld(t)
					request, answer := gz(chatBody), gz(chatAnswer)
					var length int64
					u := newUpstream(t, func(rw http.ResponseWriter, r *http.Request, _ string) {
						length = r.ContentLength
						h := rw.Header()
						h.Set("Content-Type", "application/json")
						h.Set("Content-Encoding", "gzip")
						h.Set("Etag", `"x"`)
						h.Add("Set-Cookie", "a=1")
						h.Add("Set-Cookie", "b=2")
						h.Set("X-Pad", "request=allow;response=allow")
						h["X_Pad"] = []string{"response=allow"} // which nginx's variable has, too
						h.Set("Trailer", "X-Sum")
						rw.WriteHeader(201)
						_, _ = io.WriteString(rw, answer)
						h.Set("X-Sum", "7")
					})
					s := modes(mode, mode)
					s.PromptBeside = beside
					sc := &scanner{}
					e := newEngine(w.Process, prisma(), s, sc)
					var body io.Reader = strings.NewReader(request)
					if chunked {
						body = io.MultiReader(body)
					}
					r := w.expect(e, guard.Relayed{Target: u.target()}, "POST", chatPath+"?a=%2F&b;c", body)
					r.Header.Set("Content-Encoding", "gzip")
					r.Header.Set("Digest", "sha=1")
					got := do(t, r)
					if b := readAll(t, got); b != answer || got.StatusCode != 201 {
						t.Errorf("answered %d %q", got.StatusCode, b)
					}
					h := got.Header
					if h.Get("Content-Encoding") != "gzip" || h.Get("Etag") != `"x"` || len(h["Set-Cookie"]) != 2 || got.Trailer.Get("X-Sum") != "7" {
						t.Errorf("header %v, trailer %v", h, got.Trailer)
					}
					// What goes out in one piece may be collected by nginx, what flows may not.
					if buffering := h.Get("X-Accel-Buffering"); (buffering == "no") != (mode != policy.Enforce) {
						t.Errorf("X-Accel-Buffering: %q", buffering)
					}
					_, sent, sentBody := u.got()
					if sentBody != request || sent.Get("Digest") != "sha=1" || sent.Get("Content-Encoding") != "gzip" || sent.Get(tokenHeader) != "" {
						t.Errorf("sent %v %q", sent, sentBody)
					}
					if want := int64(len(request)); chunked && length != -1 || !chunked && length != want {
						t.Errorf("sent with length %d", length)
					}
					want := map[policy.Mode]string{
						policy.Enforce: "request=allow;scan_id=scan-1;response=allow;scan_id=scan-1",
						policy.Monitor: "request=pending;response=pending", policy.Off: "",
					}[mode]
					if pad := strings.Join(append(h["X-Pad"], h["X_pad"]...), "|"); pad != want {
						t.Errorf("verdicts %q, want %q", pad, want)
					}
					w.Flush(context.Background())
					for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
						if n := len(sc.seen(leg)); (n == 1) != (mode != policy.Off) {
							t.Errorf("%d scans of the %s", n, leg)
						}
					}
					if mode != policy.Off {
						if s := sc.seen(llm.ResponseLeg)[0]; len(s.Prompt) != 1 || s.Turns[0].Text != "Paris." || s.Request == nil {
							t.Errorf("the answer was judged as %+v", s)
						}
					}
					w.settled()
				})
			}
		}
	}
}

// TestUpstreamFails: the caller is told in his API's form, it is counted apart
// from what is ours, and it never is an allow of anything.
func TestUpstreamFails(t *testing.T) {
	dead := func() relay.Target {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return relay.Target{Scheme: "http", Address: l.Addr().String(), Host: "model.example"}
	}
	slow := func() relay.Target {
		u := newUpstream(t, func(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() })
		target := u.target()
		target.Read = 50 * time.Millisecond
		return target
	}
	breaks := func(before string) func() relay.Target {
		return func() relay.Target {
			return newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				if before == "" {
					panic(http.ErrAbortHandler)
				}
				rw.Header().Set("Content-Type", "application/json")
				rw.Header().Set("Content-Length", "1000")
				_, _ = io.WriteString(rw, before)
			}).target()
		}
	}
	switches := func() relay.Target {
		return newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfree text")
		}).target()
	}
	for _, c := range []struct {
		name    string
		target  func() relay.Target
		mode    policy.Mode
		path    string
		status  int
		outcome string
		want    string
	}{
		{"nobody listens", dead, policy.Enforce, chatPath, 502, "upstream_failed", `{"error":{`},
		{"nobody listens, monitored", dead, policy.Monitor, chatPath, 502, "upstream_failed", `{"error":{`},
		{"nobody listens, off", dead, policy.Off, chatPath, 502, "upstream_failed", `{"error":{`},
		{"nobody listens, another API", dead, policy.Off, "/v1/messages", 502, "upstream_failed", `{"type":"error","error":{`},
		{"too slow", slow, policy.Enforce, chatPath, 504, "upstream_timeout", `{"error":{`},
		{"no answer", breaks(""), policy.Enforce, chatPath, 502, "upstream_failed", `{"error":{`},
		{"half an answer", breaks(`{"choices":`), policy.Enforce, chatPath, 502, "upstream_failed", `{"error":{`},
		{"another protocol that nobody asked for", switches, policy.Enforce, chatPath, 502, "upstream_failed", `{"error":{`},
		{"the same, monitored", switches, policy.Monitor, chatPath, 502, "upstream_failed", `{"error":{`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			s := modes(c.mode, c.mode)
			s.BlockFailures, s.BlockFailuresResponse = false, false
			r := w.expect(newEngine(w.Process, prisma(), s, &scanner{}), guard.Relayed{Target: c.target(), Identity: scan.Identity{Service: "llm"}}, "POST", c.path, strings.NewReader(chatBody))
			got := do(t, r)
			body := readAll(t, got)
			if got.StatusCode != c.status || !strings.HasPrefix(body, c.want) || !strings.Contains(body, `"upstream_failed"`) {
				t.Errorf("answered %d %s", got.StatusCode, body)
			}
			if n := w.metric("legs_total", "response", string(c.mode), c.outcome); n != 1 {
				t.Errorf("counted %v times", n)
			}
			if lines := w.noticed(); len(lines) != 1 || lines[0].level != "warn" || !strings.Contains(lines[0].text, c.outcome) {
				t.Errorf("logged %v", lines)
			}
			w.Flush(context.Background())
			w.settled()
		})
	}
}

// TestMonitoredAnswerBreaksOff: the client sees as much of it as the upstream
// gave, its head at least. nginx would send a GET again, to be told that there
// is no such exchange.
func TestMonitoredAnswerBreaksOff(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Monitor, policy.Off} {
		for _, before := range []string{"", `{"choices":`} {
			w := newWorld(t)
			u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				rw.Header().Set("Content-Type", "application/json")
				rw.Header().Set("Content-Length", "1000")
				rw.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(rw).Flush()
				_, _ = io.WriteString(rw, before)
			})
			got := do(t, w.expect(newEngine(w.Process, prisma(), modes(mode, mode), &scanner{}), guard.Relayed{Target: u.target()}, "GET", chatPath, nil))
			b, err := io.ReadAll(got.Body)
			if got.StatusCode != http.StatusOK || string(b) != before || err == nil {
				t.Errorf("%s, after %q: answered %d %q, %v", mode, before, got.StatusCode, b, err)
			}
			w.Flush(context.Background())
			w.settled()
		}
	}
}

// TestRelayedUpgrade: frames that nobody reads pass only where nothing is
// enforced.
func TestRelayedUpgrade(t *testing.T) {
	for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		for _, response := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			t.Run(string(request)+" and "+string(response), func(t *testing.T) {
				w := newWorld(t)
				echo := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
					conn, buffered, err := http.NewResponseController(rw).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close()
					_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
					line, _ := buffered.ReadString('\n')
					_, _ = io.WriteString(conn, line)
				}))
				defer echo.Close()
				r := w.expect(newEngine(w.Process, prisma(), modes(request, response), &scanner{}), guard.Relayed{
					Target: relay.Target{Scheme: "http", Address: echo.Listener.Addr().String(), Host: "model.example"},
				}, "GET", "/v1/realtime", nil)
				r.Header.Set("Connection", "Upgrade")
				r.Header.Set("Upgrade", "websocket")
				answer := do(t, r)
				if request == policy.Enforce || response == policy.Enforce {
					if body := readAll(t, answer); answer.StatusCode != 415 || !strings.Contains(body, "upgrade_not_supported") {
						t.Errorf("answered %d %s", answer.StatusCode, body)
					}
					return
				}
				if answer.StatusCode != 101 {
					t.Fatalf("answered %d", answer.StatusCode)
				}
				conn := answer.Body.(io.ReadWriter)
				_, _ = io.WriteString(conn, "frame\n")
				if line, err := bufio.NewReader(conn).ReadString('\n'); line != "frame\n" {
					t.Errorf("came back %q: %v", line, err)
				}
				answer.Body.Close()
				if n := w.metric("unscanned_total", "response", "upgraded connection"); (n == 1) != (response == policy.Monitor) {
					t.Errorf("counted %v times", n)
				}
			})
		}
	}
}

// TestScout: an exchange that the phases judge is handed on untouched, and
// heard of.
func TestScout(t *testing.T) {
	w := newWorld(t)
	u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, body string) {
		rw.Header().Set("X-Pad", "theirs")
		_, _ = io.WriteString(rw, `{"free":`)
		rw.(http.Flusher).Flush()
		_, _ = io.WriteString(rw, body)
	})
	seen := make(chan struct{}, 1)
	sc := both(block)
	v := prisma()
	v.SubjectHeader = "X-Subject"
	r := w.expect(newEngine(w.Process, v, strict(), sc), guard.Relayed{Target: u.target(), Scout: true, Seen: func() { seen <- struct{}{} }}, "POST", "/x", strings.NewReader("{"))
	r.Header.Set("X-Subject", "what the phases have set")
	answer := do(t, r)
	if b := readAll(t, answer); answer.StatusCode != 200 || b != `{"free":{` || answer.Header.Get("X-Pad") != "theirs" {
		t.Errorf("answered %d %q %v", answer.StatusCode, b, answer.Header)
	}
	_, header, _ := u.got()
	if len(seen) != 1 || len(sc.scans) != 0 || header.Get("X-Subject") != "what the phases have set" {
		t.Errorf("seen %d times, %d scans, header %v", len(seen), len(sc.scans), header)
	}
}

// TestScoutToNobody: it is answered like any other.
func TestScoutToNobody(t *testing.T) {
	w := newWorld(t)
	u := newUpstream(t, func(http.ResponseWriter, *http.Request, string) {})
	u.Close()
	r := w.expect(newEngine(w.Process, prisma(), strict(), both(block)), guard.Relayed{Target: u.target(), Scout: true, Seen: func() {}}, "POST", "/x", strings.NewReader("{"))
	answer := do(t, r)
	if b := readAll(t, answer); answer.StatusCode != 502 || !strings.Contains(b, "upstream_failed") {
		t.Errorf("answered %d %q", answer.StatusCode, b)
	}
	if strings.Contains(w.stderr.String(), "panic") {
		t.Errorf("log %s", w.stderr)
	}
}

func TestRelayedSubject(t *testing.T) {
	for _, c := range []struct {
		name         string
		mode         policy.Mode
		tell, beside bool
		want         string
	}{
		{"told", policy.Enforce, true, false, "strict"},
		{"not told", policy.Enforce, false, false, ""},
		{"sent on before it is known", policy.Enforce, true, true, ""},
		{"monitored", policy.Monitor, true, false, ""},
		{"off", policy.Off, true, false, ""},
	} {
		w := newWorld(t)
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) { _, _ = io.WriteString(rw, chatAnswer) })
		v := prisma()
		v.SubjectHeader, v.Needs.TellSubject = "X-Profile-Used", c.tell
		s := modes(c.mode, policy.Enforce)
		s.PromptBeside = c.beside
		r := w.expect(newEngine(w.Process, v, s, both(verdict(scan.Verdict{Action: scan.Allow, Subject: "strict"}))), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody))
		r.Header.Set("X-Profile-Used", "forged")
		readAll(t, do(t, r))
		if _, h, _ := u.got(); h.Get("X-Profile-Used") != c.want {
			t.Errorf("%s: the upstream is told %q", c.name, h["X-Profile-Used"])
		}
	}
}

// TestRelayedToken: a token is the scan's only if it is the one that Kong has
// verified.
func TestRelayedToken(t *testing.T) {
	for _, c := range []struct {
		verified string
		sent     []string
		want     string
	}{
		{"abc", []string{"Bearer abc"}, "abc"},
		{"abc", []string{"bearer abc"}, "abc"},
		{"abc", []string{"Bearer other"}, ""},
		{"abc", []string{"Basic abc"}, ""},
		{"abc", []string{"Bearer abc", "Bearer abc"}, ""},
		{"abc", nil, ""},
		{"", []string{"Bearer abc"}, ""},
	} {
		w := newWorld(t)
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) { _, _ = io.WriteString(rw, chatAnswer) })
		sc := &scanner{}
		r := w.expect(newEngine(w.Process, prisma(), strict(), sc), guard.Relayed{Target: u.target(), Token: c.verified}, "POST", chatPath, strings.NewReader(chatBody))
		r.Header["Authorization"] = c.sent
		readAll(t, do(t, r))
		for _, s := range sc.scans {
			if s.Token != c.want {
				t.Errorf("%q verified, %q sent: token %q", c.verified, c.sent, s.Token)
			}
		}
	}
}

// TestRelayedRequestID: it is Kong's, and not what a client makes of it.
func TestRelayedRequestID(t *testing.T) {
	for id, want := range map[string]string{
		"0613ba7aca2a02502dc164280c13c967":     "0613ba7aca2a02502dc164280c13c967",
		"a6c0bd9f-5c3b-4f4b-8f6f-3a1c3d2e1f00": "a6c0bd9f-5c3b-4f4b-8f6f-3a1c3d2e1f00",
		`x" outcome="allow`:                    "",
		strings.Repeat("a", 65):                "",
	} {
		w := newWorld(t)
		sc := &scanner{request: block}
		r := w.expect(newEngine(w.Process, prisma(), strict(), sc), guard.Relayed{}, "POST", chatPath, strings.NewReader(chatBody))
		r.Header.Set("X-Kong-Request-Id", id)
		k := &fakeKong{t: t}
		answer := do(t, r)
		k.exit = &exitCall{body: readAll(t, answer)}
		if got := k.refusal().RequestID; got != want || sc.scans[0].RequestID != want {
			t.Errorf("%q: %q", id, got)
		}
	}
}

// TestRelayedBodiesAreBounded: nothing is held beyond the limits, whether the
// length is announced or not, and the exchange ends as policy says.
func TestRelayedBodiesAreBounded(t *testing.T) {
	big := `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 100_000) + `"}]}`
	for _, chunked := range []bool{false, true} {
		for _, c := range []struct {
			name           string
			max, held      int64
			answer         bool
			status         int
			code           string
			requestsPassed float64
		}{
			{"fits", 200_000, 512 << 20, false, 200, "", 1},
			{"too large", 50_000, 512 << 20, false, 413, "body_too_large", 0},
			{"no room", 200_000, 150_000, false, 503, "guard_overloaded", 0},
			{"answer fits", 200_000, 512 << 20, true, 200, "", 1},
			{"answer too large", 50_000, 512 << 20, true, 502, "body_too_large", 1},
			{"no room for the answer", 200_000, 150_000, true, 503, "guard_overloaded", 1},
		} {
			t.Run(fmt.Sprintf("%s, chunked %v", c.name, chunked), func(t *testing.T) {
				w := newWorld(t, func(b *guard.Bounds) { b.HeldBytes, b.RoomWait = c.held, 10*time.Millisecond })
				request, back := big, chatAnswer
				if c.answer {
					request, back = chatBody, strings.Replace(chatAnswer, "Paris.", strings.Repeat("x", 100_000), 1)
				}
				u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
					rw.Header().Set("Content-Type", "application/json")
					if chunked {
						rw.(http.Flusher).Flush()
					}
					_, _ = io.WriteString(rw, back)
				})
				s := strict()
				s.MaxRequestBytes, s.MaxResponseBytes = c.max, c.max
				var body io.Reader = strings.NewReader(request)
				if chunked {
					body = io.MultiReader(body)
				}
				answer := do(t, w.expect(newEngine(w.Process, prisma(), s, &scanner{}), guard.Relayed{Target: u.target()}, "POST", chatPath, body))
				got := readAll(t, answer)
				if answer.StatusCode != c.status || c.code != "" && !strings.Contains(got, c.code) || c.code == "" && got != back {
					t.Errorf("answered %d %.200s", answer.StatusCode, got)
				}
				if n, _, _ := u.got(); float64(n) != c.requestsPassed {
					t.Errorf("the upstream was called %d times", n)
				}
				w.settled()
			})
		}
	}
}

// TestRelayedErrorAnswers: an upstream's error goes out as it is, however large,
// where nobody has to look at it.
func TestRelayedErrorAnswerOverTheLimit(t *testing.T) {
	for _, request := range []policy.Mode{policy.Enforce, policy.Off} {
		w := newWorld(t)
		back := `{"error":{"message":"` + strings.Repeat("x", 100_000) + `"}}`
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(500)
			_, _ = io.WriteString(rw, back)
		})
		s := modes(request, policy.Enforce)
		s.MaxResponseBytes = 50_000
		answer := do(t, w.expect(newEngine(w.Process, prisma(), s, both(block)), guard.Relayed{Target: u.target()}, "GET", "/v1/models", nil))
		if got := readAll(t, answer); answer.StatusCode != 500 || got != back {
			t.Errorf("%s: answered %d, %d bytes", request, answer.StatusCode, len(got))
		}
		if n := w.metric("unscanned_total", "error answer"); n != 1 {
			t.Errorf("%s: counted %v times", request, n)
		}
		w.settled()
	}
}

// TestRelayedMaskedAnswer: the relay needs no word of Kong's for a mask, since
// whoever comes behind it has seen the answer already.
func TestRelayedMaskedAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		vendor vendor
		status int
		want   string
	}{
		{"masked", masking(prisma()), 201, `"content":"***"`},
		{"by a vendor that does not say so", prisma(), 403, "answer blocked"},
	} {
		w := newWorld(t)
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
			h := rw.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Content-Encoding", "gzip")
			h.Set("Etag", "x")
			h.Set("X-Limit", "7")
			rw.WriteHeader(201)
			_, _ = io.WriteString(rw, gz(chatAnswer))
		})
		answer := do(t, w.expect(newEngine(w.Process, c.vendor, strict(), &scanner{response: maskAll}), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody)))
		body := readAll(t, answer)
		if answer.StatusCode != c.status || !strings.Contains(body, c.want) || strings.Contains(body, "Paris") {
			t.Errorf("%s: answered %d %q", c.name, answer.StatusCode, body)
		}
		h := answer.Header
		if h.Get("Content-Encoding") != "" || h.Get("Etag") != "" || h.Get("X-Limit") != "7" || answer.ContentLength != int64(len(body)) {
			t.Errorf("%s: header %v", c.name, h)
		}
	}
}

// TestRelayedLabels: a Kong that buffers sends names with underscores on with
// hyphens, so they are labels too.
func TestRelayedLabels(t *testing.T) {
	for name, c := range map[string]struct {
		labels [2]string // name and value
		body   string
		status int
	}{
		"a coding that it is not": {[2]string{"Content_Encoding", "deflate"}, chatAnswer, 502},
		"its coding":              {[2]string{"content_encoding", "gzip"}, gz(chatAnswer), 200},
		"a charset":               {[2]string{"Content_type", "application/json; charset=utf-7"}, chatAnswer, 502},
		"another header":          {[2]string{"X_Encoding", "deflate"}, chatAnswer, 200},
	} {
		w := newWorld(t)
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
			h := rw.Header()
			h["Content-Type"] = nil
			h[c.labels[0]] = []string{c.labels[1]}
			_, _ = io.WriteString(rw, c.body)
		})
		s := &scanner{}
		answer := do(t, w.expect(newEngine(w.Process, prisma(), strict(), s), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody)))
		readAll(t, answer)
		if answer.StatusCode != c.status || (len(s.seen(llm.ResponseLeg)) == 1) != (c.status == 200) {
			t.Errorf("%s: answered %d, scanned %v", name, answer.StatusCode, s.seen(llm.ResponseLeg))
		}
	}
}

func TestRelayedVerdictHeaders(t *testing.T) {
	v := prisma()
	v.ScanIDHeader = "X-Scan-Id"
	for _, a := range []scan.Action{scan.Allow, scan.Block} {
		w := newWorld(t)
		u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
			rw.Header().Set("X-Verdict", "forged")
			_, _ = io.WriteString(rw, chatAnswer)
		})
		sc := &scanner{response: verdict(scan.Verdict{Action: a, ScanID: "scan-9", Header: http.Header{"x-verdict": {"x"}}})}
		answer := do(t, w.expect(newEngine(w.Process, v, strict(), sc), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody)))
		readAll(t, answer)
		if h := answer.Header; len(h["X-Verdict"]) != 1 || h.Get("X-Verdict") != "x" || (h.Get("X-Scan-Id") == "scan-9") != (a == scan.Block) {
			t.Errorf("%v: %v", a, h)
		}
	}
}

// TestRelayedClientGone: whoever leaves ends the upstream's call, which costs
// money.
func TestRelayedClientGone(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t)
			called, gone := make(chan struct{}), make(chan struct{})
			u := newUpstream(t, func(_ http.ResponseWriter, r *http.Request, _ string) {
				close(called)
				<-r.Context().Done()
				close(gone)
			})
			ctx, leave := context.WithCancel(context.Background())
			r := w.expect(newEngine(w.Process, prisma(), modes(mode, mode), &scanner{}), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody))
			go func() {
				<-called
				leave()
			}()
			if answer, err := kongClient(t).Do(r.WithContext(ctx)); err == nil {
				answer.Body.Close()
				t.Error("it was answered")
			}
			<-gone
			w.Flush(context.Background())
			w.settled()
			if n := w.metric("legs_total", "upstream_failed"); n != 0 {
				t.Errorf("%v failures of the upstream were counted", n)
			}
		})
	}
}

// TestRelayedClientGoneDuringAScan: his leaving is no fault of ours.
func TestRelayedClientGoneDuringAScan(t *testing.T) {
	for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
		for _, beside := range []bool{false, true} {
			w := newWorld(t)
			scanning := make(chan struct{})
			hangs := func(ctx context.Context, _ *scan.Scan) (scan.Verdict, error) {
				close(scanning)
				<-ctx.Done()
				return scan.Verdict{}, &scan.Failure{Kind: scan.Unavailable, Reason: "canceled"}
			}
			sc := &scanner{request: hangs}
			if leg == llm.ResponseLeg {
				sc = &scanner{response: hangs}
			}
			u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) { _, _ = io.WriteString(rw, chatAnswer) })
			s := strict()
			s.PromptBeside = beside
			r := w.expect(newEngine(w.Process, prisma(), s, sc), guard.Relayed{Target: u.target()}, "POST", chatPath, strings.NewReader(chatBody))
			ctx, leave := context.WithCancel(context.Background())
			go func() {
				<-scanning
				leave()
			}()
			if answer, err := kongClient(t).Do(r.WithContext(ctx)); err == nil {
				answer.Body.Close()
				t.Errorf("%s: it was answered", leg)
			}
			within(t, "the exchange to be counted", func() bool { return w.metric("relayed_total", "client_gone") == 1 })
			if n := w.metric("legs_total", "own_fault"); n != 0 {
				t.Errorf("%s, beside %v: %v faults were counted", leg, beside, n)
			}
			w.settled()
		}
	}
}

// TestRelayedRequestBrokenOff: what a client does not send whole goes nowhere.
func TestRelayedRequestBrokenOff(t *testing.T) {
	w := newWorld(t)
	u := newUpstream(t, func(http.ResponseWriter, *http.Request, string) {})
	r := w.expect(newEngine(w.Process, prisma(), strict(), &scanner{}), guard.Relayed{Target: u.target()}, "POST", chatPath, nil)
	conn, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n%s", chatPath, tokenHeader, r.Header.Get(tokenHeader), chatBody)
	_ = conn.(*net.TCPConn).CloseWrite()
	if b, _ := io.ReadAll(conn); bytes.Contains(b, []byte("200 OK")) {
		t.Errorf("answered %q", b)
	}
	conn.Close()
	within(t, "the exchange to end", func() bool { return w.Relay.Open() == 0 })
	if n, _, _ := u.got(); n != 0 {
		t.Error("the upstream was called")
	}
	w.settled()
}

// TestRelayedAnswersWithoutABody: there is nothing to judge in them, and what
// they say of a body stays.
func TestRelayedAnswersWithoutABody(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		length string
	}{{"HEAD", 200, "12345"}, {"GET", 204, ""}, {"GET", 304, ""}, {"DELETE", 200, "0"}} {
		for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			w := newWorld(t)
			u := newUpstream(t, func(rw http.ResponseWriter, _ *http.Request, _ string) {
				rw.Header().Set("Content-Type", "text/event-stream")
				rw.Header().Set("Etag", `"x"`)
				if c.length != "" {
					rw.Header().Set("Content-Length", c.length)
				}
				rw.WriteHeader(c.status)
			})
			sc := &scanner{}
			r := w.expect(newEngine(w.Process, prisma(), modes(mode, mode), sc), guard.Relayed{Target: u.target()}, c.method, "/v1/models", nil)
			r.Header.Del("Content-Type")
			answer := do(t, r)
			if b := readAll(t, answer); b != "" || answer.StatusCode != c.status || answer.Header.Get("Etag") != `"x"` || answer.Header.Get("Content-Length") != c.length {
				t.Errorf("%s, %s: %d %v %q", c.method, mode, answer.StatusCode, answer.Header, b)
			}
			w.Flush(context.Background())
			if len(sc.scans) != 0 {
				t.Errorf("%s, %s: %d scans", c.method, mode, len(sc.scans))
			}
			w.settled()
		}
	}
}
