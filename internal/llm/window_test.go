// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// A watched stream is read, scanned and released by chance, and what its windows
// said is held against what Read finds.
type watched struct {
	t       testing.TB
	b       flowBody
	s       *Stream
	context int
	said    strings.Builder // all windows, each text on lines of its own
	windows int
	covered int64
	taken   []byte
	units   []Unit
}

// shingle is how many bytes in a row have to stand in one window.
const shingle = 8

func (w *watched) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%.3000q\nwindows:\n%s", fmt.Sprintf(format, args...), w.b.body, w.said.String())
}

// window takes a window, and checks that all that Read finds up to its end has
// been said.
func (w *watched) window() {
	m, end := w.s.Window(w.context)
	if end < w.covered {
		w.fail("covered %d after %d", end, w.covered)
	}
	w.covered = end
	if m != nil {
		w.windows++
		if len(m.Turns) == 0 && len(m.Media) == 0 {
			w.fail("a window of nothing at %d", end)
		}
		for _, t := range m.Turns {
			w.said.WriteString(t.Text + "\x00")
		}
	}
	for _, u := range w.units {
		if u.Final && u.End <= end {
			w.fail("the final unit at %d is covered", u.End)
		}
	}
	if end == 0 {
		return
	}
	in := w.b.input()
	in.Body = w.b.body[:end]
	want, err := Read(in, testLimits)
	if err != nil || !want.Stream {
		return // cut there, it is something else
	}
	all := w.said.String()
	for i := range want.Turns {
		w.check(&want.Turns[i], all, end)
	}
}

func (w *watched) check(t *Turn, all string, end int64) {
	text := t.Text
	if t.Kind == KindToolCall {
		for _, line := range strings.Split(text, "\n") {
			if !strings.Contains(all, line) {
				w.fail("up to %d, %q of a call was in no window", end, line)
			}
		}
		return
	}
	for i := 0; i == 0 || i+shingle <= len(text); i++ {
		if part := text[i:min(i+shingle, len(text))]; !strings.Contains(all, part) && !strings.Contains(part, "\n") && !(t.Joined && apart(part, all)) {
			w.fail("up to %d, %q of %q (%d) was in no window", end, part, text, t.Kind)
		}
	}
}

// apart reports whether part lies over a seam where white space separates what
// is joined, and both sides were said.
func apart(part, all string) bool {
	for i := 1; i < len(part); i++ {
		if (part[i-1] == ' ' || part[i] == ' ') && strings.Contains(all, part[:i]) && (strings.Contains(all, part[i:]) || apart(part[i:], all)) {
			return true
		}
	}
	return false
}

// watchStream reads b with all that happens decided by seed.
func watchStream(t testing.TB, b flowBody, seed uint64) *watched {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	s, err := NewStream(context.Background(), b.input(), testLimits)
	if err != nil {
		return nil
	}
	defer s.Stop()
	w := &watched{t: t, b: b, s: s, context: []int{shingle + 1, 20, 2000}[rng.IntN(3)]}
	for pos := 0; pos < len(b.body); {
		n := min(rng.IntN(200)+1, len(b.body)-pos)
		units, err := s.Write(b.body[pos : pos+n])
		w.units = append(w.units, units...)
		if err != nil {
			return nil
		}
		pos += n
		if rng.IntN(3) == 0 {
			w.window()
		}
		if rng.IntN(3) == 0 && w.covered > 0 {
			w.taken = append(w.taken, s.Take(w.covered-rng.Int64N(40))...)
		}
	}
	w.window()
	in := b.input()
	in.Body = b.body
	want, wantErr := Read(in, testLimits)
	m, err := s.Close()
	if verdictOf(err) != verdictOf(wantErr) {
		w.fail("%v, want %v", err, wantErr)
	}
	if err != nil {
		return nil
	}
	if said(m) != said(want) {
		w.fail("closed with\n%s\nwant\n%s", said(m), said(want))
	}
	if w.taken = append(w.taken, s.Take(1<<40)...); !bytes.Equal(w.taken, b.body) {
		w.fail("took other bytes: %q", w.taken)
	}
	total := 0
	for i := range want.Turns {
		total += len(want.Turns[i].Text)
	}
	if most := 4*total + w.windows*(w.context+64)*utf8.UTFMax*4 + 4096; w.said.Len() > most {
		w.fail("%d windows of %d bytes for %d", w.windows, w.said.Len(), total)
	}
	return w
}

