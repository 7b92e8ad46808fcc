// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// TestStreamJoinsWhatItsClientsJoin holds pieces that a client of the API joins,
// and next to them pieces that it does not.
func TestStreamJoinsWhatItsClientsJoin(t *testing.T) {
	for name, chunks := range map[string][]string{
		"choices by numbers that are equal": {
			`{"choices":[{"index":1,"delta":{"content":"a whole"}}]}`, `{"choices":[{"index":0,"delta":{"content":"other"}}]}`, `{"choices":[{"index":1e0,"delta":{"content":" sentence"}}]}`,
		},
		"choices by a text": {
			`{"choices":[{"index":"b","delta":{"content":"a whole"}}]}`, `{"choices":[{"index":0,"delta":{"content":"other"}}]}`, `{"choices":[{"index":"b","delta":{"content":" sentence"}}]}`,
		},
		"members of one API beside those of another": {
			`{"message":{"content":"a whole"},"choices":[{"index":0,"delta":{"content":"other"}}]}`, `{"message":{"content":" sentence"},"choices":[{"index":0,"delta":{"content":"other"}}]}`,
		},
		"a block's first piece in the message": {
			`{"type":"message_start","message":{"content":[{"type":"text","text":"a whole"}]}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" sentence"}}`,
		},
		"a part's first piece in its item": {
			`{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"other"},{"type":"output_text","text":"a whole"}]}}`,
			`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"."}`, `{"type":"response.output_text.delta","output_index":0,"content_index":1,"delta":" sentence"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			// A careless client takes "Data" for data, too.
			for _, field := range []string{"data: ", "Data: "} {
				stream := "data: {}\n\n"
				for _, c := range chunks {
					stream += field + c + "\n\n"
				}
				m, err := llm.Read(llm.Input{Leg: llm.ResponseLeg, ContentType: "text/event-stream", Body: []byte(stream)}, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 64})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(m.Turns, func(t llm.Turn) bool { return t.Text == "a whole sentence" }) {
					t.Errorf("%q: %+v", field, m.Turns)
				}
			}
		})
	}
}

// TestRolesDoNotSplitATextOfAStream: a role that comes late, or changes from
// chunk to chunk, makes no other text.
func TestRolesDoNotSplitATextOfAStream(t *testing.T) {
	for name, chunks := range map[string][2]string{
		"roles that change":      {`{"message":{"role":"assistant","content":"a whole"}}`, `{"message":{"role":"tool","content":" sentence"}}`},
		"a role that comes late": {`{"message":{"content":"a whole"}}`, `{"message":{"role":"user","content":" sentence"}}`},
		"roles of choices":       {`{"choices":[{"message":{"role":"system","content":"a whole"}}]}`, `{"choices":[{"message":{"role":"user","content":" sentence"}}]}`},
		"roles of candidates":    {`{"candidates":[{"content":{"role":"model","parts":[{"text":"a whole"}]}}]}`, `{"candidates":[{"content":{"role":"function","parts":[{"text":" sentence"}]}}]}`},
		"roles of deltas":        {`{"choices":[{"delta":{"role":"assistant","content":"a whole"}}]}`, `{"choices":[{"delta":{"role":"tool","content":" sentence"}}]}`},
		"roles of blocks":        {`{"type":"content_block_delta","index":0,"delta":{"role":"user","text":"a whole"}}`, `{"type":"content_block_delta","index":0,"delta":{"text":" sentence"}}`},
	} {
		m, err := llm.Read(streamOf(chunks[0], chunks[1]), streamLimits)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Turns) != 1 || m.Turns[0].Text != "a whole sentence" || !m.Turns[0].Maskable {
			t.Errorf("%s: %+v", name, m.Turns)
		}
	}
}

// TestRolesOfAStream: a text that one role says alone is that role's.
func TestRolesOfAStream(t *testing.T) {
	for role, want := range map[string]llm.Role{"tool": llm.RoleTool, "assistant": llm.RoleAssistant, "user": llm.RoleUser} {
		chunk := `{"message":{"role":"` + role + `","content":"word "}}`
		m, err := llm.Read(streamOf(chunk, chunk), streamLimits)
		if err != nil || len(m.Turns) != 1 || m.Turns[0].Role != want {
			t.Errorf("%s: %v %+v", role, err, m.Turns)
		}
		if want == llm.RoleTool && m.Turns[0].Kind != llm.KindToolResult {
			t.Errorf("a tool's text is of kind %s", m.Turns[0].Kind)
		}
	}
}

// TestCopiesInOneDeltaAreOneText: servers write a model's thoughts under two
// names at once. They are scanned once, and a mask reaches both.
func TestCopiesInOneDeltaAreOneText(t *testing.T) {
	var chunks []string
	for _, word := range []string{"the ", "grey ", "heron"} {
		chunks = append(chunks, `{"choices":[{"index":0,"delta":{"reasoning":"`+word+`","reasoning_content":"`+word+`"}}]}`)
	}
	in := streamOf(chunks...)
	m, err := llm.Read(in, streamLimits)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Turns) != 1 || m.Turns[0].Text != "the grey heron" || m.Turns[0].Kind != llm.KindReasoning {
		t.Fatalf("%+v", m.Turns)
	}
	out, err := m.Replace([]llm.Replacement{{Turn: 0, Text: "[masked]"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "[masked]"); n != 2 || strings.Contains(string(out), "heron") {
		t.Errorf("masked %d times: %s", n, out)
	}
}

// TestOneTextUnderTwoNames: a text that a stream begins under one name and goes
// on with under another is one text, which can be masked.
func TestOneTextUnderTwoNames(t *testing.T) {
	m, err := llm.Read(streamOf(
		`{"choices":[{"index":0,"delta":{"content":"a "}}]}`,
		`{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"whole"}]}}]}`,
		`{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":" sentence"}]}}]}`), streamLimits)
	if err != nil || len(m.Turns) != 1 || m.Turns[0].Text != "a whole sentence" || !m.Turns[0].Maskable {
		t.Errorf("%v %+v", err, m.Turns)
	}
}

// TestManyNamesOfOneText: more names than any API has for one text are refused
// when they come side by side.
func TestManyNamesOfOneText(t *testing.T) {
	delta := `"a"`
	var chunks []string
	for range 20 {
		chunks = append(chunks, `{"choices":[{"delta":{"content":`+delta+`,"text":"b"}}]}`)
		delta = `{"content":` + delta + `}`
	}
	if m, err := llm.Read(streamOf(chunks...), streamLimits); err == nil {
		t.Errorf("read as %+v", m.Turns)
	}
}

var streamLimits = llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 64}

func streamOf(chunks ...string) llm.Input {
	var b strings.Builder
	for _, c := range chunks {
		b.WriteString("data: " + c + "\n\n")
	}
	return llm.Input{Leg: llm.ResponseLeg, ContentType: "text/event-stream", Body: []byte(b.String())}
}
