// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// requests makes settings for which only the request is judged.
func requests() policy.Settings { return relayed(modes(policy.Enforce, policy.Off)) }

// relaysTo makes an engine with a relay of its own, for which no request that
// comes is too late.
func relaysTo(t testing.TB, v vendor, m *model, s policy.Settings, sc scan.Scanner) (*world, *guard.Engine) {
	return relaysSoon(t, v, m, s, sc, patience)
}

// aWhile is long enough for a request that comes, and short enough to wait for
// one that does not.
const aWhile = 5 * time.Second

// relaysSoon is relaysTo with a bound for when requests come.
func relaysSoon(t testing.TB, v vendor, m *model, s policy.Settings, sc scan.Scanner, within time.Duration) (*world, *guard.Engine) {
	w := relayWorld(t, v.Plugin, within)
	c := guard.Config{Vendor: v.Vendor, Needs: v.Needs, Settings: s, Scanner: sc}
	if m.TLS != nil {
		pool := x509.NewCertPool()
		pool.AddCert(m.Certificate())
		c.RelayTLS = &tls.Config{RootCAs: pool, ServerName: "example.com"}
	}
	return w, guard.New(w.Process, c)
}

// isRelayed reports whether the exchange needed nothing of the phases.
func (k *fakeKong) isRelayed(plugin string) bool {
	return k.leg(plugin, "request")["action"] == "relayed" && k.count("kong.request.get_raw_body") == 0
}

