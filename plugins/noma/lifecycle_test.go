// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

const chatPath = "/open/v1/chat/completions"

// TestAuthenticationThroughTheBinary covers TV63 and TV65 to TV67 for each form
// in which the service may want to be asked for a token.
func TestAuthenticationThroughTheBinary(t *testing.T) {
	for _, c := range []struct {
		name   string
		config map[string]any
		forms  fakenoma.TokenForm
		snake  bool
		// asked are the paths of the token calls before the first scan.
		asked string
	}{
		{"JSON to auth", nil, fakenoma.AuthJSON, false, "/auth"},
		{"JSON to oauth", nil, fakenoma.OAuthJSON, true, "/auth /v1/oauth/token"},
		{"a form to oauth", nil, fakenoma.OAuthForm, true, "/auth /v1/oauth/token /v1/oauth/token"},
		{"key", map[string]any{"client_ID": nil, "client_secret": nil, "api_key": "k3y"}, 0, false, ""},
		{"credentials win over a key", map[string]any{"api_key": "other"}, 0, false, "/auth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := build(t, c.config)
			h.noma.Configure(func(o *fakenoma.Options) {
				o.TokenForms, o.SnakeCase, o.APIKey = c.forms, c.snake, "k3y"
			})
			for range 3 {
				if r := h.post(t, chatPath, chat(hello), "ok"); r.status != 200 {
					t.Fatalf("%+v", r)
				}
			}
			var asked []string
			bearers := map[string]bool{}
			for _, r := range h.noma.Requests("") {
				if r.Path != fakenoma.ScanPath {
					asked = append(asked, r.Path)
					continue
				}
				bearers[r.Header.Get("Authorization")] = true
				if id := r.Header.Get("X-Noma-Request-Id"); id == "" || id != gjson.GetBytes(r.Body, "x-noma-context.sessionId").Str {
					t.Errorf("request id %q", id)
				}
			}
			if strings.Join(asked, " ") != c.asked || len(bearers) != 1 {
				t.Errorf("asked %q, scanned with %d credentials", asked, len(bearers))
			}
			before := len(asked)
			h.noma.Revoke()
			if r := h.post(t, chatPath, chat(hello), "ok"); r.status != 200 {
				t.Errorf("after the tokens were revoked: %+v", r)
			}
			if n := len(h.noma.Requests("")) - len(h.noma.Requests(fakenoma.ScanPath)); c.asked != "" && n != before+1 {
				t.Errorf("%d token calls for a new token", n-before)
			}
			warned := h.lines("api_key is set beside client_ID")
			if want := c.name == "credentials win over a key"; (len(warned) == 1) != want || len(warned) > 1 {
				t.Errorf("warned %q", warned)
			}
			for _, line := range h.gateway.Logs() {
				for _, secret := range []string{"s3cret", "k3y", "Bearer"} {
					if strings.Contains(line.Text, secret) {
						t.Errorf("logged %q", line.Text)
					}
				}
			}
		})
	}
	t.Run("an answer without a token", func(t *testing.T) {
		h := build(t, nil)
		h.noma.SetFault(fakenoma.AuthPath, fakenoma.Fault{Body: `{"expiresIn":3600}`})
		if r := h.post(t, chatPath, chat(hello), "ok"); r.status != 503 || len(h.noma.Requests(fakenoma.ScanPath)) != 0 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("a short life", func(t *testing.T) {
		h := build(t, nil)
		const lifetime = 2 * time.Second
		h.noma.Configure(func(o *fakenoma.Options) { o.Lifetime = lifetime })
		start, slowest := time.Now(), time.Duration(0)
		eventually(t, "the token was renewed twice", func() bool {
			one := time.Now()
			if r := h.post(t, chatPath, chat(hello), "ok"); r.status != 200 {
				t.Fatalf("%+v", r)
			}
			slowest = max(slowest, time.Since(one))
			time.Sleep(45 * time.Millisecond)
			return len(h.noma.Requests(fakenoma.AuthPath)) >= 3
		})
		// It is renewed when half of its life is over, so only a machine that
		// stood still for the other half can show an old one.
		for _, r := range h.noma.Requests(fakenoma.ScanPath) {
			if r.Status != 200 && slowest < lifetime/4 {
				t.Errorf("a scan got status %d, although no exchange took longer than %v", r.Status, slowest)
			}
		}
		if n, most := len(h.noma.Requests(fakenoma.AuthPath)), 3+int(time.Since(start)/(lifetime/2)); n > most {
			t.Errorf("%d tokens in %v, want %d at most", n, time.Since(start), most)
		}
	})
}

// TestMonitoredLegsOutliveAnOutage: what the service could not take is reported
// once it is back.
func TestMonitoredLegsOutliveAnOutage(t *testing.T) {
	h := build(t, map[string]any{"monitor_mode": true})
	h.noma.SetFault(fakenoma.ScanPath, fakenoma.Fault{Status: 503})
	for i := range 5 {
		h.post(t, chatPath, chat(fmt.Sprint("number ", i)), "ok")
	}
	eventually(t, "the service was asked", func() bool { return len(h.noma.Requests(fakenoma.ScanPath)) > 4 })
	h.noma.SetFault(fakenoma.ScanPath, fakenoma.Fault{})
	eventually(t, "all ten legs are reported", func() bool {
		reported := map[string]bool{}
		for _, r := range h.noma.Requests(fakenoma.ScanPath) {
			if r.Status == 200 {
				reported[gjson.GetBytes(r.Body, "x-noma-context.sessionId").Str+gjson.GetBytes(r.Body, "input.#.role").Raw] = true
			}
		}
		return len(reported) == 10
	})
}

// TestMonitoredLegsAreReportedAtTheEnd: both ways to end wait for them.
func TestMonitoredLegsAreReportedAtTheEnd(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			h := build(t, map[string]any{"monitor_mode": true})
			h.noma.SetFault(fakenoma.ScanPath, fakenoma.Fault{Delay: 500 * time.Millisecond})
			for range 100 {
				h.post(t, chatPath, chat(hello), "ok")
			}
			if err := h.gateway.Signal("noma-runtime-protection", signal); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all legs are reported", func() bool { return len(h.noma.Requests(fakenoma.ScanPath)) == 200 })
			for _, r := range h.noma.Requests(fakenoma.ScanPath) {
				if r.Status != 200 {
					t.Errorf("status %d", r.Status)
				}
			}
		})
	}
}

