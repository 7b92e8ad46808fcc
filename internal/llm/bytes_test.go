// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/awsframe"
)

// TestMaskLeavesNoNumbers: what stands in an answer as token ids or as sound, too,
// is not masked, since it would stay there.
func TestMaskLeavesNoNumbers(t *testing.T) {
	for name, body := range map[string]string{
		"token ids of a choice":          `{"choices":[{"index":0,"message":{"role":"assistant","content":"Here"},"token_ids":[1,2,3]}]}`,
		"token ids at the root":          `{"text":"Here","output_ids":[1,2,3]}`,
		"token ids of a stream":          "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Here\"},\"token_ids\":[1]}]}\n\ndata: [DONE]\n\n",
		"token ids in another event":     "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Here\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"token_ids\":[1]}]}\n\n",
		"a context":                      `{"model":"m","response":"Here","done":true,"context":[1,2,3]}`,
		"a context in a stream":          `{"model":"m","response":"Here","done":false}` + "\n" + `{"model":"m","response":"","done":true,"context":[1,2,3]}` + "\n",
		"a transcript":                   `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"audio":{"id":"a","data":"UklGRiQAAABXQVZF","transcript":"Here"}}}]}`,
		"a transcript in a stream":       "data: {\"choices\":[{\"index\":0,\"delta\":{\"audio\":{\"id\":\"a\",\"transcript\":\"Here\"}}}]}\n\n",
		"a transcript's event in stream": "data: {\"type\":\"response.output_audio_transcript.delta\",\"output_index\":0,\"content_index\":0,\"delta\":\"Here\"}\n\n",
	} {
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body)}, testLimits)
		if err != nil || !strings.Contains(said(m), "Here") {
			t.Errorf("%s: %v %+v", name, err, m)
			continue
		}
		for i := range m.Turns {
			if out, err := m.Replace([]Replacement{{i, "x"}}); !errors.Is(err, ErrNotCertain) {
				t.Errorf("%s: %v %s", name, err, out)
			}
		}
	}
	// No ids, no harm.
	m, err := Read(Input{Leg: ResponseLeg, Body: []byte(`{"model":"m","response":"Here","done":true,"context":[]}`)}, testLimits)
	if err != nil || len(m.Turns) != 1 || !m.Turns[0].Maskable {
		t.Errorf("%v %+v", err, m)
	}
}

// TestChunksOfInvoke: clients take the event out of a chunk whatever else the
// chunk says.
func TestChunksOfInvoke(t *testing.T) {
	event := func(text string) string {
		return base64.StdEncoding.EncodeToString([]byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + text + `"}}`))
	}
	for _, more := range []string{``, `,"p":"abcd"`, `,"p":"two words and more"`, `,"x":1`, `,"x":"abcd"`, `,"delta":{"text":"aside"}`, `,"p":{"a":"b"}`} {
		body := awsframe.Append(nil, nil, []byte(`{"bytes":"`+event("a whole")+`"`+more+`}`))
		body = awsframe.Append(body, nil, []byte(`{"bytes":"`+event(" sentence")+`"`+more+`}`))
		m, err := Read(Input{Leg: ResponseLeg, Body: body}, testLimits)
		if err != nil || !strings.Contains(said(m), "a whole sentence\n") {
			t.Errorf("%s: %v %q", more, err, said(m))
		}
		for _, word := range []string{"two words and more", "aside"} {
			if strings.Contains(more, word) && !strings.Contains(said(m), word) {
				t.Errorf("%s: %q", more, said(m))
			}
		}
	}
}

// TestPiecesThatAreJSONByChance: a text that is streamed as it is may have pieces
// that are JSON, or nothing but white space.
func TestPiecesThatAreJSONByChance(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"a number":        {"data: seven\n\ndata:  7 \n\ndata: swans\n\n", "seven 7 swans"},
		"a word of JSON":  {"data: it is\n\ndata:  true\n\ndata:  and\n\n", "it is true and"},
		"null first":      {"data: null\n\ndata:  and void\n\n", "null and void"},
		"quotes":          {"data: he said \n\ndata: \"swans\"\n\n", `he said "swans"`},
		"an array":        {"data: as in\n\ndata: [1]\n\ndata: , too\n\n", "as in[1], too"},
		"nothing in it":   {"data: f()\n\ndata: {}\n\ndata: []\n\ndata: x\n\n", "f(){}[]x"},
		"a blank":         {"data: seven\n\ndata:  \n\ndata: swans\n\n", "seven swans"},
		"a line's end":    {"data: seven\n\ndata: \ndata: \n\ndata: swans\n\n", "seven\nswans"},
		"lines":           {"data: seven\ndata: swans\n\n", "seven\nswans"},
		"lines by itself": {"data: seven sw\ndata: ans\n\n", "seven swans"},
		"lines late":      {"data: a se\n\ndata: ven\ndata: swans\n\ndata:  in\n\n", "a seven\nswans in"},
	} {
		m, err := Read(Input{Leg: ResponseLeg, ContentType: "text/event-stream", Body: []byte(c.body)}, testLimits)
		if err != nil || !strings.Contains(said(m), c.want+"\n") {
			t.Errorf("%s: %v %q", name, err, said(m))
		}
	}
	// Where no piece is words nothing is said twice.
	for body, turns := range map[string]int{
		"data: \"seven\"\n\ndata: \" swans\"\n\n":                                  1,
		"data:  \n\ndata: {\"choices\":[{\"delta\":{\"content\":\"seven\"}}]}\n\n": 1,
		"data: 1\n\ndata: 2\n\n":                                                   1,
	} {
		m, err := Read(Input{Leg: ResponseLeg, ContentType: "text/event-stream", Body: []byte(body)}, testLimits)
		if err != nil || len(m.Turns) != turns {
			t.Errorf("%q: %v %q", body, err, said(m))
		}
	}
}

