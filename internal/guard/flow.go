// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/release"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// How a stream is released, where the configuration does not say.
const (
	defaultStreamChars   = 400
	defaultStreamContext = 2000
	streamEvery          = 500 * time.Millisecond
	streamLeast          = 200 * time.Millisecond
	streamHead           = 5 * time.Second
	streamHeld           = 1 << 20
)

// StreamRules are those by which a configuration's relayed streams go out, and
// how many characters of what came before each scan of one shows.
func StreamRules(s *policy.Settings) (r release.Rules, context int) {
	r = release.Rules{
		Chars: cmp.Or(s.StreamScanChars, defaultStreamChars),
		Every: streamEvery, Least: streamLeast, Head: streamHead, Held: streamHeld, AtOnce: s.ReleaseAtOnce,
	}
	return r, cmp.Or(s.StreamContextChars, defaultStreamContext)
}

// A flow is an enforced answer that may come as a stream. One goroutine owns
// it: the stream, the machine that says what may go out, and the client.
// Another reads from the upstream, and a third scans.
type flow struct {
	*carriage
	p       *run
	a       *http.Response
	in      llm.Input
	stream  *llm.Stream
	machine *release.Machine
	// context is how much each window shows of what came before it.
	context int

	// size is how much has come. kept is how much memory is counted for what is
	// kept until it shows whether the answer flows.
	size, kept int64
	// bare is the exchange without its prompt. A long one would go to the service
	// again with each window; the last scan, of the whole answer, has it.
	bare *exchange
	// units are those that have not gone out yet. shown is up to where the
	// stream has, and chars how many characters that is.
	units []heldUnit
	shown int64
	chars int
	// ended says that the body is whole, closed that the stream was told so, last
	// that the scan under way is of all of it, and done that this one was allowed.
	ended, closed, last, done bool
	// whole is what all of it says. id is the answer's own and format how it
	// is written, as far as known.
	whole  *llm.Message
	id     string
	format llm.Format
	// told is what has gone out of it, nil unless a block can be told as the
	// model's last words.
	told *llm.Told

	// verdicts has the finding of the scan under way, if scanning.
	verdicts chan policy.Finding
	scanning bool
	stopScan context.CancelFunc
	// passed is the finding of the first window that nobody judged and that
	// went on as the configuration says; Undecided for none.
	passed policy.Finding
	// masked is that of the last window that was masked.
	masked policy.Finding
	// verdict is that of the whole answer, once it was allowed.
	verdict policy.Finding
	scans   int
}

// flow carries an answer that may flow. The error is errCut.
func (c *carriage) flow(p *run, a *http.Response, in llm.Input) error {
	f := &flow{carriage: c, p: p, a: a, in: in, verdicts: make(chan policy.Finding, 1)}
	limits := p.engine.limits(llm.ResponseLeg, allowance{more: p.moreWork})
	stream, err := llm.NewStream(p.ctx, in, limits)
	if err != nil {
		return c.unreadable(p, a, nil, err)
	}
	defer stream.Stop()
	f.stream = stream
	if f.opensFirst() {
		f.writeHead()
		_ = f.control.Flush()
	}
	raw, fault := f.open()
	var unread *unreadableError
	switch {
	case errors.As(fault, &unread): // nothing has gone out yet
		return c.unreadable(p, a, raw, unread.error)
	case f.stream.Framing() == llm.Whole:
		stream.Stop()
		return c.settleWhole(p, a, in, raw, fault)
	case fault != nil:
		return f.cut()
	}
	return f.run()
}

// opensFirst reports whether the head goes out before anything has come. A
// stream that is opened by GET or by subscriptions/listen is mostly for what a
// server has to say by itself, as MCP's: it may be silent for long, and clients do nothing before they have
// its head. A block of its first message is then told in the stream. One with a
// content coding waits: whether it goes out decoded shows later.
func (f *flow) opensFirst() bool {
	t, _, _ := strings.Cut(f.in.ContentType, ";")
	listens := f.in.Request != nil && f.in.Request.RPC != nil && f.in.Request.RPC.Listens()
	return (f.r.Method == http.MethodGet || listens) && f.a.StatusCode == http.StatusOK && f.in.ContentEncoding == "" && strings.EqualFold(strings.TrimSpace(t), "text/event-stream")
}

