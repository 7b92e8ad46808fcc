// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// maxDetectors bounds how many names of detectors a line holds.
const maxDetectors = 20

// writeLine makes the call that writes the line about a leg, which need not be
// the event's own. It asks now for the names that only such a line needs. The
// error is pdk.ErrGone.
func (p *phase) writeLine(call *pdk.Call, leg *run, s policy.Severity, f *policy.Finding) error {
	e, id := p.engine, p.exchange.identity
	route, service, consumer := pdk.RouterRoute(), pdk.RouterService(), pdk.ClientConsumer()
	calls := []*pdk.Call{&route}
	if id.Service == "" {
		calls = append(calls, &service)
	}
	if !e.needs.Consumer {
		calls = append(calls, &consumer)
	}
	if err := p.batch(calls...); err != nil {
		return err
	}
	// A name that cannot be read stays out: the line matters more.
	if r, err := route.Route(); err == nil {
		id.Route = nameOrID(r.Name, r.ID)
	}
	if id.Service == "" {
		if s, err := service.Service(); err == nil {
			id.Service = nameOrID(s.Name, s.ID)
		}
	}
	if !e.needs.Consumer {
		if c, err := consumer.Consumer(); err == nil {
			id.Consumer = scan.Consumer(c)
		}
	}
	p.names = id
	text := e.line(leg.leg, verb(f.Outcome), f, p.exchange.requestID, &id, leg.elapsed())
	e.process.log.Log(zapLevel(s), text)
	*call = kongLog(s, text)
	return nil
}

// verb says, after the leg's name, what became of it.
func verb(o policy.Outcome) string {
	switch o {
	case policy.Blocked, policy.MissingPrompt:
		return " blocked"
	case policy.Masked:
		return " masked"
	case policy.Allowed:
		return " passed with findings"
	case policy.Unscanned:
		return " passed unscanned"
	}
	return " refused"
}

func nameOrID(name, id string) string {
	if name != "" {
		return name
	}
	return id
}

// line is what operators read about a leg; verb says what became of it.
func (e *Engine) line(leg llm.Leg, verb string, f *policy.Finding, requestID string, id *scan.Identity, took time.Duration) string {
	unjudged := ""
	if f.MediaPass(&e.settings, leg) {
		unjudged = policy.ReasonMedia
	}
	return e.text(leg.String()+verb, unjudged, f, requestID, id, took)
}

// text returns a line for operators. what says what became of which leg,
// unjudged which part of it nobody has judged. The line holds no text of the
// exchange and no secret. Every value is cleaned, since strangers choose some.
func (e *Engine) text(what, unjudged string, f *policy.Finding, requestID string, id *scan.Identity, took time.Duration) string {
	var b strings.Builder
	b.Grow(256)
	b.WriteString(e.vendor.LogPrefix)
	b.WriteByte(' ')
	b.WriteString(what)
	b.WriteByte(':')
	add := func(name, value string) {
		if value == "" {
			return
		}
		b.WriteByte(' ')
		b.WriteString(name)
		b.WriteString(`="`)
		b.WriteString(telemetry.Clean(value))
		b.WriteByte('"')
	}
	outcome := f.Outcome
	if outcome == policy.Unscanned && f.Was != policy.Undecided {
		outcome = f.Was
	}
	add("outcome", outcome.String())
	reason := f.Reason
	if f.Place != "" {
		reason += ": " + f.Place
	}
	add("reason", reason)
	add("check", f.Hint)
	if f.Shown != policy.Undecided {
		add("shown", f.Shown.String())
		if f.Verdict.Partial && unjudged == "" {
			unjudged = "rest"
		}
	}
	add("unscanned", unjudged)
	add("unseen_context", f.Unseen().String())
	add("scan_id", f.Verdict.ScanID)
	add("report_id", f.Verdict.ReportID)
	add("request_id", requestID)
	add("consumer", called(&id.Consumer))
	add("service", id.Service)
	add("route", id.Route)
	add(e.vendor.Subject, f.Verdict.Subject)
	add("category", f.Verdict.Category)
	add("detectors", strings.Join(f.Verdict.Detections[:min(len(f.Verdict.Detections), maxDetectors)], ","))
	if took > 0 {
		add("latency_ms", strconv.FormatFloat(milliseconds(took), 'f', 1, 64))
	}
	return b.String()
}

func kongLog(s policy.Severity, text string) pdk.Call {
	if s == policy.Failure {
		return pdk.LogErr(text)
	}
	return pdk.LogWarn(text)
}

func clean(s string) string { return telemetry.Clean(s) }
