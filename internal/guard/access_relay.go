// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"net"
	"net/netip"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// Calls that are the same for all exchanges.
var (
	askRequestID       = pdk.NginxVar("kong_request_id")
	askRequestLine     = pdk.NginxVar("request")
	askUpstreamHeaders = pdk.UpstreamHeaders()
	askContentType     = pdk.UpstreamHeader("Content-Type")
	askContentEncoding = pdk.UpstreamHeader("Content-Encoding")

	askBalancer = pdk.NginxCtx(pdk.CtxBalancerData)
	askMark     = pdk.NginxCtx(bufferedKey)
	speakHTTP   = pdk.SetUpstreamScheme("http")
	switchOff   = pdk.SetNginxCtxBool(bufferedKey, false)
)

// An approach is the access phase of an exchange that may be relayed. It asks
// Kong for what the relay has to know and does not see by itself: where the
// request was about to go, who sends it, and who else wants its answer.
//
// An instance that belongs to a service or a route does it in one batch once it
// has relayed an exchange there. Else everything is asked before anything is
// set, so that an exchange which turns out not to be relayable goes on as if
// there were no relay.
type approach struct {
	*phase
	*relaying
	address netip.AddrPort

	place *place // nil until it is known
	kind  kind
	// What is asked for besides, and the replies.
	askRoute, askConsumer, askID, askIP   bool
	route, consumer, id, clientIP, bearer pdk.Call
	balancer, mark                        pdk.Call
	scheme, filters, ai, service, entity  pdk.Call
	// What is set.
	to, plain, token, off, log pdk.Call
	// data is where the request was about to go, its scheme the one that Kong
	// speaks.
	data pdk.BalancerData
	// held says that the answer has to be buffered although it is relayed:
	// ai-proxy, which ran before us, breaks answers that are no stream without
	// it.
	held bool
}

// relay sends the request to the relay if it can. over says that the access
// phase has nothing left to do. If it has, the phases judge the exchange, as a
// scout or without the relay. The error is pdk.ErrGone.
func (p *phase) relay() (over bool, err error) {
	r := p.engine.relaying
	address, err := r.server.Address()
	if err != nil {
		p.notRelayed(nil, policy.RelayListener)
		return false, nil
	}
	a := &approach{phase: p, relaying: r, address: address}
	a.start()
	if a.settled() {
		return false, nil
	}
	if a.knowsEnough() {
		over, again, err := a.atOnce()
		if !again {
			return over, err
		}
	}
	return a.stepwise()
}

// start finds what is known without asking, and what has to be asked for.
func (a *approach) start() {
	e := a.engine
	a.askRoute = !e.settings.ScopedToRoute
	if e.needs.Consumer || e.settings.MonitorsAny() {
		if known := e.consumer.Load(); known != nil {
			a.consumerIs(*known)
		} else {
			a.askConsumer = true
		}
	}
	if e.settings.Scoped {
		a.place = a.placeOf("")
	}
}

func (a *approach) consumerIs(c scan.Consumer) {
	a.exchange.consumerIs(c, a.engine.needs.Consumer)
	a.kind.consumer = c.ID
}

// settled reports whether it is known that the exchange is not relayed.
func (a *approach) settled() bool {
	if a.place != nil && a.place.why != "" {
		return true
	}
	if a.askRoute || a.askConsumer {
		return false
	}
	role, _ := a.proofs.role(a.kind)
	return role == stays
}

// knowsEnough reports whether one batch can relay the exchange if it is one of
// the usual kind. The marks of mark_requests say that nothing can fail any
// more, so they must not go out in a batch that may have to be taken back.
func (a *approach) knowsEnough() bool {
	if a.place == nil || !a.place.ready.Load() || a.engine.settings.MarkRequests {
		return false
	}
	h := a.place.home.Load()
	return h.address == a.address && (a.sealed() || h.plain && a.place.moves.Load() < manyMoves)
}

// sealed reports whether Kong's own target does not matter.
func (a *approach) sealed() bool { return a.upstream != nil }

