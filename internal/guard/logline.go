// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strconv"
	"strings"
	"time"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/scan"
	"kong-ai-guard/internal/telemetry"
)

// maxDetectors bounds how many names of detectors a line holds.
const maxDetectors = 20

// severity is the level of the line about a leg, quiet for none.
func (j *judgement) severity() severity {
	if j.outcome == unscanned {
		if j.was == undecided { // no fault: it was not to be looked at
			return quiet
		}
		return rules[j.was].severity
	}
	if j.outcome == allowed && j.verdict.Alert {
		return warning
	}
	return rules[j.outcome].severity
}

// writeLine makes the call that writes the line about a leg. The names that
// only such a line needs are asked for now. It is false when Kong is gone.
func (x *exchange) writeLine(call *pdk.Call, s severity, j judgement) bool {
	id := x.facts.identity
	route, service, consumer := pdk.RouterRoute(), pdk.RouterService(), pdk.ClientConsumer()
	calls := []*pdk.Call{&route}
	if id.Service == "" {
		calls = append(calls, &service)
	}
	if !x.engine.vendor.NeedsConsumer {
		calls = append(calls, &consumer)
	}
	if !x.batch(calls...) {
		return false
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
	if !x.engine.vendor.NeedsConsumer {
		if c, err := consumer.Consumer(); err == nil {
			id.Consumer = scan.Consumer(c)
		}
	}
	verb := "refused"
	switch j.outcome {
	case blocked, missingPrompt:
		verb = "blocked"
	case masked:
		verb = "masked"
	case allowed:
		verb = "passed with findings"
	case unscanned:
		verb = "passed unscanned"
	}
	text := x.engine.line(x.leg, " "+verb, &j, x.facts.requestID, &id, time.Since(x.start))
	x.engine.process.log.Log(s.zap(), text)
	*call = kongLog(s, text)
	return true
}

func nameOrID(name, id string) string {
	if name != "" {
		return name
	}
	return id
}

// line is what operators read about a leg, as text is; verb is what became of it.
func (e *Engine) line(leg llm.Leg, verb string, j *judgement, requestID string, id *scan.Identity, took time.Duration) string {
	unjudged := ""
	if e.mediaPass(leg, j) {
		unjudged = reasonMedia
	}
	return e.text(leg.String()+verb, unjudged, j, requestID, id, took)
}

// text is a line for operators: what is what became of what, unjudged the part of it that nobody has judged. It holds no
// text of the exchange and no secret; every value is cleaned, since strangers choose some.
func (e *Engine) text(what, unjudged string, j *judgement, requestID string, id *scan.Identity, took time.Duration) string {
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
	outcome := j.outcome
	if outcome == unscanned && j.was != undecided {
		outcome = j.was
	}
	add("outcome", rules[outcome].name)
	reason := j.reason
	if j.place != "" {
		reason += ": " + j.place
	}
	add("reason", reason)
	add("check", j.hint)
	add("unscanned", unjudged)
	add("scan_id", j.verdict.ScanID)
	add("report_id", j.verdict.ReportID)
	add("request_id", requestID)
	add("consumer", nameOrID(id.Consumer.Username, nameOrID(id.Consumer.CustomID, id.Consumer.ID)))
	add("service", id.Service)
	add("route", id.Route)
	add(e.vendor.Subject, j.verdict.Subject)
	add("category", j.verdict.Category)
	add("detectors", strings.Join(j.verdict.Detections[:min(len(j.verdict.Detections), maxDetectors)], ","))
	if took > 0 {
		add("latency_ms", strconv.FormatFloat(milliseconds(took), 'f', 1, 64))
	}
	return b.String()
}

func kongLog(s severity, text string) pdk.Call {
	if s == failure {
		return pdk.LogErr(text)
	}
	return pdk.LogWarn(text)
}

func clean(s string) string { return telemetry.Clean(s) }
