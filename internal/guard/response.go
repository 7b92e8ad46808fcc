// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// An answer is what the response phase read.
type answer struct {
	body
	status int
	// ask learns the status of one that was not asked for it yet, nil once it is
	// known. The error is a reply's, or pdk.ErrGone.
	ask func() error
	// The calls that ask for it lie here, so that all of them are one piece of
	// memory.
	id, raw, statusIs pdk.Call
	headers           answerHead
	list              [5]*pdk.Call
}

// response runs the response phase. The error is pdk.ErrGone.
func (p *phase) response() error {
	e := p.engine
	a := &answer{}
	if e.process.Room.shares.tight.Load() {
		if err := p.knowCaller(); err != nil {
			return err
		}
	}
	if err := p.fetchAnswer(a); err != nil {
		return err
	}
	if e.relaying != nil && e.process.arrivals.has(p.exchange.requestID) {
		return nil // the relay has judged it; the phase runs for another plugin's sake
	}
	var again *body
	if x := e.process.records.take(e.vendor.Plugin, p.exchange.requestID); x != nil {
		p.exchange = x
		if x.released {
			return nil // the phase runs for another plugin's sake
		}
		// An error may be Kong's, which has reached nobody, or that of a relay for a
		// head that it does not take. It says nothing of where the request would
		// have gone.
		if x.scout != nil && !x.scout.came.Load() && a.fault == nil && a.status < 400 {
			x.scout.refute()
		}
		p.own(x.caller)
	} else if a.fault == nil {
		again = &body{}
		if a.fault = p.fetchAgain(again); errors.Is(a.fault, pdk.ErrGone) {
			return pdk.ErrGone
		}
	}
	a.in.Path = p.exchange.path
	p.trace()
	if err := p.knowCaller(); err != nil {
		return err
	}
	if again != nil && a.fault == nil && e.settings.ScansBeside() && e.settings.ResponseMode == policy.Enforce {
		p.exchange.beside = p.scanAgain(again)
	}
	if over, err := p.admit(); over || err != nil {
		return err
	}

	if e.settings.ResponseMode == policy.Monitor {
		f := p.reserveMonitored(&a.body)
		if err := p.finishResponse(&f); err != nil {
			return err
		}
		if f.Outcome == policy.Pending {
			p.submit(&a.body, a.status)
		}
		return nil
	}
	f := p.judgeAnswer(a)
	if p.gone {
		return pdk.ErrGone
	}
	d := p.decide(f)
	switch {
	case d.Refusal != nil:
		return p.refuse(d)
	case d.Outcome == policy.Masked:
		return p.maskAnswer(a, d)
	default:
		return p.finishResponse(&d.Finding)
	}
}

// fetchAnswer asks Kong for the upstream's answer, in one batch. The error is
// pdk.ErrGone. A reply that cannot be used goes into the answer's fault.
func (p *phase) fetchAnswer(a *answer) error {
	e := p.engine
	a.id, a.raw = askRequestID, pdk.UpstreamRawBody()
	calls := append(a.list[:0], &a.id, &a.raw)
	if e.settings.ResponseMode == policy.Enforce && e.relaying == nil {
		a.ask = func() error { return p.askStatus(a) }
	} else {
		a.statusIs = pdk.UpstreamStatus()
		calls = append(calls, &a.statusIs)
	}
	a.headers.byName = e.process.asksHeadersByName.Load()
	if err := p.batch(a.headers.appendTo(calls)...); err != nil {
		return err
	}
	headerFault := a.headers.read(p, &a.in)
	if errors.Is(headerFault, pdk.ErrGone) {
		return headerFault
	}
	a.in.Leg = llm.ResponseLeg
	a.fault = func() (err error) {
		if p.exchange.requestID, err = a.id.Text(); err != nil {
			return err
		}
		if a.ask == nil {
			if a.status, err = a.statusIs.Int(); err != nil {
				return err
			}
		}
		if headerFault != nil {
			return headerFault
		}
		a.in.Body, err = a.raw.Bytes()
		return err
	}()
	return nil
}

