// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/kong-ai-guard/kong-ai-guard/internal/llm"

// An Outcome is what became of one leg.
type Outcome uint8

// The outcomes.
const (
	Undecided Outcome = iota // nobody filled it in: a fault of ours
	// Those that go on.
	Allowed   // the service said so
	Masked    // rewritten as the service said
	Nothing   // there is nothing in it to scan
	Unscanned // passed without a verdict, as the configuration says
	Pending   // monitored: the verdict is not known yet
	Skipped   // the mode is off
	// Those that end the exchange in enforce mode.
	Blocked
	MissingPrompt
	Malformed
	Ambiguous
	TooLarge
	Unscannable
	MediaRefused
	ContextRefused
	UpgradeRefused
	StreamRefused
	ListenRefused
	HTTP2Refused
	Unavailable
	Degraded
	Misconfigured
	OwnFault
	NoRoom
	// Those of the upstream of a relayed exchange.
	UpstreamFailed
	UpstreamTimeout

	// Outcomes is how many there are.
	Outcomes
)

// A Severity is the level of a line in Kong's log.
type Severity uint8

// The severities.
const (
	Quiet   Severity = iota // no line
	Warning                 // kong.log.warn
	Failure                 // kong.log.err
)

// A rule says what an outcome means for a leg that is enforced.
type rule struct {
	// name stands in logs, metrics and as the access log's reason.
	name string
	// action stands in the access log.
	action string
	// severity is the level of the line in Kong's log.
	severity Severity
	// status is the answer's HTTP status by leg; 0 where the leg goes on or
	// cannot have the outcome, vendorStatus for the vendor's own.
	status [2]int
	// code is the short name that clients get.
	code string
	// message is what clients read, by leg; "" for the vendor's own.
	message [2]string
	// failsOpen says that block_failures=false lets the leg pass.
	failsOpen bool
	// retry adds Retry-After and, on the response leg, x-should-retry: false,
	// since the model was paid already.
	retry bool
}

const vendorStatus = -1

const (
	actionAllow     = "allow"
	actionMask      = "mask"
	actionBlock     = "block"
	actionRefuse    = "refuse"
	actionUnscanned = "unscanned"
	actionPending   = "pending"
)

const (
	noVerdictRequest  = "The request could not be checked, please try again later"
	noVerdictResponse = "The answer could not be checked"
	brokenRequest     = "The request could not be checked"
)

