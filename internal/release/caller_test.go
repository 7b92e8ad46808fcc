// SPDX-License-Identifier: Apache-2.0

package release_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/release"
)

// A said is a unit as the upstream sends it.
type said struct {
	at    time.Duration
	size  int64 // how much it adds to the last unit's end, which may be a lie
	chars int
	call  int // the tool call that it brings a piece of, 0 for none
	close int // the tool call that ends with it
	final bool
}

// A caller plays what carries a stream: it reads as long as the machine lets
// it, begins the scans that are due, and takes what may go out. Its clock
// jumps from one thing that happens to the next.
type caller struct {
	t       testing.TB
	rules   release.Rules
	latency func(scan int) time.Duration
	// blocked is the scan that is no allow, counted from 1.
	blocked int
	endsAt  time.Duration

	m     *release.Machine
	now   time.Duration
	units []unit
	open  map[int]int // the first unit of each call that is open

	reach    int64 // where the newest unit ends
	covered  int64 // by a scan that has begun
	allowed  int64
	complete bool
	released int64
	chars    int
	calls    bool // some unit was a part of a tool call
	twins    bool // some units end at one place
	asked    int  // times that a scan was due
	empty    int  // and covered nothing
	log      []string
}

type unit struct {
	said
	end int64 // never less than the last one's
}

func (u *unit) needs() bool { return u.chars > 0 || u.call != 0 }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (c *caller) clock() time.Time { return start.Add(c.now) }

func (c *caller) note(format string, args ...any) {
	c.log = append(c.log, fmt.Sprintf("%d ", c.now.Milliseconds())+fmt.Sprintf(format, args...))
}

// run carries the stream to its end, or to a scan that is no allow.
func (c *caller) run(stream []said) {
	c.m = release.New(c.rules, c.clock())
	c.open = map[int]int{}
	const never = time.Duration(-1)
	running, scanEnds := false, never
	var scanned int64
	last, ended := false, false
	steps := 4*len(stream) + 16
	for step := 0; ; step++ {
		if limit := steps + 4*c.asked; step > limit {
			c.t.Fatalf("no end after %d steps:\n%s", step, strings.Join(c.log, "\n"))
		}
		if running && scanEnds <= c.now {
			running = false
			if c.asked-c.empty == c.blocked {
				c.note("blocked")
				return
			}
			c.allowed, c.complete = max(c.allowed, scanned), last
			c.m.Allow(c.clock())
		}
		c.release()
		for len(stream) > 0 && stream[0].at <= c.now && !c.m.Full() {
			n := 1
			for n < len(stream) && stream[n].at == stream[0].at {
				n++
			}
			c.read(stream[:n])
			stream = stream[n:]
			c.release()
		}
		if len(stream) == 0 && !ended && c.endsAt <= c.now {
			ended = true
			c.m.End(c.clock())
		}
		c.release()
		due, wait := c.m.Due(c.clock())
		if due {
			if running {
				c.t.Fatal("a scan is due while one runs")
			}
			c.asked++
			end, something := c.window()
			switch {
			case ended:
				if last {
					c.t.Fatal("a scan is due after the last one")
				}
				last, end, something = true, c.reach, true
			case !something:
				c.empty++
			}
			c.m.Begin(end, c.clock())
			if something {
				c.note("scan %d", end)
				running, scanned, c.covered = true, end, max(c.covered, end)
				scanEnds = c.now + c.latency(c.asked-c.empty)
			}
			if due, _ := c.m.Due(c.clock()); due {
				c.t.Fatalf("at %v a scan is due just after one began, up to %d", c.now, end)
			}
			continue
		}
		if wait < 0 || wait > max(c.rules.Every, c.rules.Head) {
			c.t.Fatalf("wait %v", wait)
		}
		if end, _ := c.window(); !running && !ended && wait == 0 && c.plainText(end) {
			c.t.Fatalf("at %v text waits for nothing", c.now)
		}
		if c.m.Full() {
			if !running && wait == 0 {
				c.t.Fatalf("at %v reading waits for nothing", c.now)
			}
			if c.reach-c.released < int64(c.rules.Held) {
				c.t.Fatalf("at %v reading waits with %d bytes held", c.now, c.reach-c.released)
			}
		}
		next := never
		sooner := func(at time.Duration) {
			if next == never || at < next {
				next = at
			}
		}
		if running {
			sooner(scanEnds)
		}
		if wait > 0 {
			sooner(c.now + wait)
		}
		if len(stream) > 0 && !c.m.Full() {
			sooner(stream[0].at)
		}
		if len(stream) == 0 && !ended {
			sooner(c.endsAt)
		}
		if next == never {
			break
		}
		if next <= c.now {
			c.t.Fatalf("the clock stands at %v", c.now)
		}
		c.now = next
	}
	if !ended || !c.complete || c.released != c.reach {
		c.t.Errorf("ended %v, complete %v, released %d of %d", ended, c.complete, c.released, c.reach)
	}
	c.bounds()
}

