// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// The names of spans.
const spanScan = "ai_guard.scan"

var spanLeg = [2]string{"ai_guard.request", "ai_guard.response"}

// countFor notes how a leg ended, in metrics and in the audit log.
func (p *phase) countFor(leg *run, f *policy.Finding) {
	leg.count(f)
	p.record(leg, f)
}

// count notes how a leg ended in the metrics.
func (e *Engine) count(leg llm.Leg, f *policy.Finding) {
	e.countUnseen(f)
	e.legs[leg][f.Outcome].Inc()
	if f.Alerts() {
		e.alerts[leg].Inc()
	}
	e.process.metrics.Reason(leg.String(), f.Outcome.String(), f.Reason)
}

// countMedia counts a leg that goes on with media that nobody has judged, and
// warns of the first one of the instance. It does not warn when the instance
// starts: operators who have nothing but text would only learn to look away.
func (e *Engine) countMedia(leg llm.Leg, f *policy.Finding) {
	if !f.MediaPass(&e.settings, leg) {
		return
	}
	e.process.metrics.Unscanned.WithLabelValues(leg.String(), policy.ReasonMedia).Inc()
	if e.warnedMedia.CompareAndSwap(false, true) {
		e.process.Notice(false, "media that the scan service does not judge pass unscanned in "+leg.String()+"s, as media_parts says; later ones are only counted")
	}
}

// countUnseen counts a request that refers to what its API keeps, whatever has
// become of it, and tells of the first one of the instance that goes on.
func (e *Engine) countUnseen(f *policy.Finding) {
	unseen := f.Unseen()
	if unseen == 0 {
		return
	}
	for _, kind := range llm.UnseenKinds() {
		if unseen&kind != 0 {
			e.process.metrics.UnseenContext.WithLabelValues(kind.String()).Inc()
		}
	}
	if f.Outcome != policy.ContextRefused && e.warnedUnseen.CompareAndSwap(false, true) {
		e.process.Notice(false, "requests refer to what their API keeps and no request shows ("+unseen.String()+"), as stored_context allows; later ones are only counted")
	}
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

// showFinding shows in a trace how something ended, in words of ours and ids.
func showFinding(s tracing.Span, f *policy.Finding) {
	if !s.Recorded() {
		return
	}
	name := f.Outcome.String()
	s.Set("ai_guard.outcome", name)
	s.Set("ai_guard.reason", f.Reason)
	s.Set("ai_guard.scan_id", telemetry.Clean(f.Verdict.ScanID))
	if f.Message != nil {
		s.Set("ai_guard.format", string(f.Message.Format))
	}
	if f.Outcome.Severity() == policy.Failure {
		s.Fail(name)
	}
}
