// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"strings"
	"testing"
)

// TestRecallHidesNothing: what stood at a place of earlier events as structure
// says nothing about another name, another value or another meaning there.
func TestRecallHidesNothing(t *testing.T) {
	const words = "kindly-zq7"
	for _, tt := range []struct{ name, before, then, want string }{
		{"another value", `{"id":"chatcmpl-1","choices":[]}`, `{"id":"kindly do it, kindly-zq7","choices":[]}`, words},
		{"another meaning of the value", `{"id":"kindly-zq7","choices":[]}`, `{"idea":"kindly-zq7","choices":[]}`, words},
		{"a text of the same value", `{"choices":[{"index":0,"finish_reason":"stop"}]}`, `{"choices":[{"index":0,"text":"stop"}]}`, "stop"},
		{"an id where a word was", `{"object":"chat.completion","choices":[]}`, `{"object":"kindly-zq7","choices":[]}`, words},
		{"a value that begins so", `{"model":"gpt-4o","choices":[]}`, `{"model":"gpt-4o kindly-zq7 do it now and then and here","choices":[]}`, words},
		{"a name in another shape", `{"id":"1","usage":{"index":1}}`, `{"id":"1","usages":{"index":"kindly-zq7"}}`, words},
		{"a name that begins so", `{"usage":{"total_tokens":1}}`, `{"usage":{"total_tokens kindly-zq7 do it":1}}`, words},
		{"a long name", `{"usage":{"total_tokens":1}}`, `{"usage":{"total_tokens_` + strings.Repeat("of kindly-zq7 ", 4) + `":1}}`, words},
		{"text in place of a count", `{"usage":{"grey_herons_count":1}}`, `{"usage":{"grey_herons_count":"kindly-zq7"}}`, words},
		{"words in place of a number", `{"choices":[{"index":0,"delta":{"content":"a"}}],"created":1}`, `{"choices":[{"index":0,"delta":{"content":"a"}}],"created":"kindly-zq7 it is"}`, words},
		{"an event's name", `{"choices":[]}` + "\n\nevent: ping\ndata: {}", `{"choices":[]}` + "\n\nevent: kindly-zq7\ndata: {}", words},
		{
			"an event's name where a value was", `{"choices":[` + strings.Repeat("0,", 28) + `0],"object":"agent/getAuthenticatedExtendedCard"}`,
			`{"choices":[]}` + "\n\nevent: agent/getAuthenticatedExtendedCard\ndata: {}", "agent/getAuthenticatedExtendedCard",
		},
		{"32 places on", `{"id":"kindly-zq7","choices":[]}`, `{"choices":[` + strings.Repeat("{},", 30) + `{"text":"kindly-zq7"}]}`, words},
	} {
		stream := ""
		for range 3 {
			stream += "data: " + tt.before + "\n\n"
		}
		stream += "data: " + tt.then + "\n\n"
		m, err := Read(Input{Leg: ResponseLeg, ContentType: sseKind, Body: []byte(stream)}, testLimits)
		if err != nil || !says(m, tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, dump(m))
		}
	}
	// A variant of a known name is refused, whatever stood there before.
	stream := `data: {"choices":[],"x":1}` + "\n\n" + `data: {"choices":[],"x":1}` + "\n\n" + `data: {"choices":[],"Model":"a"}` + "\n\n"
	if _, err := Read(Input{Leg: ResponseLeg, ContentType: sseKind, Body: []byte(stream)}, testLimits); err == nil {
		t.Error("a variant is not refused")
	}
}

// TestRecallLeavesTexts: the escapes of a text are resolved once, where it is
// put together, and not to see whether it is remembered.
func TestRecallLeavesTexts(t *testing.T) {
	const events = 100
	event := `data: {"id":"1","choices":[{"index":0,"delta":{"content":"` + strings.Repeat(`a\n`, 1000) + `"}}]}` + "\n\n"
	in := Input{Leg: ResponseLeg, ContentType: sseKind, Body: []byte(strings.Repeat(event, events))}
	allocs := testing.AllocsPerRun(3, func() {
		if m, err := Read(in, testLimits); err != nil || !says(m, "a\na") {
			t.Fatal(err)
		}
	})
	if allocs > 3*events {
		t.Errorf("%v allocations for %d events", allocs, events)
	}
}

// TestHeldRoom: what a stream holds has little room that is not counted, however
// much it holds.
func TestHeldRoom(t *testing.T) {
	s := openStream(t)
	if _, err := s.Write([]byte(`data: {"a":"`)); err != nil {
		t.Fatal(err)
	}
	piece := []byte(strings.Repeat("a", 500))
	for range 400 {
		if _, err := s.Write(piece); err != nil {
			t.Fatal(err)
		}
		if room := cap(s.held) - len(s.held); room > growth+len(piece) && room > len(s.held)/2 {
			t.Fatalf("room for %d beside %d", room, len(s.held))
		}
	}
}
