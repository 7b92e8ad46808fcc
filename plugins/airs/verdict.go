// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// The reasons of failures that this package finds itself.
const (
	reasonNothing  = "nothing to scan"
	reasonTooMuch  = "more text than the scans of one leg can hold"
	reasonNotJSON  = "the answer is no sound JSON"
	reasonNoAction = "the answer holds no verdict"
	reasonError    = "the service reports an error in the scan"
	reasonTimeout  = "the service reports a timeout in the scan"
	reasonDetector = "the service reports that a detector failed"
	reasonCategory = "the service reports no category but a failure"
)

const (
	// answerDepth bounds the nesting of an answer; real ones have 7 levels.
	answerDepth = 64
	// maxDetections and maxName bound what an answer may put into logs.
	maxDetections = 32
	maxName       = 64
	// unrecognised is logged when the service asks for an action that is
	// neither of the two documented ones.
	unrecognised = "unrecognised_action"
)

// A result is what the service answered to one call, as it was read.
type result struct {
	scan.Verdict
	// maskedPrompt and maskedResponse are the texts with what is sensitive
	// replaced, "" if there are none.
	maskedPrompt, maskedResponse string
	// fired are the known detectors that fired, each once. more says that the
	// answer shows something else, or asks for an action that nobody knows.
	fired []string
	more  bool
	// threats says that the answer names threats.
	threats bool
}

// restsOn reports whether something fired and all that fired is in the list, or
// is sensitive data where also is "dlp".
func (r *result) restsOn(list []string, also string) bool {
	return !r.more && len(r.fired) > 0 && !slices.ContainsFunc(r.fired, func(name string) bool {
		return name != also && !slices.Contains(list, name)
	})
}

// soften makes an allow of a block that rests on detectors alone which are only
// to report. Where sensitive data is to be masked, a leg that has some is masked
// or blocked as ever: see mask.
func (r *result) soften(c *Config) {
	masks := c.MaskSensitiveData && slices.Contains(r.fired, "dlp")
	if r.Action == scan.Block && !masks && r.restsOn(c.AlertOnly, "") {
		r.Action = scan.Allow
	}
}

// decide reads the body of a 200. It accepts any type in any field, but only
// one combination as an allow. The error is a *scan.Failure of kind Degraded.
// The first rule that fits wins, so a scan that failed inside is no verdict
// even when it says "allow".
func decide(body []byte) (result, error) {
	doc, err := strictjson.Parse(body, answerDepth)
	if err != nil {
		return result{}, degraded(reasonNotJSON)
	}
	action := doc.Member(strictjson.Root, "action")
	if action < 0 || doc.Kind(action) != strictjson.String {
		return result{}, degraded(reasonNoAction)
	}
	if fired(doc, doc.Member(strictjson.Root, "error")) {
		return result{}, degraded(reasonError)
	}
	if fired(doc, doc.Member(strictjson.Root, "timeout")) {
		return result{}, degraded(reasonTimeout)
	}
	if reason := failedDetector(doc, doc.Member(strictjson.Root, "errors")); reason != "" {
		return result{}, degraded(reason)
	}
	category, sound := optionalText(doc, "category")
	if !sound || strings.EqualFold(category, "error") || strings.EqualFold(category, "timeout") {
		return result{}, degraded(reasonCategory)
	}
	r := result{Verdict: scan.Verdict{
		Action:   scan.Block,
		ScanID:   identifier(doc, "scan_id"),
		ReportID: identifier(doc, "report_id"),
		Category: printable(category),
	}}
	r.readDetections(doc)
	r.maskedPrompt = maskedText(doc, "prompt_masked_data")
	r.maskedResponse = maskedText(doc, "response_masked_data")
	switch string(doc.Bytes(action)) {
	case "allow":
		r.Action = scan.Allow
	case "block":
	default:
		r.Detections = append(r.Detections, unrecognised)
		r.more = true
	}
	return r, nil
}

func degraded(reason string) *scan.Failure {
	return &scan.Failure{Kind: scan.Degraded, Reason: reason}
}

// fired reports whether a flag is set; what is no flag at all counts as set.
func fired(doc *strictjson.Doc, v int) bool {
	return v >= 0 && doc.Kind(v) != strictjson.False && doc.Kind(v) != strictjson.Null
}

// knownDetectors are the features that "errors" was documented to name.
var knownDetectors = []string{"dlp", "injection", "url_cats", "toxic_content", "malicious_code", "source_code", "agent", "topic_violation", "db_security", "ungrounded"}