// How many calls a relayed exchange costs, once one of its kind was seen, and
// that they go in one batch.
func TestCallsOfARelayedExchange(t *testing.T) {
	full := noma()
	full.ClientIP = true // as its plugin does
	claims := prisma()
	claims.Token = true
	unscoped := func(s policy.Settings) policy.Settings {
		s.Scoped, s.ScopedToRoute = false, false
		return s
	}
	byService := func(s policy.Settings) policy.Settings {
		s.ScopedToRoute = false
		return s
	}
	sealed := func(m *model) func(policy.Settings) policy.Settings {
		return func(s policy.Settings) policy.Settings {
			s.RelayUpstream, _ = url.Parse(m.URL)
			return s
		}
	}
	same := func(s policy.Settings) policy.Settings { return s }
	const (
		target, mark, who, where = "get_ctx balancer_data", "get_ctx buffered_proxying", "get_consumer", "get_route"
		to, plain, token         = "set_ctx balancer_data", "set_scheme", "set_header"
		flow, log                = "set_ctx buffered_proxying", "set_serialize_value"
	)
	for _, c := range []struct {
		name    string
		vendor  vendor
		tls     bool
		change  func(policy.Settings) policy.Settings
		sealed  bool
		batches int
		want    []string
	}{
		{"prisma, route", prisma(), false, same, false, 1, []string{target, mark, to, token, flow, log}},
		{"prisma, route, https", prisma(), true, same, false, 1, []string{target, mark, to, plain, token, flow, log}},
		{"prisma, route, sealed", prisma(), false, same, true, 1, []string{mark, to, token, flow, log}},
		{"prisma with a token, route", claims, false, same, false, 1, []string{target, mark, "shared", to, token, flow, log}},
		{"noma, route", full, false, same, false, 1, []string{target, mark, who, to, token, flow, log}},
		{"noma, route, https", full, true, same, false, 1, []string{target, mark, who, to, plain, token, flow, log}},
		{"noma, route, sealed", full, false, same, true, 1, []string{mark, who, to, token, flow, log}},
		{"prisma, service", prisma(), false, byService, false, 1, []string{target, mark, where, to, token, flow, log}},
		{"noma, service", full, false, byService, false, 1, []string{target, mark, where, who, to, token, flow, log}},
		{"prisma, everywhere", prisma(), false, unscoped, false, 2, []string{target, mark, where, to, token, flow, log}},
		{"noma, everywhere", full, false, unscoped, false, 2, []string{target, mark, where, who, to, token, flow, log}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newModel(t, c.tls)
			s := c.change(relayed(strict()))
			if c.sealed {
				s = sealed(m)(s)
			}
			_, e := relaysTo(t, c.vendor, m, s, &scanner{})
			chatTo(t, m).pass(e) // the scout
			chatTo(t, m).pass(e)
			k := chatTo(t, m)
			k.begin().access(e)
			if k.exit != nil || !k.isRelayed(c.vendor.Plugin) {
				t.Fatalf("not relayed: %+v, %v", k.exit, k.calls)
			}
			if got := k.named; !slices.Equal(sorted(got), sorted(c.want)) {
				t.Errorf("calls %q, want %q", got, c.want)
			}
			if k.batches != c.batches {
				t.Errorf("%d batches, want %d", k.batches, c.batches)
			}
		})
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// The first exchange of a kind is judged by the phases, and the upstream gets
// it through the relay. The next ones have no response event.
func TestTheFirstExchangeProvesTheOthers(t *testing.T) {
	for _, v := range []vendor{prisma(), noma()} {
		m, sc := newModel(t, false), &scanner{}
		w, e := relaysTo(t, v, m, relayed(strict()), sc)
		first := chatTo(t, m).pass(e)
		if first.exit != nil || !first.buffered() || first.count("kong.service.response.get_raw_body") != 1 {
			t.Fatalf("the scout: exit %+v, %v", first.exit, first.calls)
		}
		if len(sc.seen(llm.RequestLeg)) != 1 || len(sc.seen(llm.ResponseLeg)) != 1 {
			t.Fatalf("the scout's legs were scanned %d and %d times", len(sc.seen(llm.RequestLeg)), len(sc.seen(llm.ResponseLeg)))
		}
		if n := m.last(t).header.Values(relayHeader(v.Plugin)); n != nil {
			t.Errorf("the token went on: %q", n)
		}
		second := chatTo(t, m).begin().access(e)
		if !second.isRelayed(v.Plugin) || second.buffered() {
			t.Errorf("the second one was not relayed: %v", second.calls)
		}
		if w.metric("unscanned_answers_total") != 0 {
			t.Error("an answer counts as unscanned")
		}
	}
}

// What a scout may not say reaches nobody, and leaves no token.
func TestABlockedScout(t *testing.T) {
	m := newModel(t, false)
	w, e := relaysTo(t, prisma(), m, relayed(strict()), both(block))
	k := chatTo(t, m).pass(e)
	if k.exit == nil || k.exit.status != 403 || len(m.arrivals()) != 0 {
		t.Fatalf("exit %+v, %d requests", k.exit, len(m.arrivals()))
	}
	if n := w.Relay.Waiting(); n != 0 {
		t.Errorf("%d exchanges are waited for", n)
	}
}

// A scout's answer is judged in the phase.
func TestTheAnswerOfAScoutIsBlocked(t *testing.T) {
	m := newModel(t, false)
	_, e := relaysTo(t, prisma(), m, relayed(strict()), &scanner{response: block})
	if k := chatTo(t, m).pass(e); k.exit == nil || k.exit.status != 403 || len(m.arrivals()) != 1 {
		t.Fatalf("exit %+v, %d requests", k.exit, len(m.arrivals()))
	}
}

func TestNotRelayable(t *testing.T) {
	name := func(k *fakeKong) { k.place["host"], k.place["type"] = "localhost", "name" }
	for _, c := range []struct {
		name   string
		change func(*fakeKong)
		reason policy.RelayReason // "" for relayed
		sealed policy.RelayReason
	}{
		{"an address", func(*fakeKong) {}, "", ""},
		{"a name of DNS", name, "", ""},
		{"an upstream entity", func(k *fakeKong) { name(k); k.entities = []string{"localhost"} }, policy.RelayEntity, ""},
		{"an upstream entity of another name", func(k *fakeKong) { name(k); k.entities = []string{"pool"} }, "", ""},
		{"gRPC", func(k *fakeKong) { k.protocol, k.scheme, k.place["scheme"] = "grpc", "grpc", "grpc" }, policy.RelayProtocol, policy.RelayProtocol},
		{"a client certificate", func(k *fakeKong) { k.certificate = true }, policy.RelayCertificate, policy.RelayCertificate},
		{"no target yet", func(k *fakeKong) { k.place["host"] = "" }, policy.RelayNowhere, ""},
	} {
		for _, sealed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, sealed %v", c.name, sealed), func(t *testing.T) {
				m, sc := newModel(t, false), &scanner{}
				s, want := relayed(strict()), c.reason
				if sealed {
					s.RelayUpstream, _ = url.Parse(m.URL)
					want = c.sealed
				}
				w, e := relaysTo(t, prisma(), m, s, sc)
				var last *fakeKong
				for range 3 {
					last = chatTo(t, m)
					c.change(last)
					last.begin().access(e)
					if last.exit != nil {
						t.Fatalf("refused: %+v", last.exit)
					}
					if want == "" {
						last.proxy()
					}
				}
				if got := last.isRelayed("prisma-airs-intercept"); got != (want == "") {
					t.Errorf("relayed is %v, want %v", got, want == "")
				}
				n := strings.Count(w.stderr.String(), "go through the phases")
				if want != "" && (n != 1 || !strings.Contains(w.stderr.String(), string(want))) || want == "" && n != 0 {
					t.Errorf("%d notices: %s", n, w.stderr)
				}
				if want != "" {
					if len(sc.seen(llm.RequestLeg)) != 3 || !last.buffered() {
						t.Error("the phases did not judge")
					}
					if slices.ContainsFunc(last.named, func(call string) bool {
						return slices.Contains([]string{"set_scheme", "set_header", "set_ctx balancer_data"}, call)
					}) {
						t.Errorf("something was set: %q", last.named)
					}
				}
			})
		}
	}
}

func TestARelayThatCannotListen(t *testing.T) {
	m, sc := newModel(t, false), &scanner{}
	w, e := relaysTo(t, prisma(), m, relayed(strict()), sc)
	if err := w.Relay.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	k := chatTo(t, m).pass(e)
	if k.exit != nil || len(sc.seen(llm.ResponseLeg)) != 1 || !strings.Contains(w.stderr.String(), string(policy.RelayListener)) {
		t.Errorf("exit %+v, %d answers scanned, log %s", k.exit, len(sc.seen(llm.ResponseLeg)), w.stderr)
	}
}

func TestRelayWithoutAListener(t *testing.T) {
	w, sc := newWorld(t), &scanner{}
	e := newEngine(w.Process, prisma(), relayed(strict()), sc)
	if k := chatRequest(t).run(e); k.exit != nil || len(sc.seen(llm.ResponseLeg)) != 1 || !strings.Contains(w.stderr.String(), "nothing listens") {
		t.Errorf("exit %+v, log %s", k.exit, w.stderr)
	}
}