// askStatus asks for the status of an answer that went without it.
func (p *phase) askStatus(a *answer) (err error) {
	a.statusIs = pdk.UpstreamStatus()
	if err := p.batch(&a.statusIs); err != nil {
		return err
	}
	a.status, err = a.statusIs.Int()
	return err
}

// knowStatus asks for the status if nobody has yet. The error is as ask has it.
func (a *answer) knowStatus() error {
	if a.ask == nil {
		return nil
	}
	ask := a.ask
	a.ask = nil
	return ask()
}

// answerHead asks for the headers that say how an answer is to be read: for all
// headers in one call, or, of a Kong that has them elsewhere, for each by its
// name, where only the first of two shows.
type answerHead struct {
	byName                     bool
	all, contentType, encoding pdk.Call
}

func (h *answerHead) appendTo(calls []*pdk.Call) []*pdk.Call {
	if !h.byName {
		h.all = askUpstreamHeaders
		return append(calls, &h.all)
	}
	h.contentType, h.encoding = askContentType, askContentEncoding
	return append(calls, &h.contentType, &h.encoding)
}

// read reads the replies, and asks again by name if it has to. The error is
// pdk.ErrGone, or a reply's.
func (h *answerHead) read(p *phase, in *llm.Input) (err error) {
	if !h.byName {
		all, known, err := h.all.BufferedHeaders()
		if err != nil {
			return err
		}
		if known {
			in.ContentType, in.ContentEncoding = everyLine(all, "Content-Type"), everyLine(all, "Content-Encoding")
			return nil
		}
		h.byName = true
		// An upstream may send no header at all, and must not change by that how
		// those of others are seen.
		if v, err := h.all.Value(); err == nil && v.Kind == pdk.ValueNil {
			p.engine.process.asksHeadersByName.Store(true)
		}
		if err := p.batch(h.appendTo(nil)...); err != nil {
			return err
		}
	}
	if in.ContentType, err = h.contentType.Text(); err != nil {
		return err
	}
	in.ContentEncoding, err = h.encoding.Text()
	return err
}

// everyLine returns a header's value. Several lines are one that nobody reads:
// which of two the client gets is chance if their names are written in two ways,
// and of two lines of codings it may undo both.
func everyLine(h pdk.Header, name string) string {
	if h.Repeated(name) {
		return strings.Join(slices.Collect(h.Values(name)), ", ")
	}
	return h.Get(name)
}

// fetchAgain asks for the request a second time, when what was known of it is
// gone. It does not ask for the headers: Kong can show another request's in
// this phase. The error is pdk.ErrGone, or names a reply that cannot be used;
// one for the body is the body's fault.
func (p *phase) fetchAgain(b *body) error {
	e, x := p.engine, p.exchange
	line, raw := askRequestLine, pdk.RequestRawBody()
	var who identityCalls
	p.askIdentity(&who)
	calls := append(make([]*pdk.Call, 0, 5), &line)
	reads := e.settings.RequestMode != policy.Off
	if reads {
		calls = append(calls, &raw)
	}
	if err := p.batch(who.appendTo(calls)...); err != nil {
		return err
	}
	requestLine, err := line.Text()
	if err != nil {
		return err
	}
	x.method, x.path, _ = splitRequestLine(requestLine)
	x.events = asksForEvents(requestLine)
	if err := p.identify(&who); err != nil {
		return err
	}
	if reads {
		// The prompt only helps to judge the answer. Without it the answer is
		// judged alone.
		b.in.Leg, b.in.Path = llm.RequestLeg, x.path
		b.fault = p.readBody(&raw, b)
		if b.fault == nil && len(b.in.Body) > 0 && int64(len(b.in.Body)) <= e.settings.MaxRequestBytes {
			if !b.own {
				b.own, b.in.Body = true, bytes.Clone(b.in.Body)
			}
			x.unread = &unreadBody{bytes: b.in.Body}
		}
	}
	return nil
}

