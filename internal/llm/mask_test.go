// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

var stringLiteral = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// TestMaskOfWindows masks what windows say, while the stream goes out. What goes
// out says what was masked and nothing else, and differs from what came only
// inside of strings.
func TestMaskOfWindows(t *testing.T) {
	words := []string{"seven ", "copper", " swans\n", "é😀", "x\"", " ", "carry ", "cop", "per", "a"}
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			masks, refused := 0, 0
			for seed := range uint64(150) {
				rng := rand.New(rand.NewPCG(seed, 9))
				texts := make([]string, rng.IntN(3)+1)
				var b strings.Builder
				for i := range texts {
					if d.start != nil {
						d.start(&b, i)
					}
				}
				for range rng.IntN(40) + 1 {
					i, piece := rng.IntN(len(texts)), words[rng.IntN(len(words))]
					texts[i] += piece
					d.piece(&b, i, piece)
				}
				for i := range texts {
					if d.end != nil && texts[i] != "" {
						d.end(&b, i, texts[i])
					}
				}
				in := Input{Leg: ResponseLeg, ContentType: sseKind}
				s, err := NewStream(context.Background(), in, testLimits)
				if err != nil {
					t.Fatal(err)
				}
				mask := func(m *Message) bool {
					var rs []Replacement
					for i, turn := range m.Turns {
						if text := strings.ReplaceAll(turn.Text, "copper", "[masked \" 1]"); text != turn.Text && (turn.Maskable || turn.Joined) {
							rs = append(rs, Replacement{i, text})
						}
					}
					if len(rs) == 0 {
						return false
					}
					err := s.Mask(rs)
					if err != nil && !errors.Is(err, ErrNotCertain) {
						t.Fatal(err)
					}
					if err != nil {
						refused++
					} else {
						masks++
					}
					return err == nil
				}
				var out []byte
				any := false
				body := b.String()
				covered := int64(0)
				for pos := 0; pos < len(body); {
					n := min(rng.IntN(300)+1, len(body)-pos)
					if _, err := s.Write([]byte(body[pos : pos+n])); err != nil {
						t.Fatal(err)
					}
					pos += n
					if rng.IntN(3) == 0 {
						var m *Message
						held := covered
						m, covered = s.Window(30)
						if n := rng.IntN(200); n < 100 && pos+n < len(body) { // reading goes on meanwhile
							if _, err := s.Write([]byte(body[pos : pos+n])); err != nil {
								t.Fatal(err)
							}
							pos += n
						}
						if rng.IntN(2) == 0 {
							out = append(out, s.Take(held)...)
						}
						if m != nil {
							any = mask(m) || any
						}
					}
				}
				m, err := s.Close()
				if err != nil {
					t.Fatal(err)
				}
				if rng.IntN(2) == 0 {
					any = mask(m) || any
				} else {
					m = nil
				}
				out = append(out, s.Take(1<<40)...)
				if a, b := stringLiteral.ReplaceAllString(body, `""`), stringLiteral.ReplaceAllString(string(out), `""`); a != b {
					t.Fatalf("other bytes changed:\n%s\n%s", body, out)
				}
				if !any && string(out) != body {
					t.Fatalf("changed without a mask:\n%s\n%s", body, out)
				}
				in.Body = out
				again, err := Read(in, testLimits)
				if err != nil {
					t.Fatal(err)
				}
				if m == nil {
					continue
				}
				// What Close said, with its mask, is what went out.
				if want := strings.ReplaceAll(said(m), "copper", "[masked \" 1]"); any && refused == 0 && said(again) != want {
					t.Fatalf("went out\n%s\nwant\n%s\nof\n%s", said(again), want, body)
				}
			}
			if masks < 20 {
				t.Errorf("%d masks, %d refused", masks, refused)
			}
			t.Logf("%d masks, %d refused", masks, refused)
		})
	}
}

func chatChunk(text string) string {
	return `data: {"choices":[{"index":0,"delta":{"content":` + quoted(text) + `},"finish_reason":null}]}` + "\n\n"
}

// newFlow begins a stream of events and writes to it.
func newFlow(t *testing.T, pieces ...string) *Stream {
	t.Helper()
	s, err := NewStream(context.Background(), Input{Leg: ResponseLeg, ContentType: sseKind}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	writeTo(t, s, pieces...)
	return s
}

func writeTo(t *testing.T, s *Stream, pieces ...string) (units []Unit) {
	t.Helper()
	for _, p := range pieces {
		more, err := s.Write([]byte(p))
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, more...)
	}
	return units
}

