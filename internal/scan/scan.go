// SPDX-License-Identifier: Apache-2.0

// Package scan is the contract between the engine and those who judge: what a
// service is asked, and what it may answer.
package scan

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// Scanner is a service that judges what an LLM exchange says.
type Scanner interface {
	// Scan judges one leg. The error is a *Failure; any other error counts
	// as our own fault. Scan must be safe to repeat: Kong may run an event
	// twice. It ends when ctx does.
	Scan(ctx context.Context, s *Scan) (Verdict, error)
}

// A Claimer is a Scanner that listens to what clients say about an exchange
// beside its content.
type Claimer interface {
	Scanner
	// ClaimMember names the member of a request's root object in which they say
	// it, "" for none. In enforce mode the request goes on without that member,
	// and the member is not scanned.
	ClaimMember() string
	// Claim reads the member, which is raw JSON or nil if there is none, and
	// the request's headers, nil if they are not known. What it returns goes
	// into Scan.Claim on both legs.
	Claim(member []byte, header http.Header) string
}

// A Scan is what a service is asked to judge.
type Scan struct {
	Leg llm.Leg
	// Message is what this leg says. Its Turns are what is to be judged.
	Message *llm.Message
	// Turns are the turns of Message to be judged, after the scope was
	// applied. Indexes in Verdict.Masked are into this slice.
	Turns []llm.Turn
	// Prompt is what the request said, on the response leg; nil when it is
	// not known any more.
	Prompt []llm.Turn
	// Request is what else is known of the request, without its turns, on
	// the response leg; nil when it is not known any more.
	Request *llm.Message
	// Model is the request's model, or the answer's.
	Model string
	// Identity says who calls what.
	Identity Identity
	// Token is the request's bearer token if Kong's jwt plugin verified it, ""
	// if not. See guard.Needs.Token.
	Token string
	// RequestID is Kong's request id.
	RequestID string
	// Header holds the request's headers with canonical names; nil when
	// they are not known any more.
	Header http.Header
	// Claim is what a Claimer made of the request, "" for nothing.
	Claim string
	// MaxCalls is how many calls the scan may be split into.
	MaxCalls int
	// Caller tells callers apart, "" while nobody knows who it is. It is for
	// this process only.
	Caller string
	// FailsOpen says that the leg passes when the service is away.
	FailsOpen bool
	// Late says that the wait for other scans took most of this one's time.
	Late bool
}

// stateless is the first version of the Model Context Protocol without sessions.
const stateless = "2026-07-28"

// Session names what ties the exchange to others of the Model Context Protocol,
// "" if nothing does: the session up to version 2025-11-25. Since 2026-07-28 a
// session id says nothing and servers ignore it (basic/transports/streamable-http,
// "Earlier Streamable HTTP Revisions"), and no connection or handle stands for a
// conversation (basic/index, "Statelessness"): only calls about a task name
// something that they share, the task. The caller chooses all of it, so it is only
// a label, of any length.
func (s *Scan) Session() string {
	if id := s.Header.Get("Mcp-Session-Id"); id != "" && s.Header.Get("Mcp-Protocol-Version") < stateless {
		return id
	}
	call := s.Message
	if s.Leg == llm.ResponseLeg {
		call = s.Request // an answer need not repeat it
	}
	if call == nil || call.RPC == nil {
		return ""
	}
	return call.RPC.Task
}

// Identity says who calls what, as far as Kong knows.
type Identity struct {
	Service, Route string
	Consumer       Consumer
	ClientIP       string
}

// Consumer is the Kong consumer of a request; zero when there is none.
type Consumer struct {
	ID, CustomID, Username string
}

// Action is what a service wants done with a leg.
type Action uint8

// The actions. The zero value is not an action, so that a verdict nobody
// filled in is never an allow.
const (
	_ Action = iota
	Allow
	Block
	Mask
)

// A Verdict is a service's judgement of one scan.
type Verdict struct {
	Action Action
	// ScanID and ReportID identify the scan at the service. ScanID is shown
	// to clients.
	ScanID, ReportID string
	// Category and Detections say what fired: for logs, never for clients.
	Category   string
	Detections []string
	// Alert asks for a line in Kong's log about an Allow: something fired that
	// the service was told to let pass.
	Alert bool
	// Subject is the profile or application that the scan was judged under.
	Subject string
	// Partial says that a part of the leg was not judged, because the
	// configuration accepts that. It is only for Allow.
	Partial bool
	// Header goes to the client with the answer, or with what ends the
	// exchange. Each field of an answer costs a call.
	Header http.Header
	// Masked are the texts to put in, for Mask.
	Masked []llm.Replacement
	// Details is what a block may show to the client when the operator
	// asked for it: raw JSON, nil for none.
	Details []byte
}

// FailureKind says why there is no verdict.
type FailureKind uint8

// The kinds of failures. Only Unavailable may pass with block_failures=false,
// unless it was provoked.
const (
	Unavailable   FailureKind = iota // network, timeout, 5xx, 429, breaker open
	Degraded                         // a 200 that is no sound verdict
	Misconfigured                    // the service refuses us, or the config cannot work
	TooLarge                         // the content exceeds what the service takes
)

// A Failure is a scan that gave no verdict. Reason is one of a fixed set of
// short texts fit for logs: it never quotes content, secrets or the service.
type Failure struct {
	Kind   FailureKind
	Reason string
	// Hint names the setting to look at, "" for none. For logs only.
	Hint string
	// RetryAfter is how long the caller should wait, 0 if not known.
	RetryAfter time.Duration
	// Provoked says that what was sent, or how much at once, explains why the
	// service is Unavailable. Such a failure never passes, else callers could
	// open the door for themselves.
	Provoked bool
}

func (f *Failure) Error() string { return f.Reason }

// Strictest returns the error that decides for a scan of several calls: one
// that never passes before one that may, whatever their order; nil if there is
// none.
func Strictest(errs []error) error {
	var worst error
	for _, err := range errs {
		if err != nil && (worst == nil || mayPass(worst)) {
			worst = err
		}
	}
	return worst
}

func mayPass(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Kind == Unavailable && !f.Provoked
}
