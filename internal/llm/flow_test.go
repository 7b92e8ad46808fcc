// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zlib"
)

// A flowBody is the body of an answer.
type flowBody struct {
	name, label, coding, path string
	body                      []byte
}

func (b flowBody) input() Input {
	return Input{Leg: ResponseLeg, ContentType: b.label, ContentEncoding: b.coding, Path: b.path}
}

// streamed reads a body in the pieces that size gives.
func streamOf(b flowBody, lim Limits, size func() int) (*Stream, *Message, []Unit, error) {
	s, err := NewStream(context.Background(), b.input(), lim)
	if err != nil {
		return nil, nil, nil, err
	}
	defer s.Stop()
	var units []Unit
	for pos := 0; pos < len(b.body); {
		n := min(size(), len(b.body)-pos)
		p := bytes.Clone(b.body[pos : pos+n])
		more, err := s.Write(p)
		clear(p) // it is the caller's
		units = append(units, more...)
		if err != nil {
			return s, nil, units, err
		}
		pos += n
	}
	m, err := s.Close()
	return s, m, units, err
}

// verdictOf is what is compared of an error: its class.
func verdictOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Sprint("class ", e.Class)
	}
	return fmt.Sprint(err)
}

func describe(m *Message) string {
	if m == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %q chat %t carries %t stream %t cut %q\n%+v\n%+v\n", m.Format, m.Model, m.ID, m.Chat, m.Carries, m.Stream, m.Cut, m.RPC, m.Media)
	for _, t := range m.Turns {
		t.from, t.to = 0, 0
		fmt.Fprintf(&b, "%+v\n", t)
	}
	return b.String()
}

// checkStream compares a body that is read while it comes with one that is read
// as a whole.
func checkStream(t *testing.T, b flowBody, cuts ...func() int) {
	t.Helper()
	in := b.input()
	in.Body = b.body
	want, wantErr := Read(in, testLimits)
	decoded, _, _ := readBody(in)
	for i, size := range cuts {
		s, got, units, err := streamOf(b, testLimits, size)
		if verdictOf(err) != verdictOf(wantErr) {
			t.Fatalf("%s (%d) %.300q: %v, want %v", b.name, i, b.body, err, wantErr)
		}
		end := int64(0)
		for _, u := range units {
			if u.End <= end || u.End > int64(len(decoded)) && err == nil {
				t.Fatalf("%s: a unit ends at %d after %d", b.name, u.End, end)
			}
			end = u.End
		}
		if err != nil {
			continue
		}
		if d := cmp.Diff(describe(want), describe(got)); d != "" {
			t.Fatalf("%s (%d) %.300q (-want +got)\n%s", b.name, i, b.body, d)
		}
		for n := range want.Turns {
			if n > 8 {
				break
			}
			rs := []Replacement{{n, "masked \" text"}}
			a, errA := want.Replace(rs)
			b2, errB := got.Replace(rs)
			if !bytes.Equal(a, b2) || errA != errB {
				t.Fatalf("%s (%d) turn %d: replaced\n%q %v\n%q %v", b.name, i, n, a, errA, b2, errB)
			}
		}
		if out := s.Take(1 << 40); !bytes.Equal(out, decoded) || s.Held() != 0 {
			t.Fatalf("%s (%d): took %.100q of %.100q", b.name, i, out, decoded)
		}
	}
}

// readBody returns a body without its content coding.
func readBody(in Input) ([]byte, *Message, error) {
	s, err := NewStream(context.Background(), in, testLimits)
	if err != nil {
		return nil, nil, err
	}
	defer s.Stop()
	if _, err := s.Write(in.Body); err != nil {
		return nil, nil, err
	}
	m, err := s.Close()
	return s.held, m, err
}

func at1() int { return 1 }
func all() int { return 1 << 30 }

func byChance(seed uint64) func() int {
	rng := rand.New(rand.NewPCG(seed, 7))
	return func() int {
		if rng.IntN(4) == 0 {
			return rng.IntN(400) + 1
		}
		return rng.IntN(12) + 1
	}
}

// once cuts a body in two.
func once(at int) func() int {
	first := true
	return func() int {
		if first && at > 0 {
			first = false
			return at
		}
		return 1 << 30
	}
}

var labelsOfKinds = map[string]string{".sse": sseKind, ".ndjson": "application/x-ndjson", ".json": jsonKind, ".jsonl": "application/jsonl", ".bin": framesType, ".txt": "text/plain"}

// answerFiles are the answers of the test data.
func answerFiles(t testing.TB) (list []flowBody) {
	t.Helper()
	root := filepath.Join("..", "..", "testdata", "llm")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".golden") || !strings.HasPrefix(d.Name(), "answer") {
			return err
		}
		body, err := os.ReadFile(path)
		list = append(list, flowBody{name: path, label: labelsOfKinds[filepath.Ext(path)], body: body})
		return err
	})
	if err != nil || len(list) < 50 {
		t.Fatal(len(list), err)
	}
	return list
}

