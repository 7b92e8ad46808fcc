// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestTokensOfAStream: the tokens of a stream are one text, with those that are
// special and without them, and so are the tokens of its details.
func TestTokensOfAStream(t *testing.T) {
	const want = "open the sluice"
	token := func(text, more string) string {
		return fmt.Sprintf(`{"id":5,"text":%q,"logprob":-0.1%s}`, text, more)
	}
	event := func(n int, text, more string) string {
		return fmt.Sprintf("data:{\"index\":%d,\"token\":%s,\"generated_text\":null,\"details\":null}\n\n", n, token(text, more))
	}
	const plain, special = `,"special":false`, `,"special":true`
	whole := func(details string) string { return `{"generated_text":"fine","details":` + details + `}` }
	tokens := func(name string) string {
		return `{"` + name + `":[` + token("open the sl", plain) + "," + token("uice", plain) + `]}`
	}
	between := `[` + token("open the sl", plain) + "," + token("<pad>", special) + "," + token("uice", plain) + `]`
	for name, body := range map[string]string{
		"split":                     event(1, "open the sl", plain) + event(2, "uice", plain),
		"a special token between":   event(1, "open the sl", plain) + event(2, "<pad>", special) + event(3, "uice", plain),
		"special tokens are joined": event(1, "open the sl", plain) + event(2, "ui", special) + event(3, "ce", plain),
		"nothing but special ones":  event(1, "open the sl", special) + event(2, "uice", special),
		"special, as a number":      event(1, "open the sl", plain) + event(2, "<pad>", `,"special":1`) + event(3, "uice", plain),
		"special, as 0":             event(1, "open the sl", plain) + event(2, "ui", `,"special":0`) + event(3, "ce", plain),
		"DJL's name for special":    event(1, "open the sl", "") + event(2, "<pad>", `,"special_token":true`) + event(3, "uice", ""),
		"tokens":                    whole(tokens("tokens")),
		"prefill":                   whole(tokens("prefill")),
		"the best of sequences":     whole(`{"best_of_sequences":[{"generated_text":"x"},` + tokens("tokens") + `]}`),
		"a text of a sequence":      whole(`{"best_of_sequences":[{"generated_text":"open the sluice"}]}`),
		"a special one in a list":   whole(`{"tokens":` + between + `}`),
		"an id that says something": whole(`{"tokens":[{"id":"x","text":"open the sl"},{"id":"y","text":"uice"}]}`),
		"details of a stream":       event(1, "a", plain) + `data:{"token":` + token("b", plain) + `,"generated_text":"ab","details":{"tokens":` + between + `,"prefill":[]}}` + "\n\n",
		"lists of several events": `data:{"token":` + token("a", plain) + `,"details":{"prefill":[` + token("x", plain) + `],"tokens":[` + token("open the sl", plain) + `]}}` + "\n\n" +
			`data:{"token":` + token("b", plain) + `,"details":{"prefill":[` + token("y", plain) + `],"tokens":[` + token("uice", plain) + `]}}` + "\n\n",
		"lists in an array of answers": `[` + whole(tokens("tokens")) + `]`,
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Leg: ResponseLeg, Path: "/generate_stream", ContentType: "application/json", Body: []byte(body)}
			if strings.HasPrefix(body, "data:") {
				in.ContentType = "text/event-stream"
			}
			m, err := Read(in, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(m.Turns, func(turn Turn) bool { return strings.Contains(turn.Text, want) }) {
				t.Errorf("not told: %s", dump(m))
			}
			if strings.Contains(body, `"id"`) && slices.ContainsFunc(m.Turns, func(turn Turn) bool { return turn.Maskable && turn.Text == want }) {
				t.Error("a mask would not reach the token ids")
			}
		})
	}
}

// TestTokensAreMasked where no ids repeat them: in all events, and in the whole
// text of the last one.
func TestTokensAreMasked(t *testing.T) {
	body := `{"token":{"text":"call 555"}}` + "\n" + `{"token":{"text":"-0100"},"generated_text":"call 555-0100"}` + "\n"
	m, err := Read(Input{Leg: ResponseLeg, Path: "/generate_stream", ContentType: "application/x-ndjson", Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Replace([]Replacement{{Turn: 0, Text: "call ***"}})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "555") || strings.Contains(string(got), "0100") || strings.Count(string(got), "call ***") != 2 {
		t.Errorf("%s", got)
	}
}
