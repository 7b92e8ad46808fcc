// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// marker is neither an identifier nor a word of an API, so no place may take it
// for structure.
const marker = "Kindly zq7 the marker"

// scanned reports whether everything a message says holds the marker.
func scanned(m *Message) bool {
	for i := range m.Turns {
		if strings.Contains(m.Turns[i].Text, marker) {
			return true
		}
	}
	return false
}

// literals returns the places of all string literals of a JSON text: values and
// names, without their quotes.
func literals(d *strictjson.Doc) [][2]int {
	var places [][2]int
	for v := range d.Len() {
		if d.Kind(v) == strictjson.String {
			start, end := d.Span(v)
			places = append(places, [2]int{start + 1, end - 1})
		}
		if start, end := d.NameSpan(v); end > 0 {
			places = append(places, [2]int{start + 1, end - 1})
		}
	}
	return places
}

// put returns body with the marker in place of body[at[0]:at[1]].
func put(body []byte, at [2]int) []byte {
	return append(append(append([]byte(nil), body[:at[0]]...), marker...), body[at[1]:]...)
}

// TestEveryStringIsScanned puts a marker into every string of every body of
// the test data, one after the other, names too, and looks for it.
func TestEveryStringIsScanned(t *testing.T) {
	for _, path := range bodies(t) {
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Leg: RequestLeg, Body: body}
			if strings.HasPrefix(filepath.Base(path), "answer") {
				in.Leg = ResponseLeg
			}
			if strings.HasSuffix(path, ".ndjson") {
				in.ContentType = "application/x-ndjson"
			}
			n := 0
			for _, at := range allLiterals(t, body) {
				in.Body = put(body, at)
				m, err := Read(in, testLimits)
				if err != nil {
					continue // refused: nothing passes
				}
				n++
				if !scanned(m) {
					t.Errorf("not scanned at %d, after %q", at[0], body[max(0, at[0]-60):at[0]])
				}
			}
			if n == 0 {
				t.Error("no body was accepted")
			}
		})
	}
}

func bodies(t testing.TB) []string {
	var paths []string
	err := filepath.WalkDir(filepath.Join("..", "..", "testdata", "llm"), func(path string, d fs.DirEntry, err error) error {
		switch filepath.Ext(path) {
		case ".json", ".sse", ".ndjson":
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	return paths
}

// allLiterals returns the places of the string literals of a JSON body, of the
// data of an event stream, or of JSON lines.
func allLiterals(t testing.TB, body []byte) [][2]int {
	d := new(strictjson.Doc)
	if err := d.ParseLenient(body, DefaultDepth); err == nil {
		return literals(d)
	}
	var places [][2]int
	add := func(start, end int) {
		if d.ParseLenient(body[start:end:end], DefaultDepth) != nil {
			return
		}
		for _, at := range literals(d) {
			places = append(places, [2]int{start + at[0], start + at[1]})
		}
	}
	if eventstream.LooksLike(body) {
		r := eventstream.NewReader(body)
		for r.Next() {
			for _, l := range r.Event().Lines {
				add(l.Start, l.End)
			}
		}
		return places
	}
	for l := range eventstream.Lines(body) {
		add(l.Start, l.End)
	}
	return places
}

// FuzzEveryStringIsScanned: wherever the marker lies in a body that is
// accepted, it is scanned.
func FuzzEveryStringIsScanned(f *testing.F) {
	for _, path := range bodies(f) {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, uint16(3), strings.Contains(path, "answer"))
	}
	f.Fuzz(func(t *testing.T, body []byte, n uint16, answer bool) {
		in := Input{Body: body}
		if answer {
			in.Leg = ResponseLeg
		}
		if _, err := Read(in, testLimits); err != nil {
			return
		}
		places := allLiterals(t, body)
		if len(places) == 0 {
			return
		}
		in.Body = put(body, places[int(n)%len(places)])
		m, err := Read(in, testLimits)
		if err == nil && !scanned(m) {
			t.Errorf("not scanned: %q", in.Body)
		}
	})
}

// FuzzReplace: a mask changes the text it is for, and no other byte.
func FuzzReplace(f *testing.F) {
	for _, path := range bodies(f) {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body, uint16(1), "XXXX", strings.Contains(path, "answer"))
	}
	f.Fuzz(func(t *testing.T, body []byte, n uint16, mask string, answer bool) {
		in := Input{Body: body}
		if answer {
			in.Leg = ResponseLeg
		}
		m, err := Read(in, testLimits)
		if err != nil || len(m.Turns) == 0 {
			return
		}
		i := int(n) % len(m.Turns)
		out, err := m.Replace([]Replacement{{Turn: i, Text: mask}})
		if err != nil {
			if m.Turns[i].Maskable {
				t.Fatalf("a maskable turn is refused: %v", err)
			}
			return
		}
		rest := out
		for _, piece := range unmasked(m, i) {
			at := bytes.Index(rest, piece)
			if at < 0 {
				t.Fatalf("unmasked bytes %q are gone", piece)
			}
			rest = rest[at+len(piece):]
		}
		if m.Format != Text {
			in.Body = out
			if _, err := Read(in, testLimits); err != nil {
				t.Fatalf("the masked body cannot be read: %v: %q", err, out)
			}
		}
	})
}

// unmasked returns the pieces of the body around the texts of turn i.
func unmasked(m *Message, i int) [][]byte {
	var pieces [][]byte
	at := uint32(0)
	spans := slices.Clone(m.spans[m.Turns[i].from:m.Turns[i].to])
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) }) // those of copies lie between each other
	for _, s := range spans {
		if s.start < at {
			continue
		}
		pieces = append(pieces, m.body[at:s.start])
		at = s.end
	}
	return append(pieces, m.body[at:])
}
