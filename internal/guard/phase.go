// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/tracing"
)

// Kong is what the engine needs of the gateway during one event.
type Kong interface {
	// Batch sends all calls at once and reads their replies in order, each
	// into its Call. The error is pdk.ErrGone: Kong runs the event again or
	// ends the exchange itself, so nothing is left to be done.
	Batch(calls ...*pdk.Call) error
	// Own says which caller the memory of this event's replies counts for, also
	// of those that were read before.
	Own(caller string)
	// Exit answers the client. In the access phase it never comes back with
	// an answer of Kong's; nothing can be called after it in either phase.
	Exit(status int, header http.Header, body []byte) error
}

// A phase is one leg of an exchange while Kong waits for it: one event.
type phase struct {
	engine   *Engine
	ctx      context.Context
	kong     Kong
	leg      llm.Leg
	start    time.Time
	exchange *exchange
	span     tracing.Span

	// inKong is set while a call to Kong runs. A panic in there may leave the
	// connection out of step, and only its owner can close it.
	inKong bool
	// exited is set once the client has its answer.
	exited bool
	// guarded is set once nothing of the request can keep Kong from showing
	// us the answer.
	guarded bool
	// held and working are what the phase has taken of the room for bodies and
	// of the room for work. queued is what it has reserved of the monitor queue
	// and not used yet, -1 for none.
	held, working, queued int64
	// caller is whom that counts for, "" while nobody knows: see knowCaller.
	caller string
	// scout is set when the exchange shows whether its kind can be relayed.
	scout *scout
}

func (e *Engine) phase(ctx context.Context, k Kong, leg llm.Leg) *phase {
	e.inFlight[leg].Inc()
	return &phase{engine: e, ctx: ctx, kong: k, leg: leg, start: time.Now(), exchange: &exchange{}, queued: -1}
}

// batch sends calls. The error is pdk.ErrGone: the event is over.
func (p *phase) batch(calls ...*pdk.Call) error {
	if len(calls) == 0 {
		return nil
	}
	p.inKong = true
	err := p.kong.Batch(calls...)
	p.inKong = false
	if err != nil {
		return pdk.ErrGone
	}
	return nil
}

// exit answers the client.
func (p *phase) exit(status int, header http.Header, body []byte) {
	p.exited, p.inKong = true, true
	// An error means that Kong is gone, and the client with it.
	_ = p.kong.Exit(status, header, body)
	p.inKong = false
}

// done ends the event. It hands back what was taken and, after a panic of ours,
// ends the exchange by policy.
func (p *phase) done() {
	v := recover()
	defer p.span.End()
	process := p.engine.process
	p.engine.inFlight[p.leg].Dec()
	p.engine.legSeconds[p.leg].Observe(time.Since(p.start).Seconds())
	process.Room.Release(p.caller, p.held)
	process.work.Release(p.caller, p.working)
	if p.queued >= 0 {
		process.monitor.unreserve(p.caller, p.queued)
	}
	if v == nil {
		return
	}
	process.panics.recovered(v)
	if p.inKong {
		panic(v)
	}
	if p.exited || !p.mustRefuseFault() {
		return
	}
	defer func() {
		if again := recover(); again != nil {
			process.panics.recovered(again)
			panic(again) // no answer can be made: Kong has to see an error
		}
	}()
	_ = p.end(policy.Ended(policy.OwnFault, policy.ReasonPanic))
}

// mustRefuseFault reports whether a fault of ours in this leg ends the
// exchange. It does when the leg is enforced. In the access phase it also does
// when the answer is enforced and nothing has shown yet that Kong will let us
// see it.
func (p *phase) mustRefuseFault() bool {
	s := &p.engine.settings
	return s.Mode(p.leg) == policy.Enforce ||
		p.leg == llm.RequestLeg && s.ResponseMode == policy.Enforce && !p.guarded
}

// holdWork takes the memory for reading and scanning a body until the event
// ends. Reading gets more of it, if there is any, when the body needs more. The
// error is errNoRoom.
func (p *phase) holdWork(in *llm.Input) (allowance, error) {
	n := p.engine.workingMemory(in)
	if err := p.engine.process.work.Reserve(p.ctx, p.caller, n); err != nil {
		return allowance{}, err
	}
	p.working += n
	return allowance{caller: p.caller, until: p.engine.deadline(p.start), held: n, more: p.moreWork}, nil
}

func (p *phase) moreWork(n int64) error {
	if err := p.engine.process.work.Try(p.caller, n); err != nil {
		return err
	}
	p.working += n
	return nil
}

// replyFault is the finding of a reply of Kong's that cannot be used.
func replyFault(err error) policy.Finding {
	switch {
	case errors.Is(err, pdk.ErrTooLarge):
		return policy.Ended(policy.TooLarge, "")
	case errors.Is(err, pdk.ErrNoRoom):
		return policy.Ended(policy.NoRoom, "")
	default:
		return policy.Ended(policy.OwnFault, policy.ReasonKongReply)
	}
}