// ai-proxy after us takes the target. Both legs are scanned by the phases, for
// good, and a line says what to do.
func TestALaterPluginTakesTheTarget(t *testing.T) {
	for _, v := range []vendor{prisma(), noma()} {
		m, sc := newModel(t, false), &scanner{}
		w, e := relaysTo(t, v, m, relayed(strict()), sc)
		taken := func() *fakeKong {
			k := chatTo(t, m)
			home := k.place
			k.later = func(k *fakeKong) { k.ctx["balancer_data"], k.upstreamHost = home, "ai.example" }
			return k.pass(e)
		}
		for i := range 3 {
			k := taken()
			if k.exit != nil || k.status != 200 || len(sc.seen(llm.RequestLeg)) != i+1 || len(sc.seen(llm.ResponseLeg)) != i+1 {
				t.Fatalf("exchange %d: exit %+v, status %d, %d requests and %d answers scanned", i, k.exit, k.status, len(sc.seen(llm.RequestLeg)), len(sc.seen(llm.ResponseLeg)))
			}
			if i > 0 && len(k.setRequest) != 0 {
				t.Errorf("exchange %d was sent to the relay: %q", i, k.setRequest)
			}
		}
		if n := strings.Count(w.stderr.String(), `"level":"error"`); n != 1 || !strings.Contains(w.stderr.String(), "-priority") {
			t.Errorf("%d lines at error: %s", n, w.stderr)
		}
		if k := taken(); v.Plugin == "prisma-airs-intercept" && len(k.calls) > 12 {
			t.Errorf("%d calls once it is known: %v", len(k.calls), k.calls)
		}
	}
}

// A scout that Kong can bring to nobody, because the relay of a plugin behind us
// has gone, shows nothing.
func TestAScoutThatReachesNobody(t *testing.T) {
	for _, status := range []int{502, 503, 504} {
		m := newModel(t, false)
		w, e := relaysTo(t, prisma(), m, relayed(strict()), &scanner{})
		lost := chatTo(t, m).begin().access(e)
		lost.status, lost.answer = status, `{"message":"An invalid response was received from the upstream server"}`
		lost.respond(e)
		if n := lost.count("kong.service.response.get_raw_body"); n != 1 {
			t.Fatalf("%d: no response phase", status)
		}
		if n := w.metric("relay_proofs_total", "failed"); n != 0 {
			t.Errorf("%d: %v proofs failed", status, n)
		}
		chatTo(t, m).pass(e)
		if k := chatTo(t, m).pass(e); !k.isRelayed("prisma-airs-intercept") {
			t.Errorf("%d: the proof was not made afterwards", status)
		}
	}
}

// A plugin that takes the target of some requests only: one exchange goes out
// unseen, is counted and named, and each further proof is dearer. The first one
// that is a scout ends it.
func TestALaterPluginTakesSomeTargets(t *testing.T) {
	t.Parallel()
	m := newModel(t, false)
	w, e := relaysSoon(t, prisma(), m, relayed(strict()), &scanner{}, aWhile)
	take := func(k *fakeKong) {
		k.ctx["balancer_data"] = chatTo(t, m).place
	}
	chatTo(t, m).pass(e)
	evil := chatTo(t, m)
	evil.later = take
	evil.pass(e)
	if !evil.isRelayed("prisma-airs-intercept") {
		t.Fatal("the proof was not made")
	}
	for deadline := time.Now().Add(patience); w.metric("unscanned_answers_total") == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the exchange is not counted")
		}
	}
	if !strings.Contains(w.stderr.String(), "never came to the relay") || !strings.Contains(w.stderr.String(), "of service llm") {
		t.Errorf("log %s", w.stderr)
	}
	if k := chatTo(t, m).pass(e); k.isRelayed("prisma-airs-intercept") {
		t.Error("the proof was not taken back")
	}
	evil = chatTo(t, m)
	evil.later = take
	evil.pass(e)
	if n := evil.count("kong.service.response.get_raw_body"); n != 1 {
		t.Error("the second one was not judged")
	}
	for range 3 {
		if k := chatTo(t, m).pass(e); k.isRelayed("prisma-airs-intercept") || len(k.setRequest) != 0 {
			t.Error("relayed although a target was taken under the phases' eyes")
		}
	}
	for _, result := range []string{"made", "taken_back", "failed"} {
		if n := w.metric("relay_proofs_total", result); n != 1 {
			t.Errorf("%v proofs count as %s", n, result)
		}
	}
}

// A request that ends before it is sent says nothing about where it would have
// gone.
func TestAScoutThatNeverLeaves(t *testing.T) {
	t.Parallel()
	m := newModel(t, false)
	w, e := relaysSoon(t, prisma(), m, relayed(strict()), &scanner{}, aWhile)
	limited := chatTo(t, m)
	limited.later = func(k *fakeKong) { k.exit = &exitCall{status: 429} }
	limited.pass(e)
	for deadline := time.Now().Add(patience); w.Relay.Waiting() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the token is kept")
		}
	}
	if w.metric("unscanned_answers_total") != 0 || strings.Contains(w.stderr.String(), `"level":"error"`) {
		t.Errorf("log %s", w.stderr)
	}
	chatTo(t, m).pass(e)
	if k := chatTo(t, m).begin().access(e); !k.isRelayed("prisma-airs-intercept") {
		t.Error("not relayed after a scout that came")
	}
}