// An unreadableError is the stream's own word for why it reads no further.
type unreadableError struct{ error }

// unreadable ends an answer that cannot be read, or passes it where the
// configuration says so. raw is what was read of it.
func (c *carriage) unreadable(p *run, a *http.Response, raw []byte, err error) error {
	d := p.decide(readFault(err))
	if d.Refusal != nil {
		return c.refuse(p, d, a)
	}
	return c.passUnscanned(p, a, d.Finding, raw)
}

func readFault(err error) policy.Finding {
	if errors.Is(err, errNoRoom) {
		return policy.Ended(policy.NoRoom, "")
	}
	return policy.Unreadable(err)
}

// open reads until it shows whether the answer flows. If it does not, the
// bytes are all of it, or what came before the error.
func (f *flow) open() (raw []byte, err error) {
	limit := f.engine.settings.MaxResponseBytes
	buf := buffers.Get().(*[16 << 10]byte)
	defer buffers.Put(buf)
	for {
		n, err := f.a.Body.Read(buf[:])
		if f.size += int64(n); f.size > limit {
			return raw, pdk.ErrTooLarge
		}
		if n > 0 {
			if raw, err = f.keep(raw, buf[:n], err); err == pdk.ErrNoRoom {
				return raw, err
			}
			units, bad := f.stream.Write(buf[:n])
			f.complete(units, time.Now())
			if bad != nil {
				return raw, &unreadableError{bad}
			}
		}
		flows := f.stream.Framing() != llm.Whole
		switch {
		case flows:
			// What it has not let go is the stream's.
			f.p.engine.process.Room.Release(f.p.caller, f.kept)
			f.p.held -= f.kept
			f.kept = 0
			if err == io.EOF {
				f.ended = true
				return nil, nil
			}
			if err != nil {
				return nil, errUnread
			}
			return nil, nil
		case err == io.EOF:
			return raw, nil
		case err != nil:
			return raw, errUnread
		}
	}
}

// keep appends what came to what is kept. err is handed through.
func (f *flow) keep(raw, p []byte, err error) ([]byte, error) {
	if more := int64(len(raw) + len(p) - cap(raw)); more > 0 {
		more = max(more, int64(cap(raw)), firstRoom)
		if f.p.engine.process.Room.Try(f.p.caller, more) != nil {
			return raw, pdk.ErrNoRoom
		}
		f.p.held += more
		f.kept += more
		grown := make([]byte, len(raw), int64(cap(raw))+more)
		copy(grown, raw)
		raw = grown
	}
	return append(raw, p...), err
}

// A piece is what was read at once.
type piece struct {
	bytes []byte
	n     int
	err   error
}

// chunk is how much is read at once, of a stream that flows.
const chunk = 8 << 10

