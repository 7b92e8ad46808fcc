// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/policy"
)

// A request is what the access phase read.
type request struct {
	header pdk.Header
	in     llm.Input
	// protocol is the version of HTTP that the client speaks.
	protocol string
	// ownBody tells that the body's bytes are ours, not the reply's.
	ownBody bool
	// buffering is the reply that says who needs the answer buffered, when
	// that was asked.
	buffering pdk.Call
	// fault is why the body is not there, nil if it is.
	fault error
}

// access runs the access phase.
func (x *exchange) access() {
	s := &x.engine.settings
	if s.RequestMode == policy.Off && s.ResponseMode == policy.Off {
		x.releaseUnseen()
		return
	}
	r := &request{}
	err, ok := x.readRequest(r)
	if !ok {
		return
	}
	if err != nil {
		if x.enforcesAny() {
			x.refuse(replyFault(err))
			return
		}
		r.fault = err
	}
	x.trace()
	if j, bad := x.unguardable(r); bad {
		x.refuse(j)
		return
	}
	x.guarded = true
	if s.RequestMode != policy.Off && !x.knowCaller() {
		return
	}

	var j judgement
	switch s.RequestMode {
	case policy.Enforce:
		j = x.settle(x.judgeRequest(r))
		if j.outcome.refuses(x.leg) {
			x.refuse(j)
			return
		}
		if j.message != nil {
			x.facts.claim = x.engine.claim(j.message, x.facts.header)
		}
		if j.rewrites() {
			x.rewriteRequest(r, j)
			return
		}
	case policy.Monitor:
		j = x.reserveMonitored(&r.in, r.ownBody, r.fault)
	default:
		j = judgement{outcome: skipped}
	}
	x.finishAccess(r, j, nil)
}

// needsBody tells whether the access phase looks at the body. With the
// request leg off, it is only for the answer's sake: monitoring it must not
// hold up a stream.
func (x *exchange) needsBody() bool {
	s := &x.engine.settings
	return s.RequestMode != policy.Off || s.ResponseMode == policy.Monitor || s.ResponseMode == policy.Enforce && s.PassStreams
}

func (x *exchange) enforcesAny() bool {
	s := &x.engine.settings
	return s.RequestMode == policy.Enforce || s.ResponseMode == policy.Enforce
}

// readRequest reads the request in one batch. It is not ok when Kong is gone;
// the error tells of a reply that cannot be used.
func (x *exchange) readRequest(r *request) (err error, ok bool) {
	e, s := x.engine, &x.engine.settings
	if x.needsBody() && !x.knowCaller() {
		return nil, false
	}
	body, headers := pdk.RequestRawBody(), pdk.RequestHeaders()
	id, line := pdk.NginxVar("kong_request_id"), pdk.NginxVar("request")
	who := x.identityCalls()
	calls := append(make([]*pdk.Call, 0, 8), &headers, &id, &line)
	if x.needsBody() {
		calls = append(calls, &body)
	}
	calls = who.appendTo(calls)
	var token pdk.Call
	if e.vendor.NeedsToken {
		token = pdk.CtxShared(verifiedTokenKey)
		calls = append(calls, &token)
	}
	switch {
	case s.ResponseMode == policy.Enforce && s.PassStreams:
		// What stood there may have to stay.
		mark := pdk.SetNginxCtxText(bufferedKey, e.ownMark())
		r.buffering = pdk.NginxCtx(bufferedKey)
		calls = append(calls, &r.buffering, &mark)
	case s.ResponseMode == policy.Enforce:
		r.buffering = pdk.SetNginxCtxText(bufferedKey, e.ownMark())
		calls = append(calls, &r.buffering)
	case s.ResponseMode == policy.Off && !s.KeepBuffering:
		r.buffering = pdk.NginxCtx(bufferedKey)
		calls = append(calls, &r.buffering)
	}
	if !x.batch(calls...) {
		return nil, false
	}

	f := x.facts
	if f.requestID, err = id.Text(); err != nil {
		return err, true
	}
	request, err := line.Text()
	if err != nil {
		return err, true
	}
	f.method, f.path, r.protocol = requestLine(request)
	if r.header, err = headers.Headers(); err != nil {
		return err, true
	}
	f.header = r.header.HTTP()
	if e.vendor.NeedsToken {
		if f.token, err = verifiedToken(&token, r.header); err != nil {
			return err, true
		}
	}
	f.claim = x.engine.claim(nil, f.header)
	if err = x.identify(&who); err != nil {
		return err, true
	}
	r.in = llm.Input{
		Leg: llm.RequestLeg, Path: f.path,
		ContentType: r.header.Get("Content-Type"), ContentEncoding: r.header.Get("Content-Encoding"),
	}
	if x.needsBody() {
		r.in.Body, r.ownBody, r.fault = x.readBody(&body)
	}
	return nil, true
}

