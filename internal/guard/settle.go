// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/policy"
)

// The times that a client is told to wait: when the service says nothing,
// and at most.
const (
	retryDefault = 5 * time.Second
	retryMost    = 5 * time.Minute
)

// settle lets an enforced leg pass unscanned where the configuration says so.
func (x *exchange) settle(j judgement) judgement {
	e := x.engine
	opens := rules[j.outcome].failsOpen && !j.provoked && !e.blockFailures(x.leg) ||
		j.outcome == unscannable && e.settings.AllowUnscannable
	if opens {
		j.was, j.outcome = j.outcome, unscanned
		e.process.metrics.Unscanned.WithLabelValues(x.leg.String(), rules[j.was].name).Inc()
	}
	if j.outcome == allowed && j.verdict.Partial {
		j.was, j.outcome = tooLarge, unscanned
		e.process.metrics.Unscanned.WithLabelValues(x.leg.String(), rules[j.was].name).Inc()
	}
	return j
}

// report is how the leg ended, for the access log.
func (x *exchange) report(j judgement) report {
	reason := ""
	switch {
	case j.outcome == unscanned && j.was != undecided:
		reason = rules[j.was].name
	case j.outcome == unscanned:
		reason = j.reason
	case j.outcome != allowed && j.outcome != masked && j.outcome != pending:
		reason = rules[j.outcome].name
	}
	r := report{outcome: j.outcome, reason: reason, scanID: j.verdict.ScanID, latency: time.Since(x.start)}
	if x.engine.mediaPass(x.leg, &j) {
		r.unscanned = reasonMedia
	}
	return r
}

// conclude sends the last batch of a leg that goes on: calls, what there is
// for Kong's log and, when no other leg follows, for the access log. It is
// false when Kong is gone.
func (x *exchange) conclude(j judgement, calls []*pdk.Call, last bool, request, response *report) bool {
	e := x.engine
	e.countMedia(x.leg, &j)
	var line pdk.Call
	if s := j.severity(); s != quiet && e.mode(x.leg) == policy.Enforce {
		if !x.writeLine(&line, s, j) {
			return false
		}
		calls = append(calls, &line)
	} else if e.settings.Debug {
		e.process.log.Info(e.line(x.leg, " passed", &j, x.facts.requestID, &x.facts.identity, time.Since(x.start)))
	}
	var value pdk.Call
	if last {
		calls = appendNotices(calls, e.process.notices.take())
		value = accessLog(e.vendor.Plugin, request, response)
		calls = append(calls, &value)
	}
	if !x.batch(calls...) {
		return false
	}
	x.count(&j)
	return true
}

// refuse answers the client instead of letting the exchange go on.
func (x *exchange) refuse(j judgement) {
	e := x.engine
	r := &rules[j.outcome]
	var line pdk.Call
	if !x.writeLine(&line, r.severity, j) {
		return
	}
	var calls []*pdk.Call
	var value pdk.Call
	report := x.report(j)
	if x.leg == llm.ResponseLeg {
		calls = appendCalls(calls, pdk.ClearBodyHeaders())
		value = accessLog(e.vendor.Plugin, &x.facts.access, &report)
	} else {
		value = accessLog(e.vendor.Plugin, &report, nil)
	}
	calls = append(calls, &line)
	calls = appendNotices(calls, e.process.notices.take())
	calls = append(calls, &value)
	if !x.batch(calls...) {
		return
	}
	x.count(&j)
	status, header, body := x.refusal(r, &j)
	x.exit(status, header, body)
}

// refusal is the answer to the client.
func (x *exchange) refusal(r *rule, j *judgement) (int, http.Header, []byte) {
	v := &x.engine.vendor
	status := r.status[x.leg]
	switch status {
	case vendorStatus:
		status = v.BlockStatus
	case 0: // an outcome that the leg cannot have
		r, status = &broken, broken.status[x.leg]
	}
	message := r.message[x.leg]
	if message == "" {
		message = v.BlockMessage[x.leg]
	} else if x.leg == llm.RequestLeg && status < 500 && j.reason != "" {
		message += ": " + j.reason
	}
	format, rpc := x.calledAPI(j.message)
	refusal := llm.Refusal{
		Format: format, RPC: rpc, Status: status, Message: message, Code: r.code,
		Policy:    status < 500,
		RequestID: x.facts.requestID, ScanID: j.verdict.ScanID,
	}
	if j.outcome == blocked {
		refusal.Details = j.verdict.Details
	}
	contentType, body := llm.Render(refusal)
	header := http.Header{"Content-Type": {contentType}, "Cache-Control": {"no-store"}}
	for name, values := range j.verdict.Header {
		header[name] = values
	}
	if v.ScanIDHeader != "" && j.verdict.ScanID != "" {
		header[v.ScanIDHeader] = []string{j.verdict.ScanID}
	}
	if r.retry {
		header["Retry-After"] = []string{strconv.Itoa(retryAfter(j.retryAfter))}
		if x.leg == llm.ResponseLeg {
			header["X-Should-Retry"] = []string{"false"}
		}
	}
	if j.outcome == streamRefused {
		header["Allow"] = []string{"POST, DELETE"}
	}
	return status, header, body
}

// calledAPI says in whose error format the client is answered: the request's
// as it was read, else the one that its path looks like. M is what was read
// of this leg, nil if nothing.
func (x *exchange) calledAPI(m *llm.Message) (llm.Format, *llm.RPC) {
	if x.leg == llm.ResponseLeg && x.facts.request != nil {
		m = x.facts.request
	}
	if m != nil {
		switch m.Format {
		case llm.None, llm.Unknown, llm.Text, llm.Form, llm.Media:
		default:
			if m.Leg == llm.ResponseLeg {
				return m.Format, nil // its ids are the upstream's words, and unscanned
			}
			return m.Format, m.RPC
		}
	}
	return llm.FormatOf(x.facts.path), nil
}

func retryAfter(d time.Duration) int {
	if d <= 0 {
		d = retryDefault
	}
	return int(math.Ceil(min(d, retryMost).Seconds()))
}

func appendCalls(calls []*pdk.Call, more []pdk.Call) []*pdk.Call {
	for i := range more {
		calls = append(calls, &more[i])
	}
	return calls
}

func appendNotices(calls []*pdk.Call, list []notice) []*pdk.Call {
	now := time.Now()
	for _, n := range list {
		c := kongLog(n.severity, n.line(now))
		calls = append(calls, &c)
	}
	return calls
}

// accessLog is the one value that a plugin adds to what Kong's log plugins
// write; a leg that is nil or was not looked at has no part in it.
func accessLog(plugin string, request, response *report) pdk.Call {
	var all pdk.Struct
	for _, leg := range []struct {
		name string
		r    *report
	}{{"request", request}, {"response", response}} {
		if leg.r == nil || rules[leg.r.outcome].action == "" {
			continue
		}
		var s pdk.Struct
		s.Text("action", rules[leg.r.outcome].action)
		if leg.r.reason != "" {
			s.Text("reason", leg.r.reason)
		}
		if leg.r.unscanned != "" {
			s.Text("unscanned", leg.r.unscanned)
		}
		if leg.r.scanID != "" {
			s.Text("scan_id", clean(leg.r.scanID))
		}
		s.Number("latency_ms", milliseconds(leg.r.latency))
		all.Struct(leg.name, s)
	}
	return pdk.SetSerializeValue("ai.guard."+plugin, all)
}

// milliseconds gives a duration in ms, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
