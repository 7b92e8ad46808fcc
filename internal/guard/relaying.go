// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// relaying is what an engine that relays knows of where its exchanges go.
type relaying struct {
	server *relay.Server
	tls    *tls.Config
	// upstream is where all requests go, whatever Kong's service says; nil for
	// where Kong was about to send them.
	upstream *url.URL
	proofs   *proofs
	// relayedLog is the access log's value of a relayed exchange.
	relayedLog pdk.Call

	mu     sync.Mutex
	places map[string]*place
}

// maxKnownPlaces bounds how many places an instance remembers. One that is forgotten
// is looked at again.
const maxKnownPlaces = 1_000

// A place is one of Kong's services, as an instance has found it. An instance
// that belongs to a service or a route has one, else there is one for each
// route.
type place struct {
	// service is its name, serviceShown that or its id. route is what is shown of
	// the one route of an instance that belongs to a route.
	service, serviceShown, route string
	// why is why nothing can be relayed there.
	why policy.RelayReason
	// home is where requests to it go.
	home atomic.Pointer[home]
	// ready says that an exchange was relayed there, so that the next one can
	// be relayed with what is known.
	ready atomic.Bool
	// moves counts how often a request was found to go elsewhere.
	moves atomic.Int32
	// ids says where Kong's request id is to be had, ips where the client's
	// address is.
	ids, ips atomic.Uint32
}

// Where something about a request is to be had.
const (
	unknownYet  uint32 = iota
	fromHeader         // Kong writes it into a header that goes upstream
	fromCall           // it has to be asked for
	fromNowhere        // this Kong does not have it
)

// home is a target that was looked at closely, and what follows from it.
type home struct {
	data pdk.BalancerData
	// plain says that nothing differs from request to request but what a batch
	// asks for: no plugin has set the scheme, and ai-proxy has not run.
	plain bool
	// redirect sends a request to the relay.
	redirect pdk.Call
	// address is the relay's.
	address netip.AddrPort
}

// manyMoves is how often a place may turn out to have moved before its requests
// are looked at closely each time.
const manyMoves = 8

// relaying returns what an engine needs to relay, nil when it does not.
func newRelaying(p *Process, c *Config) *relaying {
	if !c.Settings.Relays() {
		return nil
	}
	if p.Relay == nil {
		p.Notice(false, "relay is on, but nothing listens in this process: exchanges go through the phases")
		return nil
	}
	return &relaying{
		server: p.Relay, tls: c.RelayTLS, upstream: c.Settings.RelayUpstream,
		relayedLog: relayedLog(c.Vendor.Plugin),
		proofs:     newProofs(), places: map[string]*place{},
	}
}

// placeOf returns a place by the name that it has for the instance, nil for one
// that was not looked at yet.
func (r *relaying) placeOf(name string) *place {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.places[name]
}

func (r *relaying) remember(name string, pl *place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.places) >= maxKnownPlaces {
		for other := range r.places {
			delete(r.places, other)
			break
		}
	}
	r.places[name] = pl
}

// redirect returns the call that sends a request to the relay in place of d.
//
// It replaces all that Kong knows of the target, where set_target would change
// host and port only: the Host header stays what it was, so that it arrives
// with the request and need not be asked for; a type that says "this is a name"
// does not stay; and a retry goes to the relay again, not to what a plugin wants
// to be tried next, past the scan. Kong has to wait longer than the upstream
// may take, by the time for which we hold an answer back.
func redirect(to netip.AddrPort, d *pdk.BalancerData, hold time.Duration) pdk.Call {
	kind, host := "ipv4", to.Addr().String()
	if !to.Addr().Is4() {
		kind, host = "ipv6", "["+host+"]"
	}
	milliseconds := func(t time.Duration) float64 {
		return float64(min(cmp.Or(t, defaultTimeout)+hold, longestTimeout).Milliseconds())
	}
	var s pdk.Struct
	s.Text("scheme", "http")
	s.Text("type", kind)
	s.Text("host", host)
	s.Number("port", float64(to.Port()))
	s.Number("connect_timeout", float64(cmp.Or(d.Connect, defaultTimeout).Milliseconds()))
	s.Number("send_timeout", milliseconds(d.Send))
	s.Number("read_timeout", milliseconds(d.Read))
	s.Number("retries", 1) // a kept connection may close just as it is used
	s.Number("try_count", 0)
	s.Struct("tries", pdk.Struct{})
	return pdk.SetNginxCtxStruct(pdk.CtxBalancerData, s)
}

