// SPDX-License-Identifier: Apache-2.0

package release_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/release"
)

const ms = time.Millisecond

func rules() release.Rules {
	return release.Rules{Chars: 400, Every: 500 * ms, Head: 5 * time.Second, Held: 1 << 20}
}

func soon() release.Rules {
	r := rules()
	r.Least = 200 * ms
	return r
}

func atOnce() release.Rules {
	r := rules()
	r.AtOnce = true
	return r
}

// every makes n units like one, the first at its time and the next ones later
// by step.
func every(n int, step time.Duration, one said) (list []said) {
	for range n {
		list = append(list, one)
		one.at += step
	}
	return list
}

func TestMachine(t *testing.T) {
	for _, tc := range []struct {
		name    string
		rules   release.Rules
		latency time.Duration
		stream  []said
		endsAt  time.Duration
		blocked int
		want    string
	}{
		{
			name: "a stream slower than its scans", rules: rules(), latency: 100 * ms,
			stream: append(every(4, 600*ms, said{size: 10, chars: 5}), said{at: 2500 * ms, size: 10, final: true}),
			endsAt: 2510 * ms,
			want: `0 scan 10, 100 out 10, 600 scan 20, 700 out 20, 1200 scan 30, 1300 out 30,
				1800 scan 40, 1900 out 40, 2510 scan 50, 2610 out 50`,
		},
		{
			name: "a scan slower than the stream takes all that came", rules: rules(), latency: time.Second,
			stream: every(30, 100*ms, said{size: 10, chars: 100}), endsAt: 3 * time.Second,
			want: "0 scan 10, 1000 out 10, 1000 scan 110, 2000 out 110, 2000 scan 210, 3000 out 210, 3000 scan 300, 4000 out 300",
		},
		{
			name: "new characters make a scan due before the time", rules: rules(), latency: 10 * ms,
			stream: every(6, 50*ms, said{size: 10, chars: 200}), endsAt: 260 * ms,
			want: "0 scan 10, 10 out 10, 100 scan 30, 110 out 30, 200 scan 50, 210 out 50, 260 scan 60, 270 out 60",
		},
		{
			name: "scans that are fast begin sooner, and not too soon", rules: soon(), latency: 50 * ms,
			stream: every(100, 10*ms, said{size: 10, chars: 1}), endsAt: time.Second,
			want: `0 scan 10, 50 out 10, 200 scan 210, 250 out 210, 400 scan 410, 450 out 410, 600 scan 610, 650 out 610,
				800 scan 810, 850 out 810, 1000 scan 1000, 1050 out 1000`,
		},
		{
			name: "scans that are slower begin one after the other", rules: soon(), latency: 300 * ms,
			stream: every(100, 10*ms, said{size: 10, chars: 1}), endsAt: time.Second,
			want: "0 scan 10, 300 out 10, 300 scan 310, 600 out 310, 600 scan 610, 900 out 610, 900 scan 910, 1200 out 910, 1200 scan 1000, 1500 out 1000",
		},
		{
			name: "one character at a time", rules: rules(), latency: 50 * ms,
			stream: every(150, 10*ms, said{size: 10, chars: 1}), endsAt: 1500 * ms,
			want: "0 scan 10, 50 out 10, 500 scan 510, 550 out 510, 1000 scan 1010, 1050 out 1010, 1500 scan 1500, 1550 out 1500",
		},
		{
			name: "all in one go", rules: rules(), latency: 30 * ms,
			stream: append(every(100, 0, said{size: 10, chars: 100}), said{size: 10, final: true}),
			want:   "0 scan 1010, 30 out 1010",
		},
		{
			name: "ended before the first scan", rules: rules(), latency: 30 * ms,
			stream: []said{{size: 10, chars: 3}},
			want:   "0 scan 10, 30 out 10",
		},
		{
			name: "nothing at all", rules: rules(), latency: 30 * ms,
			want: "0 scan 0",
		},
		{
			name: "nothing but pings", rules: rules(), latency: 30 * ms,
			stream: every(4, 2*time.Second, said{size: 5}), endsAt: 7 * time.Second,
			want: "5000 out 15, 6000 out 20, 7000 scan 20",
		},
		{
			name: "the head waits for the first allow", rules: rules(), latency: 200 * ms,
			stream: []said{{size: 5}, {at: 100 * ms, size: 5}, {at: 300 * ms, size: 10, chars: 4}, {at: 400 * ms, size: 5}, {at: 550 * ms, size: 5}},
			endsAt: 600 * ms,
			want:   "300 scan 20, 500 out 25, 550 out 30, 600 scan 30",
		},
		{
			name: "and no longer than its time", rules: rules(), latency: 200 * ms,
			stream: []said{{at: 1000 * ms, size: 5}, {at: 5950 * ms, size: 10, chars: 4}},
			endsAt: 6 * time.Second,
			want:   "5950 scan 15, 6000 out 5, 6150 out 15, 6150 scan 15",
		},
		{
			name: "a first scan that blocks lets nothing out", rules: rules(), latency: 200 * ms, blocked: 1,
			stream: []said{{size: 5}, {at: 10 * ms, size: 10, chars: 4}, {at: 100 * ms, size: 5}}, endsAt: time.Second,
			want: "10 scan 15, 210 blocked",
		},
		{
			name: "pings flow between allows, and never overtake text", rules: rules(), latency: 100 * ms,
			stream: []said{
				{size: 10, chars: 1},
				{at: 150 * ms, size: 5},
				{at: 200 * ms, size: 10, chars: 1},
				{at: 250 * ms, size: 5},
			},
			endsAt: 700 * ms,
			want:   "0 scan 10, 100 out 10, 150 out 15, 500 scan 30, 600 out 30, 700 scan 30",
		},
		{
			name: "a tool call waits until it is closed, and text behind it", rules: rules(), latency: 20 * ms,
			stream: []said{
				{size: 10, chars: 10},
				{at: 50 * ms, size: 10, chars: 300, call: 1},
				{at: 800 * ms, size: 10, chars: 300, call: 1},
				{at: 900 * ms, size: 10, chars: 8, close: 1},
				{at: 950 * ms, size: 5, final: true},
			},
			endsAt: 960 * ms,
			want:   "0 scan 10, 20 out 10, 900 scan 40, 920 out 40, 960 scan 45, 980 out 45",
		},
		{
			name: "tool calls and text interleaved", rules: rules(), latency: 20 * ms,
			stream: []said{
				{size: 10, chars: 500, call: 1},
				{at: 10 * ms, size: 10, chars: 500, call: 2},
				{at: 20 * ms, size: 10, chars: 5, call: 1},
				{at: 30 * ms, size: 10, close: 1},
				{at: 100 * ms, size: 10, close: 2},
				{at: 600 * ms, size: 10, chars: 3},
			},
			endsAt: time.Second,
			want:   "30 scan 10, 50 out 10, 530 scan 50, 550 out 50, 1000 scan 60, 1020 out 60",
		},
		{
			name: "nothing but a call that nothing closes", rules: rules(), latency: 20 * ms,
			stream: every(100, 20*ms, said{size: 10, chars: 50, call: 1}), endsAt: 2 * time.Second,
			want: "2000 scan 1000, 2020 out 1000",
		},
		{
			name: "a final unit in the middle", rules: rules(), latency: 20 * ms,
			stream: []said{
				{size: 10, chars: 10},
				{at: 100 * ms, size: 10, final: true},
				{at: 200 * ms, size: 10, chars: 900},
				{at: 300 * ms, size: 5},
				{at: 1000 * ms, size: 10, chars: 900},
			},
			endsAt: 1200 * ms,
			want:   "0 scan 10, 20 out 10, 1200 scan 45, 1220 out 45",
		},
		{
			name: "a final unit first", rules: rules(), latency: 20 * ms,
			stream: []said{{size: 10, final: true}, {at: 6000 * ms, size: 10, chars: 900}}, endsAt: 7 * time.Second,
			want: "7000 scan 20, 7020 out 20",
		},
		{
			name: "at once", rules: atOnce(), latency: 300 * ms,
			stream: []said{
				{size: 5},
				{at: 10 * ms, size: 10, chars: 10},
				{at: 20 * ms, size: 10, chars: 500, call: 1},
				{at: 330 * ms, size: 10, chars: 5, close: 1},
				{at: 400 * ms, size: 5, final: true},
			},
			endsAt: 410 * ms,
			want:   "0 out 5, 10 out 15, 10 scan 15, 20 out 25, 330 out 35, 330 scan 35, 630 scan 40, 930 out 40",
		},
		{
			name: "at once, and a scan that blocks", rules: atOnce(), latency: 300 * ms, blocked: 1,
			stream: []said{{size: 10, chars: 10}, {at: 100 * ms, size: 10, chars: 10}, {at: 400 * ms, size: 10, chars: 10}}, endsAt: time.Second,
			want: "0 out 10, 0 scan 10, 100 out 20, 300 blocked",
		},
		{
			name: "a last scan that blocks keeps the end", rules: rules(), latency: 50 * ms, blocked: 2,
			stream: []said{{size: 10, chars: 10}, {at: 100 * ms, size: 10, chars: 10}, {at: 120 * ms, size: 10, final: true}}, endsAt: 130 * ms,
			want: "0 scan 10, 50 out 10, 130 scan 30, 180 blocked",
		},
		{
			name: "units without bytes, and ends that go back", rules: rules(), latency: 20 * ms,
			stream: []said{
				{size: 10},
				{chars: 10},
				{size: -4, chars: 900},
				{chars: 1, call: 1},
				{at: 50 * ms, close: 1},
				{at: 60 * ms, size: 10},
				{at: 70 * ms, chars: 5},
			},
			endsAt: time.Second,
			want:   "500 scan 20, 520 out 20, 1000 scan 20",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &caller{
				t: t, rules: tc.rules, endsAt: tc.endsAt, blocked: tc.blocked,
				latency: func(int) time.Duration { return tc.latency },
			}
			c.run(tc.stream)
			want := strings.Join(strings.Fields(tc.want), " ")
			if got := strings.Join(c.log, ", "); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// With little room, reading waits for what a scan will release, and for nothing
// else.
func TestFull(t *testing.T) {
	small := rules()
	small.Held = 100
	for _, tc := range []struct {
		name    string
		rules   release.Rules
		units   []llm.Unit
		begin   int64 // 0 for none
		allow   bool
		ended   bool
		full    bool
		release int64
	}{
		{name: "text that a scan is due for", rules: small, units: []llm.Unit{{End: 100, Chars: 9}}, full: true},
		{name: "not yet", rules: small, units: []llm.Unit{{End: 99, Chars: 9}}},
		{name: "text that a scan covers", rules: small, units: []llm.Unit{{End: 100, Chars: 9}}, begin: 100, full: true},
		{name: "which was an allow", rules: small, units: []llm.Unit{{End: 100, Chars: 9}}, begin: 100, allow: true, release: 100},
		{name: "an open call", rules: small, units: []llm.Unit{{End: 200, Chars: 9, Call: true}}},
		{name: "a call that may be closed", rules: small, units: []llm.Unit{{End: 200, Chars: 9, Call: true}, {End: 201}}, full: true},
		{name: "and was not", rules: small, units: []llm.Unit{{End: 200, Chars: 9, Call: true}, {End: 201}}, begin: -1},
		{name: "text before an open call", rules: small, units: []llm.Unit{{End: 10, Chars: 9}, {End: 200, Chars: 9, Call: true}}, full: true},
		{name: "which went out", rules: small, units: []llm.Unit{{End: 10, Chars: 9}, {End: 200, Chars: 9, Call: true}}, begin: 10, allow: true, release: 10},
		{name: "final units", rules: small, units: []llm.Unit{{End: 100, Final: true}, {End: 300, Chars: 9}}},
		{name: "the head", rules: small, units: []llm.Unit{{End: 300}}},
		{name: "at once", rules: release.Rules{Chars: 1, Held: 100, AtOnce: true}, units: []llm.Unit{{End: 300, Chars: 9}}, release: 300},
		{name: "after the end", rules: small, units: []llm.Unit{{End: 300, Chars: 9}}, ended: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := release.New(tc.rules, start)
			m.Read(tc.units, start)
			if tc.ended {
				m.End(start)
			}
			if tc.begin != 0 {
				m.Begin(tc.begin, start)
			}
			if tc.allow {
				m.Allow(start)
			}
			if got := m.Release(start); got != tc.release {
				t.Errorf("released %d, want %d", got, tc.release)
			}
			if got := m.Full(); got != tc.full {
				t.Errorf("full %v, want %v", got, tc.full)
			}
		})
	}
}

// What a caller says out of turn releases nothing.
func TestOutOfTurn(t *testing.T) {
	text := []llm.Unit{{End: 10, Chars: 9}, {End: 20, Chars: 9}}
	for _, tc := range []struct {
		name string
		do   func(m *release.Machine)
		want int64
	}{
		{"an allow of no scan", func(m *release.Machine) { m.Allow(start) }, 0},
		{"a second scan beside the first", func(m *release.Machine) { m.Begin(10, start); m.Begin(20, start); m.Allow(start) }, 10},
		{"a second allow", func(m *release.Machine) { m.Begin(10, start); m.Allow(start); m.Allow(start) }, 10},
		{"a scan that ends inside a unit", func(m *release.Machine) { m.Begin(15, start); m.Allow(start) }, 10},
		{"a scan of less than the one before", func(m *release.Machine) {
			m.Begin(10, start)
			m.Allow(start)
			m.Begin(5, start)
			m.Allow(start)
		}, 10},
		{"a scan that claims more than was read", func(m *release.Machine) {
			m.Begin(1000, start)
			m.Allow(start)
			m.Read([]llm.Unit{{End: 30, Chars: 9}}, start)
		}, 20},
		{"an allow of the scan before the last", func(m *release.Machine) {
			m.Read([]llm.Unit{{End: 30, Final: true}}, start)
			m.Begin(20, start)
			m.End(start)
			m.Allow(start)
		}, 20},
		{"units after the last scan began", func(m *release.Machine) {
			m.End(start)
			m.Begin(25, start)
			m.Read([]llm.Unit{{End: 30, Chars: 9}, {End: 40}}, start)
			m.Allow(start)
		}, 25},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := release.New(rules(), start)
			m.Read(text, start)
			tc.do(m)
			if got := m.Release(start); got != tc.want {
				t.Errorf("released %d, want %d", got, tc.want)
			}
		})
	}
}