// A caller who spoils the head of his request gets an error of the relay's. That
// must not keep all others from being relayed.
func TestAScoutThatTheRelayRefuses(t *testing.T) {
	m := newModel(t, false)
	w, e := relaysTo(t, prisma(), m, relayed(strict()), &scanner{})
	spoiled := chatTo(t, m)
	spoiled.later = func(k *fakeKong) { clear(k.sentHeader) }
	if k := spoiled.pass(e); k.status != 404 {
		t.Fatalf("answered %d", k.status)
	}
	if n := w.metric("relay_proofs_total", "failed"); n != 0 {
		t.Error("it says that requests go elsewhere")
	}
	chatTo(t, m).pass(e)
	if k := chatTo(t, m).pass(e); !k.isRelayed("prisma-airs-intercept") {
		t.Error("the next ones are not relayed")
	}
}

// Behind ai-proxy: streams flow through the relay, other answers stay buffered,
// and their response event does nothing.
func TestBehindAIProxy(t *testing.T) {
	m, sc := newModel(t, false), &scanner{}
	s := requests()
	s.ResponseMode = policy.Monitor // so that there is a response phase
	w, e := relaysTo(t, noma(), m, s, sc)
	behind := func(streams any) *fakeKong {
		k := chatTo(t, m)
		k.ctx["ai_executed_filters"] = map[string]any{"normalize-request": true}
		k.ctx["ai_namespaced_ctx"] = map[string]any{"_global": map[string]any{"stream_mode": streams}}
		k.upstreamHost = "api.example"
		k.place["scheme"] = "https" // stale
		return k
	}
	behind(true).pass(e)
	for _, c := range []struct {
		streams any
		held    bool
	}{{true, false}, {false, true}, {nil, true}, {"broken", true}} {
		k := behind(c.streams)
		k.begin().access(e)
		if !k.isRelayed("noma-runtime-protection") || k.buffered() != c.held {
			t.Errorf("stream %v: relayed %v, buffered %v", c.streams, k.isRelayed("noma-runtime-protection"), k.buffered())
		}
		k.proxy()
		before := len(k.calls)
		if k.buffered() {
			k.respond(e)
			if n := len(k.calls) - before; k.count("kong.service.response.get_raw_body") != 1 || n != 4 || k.exit != nil {
				t.Errorf("stream %v: the response phase made %d calls", c.streams, n)
			}
		}
		if got := m.last(t).host; got != "api.example" {
			t.Errorf("stream %v: Host %q", c.streams, got)
		}
	}
	w.Flush(context.Background())
	// The scout's answer in the phase, the others by the relay.
	if n := len(sc.seen(llm.RequestLeg)); n != 5 {
		t.Errorf("%d requests scanned, want 5", n)
	}
}

// What the first relay of a chain ends does not come to the second. That is no
// request that went elsewhere.
func TestAChainsFirstRelayRefuses(t *testing.T) {
	m := newModel(t, false)
	sc := &scanner{}
	w1, e1 := relaysTo(t, prisma(), m, requests(), &scanner{})
	w2, e2 := relaysTo(t, noma(), m, requests(), sc)
	for range 3 {
		chatTo(t, m).pass(e1, e2)
	}
	sc.request = block
	if k := chatTo(t, m).pass(e1, e2); k.status != 400 || !k.isRelayed("prisma-airs-intercept") {
		t.Fatalf("exit %+v, status %d", k.exit, k.status)
	}
	within(t, "nothing to be expected", func() bool { return w1.Relay.Waiting() == 0 && w2.Relay.Waiting() == 0 })
	if n := w1.metric("unscanned_answers_total"); n != 0 {
		t.Errorf("%v answers count as unscanned", n)
	}
	if k := chatTo(t, m).begin().access(e1); !k.isRelayed("prisma-airs-intercept") {
		t.Error("the proof was taken back")
	}
}

// Both plugins on a route, both relayed: Kong, the second, the first, the
// upstream.
func TestBothPluginsInAChain(t *testing.T) {
	for _, swap := range []bool{false, true} {
		m := newModel(t, false)
		s1, s2 := &scanner{}, &scanner{}
		v1, v2 := prisma(), noma()
		if swap {
			v1, v2 = v2, v1
		}
		w1, e1 := relaysTo(t, v1, m, requests(), s1)
		w2, e2 := relaysTo(t, v2, m, requests(), s2)
		var k *fakeKong
		for range 4 {
			k = chatTo(t, m).pass(e1, e2)
			if k.exit != nil || k.status != 200 {
				t.Fatalf("exit %+v, status %d", k.exit, k.status)
			}
		}
		for _, plugin := range []string{v1.Plugin, v2.Plugin} {
			if !k.isRelayed(plugin) {
				t.Errorf("%s: not relayed", plugin)
			}
			if h := m.last(t).header.Values(relayHeader(plugin)); h != nil {
				t.Errorf("%s: the token went on", plugin)
			}
		}
		if a, b := len(s1.seen(llm.RequestLeg)), len(s2.seen(llm.RequestLeg)); a != 4 || b != 4 {
			t.Errorf("%d and %d requests scanned, want 4 and 4", a, b)
		}
		if got, want := m.last(t).host, m.Listener.Addr().String(); got != want {
			t.Errorf("Host %q, want %q", got, want)
		}
		if a, b := w1.Relay.Refused(), w2.Relay.Refused(); a != 0 || b != 0 {
			t.Errorf("%d and %d requests refused", a, b)
		}
	}
}