const (
	// defaultTimeout is Kong's own, longestTimeout the longest it takes.
	defaultTimeout = time.Minute
	longestTimeout = (1<<31 - 2) * time.Millisecond
)

// target is where the relay hands a request on to. The Host is the one that Kong
// makes of the target when nothing else says it.
func (r *relaying) target(d *pdk.BalancerData) relay.Target {
	t := relay.Target{Connect: d.Connect, Send: d.Send, Read: d.Read, TLS: r.tls}
	if u := r.upstream; u != nil {
		t.Scheme, t.Host = u.Scheme, u.Host
		t.Address = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]))
		return t
	}
	port := strconv.Itoa(int(d.Port))
	t.Scheme, t.Address = d.Scheme, net.JoinHostPort(strings.Trim(d.Host, "[]"), port)
	t.Host = d.Host
	if d.Scheme == "http" && port != "80" || d.Scheme == "https" && port != "443" {
		t.Host += ":" + port
	}
	return t
}

// An expected exchange is one that Kong was told to send to the relay. It turns
// what only the request itself shows into what relayed needs.
type expected struct {
	engine *Engine
	place  *place
	kind   kind
	scout  bool
	// address is the relay's as Kong was told.
	address netip.AddrPort

	// sent is the exchange once its access event is over. Before, nobody can
	// know the token.
	sent  atomic.Pointer[relayed]
	came  atomic.Bool
	learn sync.Once
}

var _ relay.Exchange = (*expected)(nil)

// relayed is the exchange as the relay carries it.
func (x *expected) relayed(of *exchange, to relay.Target) *relayed {
	return &relayed{engine: x.engine, exchange: of, target: to, scout: x.scout}
}

// Serve answers the request, as relay.Exchange wants it.
func (x *expected) Serve(w http.ResponseWriter, r *http.Request) {
	to := x.sent.Load()
	if to == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	x.learn.Do(func() { x.learnFrom(r, to) })
	x.arrived()
	if base := x.engine.relaying.upstream; base != nil {
		r = under(base, r)
	}
	to.Serve(w, r)
	if !x.scout {
		x.engine.process.arrivals.put(to.exchange.requestID) // the newest again
	}
}

// Missed hears that the request never came.
func (x *expected) Missed() {
	if x.sent.Load() != nil {
		x.missed()
	}
}

// Names of headers that Kong writes over whatever a client has sent.
const (
	headerRequestID = "X-Kong-Request-Id"
	headerClientIP  = "X-Real-Ip"
)

// learnFrom completes the exchange with what came with its request.
func (x *expected) learnFrom(r *http.Request, to *relayed) {
	var told [64]byte
	if x.engine.relaying.upstream == nil && r.Host != string(x.address.AppendTo(told[:0])) {
		// The route keeps the client's Host, or a plugin has set one. A client
		// that sends the relay's own address gets what others get.
		to.target.Host = r.Host
	}
	if x.scout {
		x.compare(r, to.exchange)
		return
	}
	if x.place.ids.Load() == fromHeader {
		to.exchange.requestID = r.Header.Get(headerRequestID)
	}
	address := r.Header.Get(headerClientIP)
	if x.engine.needs.ClientIP && x.place.ips.Load() == fromHeader && !x.engine.settings.SkipClientIP {
		to.exchange.identity.ClientIP = address
	}
	to.caller = callerOf(cmp.Or(to.exchange.identity.Consumer.ID, to.exchange.named.Consumer.ID), cmp.Or(to.exchange.identity.ClientIP, address))
	to.exchange.caller = to.caller
}

// compare finds out, on a scout, whether Kong writes what we need into headers.
// The request id is random: no client can have sent the right one.
func (x *expected) compare(r *http.Request, known *exchange) {
	source := func(asked, shown string) uint32 {
		switch {
		case asked == "":
			return fromNowhere
		case asked == shown:
			return fromHeader
		}
		return fromCall
	}
	x.place.ids.Store(source(known.requestID, r.Header.Get(headerRequestID)))
	if x.engine.needs.ClientIP {
		x.place.ips.Store(source(known.identity.ClientIP, r.Header.Get(headerClientIP)))
	}
}