// Text that a scan left out for no reason which the machine knows is asked for
// again, and so is text behind an open call once more has come: in its time,
// not at once.
func TestAskAgain(t *testing.T) {
	later := func(d time.Duration) time.Time { return start.Add(d) }
	m := release.New(rules(), start)
	m.Read([]llm.Unit{{End: 10, Chars: 900}, {End: 20, Chars: 900}}, start)
	m.Begin(10, start)
	m.Allow(start)
	if due, wait := m.Due(later(100 * ms)); due || wait != 400*ms {
		t.Errorf("due %v, wait %v after a scan of a part", due, wait)
	}
	if due, _ := m.Due(later(500 * ms)); !due {
		t.Error("the other part is never scanned")
	}
	m.Begin(10, later(500*ms))
	if due, wait := m.Due(later(time.Hour)); due || wait != 0 {
		t.Errorf("due %v, wait %v after an empty window", due, wait)
	}
	m.Read([]llm.Unit{{End: 30}}, later(600*ms))
	if due, wait := m.Due(later(600 * ms)); due || wait != 400*ms {
		t.Errorf("due %v, wait %v after a unit that may close what was open", due, wait)
	}
	// A clock that steps back makes nobody wait for longer.
	if due, wait := m.Due(start.Add(-time.Hour)); due || wait != 500*ms {
		t.Errorf("due %v, wait %v with a clock that stepped back", due, wait)
	}
}

