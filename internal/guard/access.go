// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// An incoming request is what the access phase read.
type incoming struct {
	body
	head policy.RequestHead
	// buffering is the reply that says who needs the answer buffered, if we
	// asked.
	buffering pdk.Call
	// The first batch's other calls lie here, so that all of them are one piece
	// of memory.
	raw, headers, id, line, token, mark pdk.Call
	who                                 identityCalls
	list                                [11]*pdk.Call
}

// access runs the access phase. The error is pdk.ErrGone.
func (p *phase) access() error {
	s := &p.engine.settings
	if s.RequestMode == policy.Off && s.ResponseMode == policy.Off {
		return p.releaseUnseen()
	}
	if p.engine.relaying != nil {
		if over, err := p.relay(); over || err != nil {
			return err
		}
	}
	in := &incoming{}
	switch err := p.fetchRequest(in); {
	case errors.Is(err, pdk.ErrGone):
		return err
	case err != nil && s.EnforcesAny():
		return p.end(replyFault(err))
	case err != nil:
		in.fault = err
	}
	p.trace()
	if f, bad := s.Unguardable(&in.head); bad {
		return p.end(f)
	}
	p.guarded = true
	if s.RequestMode != policy.Off {
		if err := p.knowCaller(); err != nil {
			return err
		}
	}

	switch s.RequestMode {
	case policy.Enforce:
		return p.enforceRequest(in)
	case policy.Monitor:
		return p.letGo(in, policy.Decision{Finding: p.reserveMonitored(&in.body)})
	default:
		if err := p.fetchListen(in); err != nil {
			return err
		}
		return p.letGo(in, policy.Decision{Finding: policy.Ended(policy.Skipped, "")})
	}
}

// fetchListen asks for a body that nobody would look at, where it decides
// whether the answer ever ends. What Kong does not give asks for nothing. The
// error is pdk.ErrGone.
func (p *phase) fetchListen(in *incoming) error {
	if p.engine.needsBody() || p.engine.settings.ResponseMode != policy.Enforce || !in.head.MayListen() {
		return nil
	}
	if err := p.knowCaller(); err != nil {
		return err
	}
	raw := pdk.RequestRawBody()
	if err := p.batch(&raw); err != nil {
		return err
	}
	in.fault = p.readBody(&raw, &in.body)
	return nil
}

// refuseListen ends an exchange whose answer would be held for ever, once its
// request was judged: what it says is none the better for it. The error is
// pdk.ErrGone.
func (p *phase) refuseListen(in *incoming, f policy.Finding) error {
	f.Outcome, f.Was, f.Reason = policy.ListenRefused, policy.Undecided, ""
	if f.Message == nil {
		// Its caller waits for an answer with its id.
		if allowed, err := p.holdWork(&in.in); err == nil {
			if c, err := p.engine.readRequest(p.ctx, in.in, p.exchange.header, allowed); err == nil {
				f.Message = c.message
			}
		}
	}
	return p.end(f)
}

// needsBody reports whether the access phase looks at the body. With the
// request leg off, it does so only for the answer's sake, and a monitored
// answer must not be held up when it is a stream.
func (e *Engine) needsBody() bool {
	s := &e.settings
	return s.RequestMode != policy.Off || s.ResponseMode == policy.Monitor || s.ResponseMode == policy.Enforce && s.PassStreams
}

// fetchRequest asks Kong for the request, in one batch. The error is
// pdk.ErrGone, or names a reply that cannot be used.
func (p *phase) fetchRequest(in *incoming) error {
	e := p.engine
	if e.needsBody() {
		if err := p.knowCaller(); err != nil {
			return err
		}
	}
	in.raw, in.headers = pdk.RequestRawBody(), pdk.RequestHeaders()
	in.id, in.line = askRequestID, askRequestLine
	p.askIdentity(&in.who)
	calls := append(in.list[:0], &in.headers, &in.id, &in.line)
	if e.needsBody() {
		calls = append(calls, &in.raw)
	}
	calls = in.who.appendTo(calls)
	if e.needs.Token {
		in.token = askVerifiedToken
		calls = append(calls, &in.token)
	}
	calls = e.appendMarkCalls(calls, in)
	if err := p.batch(calls...); err != nil {
		return err
	}

	x := p.exchange
	var err error
	if x.requestID, err = in.id.Text(); err != nil {
		return err
	}
	requestLine, err := in.line.Text()
	if err != nil {
		return err
	}
	x.method, x.path, in.head.Protocol = splitRequestLine(requestLine)
	x.events = asksForEvents(requestLine)
	if x.header, in.head.Incomplete, err = in.headers.Headers(); err != nil {
		return err
	}
	in.head.Method, in.head.Header = x.method, x.header
	if e.needs.Token {
		if x.token, err = verifiedToken(&in.token, x.header); err != nil {
			return err
		}
	}
	x.claim = e.claim(nil, x.header)
	if err := p.identify(&in.who); err != nil {
		return err
	}
	in.in = llm.Input{
		Leg: llm.RequestLeg, Path: x.path,
		ContentType: x.header.Get("Content-Type"), ContentEncoding: x.header.Get("Content-Encoding"),
	}
	if e.needsBody() {
		in.fault = p.readBody(&in.raw, &in.body)
	}
	return nil
}