// read hands over units that came in one go.
func (c *caller) read(news []said) {
	from := len(c.units)
	end := int64(0)
	if from > 0 {
		end = c.units[from-1].end
	}
	claimed := make([]int64, len(news))
	for i, s := range news {
		claimed[i] = end + s.size
		end = max(end, claimed[i])
		u := unit{said: s, end: end}
		if from+i > 0 && c.units[from+i-1].end == end {
			c.twins = true
		}
		if from+i > 0 && c.units[from+i-1].final {
			u.final = true
		}
		if s.call != 0 {
			if _, ok := c.open[s.call]; !ok {
				c.open[s.call] = from + i
			}
			c.calls = true
		}
		if !u.final { // The end closes what it closes: the last scan follows.
			delete(c.open, s.close)
		}
		c.units = append(c.units, u)
		if !u.final {
			c.chars += max(0, s.chars)
		}
	}
	c.reach = end
	out := make([]llm.Unit, len(news))
	for i, s := range news {
		_, open := c.open[s.call]
		out[i] = llm.Unit{End: claimed[i], Chars: s.chars, Call: s.call != 0 && open, Final: s.final}
	}
	c.m.Read(out, c.clock())
}

// window is where a window that is taken now ends, and whether it says
// something that no scan covers.
func (c *caller) window() (end int64, something bool) {
	n := len(c.units)
	for _, first := range c.open {
		n = min(n, first)
	}
	for i := range c.units[:n] {
		if c.units[i].final {
			n = i
			break
		}
	}
	if n == 0 {
		return c.covered, false
	}
	// Of two units that end at one place, a window has both or none.
	for n > 0 && n < len(c.units) && c.units[n].end == c.units[n-1].end {
		n--
	}
	for i := range c.units[:n] {
		if c.units[i].needs() && c.units[i].end > c.covered {
			something = true
		}
	}
	if n > 0 {
		end = c.units[n-1].end
	}
	if !something {
		end = c.covered
	}
	return max(end, c.covered), something
}

// plainText reports whether the first thing that no scan covers is text of no
// call, before end.
func (c *caller) plainText(end int64) bool {
	for i := range c.units {
		if u := &c.units[i]; u.end > c.covered && u.end <= end && u.needs() {
			return u.call == 0
		}
	}
	return false
}

// release takes what may go out and holds it against what was allowed.
func (c *caller) release() {
	end := c.m.Release(c.clock())
	if end < c.released || end > c.reach {
		c.t.Fatalf("released %d after %d of %d", end, c.released, c.reach)
	}
	for i := range c.units {
		u := &c.units[i]
		if u.end <= c.released || u.end > end {
			continue
		}
		switch {
		case c.complete:
		case u.final:
			c.t.Fatalf("at %v a final unit went out, %d of %d", c.now, u.end, end)
		case c.rules.AtOnce:
		case u.needs() && u.end > c.allowed:
			c.t.Fatalf("at %v text went out that no scan allowed: %d of %d, allowed %d", c.now, u.end, end, c.allowed)
		}
	}
	if end > c.released {
		c.note("out %d", end)
	}
	c.released = end
}

// bounds holds the number of scans and of pieces against what was read.
func (c *caller) bounds() {
	every := c.rules.Every
	if c.rules.Least > 0 {
		every = min(every, c.rules.Least)
	}
	if every > 0 {
		if most := c.chars/max(1, c.rules.Chars) + int(c.now/every) + 2; c.asked > most {
			c.t.Errorf("%d scans were due, %d of them empty, of at most %d", c.asked, c.empty, most)
		}
	}
	// A window stops before a call that is open, and before text that ends where
	// a final unit does.
	if c.empty > 0 && !c.calls && !c.twins {
		c.t.Errorf("%d scans were due that covered nothing", c.empty)
	}
	if n := c.m.Pieces(); n != 0 {
		c.t.Errorf("%d pieces are kept after the end", n)
	}
}