// What the machine keeps is bounded by what is held, however much passes.
func TestMemory(t *testing.T) {
	for _, r := range []release.Rules{rules(), atOnce()} {
		m := release.New(r, start)
		now := start
		var end int64
		most := 0
		for range 20_000 {
			for range 10 {
				end += 9
				m.Read([]llm.Unit{{End: end, Chars: 3}, {End: end, Chars: 3}}, now)
			}
			m.Begin(end-9, now) // The newest one always waits.
			m.Allow(now)
			m.Release(now)
			most = max(most, m.Pieces())
			now = now.Add(ms)
		}
		if most > 40 {
			t.Errorf("at once %v: %d pieces kept of 10 that wait", r.AtOnce, most)
		}
		for range 100_000 {
			m.Read([]llm.Unit{{End: end, Chars: 3}, {End: end - 1, Chars: 1, Call: true}, {End: -end}}, now)
		}
		if n := m.Pieces(); n > 40 {
			t.Errorf("at once %v: %d pieces of units without bytes", r.AtOnce, n)
		}
	}
}

func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, []byte{1, 10, 3, 1, 20, 4})
	f.Add([]byte{1, 3, 9, 7, 2}, []byte{0x21, 200, 1, 0x21, 90, 2, 0x31, 0, 0, 0x41, 3, 3, 0x0f, 0xff, 0xff})
	f.Add([]byte{3, 1, 1, 1}, slices.Repeat([]byte{1, 1, 1}, 200))
	f.Add([]byte{0, 250, 0, 5}, slices.Repeat([]byte{0x12, 40, 1, 0x82, 20, 9, 0x92, 0, 9}, 50))
	f.Fuzz(func(t *testing.T, how, units []byte) {
		c, stream := fromBytes(t, how, units)
		c.run(stream)
	})
}

