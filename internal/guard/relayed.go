// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// A relayed exchange is one whose request Kong sends to the relay: the access
// phase has learnt who calls what and where it goes, and everything else
// happens here.
type relayed struct {
	engine   *Engine
	exchange *exchange
	target   relay.Target
	caller   string
	// scout says that the phases judge the exchange, and that it is handed on
	// untouched: it only shows that requests of its kind come here.
	scout bool
}

// Serve carries the exchange, as relay.Exchange wants it.
func (x *relayed) Serve(w http.ResponseWriter, r *http.Request) {
	c := &carriage{relayed: x, ctx: r.Context(), w: w, r: r, control: http.NewResponseController(w)}
	c.upstream, c.giveUp = context.WithCancel(c.ctx)
	defer c.giveUp()
	defer c.count()
	defer func() {
		if !c.sent {
			c.engine.process.Upstreams.Withdraw(r, &x.target)
		}
	}()
	defer c.recovered()
	err := c.carry()
	switch {
	case c.became != "":
	case err == nil:
		c.became = telemetry.RelayPassed
	case r.Context().Err() != nil:
		c.became = telemetry.RelayClientGone
	default:
		c.became = telemetry.RelayUpstreamFailed
	}
	if err != nil {
		if c.began {
			// A head that nginx has not seen makes it send the request again.
			_ = c.control.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

// count notes what became of the exchange. The phases have counted a scout.
func (c *carriage) count() {
	if !c.scout {
		c.engine.process.metrics.Relayed.WithLabelValues(c.became).Inc()
	}
}

// gone says that the client takes no more. The error is errCut.
func (c *carriage) gone() error {
	c.became = telemetry.RelayClientGone
	return errCut
}

// A carriage is one run of a relayed exchange. Kong's nginx may send a request
// again when its connection was lost, so nothing of it is kept in relayed.
type carriage struct {
	*relayed
	// ctx ends when the client leaves. upstream is that of the upstream's call,
	// which giveUp ends.
	ctx, upstream context.Context
	giveUp        context.CancelFunc
	w             http.ResponseWriter
	r             *http.Request
	control       *http.ResponseController

	// x is what is known of the exchange.
	x *exchange
	// plan is what becomes of the answer.
	plan policy.AnswerPlan
	// copy is of the request's body, nil where none is kept. It is judged once
	// the request has been sent, by watched.
	copy    *carbon
	watched func()
	// at is the leg that is being carried.
	at *run
	// changed says that the request's header is a copy.
	changed bool
	// sent says that the request was handed on, or may have been.
	sent bool
	// began says that something was written to the client.
	began bool
	// came is when the head of the upstream's answer did.
	came time.Time
	// became is what became of the exchange, as metrics call it; "" while it goes
	// well.
	became string
}

// errCut says that the client's connection is to be cut: no true end can be
// written, or nobody is there to read one.
var errCut = errors.New("the exchange was cut")

// carry carries the exchange. The error is errCut.
func (c *carriage) carry() error {
	if c.scout && !c.sealed() {
		answer, err := c.forward(nil)
		if answer == nil {
			return err
		}
		c.began = true
		relay.Pass(c.w, c.r, answer)
		return nil
	}
	c.learn()
	if c.scout {
		answer, err := c.forward(nil)
		if answer == nil {
			return err
		}
		defer answer.Body.Close()
		c.came = time.Now()
		c.plan = policy.PlanRelayed(&c.engine.settings, &llm.Input{}, c.x.request)
		return c.answer(answer)
	}
	answer, err := c.request()
	defer c.submitRequest()
	if answer == nil {
		return err
	}
	defer answer.Body.Close()
	c.came = time.Now()
	if c.copy != nil && c.copy.isWhole() {
		c.submitRequest()
	}
	return c.answer(answer)
}

// sealed reports whether the answer of a scout is judged here too, although the
// response event judges it. Kongs before 3.8 show a client the answer whose
// response event has failed, and a sealed service is to be safe on those.
func (c *carriage) sealed() bool {
	r := c.engine.relaying
	return r != nil && r.upstream != nil && c.engine.settings.ResponseMode == policy.Enforce
}

// recovered ends the exchange after a panic of ours. Nothing of it can go on
// then: the request may have been read.
func (c *carriage) recovered() {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	c.engine.process.panics.recovered(v)
	c.became = telemetry.RelayCut
	if c.began {
		panic(http.ErrAbortHandler)
	}
	if c.at == nil {
		return // the listener answers with 503
	}
	_ = c.refuse(c.at, c.at.refusal(policy.Ended(policy.OwnFault, policy.ReasonPanic)), nil)
}

// learn notes what the request's head says. A scan may read the header at any
// time, so it is not changed any more: see change.
func (c *carriage) learn() {
	x := *c.exchange
	x.header = c.r.Header
	x.method, x.path = c.r.Method, c.r.URL.EscapedPath()
	if c.r.RequestURI != "" {
		x.path, _, _ = strings.Cut(c.r.RequestURI, "?") // as it came
	}
	x.events = asksForEvents(c.r.RequestURI)
	if id := c.r.Header.Get("X-Kong-Request-Id"); x.requestID == "" && plainID(id) {
		x.requestID = id
	}
	x.token = carriedToken(x.token, x.header)
	x.claim = c.engine.claim(nil, x.header)
	c.x = &x
}

// change returns the request's header to be changed on its way: a copy of the one
// that was learnt.
func (c *carriage) change() http.Header {
	if !c.changed {
		c.changed, c.r.Header = true, c.r.Header.Clone()
	}
	return c.r.Header
}

// plainID reports whether an id is like those that Kong gives. A configuration
// of Kong's may let the client's own through.
func plainID(id string) bool {
	return len(id) <= 64 && strings.Trim(id, "0123456789abcdefABCDEF-") == ""
}

// request carries the request's leg and hands the request on. Without an answer
// the exchange is over; then the error is nil or errCut.
func (c *carriage) request() (*http.Response, error) {
	s := &c.engine.settings
	p := c.run(llm.RequestLeg)
	defer p.giveBack()
	defer p.stop()
	head := policy.RequestHead{Method: c.r.Method, Protocol: c.r.Proto, Header: c.x.header, Relayed: true}
	if f, bad := s.Unguardable(&head); bad {
		return nil, c.refuse(p, p.refusal(f), nil)
	}
	b := body{own: true, in: llm.Input{
		Leg: llm.RequestLeg, Path: c.x.path,
		ContentType: c.r.Header.Get("Content-Type"), ContentEncoding: c.r.Header.Get("Content-Encoding"),
	}}
	if s.RequestMode != policy.Enforce {
		return c.letThrough(p, &b)
	}
	var err error
	switch b.in.Body, err = p.gather(c.r.Body, c.r.ContentLength, s.MaxRequestBytes); {
	case errors.Is(err, errUnread):
		return nil, c.gone()
	case err != nil:
		b.fault = err
	}
	p.start = time.Now() // the client's time is not ours
	if s.ScansBeside() {
		return c.judgeBeside(p, &b)
	}
	return c.letGo(p, &b, p.decide(p.judgeRequest(&b)))
}

// run begins a leg.
func (c *carriage) run(leg llm.Leg) *run {
	p := c.engine.run(c.ctx, leg, byRelay, c.x)
	p.caller = c.caller
	p.trace()
	c.at = &p
	return c.at
}

// errUnread says that a body broke off.
var errUnread = errors.New("the body broke off")

// gather reads a body that is to be judged whole. known is its length, less
// than 0 if that is not known. The memory counts until the leg hands it back.
// The error is pdk.ErrTooLarge, pdk.ErrNoRoom or errUnread, with what was read
// so far.
func (p *run) gather(r io.Reader, known, limit int64) ([]byte, error) {
	room := p.engine.process.Room
	first := int64(firstRoom)
	switch {
	case known > limit:
		return nil, pdk.ErrTooLarge
	case known >= 0:
		// Whoever announces much and sends little gets little.
		first = min(known, 1<<20)
	}
	if err := room.Reserve(p.ctx, p.caller, first); err != nil {
		return nil, pdk.ErrNoRoom
	}
	p.held += first
	b := make([]byte, 0, first)
	for {
		if known >= 0 && int64(len(b)) == known {
			return b, nil
		}
		if len(b) == cap(b) {
			if int64(len(b)) > limit {
				return b, pdk.ErrTooLarge
			}
			// One byte more than the limit shows that there is more.
			more := min(max(firstRoom, int64(cap(b))), limit+1-int64(cap(b)))
			if known >= 0 {
				more = min(more, known-int64(cap(b)))
			}
			if err := room.Try(p.caller, more); err != nil {
				return b, pdk.ErrNoRoom
			}
			p.held += more
			grown := make([]byte, len(b), int64(len(b))+more)
			copy(grown, b)
			b = grown
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > limit:
			return b, pdk.ErrTooLarge
		case err == io.EOF && known >= 0 && int64(len(b)) < known:
			return b, errUnread
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, errUnread
		}
	}
}

// letGo lets an enforced request go on, or ends it, as the decision says.
func (c *carriage) letGo(p *run, b *body, d policy.Decision) (*http.Response, error) {
	if d.Refusal != nil {
		return nil, c.refuse(p, d, nil)
	}
	c.letRequest(p, b, &d)
	return c.forward(c.readied(b, &d))
}

// letRequest notes that an enforced request goes on.
func (c *carriage) letRequest(p *run, b *body, d *policy.Decision) {
	if d.Message != nil {
		c.x.claim = d.Claim
	}
	c.x.access = p.report(&d.Finding)
	c.plan = policy.PlanRelayed(&c.engine.settings, &b.in, d.Message)
	c.engine.keep(c.x, &d.Finding)
	p.note(&d.Finding)
	p.stop()
}

// readied makes the request ready to be sent after its body was read. It
// returns the body that goes in place of the client's, nil for the same bytes.
func (c *carriage) readied(b *body, d *policy.Decision) []byte {
	c.tellSubject(d.Verdict.Subject)
	if d.Body != nil {
		header := c.change()
		for _, name := range []string{"Content-Encoding", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"} {
			header.Del(name)
		}
		for _, h := range d.Message.Remirror(llm.Mirrors(header), d.Body) {
			if h.Value == "" {
				delete(header, h.Name)
			} else {
				header[h.Name] = []string{h.Value}
			}
		}
		return d.Body
	}
	if c.r.Body != http.NoBody {
		bytesOf := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.in.Body)), nil }
		c.r.Body, _ = bytesOf()
		c.r.GetBody = bytesOf
	}
	return nil
}