// TestLinesOfAnEventThatAreEvents: of an event that is JSON as a whole, clients
// that look at each line by itself take those that are.
func TestLinesOfAnEventThatAreEvents(t *testing.T) {
	piece := func(text string) string {
		return `{"choices":[{"index":0,"delta":{"content":"` + text + `"}}]}`
	}
	for _, body := range []string{
		"data: " + piece("a whole") + "\n\ndata: [\ndata: " + piece(" sentence") + "\ndata: ]\n\n",
		"data: " + piece("a whole") + "\n\ndata: {\"x\":\ndata: " + piece(" sentence") + "\ndata: }\n\n",
	} {
		m, err := Read(Input{Leg: ResponseLeg, ContentType: "text/event-stream", Body: []byte(body)}, testLimits)
		if err != nil || !strings.Contains(said(m), "a whole sentence\n") {
			t.Errorf("%q: %v %q", body, err, said(m))
		}
	}
}

// TestPartsOfOneArray: what a part says of itself, besides its text, does not
// keep a template from printing it behind the others.
func TestPartsOfOneArray(t *testing.T) {
	for _, part := range []string{
		`{"type":"text","text":"$","thought":true}`, `{"type":"reasoning_text","text":"$"}`, `{"type":"tool_result","text":"$"}`,
		`{"type":"text","text":"$","tool_call_id":"b"}`, `{"type":"thinking","text":"$"}`, `{"type":"tool_use","name":"f","text":"$"}`, `"$"`,
	} {
		for _, body := range []string{
			`{"messages":[{"role":"user","content":[{"type":"text","text":"a who"},$$]}]}`,
			`{"messages":[{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"a who"},$$]}]}`,
			`{"requests":[{"custom_id":"a","params":{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a who"},$$]}]}}]}`,
			`{"contents":[{"parts":[{"text":"a who"},$$]}]}`,
		} {
			body = strings.ReplaceAll(body, "$$", strings.ReplaceAll(part, "$", "le sentence"))
			m, err := Read(Input{Body: []byte(body)}, testLimits)
			if err != nil || !strings.Contains(said(m), "a whole sentence") {
				t.Errorf("%s: %v %q", body, err, said(m))
			}
		}
	}
	// Results of different calls are nobody's one text.
	m, err := Read(Input{Body: []byte(`{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"one"}]},
		{"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"two"}]}]}]}`)}, testLimits)
	if err != nil || strings.Contains(said(m), "onetwo") {
		t.Errorf("%v %q", err, said(m))
	}
}

// TestDeltasOfAChoice: no client of choices looks at these.
func TestDeltasOfAChoice(t *testing.T) {
	for _, second := range []string{
		`{"choices":[{"index":0,"delta":{"content":" sentence","thought":true}}]}`,
		`{"choices":[{"index":0,"output_index":3,"delta":{"content":" sentence"}}]}`,
		`{"choices":[{"index":0,"contentBlockIndex":3,"delta":{"content":" sentence"}}]}`,
		`{"choices":[{"index":0,"delta":{"type":"thinking","content":" sentence"}}]}`,
	} {
		body := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a whole\"}}]}\n\ndata: " + second + "\n\n"
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body)}, testLimits)
		if err != nil || !strings.Contains(said(m), "a whole sentence\n") {
			t.Errorf("%s: %v %q", second, err, said(m))
		}
	}
}

