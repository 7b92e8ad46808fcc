// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"net/http"
	"net/netip"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// identityCalls are the calls for the parts of the identity that scans need
// and, where a leg is monitored, for those that its log line names.
type identityCalls struct {
	service, route, consumer, clientIP           pdk.Call
	askService, askRoute, askConsumer, askClient bool
}

// askIdentity makes those calls that are needed.
func (p *phase) askIdentity(c *identityCalls) {
	e, x := p.engine, p.exchange
	named := e.settings.MonitorsAny()
	if e.needs.Service || named {
		if name := e.service.Load(); name != nil {
			x.serviceIs(*name, *name, e.needs.Service)
		} else {
			c.askService, c.service = true, pdk.RouterService()
		}
	}
	if named {
		if name := e.route.Load(); name != nil {
			x.named.Route = *name
		} else {
			c.askRoute, c.route = true, pdk.RouterRoute()
		}
	}
	if e.needs.Consumer || named {
		if known := e.consumer.Load(); known != nil {
			x.consumerIs(*known, e.needs.Consumer)
		} else {
			c.askConsumer, c.consumer = true, pdk.ClientConsumer()
		}
	}
	if e.needs.ClientIP && !e.settings.SkipClientIP {
		c.askClient, c.clientIP = true, pdk.ClientForwardedIP()
	}
}

// serviceIs and consumerIs note a part of the identity. needed says that scans
// want it.
func (x *exchange) serviceIs(name, shown string, needed bool) {
	x.named.Service = shown
	if needed {
		x.identity.Service = name
	}
}

func (x *exchange) consumerIs(c scan.Consumer, needed bool) {
	x.named.Consumer = c
	if needed {
		x.identity.Consumer = c
	}
}

func (c *identityCalls) appendTo(calls []*pdk.Call) []*pdk.Call {
	if c.askService {
		calls = append(calls, &c.service)
	}
	if c.askRoute {
		calls = append(calls, &c.route)
	}
	if c.askConsumer {
		calls = append(calls, &c.consumer)
	}
	if c.askClient {
		calls = append(calls, &c.clientIP)
	}
	return calls
}

// identify reads the replies. It is an error when scans need an identity that
// cannot be read: a policy may depend on it. A log line does without.
func (p *phase) identify(c *identityCalls) error {
	e, x := p.engine, p.exchange
	if c.askService {
		s, err := c.service.Service()
		if err != nil && e.needs.Service {
			return err
		}
		x.serviceIs(s.Name, nameOrID(s.Name, s.ID), e.needs.Service)
		if e.settings.Scoped && s.Name != "" {
			name := s.Name
			e.service.Store(&name)
		}
	}
	if c.askRoute {
		if r, err := c.route.Route(); err == nil {
			x.named.Route = nameOrID(r.Name, r.ID)
			if e.settings.ScopedToRoute && r.Name != "" {
				name := r.Name
				e.route.Store(&name)
			}
		}
	}
	if c.askConsumer {
		consumer, err := c.consumer.Consumer()
		if err != nil && e.needs.Consumer {
			return err
		}
		x.consumerIs(scan.Consumer(consumer), e.needs.Consumer)
		if known := scan.Consumer(consumer); e.settings.ScopedToConsumer && known != (scan.Consumer{}) {
			e.consumer.Store(&known)
		}
	}
	if c.askClient {
		ip, err := c.clientIP.Text()
		if err != nil {
			return err
		}
		x.identity.ClientIP = ip
	}
	if e.needs.Consumer || e.settings.MonitorsAny() { // else nobody has asked whether there is one
		p.own(callerOf(cmp.Or(x.identity.Consumer.ID, x.named.Consumer.ID), x.identity.ClientIP))
	}
	return nil
}

// verifiedTokenKey is where Kong's jwt plugin leaves the token that it has
// verified, in the context that the plugins of a request share. Clients cannot
// write there.
const verifiedTokenKey = "authenticated_jwt_token"

var askVerifiedToken = pdk.CtxShared(verifiedTokenKey)

// verifiedToken returns the request's bearer token if it is the one that Kong
// has verified. That there is a consumer, or a credential of another kind, says
// nothing about a token that is sent along.
func verifiedToken(shared *pdk.Call, h http.Header) (string, error) {
	verified, err := shared.Value()
	if err != nil || verified.Kind != pdk.ValueText {
		return "", err
	}
	return carriedToken(verified.Text, h), nil
}

// What the process has is shared out among callers. A caller is the consumer
// that Kong has authenticated, else the client's address as Kong takes it from
// trusted proxies. Learning who it is costs Kong's worker two calls. Where the
// scan does not need them, they are made only while it matters: while half or
// more of something is taken, or shortly after a scan has failed.

// remembersFailure is how long after a failed scan callers are told apart. It
// is longer than a breaker stays open.
const remembersFailure = time.Minute

// callerOf names a caller, "" if nothing is known of him. It takes only the
// network of an IPv6 address, because everybody has as many addresses as he
// likes.
func callerOf(consumer, address string) string {
	if consumer != "" {
		return "consumer " + consumer
	}
	if address == "" {
		return ""
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return "address " + address
	}
	network, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return "address " + address
	}
	return "address " + network.String()
}

// pressed reports whether it matters who takes what.
func (p *Process) pressed() bool {
	if p.Room.shares.tight.Load() || p.work.shares.tight.Load() || p.slots.tight.Load() ||
		p.monitor.items.tight.Load() || p.monitor.bytes.tight.Load() {
		return true
	}
	failed := p.failed.Load()
	return failed != 0 && time.Since(time.Unix(0, failed)) < remembersFailure
}

// knowCaller finds out who the caller is, if that matters. The error is
// pdk.ErrGone; a reply that cannot be read leaves him unknown.
func (p *phase) knowCaller() error {
	if p.caller != "" || !p.engine.process.pressed() {
		return nil
	}
	if known := p.engine.consumer.Load(); known != nil && known.ID != "" {
		p.own(callerOf(known.ID, ""))
		return nil
	}
	consumer, address := pdk.ClientConsumer(), pdk.ClientForwardedIP()
	if err := p.batch(&consumer, &address); err != nil {
		return err
	}
	who, err := consumer.Consumer()
	if err != nil {
		return nil
	}
	ip, err := address.Text()
	if err != nil {
		ip = ""
	}
	p.own(callerOf(who.ID, ip))
	return nil
}

// own notes who the caller is once that is known, and tells Kong's side.
func (p *phase) own(caller string) {
	if p.caller != "" || caller == "" {
		return
	}
	p.run.own(caller)
	p.kong.Own(caller)
}