// The one that is relayed lets the other one, which is not, have its response
// phase, in both orders, and does nothing in its own.
func TestANeighbourNeedsTheAnswerBuffered(t *testing.T) {
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("relayed first %v", first), func(t *testing.T) {
			m, sc := newModel(t, false), &scanner{}
			w, e := relaysTo(t, prisma(), m, relayed(modes(policy.Enforce, policy.Monitor)), &scanner{})
			other := newEngine(newWorld(t).Process, noma(), strict(), sc)
			chain := []*guard.Engine{other, e}
			if first {
				chain = []*guard.Engine{e, other}
			}
			for i := range 4 {
				k := chatTo(t, m).pass(chain...)
				if k.exit != nil || !k.buffered() || len(sc.seen(llm.ResponseLeg)) != i+1 {
					t.Fatalf("exchange %d: exit %+v, buffered %v, %d answers scanned", i, k.exit, k.buffered(), len(sc.seen(llm.ResponseLeg)))
				}
				if i > 0 && k.leg("prisma-airs-intercept", "request")["action"] != "relayed" {
					t.Errorf("exchange %d: not relayed", i)
				}
				if i > 0 && k.leg("prisma-airs-intercept", "response") != nil {
					t.Errorf("exchange %d: the response phase looked at it, too", i)
				}
			}
			if w.metric("unscanned_answers_total") != 0 {
				t.Error("an answer counts as unscanned")
			}
		})
	}
}

// The upstream gets the Host that Kong would have sent.
func TestHostOfARelayedRequest(t *testing.T) {
	for _, host := range []string{"", "client.example", "client.example:8443", "127.0.0.1"} {
		m := newModel(t, false)
		_, e := relaysTo(t, prisma(), m, requests(), &scanner{})
		want := host
		if host == "" {
			want = m.Listener.Addr().String()
		}
		for i := range 3 {
			k := chatTo(t, m)
			k.upstreamHost = host
			if k.pass(e); k.status != 200 || m.last(t).host != want {
				t.Errorf("%q, exchange %d: status %d, Host %q, want %q", host, i, k.status, m.last(t).host, want)
			}
		}
	}
}

// A plugin before us sends some requests elsewhere: each goes where Kong would
// have sent it.
func TestATargetThatMoves(t *testing.T) {
	for _, secure := range []bool{false, true} {
		home, other := newModel(t, secure), newModel(t, secure)
		_, e := relaysTo(t, prisma(), home, requests(), &scanner{})
		wantHome, wantOther := 0, 0
		for i := range 40 {
			to := home
			if i%3 == 2 {
				to = other
			}
			k := chatTo(t, to).pass(e)
			if k.exit != nil || k.status != 200 {
				t.Fatalf("exchange %d: exit %+v, status %d", i, k.exit, k.status)
			}
			if to == home {
				wantHome++
			} else {
				wantOther++
			}
			if len(home.arrivals()) != wantHome || len(other.arrivals()) != wantOther {
				t.Fatalf("exchange %d went to the wrong upstream", i)
			}
			if i > 0 && !k.isRelayed("prisma-airs-intercept") {
				t.Errorf("exchange %d was not relayed", i)
			}
		}
	}
}

// A plugin before us that sets the scheme as well leaves a stale one in
// balancer_data.
func TestATargetWithAnotherScheme(t *testing.T) {
	plain, secure := newModel(t, false), newModel(t, true)
	_, e := relaysTo(t, prisma(), secure, requests(), &scanner{})
	for i := range 3 {
		if k := chatTo(t, plain).pass(e); k.status != 200 {
			t.Fatalf("exchange %d: status %d", i, k.status)
		}
	}
	for i := range 3 {
		k := chatTo(t, secure)
		k.place["scheme"] = "http" // the service's
		if k.pass(e); k.status != 200 || len(secure.arrivals()) != i+1 {
			t.Fatalf("exchange %d: status %d, %s", i, k.status, k.answer)
		}
	}
	// And back.
	if k := chatTo(t, plain).pass(e); k.status != 200 || len(plain.arrivals()) != 4 {
		t.Errorf("status %d", k.status)
	}
}

// relay_upstream: the request goes there, whatever Kong's service says, with the
// URL's path before its own.
func TestSealedUpstream(t *testing.T) {
	m := newModel(t, false)
	s := requests()
	s.RelayUpstream, _ = url.Parse(m.URL + "/base%2Fx/")
	_, e := relaysTo(t, prisma(), m, s, &scanner{})
	for i := range 3 {
		k := chatTo(t, m)
		k.line = "POST /v1/chat%2Fcompletions?a=b HTTP/1.1"
		k.place["host"], k.place["port"] = "127.0.0.1", 1.0
		k.pass(e)
		if k.exit != nil || k.status != 200 {
			t.Fatalf("exchange %d: exit %+v, status %d", i, k.exit, k.status)
		}
		got := m.last(t)
		if got.uri != "/base%2Fx/v1/chat%2Fcompletions?a=b" || got.host != m.Listener.Addr().String() || got.body != k.body {
			t.Errorf("exchange %d: %q %q %q", i, got.uri, got.host, got.body)
		}
	}
	// Without the plugin nothing answers there.
	k := chatTo(t, m)
	k.place["port"] = 1.0
	if k.begin().proxy(); k.status != http.StatusBadGateway {
		t.Errorf("status %d", k.status)
	}
}