// appendWho appends the calls that tell the exchange's kind.
func (a *approach) appendWho(calls []*pdk.Call) []*pdk.Call {
	if a.askRoute {
		a.route = pdk.RouterRoute()
		calls = append(calls, &a.route)
	}
	if a.askConsumer {
		a.consumer = pdk.ClientConsumer()
		calls = append(calls, &a.consumer)
	}
	return calls
}

// readWho reads the replies.
func (a *approach) readWho() error {
	e := a.engine
	if a.askRoute {
		route, err := a.route.Route()
		if err != nil {
			return err
		}
		a.kind.route, a.exchange.named.Route = route.ID, nameOrID(route.Name, route.ID)
	}
	if a.askConsumer {
		consumer, err := a.consumer.Consumer()
		if err != nil {
			return err
		}
		known := scan.Consumer(consumer)
		a.consumerIs(known)
		if e.settings.ScopedToConsumer && known != (scan.Consumer{}) {
			e.consumer.Store(&known)
		}
	}
	return nil
}

// appendRest appends the calls for what else the scans need and the request's
// headers do not show on this Kong.
func (a *approach) appendRest(calls []*pdk.Call) []*pdk.Call {
	e := a.engine
	ids := a.place.ids.Load()
	if a.askID = ids == fromCall || ids == unknownYet; a.askID {
		a.id = askRequestID
		calls = append(calls, &a.id)
	}
	if a.askIP = e.needs.ClientIP && !e.settings.SkipClientIP && a.place.ips.Load() != fromHeader; a.askIP {
		a.clientIP = pdk.ClientForwardedIP()
		calls = append(calls, &a.clientIP)
	}
	if e.needs.Token {
		a.bearer = pdk.CtxShared(verifiedTokenKey)
		calls = append(calls, &a.bearer)
	}
	return calls
}

// readRest reads the replies into the exchange.
func (a *approach) readRest() (err error) {
	if a.askID {
		if a.exchange.requestID, err = a.id.Text(); err != nil {
			return err
		}
	}
	if a.askIP {
		if a.exchange.identity.ClientIP, err = a.clientIP.Text(); err != nil {
			return err
		}
	}
	if a.engine.needs.Token {
		v, err := a.bearer.Value()
		if err != nil {
			return err
		}
		if v.Kind == pdk.ValueText {
			a.exchange.token = v.Text // the relay sees whether it is the request's
		}
	}
	return nil
}

// appendSet appends the calls that send the request to the relay.
func (a *approach) appendSet(calls []*pdk.Call, h *home, scheme, token string) []*pdk.Call {
	a.to = h.redirect
	calls = append(calls, &a.to)
	if scheme != "http" {
		a.plain = speakHTTP
		calls = append(calls, &a.plain)
	}
	a.token = pdk.SetRequestHeader(a.server.Header(), token)
	return append(calls, &a.token)
}

// appendLast appends the calls that end the one event of a relayed exchange.
func (a *approach) appendLast(calls []*pdk.Call, release bool) []*pdk.Call {
	if release {
		a.off = switchOff
		calls = append(calls, &a.off)
	}
	calls = append(calls, a.marks(llm.RequestLeg, llm.ResponseLeg)...)
	calls = appendNotices(calls, a.takeNotices())
	a.log = a.relayedLog
	return append(calls, &a.log)
}

// expect makes an exchange that the relay waits for, and its token.
func (a *approach) expect() (x *expected, token string) {
	x = &expected{engine: a.engine, address: a.address}
	return x, a.server.Expect(x)
}

// mayRelease reports whether the answer may flow.
func (a *approach) mayRelease() bool {
	return mayRelease(&a.mark) && !a.held && !a.engine.settings.KeepBuffering
}