// failedDetector returns the detector that could not do its work, "" if all
// could. It returns a name only if it is a documented one.
func failedDetector(doc *strictjson.Doc, errors int) string {
	if errors < 0 || doc.Kind(errors) == strictjson.Null || doc.Kind(errors) == strictjson.False {
		return ""
	}
	first := doc.First(errors)
	if doc.Kind(errors) != strictjson.Array {
		return reasonDetector
	}
	if first >= doc.Next(errors) {
		return ""
	}
	feature := textOf(doc, doc.Member(first, "feature"))
	if !slices.Contains(knownDetectors, feature) {
		return reasonDetector
	}
	if textOf(doc, doc.Member(first, "status")) == "timeout" {
		return reasonDetector + ": " + feature + "/timeout"
	}
	return reasonDetector + ": " + feature + "/error"
}

// readDetections collects what fired: the names of flags that are set, known
// to us or not, and the threats that tool scans name. Threats say what the
// flags beside them have found.
func (r *result) readDetections(doc *strictjson.Doc) {
	tell := func(name string) {
		if name = printable(name); len(r.Detections) < maxDetections && name != "" && !slices.Contains(r.Detections, name) {
			r.Detections = append(r.Detections, name)
		}
	}
	add := func(name string) {
		switch {
		case !slices.Contains(knownDetectors, name):
			r.more = true
		case !slices.Contains(r.fired, name):
			r.fired = append(r.fired, name)
		}
		tell(name)
	}
	for _, name := range []string{"prompt_detected", "response_detected"} {
		v := doc.Member(strictjson.Root, name)
		if v < 0 || doc.Kind(v) != strictjson.Object {
			if fired(doc, v) {
				add(name)
			}
			continue
		}
		for c := doc.First(v); c < doc.Next(v); c = doc.Next(c) {
			if fired(doc, c) {
				add(string(doc.Name(c)))
			}
		}
	}
	v := doc.Member(strictjson.Root, "tool_detected")
	if v < 0 {
		return
	}
	r.more = r.more || doc.Kind(v) != strictjson.Object && fired(doc, v)
	// The subtree lies in one stretch of the index.
	inThreats, inFlags, flags := 0, 0, false
	for c := doc.First(v); c < doc.Next(v); c++ {
		name := string(doc.Name(c))
		switch {
		case doc.Kind(c) == strictjson.True:
			add(name)
			flags = true
		case name == "detections" && doc.Kind(c) == strictjson.Object:
			inFlags = doc.Next(c)
		case name == "detections", c < inFlags:
			r.more = r.more || fired(doc, c) // no flag, whatever it says
		case doc.Kind(c) == strictjson.Array && name == "threats":
			inThreats = doc.Next(c)
		case c < inThreats && doc.Kind(c) == strictjson.String:
			tell(string(doc.Bytes(c)))
			r.threats = true
		}
	}
	r.more = r.more || r.threats && !flags
}

// maskedText returns the text of a masked_data member, "" if there is none.
func maskedText(doc *strictjson.Doc, name string) string {
	v := doc.Member(strictjson.Root, name)
	if v < 0 {
		return ""
	}
	return textOf(doc, doc.Member(v, "data"))
}

// textOf returns string v, "" for anything else.
func textOf(doc *strictjson.Doc, v int) string {
	if v < 0 || doc.Kind(v) != strictjson.String {
		return ""
	}
	return string(doc.Bytes(v))
}

// optionalText returns a string member, "" if it is absent or null. sound is
// false for any other type.
func optionalText(doc *strictjson.Doc, name string) (text string, sound bool) {
	v := doc.Member(strictjson.Root, name)
	if v < 0 || doc.Kind(v) == strictjson.Null {
		return "", true
	}
	return textOf(doc, v), doc.Kind(v) == strictjson.String
}

// identifier returns an id that may be shown to clients, "" if it does not look
// like one.
func identifier(doc *strictjson.Doc, name string) string {
	id := textOf(doc, doc.Member(strictjson.Root, name))
	if len(id) > maxName || strings.ContainsFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) {
		return ""
	}
	return id
}

// printable makes a word of the service's fit for one field of a log line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '"' || r == ',' || r == '=' || r == '\\' {
			return '_'
		}
		return r
	}, s)
	return s[:min(len(s), maxName)]
}

// mask makes a mask from a result that offers one for the leg's own text. The
// mask is certain only if that text is one turn and nothing but sensitive data
// was found, or what is only to be reported: a text with an injection in it stays an attack when its card
// numbers are gone. Where it is not certain, the leg is blocked, even when the
// service allowed it in the belief that we would insert its masked text.
func (r result) mask(p plan, sc *scan.Scan, alertOnly []string) scan.Verdict {
	text := r.maskedPrompt
	if p.inResponse {
		text = r.maskedResponse
	}
	v := r.Verdict
	switch {
	case text == "" || len(sc.Turns) == 1 && text == sc.Turns[0].Text:
	case p.maskable && !r.threats && slices.Contains(r.fired, "dlp") && r.restsOn(alertOnly, "dlp"):
		v.Action, v.Masked = scan.Mask, []llm.Replacement{{Turn: 0, Text: text}}
	default:
		v.Action = scan.Block
	}
	return v
}
