// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"context"
	"errors"
	"time"

	"kong-ai-guard/internal/llm"
)

// A judgement is what was found out about one leg, before the configuration
// says what that means.
type judgement struct {
	outcome outcome
	// was is the outcome before the configuration let it pass unscanned.
	was outcome
	// reason is one of a fixed set of texts, "" for none.
	reason string
	// hint names the setting to look at, "" for none.
	hint       string
	retryAfter time.Duration
	verdict    Verdict
	message    *llm.Message // nil when the body could not be read
	turns      []llm.Turn   // those that were judged
	picked     []int        // their places among the message's, nil for all
	latency    time.Duration
}

func ended(o outcome, reason string) judgement { return judgement{outcome: o, reason: reason} }

// The reasons that are made here.
const (
	reasonTimeout     = "timeout"
	reasonEventTime   = "event deadline"
	reasonGRPC        = "gRPC"
	reasonHeaders     = "too many headers"
	reasonTwice       = "repeated header"
	reasonPanic       = "panic"
	reasonKongReply   = "unreadable reply of the gateway"
	reasonBodyFile    = "unreadable body file"
	reasonNoAction    = "verdict without an action"
	reasonMask        = "mask without a certain place"
	reasonEarlyMask   = "mask before the scan of another plugin"
	reasonErrorAnswer = "error answer"
	reasonEventStream = "event stream by GET"
	reasonStream      = "monitored stream"
	reasonPassed      = "stream that is not to be scanned"
	reasonQueueFull   = "monitor queue full"
	reasonService     = "content over the limit of the service"
)

// judge reads a body within its limit and has it scanned. It knows nothing of
// Kong and of modes; mem is the memory for the work. Deadline is when the event
// has to be over.
func (e *Engine) judge(ctx context.Context, in llm.Input, f *facts, deadline time.Time, mem memory) judgement {
	if in.Leg == llm.RequestLeg {
		in.Cut = e.claimMember
	}
	m, err := llm.ReadContext(ctx, in, e.limits(in.Leg, deadline, mem))
	e.countBody(in.Leg, len(in.Body), m)
	if err != nil {
		return unreadable(err)
	}
	claim := f.claim
	if in.Leg == llm.RequestLeg {
		claim = e.claim(m, f.header)
	}
	if e.settings.BlockMedia && len(m.Media) > 0 {
		return judgement{outcome: mediaRefused, message: m}
	}
	if len(m.Turns) == 0 && (len(m.Media) == 0 || !e.vendor.JudgesMedia) {
		o := nothing
		if e.vendor.RefuseMissingPrompt && in.Leg == llm.RequestLeg && promptMissing(m, &in) {
			o = missingPrompt
		}
		return judgement{outcome: o, message: m}
	}
	turns, picked := m.Turns, []int(nil)
	if in.Leg == llm.RequestLeg && e.settings.Scope != llm.Everything {
		picked = m.Select(e.settings.Scope)
		turns = make([]llm.Turn, len(picked))
		for i, at := range picked {
			turns[i] = m.Turns[at]
		}
	}
	j := e.scan(ctx, m, turns, f, claim, deadline)
	j.message, j.turns, j.picked = m, turns, picked
	return j
}

// rewrites tells whether the body has to become another one.
func (j *judgement) rewrites() bool {
	return j.outcome == masked || j.message != nil && j.message.Cut != nil
}

// replaced is the judged body as it is to go on: with the verdict's masks in
// it and without what was cut out of it. An error means that the places of
// masks are not certain.
func replaced(j *judgement) ([]byte, error) {
	if j.outcome != masked {
		return j.message.Replace(nil)
	}
	masks := make([]llm.Replacement, len(j.verdict.Masked))
	for i, m := range j.verdict.Masked {
		if m.Turn < 0 || m.Turn >= len(j.turns) {
			return nil, llm.ErrNotCertain
		}
		if j.picked != nil {
			m.Turn = j.picked[m.Turn]
		}
		masks[i] = m
	}
	if len(masks) == 0 {
		return nil, llm.ErrNotCertain
	}
	return j.message.Replace(masks)
}

// limits are what reading one body may cost.
func (e *Engine) limits(leg llm.Leg, deadline time.Time, mem memory) llm.Limits {
	return llm.Limits{
		DecodedBytes: e.maxBytes(leg), Ratio: int64(e.process.bounds.Ratio), Depth: e.process.bounds.JSONDepth,
		Held: mem.held + uncounted, Grow: mem.more, Until: deadline,
	}
}

// A memory is what was set aside for reading and scanning a body, and how to
// get more; more is nil where memory is not counted.
type memory struct {
	held int64
	more func(bytes int64) error
}

// uncounted is what an exchange takes beside its body without asking, as it
// takes a stack: most bodies need no more.
const uncounted = 32 << 10

