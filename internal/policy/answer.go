// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// An AnswerPlan is what is to become of an exchange's answer, decided when its
// request is let go.
type AnswerPlan uint8

const (
	// ScanAnswer holds the answer back until it is judged.
	ScanAnswer AnswerPlan = iota
	// WatchAnswer makes Kong show the whole answer, to be judged afterwards.
	WatchAnswer
	// IgnoreAnswer is for a leg that is switched off.
	IgnoreAnswer
	// KeepAnswer is IgnoreAnswer where buffering must not be switched off.
	KeepAnswer
	// PassOpenStream passes an event stream by GET. Every plugin of ours that
	// enforces answers passes it too, or has refused it.
	PassOpenStream
	// PassWatchedOpenStream is the same on a leg that is only monitored.
	PassWatchedOpenStream
	// RefuseListen ends the exchange. Its request asks for a stream that stays
	// open by a POST, as MCP's subscriptions/listen, and would be held for ever.
	RefuseListen
	// PassListen passes such a stream.
	PassListen
	// PassWatchedListen is the same on a leg that is only monitored.
	PassWatchedListen
	// PassWatchedStream lets a stream flow that would be monitored.
	PassWatchedStream
	// PassStream passes a stream that is not to be scanned although answers are
	// enforced.
	PassStream
	// PassUnscannedWatchedStream is the same where answers are monitored.
	PassUnscannedWatchedStream

	answerPlans
)

// Buffering is what a plan says to Kong about holding the answer back.
type Buffering uint8

const (
	// BufferingSaid says nothing more: the first batch said it.
	BufferingSaid Buffering = iota
	// BufferingHeld asks for the answer to be held.
	BufferingHeld
	// BufferingReleased lets it flow, whatever another plugin said.
	BufferingReleased
	// BufferingReleasedIfFree lets the answer flow unless another plugin of
	// ours wants it held, by the mark that the first batch read.
	BufferingReleasedIfFree
	// BufferingAskedAndReleasedIfFree is the same by the mark as it is now.
	BufferingAskedAndReleasedIfFree
	// BufferingRestored puts another plugin's mark back, which the first batch
	// wrote over, or else lets the answer flow.
	BufferingRestored
)

// plan is one row of the table of plans.
type plan struct {
	// unseen is why the answer will not be looked at, "" if it will be or if
	// the leg is off.
	unseen string
	// buffering is what Kong is told.
	buffering Buffering
	// ends says that no response event of ours follows.
	ends bool
}

var plans = [answerPlans]plan{
	ScanAnswer:                 {"", BufferingSaid, false},
	WatchAnswer:                {"", BufferingHeld, false},
	IgnoreAnswer:               {"", BufferingReleasedIfFree, true},
	KeepAnswer:                 {"", BufferingSaid, true},
	PassOpenStream:             {ReasonEventStream, BufferingReleased, true},
	PassWatchedOpenStream:      {ReasonEventStream, BufferingAskedAndReleasedIfFree, true},
	RefuseListen:               {"", BufferingSaid, true},
	PassListen:                 {ReasonListen, BufferingRestored, true},
	PassWatchedListen:          {ReasonListen, BufferingAskedAndReleasedIfFree, true},
	PassWatchedStream:          {ReasonStream, BufferingAskedAndReleasedIfFree, true},
	PassStream:                 {ReasonPassed, BufferingRestored, true},
	PassUnscannedWatchedStream: {ReasonPassed, BufferingAskedAndReleasedIfFree, true},
}

// Unseen is why the answer will pass without being looked at, "" when it will
// be looked at or its leg is off.
func (p AnswerPlan) Unseen() string { return plans[p].unseen }

// Buffering is what Kong is told about holding the answer back.
func (p AnswerPlan) Buffering() Buffering { return plans[p].buffering }

// Ends reports whether the exchange is over for us once its request is let go.
func (p AnswerPlan) Ends() bool { return plans[p].ends }

// PlanAnswer decides what becomes of the answer to a request. M is what was
// read of the request's body, nil if nothing was.
func PlanAnswer(s *Settings, h *RequestHead, in *llm.Input, m *llm.Message) AnswerPlan {
	watched := s.ResponseMode == Monitor
	switch {
	case s.ResponseMode == Off && s.KeepBuffering:
		return KeepAnswer
	case s.ResponseMode == Off:
		return IgnoreAnswer
	}
	if plan, listens := s.planListen(h.listens(m, in)); listens {
		return plan
	}
	switch {
	case s.KeepBuffering:
	case h.opensEventStream() && watched:
		return PassWatchedOpenStream
	case h.opensEventStream():
		return PassOpenStream
	case watched && !s.BufferMonitoredStreams && h.expectsStream(m, in):
		return PassWatchedStream
	case s.PassStreams && asksForStream(m, in) && watched:
		return PassUnscannedWatchedStream
	case s.PassStreams && asksForStream(m, in):
		return PassStream
	}
	if watched {
		return WatchAnswer
	}
	return ScanAnswer
}

// planListen is the plan of a stream that stays open by a POST. It can never be
// held, so where it may not flow it is refused: monitoring too would do more to
// its client by waiting for its end. What may come with other answers does not
// pass, and is no reason for monitoring to refuse those.
func (s *Settings) planListen(l llm.Listening) (_ AnswerPlan, listens bool) {
	switch {
	case l == llm.NoListening, l == llm.ListensAmongOthers && s.ResponseMode == Monitor:
		return ScanAnswer, false
	case l == llm.ListensAmongOthers, s.KeepBuffering:
		return RefuseListen, true
	case s.ResponseMode == Monitor:
		return PassWatchedListen, true
	case s.PassMCPGetStream:
		return PassListen, true
	}
	return RefuseListen, true
}

// PlanRelayed is PlanAnswer for a relayed exchange. Its answer is seen in
// whatever way it comes, unless the configuration says that streams pass.
func PlanRelayed(s *Settings, in *llm.Input, m *llm.Message) AnswerPlan {
	watched := s.ResponseMode == Monitor
	switch {
	case s.ResponseMode == Off:
		return IgnoreAnswer
	case s.PassStreams && asksForStream(m, in) && watched:
		return PassUnscannedWatchedStream
	case s.PassStreams && asksForStream(m, in):
		return PassStream
	case watched:
		return WatchAnswer
	}
	return ScanAnswer
}
