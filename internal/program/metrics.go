// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"runtime"

	"go.uber.org/zap"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// show adds what belongs to the process, not to its exchanges, to the metrics.
func show(m *telemetry.Metrics, own pluginserver.Process, c *pluginserver.Counters, t *tracing.Tracer) {
	m.Build(own.Version, runtime.Version())
	m.Limit("frame_bytes", pluginserver.DefaultMaxFrame)
	m.Limit("event_seconds", pluginserver.DefaultEventTimeout.Seconds())
	m.Limit("drain_seconds", own.DrainTime.Seconds())

	count := func(name, help string, labels map[string]string, value func() int64) {
		m.Counter(name, help, labels, func() float64 { return float64(value()) })
	}
	m.Gauge("kong_connections", "Connections of Kong's workers.", func() float64 { return float64(c.Connections.Load()) })
	m.Gauge("instances", "Configurations that are held.", func() float64 { return float64(c.Instances.Load()) })
	count("events_total", "Events that Kong had run: phases of exchanges.", nil, c.Events.Load)
	count("pdk_calls_total", "Calls to Kong. Each costs its worker 15 to 35 microseconds.", nil, c.Calls.Load)
	count("frames_refused_total", "Frames of Kong that were thrown away.", map[string]string{"cause": "too_large"}, c.TooLarge.Load)
	count("frames_refused_total", "Frames of Kong that were thrown away.", map[string]string{"cause": "no_room"}, c.NoRoom.Load)
	count("server_panics_total", "Panics recovered outside of exchanges.", nil, c.Panics.Load)

	for _, r := range scanhttp.Results() {
		count("service_calls_total", "Calls to the scan service and its token endpoint, retries included.",
			map[string]string{"result": r.String()}, func() int64 { return scanhttp.Attempts(r) })
	}
	m.Gauge("breakers", "Circuit breakers, one for each host and account.", func() float64 { all, _ := scanhttp.Breakers(); return float64(all) })
	m.Gauge("breakers_open", "Circuit breakers that let nothing through but probes.", func() float64 { _, open := scanhttp.Breakers(); return float64(open) })
	count("breaker_openings_total", "How often a circuit breaker has opened.", nil, scanhttp.Openings)
	count("breaker_holds_total", "How often one has opened for a single caller, whose scans alone had failed.", nil, scanhttp.Holds)

	const spans = "Spans for the collector by what became of them."
	count("spans_total", spans, map[string]string{"result": "sent"}, func() int64 { sent, _ := t.Counts(); return sent })
	count("spans_total", spans, map[string]string{"result": "lost"}, func() int64 { _, lost := t.Counts(); return lost })
}

// showFields shows the bounds that are fields of the configuration, as the most
// recent instance has them.
func showFields(m *telemetry.Metrics, s *policy.Settings) {
	m.Limit("max_request_body_bytes", float64(s.MaxRequestBytes))
	m.Limit("max_response_body_bytes", float64(s.MaxResponseBytes))
	m.Limit("timeout_seconds", s.Timeout.Seconds())
	m.Limit("stream_scan_chars", float64(s.StreamScanChars))
	m.Limit("stream_context_chars", float64(s.StreamContextChars))
}

// serveMetrics shows the metrics until ctx ends.
func serveMetrics(ctx context.Context, e *telemetry.Endpoint) {
	defer func() {
		if v := recover(); v != nil {
			e.Log.Error("the metrics endpoint ended with a panic", zap.Stack("stack"))
		}
	}()
	e.Run(ctx)
}