// TestArraysOfAnswers: a streamed array may begin with anything.
func TestArraysOfAnswers(t *testing.T) {
	for _, first := range []string{``, `{},`, `null,`, `[],`, `{"x":1},`, `{"usageMetadata":{"promptTokenCount":1}},`, `{"promptFeedback":{}},`, `{"error":null},`} {
		body := `[` + first + `{"candidates":[{"content":{"parts":[{"text":"a whole"}]}}]},{"candidates":[{"content":{"parts":[{"text":" sentence"}]}}]}]`
		for _, request := range []*Message{nil, {Format: Gemini}, {Format: OpenAIChat}} {
			m, err := Read(Input{Leg: ResponseLeg, Request: request, Body: []byte(body)}, testLimits)
			if err != nil || !strings.Contains(said(m), "a whole sentence\n") {
				t.Errorf("%s: %v %q", body, err, said(m))
			}
		}
	}
	for _, body := range []string{
		"x\n{\"message\":{\"content\":\"a whole\"}}\n{\"message\":{\"content\":\" sentence\"}}\n",
		"\x1e{\"message\":{\"content\":\"a whole\"}}\n\x1e{\"message\":{\"content\":\" sentence\"}}\n",
	} {
		m, err := Read(Input{Leg: ResponseLeg, ContentType: "application/x-ndjson", Body: []byte(body)}, testLimits)
		if err != nil || !strings.Contains(said(m), "a whole sentence\n") {
			t.Errorf("%q: %v %q", body, err, said(m))
		}
	}
}

// TestRequestsThatBeginLikeJSONForSomebody: parsers that skip more than white
// space find a chat there, whose parts would not be joined.
func TestRequestsThatBeginLikeJSONForSomebody(t *testing.T) {
	const chat = `{"messages":[{"role":"user","content":"x"}]}`
	for _, front := range []string{"\f", "\v", "\u00a0", "\u2028", "\x00", "\x1e", "// note\n", "/* note */", "# note\n", "\f// a\n /* b */\n", "\x1b"} {
		for _, label := range []string{"", "text/plain", "application/octet-stream", "image/png"} {
			for _, body := range []string{front + chat, front + "[" + chat + "]"} {
				if m, err := Read(Input{ContentType: label, Body: []byte(body)}, testLimits); err == nil {
					t.Errorf("%q as %q: %q", body, label, said(m))
				}
			}
		}
	}
	wide := []byte("\xff\xfe")
	for _, u := range utf16.Encode([]rune(chat)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	if m, err := Read(Input{ContentType: "application/octet-stream", Body: wide}, testLimits); err == nil {
		t.Errorf("%q", said(m))
	}
	for _, text := range []string{"# Title\n\nA text with {braces}", "// a program\nfunc f() {}", "/* only", "\f", "#", "// x\n{x}"} {
		if m, err := Read(Input{ContentType: "text/plain", Body: []byte(text)}, testLimits); err != nil {
			t.Errorf("%q: %v %v", text, err, m)
		}
	}
}

// TestMaskMakesNoOtherText: of names that come side by side a client takes the
// next where the first is empty, so a mask may leave no empty pieces there.
func TestMaskMakesNoOtherText(t *testing.T) {
	body := "data: {\"choices\":[{\"delta\":{\"content\":\"one\"},\"text\":\"three\"}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\" two\"},\"text\":\" four\"}]}\n\n"
	m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body)}, testLimits)
	if err != nil || !strings.Contains(said(m), "one two\n") || !strings.Contains(said(m), "three four\n") {
		t.Fatalf("%v %q", err, said(m))
	}
	for i := range m.Turns {
		if out, err := m.Replace([]Replacement{{i, "x"}}); !errors.Is(err, ErrNotCertain) {
			t.Errorf("%v %s", err, out)
		}
	}
}

// TestBase64LikeWords: base64 of UTF-16 in some scripts has runs of letters
// like words. It is refused, as it is elsewhere.
func TestBase64LikeWords(t *testing.T) {
	var wide []byte
	for _, u := range utf16.Encode([]rune(strings.Repeat("Серая цапля прячет семь медных фонарей. ", 3))) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	data := base64.StdEncoding.EncodeToString(wide)
	for _, body := range []string{
		`{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"` + data + `"}}]}]}`,
		`{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav","data":"` + data + `"}}]}]}`,
	} {
		var e *Error
		if m, err := Read(Input{Body: []byte(body)}, testLimits); !errors.As(err, &e) || e.Class != Unscannable {
			t.Errorf("%v %+v", err, m)
		}
	}
}

// TestEventsOfTokens: Text Generation Inference sends an event for each token,
// with a number; its clients join their texts.
func TestEventsOfTokens(t *testing.T) {
	var b strings.Builder
	for i := range 6000 {
		text := " and"
		switch i {
		case 0:
			text = "a who"
		case 1:
			text = "le sentence"
		}
		b.WriteString(`data:{"index":` + strconv.Itoa(i) + `,"token":{"id":25584,"text":"` + text + `","logprob":-1.3,"special":false},"generated_text":null,"details":null}` + "\n\n")
	}
	m, err := Read(Input{Leg: ResponseLeg, Body: []byte(b.String())}, testLimits)
	if err != nil || len(m.Turns) != 1 || !strings.HasPrefix(m.Turns[0].Text, "a whole sentence and and") || m.Turns[0].Maskable {
		t.Errorf("%v, %d turns: %.200q", err, len(m.Turns), said(m))
	}
}
