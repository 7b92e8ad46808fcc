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

// reserveMonitored makes place in the queue for a monitored leg, if there is
// something to judge and it may be judged. Nothing here ends an exchange.
func (x *exchange) reserveMonitored(in *llm.Input, ownBody bool, fault error) judgement {
	e := x.engine
	switch {
	case fault != nil:
		return x.unmonitored(replyFault(fault))
	case len(in.Body) == 0:
		return ended(nothing, "")
	case int64(len(in.Body)) > e.maxBytes(x.leg):
		return x.unmonitored(ended(tooLarge, ""))
	}
	// The work is paid for here too: if it came out of the room of the
	// exchanges that wait, monitoring could end one of those.
	size := int64(len(in.Body)) + e.workingMemory(x.leg, in.Body, in.ContentEncoding) + jobOverhead
	if u := x.facts.unread; u != nil {
		size += e.workingMemory(llm.RequestLeg, u.bytes, u.contentEncoding)
	}
	j := ended(pending, "")
	if e.process.monitor.reserve(x.caller, size) {
		x.queued = size
	} else {
		j = ended(unscanned, reasonQueueFull)
	}
	if answer := x.leg == llm.RequestLeg && e.settings.ResponseMode != policy.Off; answer || j.outcome == pending {
		if !ownBody {
			in.Body = bytes.Clone(in.Body)
		}
		if answer {
			// Reading it now would hold up the exchange.
			x.facts.unread = &unreadBody{contentType: in.ContentType, contentEncoding: in.ContentEncoding, bytes: in.Body}
		}
	}
	return j
}

// unmonitored counts a monitored leg that cannot be judged.
func (x *exchange) unmonitored(j judgement) judgement {
	e := x.engine
	text := e.vendor.LogPrefix + " monitored " + x.leg.String() + " not judged: " + rules[j.outcome].name
	e.process.notices.add(warning, text, text)
	j.was, j.outcome = j.outcome, unscanned
	return j
}

// submit hands the leg to the queue, where it has its place. It comes last in
// an event: Kong may run one again whose connection it lost.
func (x *exchange) submit(in llm.Input, status int) {
	size := x.queued
	x.queued = -1
	x.engine.process.monitor.put(&job{engine: x.engine, input: in, status: status, facts: x.facts, caller: x.caller, size: size})
}

// judgeMonitored judges a leg whose exchange has gone on. When the service is
// away it is to be judged again; wait is how long it asked us to stay away.
func (e *Engine) judgeMonitored(ctx context.Context, j *job) (o jobOutcome, wait time.Duration) {
	start := time.Now()
	leg, f, deadline := j.input.Leg, j.facts, e.deadline(start)
	// The place in the queue was for this much.
	mem := memory{held: e.workingMemory(leg, j.input.Body, j.input.ContentEncoding), more: j.more}
	if leg == llm.ResponseLeg {
		if u := f.unread; u != nil {
			f = e.know(ctx, f, deadline, memory{held: e.workingMemory(llm.RequestLeg, u.bytes, u.contentEncoding), more: j.more})
		}
		j.input.Request = f.request
	}
	if leg == llm.ResponseLeg && e.passesError(ctx, j.status, &j.input, deadline, mem) {
		e.legs[leg][unscanned].Inc()
		return jobSent, 0
	}
	found := e.judge(tracing.In(ctx, f.trace), j.input, f, j.caller, deadline, mem)
	s := found.severity()
	switch {
	case s == warning:
		verb := " would be refused"
		if found.outcome == allowed {
			verb = " would pass with findings"
		}
		e.process.notices.add(s, "", e.line(leg, verb, &found, f.requestID, &f.named, time.Since(start)))
	case s == failure:
		// Without what differs from exchange to exchange. Whatever else hangs
		// on the same setting is the same trouble to an operator.
		e.process.notices.add(s, rules[found.outcome].name+" "+found.hint, e.text("monitored exchange without a verdict", "", &judgement{
			outcome: found.outcome, reason: found.reason, hint: found.hint,
		}, "", &scan.Identity{}, 0))
	}
	if found.outcome == unavailable {
		j.reason = found.reason
		return jobAgain, found.retryAfter // counted when it ends
	}
	e.count(leg, &found)
	e.countMedia(leg, &found)
	if s == failure {
		return jobFailed, 0
	}
	return jobSent, 0
}

// giveUp counts a leg that there is no time to try again.
func (e *Engine) giveUp(j *job) {
	e.count(j.input.Leg, &judgement{outcome: unavailable, reason: j.reason})
}
