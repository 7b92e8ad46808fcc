// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// answer carries the answer's leg. The error is errCut.
func (c *carriage) answer(a *http.Response) error {
	e, s := c.engine, &c.engine.settings
	switch unseen := c.plan.Unseen(); {
	case a.StatusCode == http.StatusSwitchingProtocols && s.EnforcesAny():
		// Nobody who is enforced has asked for it.
		return c.failed(relay.ErrUpstream)
	case a.StatusCode == http.StatusSwitchingProtocols:
		if s.ResponseMode != policy.Off {
			e.process.metrics.Unscanned.WithLabelValues(llm.ResponseLeg.String(), policy.ReasonUpgrade).Inc()
		}
		return c.tunnel(a)
	case s.ResponseMode == policy.Off:
		c.head(a, nil)
		return c.pass(a, nil)
	case unseen != "":
		e.process.metrics.Unscanned.WithLabelValues(llm.ResponseLeg.String(), unseen).Inc()
		f := policy.Ended(policy.Unscanned, unseen)
		e.audit(&f, ended{leg: llm.ResponseLeg, transport: byRelay, exchange: c.x})
		c.head(a, &policy.Report{Outcome: policy.Unscanned, Reason: unseen})
		return c.pass(a, nil)
	}
	p := c.run(llm.ResponseLeg)
	defer p.giveBack()
	defer p.stop()
	spellLabels(a.Header)
	in := llm.Input{
		Leg: llm.ResponseLeg, Path: c.x.path,
		ContentType: a.Header.Get("Content-Type"),
		// A client takes off what each of them names.
		ContentEncoding: strings.Join(a.Header.Values("Content-Encoding"), ", "),
	}
	if s.ResponseMode == policy.Monitor {
		return c.watchAnswer(p, a, in)
	}
	if !c.holdExchange(p) {
		return c.refuse(p, p.refusal(policy.Ended(policy.NoRoom, "")), a)
	}
	if err := p.knowRequest(); err != nil {
		return c.refuse(p, p.refusal(policy.Ended(policy.NoRoom, "")), a)
	}
	in.Request = p.exchange.request
	switch {
	case a.StatusCode >= 400 && in.Request != nil && e.passesError(p.ctx, a.StatusCode, &in, nil, allowance{}):
		return c.passUnscanned(p, a, policy.Ended(policy.Unscanned, policy.ReasonErrorAnswer), nil)
	case mayFlow(&in, a):
		return c.flow(p, a, in)
	}
	return c.holdAnswer(p, a, in)
}

// holdExchange counts what is known of the request, for as long as its answer
// takes. What does not fit goes: the answer is judged without it.
func (c *carriage) holdExchange(p *run) bool {
	n := c.x.size()
	if p.engine.process.Room.Try(p.caller, n) == nil {
		p.held += n
		return true
	}
	if c.x.unread != nil {
		return false // what was asked for may decide how the answer is read
	}
	known := *c.x
	known.prompt = nil
	c.x, p.exchange = &known, &known
	return true
}

// spellLabels has the headers that say how a body is to be read stand under their
// own names: if another plugin has Kong buffer the answer, Kong sends names with
// underscores on with hyphens.
func spellLabels(h http.Header) {
	for name, values := range h {
		switch label := hyphened(name); label {
		case "Content-Type", "Content-Encoding":
			delete(h, name)
			h[label] = append(h[label], values...)
		}
	}
}

