// SPDX-License-Identifier: Apache-2.0

// Package guard is the engine that both plugins share. It carries each exchange
// as policy says: it reads the exchange from Kong, lets the service judge it,
// and allows, rewrites or refuses it.
package guard

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// Needs says what a plugin's scans need to know besides the content. Each costs
// Kong's worker a call per exchange, except Prompt.
type Needs struct {
	// Service, Consumer and ClientIP are the parts of scan.Identity. The
	// service's name costs nothing where Settings.Scoped.
	Service, Consumer, ClientIP bool
	// Token is Scan.Token.
	Token bool
	// Prompt hands the request's turns to the scan of the answer.
	Prompt bool
	// TellSubject sets Vendor.SubjectHeader for the upstream.
	TellSubject bool
}

// Config is what one plugin instance is made of.
type Config struct {
	Vendor   policy.Vendor
	Needs    Needs
	Settings policy.Settings
	// Scanner may be shared by many instances.
	Scanner scan.Scanner
	// RelayTLS says how https upstreams of relayed exchanges are verified; nil
	// for the system's authorities.
	RelayTLS *tls.Config
}

// An Engine runs the exchanges of one plugin instance. Its methods may be
// called at once by any number of goroutines.
type Engine struct {
	process  *Process
	vendor   policy.Vendor
	needs    Needs
	settings policy.Settings
	scanner  scan.Scanner
	// badField names the field that keeps everything from being scanned.
	badField string
	// claimer is the scanner if it is a Claimer that listens, else nil.
	// claimMember is the member of bodies that it listens to.
	claimer     scan.Claimer
	claimMember string
	// relaying is nil when nothing is relayed.
	relaying *relaying

	// setMark marks the answer as one that this instance wants buffered. subjectKey
	// is vendor.SubjectHeader as http.Header has it.
	setMark    pdk.Call
	subjectKey string

	// known are the definitions that the service has allowed, nil unless the
	// scope leaves them out.
	known *knownTexts

	// The names, once known, of what the instance is scoped to.
	service, route atomic.Pointer[string]
	consumer       atomic.Pointer[scan.Consumer]
	// What was warned of, since each warning is written once.
	warnedGet, warnedMedia, warnedUnseen atomic.Bool

	legs        [2][policy.Outcomes]prometheus.Counter
	alerts      [2]prometheus.Counter
	scanSeconds [2]prometheus.Observer
	legSeconds  [2]prometheus.Observer
	bodyBytes   [2]prometheus.Observer
	inFlight    [2]prometheus.Gauge
}

// New makes the engine of an instance.
func New(p *Process, c Config) *Engine {
	e := &Engine{process: p, vendor: c.Vendor, needs: c.Needs, settings: c.Settings, scanner: c.Scanner}
	e.setMark, e.subjectKey = pdk.SetNginxCtxText(bufferedKey, e.ownMark()), http.CanonicalHeaderKey(c.Vendor.SubjectHeader)
	e.relaying = newRelaying(p, &c)
	if c.Settings.Scope == llm.New && !c.Needs.Token {
		e.known = new(knownTexts)
	}
	if claimer, ok := c.Scanner.(scan.Claimer); ok {
		e.claimer, e.claimMember = claimer, claimer.ClaimMember()
	}
	for leg, mode := range [2]policy.Mode{c.Settings.RequestMode, c.Settings.ResponseMode} {
		name := llm.Leg(leg).String()
		e.scanSeconds[leg] = p.metrics.ScanSeconds.WithLabelValues(name)
		e.legSeconds[leg] = p.metrics.LegSeconds.WithLabelValues(name, string(mode))
		e.alerts[leg] = p.metrics.Alerts.WithLabelValues(name)
		e.bodyBytes[leg] = p.metrics.BodyBytes.WithLabelValues(name)
		e.inFlight[leg] = p.metrics.InFlight.WithLabelValues(name)
		for o := range policy.Outcomes {
			e.legs[leg][o] = p.metrics.Legs.WithLabelValues(name, string(mode), o.String())
		}
	}
	return e
}

// NewRefusing returns the engine of an instance whose configuration cannot be
// used. Each exchange ends as misconfigured, with a log line that names the
// field. That is so whatever the modes say, since nobody can know what the
// operator wanted.
func NewRefusing(p *Process, v policy.Vendor, field string) *Engine {
	e := New(p, Config{Vendor: v, Settings: policy.Settings{
		RequestMode: policy.Enforce, ResponseMode: policy.Enforce, BlockFailures: true, BlockFailuresResponse: true,
	}})
	e.badField = field
	return e
}

// Access runs the access phase of an exchange: it looks at the request and
// lets it go on, rewrites it or answers it. It always returns; the connection
// to Kong stays in step unless Kong's side failed.
func (e *Engine) Access(ctx context.Context, k Kong) {
	p := e.phase(ctx, k, llm.RequestLeg)
	defer p.settleScout()
	defer p.done()
	// The error is pdk.ErrGone: Kong ends the event by itself.
	if e.badField != "" {
		_ = p.refuseUnusable()
		return
	}
	_ = p.access()
	p.tellRest()
}

// Response runs the response phase, as Access does for the upstream's answer.
func (e *Engine) Response(ctx context.Context, k Kong) {
	if e.settings.ResponseMode == policy.Off {
		return // the phase runs for another plugin's sake
	}
	p := e.phase(ctx, k, llm.ResponseLeg)
	defer p.done()
	if e.badField != "" {
		_ = p.refuseUnusable()
		return
	}
	_ = p.response()
	p.tellRest()
}

// claim returns what the client says about the exchange. m is what was read of
// the request, nil if nothing was.
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

// deadline is when an event that began at start has to be over.
func (e *Engine) deadline(start time.Time) time.Time {
	return start.Add(eventTime(e.settings.Timeout))
}