// TestTheAnswerOfASealedScoutIsJudgedInTheRelay: an old Kong shows an answer
// whose response event has failed, so what leaves the relay has to be judged.
func TestTheAnswerOfASealedScoutIsJudgedInTheRelay(t *testing.T) {
	for name, sealed := range map[string]bool{"sealed": true, "open": false} {
		m := newModel(t, false)
		s := strict()
		s.Relay, s.RelayTLSVerify, s.StreamScanChars, s.StreamContextChars = true, true, 400, 2000
		if sealed {
			s.RelayUpstream, _ = url.Parse(m.URL)
		}
		sc := &scanner{response: block}
		_, e := relaysTo(t, prisma(), m, s, sc)
		k := chatTo(t, m)
		k.begin()
		e.Access(context.Background(), k)
		if k.exit != nil {
			t.Fatalf("%s: exit %+v", name, k.exit)
		}
		k.proxy()
		want := http.StatusOK // the response event, which comes next, judges it
		if sealed {
			want = http.StatusForbidden
		}
		if k.status != want {
			t.Errorf("%s: the scout's answer left the relay with %d, want %d", name, k.status, want)
		}
	}
}

// What identifies a relayed exchange is Kong's word, not the client's.
func TestIdentityOfARelayedExchange(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		m, sc := newModel(t, false), &scanner{}
		v := noma()
		v.ClientIP, v.Service = true, true
		_, e := relaysTo(t, v, m, requests(), sc)
		var k *fakeKong
		for range 3 {
			k = chatTo(t, m)
			k.noIDHeader = hidden
			k.headers = append(k.headers, [2]string{"x-kong-request-id", "forged"}, [2]string{"x-real-ip", "6.6.6.6"}, [2]string{"x-consumer-id", "forged"})
			k.pass(e)
		}
		if !k.isRelayed(v.Plugin) {
			t.Fatal("not relayed")
		}
		if asked := slices.Contains(k.named, "get_var kong_request_id"); asked != hidden {
			t.Errorf("header hidden %v: the request id was asked for: %v", hidden, asked)
		}
		last := sc.seen(llm.RequestLeg)[2]
		if last.RequestID != k.requestID {
			t.Errorf("header hidden %v: request id %q, want %q", hidden, last.RequestID, k.requestID)
		}
		want := scan.Identity{Consumer: k.consumer, Service: "llm", ClientIP: "10.1.2.3"}
		if last.Identity != want {
			t.Errorf("identity %+v, want %+v", last.Identity, want)
		}
	}
}

// Kong before 3.7 breaks off when it should say that a name is an upstream
// entity's. It runs the event again.
func TestAQuestionThatBreaksTheEvent(t *testing.T) {
	m, sc := newModel(t, false), &scanner{}
	w, e := relaysTo(t, prisma(), m, relayed(strict()), sc)
	asked := 0
	for i := range 4 {
		k := chatTo(t, m)
		k.place["host"], k.place["type"] = "pool", "name"
		k.entities, k.oldEntities = []string{"pool"}, true
		k.begin().access(e)
		asked += k.count("kong.service.set_upstream")
		if i > 0 && (len(sc.seen(llm.RequestLeg)) != i || !k.buffered()) {
			t.Errorf("exchange %d was not judged by the phases", i)
		}
	}
	if asked != 0 { // a batch that breaks has no replies
		t.Errorf("asked %d times more", asked)
	}
	if !strings.Contains(w.stderr.String(), string(policy.RelayEntity)) {
		t.Errorf("log %s", w.stderr)
	}
}

// Whatever batch is lost, the exchange ends there, and no token stays.
func TestLostBatchesOfARelayedExchange(t *testing.T) {
	for batch := 1; batch <= 4; batch++ {
		for _, known := range []bool{false, true} {
			m := newModel(t, false)
			w, e := relaysTo(t, noma(), m, relayed(strict()), &scanner{})
			if known {
				chatTo(t, m).pass(e)
				chatTo(t, m).begin().access(e)
			}
			waiting := w.Relay.Waiting()
			k := chatTo(t, m)
			k.breakAt = batch
			k.begin().access(e)
			if lost := k.batches >= batch; lost && w.Relay.Waiting() != waiting {
				t.Errorf("batch %d, known %v: %d exchanges are waited for", batch, known, w.Relay.Waiting())
			}
			if w.metric("panics_total") != 0 {
				t.Errorf("batch %d, known %v: a panic", batch, known)
			}
		}
	}
}

