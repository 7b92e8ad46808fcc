// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// reserveMonitored makes room in the queue for a monitored leg, if there is
// something to judge and it may be judged. Nothing here ends an exchange.
func (p *run) reserveMonitored(b *body) policy.Finding {
	e, x, in := p.engine, p.exchange, &b.in
	if most := e.settings.MaxBytes(in.Leg); b.fault == nil && int64(len(in.Body)) > most {
		in.Body, b.cut = in.Body[:most], true
	}
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
func (p *run) submit(b *body, status int) {
	size := p.queued
	p.queued = -1
	p.engine.process.monitor.put(&job{engine: p.engine, by: p.by, input: b.in, cut: b.cut, status: status, exchange: p.exchange, caller: p.caller, size: size})
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
	if leg == llm.ResponseLeg && e.passesError(ctx, j.status, &j.input, nil, allowed) {
		e.legs[leg][policy.Unscanned].Inc()
		f := policy.Ended(policy.Unscanned, policy.ReasonErrorAnswer)
		j.record(&f, x, start)
		return jobSent, 0
	}
	ctx = tracing.In(ctx, x.trace)
	f := policy.Ended(policy.TooLarge, "")
	if !j.cut {
		f = e.judge(ctx, j.input, x, allowed)
	}
	if f.Unread() {
		if shown := e.judgeShown(ctx, &f, j.input, x, allowed); shown.Outcome == policy.Unavailable {
			j.reason = shown.Reason
			return jobAgain, shown.RetryAfter
		} else if shown.Severity() == policy.Failure {
			e.noteFailure(&shown)
		}
		f.Verdict.Partial = f.Verdict.Partial || j.cut
	}
	s := f.Severity()
	switch {
	case s == policy.Warning:
		verb := " would be refused"
		if f.Outcome == policy.Allowed {
			verb = " would pass with findings"
		}
		e.process.notices.add(s, "", e.line(leg, verb, &f, x.requestID, &x.named, time.Since(start)))
	case s == policy.Failure:
		e.noteFailure(&f)
	}
	if f.Outcome == policy.Unavailable {
		j.reason = f.Reason
		return jobAgain, f.RetryAfter // counted when it ends
	}
	e.count(leg, &f)
	j.record(&f, x, start)
	e.countMedia(leg, &f)
	if f.Shown != policy.Undecided {
		e.process.metrics.Shown.WithLabelValues(leg.String(), f.Shown.String()).Inc()
		s = max(s, f.Shown.Severity())
	}
	if s == policy.Failure {
		return jobFailed, 0
	}
	return jobSent, 0
}

// noteFailure tells operators of a scan that gave no verdict, without what
// differs from exchange to exchange. Whatever else hangs on the same setting is
// the same trouble to them.
func (e *Engine) noteFailure(f *policy.Finding) {
	e.process.notices.add(policy.Failure, f.Outcome.String()+" "+f.Hint, e.text("monitored exchange without a verdict", "", &policy.Finding{
		Outcome: f.Outcome, Reason: f.Reason, Hint: f.Hint,
	}, "", &scan.Identity{}, 0))
}

// judgeShown lets the service scan what a leg shows that enforcing would refuse
// unread, and adds to the finding what came of it. It returns what was found of
// that alone: nothing, where nothing looks like text.
func (e *Engine) judgeShown(ctx context.Context, f *policy.Finding, in llm.Input, x *exchange, allowed allowance) policy.Finding {
	m := f.Message
	if m == nil {
		in.Path = x.path
		if in.Leg == llm.RequestLeg {
			in.Mirrors = llm.Mirrors(x.header)
		}
		var err error
		if m, err = llm.ReadLoosely(ctx, in, e.limits(in.Leg, allowed)); err != nil {
			shown := policy.Ended(policy.NoRoom, "")
			if !errors.Is(err, errNoRoom) {
				shown = policy.Unreadable(err)
			}
			f.Shown = shown.Outcome
			return shown
		}
	}
	c := content{message: m, claim: x.claim}
	if in.Leg == llm.RequestLeg {
		c.claim = e.claim(m, x.header)
	}
	if c.turns, _ = e.inScope(m); len(c.turns) == 0 {
		return policy.Ended(policy.Nothing, "")
	}
	shown := e.scanWhatFits(ctx, &c, x, allowed)
	f.Shown, f.Verdict, f.Latency = shown.Outcome, shown.Verdict, shown.Latency
	f.Scans += shown.Scans
	f.Verdict.Partial = shown.Verdict.Partial || m.Partial
	return shown
}

// leastShown is the shortest text that is tried when the service takes no more,
// in bytes.
const leastShown = 1 << 10

// scanWhatFits scans as much from the beginning of a leg as the service takes.
func (e *Engine) scanWhatFits(ctx context.Context, c *content, x *exchange, allowed allowance) policy.Finding {
	size := 0
	for i := range c.turns {
		size += len(c.turns[i].Text)
	}
	cut := false
	for {
		f := e.scan(ctx, c, x, allowed)
		f.Verdict.Partial = f.Verdict.Partial || cut
		if f.Outcome != policy.TooLarge || size <= leastShown {
			return f
		}
		size, cut = size/2, true
		c.turns = firstBytes(c.turns, size)
	}
}

// firstBytes returns the turns that n bytes of text are enough for. Of the last
// one it may be the beginning.
func firstBytes(turns []llm.Turn, n int) []llm.Turn {
	var first []llm.Turn
	for _, t := range turns {
		if len(t.Text) > n {
			for n > 0 && !utf8.RuneStart(t.Text[n]) {
				n--
			}
			t.Text = t.Text[:n]
		}
		if t.Text == "" {
			break
		}
		n -= len(t.Text)
		first = append(first, t)
	}
	return first
}

// giveUp counts a leg that there is no time to try again.
func (e *Engine) giveUp(j *job) {
	f := policy.Ended(policy.Unavailable, j.reason)
	f.Scans = j.tries + 1
	e.count(j.input.Leg, &f)
	j.record(&f, j.exchange, time.Now())
}
