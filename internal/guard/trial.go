// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// A Trial is what an engine finds about one body that no gateway sent.
type Trial struct {
	// Outcome is the outcome's name, as in logs and metrics.
	Outcome string
	// Status is what a client would be answered with if the leg were enforced,
	// 0 when the exchange would go on.
	Status int
	// NoVerdict says that the service did not judge although it was to.
	NoVerdict bool
	// Reason and Hint are as in scan.Failure. Place is as in llm.PlacedError.
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
	f, ok := e.beforeReading(&body{in: in})
	if ok {
		f = e.judge(ctx, in, &exchange{requestID: requestID, path: in.Path}, allowance{until: e.deadline(time.Now())})
	}
	status := 0
	if f.Outcome.Refuses(in.Leg) {
		x := policy.Exchange{RequestID: requestID, Path: in.Path}
		status = policy.Refuse(&e.vendor, &e.settings, in.Leg, &x, f).Refusal.Status
	}
	picked := f.Picked
	if picked == nil && f.Message != nil {
		for i := range f.Message.Turns {
			picked = append(picked, i)
		}
	}
	return Trial{
		Outcome: f.Outcome.String(), Status: status, NoVerdict: f.Outcome.Severity() == policy.Failure,
		Reason: f.Reason, Place: f.Place, Hint: f.Hint, Verdict: f.Verdict, Message: f.Message, Picked: picked, Latency: f.Latency,
	}
}
