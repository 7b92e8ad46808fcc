// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bufio"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestProof(t *testing.T) {
	k := kind{"route", "consumer"}
	type step struct {
		name string
		do   func(*proofs)
		want role
	}
	came := func(p *proofs) { p.came(k) }
	missed := func(p *proofs) { p.missed(k) }
	refute := func(p *proofs) { p.refute(k) }
	times := func(n int, f func(*proofs)) func(*proofs) {
		return func(p *proofs) {
			for range n {
				f(p)
			}
		}
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"proven by one", []step{{"came", came, relays}, {"came", came, relays}}},
		{"taken back, and dearer", []step{
			{"came", came, relays},
			{"missed", missed, scouts},
			{"3 came", times(3, came), scouts},
			{"came", came, relays},
			{"missed", missed, scouts},
			{"15 came", times(15, came), scouts},
			{"came", came, relays},
			{"missed", missed, scouts},
			{"63 came", times(63, came), scouts},
			{"came", came, relays},
			{"missed", missed, scouts},
			{"63 came", times(63, came), scouts},
			{"came", came, relays},
		}},
		{"missed before it was proven again", []step{
			{"came", came, relays},
			{"missed", missed, scouts},
			{"missed", missed, scouts},
			{"15 came", times(15, came), scouts},
			{"came", came, relays},
		}},
		{"refuted for good", []step{
			{"refute", refute, stays}, {"came", times(100, came), stays}, {"missed", missed, stays}, {"came", came, stays},
		}},
		{"refuted after it was proven", []step{{"came", came, relays}, {"refute", refute, stays}, {"came", came, stays}}},
	} {
		p := newProofs()
		if r, known := p.role(k); r != scouts || known {
			t.Errorf("%s: begins as %v, known %v", c.name, r, known)
		}
		for i, s := range c.steps {
			s.do(p)
			if got, _ := p.role(k); got != s.want {
				t.Errorf("%s, step %d (%s): role %v, want %v", c.name, i, s.name, got, s.want)
			}
		}
		if r, known := p.role(kind{"route", "another"}); r != scouts || known {
			t.Errorf("%s: another kind is %v", c.name, r)
		}
	}
}

func TestARefutationIsToldOnce(t *testing.T) {
	p := newProofs()
	var told int
	var all sync.WaitGroup
	var mu sync.Mutex
	for range 16 {
		all.Go(func() {
			p.came(kind{})
			if p.refute(kind{}) {
				mu.Lock()
				told++
				mu.Unlock()
			}
			p.came(kind{})
			p.missed(kind{})
		})
	}
	all.Wait()
	if r, _ := p.role(kind{}); told != 1 || r != stays {
		t.Errorf("told %d times, role %v", told, r)
	}
}

// Whoever has many names cannot fill the memory, nor make a kind proven that
// was not seen.
func TestProofsAreBounded(t *testing.T) {
	p := newProofs()
	p.most = 50
	for i := range 1000 {
		k := kind{consumer: strconv.Itoa(i)}
		if r, _ := p.role(k); r != scouts {
			t.Fatalf("kind %d begins as %v", i, r)
		}
		p.came(k)
		if r, _ := p.role(k); r != relays {
			t.Fatalf("kind %d is not proven", i)
		}
		if n := len(p.of); n > 50 {
			t.Fatalf("%d kinds are remembered", n)
		}
	}
}

func TestArrivals(t *testing.T) {
	var a arrivals
	a.put("")
	if a.has("") || a.has("x") {
		t.Error("something came")
	}
	a.put("x")
	a.put("x") // at its end, too
	for i := range maxArrivals - 1 {
		if !a.has("x") {
			t.Fatalf("forgotten after %d others", i)
		}
		a.put(strconv.Itoa(i))
	}
	a.put("one more")
	if a.has("x") || !a.has("one more") || len(a.ids) > maxArrivals {
		t.Errorf("x known %v, %d ids", a.has("x"), len(a.ids))
	}
}

func TestEntities(t *testing.T) {
	var s entities
	if got := s.ask("a"); got != mayAsk {
		t.Fatalf("first: %v", got)
	}
	if got := s.ask("a"); got != askedNow {
		t.Errorf("while it is asked: %v", got)
	}
	s.told("a")
	if got := s.ask("a"); got != mayAsk {
		t.Errorf("after an answer: %v", got)
	}
	s.broke("a")
	if got := s.ask("a"); got != askedInVain {
		t.Errorf("after a break: %v", got)
	}
}

// Under a base path, all that a request says stays as it was, behind the base.
func FuzzUnder(f *testing.F) {
	for _, base := range []string{"", "/", "/v1", "/v1/", "/a%2Fb", "/a%2F", "/a%2F/", "//"} {
		for _, uri := range []string{"/", "/chat?x=y", "/a%2Fb", "//x", "*", "/%"} {
			f.Add(base, uri)
		}
	}
	f.Fuzz(func(t *testing.T, path, uri string) {
		base, err := url.Parse("https://llm.example" + path)
		if err != nil || base.Host != "llm.example" || base.RawQuery != "" || base.Fragment != "" {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + uri + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil || r.RequestURI != uri {
			return
		}
		before := *r.URL
		moved := under(base, r)
		if *r.URL != before || r.RequestURI != uri {
			t.Error("the request itself has changed")
		}
		prefix := strings.TrimSuffix(base.EscapedPath(), "/")
		if !strings.HasPrefix(uri, "/") {
			prefix = ""
		}
		if moved.RequestURI != prefix+uri {
			t.Errorf("%q under %q is sent as %q", uri, path, moved.RequestURI)
		}
		if got, want := moved.URL.EscapedPath(), prefix+before.EscapedPath(); got != want {
			t.Errorf("%q under %q has the path %q, want %q", uri, path, got, want)
		}
		if moved.URL.RawQuery != before.RawQuery {
			t.Errorf("%q: the query is %q", uri, moved.URL.RawQuery)
		}
	})
}
