// SPDX-License-Identifier: Apache-2.0

package program

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// VersionOf is what a build with this information calls its version.
var VersionOf = versionOf

// Registry returns the metrics of a plugin's process, as start makes them.
func Registry(p Plugin) *prometheus.Registry {
	m := telemetry.NewMetrics(p.Vendor.Plugin)
	guard.NewProcess(guard.DefaultBounds(), "", zap.NewNop(), m)
	show(m, pluginserver.Process{Version: "v", DrainTime: pluginserver.DefaultDrainTimeout}, new(pluginserver.Counters), nil)
	if p.Metrics != nil {
		p.Metrics(m)
	}
	return m.Registry
}

// How the runtime is tuned.
var (
	BallastSize = ballastSize
	Procs       = procs
	AdjustProcs = adjustProcs
)
