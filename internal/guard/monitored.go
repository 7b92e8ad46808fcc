// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"context"
	"time"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
	"kong-ai-guard/internal/tracing"
)

// reserveMonitored makes room in the queue for a monitored leg, if there is
// something to judge and it may be judged. Nothing here ends an exchange.
func (p *run) reserveMonitored(b *body) policy.Finding {
	e, x, in := p.engine, p.exchange, &b.in
	if f, ok := e.beforeReading(b); !ok {
		if f.Outcome == policy.Nothing {
			return f
		}
		return p.unmonitored(f)
	}
	// The work is paid for here too: if it came out of the room of the
	// exchanges that wait, monitoring could end one of those.
	size := int64(len(in.Body)) + e.workingMemory(in) + jobOverhead
	if x.unread != nil {
		unread := x.unreadInput()
		size += e.workingMemory(&unread)
	}
	f := policy.Ended(policy.Pending, "")
	if e.process.monitor.reserve(p.caller, size) {
		p.queued = size
	} else {
		f = policy.Ended(policy.Unscanned, policy.ReasonQueueFull)
	}
	if answerToo := p.leg == llm.RequestLeg && e.settings.ResponseMode != policy.Off; answerToo || f.Outcome == policy.Pending {
		if !b.own {
			in.Body = bytes.Clone(in.Body)
		}
		if answerToo {
			// Reading it now would hold up the exchange.
			x.unread = &unreadBody{contentType: in.ContentType, contentEncoding: in.ContentEncoding, bytes: in.Body}
		}
	}
	return f
}

// unmonitored counts a monitored leg that cannot be judged.
func (p *run) unmonitored(f policy.Finding) policy.Finding {
	e := p.engine
	text := e.vendor.LogPrefix + " monitored " + p.leg.String() + " not judged: " + f.Outcome.String()
	e.process.notices.add(policy.Warning, text, text)
	f.Was, f.Outcome = f.Outcome, policy.Unscanned
	return f
}

// submit hands the leg to the queue, where its place is reserved. It comes last
// in an event, because Kong may run an event again when it lost the connection.
func (p *run) submit(in llm.Input, status int) {
	size := p.queued
	p.queued = -1
	p.engine.process.monitor.put(&job{engine: p.engine, by: p.by, input: in, status: status, exchange: p.exchange, caller: p.caller, size: size})
}

// judgeMonitored judges a leg whose exchange has gone on. When the service is
// away, the leg is to be judged again. wait is how long the service asked us to
// stay away.
func (e *Engine) judgeMonitored(ctx context.Context, j *job) (o jobOutcome, wait time.Duration) {
	start := time.Now()
	leg, x := j.input.Leg, j.exchange
	// The place in the queue was for this much.
	allowed := allowance{caller: j.caller, until: e.deadline(start), held: e.workingMemory(&j.input), more: j.more}
	if leg == llm.ResponseLeg {
		if x.unread != nil {
			unread, forRequest := x.unreadInput(), allowed
			forRequest.held = e.workingMemory(&unread)
			x = e.know(ctx, x, forRequest)
		}
		j.input.Request = x.request
	}
	if leg == llm.ResponseLeg && e.passesError(ctx, j.status, &j.input, allowed) {
		e.legs[leg][policy.Unscanned].Inc()
		f := policy.Ended(policy.Unscanned, policy.ReasonErrorAnswer)
		j.record(&f, x, start)
		return jobSent, 0
	}
	f := e.judge(tracing.In(ctx, x.trace), j.input, x, allowed)
	s := f.Severity()
	switch {
	case s == policy.Warning:
		verb := " would be refused"
		if f.Outcome == policy.Allowed {
			verb = " would pass with findings"
		}
		e.process.notices.add(s, "", e.line(leg, verb, &f, x.requestID, &x.named, time.Since(start)))
	case s == policy.Failure:
		// Without what differs from exchange to exchange. Whatever else hangs
		// on the same setting is the same trouble to an operator.
		e.process.notices.add(s, f.Outcome.String()+" "+f.Hint, e.text("monitored exchange without a verdict", "", &policy.Finding{
			Outcome: f.Outcome, Reason: f.Reason, Hint: f.Hint,
		}, "", &scan.Identity{}, 0))
	}
	if f.Outcome == policy.Unavailable {
		j.reason = f.Reason
		return jobAgain, f.RetryAfter // counted when it ends
	}
	e.count(leg, &f)
	j.record(&f, x, start)
	e.countMedia(leg, &f)
	if s == policy.Failure {
		return jobFailed, 0
	}
	return jobSent, 0
}

// giveUp counts a leg that there is no time to try again.
func (e *Engine) giveUp(j *job) {
	f := policy.Ended(policy.Unavailable, j.reason)
	f.Scans = j.tries + 1
	e.count(j.input.Leg, &f)
	j.record(&f, j.exchange, time.Now())
}