// under returns the request with a base path before its own, as Kong puts a
// service's.
func under(base *url.URL, r *http.Request) *http.Request {
	escaped := strings.TrimSuffix(base.EscapedPath(), "/")
	path, err := url.PathUnescape(escaped)
	if escaped == "" || err != nil || !strings.HasPrefix(r.RequestURI, "/") { // OPTIONS * has no path
		return r
	}
	moved, u := r.WithContext(r.Context()), *r.URL
	u.RawPath = escaped + u.EscapedPath()
	u.Path = path + u.Path
	moved.URL, moved.RequestURI = &u, escaped+r.RequestURI
	return moved
}

// arrived hears that the request has come.
func (x *expected) arrived() {
	if x.came.Swap(true) {
		return
	}
	if x.scout {
		if x.engine.relaying.proofs.came(x.kind) {
			x.engine.process.metrics.Proofs.WithLabelValues(telemetry.ProofMade).Inc()
		}
		return
	}
	x.engine.process.arrivals.put(x.sent.Load().exchange.requestID)
}

// missed hears that the request has not come in its time. Of a scout that says
// nothing: the phases have judged it, and the next ones will show.
func (x *expected) missed() {
	if x.scout || x.came.Load() {
		return
	}
	e := x.engine
	if e.relaying.proofs.missed(x.kind) {
		e.process.metrics.Proofs.WithLabelValues(telemetry.ProofTakenBack).Inc()
	}
	e.process.metrics.UnscannedAnswers.Inc()
	e.process.Notice(true, "a request that was to be relayed never came to the relay: its exchange went out unseen, or another plugin or Kong ended it; "+
		"the next ones"+x.of()+" go through the phases until the relay has seen some")
}

// refute hears that the request had not come although its answer did.
func (x *expected) refute() {
	e := x.engine
	if e.relaying.proofs.refute(x.kind) {
		e.process.metrics.Proofs.WithLabelValues(telemetry.ProofFailed).Inc()
		e.process.Notice(true, "requests"+x.of()+" are not relayed: "+string(policy.RelayTaken)+" (docs/priorities-and-ai-proxy.md)")
	}
}

// of names the kind of the exchange, for operators.
func (x *expected) of() string {
	to := x.sent.Load()
	if to == nil {
		return ""
	}
	var text string
	if route := cmp.Or(to.exchange.named.Route, x.place.route, x.kind.route); route != "" {
		text += " of route " + clean(route)
	}
	if service := x.place.serviceShown; service != "" {
		text += " of service " + clean(service)
	}
	return text
}

// arrivals are the latest relayed exchanges that came to the relay. Another
// plugin may have Kong buffer their answers all the same. Then our response
// event comes too, and there is nothing left to do in it. One that is forgotten
// is scanned once more.
type arrivals struct {
	mu   sync.Mutex
	ids  map[string]int // how often each stands in last
	last []string
	next int
}

const maxArrivals = 1 << 14

func (a *arrivals) put(requestID string) {
	if requestID == "" {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ids == nil {
		a.ids, a.last = map[string]int{}, make([]string, maxArrivals)
	}
	if old := a.last[a.next]; old != "" {
		if a.ids[old]--; a.ids[old] == 0 {
			delete(a.ids, old)
		}
	}
	a.last[a.next] = requestID
	a.ids[requestID]++
	a.next = (a.next + 1) % len(a.last)
}

func (a *arrivals) has(requestID string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return requestID != "" && a.ids[requestID] > 0
}

// entities are the names of which Kong was asked whether they are those of
// upstream entities of its own. Kong before 3.7 breaks off the event in place of
// saying yes, and some of those then send the request on unscanned. So a
// question that broke an event is never put again.
type entities struct {
	mu    sync.Mutex
	asked map[string]asking
}

type asking uint8

const (
	mayAsk asking = iota
	askedNow
	askedInVain
)

// ask says whether Kong may be asked about a name. After mayAsk, told or broke
// has to follow.
func (s *entities) ask(name string) asking {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[string]asking{}
	}
	now := s.asked[name]
	switch {
	case now != mayAsk:
	case len(s.asked) >= maxKnownPlaces:
		return askedInVain
	default:
		s.asked[name] = askedNow
	}
	return now
}

func (s *entities) told(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, name)
}

func (s *entities) broke(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[name] = askedInVain
}