// unguardable tells why an exchange that is enforced on a leg cannot be.
func (x *exchange) unguardable(r *request) (judgement, bool) {
	s := &x.engine.settings
	if !x.enforcesAny() {
		return judgement{}, false
	}
	switch {
	case r.header.Full():
		// What decides may stand among those that Kong left out.
		return ended(ambiguous, reasonHeaders), true
	case s.ResponseMode == policy.Enforce && strings.EqualFold(strings.TrimSpace(r.header.Get("Upgrade")), "websocket"):
		// Kong would not buffer the answer, and skip the response phase.
		return ended(upgradeRefused, ""), true
	case s.ResponseMode == policy.Enforce && s.RefuseHTTP2 && !strings.HasPrefix(r.protocol, "HTTP/1."):
		// The same, on Kongs that buffer answers over HTTP/1 only.
		return ended(http2Refused, ""), true
	case isGRPC(r.in.ContentType) && !s.AllowUnscannable:
		return ended(unscannable, reasonGRPC), true
	case s.ResponseMode == policy.Enforce && !s.PassMCPGetStream && wantsEventStreamByGET(x.facts.method, r.header):
		return ended(streamRefused, ""), true
	case s.RequestMode == policy.Enforce && (repeated(r.header, "Content-Type") || repeated(r.header, "Content-Encoding")):
		return ended(ambiguous, reasonTwice), true
	}
	return judgement{}, false
}

// judgeRequest judges an enforced request.
func (x *exchange) judgeRequest(r *request) judgement {
	switch {
	case r.fault != nil:
		return replyFault(r.fault)
	case len(r.in.Body) == 0:
		return ended(nothing, "")
	case int64(len(r.in.Body)) > x.engine.settings.MaxRequestBytes:
		return ended(tooLarge, "")
	}
	mem, ok := x.holdWork(x.leg, r.in.Body, r.in.ContentEncoding)
	if !ok {
		return ended(noRoom, "")
	}
	return x.engine.judge(x.ctx, r.in, x.facts, x.caller, x.engine.deadline(x.start), mem)
}

// rewriteRequest puts the masks in, leaves out what was meant for us, and lets
// the request go on so.
func (x *exchange) rewriteRequest(r *request, j judgement) {
	body, err := replaced(&j)
	if err != nil {
		j.outcome, j.reason = blocked, reasonMask
		x.refuse(j)
		return
	}
	set := pdk.SetRequestBody(body)
	calls := []*pdk.Call{&set}
	// What describes the body that the client sent is no longer true.
	for _, name := range []string{"Content-Encoding", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"} {
		if r.header.Has(name) {
			clear := pdk.ClearRequestHeader(name)
			calls = append(calls, &clear)
		}
	}
	x.finishAccess(r, j, calls)
}