// Replies that cannot be used: an enforced exchange never goes on unscanned.
func TestRepliesThatCannotBeUsed(t *testing.T) {
	for _, method := range []string{
		"kong.nginx.get_ctx", "kong.nginx.get_var", "kong.client.get_consumer", "kong.router.get_route", "kong.service.set_upstream", "kong.ctx.shared.get",
	} {
		for _, known := range []bool{false, true} {
			m, sc := newModel(t, false), &scanner{}
			s := requests()
			s.ScopedToRoute = false
			v := noma()
			v.Token = true
			w, e := relaysTo(t, v, m, s, sc)
			name := func() *fakeKong {
				k := chatTo(t, m)
				k.place["host"], k.place["type"] = "localhost", "name"
				return k
			}
			if known {
				name().pass(e)
				name().pass(e)
			}
			before := len(m.arrivals())
			scans := len(sc.seen(llm.RequestLeg))
			k := name()
			k.replyErr = map[string]error{method: errors.New("too large")}
			k.pass(e)
			if went, scanned := len(m.arrivals())-before, len(sc.seen(llm.RequestLeg))-scans; went > scanned {
				t.Errorf("%s, known %v: went on unscanned", method, known)
			}
			if w.metric("panics_total") != 0 {
				t.Errorf("%s, known %v: a panic", method, known)
			}
		}
	}
}

// Marks say that nothing can fail any more, and come for relayed ones too.
func TestMarksOfARelayedExchange(t *testing.T) {
	m := newModel(t, false)
	s := requests()
	s.MarkRequests = true
	_, e := relaysTo(t, prisma(), m, s, &scanner{})
	for i := range 3 {
		k := chatTo(t, m).pass(e)
		for _, leg := range []string{"request", "response"} {
			if k.shared["ai_guard:prisma-airs-intercept:"+leg] != "done" {
				t.Errorf("exchange %d: no mark of the %s", i, leg)
			}
		}
		if i > 0 && !k.isRelayed("prisma-airs-intercept") {
			t.Errorf("exchange %d: not relayed", i)
		}
	}
}

func TestKeepBufferingOfRelayedAnswers(t *testing.T) {
	m := newModel(t, false)
	s := relayed(modes(policy.Enforce, policy.Monitor))
	s.KeepBuffering = true
	_, e := relaysTo(t, prisma(), m, s, &scanner{})
	for i := range 3 {
		k := chatTo(t, m).pass(e)
		if !k.buffered() || k.exit != nil {
			t.Errorf("exchange %d: buffered %v, exit %+v", i, k.buffered(), k.exit)
		}
		if i > 0 && (k.leg("prisma-airs-intercept", "request")["action"] != "relayed" || k.leg("prisma-airs-intercept", "response") != nil) {
			t.Errorf("exchange %d: %v", i, k.serialized)
		}
	}
}

// Many exchanges of many kinds at once: each is scanned once and arrives once.
func TestManyRelayedAtOnce(t *testing.T) {
	m, sc := newModel(t, false), &scanner{}
	s := requests()
	s.ScopedToRoute, s.Scoped = false, false
	w, e := relaysTo(t, noma(), m, s, sc)
	const workers, each = 8, 12
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			for j := range each {
				k := chatTo(t, m)
				k.consumer.ID = fmt.Sprint("consumer-", (i+j)%3)
				k.route = fmt.Sprint("route-", j%2)
				k.routeID = k.route
				if k.pass(e); k.status != 200 || k.exit != nil {
					t.Errorf("status %d, exit %+v", k.status, k.exit)
				}
			}
		})
	}
	all.Wait()
	if a, b := len(m.arrivals()), len(sc.seen(llm.RequestLeg)); a != workers*each || b != workers*each {
		t.Errorf("%d requests arrived and %d were scanned, want %d", a, b, workers*each)
	}
	if w.metric("unscanned_answers_total") != 0 || w.Relay.Refused() != 0 {
		t.Errorf("log %s", w.stderr)
	}
}

// A kind of exchanges that nobody has seen, at a place where others are relayed:
// the batch that was sent for it is taken back, and the phases judge it.
func TestANewKindWhereOthersAreRelayed(t *testing.T) {
	for _, c := range []struct {
		request, response policy.Mode
		neighbour         bool // one that enforces answers runs before
	}{
		{policy.Enforce, policy.Enforce, false},
		{policy.Enforce, policy.Monitor, false},
		{policy.Enforce, policy.Off, true},
		{policy.Monitor, policy.Monitor, true},
		{policy.Monitor, policy.Off, true},
	} {
		t.Run(fmt.Sprintf("%s, %s, neighbour %v", c.request, c.response, c.neighbour), func(t *testing.T) {
			m, sc, other := newModel(t, true), &scanner{}, &scanner{}
			s := relayed(modes(c.request, c.response))
			w, e := relaysTo(t, noma(), m, s, sc)
			var chain []*guard.Engine
			if c.neighbour {
				chain = append(chain, newEngine(newWorld(t).Process, prisma(), strict(), other))
			}
			chain = append(chain, e)
			for range 2 {
				chatTo(t, m).pass(chain...)
			}
			if k := chatTo(t, m).begin().access(chain...); k.leg("noma-runtime-protection", "request")["action"] != "relayed" {
				t.Fatal("not relayed")
			}
			answers := len(other.seen(llm.ResponseLeg))
			k := chatTo(t, m)
			k.consumer.ID = "somebody-new"
			took := len(m.arrivals())
			if k.pass(chain...); k.exit != nil || len(m.arrivals()) != took+1 {
				t.Fatalf("exit %+v, status %d", k.exit, k.status)
			}
			if k.isRelayed("noma-runtime-protection") || k.count("kong.request.get_raw_body") == 0 {
				t.Errorf("not judged by the phases: %v", k.named)
			}
			if wants := c.neighbour || c.response != policy.Off; k.buffered() != wants {
				t.Errorf("buffered is %v", k.buffered())
			}
			if c.neighbour && len(other.seen(llm.ResponseLeg)) != answers+1 {
				t.Error("the neighbour did not see the answer")
			}
			// The next one of the kind is relayed.
			next := chatTo(t, m)
			next.consumer.ID = "somebody-new"
			if next.begin().access(chain...); next.leg("noma-runtime-protection", "request")["action"] != "relayed" {
				t.Error("the kind was not proven")
			}
			if n := w.Relay.Refused(); n != 0 {
				t.Errorf("%d requests came without a token that counts", n)
			}
		})
	}
}

