// SPDX-License-Identifier: Apache-2.0

// Package policy says what becomes of each leg of an exchange: which findings
// end it, with which answer, what may pass unscanned, and what is to become of
// the answer. It is pure: it knows nothing of Kong, of connections or of time.
// Whoever carries an exchange only carries out its decisions.
package policy

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// An Exchange is what a decision needs to know of the one it is about.
type Exchange struct {
	// RequestID is Kong's id of the request.
	RequestID string
	// Path is the request's path, without its query.
	Path string
	// Events says that its query asks for server-sent events.
	Events bool
	// Request is what the request said; nil when it is not known.
	Request *llm.Message
	// Stamp makes what tells an answer of ours from another; nil for none.
	Stamp func() llm.Stamp
}

// A Decision is what becomes of one enforced leg. Whoever speaks with the
// client carries it out and decides nothing.
type Decision struct {
	// Finding is what was found, after the configuration had its say.
	Finding
	// Refusal answers the client in place of the leg; nil when it goes on.
	Refusal *Refusal
	// Body is what the leg goes on with; nil for the bytes as they came.
	Body []byte
}

// A Refusal is an answer of ours to the client.
type Refusal struct {
	Status int
	Header http.Header
	Body   []byte
	// Said is what Body says, for a stream that has begun: see llm.RenderEnding.
	Said llm.Refusal
}

// Decide returns what becomes of an enforced leg with the finding f.
func Decide(v *Vendor, s *Settings, leg llm.Leg, x *Exchange, f Finding) Decision {
	d := Decision{Finding: s.settle(leg, f)}
	if !d.Outcome.Refuses(leg) && d.Rewrites() {
		body, err := d.rewritten()
		if err != nil {
			d.Outcome, d.Reason = Blocked, ReasonMask
		}
		d.Body = body
	}
	if d.Outcome.Refuses(leg) {
		return Refuse(v, s, leg, x, d.Finding)
	}
	return d
}

// Refuse ends a leg with the finding f, whatever the leg's mode and whatever
// the configuration lets pass.
func Refuse(v *Vendor, s *Settings, leg llm.Leg, x *Exchange, f Finding) Decision {
	return Decision{Finding: f, Refusal: refusal(v, s, leg, x, &f)}
}

// settle lets a leg pass unscanned where the configuration says so.
func (s *Settings) settle(leg llm.Leg, f Finding) Finding {
	switch {
	case rules[f.Outcome].failsOpen && !f.Provoked && !s.BlockFailuresOf(leg), f.Outcome == Unscannable && s.AllowUnscannable:
		f.Was, f.Outcome = f.Outcome, Unscanned
	case f.Outcome == Allowed && f.Verdict.Partial:
		f.Was, f.Outcome = TooLarge, Unscanned
	}
	return f
}

// The times that a client is told to wait: when the service says nothing,
// and at most.
const (
	retryDefault = 5 * time.Second
	retryMost    = 5 * time.Minute
)

// refusal is the answer to the client of a leg that ends.
func refusal(v *Vendor, s *Settings, leg llm.Leg, x *Exchange, f *Finding) *Refusal {
	r := &rules[f.Outcome]
	if r.status[leg] == 0 { // an outcome that the leg cannot have
		r = &broken
	}
	status := statusOf(v, r, leg)
	message := r.message[leg]
	switch {
	case message == "" && s.BlockMessage != "":
		message = s.BlockMessage
	case message == "":
		message = v.BlockMessage[leg]
	case f.Outcome == ContextRefused:
		message += ": " + f.Unseen().String()
	case leg == llm.RequestLeg && status < 500 && f.Reason != "":
		message += ": " + f.Reason
	}
	format, rpc := calledAPI(leg, x, f.Message)
	rendered := llm.Refusal{
		Format: format, RPC: rpc, Status: status, Message: message, Code: r.code,
		Policy:      status < 500,
		NoListening: f.Outcome == ListenRefused,
		RequestID:   x.RequestID, ScanID: f.Verdict.ScanID,
	}
	if f.Outcome == Blocked {
		rendered.Details = f.Verdict.Details
	}
	if s.RefuseAsMessage && f.Outcome == Blocked {
		status = asMessage(&rendered, leg, x, f.Message)
	}
	contentType, body := llm.Render(rendered)
	header := http.Header{"Content-Type": {contentType}, "Cache-Control": {"no-store"}}
	for name, values := range f.Verdict.Header {
		header[name] = values
	}
	if v.ScanIDHeader != "" && f.Verdict.ScanID != "" {
		header[v.ScanIDHeader] = []string{f.Verdict.ScanID}
	}
	if rendered.Asked != nil {
		header[RefusedHeader] = []string{refusedBy(v, &rendered)}
	}
	if r.retry {
		header["Retry-After"] = []string{strconv.Itoa(retryAfter(f.RetryAfter))}
		if leg == llm.ResponseLeg {
			header["X-Should-Retry"] = []string{"false"}
		}
	}
	if f.Outcome == StreamRefused {
		header["Allow"] = []string{"POST, DELETE"}
	}
	return &Refusal{Status: status, Header: header, Body: body, Said: rendered}
}

