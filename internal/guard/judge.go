// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// A content is a body as it was read.
type content struct {
	message *llm.Message
	// turns are those of message to be judged, by the scope. picked holds their
	// places in it, nil for all.
	turns  []llm.Turn
	picked []int
	// claim is what the client claims besides the content.
	claim string
}

// readRequest reads a request as this configuration wants it: without what is
// meant for us, and only the turns in the scope.
func (e *Engine) readRequest(ctx context.Context, in llm.Input, header http.Header, allowed allowance) (content, error) {
	in.Cut, in.Mirrors = e.claimMember, llm.Mirrors(header)
	m, err := llm.ReadContext(ctx, in, e.limits(llm.RequestLeg, allowed))
	if err != nil {
		return content{}, err
	}
	c := content{message: m, claim: e.claim(m, header)}
	c.turns, c.picked = e.inScope(m)
	return c, nil
}

// inScope returns the turns that are to be judged and their places, nil for all.
func (e *Engine) inScope(m *llm.Message) (turns []llm.Turn, picked []int) {
	if m.Leg == llm.ResponseLeg || e.settings.Scope == llm.Everything {
		return m.Turns, nil
	}
	picked = m.Select(e.settings.Scope)
	turns = make([]llm.Turn, len(picked))
	for i, at := range picked {
		turns[i] = m.Turns[at]
	}
	return turns, picked
}

// read reads a body of either leg.
func (e *Engine) read(ctx context.Context, in llm.Input, x *exchange, allowed allowance) (c content, err error) {
	if in.Leg == llm.RequestLeg {
		if c, err = e.readRequest(ctx, in, x.header, allowed); err == nil {
			e.leaveOutKnown(&c, x)
		}
	} else {
		in.Path = x.path
		if c.message, err = llm.ReadContext(ctx, in, e.limits(in.Leg, allowed)); err == nil {
			c.turns, c.claim = c.message.Turns, x.claim
		}
	}
	return c, err
}

// judge reads a body within its limit and lets the service scan it. It knows
// nothing of Kong.
func (e *Engine) judge(ctx context.Context, in llm.Input, x *exchange, allowed allowance) policy.Finding {
	c, f, ok := e.prepare(ctx, in, x, allowed)
	e.countBody(in.Leg, len(in.Body), c.message)
	if !ok {
		return f
	}
	return e.ask(ctx, &c, f, x, allowed)
}

// prepare reads a body. It is not ok when that settles the leg without a scan.
func (e *Engine) prepare(ctx context.Context, in llm.Input, x *exchange, allowed allowance) (c content, f policy.Finding, ok bool) {
	c, err := e.read(ctx, in, x, allowed)
	switch {
	case errors.Is(err, errNoRoom):
		return c, policy.Ended(policy.NoRoom, ""), false
	case err != nil:
		return c, policy.Unreadable(err), false
	}
	f, ok = policy.BeforeScan(&e.vendor, &e.settings, &in, c.message, x.method)
	f.Claim = c.claim
	return c, f, ok
}

// ask lets the service scan what was read. before is what reading found.
func (e *Engine) ask(ctx context.Context, c *content, before policy.Finding, x *exchange, allowed allowance) policy.Finding {
	f := e.scan(ctx, c, x, allowed)
	if f.Outcome == policy.Allowed && !f.Verdict.Partial {
		e.keepKnown(c, x)
	}
	f.Message, f.Turns, f.Picked, f.Unjudged, f.Claim = c.message, c.turns, c.picked, before.Unjudged, c.claim
	return f
}

// An allowance is what judging one body may use.
type allowance struct {
	// caller is who counts for it, "" while nobody knows.
	caller string
	// until is when the event has to be over.
	until time.Time
	// held is the memory that was set aside for reading and scanning. more asks
	// for more of it, and is nil where memory is not counted.
	held int64
	more func(bytes int64) error
}

// limits are what reading one body may cost.
func (e *Engine) limits(leg llm.Leg, allowed allowance) llm.Limits {
	return llm.Limits{
		DecodedBytes: e.settings.MaxBytes(leg), Ratio: int64(e.process.bounds.Ratio), Depth: e.process.bounds.JSONDepth,
		Held: allowed.held + uncounted, Grow: allowed.more, Until: allowed.until,
	}
}