// hyphened returns the name that nginx and Kong may take a header for, "" if that
// is its own.
func hyphened(name string) string {
	if !strings.Contains(name, "_") {
		return ""
	}
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// mayFlow reports whether an answer can come as a stream. All that is lost for
// one that does, although nothing says so, is time: it is judged when it is
// whole.
func mayFlow(in *llm.Input, a *http.Response) bool {
	if a.ContentLength == 0 || a.Request != nil && a.Request.Method == http.MethodHead ||
		a.StatusCode >= 400 && in.Request == nil {
		return false
	}
	t, _, _ := strings.Cut(in.ContentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	asked := in.Request != nil && in.Request.Stream
	return asked || !strings.HasSuffix(t, "/json") && !strings.HasSuffix(t, "+json")
}

// holdAnswer holds an answer back until it is whole and judged.
func (c *carriage) holdAnswer(p *run, a *http.Response, in llm.Input) error {
	known := a.ContentLength
	if c.isHead() {
		known = 0 // it is the length of what a GET would get
	}
	raw, err := p.gather(a.Body, known, p.engine.settings.MaxResponseBytes)
	return c.settleWhole(p, a, in, raw, err)
}

func (c *carriage) isHead() bool { return c.r.Method == http.MethodHead }

// settleWhole judges an answer that was read whole, as far as its reading came.
func (c *carriage) settleWhole(p *run, a *http.Response, in llm.Input, raw []byte, fault error) error {
	e := p.engine
	p.start = time.Now() // the model's time is not ours
	switch {
	case c.r.Context().Err() != nil:
		return c.gone()
	case errors.Is(fault, errUnread):
		return c.refuse(p, p.refusal(policy.Ended(policy.UpstreamFailed, policy.ReasonCut)), nil)
	case errors.Is(fault, pdk.ErrTooLarge) && a.StatusCode >= 400 && e.passesError(p.ctx, a.StatusCode, &llm.Input{Request: in.Request}, nil, allowance{}):
		return c.passUnscanned(p, a, policy.Ended(policy.Unscanned, policy.ReasonErrorAnswer), raw)
	}
	in.Body = raw
	held := answer{body: body{in: in, own: true, fault: fault}, status: a.StatusCode}
	d := p.decide(p.judgeAnswer(&held))
	if d.Outcome == policy.Masked && !e.vendor.Masks {
		d.Outcome, d.Reason = policy.Blocked, policy.ReasonMask
		d = p.refusal(d.Finding)
	}
	if d.Refusal != nil {
		return c.refuse(p, d, a)
	}
	if d.Body != nil {
		raw = d.Body
		dropBodyHeaders(a, len(raw))
	}
	addHeader(a.Header, d.Verdict.Header)
	report := p.report(&d.Finding)
	p.note(&d.Finding)
	relay.MayBuffer(c.w)
	c.head(a, &report)
	if _, err := c.w.Write(raw); err != nil && len(raw) > 0 {
		return c.gone()
	}
	relay.WriteTrailers(c.w, a)
	return nil
}

// passUnscanned lets an answer go out that is not to be scanned: what was read
// of it, and all that follows.
func (c *carriage) passUnscanned(p *run, a *http.Response, f policy.Finding, read []byte) error {
	report := p.report(&f)
	p.note(&f)
	c.head(a, &report)
	if len(read) > 0 {
		if _, err := c.w.Write(read); err != nil {
			return c.gone()
		}
	}
	return c.pass(a, nil)
}

// watchAnswer lets a monitored answer go out as it comes, and has a copy judged
// afterwards: of as much as came.
func (c *carriage) watchAnswer(p *run, a *http.Response, in llm.Input) error {
	k := p.engine.carbon(p.caller, llm.ResponseLeg)
	known := *p.exchange
	p.exchange = &known
	defer func() { p.monitor(k, in, a.StatusCode) }()
	pending := policy.Ended(policy.Pending, "")
	report := p.report(&pending)
	c.head(a, &report)
	return c.pass(a, k.add)
}

// buffers are for bodies that pass by.
var buffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// pass hands on an answer's body as it comes, and its trailers. each sees what
// has gone out, nil for nobody. The error is errCut.
func (c *carriage) pass(a *http.Response, each func([]byte)) error {
	buf := buffers.Get().(*[16 << 10]byte)
	defer buffers.Put(buf)
	if a.ContentLength < 0 {
		_ = c.control.Flush()
	}
	for {
		n, err := a.Body.Read(buf[:])
		if n > 0 {
			if each != nil {
				each(buf[:n])
			}
			if _, failed := c.w.Write(buf[:n]); failed != nil {
				return c.gone()
			}
			if err == nil {
				_ = c.control.Flush()
			}
		}
		switch {
		case err == io.EOF:
			relay.WriteTrailers(c.w, a)
			return nil
		case err != nil:
			return errCut
		}
	}
}

// tunnel joins client and upstream of an upgraded connection.
func (c *carriage) tunnel(a *http.Response) error {
	c.began = true
	if err := relay.Tunnel(c.w, c.r, a); err != nil {
		return errCut
	}
	return nil
}

// head writes the head of an answer that goes on, once. response is how its leg
// stands, nil for one that is off.
func (c *carriage) head(a *http.Response, response *policy.Report) {
	if c.began {
		return
	}
	if c.engine.settings.ResponseMode == policy.Enforce {
		// nginx would show the client what it finds there, and nobody would
		// have judged that.
		a.Header.Del("X-Accel-Redirect")
	}
	showVerdicts(a.Header, &c.x.access, response)
	c.engine.process.metrics.FirstByteSeconds.Observe(time.Since(c.came).Seconds())
	c.began = true
	relay.WriteHead(c.w, a)
}

// refuse answers the client in place of the exchange. a is the upstream's
// answer if there is one: as in Kong's phases, its headers stay that do not
// describe its body. Behind a head that has gone out, all that can be done is to
// cut. The error is errCut.
func (c *carriage) refuse(p *run, d policy.Decision, a *http.Response) error {
	if c.left(&d.Finding) {
		return c.gone()
	}
	c.became = telemetry.RelayRefused
	if d.Outcome == policy.UpstreamFailed || d.Outcome == policy.UpstreamTimeout {
		c.became = telemetry.RelayUpstreamFailed
	}
	p.note(&d.Finding)
	if c.began {
		if c.became == telemetry.RelayRefused {
			c.became = telemetry.RelayCut
		}
		return errCut
	}
	report := p.report(&d.Finding)
	if a == nil {
		a = &http.Response{Header: http.Header{}}
	}
	dropBodyHeaders(a, len(d.Refusal.Body))
	a.StatusCode, a.Trailer = d.Refusal.Status, nil
	a.Header.Del("Trailer")
	for name, values := range d.Refusal.Header {
		a.Header.Del(name)
		for _, v := range values {
			a.Header.Add(name, v)
		}
	}
	if p.leg == llm.RequestLeg {
		showVerdicts(a.Header, &report, nil)
	} else {
		showVerdicts(a.Header, &p.exchange.access, &report)
	}
	c.began = true
	relay.WriteHead(c.w, a)
	if c.isHead() {
		return nil
	}
	if _, err := c.w.Write(d.Refusal.Body); err != nil {
		return c.gone()
	}
	return nil
}

// left reports whether a leg ends only because its client has left, which ended
// its scan. A verdict that came before that counts all the same.
func (c *carriage) left(f *policy.Finding) bool {
	return c.r.Context().Err() != nil && (f.Outcome == policy.NoRoom || f.Outcome == policy.OwnFault && f.Reason == policy.ReasonEventTime)
}

// dropBodyHeaders removes what describes the body that came. length is that of
// the one that goes out, less than 0 if it is not known.
func dropBodyHeaders(a *http.Response, length int) {
	for _, name := range pdk.BodyHeaders {
		a.Header.Del(name)
	}
	a.Header.Del("Content-Length")
	a.ContentLength = int64(length)
	if length >= 0 {
		a.Header.Set("Content-Length", strconv.Itoa(length))
	}
}

func addHeader(h, more http.Header) {
	for name, values := range more {
		h.Del(name)
		for _, v := range values {
			h.Add(name, clean(v))
		}
	}
}

// verdictHeader carries both verdicts to Kong's log plugins. Kong's nginx shows
// it to nobody else.
const verdictHeader = "X-Pad"

// showVerdicts writes both legs' verdicts in short form. What the upstream says
// there goes.
func showVerdicts(h http.Header, request, response *policy.Report) {
	b := make([]byte, 0, 96)
	for _, leg := range []struct {
		name string
		r    *policy.Report
	}{{llm.RequestLeg.String(), request}, {llm.ResponseLeg.String(), response}} {
		if leg.r == nil || leg.r.Outcome.Action() == "" {
			continue
		}
		b = appendPair(b, leg.name, leg.r.Outcome.Action())
		b = appendPair(b, "reason", leg.r.Reason)
		b = appendPair(b, "unscanned", leg.r.Unscanned)
		b = appendPair(b, "unseen_context", leg.r.Unseen.String())
		b = appendPair(b, "scan_id", leg.r.ScanID)
	}
	for name := range h {
		if hyphened(name) == verdictHeader { // nginx's variable has both
			delete(h, name)
		}
	}
	h.Set(verdictHeader, string(b))
}

// appendPair appends name=value. Others choose ids, so they are cut and hold
// nothing that could be taken for another pair.
func appendPair(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	if len(b) > 0 {
		b = append(b, ';')
	}
	b = append(append(b, name...), '=')
	for i := range min(len(value), 64) {
		c := value[i]
		if c < ' ' || c >= 0x7f || c == ';' || c == '=' || c == ',' || c == '"' {
			c = '_'
		}
		b = append(b, c)
	}
	return b
}