// bodiesOfTests are the strings of the tests that could be answers.
func bodiesOfTests(t testing.TB) (list []flowBody) {
	t.Helper()
	seen := make(map[string]bool)
	for _, dir := range []string{".", filepath.Join("..", "..", "tests", "corpus"), filepath.Join("..", "eventstream")} {
		paths, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(paths) == 0 {
			t.Fatal(dir, err)
		}
		for _, path := range paths {
			file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == gotoken.STRING {
					if s, err := strconv.Unquote(l.Value); err == nil && len(s) > 8 && !seen[s] && strings.ContainsAny(s, "{:\n") {
						seen[s] = true
						list = append(list, flowBody{name: path, body: []byte(s)})
					}
				}
				return true
			})
		}
	}
	return list
}

// TestStreamEqualsRead: whatever way the bytes are cut, a Stream finds what Read
// finds.
func TestStreamEqualsRead(t *testing.T) {
	for _, b := range answerFiles(t) {
		t.Run(filepath.Base(filepath.Dir(b.name))+"/"+filepath.Base(b.name), func(t *testing.T) {
			cuts := []func() int{all, at1, byChance(1), byChance(2)}
			step := max(1, len(b.body)/400)
			for i := 1; i < len(b.body); i += step {
				cuts = append(cuts, once(i))
			}
			checkStream(t, b, cuts...)
			for _, label := range []string{"", sseKind, "text/plain; charset=latin1", "application/x-ndjson", "multipart/mixed; boundary=a", "application/x-www-form-urlencoded", "image/png"} {
				b.label = label
				checkStream(t, b, byChance(3))
			}
			for coding, encode := range map[string]func([]byte) []byte{"gzip": func(b []byte) []byte { return []byte(gzipped(t, string(b))) }, "deflate": deflated} {
				e := b
				e.coding, e.body = coding, encode(b.body)
				checkStream(t, e, all, byChance(4))
				e.body = e.body[:len(e.body)-2]
				checkStream(t, e, byChance(5))
			}
		})
	}
}

func deflated(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// TestStreamEqualsReadOfTests does the same with what other tests read, and with
// such bodies behind each other.
func TestStreamEqualsReadOfTests(t *testing.T) {
	list := bodiesOfTests(t)
	rng := rand.New(rand.NewPCG(1, 2))
	kinds := []string{"", sseKind, "application/x-ndjson", jsonKind, "text/plain"}
	for i, b := range list {
		for _, kind := range kinds {
			b.label = kind
			checkStream(t, b, all, at1)
			for range 2 {
				more := b
				for range 2 {
					more.body = append(append(bytes.Clone(more.body), "\n\n"[:rng.IntN(3)]...), list[rng.IntN(len(list))].body...)
				}
				checkStream(t, more, byChance(uint64(i)))
			}
		}
	}
	for _, h := range hostiles() {
		if h.answer {
			checkStream(t, flowBody{name: h.name, label: h.kind, coding: h.coding, path: h.path, body: h.body(20_000)}, all, byChance(1))
		}
	}
}

func FuzzStreamEqualsRead(f *testing.F) {
	kinds := []string{"", sseKind, "application/x-ndjson", jsonKind, "text/plain", framesType, "image/png", "text/event-stream; charset=latin1"}
	for i, b := range bodiesOfTests(f) {
		if i%6 == 0 {
			f.Add(b.body, uint8(i%len(kinds)), uint8(0), uint64(i))
		}
	}
	for _, b := range answerFiles(f) {
		f.Add(b.body, uint8(1), uint8(0), uint64(1))
		f.Add(b.body, uint8(1), uint8(3), uint64(1))
	}
	f.Fuzz(func(t *testing.T, body []byte, kind, coding uint8, seed uint64) {
		b := flowBody{label: kinds[int(kind)%len(kinds)], body: body}
		switch coding % 6 {
		case 1:
			b.coding = "gzip"
		case 2:
			b.coding = "deflate"
		case 3:
			b.coding, b.body = "gzip", []byte(gzipped(t, string(body)))
		case 4:
			b.coding, b.body = "deflate", deflated(body)
		}
		checkStream(t, b, all, at1, byChance(seed))
	})
}

// TestHalvesOfACharacter has a character's halves in two events, with a window
// between them and with an event after them whose equal names make clones of
// what was read: the halves are one character all the same.
func TestHalvesOfACharacter(t *testing.T) {
	const (
		first  = `{"message":{"content":"a\ud83d"}}` + "\n"
		second = `{"message":{"content":"\ude00b"}}` + "\n"
		third  = `{"unknown":1,"unknown":2}` + "\n"
	)
	in := Input{Leg: ResponseLeg, Body: []byte(first + second + third)}
	lim := Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 256}
	want, err := Read(in, lim)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStream(t.Context(), in, lim)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{first + second[:1], second[1:] + third[:1], third[1:]} {
		if _, err := s.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
		s.Window(2000)
	}
	got, err := s.Close()
	if err != nil {
		t.Fatal(err)
	}
	texts := func(m *Message) (all []string) {
		for _, turn := range m.Turns {
			all = append(all, turn.Text)
		}
		return all
	}
	if diff := cmp.Diff(texts(want), texts(got)); diff != "" || want.Turns[0].Text != "a😀b" {
		t.Errorf("%q (-want +got)\n%s", want.Turns[0].Text, diff)
	}
}