// rules is the table of outcomes. docs/how-it-works.md says the
// same in words.
var rules = [Outcomes]rule{
	Undecided: broken,
	Allowed:   {name: "allow", action: actionAllow},
	Masked:    {name: "mask", action: actionMask, severity: Warning},
	Nothing:   {name: "nothing_to_scan", action: actionAllow},
	Unscanned: {name: "unscanned", action: actionUnscanned},
	Pending:   {name: "pending", action: actionPending},
	Skipped:   {name: "off", action: ""},
	Blocked: {
		name: "policy_block", action: actionBlock, severity: Warning,
		status: [2]int{vendorStatus, vendorStatus}, code: "policy_violation",
	},
	MissingPrompt: {
		name: "missing_prompt", action: actionBlock, severity: Warning,
		status: [2]int{vendorStatus, 0}, code: "missing_prompt",
		message: [2]string{"The request holds no prompt that could be checked", ""},
	},
	Malformed: {
		name: "malformed", action: actionRefuse, severity: Warning,
		status: [2]int{400, 502}, code: "malformed_body",
		message: [2]string{"The request body is malformed", "The answer of the upstream is malformed"},
	},
	Ambiguous: {
		name: "ambiguous", action: actionRefuse, severity: Warning,
		status: [2]int{400, 502}, code: "ambiguous_request",
		message: [2]string{"The request can be read in more than one way", "The answer of the upstream can be read in more than one way"},
	},
	TooLarge: {
		name: "too_large", action: actionRefuse, severity: Warning,
		status: [2]int{413, 502}, code: "body_too_large",
		message: [2]string{"The request body is too large to be checked", "The answer of the upstream is too large to be checked"},
	},
	Unscannable: {
		name: "unscannable", action: actionRefuse, severity: Warning,
		status: [2]int{415, 502}, code: "unscannable_body",
		message: [2]string{"The request holds content that cannot be checked", "The answer of the upstream holds content that cannot be checked"},
	},
	MediaRefused: {
		name: "media_refused", action: actionRefuse, severity: Warning,
		status: [2]int{415, 502}, code: "media_not_allowed",
		message: [2]string{"The request holds media, which is not allowed here", "The answer of the upstream holds media, which is not allowed here"},
	},
	ContextRefused: {
		name: "stored_context_refused", action: actionRefuse, severity: Warning,
		status: [2]int{403, 0}, code: "stored_context_not_allowed",
		message: [2]string{"The request refers to stored content, which cannot be checked and is not allowed here", ""},
	},
	UpgradeRefused: {
		name: "upgrade_refused", action: actionRefuse, severity: Warning,
		status: [2]int{415, 0}, code: "upgrade_not_supported",
		message: [2]string{"Upgrading to WebSocket is not supported here", ""},
	},
	StreamRefused: {
		name: "event_stream_refused", action: actionRefuse, severity: Warning,
		status: [2]int{405, 0}, code: "event_stream_not_supported",
		message: [2]string{"An event stream by GET is not supported here", ""},
	},
	ListenRefused: {
		// The status is the protocol's for a method that is not there.
		name: "subscription_refused", action: actionRefuse, severity: Warning,
		status: [2]int{404, 0}, code: "subscription_not_supported",
		message: [2]string{"A subscription by subscriptions/listen is not supported here", ""},
	},
	HTTP2Refused: {
		name: "http2_refused", action: actionRefuse, severity: Warning,
		status: [2]int{505, 0}, code: "http2_not_supported",
		message: [2]string{"HTTP/2 is not supported here, please use HTTP/1.1", ""},
	},
	Unavailable: {
		name: "no_verdict", action: actionRefuse, severity: Failure,
		status: [2]int{503, 503}, code: "scan_unavailable", failsOpen: true, retry: true,
		message: [2]string{noVerdictRequest, noVerdictResponse},
	},
	Degraded: {
		name: "degraded_verdict", action: actionRefuse, severity: Failure,
		status: [2]int{503, 503}, code: "scan_unavailable", retry: true,
		message: [2]string{noVerdictRequest, noVerdictResponse},
	},
	Misconfigured: {
		name: "misconfigured", action: actionRefuse, severity: Failure,
		status: [2]int{503, 503}, code: "scan_misconfigured",
		message: [2]string{brokenRequest, noVerdictResponse},
	},
	OwnFault: broken,
	NoRoom: {
		name: "no_room", action: actionRefuse, severity: Failure,
		status: [2]int{503, 503}, code: "guard_overloaded", retry: true,
		message: [2]string{noVerdictRequest, noVerdictResponse},
	},
	UpstreamFailed: {
		name: "upstream_failed", action: actionRefuse, severity: Warning,
		status: [2]int{0, 502}, code: "upstream_failed",
		message: [2]string{"", "The upstream gave no answer"},
	},
	UpstreamTimeout: {
		name: "upstream_timeout", action: actionRefuse, severity: Warning,
		status: [2]int{0, 504}, code: "upstream_failed",
		message: [2]string{"", "The upstream took too long"},
	},
}

var broken = rule{
	name: "own_fault", action: actionRefuse, severity: Failure,
	status: [2]int{503, 503}, code: "guard_failure",
	message: [2]string{brokenRequest, noVerdictResponse},
}

// String returns the outcome's name in logs and metrics, and the access log's
// reason.
func (o Outcome) String() string { return rules[o].name }

// Action returns the outcome's name in the access log, "" for a leg that was
// not looked at.
func (o Outcome) Action() string { return rules[o].action }

// Severity is the level of its line in Kong's log.
func (o Outcome) Severity() Severity { return rules[o].severity }

// Refuses reports whether the outcome ends an enforced leg at all.
func (o Outcome) Refuses(leg llm.Leg) bool { return rules[o].status[leg] != 0 }

// Status returns the HTTP status that answers an enforced leg with the outcome,
// 0 when the leg goes on.
func (o Outcome) Status(v *Vendor, leg llm.Leg) int {
	if !o.Refuses(leg) {
		return 0
	}
	return statusOf(v, &rules[o], leg)
}

func statusOf(v *Vendor, r *rule, leg llm.Leg) int {
	if status := r.status[leg]; status != vendorStatus {
		return status
	}
	return v.BlockStatus
}
