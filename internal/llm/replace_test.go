// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sameBut compares what two messages say, but for where it lies and for the
// JSON-RPC values, which hold it raw.
var sameBut = cmp.Options{cmpopts.IgnoreUnexported(Message{}, Turn{}), cmpopts.IgnoreFields(Turn{}, "Maskable"), cmpopts.IgnoreFields(Message{}, "RPC"), cmpopts.EquateEmpty()}

// mask replaces turns of a body and reads the result.
func mask(t *testing.T, in Input, m *Message, rs []Replacement) *Message {
	t.Helper()
	out, err := m.Replace(rs)
	if err != nil {
		t.Fatalf("%v: %v", rs, err)
	}
	in.Body = out
	masked, err := Read(in, testLimits)
	if err != nil {
		t.Fatalf("the masked body cannot be read: %v\n%s", err, out)
	}
	return masked
}

// rejoin makes the joined turns of a message anew, of their parts as they are.
func rejoin(m *Message) {
	for i := range m.Turns {
		if t := &m.Turns[i]; t.Joined {
			t.Text = ""
			for _, s := range m.shares[t.from:t.to] {
				t.Text += m.Turns[s.turn].Text
			}
		}
	}
}

// TestReplaceInEveryBody masks each turn of each body of the test data that
// can be masked, alone and together with the others: the new text stands in
// its place, the old one nowhere, and nothing else has changed.
func TestReplaceInEveryBody(t *testing.T) {
	masks := 0
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
			m, err := Read(in, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			if string(m.body) != string(body) {
				t.Fatal("the body was changed by reading it")
			}
			var all []Replacement
			want := *m
			want.Turns = append([]Turn(nil), m.Turns...)
			for i := range m.Turns {
				if !m.Turns[i].Maskable {
					if _, err := m.Replace([]Replacement{{i, "x"}}); !errors.Is(err, ErrNotCertain) {
						t.Errorf("turn %d has no certain place, but was masked: %v", i, err)
					}
					continue
				}
				masks++
				text := fmt.Sprintf("Masked \"%d\" \u00e9", i)
				all = append(all, Replacement{i, text})
				one := *m
				one.Turns = append([]Turn(nil), m.Turns...)
				one.Turns[i].Text, want.Turns[i].Text = text, text
				rejoin(&one)
				got := mask(t, in, m, []Replacement{{i, text}})
				if d := cmp.Diff(&one, got, sameBut); d != "" {
					t.Errorf("turn %d: %s", i, d)
				}
			}
			rejoin(&want)
			if d := cmp.Diff(&want, mask(t, in, m, all), sameBut); d != "" {
				t.Error(d)
			}
		})
	}
	if masks < 100 {
		t.Errorf("only %d masks were tried", masks)
	}
}

// TestReplaceInDoneEvents: the events that say a text once more are masked too.
func TestReplaceInDoneEvents(t *testing.T) {
	for _, name := range []string{"responses/answer-plain-stream.sse", "cohere/answer-v1-stream.ndjson"} {
		body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "llm", name))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Read(Input{Leg: ResponseLeg, Body: body}, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		for i, turn := range m.Turns {
			if turn.Kind != KindText || !turn.Maskable || len(turn.Text) < 12 {
				continue
			}
			out, err := m.Replace([]Replacement{{i, "XXXX"}})
			if err != nil || strings.Contains(string(out), turn.Text) {
				t.Errorf("%s: %q is left: %v", name, turn.Text, err)
			}
		}
	}
}