// passesError reports whether the answer is an upstream's error that goes to
// the client as it is, and counts it. read is what was read of it so far, nil for
// nothing.
func (e *Engine) passesError(ctx context.Context, status int, in *llm.Input, read *llm.Message, allowed allowance) bool {
	if status < 400 || e.settings.ScanErrorAnswers || e.isMCP(ctx, in, read, allowed) {
		return false
	}
	e.process.metrics.Unscanned.WithLabelValues(llm.ResponseLeg.String(), policy.ReasonErrorAnswer).Inc()
	return true
}

// isMCP reports whether an error answer goes to an agent that will read it. What
// was read is not read again: after a scan there may be neither time nor room.
func (e *Engine) isMCP(ctx context.Context, in *llm.Input, read *llm.Message, allowed allowance) bool {
	if read = cmp.Or(in.Request, read); read != nil {
		return read.RPC != nil
	}
	if int64(len(in.Body)) > e.settings.MaxResponseBytes {
		return false
	}
	m, err := llm.ReadContext(ctx, *in, e.limits(llm.ResponseLeg, allowed))
	return err == nil && m.RPC != nil
}

// know returns the exchange with its request read, if the body was kept for
// that. The exchange itself stays as it is: a monitored leg may be reading it.
func (e *Engine) know(ctx context.Context, x *exchange, allowed allowance) *exchange {
	if x.unread == nil {
		return x
	}
	known := *x
	known.unread = nil
	c, err := e.readRequest(ctx, x.unreadInput(), x.header, allowed)
	if err != nil {
		return &known
	}
	known.claim = c.claim
	known.request = outline(c.message)
	if e.needs.Prompt {
		known.prompt = c.turns
	}
	return &known
}

// maskAnswer sends the client the answer with the verdict's masks in it. That
// ends the phase for every later plugin, so it is done only when none of ours
// still has to look at the answer.
func (p *phase) maskAnswer(a *answer, d policy.Decision) error {
	e := p.engine
	if !e.settings.AllowEarlyMask {
		mark := pdk.NginxCtx(bufferedKey)
		if err := p.batch(&mark); err != nil {
			return err
		}
		if v, err := mark.Value(); err != nil || !e.vendor.Masks || v.Kind != pdk.ValueText || v.Text != e.ownMark() {
			d.Outcome, d.Reason = policy.Blocked, policy.ReasonEarlyMask
			return p.end(d.Finding)
		}
	}
	report := p.report(&d.Finding)
	calls := append(appendCalls(p.marks(llm.ResponseLeg), pdk.ClearBodyHeaders()), answerHeaders(&d.Finding)...)
	if err := p.conclude(&d.Finding, calls, true, &p.exchange.access, &report); err != nil {
		return err
	}
	p.exit(a.status, nil, d.Body)
	return nil
}

// finishResponse lets the answer go on as it is. The error is pdk.ErrGone.
func (p *phase) finishResponse(f *policy.Finding) error {
	report := p.report(f)
	calls := append(append(p.list[:0], p.marks(llm.ResponseLeg)...), answerHeaders(f)...)
	return p.conclude(f, calls, true, &p.exchange.access, &report)
}

// answerHeaders returns the calls that add a verdict's headers to the
// upstream's answer.
func answerHeaders(f *policy.Finding) []*pdk.Call {
	if len(f.Verdict.Header) == 0 {
		return nil
	}
	var calls []*pdk.Call
	for _, name := range slices.Sorted(maps.Keys(f.Verdict.Header)) {
		for _, value := range f.Verdict.Header[name] {
			call := pdk.SetResponseHeader(name, clean(value))
			calls = append(calls, &call)
		}
	}
	return calls
}