// tellSubject tells the upstream under which subject the request was judged.
// What a client says about that never gets through.
func (c *carriage) tellSubject(subject string) {
	e := c.engine
	name := e.vendor.SubjectHeader
	if name == "" {
		return
	}
	tells := e.needs.TellSubject && subject != ""
	if _, said := c.r.Header[e.subjectKey]; said || tells {
		c.change().Del(name)
	}
	if tells {
		c.change().Set(name, clean(subject))
	}
}

// letThrough hands on a request that is not enforced, while it comes. A copy
// is kept where somebody will look at it.
func (c *carriage) letThrough(p *run, b *body) (*http.Response, error) {
	e, s := c.engine, &c.engine.settings
	c.tellSubject("")
	if s.RequestMode == policy.Monitor || s.PassStreams {
		c.copy = e.carbon(c.caller, llm.RequestLeg)
		if c.r.Body == http.NoBody || c.r.ContentLength == 0 {
			c.copy.end()
		}
		c.r.Body = &carbonReader{ReadCloser: c.r.Body, copy: c.copy, left: c.r.ContentLength}
	}
	if s.RequestMode == policy.Off {
		f := policy.Ended(policy.Skipped, "")
		c.x.access = p.report(&f)
		p.note(&f)
		c.watched = func() {
			if c.copy != nil {
				if known, cut, _ := c.copy.take(); !cut {
					b.in.Body = known
				}
				c.plan = policy.PlanRelayed(s, &b.in, nil)
			}
		}
	} else {
		pending := policy.Ended(policy.Pending, "")
		c.x.access = p.report(&pending)
		c.watched = func() { c.watchRequest(b.in) }
	}
	c.plan = policy.PlanRelayed(s, &b.in, nil)
	p.stop()
	return c.forward(nil)
}

