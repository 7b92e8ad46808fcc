// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/awsframe"
)

// A fed reader is read as its body arrives.
type fed interface {
	Feed(body []byte, at int, all bool)
	Begun() int
	Next() bool
}

// feedIn feeds body in the pieces that size gives, and calls each for what is
// read. The memory before Begun is overwritten, as nobody is to look at it.
func feedIn(r fed, body []byte, size func() int, each func(held []byte, at int)) {
	at := 0
	var held []byte
	for pos := 0; ; {
		n := min(size(), len(body)-pos)
		held = append(bytes.Clone(held), body[pos:pos+n]...)
		pos += n
		r.Feed(held, at, pos == len(body))
		for r.Next() {
			each(held, at)
		}
		if pos == len(body) {
			return
		}
		rest := held[r.Begun()-at:]
		at = r.Begun()
		clear(held[:len(held)-len(rest)])
		held = rest
	}
}

// cuts are the ways in which a body is cut.
func cuts(n int) map[string]func() int {
	list := map[string]func() int{
		"bytes": func() int { return 1 },
		"whole": func() int { return n },
	}
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 1))
		list[fmt.Sprint("by chance ", seed)] = func() int { return rng.IntN(9) }
	}
	for i := range min(n, 40) {
		first := true
		list[fmt.Sprint("at ", i)] = func() int {
			if first {
				first = false
				return i
			}
			return n
		}
	}
	return list
}

func show(e *Event, in func(Span) []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v name %q id %q data %q %v", e.Span, e.Name, e.ID, e.Data, e.Data == nil)
	for _, l := range e.Lines {
		fmt.Fprintf(&b, " %v %q", l, in(l))
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, " %d %v %q", f.Kind, f.Text, in(f.Text))
	}
	return b.String()
}

func checkFedEvents(t *testing.T, body []byte) {
	t.Helper()
	var want []string
	r := NewReader(body)
	for r.Next() {
		want = append(want, show(r.Event(), func(s Span) []byte { return s.In(body) }))
	}
	for name, size := range cuts(len(body)) {
		var got []string
		r2 := new(Reader)
		feedIn(r2, body, size, func(held []byte, at int) {
			got = append(got, show(r2.Event(), func(s Span) []byte { return held[s.Start-at : s.End-at] }))
		})
		if d := cmp.Diff(want, got); d != "" || r.Err() != r2.Err() {
			t.Fatalf("%q cut %s: %v, want %v (-want +got)\n%s", body, name, r2.Err(), r.Err(), d)
		}
	}
}

var fedBodies = []string{
	"", "\n", "data: a\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r", "data: a\n\ndata: b", "data: a\r", "\r\n\r\ndata: a\r\n\r\n",
	"\uFEFFdata: a\n\n", "\uFEFF", "\xef\xbb", "\xef\xbbdata: a\n\n", ": ping\n\nevent: x\nid: 1\ndata: a\ndata: b\nretry: 3\nfoo\nData: c\n\n",
	"data: ä€😀\n\n", "data: \xe2\x82\n\ndata: a\n\n", "data: a\n\ndata: \xf0\x9f\x98", "data: {\r\"a\":1}\n\n", "data: a\u2028data: b\n\n",
	"id: a\x00b\ndata: c\n\n", "data: a\r\n\rdata: b\n\r\n",
}

func TestFedEvents(t *testing.T) {
	for _, body := range fedBodies {
		checkFedEvents(t, []byte(body))
	}
	checkFedEvents(t, testdata(t, "bedrock.bin"))
	many := strings.Repeat("a\n", maxLines+1)
	checkFedEvents(t, []byte(many[:200]))
	r := new(Reader)
	r.Feed([]byte(many), 0, false)
	if r.Next() || r.Err() != ErrTooManyLines {
		t.Errorf("%v", r.Err())
	}
}

func FuzzFedEvents(f *testing.F) {
	for _, body := range fedBodies {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkFedEvents(t, body) })
}

// TestFedIsLinear: a line that comes byte by byte is not searched again for each
// of them.
func TestFedIsLinear(t *testing.T) {
	const n = 4 << 20
	body := append([]byte("data: "), bytes.Repeat([]byte("x"), n)...)
	for name, r := range map[string]fed{"events": new(Reader), "lines": new(LineReader)} {
		for i := 1; i <= len(body); i++ { // quadratic time would be minutes
			if r.Feed(body[:i], 0, false); r.Next() {
				t.Fatal(name)
			}
		}
	}
	l := new(Looker)
	for i := 1; i <= len(body); i++ {
		l.Look(body[:i])
	}
}

