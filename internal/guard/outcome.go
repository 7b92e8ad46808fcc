// SPDX-License-Identifier: Apache-2.0

package guard

import "kong-ai-guard/internal/llm"

// An outcome is what became of one leg.
type outcome uint8

const (
	undecided outcome = iota // nobody filled it in: a fault of ours
	// Those that go on.
	allowed   // the service said so
	masked    // rewritten as the service said
	nothing   // there is nothing in it to scan
	unscanned // passed without a verdict, as the configuration says
	pending   // monitored: the verdict is not known yet
	skipped   // the mode is off
	// Those that end the exchange in enforce mode.
	blocked
	missingPrompt
	malformed
	ambiguous
	tooLarge
	unscannable
	mediaRefused
	upgradeRefused
	streamRefused
	http2Refused
	unavailable
	degraded
	misconfigured
	ownFault
	noRoom

	outcomes
)

// A rule says what an outcome means for a leg that is enforced.
type rule struct {
	// name stands in logs, metrics and as the access log's reason.
	name string
	// action stands in the access log.
	action string
	// severity is the level of the line in Kong's log.
	severity severity
	// status is the answer's HTTP status by leg; 0 where the leg goes on or
	// cannot have the outcome, vendorStatus for the vendor's own.
	status [2]int
	// code is the short name that clients get.
	code string
	// message is what clients read, by leg; "" for the vendor's own.
	message [2]string
	// failsOpen tells that block_failures=false lets the leg pass.
	failsOpen bool
	// retry adds Retry-After, and on the response leg x-should-retry: false,
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

// rules is the table of outcomes; the policy page of the documentation is the
// same in words.
var rules = [outcomes]rule{
	undecided: broken,
	allowed:   {name: "allow", action: actionAllow},
	masked:    {name: "mask", action: actionMask, severity: warning},
	nothing:   {name: "nothing_to_scan", action: actionAllow},
	unscanned: {name: "unscanned", action: actionUnscanned},
	pending:   {name: "pending", action: actionPending},
	skipped:   {name: "off", action: ""},
	blocked: {
		name: "policy_block", action: actionBlock, severity: warning,
		status: [2]int{vendorStatus, vendorStatus}, code: "policy_violation",
	},
	missingPrompt: {
		name: "missing_prompt", action: actionBlock, severity: warning,
		status: [2]int{vendorStatus, 0}, code: "missing_prompt",
		message: [2]string{"The request holds no prompt that could be checked", ""},
	},
	malformed: {
		name: "malformed", action: actionRefuse, severity: warning,
		status: [2]int{400, 502}, code: "malformed_body",
		message: [2]string{"The request body is malformed", "The answer of the upstream is malformed"},
	},
	ambiguous: {
		name: "ambiguous", action: actionRefuse, severity: warning,
		status: [2]int{400, 502}, code: "ambiguous_request",
		message: [2]string{"The request can be read in more than one way", "The answer of the upstream can be read in more than one way"},
	},
	tooLarge: {
		name: "too_large", action: actionRefuse, severity: warning,
		status: [2]int{413, 502}, code: "body_too_large",
		message: [2]string{"The request body is too large to be checked", "The answer of the upstream is too large to be checked"},
	},
	unscannable: {
		name: "unscannable", action: actionRefuse, severity: warning,
		status: [2]int{415, 502}, code: "unscannable_body",
		message: [2]string{"The request holds content that cannot be checked", "The answer of the upstream holds content that cannot be checked"},
	},
	mediaRefused: {
		name: "media_refused", action: actionRefuse, severity: warning,
		status: [2]int{415, 502}, code: "media_not_allowed",
		message: [2]string{"The request holds media, which is not allowed here", "The answer of the upstream holds media, which is not allowed here"},
	},
	upgradeRefused: {
		name: "upgrade_refused", action: actionRefuse, severity: warning,
		status: [2]int{415, 0}, code: "upgrade_not_supported",
		message: [2]string{"Upgrading to WebSocket is not supported here", ""},
	},
	streamRefused: {
		name: "event_stream_refused", action: actionRefuse, severity: warning,
		status: [2]int{405, 0}, code: "event_stream_not_supported",
		message: [2]string{"An event stream by GET is not supported here", ""},
	},
	http2Refused: {
		name: "http2_refused", action: actionRefuse, severity: warning,
		status: [2]int{505, 0}, code: "http2_not_supported",
		message: [2]string{"HTTP/2 is not supported here, please use HTTP/1.1", ""},
	},
	unavailable: {
		name: "no_verdict", action: actionRefuse, severity: failure,
		status: [2]int{503, 503}, code: "scan_unavailable", failsOpen: true, retry: true,
		message: [2]string{noVerdictRequest, noVerdictResponse},
	},
	degraded: {
		name: "degraded_verdict", action: actionRefuse, severity: failure,
		status: [2]int{503, 503}, code: "scan_unavailable", retry: true,
		message: [2]string{noVerdictRequest, noVerdictResponse},
	},
	misconfigured: {
		name: "misconfigured", action: actionRefuse, severity: failure,
		status: [2]int{503, 503}, code: "scan_misconfigured",
		message: [2]string{brokenRequest, noVerdictResponse},
	},
	ownFault: broken,
	noRoom: {
		name: "no_room", action: actionRefuse, severity: failure,
		status: [2]int{503, 503}, code: "guard_overloaded", retry: true,
		message: [2]string{noVerdictRequest, noVerdictResponse},
	},
}

var broken = rule{
	name: "own_fault", action: actionRefuse, severity: failure,
	status: [2]int{503, 503}, code: "guard_failure",
	message: [2]string{brokenRequest, noVerdictResponse},
}

// refuses tells whether the outcome ends an enforced exchange at all.
func (o outcome) refuses(leg llm.Leg) bool { return rules[o].status[leg] != 0 }