// TestWindowsSayAll: whenever windows are taken, all that Read finds up to where
// they end stood in one of them.
func TestWindowsSayAll(t *testing.T) {
	n := 0
	for _, b := range answerFiles(t) {
		b.body = append(b.body, '\n')
		for seed := range uint64(20) {
			if w := watchStream(t, b, seed); w != nil && w.windows > 0 {
				n++
			}
		}
	}
	for i, b := range bodiesOfTests(t) {
		for _, kind := range []string{"", sseKind} {
			b.label = kind
			watchStream(t, b, uint64(i))
		}
	}
	for _, h := range hostiles() {
		if h.answer && h.coding == "" {
			watchStream(t, flowBody{name: h.name, label: h.kind, path: h.path, body: h.body(5_000)}, 1)
		}
	}
	if n < 200 {
		t.Errorf("%d streams had windows", n)
	}
}

// TestWindowsOfDialects does the same with texts that come in pieces of any
// length, mixed, in each way in which APIs stream.
func TestWindowsOfDialects(t *testing.T) {
	words := []string{"seven ", "copper", " swans\n", "é😀", "x", " ", "carry ", "the ", "lantern", "a"}
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			windows := 0
			for seed := range uint64(120) {
				rng := rand.New(rand.NewPCG(seed, 5))
				texts := make([]string, rng.IntN(4)+1)
				var b strings.Builder
				for i := range texts {
					if d.start != nil {
						d.start(&b, i)
					}
				}
				for range rng.IntN(60) + 1 {
					i, piece := rng.IntN(len(texts)), words[rng.IntN(len(words))]
					if rng.IntN(2) == 0 { // one after the other, as blocks come
						i = min(b.Len()/1500, len(texts)-1)
					}
					texts[i] += piece
					d.piece(&b, i, piece)
				}
				for i := range texts {
					if d.end != nil && texts[i] != "" {
						d.end(&b, i, texts[i])
					}
				}
				if w := watchStream(t, flowBody{name: d.name, label: sseKind, body: []byte(b.String())}, seed); w != nil {
					windows += w.windows
				}
			}
			if windows < 120 {
				t.Errorf("%d windows", windows)
			}
		})
	}
}

// TestWindowAfterSplit: a name that stands twice comes before a window has said
// what was noted of earlier names.
func TestWindowAfterSplit(t *testing.T) {
	s := openStream(t)
	for _, event := range []string{
		`{"grey-heron":null,"seven-copper":null,"lanterns-hidden":null,"choices":[{"index":0,"delta":{"content":"Hello "}}]}`,
		`{"created":1,"created":2,"choices":[{"index":0,"delta":{"content":"you"}}]}`,
	} {
		if _, err := s.Write([]byte("data: " + event + "\n\n")); err != nil {
			t.Fatal(err)
		}
	}
	if m, _ := s.Window(200); !says(m, "Hello you") || !says(m, "lanterns-hidden") {
		t.Errorf("the window does not say all:\n%s", dump(m))
	}
}

func FuzzWindows(f *testing.F) {
	for i, b := range bodiesOfTests(f) {
		if i%6 == 0 {
			f.Add(b.body, uint64(i))
		}
	}
	for _, b := range answerFiles(f) {
		f.Add(b.body, uint64(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		watchStream(t, flowBody{label: []string{"", sseKind, "application/x-ndjson"}[seed%3], body: body}, seed)
	})
}