// atOnce relays the exchange in one batch. again says that it takes more, and
// that Kong is as it was.
func (a *approach) atOnce() (over, again bool, err error) {
	h := a.place.home.Load()
	x, token := a.expect()
	calls := make([]*pdk.Call, 0, 12)
	if !a.sealed() {
		a.balancer = askBalancer
		calls = append(calls, &a.balancer)
	}
	a.mark = askMark
	calls = a.appendRest(a.appendWho(append(calls, &a.mark)))
	calls = a.appendSet(calls, h, h.data.Scheme, token)
	calls = a.appendLast(calls, !a.engine.settings.KeepBuffering)
	if err := a.batch(calls...); err != nil {
		a.server.Forget(token)
		return true, false, err
	}
	if err := cmp.Or(a.readWho(), a.readRest()); err != nil {
		return a.unusable(token, err)
	}
	a.askRoute, a.askConsumer = false, false
	a.data = h.data
	if !a.sealed() {
		data, err := a.balancer.BalancerData()
		if err != nil {
			return a.unusable(token, err)
		}
		if a.data = data; !sameTarget(&data, &h.data) {
			a.place.moves.Add(1)
			return a.takeBack(token, h)
		}
	}
	if role, known := a.proofs.role(a.kind); role != relays {
		if known {
			a.place.ready.Store(false)
		}
		return a.takeBack(token, h)
	}
	if !a.engine.settings.KeepBuffering && !a.mayRelease() {
		// A neighbour of ours wants to see the answer.
		if err := a.batch(a.markAsRead()); err != nil {
			a.server.Forget(token)
			return true, false, err
		}
	}
	a.send(x, h)
	return true, false, nil
}

// takeBack undoes what atOnce has set, and has the exchange looked at stepwise.
// Where Kong was about to send the request is not known when the upstream is
// sealed, so there it stays as it is.
func (a *approach) takeBack(token string, h *home) (over, again bool, err error) {
	a.server.Forget(token)
	calls := make([]*pdk.Call, 0, 4)
	if !a.sealed() {
		target := pdk.SetNginxCtxAsRead(pdk.CtxBalancerData, &a.balancer)
		calls = append(calls, &target)
		if h.data.Scheme != "http" {
			scheme := pdk.SetUpstreamScheme(h.data.Scheme)
			calls = append(calls, &scheme)
		}
	}
	forget := pdk.ClearRequestHeader(a.server.Header())
	calls = append(calls, &forget, a.markAsRead())
	if err := a.batch(calls...); err != nil {
		return true, false, err
	}
	return false, true, nil
}

// markAsRead is the call that puts the buffering mark back. One that cannot be
// read is taken for a neighbour's.
func (a *approach) markAsRead() *pdk.Call {
	call := pdk.SetNginxCtxAsRead(bufferedKey, &a.mark)
	if a.mark.Err != nil {
		call = pdk.SetNginxCtxText(bufferedKey, guardMark)
	}
	return &call
}

// unusable ends an exchange whose target is the relay already, when Kong's
// replies do not say what becomes of it there. Even one that is only monitored
// can go nowhere else.
func (a *approach) unusable(token string, err error) (over, again bool, gone error) {
	a.server.Forget(token)
	return true, false, a.end(replyFault(err))
}

// send makes the exchange the relay's. Its request may come now.
func (a *approach) send(x *expected, h *home) {
	pl := a.place
	pl.ready.Store(true)
	x.kind, x.place = a.kind, pl
	if pl.route != "" {
		a.exchange.named.Route = pl.route
	}
	a.exchange.serviceIs(pl.service, pl.serviceShown, a.engine.needs.Service)
	x.sent.Store(x.relayed(a.exchange, a.target(&a.data)))
	// The leg is the relay's, and is timed there.
	a.engine.inFlight[a.leg].Dec()
	a.ended = true
}

// stepwise asks first and sets then. An exchange that cannot be relayed goes
// through the phases, and so does one that Kong's replies say too little of: the
// phases ask again and end it as they always do.
func (a *approach) stepwise() (over bool, err error) {
	known, err := a.ask()
	if err != nil || !known {
		return err != nil, err
	}
	h := a.place.home.Load()
	if role, _ := a.proofs.role(a.kind); role == scouts {
		a.scout = &scout{approach: a, home: h}
	}
	if a.scout != nil || a.settled() {
		return false, nil
	}
	x, token := a.expect()
	calls := a.appendSet(a.appendRest(make([]*pdk.Call, 0, 8)), h, a.data.Scheme, token)
	if err := a.batch(a.appendLast(calls, a.mayRelease())...); err != nil {
		a.server.Forget(token)
		return true, err
	}
	if err := a.readRest(); err != nil {
		over, _, err := a.unusable(token, err)
		return over, err
	}
	a.send(x, h)
	return true, nil
}