func checkFedFrames(t *testing.T, body []byte) {
	t.Helper()
	frame := func(f *Frame, in func(Span) []byte) string {
		s := fmt.Sprintf("%v %q %q", f.Span, in(f.RawHeaders), in(f.Payload))
		for _, h := range f.Headers {
			s += fmt.Sprintf(" %q %d %q", h.Name, h.Type, h.Value)
		}
		return s
	}
	var want []string
	r := NewFrameReader(body)
	for r.Next() {
		want = append(want, frame(r.Frame(), func(s Span) []byte { return s.In(body) }))
	}
	for name, size := range cuts(len(body)) {
		var got []string
		r2 := new(FrameReader)
		feedIn(r2, body, size, func(held []byte, at int) {
			got = append(got, frame(r2.Frame(), func(s Span) []byte { return held[s.Start-at : s.End-at] }))
		})
		if d := cmp.Diff(want, got); d != "" || r.Err() != r2.Err() {
			t.Fatalf("cut %s: %v, want %v (-want +got)\n%s", name, r2.Err(), r.Err(), d)
		}
	}
}

func TestFedFrames(t *testing.T) {
	body := testdata(t, "bedrock.bin")
	checkFedFrames(t, body)
	checkFedFrames(t, body[:len(body)-1])
	checkFedFrames(t, append(bytes.Clone(body), 0))
	checkFedFrames(t, nil)
	broken := bytes.Clone(body)
	broken[len(broken)-20] ^= 1
	checkFedFrames(t, broken)
	checkFedFrames(t, awsframe.Append(nil, []byte{0, 0}, nil))
}

func FuzzFedFrames(f *testing.F) {
	f.Add(testdata(f, "bedrock.bin"))
	f.Add(awsframe.Append(nil, header("a", HeaderUUID, "1234567812345678"), nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		checkFedFrames(t, body)
		if len(body) <= headersMax {
			checkFedFrames(t, awsframe.Append(awsframe.Append(nil, nil, body), body, nil))
		}
	})
}

func checkFedLines(t *testing.T, body []byte) {
	t.Helper()
	want := linesOf(body)
	for name, size := range cuts(len(body)) {
		var got []string
		r := new(LineReader)
		feedIn(r, body, size, func(held []byte, at int) {
			l := r.Line()
			got = append(got, string(held[l.Start-at:l.End-at]))
			if full := r.Full(); full.Start > l.Start || full.End < l.End {
				t.Fatalf("%v in %v", l, full)
			}
		})
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q cut %s (-want +got)\n%s", body, name, d)
		}
	}
}

var fedLines = []string{"", "\n", "{}\n{}", " {}\r\n\n\x1e[]\n", "a\n\n\nb\n", "\r\r\n \n"}

func TestFedLines(t *testing.T) {
	for _, body := range fedLines {
		checkFedLines(t, []byte(body))
	}
}

func FuzzFedLines(f *testing.F) {
	for _, body := range fedLines {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkFedLines(t, body) })
}

// TestLooker: what is found in the beginning of a body is true of the whole, and
// is found at the latest when the body ends in a line's end.
func TestLooker(t *testing.T) {
	for body, begins := range map[string]bool{
		"data: a\n\n": true, ": ping\n\n": true, "event\n\n": true, "id: 1\n": true, "retry: 1\n": true, "\n\r\n: x\n": true, "\uFEFF:\n": true,
		"data: a": false, "hello\ndata: b\n": false, "{}\ndata: {}\n": false, "Data: {}\n": false, "dat: a\n": false, " data: a\n": false, "": false,
	} {
		l := new(Looker)
		for i := range len(body) + 1 {
			l.Look([]byte(body[:i]))
			if l.Data && !LooksLike([]byte(body)) || l.Begins && !begins {
				t.Errorf("%q at %d: %+v", body, i, l)
			}
		}
		if l.Begins != begins || strings.HasSuffix(body, "\n") && l.Data != LooksLike([]byte(body)) {
			t.Errorf("%q: %+v", body, l)
		}
	}
}
