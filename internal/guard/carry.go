// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// end refuses a leg that was not judged. The error is pdk.ErrGone.
func (p *phase) end(f policy.Finding) error { return p.refuse(p.refusal(f)) }

// conclude sends the last calls of a leg that goes on: calls, the lines for
// Kong's log if there are any and, when no other leg follows, the access log's
// value. The error is pdk.ErrGone.
func (p *phase) conclude(f *policy.Finding, calls []*pdk.Call, last bool, request, response *policy.Report) error {
	e := p.engine
	e.countMedia(p.leg, f)
	if s := f.Severity(); s != policy.Quiet && e.settings.Mode(p.leg) == policy.Enforce {
		if err := p.writeLine(&p.line, &p.run, s, f); err != nil {
			return err
		}
		calls = append(calls, &p.line)
	} else if e.settings.Debug {
		e.process.log.Info(e.line(p.leg, " passed", f, p.exchange.requestID, &p.exchange.identity, time.Since(p.start)))
	}
	calls = appendNotices(calls, p.takeNotices())
	if last {
		p.value = accessLog(e.vendor.Plugin, request, response)
		calls = append(calls, &p.value)
	}
	var err error
	if last && p.leg == llm.ResponseLeg {
		err = p.tell(calls...) // nothing follows that could depend on it
	} else {
		err = p.batch(calls...)
	}
	if err != nil {
		return err
	}
	p.countFor(&p.run, f)
	return nil
}

// remember keeps what the answer's leg will need. f is what was found of the
// request.
func (e *Engine) remember(x *exchange, f *policy.Finding) {
	if e.settings.ResponseMode == policy.Off || x.requestID == "" {
		return
	}
	if x.released {
		x = &exchange{requestID: x.requestID, released: true}
	} else {
		e.keep(x, f)
	}
	e.process.records.put(e.vendor.Plugin, x)
}

// keep notes what the answer's leg will need of what was found of the request.
func (e *Engine) keep(x *exchange, f *policy.Finding) {
	if f.Message == nil {
		return
	}
	x.request = outline(f.Message)
	if !e.needs.Prompt {
		return
	}
	x.prompt = f.Turns
	if f.Outcome == policy.Masked {
		for _, m := range f.Verdict.Masked {
			x.prompt[m.Turn].Text = m.Text
		}
	}
}

// refuse answers the client instead of letting the exchange go on. The error
// is pdk.ErrGone.
func (p *phase) refuse(d policy.Decision) error { return p.refuseFor(&p.run, d, true) }

// refuseFor does so because of a leg that need not be the event's own. tell says
// that operators have not been told of that leg yet. The error is pdk.ErrGone.
func (p *phase) refuseFor(leg *run, d policy.Decision, tell bool) error {
	e := p.engine
	var calls []*pdk.Call
	if p.leg == llm.ResponseLeg {
		calls = appendCalls(calls, pdk.ClearBodyHeaders())
	}
	var line pdk.Call
	if tell {
		if err := p.writeLine(&line, leg, d.Outcome.Severity(), &d.Finding); err != nil {
			return err
		}
		calls = append(calls, &line)
	}
	report := leg.report(&d.Finding)
	value := accessLog(e.vendor.Plugin, &report, nil)
	if leg.leg == llm.ResponseLeg {
		value = accessLog(e.vendor.Plugin, &p.exchange.access, &report)
	}
	calls = appendNotices(calls, p.takeNotices())
	calls = append(calls, &value)
	if err := p.batch(calls...); err != nil {
		return err
	}
	if tell {
		p.countFor(leg, &d.Finding)
	}
	p.exit(d.Refusal.Status, d.Refusal.Header, d.Refusal.Body)
	return nil
}

// markPrefix starts the names of the marks in Kong's shared context. The
// plugin's name and the leg's follow. The functions in kong/fail-closed read
// the marks: some versions of Kong go on without a plugin server that fails or
// is too slow, and then there is no mark.
const markPrefix = "ai_guard"

// marks returns the calls that mark legs as dealt with, none where the
// configuration does not ask for marks. They go with the last batch of an
// event, because a mark says that nothing can fail any more.
func (p *phase) marks(legs ...llm.Leg) []*pdk.Call {
	e := p.engine
	if !e.settings.MarkRequests {
		return nil
	}
	calls := make([]*pdk.Call, len(legs))
	for i, leg := range legs {
		c := pdk.SetCtxSharedText(markPrefix+":"+e.vendor.Plugin+":"+leg.String(), "done")
		calls[i] = &c
	}
	return calls
}

func appendCalls(calls []*pdk.Call, more []pdk.Call) []*pdk.Call {
	for i := range more {
		calls = append(calls, &more[i])
	}
	return calls
}

// takeNotices returns the lines that this event writes into Kong's log.
func (p *phase) takeNotices() []notice {
	p.told = true
	return p.engine.process.notices.take()
}

// tellRest ends an event that had nothing to say of its own leg: lines that wait
// need not wait for another one.
func (p *phase) tellRest() {
	if p.told || p.exited || p.gone {
		return
	}
	_ = p.batch(appendNotices(nil, p.takeNotices())...)
}

func appendNotices(calls []*pdk.Call, list []notice) []*pdk.Call {
	if len(list) == 0 {
		return calls
	}
	now := time.Now()
	for _, n := range list {
		c := kongLog(n.severity, n.line(now))
		calls = append(calls, &c)
	}
	return calls
}

// accessLog returns the one value that a plugin adds to what Kong's log plugins
// write. A leg that is nil or was not looked at has no part in it.
func accessLog(plugin string, request, response *policy.Report) pdk.Call {
	var all, s pdk.Struct
	for _, leg := range []struct {
		name string
		r    *policy.Report
	}{{"request", request}, {"response", response}} {
		if leg.r == nil || leg.r.Outcome.Action() == "" {
			continue
		}
		s.Reset()
		s.Text("action", leg.r.Outcome.Action())
		if leg.r.Reason != "" {
			s.Text("reason", leg.r.Reason)
		}
		if leg.r.Unscanned != "" {
			s.Text("unscanned", leg.r.Unscanned)
		}
		if leg.r.Unseen != 0 {
			s.Text("unseen_context", leg.r.Unseen.String())
		}
		if leg.r.ScanID != "" {
			s.Text("scan_id", clean(leg.r.ScanID))
		}
		s.Number("latency_ms", milliseconds(leg.r.Latency))
		all.Struct(leg.name, s)
	}
	return pdk.SetSerializeValue("ai.guard."+plugin, all)
}

// milliseconds returns a duration in ms, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