// run carries a stream that flows. The error is errCut.
func (f *flow) run() error {
	now := time.Now()
	rules, context := StreamRules(&f.engine.settings)
	f.machine, f.context = release.New(rules, now), context
	if request := f.p.exchange.request; request != nil && f.engine.settings.RefuseAsMessage {
		f.told = llm.NewTold(request.Asked)
	}
	for i := range f.units {
		f.machine.Read([]llm.Unit{f.units[i].Unit}, now)
	}
	metrics := f.engine.process.metrics
	metrics.StreamsOpen.Inc()
	defer func() {
		metrics.StreamsOpen.Dec()
		metrics.StreamScans.Observe(float64(f.scans))
	}()
	defer f.endScan()

	pieces, free := make(chan piece), make(chan []byte, 2)
	if !f.ended {
		free <- make([]byte, chunk)
		free <- make([]byte, chunk)
		stopped := make(chan struct{})
		go f.read(pieces, free, stopped)
		defer func() {
			f.giveUp()
			_ = f.a.Body.Close()
			<-stopped
		}()
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		if f.ended && !f.closed && !f.scanning {
			// Not before: a mask of the scan under way has its places in what
			// the stream has told last.
			if d := f.close(now); d != nil {
				return f.end(*d)
			}
		}
		if err := f.release(now); err != nil {
			return err
		}
		if f.done {
			return f.finish()
		}
		due, wait := f.machine.Due(now)
		if due {
			if d := f.begin(now); d != nil {
				return f.end(*d)
			}
			continue
		}
		timer.Stop()
		if wait > 0 {
			timer.Reset(wait)
		}
		next := pieces
		if f.ended || f.machine.Full() {
			next = nil
		}
		select {
		case <-f.ctx.Done():
			return f.gone()
		case <-timer.C:
		case found := <-f.verdicts:
			f.scanning = false
			f.stopScan()
			if d := f.judged(found, time.Now()); d != nil {
				return f.end(*d)
			}
		case got := <-next:
			now := time.Now()
			if d := f.take(got.bytes[:got.n], now); d != nil {
				return f.end(*d)
			}
			free <- got.bytes
			switch {
			case got.err == io.EOF:
				f.ended = true
			case got.err != nil:
				return f.cut()
			}
		}
	}
}

// read reads from the upstream while there is a free buffer.
func (f *flow) read(pieces chan<- piece, free <-chan []byte, stopped chan<- struct{}) {
	defer close(stopped)
	for {
		var got piece
		select {
		case got.bytes = <-free:
		case <-f.upstream.Done():
			return
		}
		got.n, got.err = f.readOnce(got.bytes)
		select {
		case pieces <- got:
		case <-f.upstream.Done():
			return
		}
		if got.err != nil {
			return
		}
	}
}

var errPanic = errors.New("panic")

func (f *flow) readOnce(b []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			f.engine.process.panics.recovered(v)
			n, err = 0, errPanic
		}
	}()
	return f.a.Body.Read(b)
}

// take reads what came. What is returned ends the stream.
func (f *flow) take(b []byte, now time.Time) *policy.Decision {
	if f.size += int64(len(b)); f.size > f.engine.settings.MaxResponseBytes {
		return f.refusal(policy.Ended(policy.TooLarge, ""))
	}
	units, err := f.stream.Write(b)
	f.complete(units, now)
	f.machine.Read(units, now)
	if err != nil {
		return f.refusal(readFault(err))
	}
	return nil
}

// refusal is what ends the stream, whatever the configuration lets pass: some
// of it may have gone out.
func (f *flow) refusal(found policy.Finding) *policy.Decision {
	d := f.p.refusal(found)
	return &d
}

// close reads the end of the stream. What is returned ends it.
func (f *flow) close(now time.Time) *policy.Decision {
	f.closed = true
	whole, err := f.stream.Close()
	f.engine.countBody(llm.ResponseLeg, int(f.size), whole)
	if err != nil {
		d := f.decide(readFault(err))
		if d.Refusal != nil {
			return &d
		}
		f.pass(d.Finding)
		f.verdict, f.done = d.Finding, true
		return nil
	}
	f.whole = whole
	f.machine.End(now)
	return nil
}

