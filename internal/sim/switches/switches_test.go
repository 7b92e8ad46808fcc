// SPDX-License-Identifier: Apache-2.0

package switches_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakellm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/switches"
)

// A rig is a panel and its stand-ins.
type rig struct {
	t             *testing.T
	panel         *switches.Panel
	control, noma *httptest.Server
}

func newRig(t *testing.T) *rig {
	t.Helper()
	noma := switches.Noma(fakenoma.Options{ClientID: "id", ClientSecret: "secret"})
	panel := switches.NewPanel(fakellm.New(fakellm.Options{}), []*switches.Service{switches.AIRS(fakeairs.Options{Keys: []string{"key"}}), noma}, nil)
	mux := http.NewServeMux()
	panel.Register(mux)
	r := &rig{t, panel, httptest.NewServer(switches.OnlyFromHere(mux)), httptest.NewServer(noma)}
	t.Cleanup(r.control.Close)
	t.Cleanup(r.noma.Close)
	return r
}

func (r *rig) call(method, url, body string, header ...string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// token is the status of a call for a token with the secret.
func (r *rig) token() int {
	status, _ := r.call(http.MethodPost, r.noma.URL+fakenoma.AuthPath, `{"clientId":"id","secret":"secret"}`)
	return status
}

// TestOptionsTakeThePlaceOfThoseBefore: what is shown of a switch is all that is
// wanted.
func TestOptionsTakeThePlaceOfThoseBefore(t *testing.T) {
	r := newRig(t)
	if got := r.token(); got != http.StatusOK {
		t.Fatalf("a sound service gives tokens with %d", got)
	}
	for _, c := range []struct {
		method, options string
		token           int
	}{
		{http.MethodPost, "?client_secret=changed", http.StatusUnauthorized},
		{http.MethodPost, "?dialect=result", http.StatusOK},
		{http.MethodPost, "?client_secret=changed&dialect=result", http.StatusUnauthorized},
		{http.MethodDelete, "", http.StatusOK},
	} {
		if status, body := r.call(c.method, r.control.URL+"/noma/options"+c.options, ""); status != http.StatusNoContent {
			t.Fatalf("%s: %d %s", c.options, status, body)
		}
		if got := r.token(); got != c.token {
			t.Errorf("after %q tokens come with %d, want %d", c.options, got, c.token)
		}
		if now, want := r.panel.Now("noma/options"), strings.TrimPrefix(c.options, "?"); now != want {
			t.Errorf("it is shown as %q, want %q", now, want)
		}
	}
}

// TestWhatCannotBeTurned is refused, and changes nothing.
func TestWhatCannotBeTurned(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{
		"airs/fault?dwon=true", "airs/fault?down=perhaps", "airs/fault?delay=-1s", "airs/fault?dribble=-1s", "airs/fault?status=600", "airs/fault?down=true&%zz",
		"airs/options?x=1", "noma/fault?degraded=error", "noma/options?lifetime=-1s", "noma/options?tokens=", "llm/options?pause=-1s", "llm/options?hold=x",
	} {
		name, _, _ := strings.Cut(path, "?")
		if status, body := r.call(http.MethodPost, r.control.URL+"/"+path, ""); status != http.StatusBadRequest || body == "" {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if now := r.panel.Now(name); now != "" {
			t.Errorf("%s is turned to %q", name, now)
		}
	}
	for _, name := range []string{"", "airs", "airs/", "airs/requests", "llm/fault", "other/fault", "airs/fault/x"} {
		if err := r.panel.Turn(t.Context(), name, nil); !errors.Is(err, switches.ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if status, _ := r.call(http.MethodPost, r.control.URL+"/airs/fault?down=true", "", "Origin", "https://evil.example"); status != http.StatusForbidden {
		t.Errorf("a page elsewhere: %d", status)
	}
}

// TestShownIsWhatIs: whoever is first when two turn a switch at once, what it
// does and what is shown are of the same.
func TestShownIsWhatIs(t *testing.T) {
	r := newRig(t)
	for range 50 {
		var both sync.WaitGroup
		for _, secret := range []string{"secret", "changed"} {
			both.Go(func() {
				if err := r.panel.Turn(t.Context(), "noma/options", url.Values{"client_secret": {secret}}); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		want := map[string]int{"client_secret=secret": http.StatusOK, "client_secret=changed": http.StatusUnauthorized}
		if now := r.panel.Now("noma/options"); r.token() != want[now] {
			t.Fatalf("it is not what it is shown as: %s", now)
		}
	}
}

// TestRequestsAreShown: those that hold a secret are not, and what is no JSON is
// a text.
func TestRequestsAreShown(t *testing.T) {
	r := newRig(t)
	r.token()
	for i := range 12 {
		r.call(http.MethodPost, r.noma.URL+fakenoma.ScanPath, fmt.Sprintf("no JSON %d", i))
	}
	_, body := r.call(http.MethodGet, r.control.URL+"/noma/requests", "")
	if lines := strings.Split(strings.TrimSpace(body), "\n"); len(lines) != 10 || !strings.Contains(lines[9], `"body":"no JSON 11"`) || strings.Contains(body, "secret") {
		t.Errorf("%d lines: %s", len(lines), body)
	}
}
