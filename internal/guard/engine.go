// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
)

// A Vendor is what a plugin brings of its own beside its Scanner.
type Vendor struct {
	// Plugin is the plugin's name in Kong.
	Plugin string
	// LogPrefix starts each of its lines in Kong's log.
	LogPrefix string
	// Subject says in logs what Verdict.Subject is: "profile", "application".
	Subject string
	// BlockStatus and BlockMessage, by leg, answer what the service blocks.
	BlockStatus  int
	BlockMessage [2]string
	// RefuseMissingPrompt refuses a conversation without anything readable.
	RefuseMissingPrompt bool
	// JudgesMedia tells of a media part whether the service looks at it, so
	// that a leg of nothing else is scanned too. Nil for one that never does.
	JudgesMedia func(llm.MediaPart) bool
	// KeepPrompt hands the request's turns to the scan of the answer.
	KeepPrompt bool
	// Masks tells that verdicts may ask for masks.
	Masks bool
	// NeedsService, NeedsConsumer and NeedsClientIP say which parts of
	// Identity a scan needs. Each costs Kong's worker a call per exchange;
	// the service's name does not where Settings.Scoped.
	NeedsService, NeedsConsumer, NeedsClientIP bool
	// NeedsToken asks for Scan.Token, which costs a call too.
	NeedsToken bool
	// ScanIDHeader is the header that names the scan to a client whose
	// exchange it ended, "" for none.
	ScanIDHeader string
	// SubjectHeader is a request header that speaks of Verdict.Subject to the
	// upstream: a client's own never gets through. "" for none. TellSubject
	// sets it, at the price of a call.
	SubjectHeader string
	TellSubject   bool
}

// An Engine runs the exchanges of one plugin instance. Its methods may be
// called at once by any number of goroutines.
type Engine struct {
	process  *Process
	vendor   Vendor
	settings policy.Settings
	scanner  scan.Scanner
	// badField names the field because of which nothing can be scanned.
	badField string
	// claimer is the scanner if it is a Claimer that listens, else nil;
	// claimMember is what it listens to in bodies.
	claimer     scan.Claimer
	claimMember string

	// The names, once known, of what the instance is scoped to.
	service, route atomic.Pointer[string]
	consumer       atomic.Pointer[scan.Consumer]
	// What was warned of, since it is done once.
	warnedGet, warnedMedia atomic.Bool

	legs        [2][outcomes]prometheus.Counter
	scanSeconds [2]prometheus.Observer
	legSeconds  [2]prometheus.Observer
	bodyBytes   [2]prometheus.Observer
	inFlight    [2]prometheus.Gauge
}

// New makes the engine of an instance. The scanner may be shared by many.
func New(p *Process, v Vendor, s policy.Settings, scanner scan.Scanner) *Engine {
	e := &Engine{process: p, vendor: v, settings: s, scanner: scanner}
	if c, ok := scanner.(scan.Claimer); ok {
		e.claimer, e.claimMember = c, c.ClaimMember()
	}
	for leg, mode := range [2]policy.Mode{s.RequestMode, s.ResponseMode} {
		name := llm.Leg(leg).String()
		e.scanSeconds[leg] = p.metrics.ScanSeconds.WithLabelValues(name)
		e.legSeconds[leg] = p.metrics.LegSeconds.WithLabelValues(name, string(mode))
		e.bodyBytes[leg] = p.metrics.BodyBytes.WithLabelValues(name)
		e.inFlight[leg] = p.metrics.InFlight.WithLabelValues(name)
		for o := range e.legs[leg] {
			e.legs[leg][o] = p.metrics.Legs.WithLabelValues(name, string(mode), rules[o].name)
		}
	}
	return e
}

// NewRefusing makes the engine of an instance whose configuration cannot be
// used: each exchange ends as misconfigured, with a log line that names the
// field. What the operator wanted of it cannot be known, so this is so
// whatever the modes say.
func NewRefusing(p *Process, v Vendor, field string) *Engine {
	e := New(p, v, policy.Settings{RequestMode: policy.Enforce, ResponseMode: policy.Enforce, BlockFailures: true, BlockFailuresResponse: true}, nil)
	e.badField = field
	return e
}

// Access runs the access phase of an exchange: it looks at the request and
// lets it go on, rewrites it or answers it. It always returns; the connection
// to Kong stays in step unless Kong's side failed.
func (e *Engine) Access(ctx context.Context, k Kong) {
	x := e.exchange(ctx, k, llm.RequestLeg)
	defer x.done()
	if e.badField != "" {
		x.refuseUnusable()
		return
	}
	x.access()
}

// Response runs the response phase, as Access does for the upstream's answer.
func (e *Engine) Response(ctx context.Context, k Kong) {
	if e.settings.ResponseMode == policy.Off {
		return // the phase runs for another plugin's sake
	}
	x := e.exchange(ctx, k, llm.ResponseLeg)
	defer x.done()
	if e.badField != "" {
		x.refuseUnusable()
		return
	}
	x.response()
}

// claim is what the client says about the exchange. M is what was read of the
// request, nil if nothing was.
func (e *Engine) claim(m *llm.Message, header http.Header) string {
	if e.claimer == nil {
		return ""
	}
	var member []byte
	if m != nil {
		member = m.Cut
	}
	return e.claimer.Claim(member, header)
}

func (e *Engine) mode(leg llm.Leg) policy.Mode {
	if leg == llm.ResponseLeg {
		return e.settings.ResponseMode
	}
	return e.settings.RequestMode
}

func (e *Engine) blockFailures(leg llm.Leg) bool {
	if leg == llm.ResponseLeg {
		return e.settings.BlockFailuresResponse
	}
	return e.settings.BlockFailures
}

func (e *Engine) maxBytes(leg llm.Leg) int64 {
	if leg == llm.ResponseLeg {
		return e.settings.MaxResponseBytes
	}
	return e.settings.MaxRequestBytes
}

// deadline is when an event that began at start has to be over.
func (e *Engine) deadline(start time.Time) time.Time {
	return start.Add(eventTime(e.settings.Timeout))
}
