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

// TestLittleIsKept: however large what they get is, the stand-ins remember the
// latest of it.
func TestLittleIsKept(t *testing.T) {
	const most = 64 << 20
	body := strings.Repeat("x", 1_900_000) // AIRS takes no more
	model, airs, noma := fakellm.New(fakellm.Options{}), fakeairs.New(fakeairs.Options{}), fakenoma.New(fakenoma.Options{})
	kept := map[string]func() []int{
		"model": func() (sizes []int) {
			for _, r := range model.Requests() {
				sizes = append(sizes, len(r.Body))
			}
			return sizes
		},
		"AIRS": func() (sizes []int) {
			for _, r := range airs.Requests() {
				sizes = append(sizes, len(r.Body))
			}
			return sizes
		},
		"Noma": func() (sizes []int) {
			for _, r := range noma.Requests("") {
				sizes = append(sizes, len(r.Body))
			}
			return sizes
		},
	}
	for name, of := range map[string]http.Handler{"model": model, "AIRS": airs, "Noma": noma} {
		send := func(body string) {
			of.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/x", strings.NewReader(body)))
		}
		for range most/len(body) + 5 {
			send(body)
		}
		send("the last")
		total, sizes := 0, kept[name]()
		for _, size := range sizes {
			total += size
		}
		if total > most || total < most/2 || sizes[len(sizes)-1] != len("the last") {
			t.Errorf("%s remembers %d bytes of %d requests", name, total, len(sizes))
		}
		for range 1100 {
			send("short")
		}
		if n := len(kept[name]()); n != 1000 {
			t.Errorf("%s remembers %d short requests", name, n)
		}
	}
}
