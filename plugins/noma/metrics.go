// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"sync/atomic"

	"kong-ai-guard/internal/telemetry"
)

// tokens counts the process's token fetches.
var tokens struct{ fetched, failed atomic.Int64 }

func metrics(m *telemetry.Metrics) {
	const help = "Tokens fetched for scans, by how that ended."
	m.Counter("token_refreshes_total", help, map[string]string{"result": "ok"}, func() float64 { return float64(tokens.fetched.Load()) })
	m.Counter("token_refreshes_total", help, map[string]string{"result": "failed"}, func() float64 { return float64(tokens.failed.Load()) })
}
