// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"kong-ai-guard/internal/contentcoding"
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
)

// A judgement is what was found out about one leg, before the configuration
// says what that means.
type judgement struct {
	outcome outcome
	// was is the outcome before the configuration let it pass unscanned.
	was outcome
	// reason is one of a fixed set of texts, "" for none.
	reason string
	// place says more than the reason: where in a body that could not be read.
	// It is for log lines only.
	place string
	// hint names the setting to look at, "" for none.
	hint       string
	retryAfter time.Duration
	// provoked is as in Failure: the outcome never passes.
	provoked bool
	verdict  scan.Verdict
	message  *llm.Message // nil when the body could not be read
	unjudged bool         // there are media that the service does not look at
	turns    []llm.Turn   // those that were judged
	picked   []int        // their places among the message's, nil for all
	latency  time.Duration
}

func ended(o outcome, reason string) judgement { return judgement{outcome: o, reason: reason} }

// The reasons that are made here.
const (
	reasonTimeout     = "timeout"
	reasonNoSlot      = "no free scan in time"
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
	reasonMedia       = "media"
)

// judge reads a body within its limit and has it scanned. It knows nothing of
// Kong; mem is the memory for the work. Caller is who counts for it, deadline
// when the event has to be over.
func (e *Engine) judge(ctx context.Context, in llm.Input, f *facts, caller string, deadline time.Time, mem memory) judgement {
	if in.Leg == llm.RequestLeg {
		in.Cut = e.claimMember
	} else {
		in.Path = f.path
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
	judged, unjudged := e.media(m)
	if len(m.Turns) == 0 && !judged {
		o := nothing
		if e.vendor.RefuseMissingPrompt && in.Leg == llm.RequestLeg && promptMissing(m, &in, f.method) {
			o = missingPrompt
		}
		return judgement{outcome: o, message: m, unjudged: unjudged}
	}
	turns, picked := m.Turns, []int(nil)
	if in.Leg == llm.RequestLeg && e.settings.Scope != llm.Everything {
		picked = m.Select(e.settings.Scope)
		turns = make([]llm.Turn, len(picked))
		for i, at := range picked {
			turns[i] = m.Turns[at]
		}
	}
	j := e.scan(ctx, m, turns, f, claim, caller, deadline)
	j.message, j.turns, j.picked, j.unjudged = m, turns, picked, unjudged
	return j
}

// media tells whether there are media that the service looks at, and whether
// there are others.
func (e *Engine) media(m *llm.Message) (judged, unjudged bool) {
	for _, part := range m.Media {
		if e.vendor.JudgesMedia != nil && e.vendor.JudgesMedia(part) {
			judged = true
		} else {
			unjudged = true
		}
	}
	return judged, unjudged
}

// mediaPass tells whether media go on that nobody has judged.
func (e *Engine) mediaPass(leg llm.Leg, j *judgement) bool {
	return j.unjudged && (e.mode(leg) == policy.Monitor || !j.outcome.refuses(leg))
}

// countMedia counts a leg that goes on with media that nobody has judged, and
// warns of the first one of the instance. It is not done when the instance
// starts: who has nothing but text would only learn to look away.
func (e *Engine) countMedia(leg llm.Leg, j *judgement) {
	if !e.mediaPass(leg, j) {
		return
	}
	e.process.metrics.Unscanned.WithLabelValues(leg.String(), reasonMedia).Inc()
	if e.warnedMedia.CompareAndSwap(false, true) {
		e.process.Notice(false, "media that the scan service does not judge pass unscanned in "+leg.String()+"s, as media_parts says; later ones are only counted")
	}
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
		return 2 * (min(max(n*int64(e.process.bounds.Ratio), contentcoding.RatioFloor), e.maxBytes(leg)) * 3 / 2)
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
		return judgement{outcome: malformed, reason: bad.Reason, place: llm.PlaceOf(err)}
	case llm.TooLarge:
		return ended(tooLarge, bad.Reason)
	default:
		return ended(unscannable, bad.Reason)
	}
}

