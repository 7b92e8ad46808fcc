// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// A clerk hands out numbered tokens in fake time.
type clerk struct {
	lifetime, takes time.Duration
	calls           int
	fail            *scan.Failure
	told            int
}

func (c *clerk) late(*scan.Failure) { c.told++ }

func (c *clerk) fetch(ctx context.Context, _ Endpoint) (grant, Endpoint, *scan.Failure) {
	c.calls++
	call := c.calls
	select {
	case <-time.After(c.takes):
	case <-ctx.Done():
		return grant{}, Endpoint{}, &scan.Failure{Kind: scan.Unavailable, Reason: "timeout"}
	}
	if c.fail != nil {
		return grant{}, Endpoint{}, c.fail
	}
	return grant{token: fmt.Sprint("token ", call), lifetime: c.lifetime}, Endpoint{URL: "u"}, nil
}

type fetcherFunc func() grant

func (f fetcherFunc) fetch(context.Context, Endpoint) (grant, Endpoint, *scan.Failure) {
	return f(), Endpoint{}, nil
}

func (fetcherFunc) late(*scan.Failure) {}

func get(t *testing.T, s *Source, f fetcher) string {
	t.Helper()
	token, err := s.Get(t.Context(), 10*time.Second, f)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestRefreshedEarly: a token is renewed a minute before its end, or at half
// of a short life, and serves on meanwhile.
func TestRefreshedEarly(t *testing.T) {
	for _, c := range []struct{ lifetime, fresh time.Duration }{
		{time.Hour, 59 * time.Minute}, {5 * time.Minute, 4 * time.Minute}, {time.Minute, 30 * time.Second}, {2 * time.Second, time.Second},
	} {
		t.Run(c.lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, k := new(Source), &clerk{lifetime: c.lifetime}
				get(t, s, k)
				time.Sleep(c.fresh - time.Millisecond)
				if get(t, s, k); k.calls != 1 {
					t.Errorf("renewed %d times before it was due", k.calls-1)
				}
				time.Sleep(2 * time.Millisecond)
				if token := get(t, s, k); token != "token 1" {
					t.Errorf("%q while the new one is fetched", token)
				}
				synctest.Wait()
				if token := get(t, s, k); token != "token 2" || k.calls != 2 {
					t.Errorf("%q after %d calls", token, k.calls)
				}
				time.Sleep(c.lifetime + time.Second)
				if token := get(t, s, k); token != "token 3" {
					t.Errorf("%q long after its end", token)
				}
			})
		})
	}
}

// TestRenewalThatFails: a token serves until its end, not a moment longer.
func TestRenewalThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := new(Source), &clerk{lifetime: time.Hour}
		get(t, s, k)
		k.fail = &scan.Failure{Kind: scan.Misconfigured, Reason: "no"}
		time.Sleep(time.Hour - time.Second)
		for range 10 {
			get(t, s, k)
			synctest.Wait()
		}
		if k.calls != 2 || k.told != 1 {
			t.Errorf("%d calls while a refusal is remembered, want 2; told %d times, want 1", k.calls, k.told)
		}
		time.Sleep(2 * time.Second)
		if token, err := s.Get(t.Context(), time.Second, k); err == nil {
			t.Errorf("%q after its end", token)
		}
	})
}

// TestSingleFlight: however many need a token, one call is made, and one who
// leaves takes it from nobody.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := new(Source), &clerk{lifetime: time.Hour, takes: time.Second}
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			var f *scan.Failure
			if _, err := s.Get(impatient, 10*time.Second, k); !errors.As(err, &f) || f.Kind != scan.Unavailable || f.Hint != "timeout_ms" {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait() // the impatient one is first: the flight is its
		for range 100 {
			wg.Go(func() {
				if token, err := s.Get(t.Context(), 10*time.Second, k); token != "token 1" || err != nil {
					t.Errorf("%q, %v", token, err)
				}
			})
		}
		wg.Wait()
		if k.calls != 1 {
			t.Errorf("%d calls, want 1", k.calls)
		}
	})
}

// TestSourceConcurrency has tokens dropped and fetched from many goroutines,
// for the race detector.
func TestSourceConcurrency(t *testing.T) {
	s := new(Source)
	var mu sync.Mutex
	calls := 0
	fetch := fetcherFunc(func() grant {
		mu.Lock()
		defer mu.Unlock()
		calls++
		return grant{token: fmt.Sprint(calls), lifetime: time.Hour}
	})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				token, err := s.Get(t.Context(), time.Second, fetch)
				if err != nil || token == "" {
					t.Errorf("%q, %v", token, err)
				}
				s.Drop(token)
			}
		})
	}
	wg.Wait()
}