// ask finds out where the exchange goes and of what kind it is, and looks
// closely at a place that is new or moves. known is false when the exchange
// cannot be relayed, or when a reply cannot be used.
func (a *approach) ask() (known bool, err error) {
	calls := make([]*pdk.Call, 0, 8)
	a.balancer, a.mark = askBalancer, askMark
	calls = a.appendWho(append(calls, &a.balancer, &a.mark))
	// An instance of no service or route learns from the replies which place it
	// is, and seldom finds a new one.
	closely := a.engine.settings.Scoped && a.looksClosely()
	if closely {
		calls = a.appendClosely(calls)
	}
	if err := a.batch(calls...); err != nil {
		return false, err
	}
	if a.data, err = a.balancer.BalancerData(); err != nil {
		return false, nil
	}
	if a.readWho() != nil {
		return false, nil
	}
	a.askRoute, a.askConsumer = false, false
	if !a.engine.settings.Scoped {
		a.place = a.placeOf(a.kind.route)
	}
	if a.settled() {
		return false, nil
	}
	if !closely {
		if !a.looksClosely() {
			h := a.place.home.Load()
			if a.sealed() || sameTarget(&a.data, &h.data) {
				a.data.Scheme = h.data.Scheme
				return true, nil
			}
			a.place.moves.Add(1)
		}
		if err := a.batch(a.appendClosely(nil)...); err != nil {
			return false, err
		}
	}
	return a.look()
}

// looksClosely reports whether what is known of the place is not enough.
func (a *approach) looksClosely() bool {
	if a.place == nil {
		return true
	}
	h := a.place.home.Load()
	return h == nil || h.address != a.address || !a.sealed() && (!h.plain || a.place.moves.Load() >= manyMoves)
}

// appendClosely appends the calls that tell all there is to know of a place.
func (a *approach) appendClosely(calls []*pdk.Call) []*pdk.Call {
	a.scheme, a.filters = pdk.NginxVar(pdk.VarUpstreamScheme), pdk.NginxCtx(pdk.CtxAIFilters)
	calls = append(calls, &a.scheme, &a.filters)
	if a.place == nil {
		a.service = pdk.NginxCtx(pdk.CtxService)
		calls = append(calls, &a.service)
		if a.engine.settings.ScopedToRoute {
			a.route = pdk.RouterRoute()
			calls = append(calls, &a.route)
		}
	}
	return calls
}