// TestCallsOfAnExchange: the client's address costs the eleventh.
func TestCallsOfAnExchange(t *testing.T) {
	for _, c := range []struct {
		config map[string]any
		calls  int
		ip     bool
	}{{nil, 11, true}, {map[string]any{"send_client_ip": false}, 10, false}} {
		h := build(t, c.config)
		h.post(t, chatPath, chat(hello), "ok") // the first writes warnings too
		scans := len(h.noma.Requests(fakenoma.ScanPath))
		r := h.post(t, chatPath, chat(hello), "ok")
		x, ok := h.gateway.Exchange(r.id)
		if n := x.CallCount("noma-runtime-protection"); !ok || n != c.calls {
			t.Errorf("%v: %d calls: %v", c.config, n, x.Calls)
		}
		for _, scan := range h.noma.Requests(fakenoma.ScanPath)[scans:] {
			if got := gjson.GetBytes(scan.Body, "x-noma-context.ipAddress").Exists(); got != c.ip {
				t.Errorf("%v: context %s", c.config, gjson.GetBytes(scan.Body, "x-noma-context").Raw)
			}
		}
	}
}

// TestTotalDeadline covers TV68: a service that hangs or sends a byte now and
// then holds nobody beyond timeout_ms, however many wait.
func TestTotalDeadline(t *testing.T) {
	for name, fault := range map[string]fakenoma.Fault{"hung": {Hang: true}, "dribbling": {Dribble: time.Second}} { // minutes for all of it
		h := build(t, map[string]any{"timeout_ms": 300})
		h.noma.SetFault(fakenoma.ScanPath, fault)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				start := time.Now()
				resp, err := http.Post(h.gateway.URL()+chatPath, "application/json", strings.NewReader(chat(hello)))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if took := time.Since(start); resp.StatusCode != 503 || took > 30*time.Second {
					t.Errorf("%s: status %d after %v", name, resp.StatusCode, took)
				}
			})
		}
		wg.Wait()
	}
}