// A refusal of such an exchange leaves no mark that says it is dealt with, and
// nothing of it reaches the upstream.
func TestANewKindThatIsBlocked(t *testing.T) {
	m, sc := newModel(t, false), &scanner{}
	s := relayed(strict())
	s.MarkRequests = true
	w, e := relaysTo(t, noma(), m, s, sc)
	for range 2 {
		chatTo(t, m).begin().pass(e)
	}
	sc.request = block
	took, waiting := len(m.arrivals()), w.Relay.Waiting()
	k := chatTo(t, m)
	k.consumer.ID = "somebody-new"
	if k.pass(e); k.exit == nil || k.exit.status != 400 || len(m.arrivals()) != took || len(k.shared) != 0 || w.Relay.Waiting() != waiting {
		t.Errorf("exit %+v, marks %v", k.exit, k.shared)
	}
}

// A later plugin takes the target of one consumer's requests: those stay with
// the phases, the others are relayed.
func TestALaterPluginTakesAConsumersTarget(t *testing.T) {
	m, sc := newModel(t, false), &scanner{}
	w, e := relaysTo(t, noma(), m, relayed(modes(policy.Enforce, policy.Monitor)), sc)
	as := func(consumer string) *fakeKong {
		k := chatTo(t, m)
		k.consumer.ID = consumer
		if consumer == "b" {
			home := k.place
			k.later = func(k *fakeKong) { k.ctx["balancer_data"] = home }
		}
		return k.pass(e)
	}
	for i := range 4 {
		if k := as("a"); k.isRelayed("noma-runtime-protection") != (i > 0) || k.exit != nil {
			t.Errorf("exchange %d of a: %v", i, k.named)
		}
		if k := as("b"); k.isRelayed("noma-runtime-protection") || k.count("kong.service.response.get_raw_body") != 1 || k.exit != nil {
			t.Errorf("exchange %d of b: %v", i, k.named)
		}
	}
	if n := w.metric("unscanned_answers_total"); n != 0 {
		t.Errorf("%v answers count as unscanned", n)
	}
}

// relayReplies is a Kong that answers from memory, for one route, and has each
// token forgotten at once.
type relayReplies struct {
	fixed  map[string][]byte
	forget func(token string)
	calls  int
}

func (*relayReplies) Own(string) {}

func (r *relayReplies) Tell(calls ...*pdk.Call) error { return r.Batch(calls...) }

func (r *relayReplies) Batch(calls ...*pdk.Call) error {
	r.calls += len(calls)
	for _, c := range calls {
		c.Reply = r.fixed[c.Method+string(c.Args)]
		if c.Method == "kong.service.request.set_header" {
			r.forget(string(c.Args[len(c.Args)-32:]))
		}
	}
	return nil
}

func (r *relayReplies) Exit(int, http.Header, []byte) error {
	panic("an exit")
}

// What the access event of a relayed exchange costs the plugin, for an instance
// of a route, of a service, and of neither.
func BenchmarkRelayedAccess(b *testing.B) {
	scopes := []struct {
		name            string
		scoped, toRoute bool
	}{{"route", true, true}, {"service", true, false}, {"everywhere", false, false}}
	full := noma()
	full.ClientIP = true // as its plugin does
	for _, v := range []vendor{prisma(), full} {
		for _, scope := range scopes {
			b.Run(v.Plugin+"/"+scope.name, func(b *testing.B) {
				m := newModel(b, false)
				s := relayed(strict())
				s.Scoped, s.ScopedToRoute = scope.scoped, scope.toRoute
				w, e := relaysTo(b, v, m, s, &scanner{})
				chatTo(b, m).pass(e)
				k := chatTo(b, m).begin()
				replies := &relayReplies{fixed: map[string][]byte{}, forget: w.Relay.Forget}
				for _, c := range []pdk.Call{
					pdk.NginxCtx(pdk.CtxBalancerData), pdk.NginxCtx(bufferedKey), pdk.ClientConsumer(), pdk.RouterRoute(),
					pdk.NginxVar(pdk.VarUpstreamScheme), pdk.NginxCtx(pdk.CtxAIFilters), pdk.NginxCtx(pdk.CtxService),
				} {
					replies.fixed[c.Method+string(c.Args)] = k.reply(c.Method, c.Args)
				}
				e.Access(b.Context(), replies) // the first one at once
				replies.calls = 0
				b.ReportAllocs()
				for b.Loop() {
					e.Access(b.Context(), replies)
				}
				b.ReportMetric(float64(replies.calls)/float64(b.N), "calls/op")
			})
		}
	}
}