// RefusedHeader marks an answer of ours that looks like the model's. Its value is
// a structured field (RFC 9651): the plugin, with the request's and the scan's id
// as parameters. It is a mark for clients and proves nothing: an upstream can
// send it too.
const RefusedHeader = "X-Ai-Guard-Refused"

// asMessage makes a block what the model says, if the request asks for that, and
// returns the status of the answer. Only a block is: nothing that we could not
// do or read is the model's to say. m is what was read of this leg.
func asMessage(r *llm.Refusal, leg llm.Leg, x *Exchange, m *llm.Message) (status int) {
	if leg == llm.ResponseLeg {
		m = x.Request
	}
	if m == nil || !m.Asked.Answerable() {
		return r.Status
	}
	r.Asked, r.Model, r.Events = m.Asked, m.Model, x.Events
	if x.Stamp != nil {
		r.Stamp = x.Stamp()
	}
	return http.StatusOK
}

func refusedBy(v *Vendor, r *llm.Refusal) string {
	value := v.Plugin
	for _, id := range []struct{ name, value string }{{"request_id", r.RequestID}, {"scan_id", r.ScanID}} {
		if id.value != "" {
			value += "; " + id.name + `="` + quotable(id.value) + `"`
		}
	}
	return value
}

// quotable is an id as it can stand between quotes in a header.
func quotable(id string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '_'
		}
		return c
	}, id[:min(len(id), 128)])
}

// calledAPI returns the API in whose error format the client is answered: that
// of the request as it was read, else the one that its path looks like. M is
// what was read of this leg, nil if nothing.
func calledAPI(leg llm.Leg, x *Exchange, m *llm.Message) (llm.Format, *llm.RPC) {
	if leg == llm.ResponseLeg && x.Request != nil {
		m = x.Request
	}
	if m != nil {
		switch m.Format {
		case llm.None, llm.Unknown, llm.Text, llm.Form, llm.Media:
		default:
			if m.Leg == llm.ResponseLeg {
				return m.Format, nil // its ids are the upstream's words, and unscanned
			}
			return m.Format, m.RPC
		}
	}
	return llm.FormatOf(x.Path), nil
}

func retryAfter(d time.Duration) int {
	if d <= 0 {
		d = retryDefault
	}
	return int(math.Ceil(min(d, retryMost).Seconds()))
}

// A Report is how a leg ended, as the access log shows it.
type Report struct {
	Outcome Outcome
	Reason  string
	// Unscanned names what nobody has judged of the leg although it passed, ""
	// for nothing.
	Unscanned string
	// Unseen is what the leg refers to that its API keeps.
	Unseen  llm.Unseen
	ScanID  string
	Latency time.Duration
}

// Report is the finding as the access log shows it, took after the leg began.
func (f *Finding) Report(s *Settings, leg llm.Leg, took time.Duration) Report {
	reason := ""
	switch {
	case f.Outcome == Unscanned && f.Was != Undecided:
		reason = f.Was.String()
	case f.Outcome == Unscanned:
		reason = f.Reason
	case f.Outcome != Allowed && f.Outcome != Masked && f.Outcome != Pending:
		reason = f.Outcome.String()
	}
	r := Report{Outcome: f.Outcome, Reason: reason, Unseen: f.Unseen(), ScanID: f.Verdict.ScanID, Latency: took}
	if f.MediaPass(s, leg) {
		r.Unscanned = ReasonMedia
	}
	return r
}
