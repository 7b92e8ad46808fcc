// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// A beside is the scan of a request that Kong sends on meanwhile. The exchange's
// record leads from the answer's event to it, and nothing of the answer goes out
// before its decision.
type beside struct {
	// run is the request's leg. It has its own copy of the exchange, and what
	// the scan takes of the room.
	run    *run
	cancel context.CancelFunc
	// ended is closed when decision is known.
	ended    chan struct{}
	decision policy.Decision
	// taken says that somebody tells operators of the leg, or that nobody shall.
	taken atomic.Bool
}

// unclaimedAfter is how long what operators have to know of a request waits for
// the answer's event, which can say it best.
const unclaimedAfter = 30 * time.Second

// scanBeside begins the scan of a request that was read, and returns at once.
// The work's memory is the scan's from now on.
func (p *run) scanBeside(read content, before policy.Finding, allowed allowance) *beside {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.ctx))
	leg := *p
	leg.ctx, leg.ended, leg.held, leg.queued, leg.released = ctx, true, 0, -1, 0
	known := *p.exchange
	leg.exchange = &known
	p.working, p.span = 0, tracing.Span{}
	// The event's replies are gone when it ends.
	read.message.Detach()
	b := &beside{run: &leg, cancel: cancel, ended: make(chan struct{})}
	go b.scan(&read, before, allowed)
	return b
}

func (b *beside) scan(read *content, before policy.Finding, allowed allowance) {
	defer b.cancel()
	allowed.more = nil // reading is over
	b.settle(b.run.decideBeside(read, before, allowed))
	b.run.span.End()
	close(b.ended)
	if b.decision.Severity() != policy.Quiet && !b.taken.Load() {
		time.AfterFunc(unclaimedAfter, b.tell)
	}
}

// settle notes the decision, and hands back what the leg has taken. What is
// left waits for the answer's event, so it has to be small.
func (b *beside) settle(d policy.Decision) {
	if d.Refusal != nil {
		d.Refusal.Paid()
	}
	for i := range d.Turns {
		b.run.characters += utf8.RuneCountInString(d.Turns[i].Text)
	}
	if d.Message != nil {
		d.Message = outline(d.Message)
	}
	d.Body, d.Turns, d.Picked = nil, nil, nil
	b.run.took = max(time.Since(b.run.start), 1) // 0 stands for not known
	b.run.giveBack()
	b.decision = d
}

// decideBeside scans a request that is on its way to the upstream already.
func (p *run) decideBeside(read *content, before policy.Finding, allowed allowance) (d policy.Decision) {
	defer func() {
		if v := recover(); v != nil {
			p.engine.process.panics.recovered(v)
			d = p.refusal(policy.Ended(policy.OwnFault, policy.ReasonPanic))
		}
	}()
	return p.decide(policy.Beside(p.engine.ask(p.ctx, read, before, p.exchange, allowed)))
}

// take makes the caller the one who tells of the leg. False means that somebody
// else has.
func (b *beside) take() bool { return b.taken.CompareAndSwap(false, true) }

// tell says how the leg ended where no event of the exchange does. The scan has
// ended.
func (b *beside) tell() {
	defer func() {
		if v := recover(); v != nil {
			b.run.engine.process.panics.recovered(v)
		}
	}()
	if b.take() {
		b.run.note(&b.decision.Finding)
	}
}

// forsake says that the answer's event will not ask for the decision: it never
// came, or the request is judged once more. A scan that still runs is broken
// off.
func (b *beside) forsake() {
	if b == nil {
		return
	}
	select {
	case <-b.ended:
		b.tell()
	default:
		b.taken.Store(true)
		b.cancel()
	}
}

// await waits for the decision.
func (b *beside) await(ctx context.Context) policy.Decision {
	select {
	case <-b.ended:
	case <-ctx.Done():
		select {
		case <-b.ended:
		default:
			d := b.run.refusal(policy.Ended(policy.OwnFault, policy.ReasonEventTime))
			d.Refusal.Paid()
			return d
		}
	}
	return b.decision
}

// goesBeside reports whether a request that was read goes on while it is
// scanned. It does only if an event of ours holds its answer back, and can be
// led to the verdict.
func (p *phase) goesBeside(in *incoming, read *content) bool {
	s := &p.engine.settings
	return s.ScansBeside() && p.exchange.requestID != "" && policy.GoesBeside(p.exchange.method, &in.in, read.message) &&
		policy.PlanAnswer(s, &in.head, &in.in, read.message) == policy.ScanAnswer
}

// enforceRequest judges the request, or begins to, and lets it go on or ends
// it. The error is pdk.ErrGone.
func (p *phase) enforceRequest(in *incoming) error {
	read, f, allowed, ok := p.prepareRequest(&in.body)
	if ok && p.goesBeside(in, &read) {
		return p.letGoBeside(in, read, f, allowed)
	}
	if ok {
		f = p.engine.ask(p.ctx, &read, f, p.exchange, allowed)
	}
	d := p.decide(f)
	if d.Refusal != nil {
		return p.refuse(d)
	}
	if d.Message != nil {
		p.exchange.claim = d.Claim
	}
	return p.letGo(in, d)
}

// letGoBeside lets the request go on and begins its scan. The error is
// pdk.ErrGone.
func (p *phase) letGoBeside(in *incoming, read content, before policy.Finding, allowed allowance) error {
	pending := policy.Ended(policy.Pending, "")
	pending.Message, pending.Turns, pending.Claim = read.message, read.turns, read.claim
	p.exchange.claim = read.claim
	scan := p.scanBeside(read, before, allowed)
	p.exchange.beside = scan
	if err := p.letGo(in, policy.Decision{Finding: pending}); err != nil {
		scan.forsake() // Kong runs the event again, or nobody waits
		return err
	}
	return nil
}

// scanAgain judges a request of which nobody knows whether it was. It may have
// gone on beside a scan that is forgotten.
func (p *phase) scanAgain(in *body) *beside {
	leg := p.run
	leg.leg, leg.ended, leg.held, leg.working, leg.queued, leg.span = llm.RequestLeg, true, 0, 0, -1, tracing.Span{}
	defer leg.giveBack()
	b := &beside{run: &leg, ended: make(chan struct{})}
	b.settle(leg.decide(policy.Beside(leg.judgeRequest(in))))
	close(b.ended)
	return b
}

// admit waits for the verdict of a request that has gone on without. over says
// that it has ended the exchange. The error is pdk.ErrGone.
func (p *phase) admit() (over bool, err error) {
	b := p.exchange.beside
	if b == nil {
		return false, nil
	}
	d := b.await(p.ctx)
	first := b.take()
	if d.Refusal != nil {
		return true, p.refuseFor(b.run, d, first)
	}
	p.exchange.access = b.run.report(&d.Finding)
	if !first {
		return false, nil
	}
	e := p.engine
	e.countMedia(llm.RequestLeg, &d.Finding)
	if s := d.Severity(); s != policy.Quiet {
		var line pdk.Call
		if err := p.writeLine(&line, b.run, s, &d.Finding); err != nil {
			return false, err
		}
		if err := p.batch(&line); err != nil {
			return false, err
		}
	}
	p.countFor(b.run, &d.Finding)
	return false, nil
}