func TestMaskInHeldTextOnly(t *testing.T) {
	s := newFlow(t, chatChunk("my number"), chatChunk(" is 4"))
	_, end := s.Window(100)
	out := s.Take(end)
	writeTo(t, s, chatChunk("9 30"), chatChunk(" 12"), chatChunk(" bye"))
	m, end := s.Window(100)
	if m == nil || m.Turns[0].Text != "my number is 49 30 12 bye" || !m.Turns[0].Maskable {
		t.Fatalf("%+v", m)
	}
	writeTo(t, s, chatChunk(" now"))
	if err := s.Mask([]Replacement{{0, "my number is # bye"}}); !errors.Is(err, ErrNotCertain) {
		t.Errorf("masked what has gone out: %v", err)
	}
	if _, err := m.Replace([]Replacement{{0, "x"}}); !errors.Is(err, ErrNotCertain) {
		t.Errorf("a window was replaced: %v", err)
	}
	if err := s.Mask([]Replacement{{0, "my number is 4# bye"}}); err != nil {
		t.Fatal(err)
	}
	out = append(out, s.Take(end)...)
	// What comes later stands behind the mask.
	if m, _ := s.Window(8); m == nil || m.Turns[0].Text != " 4# bye now" && m.Turns[0].Text != "s 4# bye now" {
		t.Errorf("%+v", m)
	}
	m, err := s.Close()
	if err != nil || said(m) != "my number is 4# bye now\n" {
		t.Fatalf("%v %q", err, said(m))
	}
	if err := s.Mask([]Replacement{{0, "my number is 4# bye then"}}); err != nil {
		t.Error(err)
	}
	out = append(out, s.Take(1<<40)...)
	want := chatChunk("my number") + chatChunk(" is 4") + chatChunk("# bye") + chatChunk("") + chatChunk("") + chatChunk(" then")
	if string(out) != want {
		t.Errorf("went out\n%s\nwant\n%s", out, want)
	}
}

func TestMaskReachesCopies(t *testing.T) {
	const head = `data: {"type":"response.output_text.`
	delta := func(text string) string {
		return head + `delta","item_id":"m","output_index":0,"content_index":0,"delta":` + quoted(text) + "}\n\n"
	}
	done := head + `done","item_id":"m","output_index":0,"content_index":0,"text":"a secret word"}` + "\n\n"
	s := newFlow(t, delta("a "))
	_, end := s.Window(100)
	s.Take(end)
	units := writeTo(t, s, delta("secret"), delta(" word"), done)
	if n := len(units); n != 3 || units[2].Chars != 0 {
		t.Fatalf("%+v", units)
	}
	m, end := s.Window(100)
	if err := s.Mask([]Replacement{{0, "a # word"}}); err != nil {
		t.Fatal(err, said(m))
	}
	if out, want := string(s.Take(end)), delta("# word")+delta("")+strings.Replace(done, "a secret", "a #", 1); out != want {
		t.Errorf("went out\n%s\nwant\n%s", out, want)
	}
	// A copy that comes after the mask is new text.
	units = writeTo(t, s, strings.Replace(done, `.done"`, `.done.again"`, 1))
	if m, _ := s.Window(100); units[0].Chars == 0 || m == nil || !strings.Contains(said(m), "a secret word") {
		t.Errorf("%+v %+v", units, m)
	}
}

// TestMaskOfWhole: an answer that does not flow is masked as Replace does it.
func TestMaskOfWhole(t *testing.T) {
	body := `{"choices":[{"message":{"role":"assistant","content":"a secret"}}]}`
	s, err := NewStream(context.Background(), Input{Leg: ResponseLeg}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	units, err := s.Write([]byte(body))
	if m, end := s.Window(10); m != nil || end != 0 || len(units) > 0 || err != nil || s.Framing() != Whole || s.Held() != len(body) {
		t.Errorf("%v %v %v", m, end, err)
	}
	if s.Take(1<<40) != nil {
		t.Error("taken before the end")
	}
	if _, err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Mask([]Replacement{{0, "a long and harmless text"}}); err != nil {
		t.Fatal(err)
	}
	if out := s.Take(int64(len(body))); !bytes.Contains(out, []byte(`"a long and harmless text"}}]}`)) {
		t.Errorf("%s", out)
	}
}

// TestMaskLeavesNothingElsewhere: what stands in a stream once more, where a mask
// does not reach, is not masked.
func TestMaskLeavesNothingElsewhere(t *testing.T) {
	probs := strings.Replace(chatChunk("secret"), `"finish_reason"`, `"logprobs":{"content":[{"token":"secret","logprob":-1}]},"finish_reason"`, 1)
	s := newFlow(t, probs)
	m, _ := s.Window(10)
	if m == nil || len(m.Turns) != 1 {
		t.Fatalf("%+v", m)
	}
	if err := s.Mask([]Replacement{{0, "#"}}); !errors.Is(err, ErrNotCertain) {
		t.Errorf("log probabilities: %v", err)
	}
	s = newFlow(t, chatChunk("secret"))
	s.Window(10)
	if err := s.Mask([]Replacement{{0, "#"}}); err != nil {
		t.Fatal(err)
	}
	if out := s.Take(s.read - 30); bytes.Contains(out, []byte("sec")) {
		t.Errorf("%s", out)
	}
	ids := strings.Replace(chatChunk(" x"), `"finish_reason"`, `"token_ids":[1,2],"finish_reason"`, 1)
	if _, err := s.Write([]byte(ids)); err != errTokens {
		t.Errorf("token ids after a mask: %v", err)
	}
	// Of several texts at once all are masked, or none.
	s = newFlow(t, chatChunk("secret"), strings.Replace(chatChunk("other"), `"index":0`, `"index":1`, 1))
	before := string(s.held)
	s.Window(10)
	if err := s.Mask([]Replacement{{0, "#"}, {0, "#"}}); !errors.Is(err, ErrNotCertain) {
		t.Error(err)
	}
	if err := s.Mask([]Replacement{{1, "#"}, {7, "#"}}); !errors.Is(err, ErrNotCertain) {
		t.Error(err)
	}
	if out := string(s.Take(1 << 40)); out != before {
		t.Errorf("went out\n%s", out)
	}
}