// letGo lets the request go on, as the decision says. It sends what there is to
// send to Kong, in one batch if it can, and remembers the exchange for the
// answer.
func (p *phase) letGo(in *incoming, d policy.Decision) error {
	e, x := p.engine, p.exchange
	x.access, x.caller = p.report(&d.Finding), p.caller
	plan := policy.PlanAnswer(&e.settings, &in.head, &in.in, d.Message)
	x.released = plan.Ends()

	calls := rewriteCalls(p.list[:0], in, &d)
	buffering, err := p.bufferingCall(in, plan)
	if err != nil {
		return err
	}
	if buffering != nil {
		calls = append(calls, buffering)
	}
	calls = append(calls, p.scoutCalls()...)
	if subject := p.subjectCall(in, &d.Finding); subject != nil {
		calls = append(calls, subject)
	}
	if plan == policy.RefuseListen {
		return p.refuseListen(in, d.Finding)
	}
	if (plan == policy.PassOpenStream || plan == policy.PassListen) && e.warnedGet.CompareAndSwap(false, true) {
		e.process.Notice(false, "an event stream that stays open (by GET, or by subscriptions/listen) passes unscanned, as mcp_get_stream says; later ones are only counted")
	}
	var response *policy.Report
	if unseen := plan.Unseen(); unseen != "" {
		e.process.metrics.Unscanned.WithLabelValues(llm.ResponseLeg.String(), unseen).Inc()
		response = &policy.Report{Outcome: policy.Unscanned, Reason: unseen}
	}
	if x.released {
		calls = append(calls, p.marks(llm.RequestLeg, llm.ResponseLeg)...)
	} else {
		calls = append(calls, p.marks(llm.RequestLeg)...)
	}
	if err := p.conclude(&d.Finding, calls, x.released, &x.access, response); err != nil {
		return err
	}
	if response != nil {
		p.recordUnseen(response.Reason)
	}
	e.remember(x, &d.Finding)
	if d.Outcome == policy.Pending && x.beside == nil {
		p.submit(&in.body, 0)
	}
	return nil
}

// rewriteCalls appends the calls that replace the request's body, if the decision
// has another one, remove the headers that describe the one that the client sent,
// and change those that repeat what was masked in it.
func rewriteCalls(calls []*pdk.Call, in *incoming, d *policy.Decision) []*pdk.Call {
	if d.Body == nil {
		return calls
	}
	set := pdk.SetRequestBody(d.Body)
	calls = append(calls, &set)
	for _, name := range []string{"Content-Encoding", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"} {
		if in.head.Header.Values(name) != nil {
			forget := pdk.ClearRequestHeader(name)
			calls = append(calls, &forget)
		}
	}
	for _, h := range d.Message.Remirror(llm.Mirrors(in.head.Header), d.Body) {
		call := pdk.SetRequestHeader(h.Name, h.Value)
		if h.Value == "" {
			call = pdk.ClearRequestHeader(h.Name)
		}
		calls = append(calls, &call)
	}
	return calls
}

// subjectCall tells the upstream under which subject the request was judged, or
// removes what a client says about that. It returns nil when there is nothing
// to do. A header that may be there unseen is removed too.
func (p *phase) subjectCall(in *incoming, f *policy.Finding) *pdk.Call {
	e := p.engine
	name := e.vendor.SubjectHeader
	if name == "" {
		return nil
	}
	switch {
	case e.needs.TellSubject && f.Verdict.Subject != "":
		call := pdk.SetRequestHeader(name, clean(f.Verdict.Subject))
		return &call
	case in.head.Header[e.subjectKey] != nil || in.head.Incomplete || len(in.head.Header) == 0:
		call := pdk.ClearRequestHeader(name)
		return &call
	}
	return nil
}

// releaseUnseen runs the access phase of an instance that is switched off. It
// only makes sure that the answer is not buffered for this instance's sake.
func (p *phase) releaseUnseen() error {
	calls := p.marks(llm.RequestLeg, llm.ResponseLeg)
	if name := p.engine.vendor.SubjectHeader; name != "" {
		forget := pdk.ClearRequestHeader(name)
		calls = append(calls, &forget)
	}
	if !p.engine.settings.KeepBuffering {
		release, err := p.askAndRelease()
		if err != nil {
			return err
		}
		if release != nil {
			calls = append(calls, release)
		}
	}
	return p.batch(calls...)
}

// refuseUnusable ends the exchange when the instance's configuration cannot be
// used.
func (p *phase) refuseUnusable() error {
	id, line := askRequestID, askRequestLine
	if err := p.batch(&id, &line); err != nil {
		return err
	}
	// The answer does without what cannot be read.
	x := p.exchange
	x.requestID, _ = id.Text()
	requestLine, _ := line.Text()
	x.method, x.path, _ = splitRequestLine(requestLine)
	return p.end(policy.Finding{Outcome: policy.Misconfigured, Reason: "configuration cannot be used", Hint: p.engine.badField})
}
