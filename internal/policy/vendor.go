// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/kong-ai-guard/kong-ai-guard/internal/llm"

// A Vendor is what policy and logs need to know of a plugin's scan service.
// It is the same for all of the plugin's instances.
type Vendor struct {
	// Plugin is the plugin's name in Kong.
	Plugin string
	// LogPrefix starts each of its lines in Kong's log.
	LogPrefix string
	// Subject says in logs what Verdict.Subject is: "profile", "application".
	Subject string
	// SubjectByConsumer says that the Kong consumer names the subject, where
	// the configuration does not.
	SubjectByConsumer bool
	// BlockStatus and BlockMessage, by leg, answer what the service blocks.
	BlockStatus  int
	BlockMessage [2]string
	// RefuseMissingPrompt refuses a conversation without anything readable.
	RefuseMissingPrompt bool
	// JudgesMedia reports whether the service looks at a media part, so that a
	// leg of nothing else is scanned too. It is nil for a service that never
	// does.
	JudgesMedia func(llm.MediaPart) bool
	// Masks says that verdicts may ask for masks.
	Masks bool
	// ScanIDHeader is the header that names the scan to a client whose
	// exchange it ended, "" for none.
	ScanIDHeader string
	// SubjectHeader is a request header that tells the upstream
	// Verdict.Subject, "" for none. A client's own never gets through.
	SubjectHeader string
}
