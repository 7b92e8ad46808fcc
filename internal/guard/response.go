// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"context"
	"time"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/policy"
)

// An answer is what the response phase read.
type answer struct {
	in     llm.Input
	status int
	// fault is a reply that could not be used, nil for none.
	fault error
}

// response runs the response phase.
func (x *exchange) response() {
	e := x.engine
	a := &answer{}
	if e.process.Room.shares.tight.Load() && !x.knowCaller() || !x.readAnswer(a) {
		return
	}
	if f := e.process.records.take(e.vendor.Plugin, x.facts.requestID); f != nil {
		x.facts = f
		if f.released {
			return // the phase runs for another plugin's sake
		}
		x.own(f.caller)
	} else if a.fault == nil {
		var ok bool
		if a.fault, ok = x.readAgain(); !ok {
			return
		}
	}
	a.in.Path = x.facts.path
	x.trace()
	if !x.knowCaller() {
		return
	}

	if e.settings.ResponseMode == policy.Monitor {
		j := x.reserveMonitored(&a.in, false, a.fault)
		if x.finishResponse(j) && j.outcome == pending {
			x.submit(a.in, a.status)
		}
		return
	}
	j := x.settle(x.judgeAnswer(a))
	switch {
	case j.outcome == masked:
		x.maskAnswer(a, j)
	case j.outcome.refuses(x.leg):
		x.refuse(j)
	default:
		x.finishResponse(j)
	}
}

// readAnswer reads the upstream's answer in one batch. It is false when Kong
// is gone.
func (x *exchange) readAnswer(a *answer) bool {
	body, status := pdk.UpstreamRawBody(), pdk.UpstreamStatus()
	contentType, contentEncoding := pdk.UpstreamHeader("Content-Type"), pdk.UpstreamHeader("Content-Encoding")
	id := pdk.NginxVar("kong_request_id")
	if !x.batch(&id, &body, &status, &contentType, &contentEncoding) {
		return false
	}
	a.in.Leg = llm.ResponseLeg
	a.fault = func() (err error) {
		if x.facts.requestID, err = id.Text(); err != nil {
			return err
		}
		if a.status, err = status.Int(); err != nil {
			return err
		}
		if a.in.ContentType, err = contentType.Text(); err != nil {
			return err
		}
		if a.in.ContentEncoding, err = contentEncoding.Text(); err != nil {
			return err
		}
		a.in.Body, err = body.Bytes()
		return err
	}()
	return true
}

// readAgain reads the request a second time, when what was known of it is
// gone. Its headers are left alone: Kong can show another request's in this
// phase. It is not ok when Kong is gone.
func (x *exchange) readAgain() (err error, ok bool) {
	line, body := pdk.NginxVar("request"), pdk.RequestRawBody()
	who := x.identityCalls()
	calls := append(make([]*pdk.Call, 0, 5), &line)
	reads := x.engine.settings.RequestMode != policy.Off
	if reads {
		calls = append(calls, &body)
	}
	if !x.batch(who.appendTo(calls)...) {
		return nil, false
	}
	request, err := line.Text()
	if err != nil {
		return err, true
	}
	x.facts.method, x.facts.path, _ = requestLine(request)
	if err := x.identify(&who); err != nil {
		return err, true
	}
	if reads {
		// The prompt is a help for judging the answer, and no more: without
		// it the answer is judged alone.
		if b, own, err := x.readBody(&body); err == nil && len(b) > 0 && int64(len(b)) <= x.engine.settings.MaxRequestBytes {
			if !own {
				b = bytes.Clone(b)
			}
			x.facts.unread = &unreadBody{bytes: b}
		}
	}
	return nil, true
}

