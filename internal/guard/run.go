// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"slices"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// A run is one leg of an exchange while it is dealt with, whoever carries it:
// a phase of Kong's, or the relay.
type run struct {
	engine   *Engine
	ctx      context.Context
	leg      llm.Leg
	by       transport
	start    time.Time
	exchange *exchange
	span     tracing.Span
	ended    bool
	// released is how many characters had gone out before the leg was cut.
	released int
	// took is how long the leg took and characters how much was judged, for one
	// that operators are told of later, when its content is gone.
	took       time.Duration
	characters int

	// held and working are what the leg has taken of the room for bodies and
	// of the room for work. queued is what it has reserved of the monitor queue
	// and not used yet, -1 for none.
	held, working, queued int64
	// caller is whom that counts for, "" while nobody knows.
	caller string
}

func (e *Engine) run(ctx context.Context, leg llm.Leg, by transport, x *exchange) run {
	e.inFlight[leg].Inc()
	return run{engine: e, ctx: ctx, leg: leg, by: by, start: time.Now(), exchange: x, queued: -1}
}

// stop says that nobody waits for the leg any more.
func (p *run) stop() {
	if p.ended {
		return
	}
	p.ended = true
	p.span.End()
	p.engine.inFlight[p.leg].Dec()
	p.engine.legSeconds[p.leg].Observe(time.Since(p.start).Seconds())
}

// giveBack hands back what the leg has taken.
func (p *run) giveBack() {
	process := p.engine.process
	process.Room.Release(p.caller, p.held)
	process.work.Release(p.caller, p.working)
	if p.queued >= 0 {
		process.monitor.unreserve(p.caller, p.queued)
	}
	p.held, p.working, p.queued = 0, 0, -1
}

// own notes who the caller is once that is known. What the leg has taken so
// far counts for him.
func (p *run) own(caller string) {
	p.caller = caller
	p.engine.process.Room.Move("", caller, p.held)
	p.engine.process.work.Move("", caller, p.working)
}

// trace makes the leg part of the caller's trace, and passes the trace on to
// the scan service. The answer's leg belongs to the request's trace.
func (p *run) trace() {
	e, x := p.engine, p.exchange
	if p.leg == llm.RequestLeg {
		p.ctx = tracing.Join(p.ctx, x.header)
	} else {
		p.ctx = tracing.In(p.ctx, x.trace)
	}
	p.ctx, p.span = e.process.Tracer.Start(p.ctx, spanLeg[p.leg], p.start, false)
	if p.leg == llm.RequestLeg {
		x.trace = tracing.Parent(p.ctx)
	}
	if p.span.Recorded() {
		p.span.Set("ai_guard.plugin", e.vendor.Plugin)
		p.span.Set("ai_guard.mode", string(e.settings.Mode(p.leg)))
		p.span.Set("kong.request_id", telemetry.Clean(x.requestID))
	}
}

// holdWork takes the memory for reading and scanning a body until the leg
// ends. Reading gets more of it, if there is any, when the body needs more. The
// error is errNoRoom.
func (p *run) holdWork(in *llm.Input) (allowance, error) {
	n := p.engine.workingMemory(in)
	if err := p.engine.process.work.Reserve(p.ctx, p.caller, n); err != nil {
		return allowance{}, err
	}
	p.working += n
	return allowance{caller: p.caller, until: p.engine.deadline(p.start), held: n, more: p.moreWork}, nil
}

func (p *run) moreWork(n int64) error {
	if err := p.engine.process.work.Try(p.caller, n); err != nil {
		return err
	}
	p.working += n
	return nil
}

// judgeRequest judges an enforced request.
func (p *run) judgeRequest(b *body) policy.Finding {
	read, f, allowed, ok := p.prepareRequest(b)
	if ok {
		f = p.engine.ask(p.ctx, &read, f, p.exchange, allowed)
	}
	return f
}

// prepareRequest reads an enforced request. It is not ok when that settles the
// leg without a scan.
func (p *run) prepareRequest(b *body) (read content, f policy.Finding, allowed allowance, ok bool) {
	if f, ok = p.engine.beforeReading(b); !ok {
		return read, f, allowed, false
	}
	allowed, err := p.holdWork(&b.in)
	if err != nil {
		return read, policy.Ended(policy.NoRoom, ""), allowed, false
	}
	read, f, ok = p.engine.prepare(p.ctx, b.in, p.exchange, allowed)
	p.engine.countBody(b.in.Leg, len(b.in.Body), read.message)
	return read, f, allowed, ok
}

