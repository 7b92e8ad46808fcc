// SPDX-License-Identifier: Apache-2.0

// Package telemetry is what operators see of a plugin outside Kong's own
// log: metrics and health over HTTP, and the cleaning of values that strangers
// chose before they reach a log line.
package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the counters of one plugin process. Every label has a fixed
// set of values: none comes from a request, a configuration or a service, so
// nobody outside can make them grow.
type Metrics struct {
	// Registry holds them all, for whoever exposes them.
	Registry *prometheus.Registry
	// Legs counts finished legs by leg, mode and outcome.
	Legs *prometheus.CounterVec
	// Alerts counts legs that were allowed although something fired, by leg.
	Alerts *prometheus.CounterVec
	// Bodies counts the bodies that were read by leg and format, "unreadable"
	// for those that were refused.
	Bodies *prometheus.CounterVec
	// BodyBytes are the sizes of the bodies as they came, by leg.
	BodyBytes *prometheus.HistogramVec
	// LegSeconds times legs while Kong waits for them, by leg and mode.
	LegSeconds *prometheus.HistogramVec
	// InFlight is how many legs Kong waits for now, by leg.
	InFlight *prometheus.GaugeVec
	// ScanSeconds times scans by leg, the wait for a slot included.
	ScanSeconds *prometheus.HistogramVec
	// Unscanned counts legs that went on without a verdict because the
	// configuration says so, by leg and reason.
	Unscanned *prometheus.CounterVec
	// UnseenContext counts requests that refer to what their API keeps, by what
	// that is: see llm.Unseen.
	UnseenContext *prometheus.CounterVec
	// UnscannedAnswers counts answers that were to be scanned and whose
	// response event never came.
	UnscannedAnswers prometheus.Counter
	// RecordsDropped counts exchange records that went before their answer
	// came, by cause: age or the name of a bound.
	RecordsDropped *prometheus.CounterVec
	// MonitorJobs counts monitored legs by what became of them: queued, sent
	// (and judged), retried, failed, dropped.
	MonitorJobs *prometheus.CounterVec
	// Shown counts monitored legs that enforcing would refuse unread, by leg and
	// by what a scan of the text that they show came to.
	Shown *prometheus.CounterVec
	// RoomRefused counts the bodies for which no memory became free in time.
	RoomRefused prometheus.Counter
	// ShareLimited counts what a caller's fair share held up, by resource and
	// whether it waited or was refused.
	ShareLimited *prometheus.CounterVec
	// Panics counts recovered panics.
	Panics prometheus.Counter
	// Audits counts records for the audit log by what became of them: written,
	// dropped.
	Audits *prometheus.CounterVec

	// Relayed counts exchanges through the relay by outcome: see RelayPassed.
	Relayed *prometheus.CounterVec
	// Proofs counts what happened to the proofs that exchanges reach the relay:
	// see ProofMade.
	Proofs *prometheus.CounterVec
	// FirstByteSeconds is how much later than ours from the upstream the client
	// gets the first byte of a relayed answer.
	FirstByteSeconds prometheus.Histogram
	// HoldSeconds is how long a unit of a stream was held before it went out.
	HoldSeconds prometheus.Histogram
	// StreamScans is how many scans a stream took.
	StreamScans prometheus.Histogram
	// StreamsOpen is how many streams are relayed now.
	StreamsOpen prometheus.Gauge
	// CutCharacters counts the characters that had gone out of streams before
	// these were cut.
	CutCharacters prometheus.Counter

	limits      *prometheus.GaugeVec
	legReasons  *prometheus.CounterVec
	reasonLabel reasons
	plugin      prometheus.Registerer
}

// The values of Relayed's label: the exchange was handed on to its end, was
// refused or its stream was cut by policy, its upstream failed, or its client
// went away.
const (
	RelayPassed         = "passed"
	RelayRefused        = "refused"
	RelayCut            = "cut"
	RelayUpstreamFailed = "upstream_failed"
	RelayClientGone     = "client_gone"
)

// The values of Proofs' label: exchanges of a kind were seen to reach the
// relay, a response event came for one that the relay has not seen, or one that
// was relayed never came.
const (
	ProofMade      = "made"
	ProofFailed    = "failed"
	ProofTakenBack = "taken_back"
)

// The values of Audits' label.
const (
	AuditWritten = "written"
	AuditDropped = "dropped"
)

