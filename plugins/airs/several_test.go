// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"context"
	"errors"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestPiecesAreJudgedTogether(t *testing.T) {
	block := result{Verdict: scan.Verdict{Action: scan.Block, ScanID: "b"}}
	allow := result{Verdict: scan.Verdict{Action: scan.Allow, ScanID: "a", Detections: []string{"x"}}}
	down, broken := &scan.Failure{Kind: scan.Unavailable, Reason: "down"}, &scan.Failure{Kind: scan.Degraded, Reason: "broken"}
	none := result{}
	for _, tc := range []struct {
		name   string
		js     []result
		errs   []error
		action scan.Action
		err    error
	}{
		{"all allowed", []result{allow, allow}, []error{nil, nil}, scan.Allow, nil},
		{"one blocked", []result{allow, block}, []error{nil, nil}, scan.Block, nil},
		{"a block beats a failure", []result{none, block}, []error{down, nil}, scan.Block, nil},
		{"a failure beats an allow", []result{allow, none}, []error{nil, down}, 0, down},
		{"what never passes beats what may", []result{none, none, none}, []error{down, broken, down}, 0, broken},
		{"our own fault too", []result{none, none}, []error{down, context.Canceled}, 0, context.Canceled},
	} {
		j, err := combine(tc.js, tc.errs)
		if j.Action != tc.action || !errors.Is(err, tc.err) {
			t.Errorf("%s: %v, %v", tc.name, j.Action, err)
		}
	}
}