// promptMissing tells a conversation that says nothing, or an empty object,
// from what merely holds no text, such as a notification of MCP or a call that
// makes, changes or ends something that the API keeps.
func promptMissing(m *llm.Message, in *llm.Input, method string) bool {
	if len(m.Media) > 0 || m.RPC != nil || m.Carries || keeps(in.Path) {
		return false
	}
	if !m.Chat && (method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete) {
		return false
	}
	// What an encoded body decodes to is not at hand here; one that holds
	// nothing readable in no known format is taken for an empty object.
	return m.Chat || m.Format == llm.Unknown && (in.ContentEncoding != "" || emptyObject(in.Body))
}

// kept are the collections of what APIs keep, as their paths name them, and
// what is done to a member of one.
var kept = []string{
	"conversations", "threads", "runs", "assistants", "vector_stores", "files", "uploads", "batches", "containers",
	"sessions", "client_secrets", "transcription_sessions", "evals", "jobs", "operations",
	"cachedContents", "fileSearchStores", "corpora", "tunedModels",
	"cancel", "pause", "resume",
}

// keeps reports whether a request's path goes to something that the API keeps.
func keeps(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == ':' }) {
		if slices.Contains(kept, segment) {
			return true
		}
	}
	return false
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
func (e *Engine) scan(event context.Context, m *llm.Message, turns []llm.Turn, f *facts, claim, caller string, deadline time.Time) (j judgement) {
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

	if !e.process.slots.offer(caller, 1) {
		e.process.waiting.Add(1)
		ok := e.process.slots.take(ctx, caller, 1)
		e.process.waiting.Add(-1)
		if !ok {
			return outOfTime(eventEnds || event.Err() != nil)
		}
	}
	defer e.process.slots.release(caller, 1)

	model := m.Model
	if f.request != nil && f.request.Model != "" {
		model = f.request.Model
	}
	s := &scan.Scan{
		Leg: m.Leg, Message: m, Turns: turns, Model: model,
		Identity: f.identity, Token: f.token, RequestID: f.requestID, Header: f.header, Claim: claim,
		MaxCalls: e.process.bounds.ScansPerLeg,
		Caller:   caller, FailsOpen: e.mode(m.Leg) == policy.Enforce && !e.blockFailures(m.Leg),
		Late: time.Until(until) < e.settings.Timeout/2,
	}
	if m.Leg == llm.ResponseLeg {
		s.Prompt, s.Request = f.prompt, f.request
	}
	v, err := e.scanner.Scan(ctx, s)
	if err != nil {
		j = failed(err, ctx.Err() != nil, eventEnds || event.Err() != nil)
		if j.outcome == unavailable {
			e.process.failed.Store(time.Now().UnixNano())
		}
		return j
	}
	switch v.Action {
	case scan.Allow:
		return judgement{outcome: allowed, verdict: v}
	case scan.Mask:
		return judgement{outcome: masked, verdict: v}
	case scan.Block:
		return judgement{outcome: blocked, verdict: v}
	default:
		return judgement{outcome: ownFault, reason: reasonNoAction, verdict: v}
	}
}

// outOfTime is the end of a scan that never began. It does not pass: callers
// can keep all slots busy.
func outOfTime(eventEnds bool) judgement {
	if eventEnds {
		return ended(ownFault, reasonEventTime)
	}
	return judgement{outcome: unavailable, reason: reasonNoSlot, provoked: true}
}

// failed classes an error of the scanner's.
func failed(err error, timeUp, eventEnds bool) judgement {
	if timeUp && eventEnds {
		return ended(ownFault, reasonEventTime)
	}
	var f *scan.Failure
	if !errors.As(err, &f) {
		if timeUp && errors.Is(err, context.DeadlineExceeded) {
			return ended(unavailable, reasonTimeout)
		}
		return ended(ownFault, "")
	}
	j := judgement{reason: f.Reason, hint: f.Hint, retryAfter: f.RetryAfter, provoked: f.Provoked}
	switch f.Kind {
	case scan.Unavailable:
		j.outcome = unavailable
	case scan.Degraded:
		j.outcome = degraded
	case scan.Misconfigured:
		j.outcome = misconfigured
	case scan.TooLarge:
		j.outcome, j.reason = tooLarge, reasonService
	default:
		j.outcome = ownFault
	}
	return j
}