// judgeAnswer judges an enforced answer.
func (x *exchange) judgeAnswer(a *answer) judgement {
	e := x.engine
	switch {
	case a.fault != nil:
		return replyFault(a.fault)
	case len(a.in.Body) == 0: // 204, 304, the answer to a HEAD
		return ended(nothing, "")
	}
	deadline := e.deadline(x.start)
	if u := x.facts.unread; u != nil {
		mem, ok := x.holdWork(llm.RequestLeg, u.bytes, u.contentEncoding)
		if !ok {
			return ended(noRoom, "")
		}
		x.facts = e.know(x.ctx, x.facts, deadline, mem)
	}
	a.in.Request = x.facts.request
	var mem memory
	over := int64(len(a.in.Body)) > e.settings.MaxResponseBytes
	if !over {
		var ok bool
		if mem, ok = x.holdWork(x.leg, a.in.Body, a.in.ContentEncoding); !ok {
			return ended(noRoom, "")
		}
	}
	switch {
	case e.passesError(x.ctx, a.status, &a.in, deadline, mem):
		return ended(unscanned, reasonErrorAnswer)
	case over:
		return ended(tooLarge, "")
	}
	return e.judge(x.ctx, a.in, x.facts, x.caller, deadline, mem)
}

// passesError tells, and counts, an upstream's error that goes to the client
// as it is.
func (e *Engine) passesError(ctx context.Context, status int, in *llm.Input, deadline time.Time, mem memory) bool {
	if status < 400 || e.settings.ScanErrorAnswers || e.isMCP(ctx, in, deadline, mem) {
		return false
	}
	e.process.metrics.Unscanned.WithLabelValues(llm.ResponseLeg.String(), reasonErrorAnswer).Inc()
	return true
}

// isMCP tells whether an error answer goes to an agent that will read it.
func (e *Engine) isMCP(ctx context.Context, in *llm.Input, deadline time.Time, mem memory) bool {
	if in.Request != nil {
		return in.Request.RPC != nil
	}
	if int64(len(in.Body)) > e.settings.MaxResponseBytes {
		return false
	}
	m, err := llm.ReadContext(ctx, *in, e.limits(llm.ResponseLeg, deadline, mem))
	return err == nil && m.RPC != nil
}

// know gives the facts with the request read, if its body was kept for that.
// The facts themselves stay as they are: a monitored leg may be reading them.
func (e *Engine) know(ctx context.Context, f *facts, deadline time.Time, mem memory) *facts {
	if f.unread == nil {
		return f
	}
	known := *f
	known.unread = nil
	m, err := llm.ReadContext(ctx, llm.Input{
		Leg: llm.RequestLeg, Path: f.path, Body: f.unread.bytes,
		ContentType: f.unread.contentType, ContentEncoding: f.unread.contentEncoding,
		Cut: e.claimMember,
	}, e.limits(llm.RequestLeg, deadline, mem))
	if err != nil {
		return &known
	}
	known.claim = e.claim(m, f.header)
	known.request = outline(m)
	if e.vendor.KeepPrompt {
		known.prompt = m.Turns
		if e.settings.Scope != llm.Everything {
			known.prompt = nil
			for _, i := range m.Select(e.settings.Scope) {
				known.prompt = append(known.prompt, m.Turns[i])
			}
		}
	}
	return &known
}

// maskAnswer gives the client the answer with the verdict's masks in it. To
// do that ends the phase for every later plugin, so it is done only when none
// of ours has to look at the answer still.
func (x *exchange) maskAnswer(a *answer, j judgement) {
	e := x.engine
	if !e.settings.AllowEarlyMask {
		mark := pdk.NginxCtx(bufferedKey)
		if !x.batch(&mark) {
			return
		}
		if v, err := mark.Value(); err != nil || !e.vendor.Masks || v.Kind != pdk.ValueText || v.Text != e.ownMark() {
			j.outcome, j.reason = blocked, reasonEarlyMask
			x.refuse(j)
			return
		}
	}
	body, err := replaced(&j)
	if err != nil {
		j.outcome, j.reason = blocked, reasonMask
		x.refuse(j)
		return
	}
	report := x.report(j)
	calls := append(appendCalls(x.marks(llm.ResponseLeg), pdk.ClearBodyHeaders()), answerHeaders(&j)...)
	if x.conclude(j, calls, true, &x.facts.access, &report) {
		x.exit(a.status, nil, body)
	}
}

// finishResponse lets the answer go on as it is.
func (x *exchange) finishResponse(j judgement) bool {
	report := x.report(j)
	return x.conclude(j, append(x.marks(llm.ResponseLeg), answerHeaders(&j)...), true, &x.facts.access, &report)
}
