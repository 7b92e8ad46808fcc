// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/release"
)

// Pace is how fast a recorded stream is played.
type Pace struct {
	// Event is the time between two events, and Scan that of a scan. 0 is none:
	// then windows depend on characters alone.
	Event, Scan time.Duration
}

// ExplainStream prints the windows in which a relayed answer would be scanned,
// what is held meanwhile, and the scan of the whole at its end. It calls nobody:
// each scan allows. A configuration (file, and name as in Scan) says how large
// the windows are.
func ExplainStream(ctx context.Context, p *Plugin, file, name string, body Body, pace Pace, stdout, stderr io.Writer) int {
	var settings policy.Settings
	limits := llm.Limits{DecodedBytes: llm.DefaultDecodedBytes, Ratio: llm.DefaultRatio, Depth: llm.DefaultDepth}
	if file != "" {
		made, code := p.made(ctx, file, name, stderr)
		if made == nil {
			return code
		}
		settings, limits.DecodedBytes = made.Settings, made.Settings.MaxResponseBytes
	}
	body.Leg = llm.ResponseLeg
	decoded, err := contentcoding.Decode(body.ContentEncoding, body.Bytes, contentcoding.Limits{Bytes: limits.DecodedBytes, Ratio: limits.Ratio})
	if err != nil {
		_, err = llm.Read(body.input(), limits) // it says so in its own words
		return refused(stdout, err)
	}
	body.Bytes, body.ContentEncoding = decoded, ""
	ends, framing, err := unitsOf(&body, limits)
	if framing == llm.Whole && err != nil {
		return refused(stdout, err)
	}
	if framing == llm.Whole {
		fmt.Fprint(stdout, "read whole   the answer comes as one document or text, not as events, lines or frames: it goes out after its one scan\n\n")
		return Explain(ctx, p, file, name, body, stdout, stderr)
	}
	stream, streamErr := llm.NewStream(context.Background(), body.input(), limits)
	if streamErr != nil {
		return refused(stdout, streamErr)
	}
	defer stream.Stop()
	w := &player{stdout: stdout, stream: stream, bytes: decoded, ends: ends, pace: pace}
	w.rules, w.context = guard.StreamRules(&settings)
	fmt.Fprintf(stdout, "stream       %s in %s\n", number(len(ends), framings[framing][0], framings[framing][1]), number(len(decoded), "byte", "bytes"))
	fmt.Fprintf(stdout, "windows      of %d new characters", w.rules.Chars)
	if pace != (Pace{}) {
		fmt.Fprintf(stdout, ", or what has come while the last scan ran (at least %s, at most %s)", w.rules.Least, w.rules.Every)
	}
	fmt.Fprintf(stdout, ", with %d before them\n", w.context)
	if w.rules.AtOnce {
		fmt.Fprintln(stdout, "release      at once: text goes out as it comes, and only the end waits")
	}
	w.unit = framings[framing]
	if err := w.play(); err != nil {
		fmt.Fprintln(stdout)
		return refused(stdout, err)
	}
	return ExitOK
}

var framings = map[llm.Framing][2]string{llm.Events: {"event", "events"}, llm.Lines: {"line", "lines"}, llm.Frames: {"frame", "frames"}}

// unitsOf returns where the units of a stream end. An error is why it ends
// before its end.
func unitsOf(body *Body, limits llm.Limits) (ends []int64, framing llm.Framing, err error) {
	s, err := llm.NewStream(context.Background(), body.input(), limits)
	if err != nil {
		return nil, llm.Whole, err
	}
	defer s.Stop()
	units, err := s.Write(body.Bytes)
	for _, u := range units {
		ends = append(ends, u.End)
	}
	return ends, s.Framing(), err
}

// refused says that a body cannot be read.
func refused(w io.Writer, err error) int {
	fmt.Fprintf(w, "refused      %s: %s\n", refusals[classOf(err)], withPlace(err.Error(), llm.PlaceOf(err)))
	return ExitBlocked
}

// A player plays a recorded stream to the machine that the relay has, on a clock
// of its own.
type player struct {
	stdout  io.Writer
	stream  *llm.Stream
	bytes   []byte
	ends    []int64
	pace    Pace
	rules   release.Rules
	context int
	unit    [2]string

	machine *release.Machine
	start   time.Time
	came    int   // of ends
	fed     int64 // of bytes
	// units are those that have not gone out, shown is up to where they have.
	units []llm.Unit
	shown int64
	// fresh are the units that no window has covered, windows is how many there
	// were.
	fresh   []llm.Unit
	windows int
	whole   *llm.Message
	// scanEnds is when the scan under way ends, if it is not zero, and last that
	// it is of the whole.
	scanEnds time.Time
	last     bool
}

// play plays the stream to its end. The error is why it has none.
func (w *player) play() error {
	w.start = time.Unix(0, 0)
	now := w.start
	w.machine = release.New(w.rules, now)
	for {
		w.release(now)
		if w.last && w.scanEnds.IsZero() {
			return nil
		}
		due, wait := w.machine.Due(now)
		if due {
			w.begin(now)
			continue
		}
		next, event := w.next(now, wait)
		now = next
		switch event {
		case scanned:
			w.scanEnds = time.Time{}
			w.machine.Allow(now)
		case arrived:
			if err := w.arrive(now); err != nil {
				return err
			}
		}
	}
}

