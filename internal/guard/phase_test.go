// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// Whenever the connection is lost, the event ends there: no exit on it, and
// nothing stays taken.
func TestLostConnections(t *testing.T) {
	for _, c := range []struct {
		settings policy.Settings
		scan     func(context.Context, *scan.Scan) (scan.Verdict, error)
	}{
		{strict(), nil},
		{strict(), block},
		{strict(), maskAll},
		{besideUs(), nil},
		{besideUs(), block},
		{modes(policy.Monitor, policy.Monitor), nil},
		{modes(policy.Monitor, policy.Off), nil},
		{modes(policy.Off, policy.Off), nil},
	} {
		for _, stream := range []bool{false, true} {
			for n := 1; n <= 6; n++ {
				for _, leg := range []string{"access", "response"} {
					w := newWorld(t)
					sc := both(c.scan)
					k := chatRequest(t)
					if stream {
						k.body = `{"stream":true,"messages":[{"role":"user","content":"hello"}]}`
					}
					k.breakAt = n
					e := newEngine(w.Process, masking(prisma()), c.settings, sc)
					if leg == "access" {
						k.access(e)
					} else {
						k.respond(e)
					}
					if k.exit != nil && k.batches >= n {
						t.Errorf("%v: an exit after batch %d was lost: %v", c.settings, n, k.calls)
					}
					w.Flush(context.Background())
					w.settled() // a scan beside its exchange ends by itself
					if w.metric("monitor_items") != 0 || w.metric("monitor_bytes") != 0 {
						t.Errorf("%v: %v legs are held", c.settings, w.metric("monitor_items"))
					}
					if k.batches < n && w.metric("records") > 1 {
						t.Errorf("%v records", w.metric("records"))
					}
				}
			}
		}
	}
}

// A reply that cannot be read is a fault of ours to the client, never a pass.
func TestRepliesThatCannotBeRead(t *testing.T) {
	v := prisma()
	v.Needs.Consumer, v.Needs.ClientIP = true, true
	for method, legs := range map[string]string{
		"kong.request.get_headers":           "access",
		"kong.nginx.get_var":                 "access response",
		"kong.router.get_service":            "access",
		"kong.client.get_consumer":           "access",
		"kong.client.get_forwarded_ip":       "access",
		"kong.request.get_raw_body":          "access",
		"kong.service.response.get_raw_body": "response",
		"kong.service.response.get_status":   "response",
		"kong.service.response.get_header":   "response",
		"kong.nginx.get_ctx":                 "response",
	} {
		for _, leg := range []string{"access", "response"} {
			if !strings.Contains(legs, leg) {
				continue
			}
			w := newWorld(t)
			e := newEngine(w.Process, v, strict(), &scanner{})
			k := chatRequest(t)
			if leg == "response" {
				k.access(e)
			}
			k.replyErr = map[string]error{method: pdk.ErrMalformed}
			k.oddHeaders = method == "kong.service.response.get_header"
			if method == "kong.service.response.get_status" {
				k.answer = `{"object":"list","data":[]}` // one that does not say by itself that it is no error
			}
			if leg == "response" {
				k.respond(e)
			} else {
				k.access(e)
			}
			if k.refusal(); k.exit.status != 503 || k.leg("prisma-airs-intercept", map[string]string{"access": "request", "response": "response"}[leg])["reason"] != "own_fault" {
				t.Errorf("%s in %s: %+v, %v", method, leg, k.exit, k.serialized)
			}
		}
	}
}

func TestPanicInsideTheConnectionIsItsOwners(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.panicIn = "kong.request.get_headers"
	defer func() {
		if recover() == nil {
			t.Error("the connection may be out of step, and its owner does not know")
		}
		if k.exit != nil {
			t.Error("an exit on a connection that may be out of step")
		}
	}()
	k.run(newEngine(w.Process, prisma(), strict(), &scanner{}))
}

// Each call costs Kong's worker 15 to 35 us: an allowed exchange makes no
// more than eleven in enforce mode, both legs together.
func TestCallBudget(t *testing.T) {
	all := func(s policy.Settings) policy.Settings { s.Scoped = true; return s }
	route := func(s policy.Settings) policy.Settings { s.Scoped, s.ScopedToRoute = true, true; return s }
	withIP, without, oneConsumer := noma(), strict(), strict()
	withIP.Needs.ClientIP, without.SkipClientIP, oneConsumer.ScopedToConsumer = true, true, true
	for _, c := range []struct {
		name     string
		vendor   vendor
		settings policy.Settings
		calls    int
		batches  int
	}{
		{"prisma", prisma(), strict(), 11, 3},
		{"prisma, scoped", prisma(), all(strict()), 10, 3},
		{"noma", noma(), strict(), 11, 3},
		{"noma, with the client's address", withIP, strict(), 12, 3},
		{"noma, without it again", withIP, without, 11, 3},
		{"noma, with it, scoped to a consumer", withIP, oneConsumer, 11, 3},
		// Of a monitored leg nobody can ask later who called what.
		{"noma, monitored", noma(), modes(policy.Monitor, policy.Monitor), 14, 4},
		{"noma, monitored on one service", noma(), all(modes(policy.Monitor, policy.Monitor)), 13, 4},
		{"noma, monitored on one route", noma(), route(modes(policy.Monitor, policy.Monitor)), 12, 4},
		{"prisma, monitored on one route", prisma(), route(modes(policy.Monitor, policy.Monitor)), 12, 4},
		{"prisma, requests only", prisma(), modes(policy.Enforce, policy.Off), 8, 2},
		{"prisma, answers only", prisma(), modes(policy.Off, policy.Enforce), 10, 3},
		{"off", prisma(), modes(policy.Off, policy.Off), 2, 2},
	} {
		w := newWorld(t)
		e := newEngine(w.Process, c.vendor, c.settings, &scanner{})
		chatRequest(t).run(e) // a scoped instance learns the service's name
		k := chatRequest(t).run(e)
		if len(k.calls) > c.calls || k.batches > c.batches || k.exit != nil {
			t.Errorf("%s: %d calls in %d batches, want %d in %d: %v", c.name, len(k.calls), k.batches, c.calls, c.batches, k.calls)
		}
	}
}
