// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"time"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/scan"
)

// A Trial is what an engine finds about one body that no gateway sent.
type Trial struct {
	// Outcome is the outcome's name, as in logs and metrics.
	Outcome string
	// Status is what a client would be answered with by a leg that is
	// enforced, 0 when the exchange would go on.
	Status int
	// NoVerdict tells that the service did not judge although it was to.
	NoVerdict bool
	// Reason and Hint are as in Failure. Place is as in llm.PlacedError.
	Reason, Place, Hint string
	Verdict             scan.Verdict
	// Message is nil when the body could not be read. Picked are the places
	// of the judged turns among the message's.
	Message *llm.Message
	Picked  []int
	// Latency is that of the scan, 0 if there was none.
	Latency time.Duration
}

// Try judges one body as an enforced leg would, whatever the modes say. It is
// for diagnosis. The engine's process needs nothing but bounds.
func (e *Engine) Try(ctx context.Context, in llm.Input, requestID string) Trial {
	leg := in.Leg
	var j judgement
	switch {
	case len(in.Body) == 0:
		j = ended(nothing, "")
	case int64(len(in.Body)) > e.maxBytes(leg):
		j = ended(tooLarge, "")
	default:
		j = e.judge(ctx, in, &facts{requestID: requestID, path: in.Path}, "", e.deadline(time.Now()), memory{})
	}
	status := rules[j.outcome].status[leg]
	if status == vendorStatus {
		status = e.vendor.BlockStatus
	}
	picked := j.picked
	if picked == nil && j.message != nil {
		for i := range j.message.Turns {
			picked = append(picked, i)
		}
	}
	return Trial{
		Outcome: rules[j.outcome].name, Status: status, NoVerdict: rules[j.outcome].severity == failure,
		Reason: j.reason, Place: j.place, Hint: j.hint, Verdict: j.verdict, Message: j.message, Picked: picked, Latency: j.latency,
	}
}