// What happens next.
type happening uint8

const (
	waited happening = iota
	scanned
	arrived
)

// next returns what happens next, and when.
func (w *player) next(now time.Time, wait time.Duration) (time.Time, happening) {
	at, what := time.Time{}, waited
	sooner := func(t time.Time, h happening) {
		if t.Before(now) {
			t = now
		}
		if at.IsZero() || t.Before(at) {
			at, what = t, h
		}
	}
	if !w.scanEnds.IsZero() {
		sooner(w.scanEnds, scanned)
	}
	if w.whole == nil && !w.machine.Full() {
		sooner(w.start.Add(time.Duration(w.came)*w.pace.Event), arrived)
	}
	if wait > 0 {
		sooner(now.Add(wait), waited)
	}
	return at, what
}

// arrive reads the next unit, or the end.
func (w *player) arrive(now time.Time) (err error) {
	end := int64(len(w.bytes))
	if w.came < len(w.ends) {
		end = w.ends[w.came]
	}
	var units []llm.Unit
	if end > w.fed {
		units, err = w.stream.Write(w.bytes[w.fed:end])
		w.fed = end
		w.units, w.fresh = append(w.units, units...), append(w.fresh, units...)
		w.machine.Read(units, now)
	}
	switch {
	case err != nil:
		return err
	case w.came < len(w.ends):
		w.came++
		return nil
	}
	if w.whole, err = w.stream.Close(); err != nil {
		return err
	}
	w.machine.End(now)
	return nil
}

// begin begins the scan that is due, and says what it is of.
func (w *player) begin(now time.Time) {
	m, end := w.whole, int64(math.MaxInt64)
	if w.last = m != nil; !w.last {
		m, end = w.stream.Window(w.context)
	}
	w.machine.Begin(end, now)
	if m == nil { // nothing new is said
		w.machine.Allow(now)
		return
	}
	w.describe(m, end, now)
	w.scanEnds = now.Add(w.pace.Scan)
}

// describe prints a window: what is in it, and what is held that it leaves out.
func (w *player) describe(m *llm.Message, end int64, now time.Time) {
	fresh, all, n := 0, 0, 0
	for ; n < len(w.fresh) && w.fresh[n].End <= end; n++ {
		fresh += w.fresh[n].Chars
	}
	w.fresh = w.fresh[n:]
	for i := range m.Turns {
		all += utf8.RuneCountInString(m.Turns[i].Text)
	}
	if w.last {
		fmt.Fprintf(w.stdout, "\nthe whole    %sof %s: %s, %s\n", w.at(now), number(len(w.bytes), "byte", "bytes"),
			number(len(m.Turns), "turn", "turns"), number(all, "character", "characters"))
		w.describeHeld("held so far ", 0)
	} else {
		w.windows++
		fmt.Fprintf(w.stdout, "\nwindow %-5d %sup to byte %d: %s new, %d scanned\n", w.windows, w.at(now), end, number(fresh, "character", "characters"), all)
		w.describeHeld("held", end)
	}
	for i := range m.Turns {
		describeTurn(w.stdout, i, &m.Turns[i], true)
	}
	for _, part := range m.Media {
		fmt.Fprintf(w.stdout, "\nmedia        %s\n", strings.TrimSpace(clean(part.Type)+" "+clean(shorten(part.URL))))
	}
}

// describeHeld prints what has come behind end and waits, and for what beside
// its scan.
func (w *player) describeHeld(title string, end int64) {
	n := 0
	var why []string
	add := func(is bool, reason string) {
		if is && !slices.Contains(why, reason) {
			why = append(why, reason)
		}
	}
	for _, u := range w.units {
		if u.End > end {
			n++
			add(u.Call, "a tool call until it is whole")
			add(u.Final, "the end of the answer until all is scanned")
		}
	}
	if n == 0 {
		return
	}
	fmt.Fprintf(w.stdout, "%-13s%s", title, number(n, w.unit[0], w.unit[1]))
	if len(why) > 0 {
		fmt.Fprintf(w.stdout, ", with %s", strings.Join(why, " and "))
	}
	fmt.Fprintln(w.stdout)
}

// at is the time of a window, "" where it does not matter.
func (w *player) at(now time.Time) string {
	if w.pace == (Pace{}) {
		return ""
	}
	return "at " + now.Sub(w.start).String() + " "
}

// release prints what goes out.
func (w *player) release(now time.Time) {
	end := w.machine.Release(now)
	if w.last && w.scanEnds.IsZero() {
		end = math.MaxInt64
	}
	if end <= w.shown {
		return
	}
	w.stream.Take(end)
	n := 0
	for n < len(w.units) && w.units[n].End <= end {
		n++
	}
	w.units = w.units[:copy(w.units, w.units[n:])]
	w.shown = end
	switch {
	case end == math.MaxInt64:
		fmt.Fprintf(w.stdout, "\ngoes out     %sthe rest: %s\n", w.at(now), number(n, w.unit[0], w.unit[1]))
	case n > 0 && !w.rules.AtOnce:
		fmt.Fprintf(w.stdout, "\ngoes out     %s%s, up to byte %d\n", w.at(now), number(n, w.unit[0], w.unit[1]), end)
	}
}
