// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// Unreadable is the finding of a body that llm.Read gave this error for.
func Unreadable(err error) Finding {
	var bad *llm.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Ended(OwnFault, ReasonEventTime)
	case !errors.As(err, &bad):
		return Ended(OwnFault, "")
	}
	switch bad.Class {
	case llm.Malformed:
		return Finding{Outcome: Malformed, Reason: bad.Reason, Place: llm.PlaceOf(err)}
	case llm.TooLarge:
		return Ended(TooLarge, bad.Reason)
	default:
		return Ended(Unscannable, bad.Reason)
	}
}

// OutOfTime is the finding of a leg whose scan never began. eventEnds says that
// the event's time ended, and not the scan's own. The leg does not pass,
// because callers can keep all slots busy.
func OutOfTime(eventEnds bool) Finding {
	if eventEnds {
		return Ended(OwnFault, ReasonEventTime)
	}
	return Finding{Outcome: Unavailable, Reason: ReasonNoSlot, Provoked: true}
}

// Failed is the finding of a scan that ended with an error. timeUp says that
// its time was over, eventEnds that the event's was.
func Failed(err error, timeUp, eventEnds bool) Finding {
	if timeUp && eventEnds {
		return Ended(OwnFault, ReasonEventTime)
	}
	var f *scan.Failure
	if !errors.As(err, &f) {
		if timeUp && errors.Is(err, context.DeadlineExceeded) {
			return Ended(Unavailable, ReasonTimeout)
		}
		return Ended(OwnFault, "")
	}
	j := Finding{Reason: f.Reason, Hint: f.Hint, RetryAfter: f.RetryAfter, Provoked: f.Provoked}
	switch f.Kind {
	case scan.Unavailable:
		j.Outcome = Unavailable
	case scan.Degraded:
		j.Outcome = Degraded
	case scan.Misconfigured:
		j.Outcome = Misconfigured
	case scan.TooLarge:
		j.Outcome, j.Reason = TooLarge, ReasonService
	default:
		j.Outcome = OwnFault
	}
	return j
}

// promptMissing reports whether a body is a conversation that says nothing, or
// an empty object. Other bodies merely hold no text, such as a notification of
// MCP or a call that makes, changes or ends something that the API keeps.
func promptMissing(m *llm.Message, in *llm.Input, method string) bool {
	if len(m.Media) > 0 || m.RPC != nil || m.Carries || keeps(in.Path) {
		return false
	}
	if !m.Chat && (method == http.MethodGet || method == http.MethodHead || method == http.MethodDelete) {
		return false
	}
	// What an encoded body decodes to is not at hand here; one that holds
	// nothing readable in no known format is taken for an empty object.
	return m.Chat || m.Format == llm.Unknown && (in.ContentEncoding != "" || emptyObject(in.Body))
}

// kept holds the collections of what APIs keep, as their paths name them, and
// what can be done to a member of one.
var kept = []string{
	"conversations", "threads", "runs", "assistants", "vector_stores", "files", "uploads", "batches", "containers",
	"prompt", "sessions", "client_secrets", "transcription_sessions", "evals", "jobs", "operations",
	"cachedContents", "fileSearchStores", "corpora", "tunedModels",
	"cancel", "pause", "resume",
}

// keeps reports whether a request's path goes to something that the API keeps.
func keeps(path string) bool {
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == ':' }) {
		segment, _, _ = strings.Cut(segment, "%") // an ARN's slash is escaped: prompt%2FID
		if slices.Contains(kept, segment) {
			return true
		}
	}
	return false
}

func emptyObject(body []byte) bool {
	const space = " \t\r\n"
	inner, ok := bytes.CutPrefix(bytes.Trim(body, space), []byte{'{'})
	if !ok {
		return false
	}
	inner, ok = bytes.CutSuffix(inner, []byte{'}'})
	return ok && len(bytes.Trim(inner, space)) == 0
}

// BeforeScan looks at what was read of a body. The method is the request's. It
// is not ok when that settles the leg without a scan.
func BeforeScan(v *Vendor, s *Settings, in *llm.Input, m *llm.Message, method string) (f Finding, ok bool) {
	f.Message = m
	judged := false
	for _, part := range m.Media {
		if v.JudgesMedia != nil && v.JudgesMedia(part) {
			judged = true
		} else {
			f.Unjudged = true
		}
	}
	switch {
	case s.BlockMedia && len(m.Media) > 0:
		f.Outcome = MediaRefused
	case s.BlockStoredContext && m.Unseen != 0:
		// The reason stands in a metric, so it names one alone.
		f.Outcome, f.Reason = ContextRefused, m.Unseen.First().String()
	case len(m.Turns) > 0, judged:
		return f, true
	case v.RefuseMissingPrompt && in.Leg == llm.RequestLeg && promptMissing(m, in, method):
		f.Outcome = MissingPrompt
	default:
		f.Outcome = Nothing
	}
	return f, false
}