// NewMetrics makes the metrics of one plugin, named as Kong knows it.
func NewMetrics(plugin string) *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	r := prometheus.WrapRegistererWith(prometheus.Labels{"plugin": plugin}, m.Registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ai_guard", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	m.Legs = counter("legs_total", "Finished legs of exchanges.", "leg", "mode", "outcome")
	m.Alerts = counter("alerts_total", "Legs that were allowed although something fired.", "leg")
	m.Unscanned = counter("unscanned_total", "Legs that went on without a verdict because the configuration says so.", "leg", "reason")
	m.UnseenContext = counter("unseen_context_total", "Requests that refer to what their API keeps, by what that is.", "kind")
	m.UnscannedAnswers = counter("unscanned_answers_total", "Answers that were to be scanned and whose response event never came.").WithLabelValues()
	m.RecordsDropped = counter("records_dropped_total", "Exchange records that went before their answer came.", "cause")
	m.MonitorJobs = counter("monitor_jobs_total", "Monitored legs by what became of them.", "result")
	m.Shown = counter("shown_total", "Monitored legs that would be refused unread, by what a scan of the text that they show came to.", "leg", "outcome")
	m.RoomRefused = counter("room_refused_total", "Bodies for which no memory became free in time.").WithLabelValues()
	m.ShareLimited = counter("share_limited_total", "What had to wait or was refused because its caller held his fair share already.", "resource", "result")
	m.Panics = counter("panics_total", "Recovered panics.").WithLabelValues()
	m.Audits = counter("audit_records_total", "Records for the audit log by what became of them.", "result")
	m.Relayed = counter("relayed_total", "Exchanges that went through the relay, by what became of them.", "outcome")
	m.Proofs = counter("relay_proofs_total", "Proofs that exchanges of a kind reach the relay, by what became of them.", "result")
	m.CutCharacters = counter("stream_cut_characters_total", "Characters that had gone out of streams before these were cut.").WithLabelValues()
	m.Bodies = counter("bodies_total", "Bodies that were read, by format.", "leg", "format")
	m.legReasons = counter("leg_reasons_total", "Finished legs without an ordinary verdict, by why.", "leg", "outcome", "reason")
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "ai_guard", Name: name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(h)
		return h
	}
	m.ScanSeconds = histogram("scan_seconds", "Duration of scans, the wait for a slot included.",
		[]float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50}, "leg")
	m.LegSeconds = histogram("leg_seconds", "How long Kong waited for a leg.",
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50}, "leg", "mode")
	m.BodyBytes = histogram("body_bytes", "Sizes of bodies as they came.", prometheus.ExponentialBuckets(256, 8, 6), "leg")
	m.FirstByteSeconds = histogram("relay_first_byte_seconds", "How much later than from the upstream the first byte of a relayed answer went out.",
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}).WithLabelValues().(prometheus.Histogram)
	m.HoldSeconds = histogram("stream_hold_seconds", "How long a unit of a stream was held before it went out.",
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}).WithLabelValues().(prometheus.Histogram)
	m.StreamScans = histogram("stream_scans", "How many scans a stream took.",
		[]float64{1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144}).WithLabelValues().(prometheus.Histogram)
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "ai_guard", Name: name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	m.limits = gauge("limit", "Configured bounds.", "bound")
	m.StreamsOpen = gauge("streams_open", "Streams that are relayed now.").WithLabelValues()
	m.InFlight = gauge("exchanges_in_flight", "Legs of exchanges that Kong waits for now.", "leg")
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.plugin = r
	// What alerts look at is there from the start, at 0: nobody sees a series
	// increase that begins with its first event.
	for _, outcome := range []string{RelayPassed, RelayRefused, RelayCut, RelayUpstreamFailed, RelayClientGone} {
		m.Relayed.WithLabelValues(outcome)
	}
	for _, result := range []string{ProofMade, ProofFailed, ProofTakenBack} {
		m.Proofs.WithLabelValues(result)
	}
	for _, result := range []string{AuditWritten, AuditDropped} {
		m.Audits.WithLabelValues(result)
	}
	return m
}

// Limit shows a bound as it is configured. Name is a constant of ours.
func (m *Metrics) Limit(name string, value float64) {
	m.limits.WithLabelValues(name).Set(value)
}

// Reason counts why a leg ended as it did. The reason is one of our texts; ""
// counts nothing.
func (m *Metrics) Reason(leg, outcome, reason string) {
	if reason != "" {
		m.legReasons.WithLabelValues(leg, outcome, m.reasonLabel.label(reason)).Inc()
	}
}

// Gauge shows what value returns at the time of a scrape. Each name can be
// given once.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.plugin.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: "ai_guard", Name: name, Help: help}, value))
}

// Counter shows a count that is kept elsewhere. The labels are constants of
// ours. Each name can be given once for each set of their values.
func (m *Metrics) Counter(name, help string, labels map[string]string, value func() float64) {
	m.plugin.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Namespace: "ai_guard", Name: name, Help: help, ConstLabels: labels}, value))
}

// Build shows the version that runs.
func (m *Metrics) Build(version, goVersion string) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "ai_guard", Name: "build_info", Help: "Always 1; the labels say what runs.",
	}, []string{"version", "goversion"})
	m.plugin.MustRegister(info)
	info.WithLabelValues(version, goVersion).Set(1)
}
