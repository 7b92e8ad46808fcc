// SPDX-License-Identifier: Apache-2.0

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
	// ScanSeconds times scans by leg, the wait for a slot included.
	ScanSeconds *prometheus.HistogramVec
	// Unscanned counts legs that went on without a verdict because the
	// configuration says so, by leg and reason.
	Unscanned *prometheus.CounterVec
	// UnscannedAnswers counts answers that were to be scanned and whose
	// response event never came.
	UnscannedAnswers prometheus.Counter
	// RecordsDropped counts exchange records that went before their answer
	// came, by cause: age or the name of a bound.
	RecordsDropped *prometheus.CounterVec
	// MonitorJobs counts monitored legs by what became of them: queued,
	// judged, failed, dropped.
	MonitorJobs *prometheus.CounterVec
	// RoomRefused counts the bodies for which no memory became free in time.
	RoomRefused prometheus.Counter
	// Panics counts recovered panics.
	Panics prometheus.Counter

	limits *prometheus.GaugeVec
	plugin prometheus.Registerer
}

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
	m.Unscanned = counter("unscanned_total", "Legs that went on without a verdict because the configuration says so.", "leg", "reason")
	m.UnscannedAnswers = counter("unscanned_answers_total", "Answers that were to be scanned and whose response event never came.").WithLabelValues()
	m.RecordsDropped = counter("records_dropped_total", "Exchange records that went before their answer came.", "cause")
	m.MonitorJobs = counter("monitor_jobs_total", "Monitored legs by what became of them.", "result")
	m.RoomRefused = counter("room_refused_total", "Bodies for which no memory became free in time.").WithLabelValues()
	m.Panics = counter("panics_total", "Recovered panics.").WithLabelValues()
	m.ScanSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "ai_guard", Name: "scan_seconds", Help: "Duration of scans, the wait for a slot included.",
		Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50},
	}, []string{"leg"})
	m.limits = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "ai_guard", Name: "limit", Help: "Configured bounds.",
	}, []string{"bound"})
	r.MustRegister(m.ScanSeconds, m.limits, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.plugin = r
	return m
}

// Limit shows a bound as it is configured. Name is a constant of ours.
func (m *Metrics) Limit(name string, value float64) {
	m.limits.WithLabelValues(name).Set(value)
}

// Gauge shows what value gives at the time of a scrape. Each name can be
// given once.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.plugin.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: "ai_guard", Name: name, Help: help}, value))
}
