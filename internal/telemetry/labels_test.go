// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"fmt"
	"testing"
)

func TestReasonsAreBounded(t *testing.T) {
	m := NewMetrics("p")
	for i := range 1000 {
		m.Reason("request", "no_verdict", fmt.Sprintf("reason %d", i))
	}
	m.Reason("request", "no_verdict", "")
	m.Reason("request", "no_verdict", "reason 7")
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "ai_guard_leg_reasons_total" {
			continue
		}
		if len(f.Metric) != maxReasons+1 {
			t.Errorf("%d series, want %d", len(f.Metric), maxReasons+1)
		}
		sum := 0.0
		for _, s := range f.Metric {
			sum += s.GetCounter().GetValue()
		}
		if sum != 1001 {
			t.Errorf("counted %v", sum)
		}
		return
	}
	t.Error("no such metric")
}

func TestStatusesAreClasses(t *testing.T) {
	for in, want := range map[string]string{
		"status 503":                 "status 5xx",
		"token endpoint: status 401": "token endpoint: status 4xx",
		"status 429":                 "status 429",
		"timeout":                    "timeout",
		"status 5030":                "status 5030",
	} {
		if got := statusClass(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