// TestRandomStreams drives the machine as the fuzz target does.
func TestRandomStreams(t *testing.T) {
	state := uint32(1)
	next := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			state = state*1664525 + 1013904223
			b[i] = byte(state >> 24)
		}
		return b
	}
	for i := range 3000 {
		c, stream := fromBytes(t, next(12), next(i%300))
		c.run(stream)
		if t.Failed() {
			t.Fatalf("stream %d", i)
		}
	}
}

// fromBytes makes a caller and a stream of any bytes.
func fromBytes(t testing.TB, how, units []byte) (*caller, []said) {
	at := func(i int) byte {
		if len(how) == 0 {
			return 0
		}
		return how[i%len(how)]
	}
	r := rules()
	r.AtOnce = at(0)&1 != 0
	r.Chars = int(at(0)>>1) * 4
	r.Held = 1 + int(at(1))*4
	if at(1)&1 != 0 {
		r.Head = 0
	}
	if at(1)&2 != 0 {
		r.Least = time.Duration(at(2)) * 4 * ms
	}
	c := &caller{t: t, rules: r, blocked: int(at(2)>>5) - 1}
	if c.blocked <= 0 {
		c.blocked = -1
	}
	c.latency = func(scan int) time.Duration { return time.Duration(at(3+scan)) * 10 * ms }
	var now time.Duration
	var stream []said
	for ; len(units) >= 3 && len(stream) < 1000; units = units[3:] {
		kind, chars, gap := units[0], units[1], units[2]
		now += time.Duration(gap>>2) * 20 * ms
		s := said{at: now, size: int64(kind&0x0f) - 1, chars: int(chars) * 2}
		switch group := 1 + int(kind>>4)&1; kind >> 5 {
		case 1, 2:
			s.call = group
		case 3:
			s.close, s.chars = group, 0
		case 4:
			s.close = group
		case 5:
			s.chars = 0
		case 7:
			s.final = chars&0x0f == 0x0f
		}
		stream = append(stream, s)
	}
	c.endsAt = now + time.Duration(at(4))*ms
	return c, stream
}

func BenchmarkMachine(b *testing.B) {
	for _, tc := range []struct {
		name  string
		rules release.Rules
	}{{"scanned", rules()}, {"at_once", atOnce()}} {
		b.Run(tc.name, func(b *testing.B) {
			m := release.New(tc.rules, start)
			units := make([]llm.Unit, 1)
			now := start
			var end int64
			running := 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now = now.Add(ms)
				end += 120
				units[0] = llm.Unit{End: end, Chars: 5}
				if i%16 == 0 {
					units[0].Chars = 0
				}
				m.Read(units, now)
				if running++; running == 100 {
					m.Allow(now)
				}
				if due, _ := m.Due(now); due {
					m.Begin(end, now)
					running = 0
				}
				m.Release(now)
				if m.Full() {
					b.Fatal("full")
				}
			}
		})
	}
}
