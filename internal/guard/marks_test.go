// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kong-ai-guard/internal/policy"
)

const (
	requestMark  = "ai_guard:prisma-airs-intercept:request"
	responseMark = "ai_guard:prisma-airs-intercept:response"
)

// A leg has its mark exactly when nothing can go wrong with it any more.
func TestMarks(t *testing.T) {
	stream := func(k *fakeKong) {
		k.body = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`
	}
	for _, c := range []struct {
		name              string
		request, response policy.Mode
		change            func(*fakeKong)
		scan              *scanner
		access, all       []string // marks after the access phase and at the end
	}{
		{"both legs", policy.Enforce, policy.Enforce, nil, &scanner{}, []string{requestMark}, []string{requestMark, responseMark}},
		{"monitored", policy.Monitor, policy.Monitor, nil, &scanner{}, []string{requestMark}, []string{requestMark, responseMark}},
		{"an answer that is not looked at", policy.Enforce, policy.Off, nil, &scanner{}, []string{requestMark, responseMark}, []string{requestMark, responseMark}},
		{"a stream that is let go", policy.Enforce, policy.Monitor, stream, &scanner{}, []string{requestMark, responseMark}, []string{requestMark, responseMark}},
		{"a request that is not looked at", policy.Off, policy.Enforce, nil, &scanner{}, []string{requestMark}, []string{requestMark, responseMark}},
		{"nothing is looked at", policy.Off, policy.Off, nil, &scanner{}, []string{requestMark, responseMark}, []string{requestMark, responseMark}},
		{"a refused request", policy.Enforce, policy.Enforce, nil, &scanner{request: block}, nil, nil},
		{"a refused answer", policy.Enforce, policy.Enforce, nil, &scanner{response: block}, []string{requestMark}, []string{requestMark}},
		{"a connection that is lost before the end", policy.Enforce, policy.Enforce, func(k *fakeKong) { k.breakAt = 2 }, &scanner{}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := modes(c.request, c.response)
			s.MarkRequests = true
			e := newEngine(newWorld(t).Process, prisma(), s, c.scan)
			k := chatRequest(t)
			if c.change != nil {
				c.change(k)
			}
			k.access(e)
			marks := func() []string { return slices.Sorted(maps.Keys(k.shared)) }
			if diff := cmp.Diff(c.access, marks()); diff != "" {
				t.Errorf("after access (-want +got):\n%s", diff)
			}
			k.breakAt = 0
			if k.exit == nil && k.buffered() && c.all != nil {
				k.respond(e)
			}
			if diff := cmp.Diff(c.all, marks()); diff != "" {
				t.Errorf("at the end (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMarksCostNothingUnlessAskedFor(t *testing.T) {
	k := chatRequest(t).run(newEngine(newWorld(t).Process, prisma(), strict(), &scanner{}))
	if n := k.count("kong.ctx.shared.set"); n != 0 || len(k.shared) != 0 {
		t.Errorf("%d calls, marks %v", n, k.shared)
	}
}

func TestRefuseHTTP2(t *testing.T) {
	for _, c := range []struct {
		line     string
		response policy.Mode
		refused  bool
	}{
		{"POST /v1/chat/completions HTTP/2.0", policy.Enforce, true},
		{"POST /v1/chat/completions HTTP/3.0", policy.Enforce, true},
		{"POST /v1/chat/completions HTTP/1.1 HTTP/2.0", policy.Enforce, true},
		{"POST /v1/chat/completions HTTP/1.1", policy.Enforce, false},
		{"POST /v1/chat/completions HTTP/1.0", policy.Enforce, false},
		{"POST /v1/chat/completions HTTP/2.0", policy.Monitor, false},
		{"POST /v1/chat/completions HTTP/2.0", policy.Off, false},
	} {
		s := modes(policy.Enforce, c.response)
		s.RefuseHTTP2 = true
		k := chatRequest(t)
		k.line = c.line
		k.access(newEngine(newWorld(t).Process, prisma(), s, &scanner{}))
		if got := k.exit != nil; got != c.refused {
			t.Errorf("%s, answers %s: refused is %v", c.line, c.response, got)
		}
		if c.refused && k.exit.status != 505 {
			t.Errorf("%s: status %d", c.line, k.exit.status)
		}
	}
	s := strict()
	k := chatRequest(t)
	k.line = "POST /v1/chat/completions HTTP/2.0"
	if k.access(newEngine(newWorld(t).Process, prisma(), s, &scanner{})); k.exit != nil {
		t.Errorf("refused with %d though nobody asked", k.exit.status)
	}
}