// TestReplaceKeepsBytes: what surrounds a mask stays as it was sent, white
// space, escapes, order and numbers.
func TestReplaceKeepsBytes(t *testing.T) {
	body := "{ \"model\":\"m\" ,\n\t\"temperature\": 1e999, \"seed\":12345678901234567890123,\"messages\":[{\"role\":\"user\",\"content\":\"card \\u0034111\"},\r\n{\"role\":\"\\u0075ser\",\"content\":[{\"text\":\"\\ud83d\\ude00 two\",\"type\":\"text\"}]} ] }\n"
	want := "{ \"model\":\"m\" ,\n\t\"temperature\": 1e999, \"seed\":12345678901234567890123,\"messages\":[{\"role\":\"user\",\"content\":\"card XXXX\"},\r\n{\"role\":\"\\u0075ser\",\"content\":[{\"text\":\"\\ud83d\\ude00 two\",\"type\":\"text\"}]} ] }\n"
	m, err := Read(Input{Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if m.Turns[0].Text != "card 4111" {
		t.Fatalf("%q", m.Turns[0].Text)
	}
	out, err := m.Replace([]Replacement{{0, "card XXXX"}})
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReplaceWithProbabilities: an answer whose log probabilities say its text
// once more has no certain place for a mask.
func TestReplaceWithProbabilities(t *testing.T) {
	for _, body := range []string{
		`{"choices":[{"index":0,"message":{"role":"assistant","content":"card 4111"},"logprobs":{"content":[{"token":"card","logprob":-1},{"token":" 4111","logprob":-1}]}}]}`,
		"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"card 4111\"},\"logprobs\":{\"content\":[{\"token\":\"card 4111\",\"logprob\":-1}]}}]}\n\n",
	} {
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body)}, testLimits)
		if err != nil || len(m.Turns) != 1 || m.Turns[0].Maskable {
			t.Errorf("%s: %v %+v", body, err, m)
		}
	}
}

// TestReplaceGoesByThePlace: the request's format says nothing about how the
// answer is written.
func TestReplaceGoesByThePlace(t *testing.T) {
	in := Input{Leg: ResponseLeg, Request: &Message{Format: Text}}
	in.Body = []byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":"card 4111"}}]}`)
	m, err := Read(in, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"choices":[{"index":0,"message":{"role":"assistant","content":"\"XXXX\""}}]}`
	if out, err := m.Replace([]Replacement{{0, `"XXXX"`}}); err != nil || string(out) != want {
		t.Errorf("%v\n%s", err, out)
	}
}

// A detached message says what it said, whatever becomes of the body, and
// replaces nothing.
func TestDetach(t *testing.T) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a\u0041"},{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"https://x.example/1"}}]}]}`)
	m, err := Read(Input{Path: "/v1/chat/completions", Body: body}, Limits{DecodedBytes: 1 << 20, Ratio: 10, Depth: 10})
	if err != nil {
		t.Fatal(err)
	}
	before := dump(m)
	m.Detach()
	for i := range body {
		body[i] = '#'
	}
	if after := dump(m); after != before {
		t.Errorf("it says\n%s\nand said\n%s", after, before)
	}
	for i := range m.Turns {
		if out, err := m.Replace([]Replacement{{Turn: i, Text: "x"}}); err != ErrNotCertain {
			t.Errorf("replaced to %q, %v", out, err)
		}
	}
	if out, err := m.Replace(nil); err != ErrNotCertain {
		t.Errorf("replaced to %q, %v", out, err)
	}
}

func TestKeeps(t *testing.T) {
	for body, want := range map[string]bool{
		`{"input":"x"}`:                                       false,
		`{"input":"x","conversation":"c"}`:                    true,
		`{"input":"x","conversation":{"id":"c"}}`:             true,
		`{"input":"x","conversation":null}`:                   false,
		`{"input":"x","previous_response_id":"r"}`:            false,
		`{"input":"x","store":true}`:                          true,
		`{"input":"x","store":false}`:                         false,
		`{"input":[{"content":"x","conversation_id":"not"}]}`: false,
		`{"message":"x","conversation_id":"c"}`:               true,
		`{"inputText":"x","sessionId":"s"}`:                   true,
	} {
		m, err := Read(Input{Path: "/v1/responses", Body: []byte(body)}, Limits{DecodedBytes: 1 << 20, Ratio: 10, Depth: 10})
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if m.Keeps != want {
			t.Errorf("%s: %v", body, m.Keeps)
		}
	}
}