// look reads the replies, asks what can only be asked then, and notes what it
// has found of the place.
func (a *approach) look() (known bool, err error) {
	scheme, err := a.scheme.Text()
	if err != nil {
		return false, nil
	}
	filters, err := a.filters.Value()
	if err != nil {
		return false, nil
	}
	behindAI, plain := filters.Kind != pdk.ValueNil, scheme == a.data.Scheme
	a.data.Scheme = scheme
	d := policy.Destination{Scheme: scheme, Host: a.data.Host}
	pl := a.place
	if pl == nil {
		service, err := a.service.ServiceEntity()
		if err != nil {
			return false, nil
		}
		d.Protocol, d.ClientCertificate = service.Protocol, service.ClientCertificate != ""
		pl = &place{service: service.Name, serviceShown: nameOrID(service.Name, service.ID)}
		if a.engine.settings.ScopedToRoute {
			route, err := a.route.Route()
			if err != nil {
				return false, nil
			}
			pl.route = nameOrID(route.Name, route.ID)
		}
	}

	var calls []*pdk.Call
	if behindAI {
		a.ai = pdk.NginxCtx(pdk.CtxAI)
		calls = append(calls, &a.ai)
	}
	asksEntity := !a.sealed() && isName(a.data.Host) && !pl.knowsHost(a.data.Host)
	if asksEntity {
		switch a.engine.process.entities.ask(a.data.Host) {
		case askedNow:
			return false, nil // the next exchange will know
		case askedInVain:
			d.Entity, asksEntity = true, false
		case mayAsk:
			a.entity = pdk.SetUpstream(a.data.Host)
			calls = append(calls, &a.entity)
		}
	}
	if err := a.batch(calls...); err != nil {
		if asksEntity {
			a.engine.process.entities.broke(a.data.Host)
		}
		return false, err
	}
	if asksEntity {
		a.engine.process.entities.told(a.data.Host)
		// What cannot be told may be an entity.
		is, err := a.entity.Bool()
		d.Entity = is || err != nil
	}
	if behindAI {
		streams, err := a.ai.AIStreams()
		a.held = !streams || err != nil
	}

	why := a.engine.settings.NotRelayable(&d)
	if a.place == nil {
		pl.why = why
	}
	if why != "" {
		a.notRelayed(pl, why)
	} else {
		pl.home.Store(&home{
			data: a.data, plain: plain && !behindAI, address: a.address,
			redirect: redirect(a.address, &a.data, 2*eventTime(a.engine.settings.Timeout)),
		})
	}
	if a.place == nil {
		a.place = pl
		a.remember(a.placeName(), pl)
	}
	return why == "", nil
}

// placeName is the name of the exchange's place.
func (a *approach) placeName() string {
	if a.engine.settings.Scoped {
		return ""
	}
	return a.kind.route
}

// knowsHost reports whether a name is known not to be a Kong upstream entity's.
func (pl *place) knowsHost(name string) bool {
	h := pl.home.Load()
	return h != nil && h.data.Host == name
}

// sameTarget reports whether two requests go to the same place. The schemes are
// the services' own, as long as no plugin has set another.
func sameTarget(a, b *pdk.BalancerData) bool {
	return a.Host == b.Host && a.Port == b.Port && a.Scheme == b.Scheme
}

// isName reports whether a host has to be looked up.
func isName(host string) bool {
	return host != "" && net.ParseIP(strings.Trim(host, "[]")) == nil
}

// notRelayed tells operators why exchanges are not relayed.
func (p *phase) notRelayed(pl *place, why policy.RelayReason) {
	of := ""
	if pl != nil && pl.serviceShown != "" {
		of = " of service " + clean(pl.serviceShown)
	}
	p.engine.process.Notice(why == policy.RelayListener, "exchanges"+of+" go through the phases and not the relay: "+string(why))
}

// relayedLog is the access log's value of an exchange whose verdicts are still
// to come. Kong's log shows them in the answer's X-Pad header.
func relayedLog(plugin string) pdk.Call {
	var all, request pdk.Struct
	request.Text("action", "relayed")
	all.Struct("request", request)
	return pdk.SetSerializeValue("ai.guard."+plugin, all)
}

// A scout is an exchange that the phases judge and that is sent to the relay,
// which hands it on, so that it is seen whether exchanges of its kind come
// there.
type scout struct {
	*approach
	home *home

	x    *expected
	sent string // its token, "" while it has none
}

// scoutCalls returns the calls that send a scout's request to the relay, none
// for other exchanges. They go with the last batch of the phase: a scan takes
// longer than the relay waits for a request.
func (p *phase) scoutCalls() []*pdk.Call {
	s := p.scout
	if s == nil {
		return nil
	}
	s.x, s.sent = s.expect()
	s.x.scout, s.x.place, s.x.kind = true, s.place, s.kind
	p.exchange.scout = s.x
	return s.appendSet(nil, s.home, s.data.Scheme, s.sent)
}

// settleScout ends the access event of a scout: its request may come now, or
// never will.
func (p *phase) settleScout() {
	switch s := p.scout; {
	case s == nil || s.sent == "":
	case p.exited || p.gone:
		s.server.Forget(s.sent)
	default:
		s.x.sent.Store(s.x.relayed(p.exchange, s.target(&s.data)))
	}
}
