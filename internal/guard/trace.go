// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/telemetry"
	"kong-ai-guard/internal/tracing"
)

// The names of spans.
const spanScan = "ai_guard.scan"

var spanLeg = [2]string{"ai_guard.request", "ai_guard.response"}

// trace makes the leg part of the caller's trace, which the scan service is
// told of too. The answer's leg belongs to the request's.
func (x *exchange) trace() {
	p := x.engine.process
	if x.leg == llm.RequestLeg {
		x.ctx = tracing.Join(x.ctx, x.facts.header)
	} else {
		x.ctx = tracing.In(x.ctx, x.facts.trace)
	}
	x.ctx, x.span = p.Tracer.Start(x.ctx, spanLeg[x.leg], x.start, false)
	if x.leg == llm.RequestLeg {
		x.facts.trace = tracing.Parent(x.ctx)
	}
	if x.span.Recorded() {
		x.span.Set("ai_guard.plugin", x.engine.vendor.Plugin)
		x.span.Set("ai_guard.mode", string(x.engine.mode(x.leg)))
		x.span.Set("kong.request_id", telemetry.Clean(x.facts.requestID))
	}
}

// count notes how the leg ended. A monitored one is counted when it is judged.
func (x *exchange) count(j *judgement) {
	if j.outcome != pending {
		x.engine.count(x.leg, j)
	}
	j.describe(x.span)
}

// count notes how a leg ended in the metrics.
func (e *Engine) count(leg llm.Leg, j *judgement) {
	e.legs[leg][j.outcome].Inc()
	e.process.metrics.Reason(leg.String(), rules[j.outcome].name, j.reason)
}

// countBody notes what was read; m is nil for what could not be.
func (e *Engine) countBody(leg llm.Leg, size int, m *llm.Message) {
	format := "unreadable"
	switch {
	case m == nil:
	case m.Format == llm.None:
		format = "none"
	default:
		format = string(m.Format)
	}
	e.bodyBytes[leg].Observe(float64(size))
	e.process.metrics.Bodies.WithLabelValues(leg.String(), format).Inc()
}

// describe shows how something ended in a trace: in words of ours and ids.
func (j *judgement) describe(s tracing.Span) {
	if !s.Recorded() {
		return
	}
	name := rules[j.outcome].name
	s.Set("ai_guard.outcome", name)
	s.Set("ai_guard.reason", j.reason)
	s.Set("ai_guard.scan_id", telemetry.Clean(j.verdict.ScanID))
	if j.message != nil {
		s.Set("ai_guard.format", string(j.message.Format))
	}
	if rules[j.outcome].severity == failure {
		s.Fail(name)
	}
}
