// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"time"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// A transport is the way that an exchange takes through the plugin.
type transport string

const (
	byPhases transport = "phases"
	byRelay  transport = "relay"
)

// An ended leg is what the audit log is told of beside the finding.
type ended struct {
	leg       llm.Leg
	transport transport
	exchange  *exchange
	// names says who calls what, where more was learnt than the exchange holds.
	names scan.Identity
	took  time.Duration
	// scans is how many were made of the leg, characters how much was judged
	// besides what the finding has, and released how many characters had gone
	// out before it was cut.
	scans, characters, released int
}

// audit writes the record of a leg that has ended, if somebody wants it. A leg
// that nobody looks at has none, and a monitored one has its record when it is
// judged.
func (e *Engine) audit(f *policy.Finding, l ended) {
	log := e.process.Audit
	if log == nil || f.Outcome == policy.Pending || f.Outcome == policy.Skipped {
		return
	}
	x := l.exchange
	report := f.Report(&e.settings, l.leg, l.took)
	outcome := f.Outcome
	if outcome == policy.Unscanned && f.Was != policy.Undecided {
		outcome = f.Was
	}
	r := audit.Record{
		Time: time.Now(), Plugin: e.vendor.Plugin, RequestID: x.requestID, Leg: l.leg.String(),
		Mode: string(e.settings.Mode(l.leg)), Transport: string(l.transport),
		// Not the place, which may quote names of a body.
		Action: f.Outcome.Action(), Outcome: outcome.String(), Reason: f.Reason, Unscanned: report.Unscanned,
		ScanID: f.Verdict.ScanID, ReportID: f.Verdict.ReportID,
		Service:  cmp.Or(l.names.Service, x.identity.Service, x.named.Service, known(e.service.Load())),
		Route:    cmp.Or(l.names.Route, x.identity.Route, x.named.Route, known(e.route.Load())),
		Consumer: cmp.Or(called(&l.names.Consumer), called(&x.identity.Consumer), called(&x.named.Consumer)),
		Subject:  f.Verdict.Subject, Detectors: f.Verdict.Detections[:min(len(f.Verdict.Detections), maxDetectors)],
		Alert:     f.Alerts(),
		LatencyMS: milliseconds(l.took), Scans: l.scans, Characters: l.characters, Released: l.released,
	}
	if f.Message != nil {
		r.Model, r.Format = f.Message.Model, string(f.Message.Format)
		r.UnseenContext = f.Message.Unseen.String()
	}
	if x.request != nil {
		r.Model = cmp.Or(x.request.Model, r.Model)
	}
	if l.scans > 0 {
		for i := range f.Turns {
			r.Characters += utf8.RuneCountInString(f.Turns[i].Text)
		}
	}
	log.Write(r)
}

func known(name *string) string {
	if name == nil {
		return ""
	}
	return *name
}

// called is how a line calls a consumer, "" if there is none.
func called(c *scan.Consumer) string { return cmp.Or(c.Username, c.CustomID, c.ID) }

// record writes the record of a leg that an event has ended.
func (p *phase) record(leg *run, f *policy.Finding) {
	p.engine.audit(f, ended{
		leg: leg.leg, transport: byPhases, exchange: p.exchange, names: p.names, took: leg.elapsed(), scans: f.Scans, characters: leg.characters,
	})
}

// recordUnseen writes the record of an answer that goes out without our seeing
// it.
func (p *phase) recordUnseen(reason string) {
	f := policy.Ended(policy.Unscanned, reason)
	p.engine.audit(&f, ended{leg: llm.ResponseLeg, transport: byPhases, exchange: p.exchange, names: p.names})
}

// record writes the record of a monitored leg, which began to be judged at
// start.
func (j *job) record(f *policy.Finding, x *exchange, start time.Time) {
	j.engine.audit(f, ended{leg: j.input.Leg, transport: j.by, exchange: x, took: time.Since(start), scans: f.Scans})
}
