// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// A Process is what all engines of one plugin process share. It outlives the
// plugin's instances, which come and go with each configuration change.
type Process struct {
	// Room is the memory for the bodies of running exchanges as they come from
	// Kong, a third of what the bounds allow them.
	Room *Room
	// Tracer makes spans of legs and scans, nil for none. It is set before the
	// first exchange.
	Tracer *tracing.Tracer
	// Relay is where relayed exchanges come to, Upstreams what hands them on.
	// Both are set before the first exchange; nil where nothing is relayed.
	Relay     *relay.Server
	Upstreams *relay.Client
	// Audit takes a record of each leg, nil for none. It is set before the first
	// exchange.
	Audit *audit.Log
	// work is the rest, for reading and scanning bodies. It is apart so that
	// whoever holds a body gets to work on it in the end. In a single room,
	// bodies that wait for more could fill it and wait for each other.
	work *Room

	bounds  Bounds
	log     *zap.Logger
	metrics *telemetry.Metrics
	notices notices
	records *records
	// arrivals are the relayed exchanges whose response event may come.
	arrivals arrivals
	entities entities
	monitor  *monitorQueue
	slots    *shares
	waiting  atomic.Int64 // scans that wait for a slot
	// failed is when a scan last ended without the service's answer, in
	// nanoseconds since 1970.
	failed atomic.Int64
	// asksHeadersByName says that this Kong does not show an answer's headers
	// all at once.
	asksHeadersByName atomic.Bool
	panics            panics
}

// NewProcess makes the state of a process within bounds that are valid. LogPrefix
// starts each line in Kong's log that belongs to no exchange.
func NewProcess(b Bounds, logPrefix string, log *zap.Logger, m *telemetry.Metrics) *Process {
	p := &Process{
		Room:    newRoom(b.HeldBytes/3, b.RoomWait, "bodies", m),
		work:    newRoom(b.HeldBytes-b.HeldBytes/3, b.RoomWait, "work", m),
		bounds:  b,
		log:     log,
		metrics: m,
		notices: notices{log: log, prefix: logPrefix},
		slots:   newShares(int64(b.Scans), "scans", m),
		panics:  panics{log: log, metrics: m},
	}
	p.notices.panics = &p.panics
	p.records = newRecords(&b, m, &p.panics, p.lostRecord)
	p.monitor = newMonitorQueue(p)
	p.export()
	return p
}

// Notice takes a line about something that happened outside any event, such
// as a refreshed token that failed or an opened breaker: it goes to stderr at
// once and into Kong's log with the plugin's next event. err chooses the level
// err instead of warn. The text names no content and no secret; repeats are
// counted.
func (p *Process) Notice(err bool, text string) {
	s := policy.Warning
	if err {
		s = policy.Failure
	}
	text = p.notices.prefix + " " + telemetry.Line(text)
	p.notices.add(s, text, text)
}

// Panicked takes what recover returned outside of this package. It has to be
// called by the deferred function.
func (p *Process) Panicked(v any) { p.panics.recovered(v) }

// Leave says that the process is about to end, though exchanges still come.
// Monitored legs that wait for the service to come back are tried again now.
func (p *Process) Leave() { p.monitor.hurry() }

// Flush waits until all monitored legs are judged, or were tried once more
// while the service is away. What is left when ctx ends
// is dropped and counted.
func (p *Process) Flush(ctx context.Context) {
	p.monitor.flush(ctx)
	p.records.close()
}

// lostRecord hears of exchanges that are forgotten before their answer came.
func (p *Process) lostRecord(x *exchange, cause string) {
	if x.released {
		return
	}
	if cause != causeAge {
		p.Notice(true, "exchanges are forgotten before their answer came, because of "+cause+": their request is read again")
		return
	}
	p.metrics.UnscannedAnswers.Inc()
	p.Notice(true, "the response event of an exchange never came: its answer went out unseen, or another plugin or Kong ended the exchange")
}

func (p *Process) export() {
	m, b := p.metrics, &p.bounds
	for name, v := range map[string]float64{
		"held_bytes": float64(b.HeldBytes), "room_wait_seconds": b.RoomWait.Seconds(),
		"scans": float64(b.Scans), "scans_per_leg": float64(b.ScansPerLeg),
		"records": float64(b.Records), "record_age_seconds": b.RecordAge.Seconds(), "record_bytes": float64(b.RecordBytes),
		"monitor_items": float64(b.MonitorItems), "monitor_bytes": float64(b.MonitorBytes), "monitor_workers": float64(b.MonitorWorkers),
		"monitor_patience_seconds": b.MonitorPatience.Seconds(),
		"json_depth":               float64(b.JSONDepth), "compression_ratio": float64(b.Ratio), "memory_bytes": float64(b.MemoryLimit()),
	} {
		m.Limit(name, v)
	}
	m.Gauge("held_bytes", "Memory taken by the bodies of running exchanges.", func() float64 { return float64(p.Room.Held() + p.work.Held()) })
	m.Gauge("scans_running", "Scans that run now.", func() float64 { return float64(p.slots.held()) })
	m.Gauge("scans_waiting", "Scans that wait for others to end.", func() float64 { return float64(p.waiting.Load()) })
	m.Gauge("records", "Exchanges remembered between their legs.", func() float64 { n, _ := p.records.count(); return float64(n) })
	m.Gauge("record_bytes", "Memory taken by remembered exchanges.", func() float64 { _, b := p.records.count(); return float64(b) })
	m.Gauge("monitor_items", "Legs waiting to be monitored, or being judged.", func() float64 { n, _ := p.monitor.held(); return float64(n) })
	m.Gauge("monitor_bytes", "Memory taken by them.", func() float64 { _, b := p.monitor.held(); return float64(b) })
	// The series that alerts look at exist from the start, at 0. When a series
	// begins with its first event, nobody sees it increase.
	for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
		m.Unscanned.WithLabelValues(leg.String(), policy.Unavailable.String())
		m.Unscanned.WithLabelValues(leg.String(), policy.Unscannable.String())
		m.Unscanned.WithLabelValues(leg.String(), policy.ReasonMedia)
		for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor} {
			m.Legs.WithLabelValues(leg.String(), string(mode), policy.Misconfigured.String())
		}
	}
	for _, kind := range llm.UnseenKinds() {
		m.UnseenContext.WithLabelValues(kind.String())
	}
	for _, o := range []jobOutcome{jobQueued, jobSent, jobAgain, jobFailed, jobDropped} {
		m.MonitorJobs.WithLabelValues(string(o))
	}
	for _, cause := range []string{causeAge, causeCount, causeBytes} {
		m.RecordsDropped.WithLabelValues(cause)
	}
}