// uncounted is the memory that an exchange takes besides its body without
// asking, as it takes a stack. Most bodies need no more.
const uncounted = 32 << 10

// workingMemory returns about what reading and scanning a body takes besides
// the body itself: its texts once, and once more on the way to the service, and
// the index of its values. Reading asks for what it takes beyond that.
func (e *Engine) workingMemory(in *llm.Input) int64 {
	n := int64(len(in.Body))
	if in.ContentEncoding != "" {
		// It can unfold to this much, and is then held itself.
		return 2 * (min(max(n*int64(e.process.bounds.Ratio), contentcoding.RatioFloor), e.settings.MaxBytes(in.Leg)) * 3 / 2)
	}
	return 2*n + max(0, llm.IndexBytes(in.Body)-uncounted)
}

// scan asks the service for a verdict, within the scan's time and the event's,
// whichever ends first. The wait for a slot is part of it.
func (e *Engine) scan(event context.Context, c *content, x *exchange, allowed allowance) (f policy.Finding) {
	m, start := c.message, time.Now()
	until := start.Add(e.settings.Timeout)
	eventEnds := allowed.until.Before(until)
	if eventEnds {
		until = allowed.until
	}
	ends := deadline.New(event, until)
	defer ends.Release()
	ctx, span := e.process.Tracer.Start(ends, spanScan, start, true)
	scans := 0
	defer func() {
		f.Scans = scans
		showFinding(span, &f)
		span.End()
		f.Latency = time.Since(start)
		e.scanSeconds[m.Leg].Observe(f.Latency.Seconds())
	}()

	late := until.Sub(start) < e.settings.Timeout/2
	if !e.process.slots.offer(allowed.caller, 1) {
		e.process.waiting.Add(1)
		ok := e.process.slots.take(ctx, allowed.caller, 1)
		e.process.waiting.Add(-1)
		if !ok {
			return policy.OutOfTime(eventEnds || event.Err() != nil)
		}
		late = time.Until(until) < e.settings.Timeout/2
	}
	defer e.process.slots.release(allowed.caller, 1)

	model := m.Model
	if x.request != nil && x.request.Model != "" {
		model = x.request.Model
	}
	s := &scan.Scan{
		Leg: m.Leg, Message: m, Turns: c.turns, Model: model,
		Identity: x.identity, Token: x.token, RequestID: x.requestID, Header: x.header, Claim: c.claim,
		MaxCalls: e.process.bounds.ScansPerLeg,
		Caller:   allowed.caller, FailsOpen: e.settings.Mode(m.Leg) == policy.Enforce && !e.settings.BlockFailuresOf(m.Leg),
		Late: late,
	}
	if m.Leg == llm.ResponseLeg {
		s.Prompt, s.Request = x.prompt, x.request
	}
	apart := e.separate(s, c.picked)
	scans = 1
	v, err := e.scanner.Scan(ctx, s)
	if err != nil {
		f = policy.Failed(err, ctx.Err() != nil, eventEnds || event.Err() != nil)
		if f.Outcome == policy.Unavailable {
			e.process.failed.Store(time.Now().UnixNano())
		}
		return f
	}
	if apart != nil {
		v.Masked = apart.Restore(v.Masked)
	}
	switch v.Action {
	case scan.Allow:
		return policy.Finding{Outcome: policy.Allowed, Verdict: v}
	case scan.Mask:
		return policy.Finding{Outcome: policy.Masked, Verdict: v}
	case scan.Block:
		return policy.Finding{Outcome: policy.Blocked, Verdict: v}
	default:
		return policy.Finding{Outcome: policy.OwnFault, Reason: policy.ReasonNoAction, Verdict: v}
	}
}

// separate takes the scaffolding of clients out of what users say, where that is
// wanted. It returns nil where none of the texts to be judged had any.
func (e *Engine) separate(s *scan.Scan, picked []int) *llm.Separated {
	if !e.settings.StripScaffolding {
		return nil
	}
	if s.Leg == llm.ResponseLeg {
		var known *llm.Message // it is gone
		if before := known.Separate(s.Prompt, nil); before != nil {
			s.Prompt = before.Turns
		}
		return nil
	}
	apart := s.Message.Separate(s.Turns, picked)
	if apart != nil {
		s.Turns = apart.Turns
	}
	return apart
}
