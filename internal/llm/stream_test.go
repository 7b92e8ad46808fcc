// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A dialect writes the pieces of a text as a model's stream would: each piece
// belongs to choice (or block) i.
type dialect struct {
	name  string
	start func(b *strings.Builder, i int)
	piece func(b *strings.Builder, i int, s string)
	end   func(b *strings.Builder, i int, whole string)
	// blocks says that clients join the texts.
	blocks bool
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func sse(b *strings.Builder, name, data string) {
	if name != "" {
		fmt.Fprintf(b, "event: %s\n", name)
	}
	fmt.Fprintf(b, "data: %s\n\n", data)
}

var dialects = []dialect{
	{
		name: "openai.chat",
		piece: func(b *strings.Builder, i int, s string) {
			sse(b, "", fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":%d,"delta":{"content":%s},"finish_reason":null}]}`, i, quoted(s)))
		},
	},
	{
		// What OpenAI's clients do not look at must not keep pieces apart.
		name: "openai.chat with decoys",
		piece: func(b *strings.Builder, i int, s string) {
			types := []string{"thinking", "tool_use", "function_call_output", "content_block_delta", "response.output_text.done"}
			kind := types[len(s)%len(types)]
			sse(b, "", fmt.Sprintf(`{"type":%q,"object":%q,"index":%d,"output_index":%d,"choices":[{"index":%d,"delta":{"type":%q,"index":%d,"role":%q,"content":%s}}]}`,
				kind, kind, len(s), len(s), i, kind, len(s), []string{"assistant", "user", "tool"}[len(s)%3], quoted(s)))
		},
	},
	{
		name:   "anthropic.messages",
		blocks: true,
		start: func(b *strings.Builder, i int) {
			sse(b, "content_block_start", fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}`, i))
		},
		piece: func(b *strings.Builder, i int, s string) {
			sse(b, "content_block_delta", fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%s}}`, i, quoted(s)))
		},
	},
	{
		name:   "openai.responses",
		blocks: true,
		piece: func(b *strings.Builder, i int, s string) {
			sse(b, "response.output_text.delta", fmt.Sprintf(`{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":%d,"content_index":0,"delta":%s,"logprobs":[]}`, i, quoted(s)))
		},
		end: func(b *strings.Builder, i int, whole string) {
			sse(b, "response.output_text.done", fmt.Sprintf(`{"type":"response.output_text.done","sequence_number":5,"item_id":"msg_1","output_index":%d,"content_index":0,"text":%s,"logprobs":[]}`, i, quoted(whole)))
			sse(b, "response.output_item.done", fmt.Sprintf(`{"type":"response.output_item.done","sequence_number":6,"output_index":%d,"item":{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":%s}]}}`, i, quoted(whole)))
		},
	},
	{
		name: "gemini",
		piece: func(b *strings.Builder, i int, s string) {
			sse(b, "", fmt.Sprintf(`{"candidates":[{"index":%d,"content":{"parts":[{"text":%s}],"role":"model"}}],"usageMetadata":{"promptTokenCount":4},"modelVersion":"gemini-2.5-flash"}`, i, quoted(s)))
		},
	},
	{
		name:   "cohere",
		blocks: true,
		piece: func(b *strings.Builder, i int, s string) {
			sse(b, "content-delta", fmt.Sprintf(`{"type":"content-delta","index":%d,"delta":{"message":{"content":{"text":%s}}}}`, i, quoted(s)))
		},
	},
}

// apartOf returns the turns of a message without those that join others.
func apartOf(m *Message) []Turn {
	return slices.DeleteFunc(slices.Clone(m.Turns), func(t Turn) bool { return t.Joined })
}

// isOneText reports whether a text is read as itself alone: one can look like
// another in base64, which is then read too.
func isOneText(text string) bool {
	body, err := json.Marshal(map[string]any{"choices": []any{map[string]any{"index": 0, "message": map[string]any{"role": "assistant", "content": text}}}})
	if err != nil {
		return false
	}
	m, err := Read(Input{Leg: ResponseLeg, Body: body, ContentType: "application/json"}, testLimits)
	return err == nil && len(m.Turns) == 1
}

// TestStreamsAreWhole: however a text is cut into pieces, and however the
// pieces of several texts are mixed, each text is read whole and once.
func TestStreamsAreWhole(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				texts := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zé"\\ ]{0,20}[a-z][a-z0-9 \n]{0,20}😀?`).Filter(isOneText), 1, 3, rapid.ID[string]).Draw(t, "texts")
				var b strings.Builder
				left := make([]string, len(texts))
				copy(left, texts)
				for i := range texts {
					if d.start != nil {
						d.start(&b, i)
					}
				}
				for {
					var open []int
					for i, s := range left {
						if s != "" {
							open = append(open, i)
						}
					}
					if len(open) == 0 {
						break
					}
					i := rapid.SampledFrom(open).Draw(t, "which")
					n := rapid.IntRange(1, len(left[i])).Draw(t, "length")
					for n < len(left[i]) && left[i][n]&0xC0 == 0x80 {
						n++ // a JSON string holds whole characters
					}
					d.piece(&b, i, left[i][:n])
					left[i] = left[i][n:]
				}
				for i := range texts {
					if d.end != nil {
						d.end(&b, i, texts[i])
					}
				}
				m, err := Read(Input{Leg: ResponseLeg, Body: []byte(b.String()), ContentType: "text/event-stream"}, testLimits)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, turn := range apartOf(m) {
					got = append(got, turn.Text)
				}
				tight := false
				for i := 1; i < len(texts); i++ {
					tight = tight || !strings.ContainsAny(texts[i-1][len(texts[i-1])-1:]+texts[i][:1], " \n")
				}
				if whole := strings.Join(texts, ""); d.blocks && tight && !slices.ContainsFunc(m.Turns, func(t Turn) bool { return t.Text == whole }) {
					t.Fatalf("the blocks are not read as one text:\n%s", dump(m))
				}
				want := make(map[string]int)
				for _, s := range texts {
					want[s]++
				}
				for _, s := range got {
					want[s]--
				}
				for s, n := range want {
					if n != 0 {
						t.Fatalf("%q: %+d, read %q from\n%s", s, -n, got, b.String())
					}
				}
				if !m.Turns[0].Maskable {
					t.Fatal("the first text is not maskable")
				}
				out, err := m.Replace([]Replacement{{Turn: 0, Text: "masked"}})
				if err != nil {
					t.Fatal(err)
				}
				again, err := Read(Input{Leg: ResponseLeg, Body: out, ContentType: "text/event-stream"}, testLimits)
				if err != nil {
					t.Fatal(err)
				}
				if len(apartOf(again)) != len(apartOf(m)) || again.Turns[0].Text != "masked" {
					t.Fatalf("masked stream says\n%s", dump(again))
				}
			})
		})
	}
}