// judgeAnswer judges an enforced answer.
func (p *run) judgeAnswer(a *answer) policy.Finding {
	e := p.engine
	f, ok := e.beforeReading(&a.body)
	if !ok && f.Outcome != policy.TooLarge {
		return f
	}
	if err := p.knowRequest(); err != nil {
		return policy.Ended(policy.NoRoom, "")
	}
	a.in.Request = p.exchange.request
	allowed := allowance{until: e.deadline(p.start)}
	if ok {
		var err error
		if allowed, err = p.holdWork(&a.in); err != nil {
			return policy.Ended(policy.NoRoom, "")
		}
	}
	if a.ask == nil && e.passesError(p.ctx, a.status, &a.in, nil, allowed) {
		return policy.Ended(policy.Unscanned, policy.ReasonErrorAnswer)
	}
	var read content
	small := ok
	if small {
		read, f, ok = e.prepare(p.ctx, a.in, p.exchange, allowed)
	}
	if !ok || !isAnswered(read.message) {
		if ended, passes := p.passesAsError(a, read.message, allowed); passes {
			return ended
		}
	}
	if small {
		e.countBody(a.in.Leg, len(a.in.Body), read.message)
	}
	if !ok {
		return f
	}
	if f = e.ask(p.ctx, &read, f, p.exchange, allowed); f.Outcome == policy.Allowed {
		return f
	}
	if ended, passes := p.passesAsError(a, read.message, allowed); passes {
		return ended
	}
	return f
}

// passesAsError asks for the status of an answer that went without it so far,
// and reports whether that ends the leg: the answer is an upstream's error, or
// Kong does not say. read is what was read of the answer, nil if it cannot be.
func (p *run) passesAsError(a *answer, read *llm.Message, allowed allowance) (f policy.Finding, ends bool) {
	if a.ask == nil {
		return f, false
	}
	if err := a.knowStatus(); err != nil {
		return replyFault(err), true
	}
	if p.engine.passesError(p.ctx, a.status, &a.in, read, allowed) {
		return policy.Ended(policy.Unscanned, policy.ReasonErrorAnswer), true
	}
	return f, false
}

// isAnswered reports whether a model says something in an answer. One that does
// is scanned before its status is asked for, since errors seldom look like that:
// if the scan allows it, its status makes no difference.
func isAnswered(m *llm.Message) bool {
	return slices.ContainsFunc(m.Turns, func(t llm.Turn) bool {
		switch t.Kind {
		case llm.KindText, llm.KindReasoning, llm.KindToolCall:
			return t.Role == llm.RoleAssistant && (t.Message >= 0 || m.ID != "") // {"message":"..."} is mostly an error
		default:
			return false
		}
	})
}

// knowRequest reads the request of an answer if its body was kept for that. The
// error is errNoRoom.
func (p *run) knowRequest() error {
	if p.exchange.unread == nil {
		return nil
	}
	in := p.exchange.unreadInput()
	allowed, err := p.holdWork(&in)
	if err != nil {
		return err
	}
	p.exchange = p.engine.know(p.ctx, p.exchange, allowed)
	return nil
}

// decide returns what becomes of an enforced leg, and counts the leg when it
// passes unscanned.
func (p *run) decide(f policy.Finding) policy.Decision {
	e, x := p.engine, p.exchange.known()
	d := policy.Decide(&e.vendor, &e.settings, p.leg, &x, f)
	if d.Outcome == policy.Unscanned && f.Outcome != policy.Unscanned {
		e.process.metrics.Unscanned.WithLabelValues(p.leg.String(), d.Was.String()).Inc()
	}
	return d
}

// refusal ends a leg with the finding, whatever its mode.
func (p *run) refusal(f policy.Finding) policy.Decision {
	e, x := p.engine, p.exchange.known()
	return policy.Refuse(&e.vendor, &e.settings, p.leg, &x, f)
}

// report is how the leg ended, for the access log.
func (p *run) report(f *policy.Finding) policy.Report {
	return f.Report(&p.engine.settings, p.leg, p.elapsed())
}

// elapsed is how long the leg took, or has taken so far.
func (p *run) elapsed() time.Duration {
	if p.took > 0 {
		return p.took
	}
	return time.Since(p.start)
}

// count notes how the leg ended. A monitored one is counted when it is judged.
func (p *run) count(f *policy.Finding) {
	if f.Outcome != policy.Pending {
		p.engine.count(p.leg, f)
	}
	showFinding(p.span, f)
}