// workingMemory is about what reading and scanning a body takes beside the
// body itself: its texts once, and once more on the way to the service, and the
// index of its values. What reading takes beyond that it asks for.
func (e *Engine) workingMemory(leg llm.Leg, body []byte, encoding string) int64 {
	n := int64(len(body))
	if encoding != "" {
		// It can unfold to this much, and is then held itself.
		return 2 * (min(n*int64(e.process.bounds.Ratio), e.maxBytes(leg)) * 3 / 2)
	}
	return 2*n + max(0, llm.IndexBytes(body)-uncounted)
}

func unreadable(err error) judgement {
	var bad *llm.Error
	switch {
	case errors.Is(err, errNoRoom):
		return ended(noRoom, "")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return ended(ownFault, reasonEventTime)
	case !errors.As(err, &bad):
		return ended(ownFault, "")
	}
	switch bad.Class {
	case llm.Malformed:
		return ended(malformed, bad.Reason)
	case llm.TooLarge:
		return ended(tooLarge, bad.Reason)
	default:
		return ended(unscannable, bad.Reason)
	}
}

// promptMissing tells a conversation that says nothing, or an empty object,
// from what merely holds no text, such as a notification of MCP.
func promptMissing(m *llm.Message, in *llm.Input) bool {
	if len(m.Media) > 0 || m.RPC != nil {
		return false
	}
	// What an encoded body decodes to is not at hand here; one that holds
	// nothing readable in no known format is taken for an empty object.
	return m.Chat || m.Format == llm.Unknown && (in.ContentEncoding != "" || emptyObject(in.Body))
}

func emptyObject(body []byte) bool {
	const space = " \t\r\n"
	inner, ok := bytes.CutPrefix(bytes.Trim(body, space), []byte{'{'})
	if !ok {
		return false
	}
	inner, ok = bytes.CutSuffix(inner, []byte{'}'})
	return ok && len(bytes.Trim(inner, space)) == 0
}

// scan asks the service for a verdict, within the scan's time and the event's,
// whichever ends first. The wait for a slot is part of it.
func (e *Engine) scan(event context.Context, m *llm.Message, turns []llm.Turn, f *facts, claim string, deadline time.Time) (j judgement) {
	start := time.Now()
	until := start.Add(e.settings.Timeout)
	eventEnds := deadline.Before(until)
	if eventEnds {
		until = deadline
	}
	ctx, cancel := context.WithDeadline(event, until)
	defer cancel()
	ctx, span := e.process.Tracer.Start(ctx, spanScan, start, true)
	defer func() {
		j.describe(span)
		span.End()
		j.latency = time.Since(start)
		e.scanSeconds[m.Leg].Observe(j.latency.Seconds())
	}()

	select {
	case e.process.slots <- struct{}{}:
	default:
		e.process.waiting.Add(1)
		select {
		case e.process.slots <- struct{}{}:
			e.process.waiting.Add(-1)
		case <-ctx.Done():
			e.process.waiting.Add(-1)
			return outOfTime(eventEnds || event.Err() != nil)
		}
	}
	defer func() { <-e.process.slots }()

	model := m.Model
	if f.request != nil && f.request.Model != "" {
		model = f.request.Model
	}
	s := &Scan{
		Leg: m.Leg, Message: m, Turns: turns, Model: model,
		Identity: f.identity, Token: f.token, RequestID: f.requestID, Header: f.header, Claim: claim,
		MaxCalls: e.process.bounds.ScansPerLeg,
	}
	if m.Leg == llm.ResponseLeg {
		s.Prompt, s.Request = f.prompt, f.request
	}
	v, err := e.scanner.Scan(ctx, s)
	if err != nil {
		return failed(err, ctx.Err() != nil, eventEnds || event.Err() != nil)
	}
	switch v.Action {
	case Allow:
		return judgement{outcome: allowed, verdict: v}
	case Mask:
		return judgement{outcome: masked, verdict: v}
	case Block:
		return judgement{outcome: blocked, verdict: v}
	default:
		return judgement{outcome: ownFault, reason: reasonNoAction, verdict: v}
	}
}

func outOfTime(eventEnds bool) judgement {
	if eventEnds {
		return ended(ownFault, reasonEventTime)
	}
	return ended(unavailable, reasonTimeout)
}

// failed classes an error of the scanner's.
func failed(err error, timeUp, eventEnds bool) judgement {
	if timeUp && eventEnds {
		return ended(ownFault, reasonEventTime)
	}
	var f *Failure
	if !errors.As(err, &f) {
		if timeUp && errors.Is(err, context.DeadlineExceeded) {
			return ended(unavailable, reasonTimeout)
		}
		return ended(ownFault, "")
	}
	j := judgement{reason: f.Reason, hint: f.Hint, retryAfter: f.RetryAfter}
	switch f.Kind {
	case Unavailable:
		j.outcome = unavailable
	case Degraded:
		j.outcome = degraded
	case Misconfigured:
		j.outcome = misconfigured
	case TooLarge:
		j.outcome, j.reason = tooLarge, reasonService
	default:
		j.outcome = ownFault
	}
	return j
}