// TestDroppedOnce: who was refused with an old token does not drop the new one.
func TestDroppedOnce(t *testing.T) {
	s, k := new(Source), &clerk{lifetime: time.Hour}
	old := get(t, s, k)
	s.Drop(old)
	fresh := get(t, s, k)
	s.Drop(old)
	if token := get(t, s, k); token != fresh || k.calls != 2 {
		t.Errorf("%q after %d calls", token, k.calls)
	}
}

// TestRefusalIsRemembered: wrong credentials cost a call a second, an
// unreachable endpoint is asked again at once (its breaker bounds that).
func TestRefusalIsRemembered(t *testing.T) {
	for _, c := range []struct {
		kind  scan.FailureKind
		calls int
	}{{scan.Misconfigured, 1}, {scan.Degraded, 1}, {scan.Unavailable, 5}} {
		synctest.Test(t, func(t *testing.T) {
			s, k := new(Source), &clerk{lifetime: time.Hour, fail: &scan.Failure{Kind: c.kind, Reason: "no"}}
			for range 5 {
				if _, err := s.Get(t.Context(), time.Second, k); err == nil {
					t.Error("a token after a failure")
				}
			}
			if k.calls != c.calls {
				t.Errorf("kind %d: %d calls, want %d", c.kind, k.calls, c.calls)
			}
			time.Sleep(refusalHold)
			k.fail = nil
			get(t, s, k)
		})
	}
}

// TestPanicWhileFetching ends the scans that wait, not the process.
func TestPanicWhileFetching(t *testing.T) {
	const content = "what a panic may quote"
	_, err := new(Source).Get(t.Context(), time.Second, fetcherFunc(func() grant { panic(content) }))
	var f *scan.Failure
	if err == nil || errors.As(err, &f) {
		t.Errorf("%v, want our own fault", err)
	}
	if strings.Contains(err.Error(), content) {
		t.Error("the panic's value is quoted")
	}
}

// TestSourcesAreBounded: credentials that changed for years take no room.
func TestSourcesAreBounded(t *testing.T) {
	kept := SourceFor("u", "bounded", "s", "")
	if SourceFor("u", "bounded", "s", "") != kept {
		t.Error("the same credentials have two sources")
	}
	if SourceFor("u", "bounded", "s", "tsg_id:1") == kept {
		t.Error("two scopes have one source")
	}
	for i := range 2 * maxSources {
		SourceFor("u", "bounded", fmt.Sprint(i), "")
	}
	if n := len(sources.byKey); n > maxSources {
		t.Errorf("%d sources", n)
	}
}

// TestGrant covers TV63, TV67 and what else a token's answer may look like.
func TestGrant(t *testing.T) {
	for _, c := range []struct {
		body     string
		token    string
		lifetime time.Duration
	}{
		{`{"accessToken":"oauth-token","expiresIn":3600}`, "oauth-token", time.Hour}, // TV63
		{`{"access_token":"t","expires_in":60}`, "t", time.Minute},
		{`{"token":"t"}`, "t", 5 * time.Minute}, // TV67
		{`{"accessToken":"a","access_token":"b","expiresIn":"120","expires_in":60}`, "a", 2 * time.Minute},
		{`{"accessToken":1,"access_token":"b","expiresIn":"soon","expires_in":60}`, "b", time.Minute},
		{`{"accessToken":"t","expiresIn":1.5}`, "t", 1500 * time.Millisecond},
		{`{"accessToken":"t","expiresIn":0}`, "t", 5 * time.Minute},
		{`{"accessToken":"t","expiresIn":-1}`, "t", 5 * time.Minute},
		{`{"accessToken":"t","expiresIn":true}`, "t", 5 * time.Minute},
		{`{"accessToken":"t","expiresIn":"NaN"}`, "t", 5 * time.Minute},
		{`{"accessToken":"t","expiresIn":1e300}`, "t", 24 * time.Hour},
		{`{"accessToken":"t","expiresIn":"Infinity"}`, "t", 24 * time.Hour},
		{`{"accessToken":"` + strings.Repeat("x", maxToken+1) + `"}`, "", 0},
		{`{"accessToken":"a b"}`, "", 0},
		{`{"accessToken":"é"}`, "", 0},
		{`{"accessToken":"t","accessToken":"u"}`, "", 0},
		{`"t"`, "", 0},
		{``, "", 0},
	} {
		g, fail := decodeGrant([]byte(c.body))
		if g.token != c.token || g.lifetime != c.lifetime || (fail == nil) != (c.token != "") {
			t.Errorf("%.60s: %+v, %v", c.body, g, fail)
		}
	}
}

func FuzzDecodeGrant(f *testing.F) {
	f.Add([]byte(`{"accessToken":"a","expiresIn":"1"}`))
	f.Add([]byte(`{"access_token":"a","expires_in":-1e9}`))
	f.Add([]byte(`[1]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		g, fail := decodeGrant(body)
		if fail != nil {
			return
		}
		if !Sendable(g.token) || g.lifetime <= 0 || g.lifetime > maxLifetime {
			t.Errorf("%+v", g)
		}
	})
}