// watchRequest hands what the request said to the monitor queue.
func (c *carriage) watchRequest(in llm.Input) {
	p := run{engine: c.engine, ctx: c.ctx, leg: llm.RequestLeg, by: byRelay, start: time.Now(), ended: true, queued: -1, caller: c.caller}
	known := *c.x
	p.exchange = &known
	p.monitor(c.copy, in, 0)
	c.x = &known
	if known.unread != nil {
		in.Body = known.unread.bytes
	}
	c.plan = policy.PlanRelayed(&c.engine.settings, &in, nil)
}

// submitRequest has what was kept of a request looked at, once.
func (c *carriage) submitRequest() {
	if c.watched != nil {
		c.watched()
		c.watched = nil
	}
}

// judgeBeside sends an enforced request on while it is scanned. Nothing of the
// answer goes out before the verdict. What may have effects that cannot be
// taken back, or cannot go on as it is, waits.
func (c *carriage) judgeBeside(p *run, b *body) (*http.Response, error) {
	e := c.engine
	read, f, allowed, ok := p.prepareRequest(b)
	if ok && !policy.GoesBeside(c.x.method, &b.in, read.message) {
		f, ok = e.ask(p.ctx, &read, f, c.x, allowed), false
	}
	if !ok {
		return c.letGo(p, b, p.decide(f))
	}
	verdict := make(chan policy.Decision, 1)
	go func() {
		d := p.decideBeside(&read, f, allowed)
		if d.Refusal != nil {
			d.Refusal.Paid()
			c.giveUp()
		}
		verdict <- d
	}()
	c.sent = true
	answer, failed := e.process.Upstreams.Forward(c.upstream, c.r, c.readied(b, &policy.Decision{}), &c.target)
	d := <-verdict
	switch {
	case d.Refusal != nil:
		if answer != nil {
			answer.Body.Close()
		}
		return nil, c.refuse(p, d, nil)
	case failed != nil:
		c.letRequest(p, b, &d)
		return nil, c.failed(failed)
	}
	c.letRequest(p, b, &d)
	return answer, nil
}

