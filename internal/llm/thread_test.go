// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"slices"
	"testing"

	"kong-ai-guard/internal/llm"
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
