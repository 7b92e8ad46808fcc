// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
	"kong-ai-guard/internal/tracing"
)

// An exchange is one event: one leg of an exchange while Kong waits for it.
type exchange struct {
	engine *Engine
	ctx    context.Context
	kong   Kong
	leg    llm.Leg
	start  time.Time
	facts  *facts
	span   tracing.Span

	// inKong is set while a call to Kong runs: a panic in there may leave the
	// connection out of step, and only its owner can close it.
	inKong bool
	// exited is set once the client has its answer.
	exited bool
	// guarded is set once nothing of the request can keep Kong from showing
	// us the answer.
	guarded bool
	// held and working are what the exchange has taken of the room for
	// bodies and of the one for work; queued is what it has reserved of the
	// monitor queue and not used yet, -1 for none.
	held, working, queued int64
	// caller is whom that counts for, "" while nobody knows: see callers.go.
	caller string
}

func (e *Engine) exchange(ctx context.Context, k Kong, leg llm.Leg) *exchange {
	e.inFlight[leg].Inc()
	return &exchange{engine: e, ctx: ctx, kong: k, leg: leg, start: time.Now(), facts: &facts{}, queued: -1}
}

// batch sends calls. False means that the connection is of no more use and
// the event is over: Kong runs it again or ends the exchange itself.
func (x *exchange) batch(calls ...*pdk.Call) bool {
	if len(calls) == 0 {
		return true
	}
	x.inKong = true
	err := x.kong.Batch(calls...)
	x.inKong = false
	return err == nil
}

// exit answers the client.
func (x *exchange) exit(status int, header http.Header, body []byte) {
	x.exited, x.inKong = true, true
	// An error means that Kong is gone, and the client with it.
	_ = x.kong.Exit(status, header, body)
	x.inKong = false
}

// done ends the event: it gives back what was taken, and after a panic of
// ours ends the exchange by policy.
func (x *exchange) done() {
	v := recover()
	defer x.span.End()
	x.engine.inFlight[x.leg].Dec()
	x.engine.legSeconds[x.leg].Observe(time.Since(x.start).Seconds())
	x.engine.process.Room.Release(x.caller, x.held)
	x.engine.process.work.Release(x.caller, x.working)
	if x.queued >= 0 {
		x.engine.process.monitor.unreserve(x.caller, x.queued)
	}
	if v == nil {
		return
	}
	x.engine.process.panics.recovered(v)
	if x.inKong {
		panic(v)
	}
	if x.exited || !x.mustRefuseFault() {
		return
	}
	defer func() {
		if again := recover(); again != nil {
			x.engine.process.panics.recovered(again)
			panic(again) // no answer can be made: Kong has to see an error
		}
	}()
	x.refuse(ended(ownFault, reasonPanic))
}

// mustRefuseFault tells whether a fault of ours in this leg ends the exchange:
// when the leg is enforced, and in the access phase also when the answer is
// and nothing has shown yet that Kong will let us see it.
func (x *exchange) mustRefuseFault() bool {
	e := x.engine
	return e.mode(x.leg) == policy.Enforce ||
		x.leg == llm.RequestLeg && e.settings.ResponseMode == policy.Enforce && !x.guarded
}

// holdWork takes the memory for reading and scanning a body until the event
// ends. Reading gets more of it, if there is, when the body takes more.
func (x *exchange) holdWork(leg llm.Leg, body []byte, encoding string) (memory, bool) {
	n := x.engine.workingMemory(leg, body, encoding)
	if x.engine.process.work.Reserve(x.ctx, x.caller, n) != nil {
		return memory{}, false
	}
	x.working += n
	return memory{held: n, more: x.moreWork}, true
}

func (x *exchange) moreWork(n int64) error {
	if err := x.engine.process.work.Try(x.caller, n); err != nil {
		return err
	}
	x.working += n
	return nil
}

// identityCalls are the calls for the parts of the identity that scans need
// and, where a leg is monitored, for those that its log line names.
type identityCalls struct {
	service, route, consumer, clientIP           pdk.Call
	askService, askRoute, askConsumer, askClient bool
}

func (x *exchange) identityCalls() (c identityCalls) {
	e, f := x.engine, x.facts
	named := e.settings.MonitorsAny()
	if e.vendor.NeedsService || named {
		if name := e.service.Load(); name != nil {
			f.serviceIs(*name, *name, e.vendor.NeedsService)
		} else {
			c.askService, c.service = true, pdk.RouterService()
		}
	}
	if named {
		if name := e.route.Load(); name != nil {
			f.named.Route = *name
		} else {
			c.askRoute, c.route = true, pdk.RouterRoute()
		}
	}
	if e.vendor.NeedsConsumer || named {
		if known := e.consumer.Load(); known != nil {
			f.consumerIs(*known, e.vendor.NeedsConsumer)
		} else {
			c.askConsumer, c.consumer = true, pdk.ClientConsumer()
		}
	}
	if e.vendor.NeedsClientIP && !e.settings.SkipClientIP {
		c.askClient, c.clientIP = true, pdk.ClientForwardedIP()
	}
	return c
}

// serviceIs and consumerIs note a part of the identity; needed tells that
// scans want it.
func (f *facts) serviceIs(name, shown string, needed bool) {
	f.named.Service = shown
	if needed {
		f.identity.Service = name
	}
}

func (f *facts) consumerIs(c scan.Consumer, needed bool) {
	f.named.Consumer = c
	if needed {
		f.identity.Consumer = c
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

// identify reads the replies. An identity that scans need and that cannot be
// read is an error: a policy may hang on it. A log line goes without.
func (x *exchange) identify(c *identityCalls) error {
	e, f := x.engine, x.facts
	if c.askService {
		s, err := c.service.Service()
		if err != nil && e.vendor.NeedsService {
			return err
		}
		f.serviceIs(s.Name, nameOrID(s.Name, s.ID), e.vendor.NeedsService)
		if e.settings.Scoped && s.Name != "" {
			e.service.Store(&s.Name)
		}
	}
	if c.askRoute {
		if r, err := c.route.Route(); err == nil {
			f.named.Route = nameOrID(r.Name, r.ID)
			if e.settings.ScopedToRoute && r.Name != "" {
				e.route.Store(&r.Name)
			}
		}
	}
	if c.askConsumer {
		consumer, err := c.consumer.Consumer()
		if err != nil && e.vendor.NeedsConsumer {
			return err
		}
		known := scan.Consumer(consumer)
		f.consumerIs(known, e.vendor.NeedsConsumer)
		if e.settings.ScopedToConsumer && known != (scan.Consumer{}) {
			e.consumer.Store(&known)
		}
	}
	if c.askClient {
		ip, err := c.clientIP.Text()
		if err != nil {
			return err
		}
		f.identity.ClientIP = ip
	}
	if e.vendor.NeedsConsumer || e.settings.MonitorsAny() { // else nobody has asked whether there is one
		x.own(callerOf(cmp.Or(f.identity.Consumer.ID, f.named.Consumer.ID), f.identity.ClientIP))
	}
	return nil
}

// replyFault classes a reply that cannot be used.
func replyFault(err error) judgement {
	switch {
	case errors.Is(err, pdk.ErrTooLarge):
		return ended(tooLarge, "")
	case errors.Is(err, pdk.ErrNoRoom):
		return ended(noRoom, "")
	default:
		return ended(ownFault, reasonKongReply)
	}
}