// begin begins the scan that is due: of what is new, or of all. What is
// returned ends the stream.
func (f *flow) begin(now time.Time) *policy.Decision {
	m, end := f.whole, int64(math.MaxInt64)
	if f.last = m != nil; !f.last {
		m, end = f.stream.Window(f.context)
	}
	f.machine.Begin(end, now)
	if m == nil {
		f.machine.Allow(now)
		return nil
	}
	if m.ID != "" {
		f.id = m.ID
	}
	f.format = m.Format
	found, ok := policy.BeforeScan(&f.engine.vendor, &f.engine.settings, &f.in, m, f.x.method)
	if !ok {
		return f.judged(found, now)
	}
	f.scans++
	ctx, stop := context.WithCancel(f.p.ctx)
	f.scanning, f.stopScan = true, stop
	c := &content{message: m, turns: m.Turns, claim: f.p.exchange.claim}
	allowed := allowance{caller: f.p.caller, until: f.engine.deadline(now)}
	x := f.p.exchange
	if !f.last {
		x = f.withoutPrompt()
	}
	go func() { f.verdicts <- f.scan(ctx, c, found, x, allowed) }()
	return nil
}

func (f *flow) withoutPrompt() *exchange {
	if f.bare == nil {
		bare := *f.p.exchange
		bare.prompt = nil
		f.bare = &bare
	}
	return f.bare
}

// scan runs on a goroutine of its own.
func (f *flow) scan(ctx context.Context, c *content, before policy.Finding, x *exchange, allowed allowance) (found policy.Finding) {
	defer func() {
		if v := recover(); v != nil {
			f.engine.process.panics.recovered(v)
			found = policy.Ended(policy.OwnFault, policy.ReasonPanic)
		}
	}()
	return f.engine.ask(ctx, c, before, x, allowed)
}

// endScan waits for the scan under way, which reads what is ours.
func (f *flow) endScan() {
	if f.scanning {
		f.stopScan()
		<-f.verdicts
	}
}

// judged carries out the verdict on the last window. What is returned ends the
// stream.
func (f *flow) judged(found policy.Finding, now time.Time) *policy.Decision {
	d := policy.Decision{Finding: found}
	if found.Outcome == policy.Masked {
		if !f.engine.vendor.Masks || len(found.Verdict.Masked) == 0 || f.stream.Mask(found.Verdict.Masked) != nil {
			found.Outcome, found.Reason = policy.Blocked, policy.ReasonMask
			return f.refusal(found)
		}
		f.masked = found
	} else if d = f.decide(found); d.Refusal != nil {
		return &d
	}
	if d.Outcome == policy.Unscanned {
		f.pass(d.Finding)
	}
	if !f.began {
		addHeader(f.a.Header, found.Verdict.Header)
	}
	f.machine.Allow(now)
	if f.last {
		f.verdict, f.done = d.Finding, true
	}
	return nil
}

// decide is what becomes of the stream by a finding that asks for no mask.
func (f *flow) decide(found policy.Finding) policy.Decision {
	x := f.p.exchange.known()
	return policy.Decide(&f.engine.vendor, &f.engine.settings, llm.ResponseLeg, &x, found)
}

// pass notes that something goes out which nobody has judged. A stream counts
// once, whatever follows.
func (f *flow) pass(found policy.Finding) {
	if f.passed.Outcome != policy.Undecided {
		return
	}
	f.passed = found
	f.engine.process.metrics.Unscanned.WithLabelValues(llm.ResponseLeg.String(), found.Was.String()).Inc()
}

// A heldUnit is one that has not gone out.
type heldUnit struct {
	llm.Unit
	came time.Time
}

// complete notes units that the stream has completed. Those that say nothing go
// with the one before them, and so do all that come after the answer's end: a
// stream can have millions.
func (f *flow) complete(units []llm.Unit, now time.Time) {
	for i := range units {
		u := &units[i]
		if n := len(f.units); n > 0 {
			if last := &f.units[n-1]; last.Final && u.Final || u.Chars == 0 && !u.Call && !last.Call && u.Final == last.Final {
				last.End, last.Chars = u.End, last.Chars+u.Chars
				continue
			}
		}
		f.units = append(f.units, heldUnit{*u, now})
	}
}

