// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
)

// callsAtOnce bounds the calls of one scan that run side by side.
const callsAtOnce = 4

// judgeAll judges the pieces of a scan. A block ends the calls that are still
// running, because they can change nothing. A failure does not: another piece
// may still be blocked, and a failure may be configured to pass.
func (s *Scanner) judgeAll(ctx context.Context, sc *scanhttp.Scan, p profile, bodies [][]byte) (result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make([]result, len(bodies))
	errs := make([]error, len(bodies))
	panics := make([]any, len(bodies))
	var group errgroup.Group
	group.SetLimit(callsAtOnce)
	for i, body := range bodies {
		group.Go(func() error {
			// A panic in a goroutine of ours would end the process, and every
			// exchange with it. The caller's goroutine is guarded.
			defer func() { panics[i] = recover() }()
			results[i], errs[i] = s.judge(ctx, sc, p, body)
			if results[i].Action == scan.Block {
				cancel()
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	return combine(results, errs)
}

// combine makes one result out of several. A block of any piece decides, then a
// failure, one that never passes before one that may. The masked texts of
// pieces only show that there are some: pieces overlap and have no place of
// their own.
func combine(results []result, errs []error) (result, error) {
	if i := slices.IndexFunc(results, func(r result) bool { return r.Action == scan.Block }); i >= 0 {
		return results[i], nil
	}
	if err := scan.Strictest(errs); err != nil {
		return result{}, err
	}
	all := results[0]
	for _, r := range results[1:] {
		for _, d := range r.Detections {
			if !slices.Contains(all.Detections, d) {
				all.Detections = append(all.Detections, d)
			}
		}
		all.maskedPrompt += r.maskedPrompt
		all.maskedResponse += r.maskedResponse
	}
	return all, nil
}
