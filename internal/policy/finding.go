// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// A Finding is what was found out about one leg, before and after the
// configuration says what that means.
type Finding struct {
	Outcome Outcome
	// Was is the outcome before the configuration let it pass unscanned.
	Was Outcome
	// Shown is what a scan of the text came to that a monitored leg shows,
	// although enforcing would refuse it unread; Undecided for none. The verdict
	// is then that scan's.
	Shown Outcome
	// Reason is one of a fixed set of texts, "" for none.
	Reason string
	// Place says more than the reason: where the body could not be read. It is
	// for log lines only.
	Place string
	// Hint names the setting to look at, "" for none.
	Hint string
	// RetryAfter is how long the service asked to be left alone, 0 if it did
	// not.
	RetryAfter time.Duration
	// Provoked is as in scan.Failure: the outcome never passes.
	Provoked bool
	// Verdict is the service's, zero when it gave none.
	Verdict scan.Verdict
	// Message is what the leg says; nil when it could not be read.
	Message *llm.Message
	// Unjudged says that there are media that the service does not look at.
	Unjudged bool
	// Turns are those that were judged. Picked holds their places among the
	// message's turns, nil for all.
	Turns  []llm.Turn
	Picked []int
	// Claim is what the client claims besides the content. See scan.Claimer.
	Claim string
	// Latency is that of the scan, 0 if there was none.
	Latency time.Duration
	// Scans is how many scans were made, 0 if there was none.
	Scans int
}

// Ended is the finding of a leg that was not judged. The reason is one of a
// fixed set of texts, "" for none.
func Ended(o Outcome, reason string) Finding { return Finding{Outcome: o, Reason: reason} }

// The reasons that are given here; others come from llm and from scanners.
const (
	ReasonTimeout     = "timeout"
	ReasonNoSlot      = "no free scan in time"
	ReasonEventTime   = "event deadline"
	ReasonGRPC        = "gRPC"
	ReasonHeaders     = "too many headers"
	ReasonTwice       = "repeated header"
	ReasonPanic       = "panic"
	ReasonKongReply   = "unreadable reply of the gateway"
	ReasonNoAction    = "verdict without an action"
	ReasonMask        = "mask without a certain place"
	ReasonEarlyMask   = "mask before the scan of another plugin"
	ReasonErrorAnswer = "error answer"
	ReasonEventStream = "event stream by GET"
	ReasonListen      = "event stream by subscriptions/listen"
	ReasonStream      = "monitored stream"
	ReasonPassed      = "stream that is not to be scanned"
	ReasonQueueFull   = "monitor queue full"
	ReasonService     = "content over the limit of the service"
	ReasonMedia       = "media"
	ReasonMaskBeside  = "mask of a request that had gone on"
	ReasonUpgrade     = "upgraded connection"
	ReasonCut         = "answer cut off by the upstream"
)

// Alerts reports whether the leg went on although something fired in it.
func (f *Finding) Alerts() bool { return f.Outcome == Allowed && f.Verdict.Alert }

// Severity is the level of the line about a leg, quiet for none.
func (f *Finding) Severity() Severity {
	if f.Outcome == Unscanned {
		if f.Was == Undecided { // no fault: it was not to be looked at
			return Quiet
		}
		return f.Was.Severity()
	}
	if f.Alerts() {
		return Warning
	}
	return f.Outcome.Severity()
}

// Unread reports whether an enforced leg with this outcome would end without a
// scan of all that it says.
func (f *Finding) Unread() bool {
	switch f.Outcome {
	case Malformed, Ambiguous, TooLarge, Unscannable, MediaRefused, ContextRefused:
		return true
	}
	return false
}

// MediaPass reports whether media go on that nobody has judged.
func (f *Finding) MediaPass(s *Settings, leg llm.Leg) bool {
	return f.Unjudged && (s.Mode(leg) == Monitor || !f.Outcome.Refuses(leg))
}

// Unseen is what the leg refers to that its API keeps, nothing for a leg that
// could not be read.
func (f *Finding) Unseen() llm.Unseen {
	if f.Message == nil {
		return 0
	}
	return f.Message.Unseen
}

// Rewrites reports whether the body has to become another one.
func (f *Finding) Rewrites() bool {
	return f.Outcome == Masked || f.Message != nil && f.Message.Cut != nil
}

// rewritten returns the judged body as it is to go on: with the verdict's
// masks, and without what was cut out. An error means that the places of masks
// are not certain.
func (f *Finding) rewritten() ([]byte, error) {
	if f.Outcome != Masked {
		return f.Message.Replace(nil)
	}
	masks := make([]llm.Replacement, len(f.Verdict.Masked))
	for i, m := range f.Verdict.Masked {
		if m.Turn < 0 || m.Turn >= len(f.Turns) {
			return nil, llm.ErrNotCertain
		}
		if f.Picked != nil {
			m.Turn = f.Picked[m.Turn]
		}
		masks[i] = m
	}
	if len(masks) == 0 {
		return nil, llm.ErrNotCertain
	}
	return f.Message.Replace(masks)
}