// finishAccess lets the request go on: it writes what there is to write, in
// one batch if it can, and remembers the exchange for the answer.
func (x *exchange) finishAccess(r *request, j judgement, calls []*pdk.Call) {
	e, s := x.engine, &x.engine.settings
	f := x.facts
	f.access, f.caller = x.report(j), x.caller

	unseen := "" // why the answer will not be looked at
	switch {
	case s.ResponseMode == policy.Off || s.KeepBuffering:
	case wantsEventStreamByGET(f.method, r.header):
		unseen = reasonEventStream
	case s.ResponseMode == policy.Monitor && !s.BufferMonitoredStreams && wantsStream(j.message, &r.in, r.header):
		unseen = reasonStream
	case s.PassStreams && asksForStream(j.message, &r.in):
		unseen = reasonPassed
	}
	f.released = s.ResponseMode == policy.Off || unseen != ""

	buffer, ok := x.buffering(r, unseen)
	if !ok {
		return
	}
	if buffer != nil {
		calls = append(calls, buffer)
	}
	if subject := x.subjectCall(r, &j); subject != nil {
		calls = append(calls, subject)
	}
	if unseen == reasonEventStream && s.ResponseMode == policy.Enforce && e.warnedGet.CompareAndSwap(false, true) {
		e.process.Notice(false, "an event stream by GET passes unscanned, as mcp_get_stream says; later ones are only counted")
	}
	var response *report
	if unseen != "" {
		e.process.metrics.Unscanned.WithLabelValues(llm.ResponseLeg.String(), unseen).Inc()
		response = &report{outcome: unscanned, reason: unseen}
	}
	if f.released {
		calls = append(calls, x.marks(llm.RequestLeg, llm.ResponseLeg)...)
	} else {
		calls = append(calls, x.marks(llm.RequestLeg)...)
	}
	if !x.conclude(j, calls, f.released, &f.access, response) {
		return
	}
	x.remember(&j)
	if j.outcome == pending {
		x.submit(r.in, 0)
	}
}

// buffering gives the call that says whether Kong has to buffer the answer,
// nil when nothing needs to be said. It is not ok when Kong is gone.
func (x *exchange) buffering(r *request, unseen string) (call *pdk.Call, ok bool) {
	s := &x.engine.settings
	var set pdk.Call
	switch {
	case s.ResponseMode == policy.Off:
		if s.KeepBuffering || !mayRelease(&r.buffering) {
			return nil, true
		}
		set = pdk.SetNginxCtxBool(bufferedKey, false)
	case unseen == "" && s.ResponseMode == policy.Enforce:
		return nil, true // said in the first batch
	case unseen == "":
		set = pdk.SetNginxCtxText(bufferedKey, guardMark)
	case s.ResponseMode == policy.Enforce && unseen == reasonPassed:
		if v, err := r.buffering.Value(); !mayRelease(&r.buffering) {
			if err != nil {
				v.Text = guardMark
			}
			set = pdk.SetNginxCtxText(bufferedKey, v.Text)
			break
		}
		set = pdk.SetNginxCtxBool(bufferedKey, false)
	case s.ResponseMode == policy.Enforce:
		// Each of ours that enforces the answer has let this stream pass, or
		// refused it: the mark that stands there is not needed any more.
		set = pdk.SetNginxCtxBool(bufferedKey, false)
	default:
		get := pdk.NginxCtx(bufferedKey)
		if !x.batch(&get) {
			return nil, false
		}
		if !mayRelease(&get) {
			return nil, true
		}
		set = pdk.SetNginxCtxBool(bufferedKey, false)
	}
	return &set, true
}

// releaseUnseen runs the access phase of an instance that is switched off: it
// only sees to it that the answer is not buffered for its sake.
func (x *exchange) releaseUnseen() {
	calls := x.marks(llm.RequestLeg, llm.ResponseLeg)
	if name := x.engine.vendor.SubjectHeader; name != "" {
		forget := pdk.ClearRequestHeader(name)
		calls = append(calls, &forget)
	}
	if !x.engine.settings.KeepBuffering {
		get := pdk.NginxCtx(bufferedKey)
		if !x.batch(&get) {
			return
		}
		if mayRelease(&get) {
			set := pdk.SetNginxCtxBool(bufferedKey, false)
			calls = append(calls, &set)
		}
	}
	x.batch(calls...)
}

// remember keeps what the answer's leg will need.
func (x *exchange) remember(j *judgement) {
	e, f := x.engine, x.facts
	if e.settings.ResponseMode == policy.Off || f.requestID == "" {
		return
	}
	if f.released {
		f = &facts{requestID: f.requestID, released: true}
	} else if j.message != nil {
		f.request = outline(j.message)
		if e.vendor.KeepPrompt {
			f.prompt = j.turns
			if j.outcome == masked {
				for _, m := range j.verdict.Masked {
					f.prompt[m.Turn].Text = m.Text
				}
			}
		}
	}
	e.process.records.put(e.vendor.Plugin, f)
}