// release lets go out what may. The error is errCut.
func (f *flow) release(now time.Time) error {
	end := f.machine.Release(now)
	if f.done {
		end = math.MaxInt64
	}
	if end <= f.shown {
		return nil
	}
	out := f.stream.Take(end)
	f.shown = end
	n := 0
	hold := f.engine.process.metrics.HoldSeconds
	for ; n < len(f.units) && f.units[n].End <= end; n++ {
		f.chars += f.units[n].Chars
		hold.Observe(now.Sub(f.units[n].came).Seconds())
	}
	f.units = f.units[:copy(f.units, f.units[n:])]
	if len(out) == 0 {
		return nil
	}
	f.told.Note(f.stream.Framing(), out)
	f.writeHead()
	if _, err := f.w.Write(out); err != nil {
		return f.gone()
	}
	_ = f.control.Flush()
	return nil
}

// writeHead writes the head, once. A stream goes out decoded, and may be masked or
// end early.
func (f *flow) writeHead() {
	if f.began {
		return
	}
	a := f.a
	a.Header.Del("Content-Length")
	a.ContentLength = -1
	if f.in.ContentEncoding != "" || f.engine.vendor.Masks {
		dropBodyHeaders(a, -1)
	}
	pending := f.p.report(&policy.Finding{Outcome: policy.Pending})
	f.head(a, &pending)
}

// finish ends a stream of which all has gone out. The error is errCut.
func (f *flow) finish() error {
	f.writeHead()
	found := f.verdict
	switch {
	case f.passed.Outcome != policy.Undecided:
		found = f.passed
	case f.masked.Outcome == policy.Masked:
		found = f.masked
	}
	found.Scans = f.scans
	f.p.note(&found)
	if f.stream.Held() > 0 {
		return errCut // it passes although it cannot be read, and this is not all of it
	}
	relay.WriteTrailers(f.w, f.a)
	return nil
}

// end ends a stream that is not allowed: with its real status while nothing
// has gone out, else in the API's own form. The error is errCut.
func (f *flow) end(d policy.Decision) error {
	f.giveUp()
	if !f.began {
		return f.refuse(f.p, d, f.a)
	}
	if f.left(&d.Finding) {
		return f.gone()
	}
	f.cutOff(telemetry.RelayCut)
	d.Finding.Scans = f.scans
	f.p.note(&d.Finding)
	said, known := f.spoken(d.Refusal.Said)
	said.Told = f.told
	if _, err := f.w.Write(llm.RenderEnding(said, f.stream.Framing(), f.id)); err != nil {
		return f.gone()
	}
	_ = f.control.Flush()
	if !known {
		return errCut
	}
	return nil
}

// cutOff notes that the stream ends although some of it has gone out.
func (f *flow) cutOff(became string) {
	f.became, f.p.released = became, f.chars
	f.engine.process.metrics.CutCharacters.Add(float64(f.chars))
}

// spoken is a refusal for clients of the API that the stream is of, if that is
// known: by the request, or by what it has said. Else nobody knows how its
// clients are told of an error.
func (f *flow) spoken(said llm.Refusal) (_ llm.Refusal, known bool) {
	request := f.p.exchange.request
	switch {
	case said.RPC != nil, request != nil && isAPI(request.Format):
		return said, true
	case isAPI(f.format):
		said.Format = f.format
		return said, true
	}
	said.Format = llm.Unknown
	return said, false
}

func isAPI(f llm.Format) bool {
	switch f {
	case llm.None, llm.Unknown, llm.Text, llm.Form, llm.Media:
		return false
	}
	return true
}

// cut ends a stream that the upstream has cut: what was covered is out, and no
// client may take it for whole. The error is errCut.
func (f *flow) cut() error {
	if f.ctx.Err() != nil {
		return f.gone()
	}
	found := policy.Ended(policy.UpstreamFailed, policy.ReasonCut)
	if !f.began {
		return f.refuse(f.p, f.p.refusal(found), nil)
	}
	f.cutOff(telemetry.RelayUpstreamFailed)
	found.Scans = f.scans
	f.p.note(&found)
	return errCut
}