// forward sends the request on. Without an answer the exchange is over; then
// the error is nil or errCut.
func (c *carriage) forward(replaced []byte) (*http.Response, error) {
	c.sent = true
	answer, err := c.engine.process.Upstreams.Forward(c.upstream, c.r, replaced, &c.target)
	if err != nil {
		return nil, c.failed(err)
	}
	return answer, nil
}

// failed answers for an upstream that did not. The error is errCut.
func (c *carriage) failed(err error) error {
	if c.r.Context().Err() != nil || !errors.Is(err, relay.ErrUpstream) && !errors.Is(err, relay.ErrUpstreamTimeout) {
		return c.gone() // nobody is left to be answered, or the request broke off
	}
	if c.x == nil {
		c.learn() // a scout
	}
	p := c.run(llm.ResponseLeg)
	defer p.stop()
	return c.refuse(p, p.refusal(upstreamFault(err)), nil)
}

func upstreamFault(err error) policy.Finding {
	if errors.Is(err, relay.ErrUpstreamTimeout) {
		return policy.Ended(policy.UpstreamTimeout, "")
	}
	return policy.Ended(policy.UpstreamFailed, "")
}

// carriedToken is the token that Kong has verified, if it is the one that the
// request carries.
func carriedToken(verified string, h http.Header) string {
	if verified == "" || len(h["Authorization"]) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(h["Authorization"][0], " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) != verified {
		return ""
	}
	return verified
}

// note writes down how a leg ended when no event of Kong's is at hand: what
// operators read of it waits for the next one.
func (p *run) note(f *policy.Finding) {
	e, x := p.engine, p.exchange
	e.countMedia(p.leg, f)
	line := func() string {
		text := e.line(p.leg, verb(f.Outcome), f, x.requestID, &x.named, p.elapsed())
		if p.released > 0 {
			// Whoever looks into a block has to know that its client has seen a part.
			text += ` released="` + strconv.Itoa(p.released) + `"`
		}
		return text
	}
	switch s := f.Severity(); {
	case f.Outcome == policy.UpstreamFailed || f.Outcome == policy.UpstreamTimeout:
		// An upstream that is away fails each exchange in the same way.
		e.process.notices.add(s, f.Outcome.String()+" "+x.named.Service, line())
	case s != policy.Quiet && e.settings.Mode(p.leg) == policy.Enforce:
		e.process.notices.add(s, "", line())
	case e.settings.Debug:
		e.process.log.Info(e.line(p.leg, " passed", f, x.requestID, &scan.Identity{}, time.Since(p.start)))
	}
	p.count(f)
	e.audit(f, ended{leg: p.leg, transport: p.by, exchange: x, took: p.elapsed(), scans: f.Scans, characters: p.characters, released: p.released})
}
