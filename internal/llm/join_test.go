// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// joinedTurns returns the texts of the turns that join others.
func joinedTurns(m *Message) []string {
	var texts []string
	for _, t := range m.Turns {
		if t.Joined {
			texts = append(texts, t.Text)
		}
	}
	return texts
}

// TestJoinedParts: what servers and clients put together with nothing between
// the parts is scanned so, wherever a format has parts.
func TestJoinedParts(t *testing.T) {
	const a, b = `Kindly zq7 th`, `e marker`
	text := `{"type":"text","text":"` + a + `"},{"type":"text","text":"` + b + `"}`
	bare := `{"text":"` + a + `"},{"text":"` + b + `"}`
	image := `{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}`
	event := func(data ...string) string {
		var s strings.Builder
		for _, d := range data {
			fmt.Fprintf(&s, "data: %s\n\n", d)
		}
		return s.String()
	}
	tests := []struct {
		name, path, body string
		leg              Leg
	}{
		{name: "parts of a message", body: `{"messages":[{"role":"user","content":[` + text + `]}]}`},
		{name: "an image between them", body: `{"messages":[{"role":"user","content":[{"type":"text","text":"` + a + `"},` + image + `,{"type":"text","text":"` + b + `"}]}]}`},
		{name: "an empty part between them", body: `{"messages":[{"role":"user","content":[{"type":"text","text":"` + a + `"},{"type":"text","text":" "},{"type":"text","text":"` + b + `"}]}]}`},
		{name: "three parts", body: `{"messages":[{"role":"user","content":[{"type":"text","text":"Kindly zq"},{"type":"text","text":"7"},{"type":"text","text":" the marker"}]}]}`},
		{name: "a refusal behind a text", body: `{"messages":[{"role":"assistant","content":[{"type":"text","text":"` + a + `"},{"type":"refusal","refusal":"` + b + `"}]}]}`},
		{name: "strings", body: `{"messages":[{"role":"user","content":["` + a + `","` + b + `"]}]}`},
		{name: "a system array", body: `{"system":[` + text + `],"messages":[{"role":"user","content":"hi"}]}`},
		{name: "the result of a tool", body: `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[` + text + `]}]}]}`},
		{name: "texts around the result of a tool", body: `{"messages":[{"role":"user","content":[{"type":"text","text":"` + a + `"},{"type":"tool_result","tool_use_id":"t1","content":"ok"},{"type":"text","text":"` + b + `"}]}]}`},
		{name: "a tool's message", body: `{"messages":[{"role":"tool","tool_call_id":"c1","content":[` + text + `]}]}`},
		{name: "Gemini", body: `{"contents":[{"role":"user","parts":[` + bare + `]}]}`},
		{name: "Gemini's instructions", body: `{"contents":[],"systemInstruction":{"parts":[` + bare + `]}}`},
		{name: "Converse", body: `{"messages":[{"role":"user","content":[` + bare + `]}],"inferenceConfig":{}}`},
		{name: "Converse's system", body: `{"messages":[],"system":[` + bare + `]}`},
		{name: "Converse's tool result", body: `{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[` + bare + `]}}]}]}`},
		{name: "Cohere", path: "/v2/chat", body: `{"model":"command-r","messages":[{"role":"user","content":[` + text + `]}]}`},
		{name: "Responses", body: `{"input":[{"role":"user","content":[{"type":"input_text","text":"` + a + `"},{"type":"input_text","text":"` + b + `"}]}]}`},
		{name: "Responses, bare parts", body: `{"input":[{"type":"input_text","text":"` + a + `"},{"type":"input_text","text":"` + b + `"}]}`},
		{name: "a call's output", body: `{"input":[{"type":"function_call_output","call_id":"c1","output":[{"type":"input_text","text":"` + a + `"},{"type":"input_text","text":"` + b + `"}]}]}`},
		{name: "MCP's result", body: `{"jsonrpc":"2.0","id":1,"result":{"content":[` + text + `]}}`, leg: ResponseLeg},
		{name: "base64 in two parts", body: `{"messages":[{"role":"user","content":[{"type":"text","text":"S2luZGx5IHpxNy"},{"type":"text","text":"B0aGUgbWFya2Vy"}]}]}`},
		{name: "JSON with escapes in two parts", body: `{"messages":[{"role":"tool","content":[{"type":"text","text":"{\"a\":\"\\u004bindly zq"},{"type":"text","text":"7 the marker\"}"}]}]}`},
		{name: "an answer's parts", body: `{"choices":[{"index":0,"message":{"role":"assistant","content":[` + text + `]}}]}`, leg: ResponseLeg},
		{name: "Anthropic's blocks", body: `{"type":"message","role":"assistant","content":[` + text + `]}`, leg: ResponseLeg},
		{name: "Gemini's parts", body: `{"candidates":[{"content":{"role":"model","parts":[` + bare + `]}}]}`, leg: ResponseLeg},
		{name: "the items of a response", body: `{"object":"response","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"` + a + `"}]},{"type":"reasoning","summary":[]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"` + b + `"}]}]}`, leg: ResponseLeg},
		{name: "streamed blocks", leg: ResponseLeg, body: event(
			`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"`+a+`"}}`,
			`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"`+b+`"}}`)},
		{name: "streamed blocks, the later one first", leg: ResponseLeg, body: event(
			`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"`+b+`"}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"`+a+`"}}`)},
		{name: "streamed items", leg: ResponseLeg, body: event(
			`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"`+a+`"}`,
			`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"`+b+`"}`)},
		{name: "a block that comes twice", leg: ResponseLeg, body: event(
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Kindly zq7 the m"}}`,
			`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"arker"}}`,
			`{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"arker"}}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Read(Input{Leg: tt.leg, Path: tt.path, Body: []byte(tt.body)}, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			if !scanned(m) {
				t.Errorf("not scanned:\n%s", dump(m))
			}
		})
	}
}

// TestNotJoined: what nobody joins, and what is parted by white space, is not
// scanned twice.
func TestNotJoined(t *testing.T) {
	for name, tt := range map[string]struct {
		leg  Leg
		body string
	}{
		"white space at the seam":        {body: `{"messages":[{"role":"user","content":[{"type":"text","text":"one\n"},{"type":"text","text":"two"},{"type":"text","text":" three"}]}]}`},
		"messages":                       {body: `{"messages":[{"role":"user","content":"one"},{"role":"user","content":"two"}]}`},
		"a batch of prompts":             {body: `{"model":"m","input":["one","two"]}`},
		"results of two calls":           {body: `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"one"},{"type":"tool_result","tool_use_id":"t2","content":"two"}]}]}`},
		"a thought and a text":           {leg: ResponseLeg, body: `{"type":"message","role":"assistant","content":[{"type":"thinking","thinking":"one","signature":"c2ln"},{"type":"text","text":"two"}]}`},
		"choices":                        {leg: ResponseLeg, body: `{"choices":[{"index":0,"text":"one"},{"index":1,"text":"two"}]}`},
		"generations":                    {leg: ResponseLeg, body: `{"generations":[{"text":"one"},{"text":"two"}]}`},
		"a citation's title and its URL": {leg: ResponseLeg, body: `{"type":"message","role":"assistant","content":[{"type":"text","text":"one","citations":[{"type":"web_search_result_location","title":"two","url":"https://example.com"}]}]}`},
	} {
		m, err := Read(Input{Leg: tt.leg, Body: []byte(tt.body)}, testLimits)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := joinedTurns(m); len(got) > 0 {
			t.Errorf("%s: joined %q", name, got)
		}
	}
}

// TestJoinedLongParts: of a long part only its ends are joined, in whole
// characters, so that a body costs about what it holds.
func TestJoinedLongParts(t *testing.T) {
	long := strings.Repeat("é", 5000)
	body := `{"messages":[{"role":"user","content":["x` + long + `zq7","7` + long + `y","` + long + `"]}]}`
	m, err := Read(Input{Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	got := joinedTurns(m)
	if len(got) != 1 || !utf8.ValidString(got[0]) {
		t.Fatalf("joined %d turns", len(got))
	}
	edge := strings.Repeat("é", 1999)
	want := edge[:2*1997] + "zq77" + edge + "\n" + edge + "y" + edge + "é"
	if got[0] != want {
		t.Errorf("joined %d characters, want %d", utf8.RuneCountInString(got[0]), utf8.RuneCountInString(want))
	}
}

// TestJoinedMasks: a mask of the joined text is certain when it is that of its
// parts, and not when what it hides lies across a seam.
func TestJoinedMasks(t *testing.T) {
	var words strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&words, "w%d,", 10000+i)
	}
	long := words.String()[:5000]
	for name, tt := range map[string]struct {
		parts, masked []string
		joined        string
		certain       bool
	}{
		"in one part":                   {[]string{"call 555", "please"}, []string{"call ***", "please"}, "call ***please", true},
		"in both":                       {[]string{"call 555", "or 666"}, []string{"call ***", "or ***"}, "call ***or ***", true},
		"across the seam":               {[]string{"call 55", "5 now"}, []string{"call 55", "5 now"}, "call *** now", false},
		"in a part and across":          {[]string{"555 or 66", "6"}, []string{"*** or 66", "6"}, "*** or ***", false},
		"the end of a long part":        {[]string{long + " 555", "now"}, []string{long + " ***", "now"}, long[len(long)-1996:] + " ***now", true},
		"the start of a long part":      {[]string{"now", "555 " + long}, []string{"now", "*** " + long}, "now*** " + long[:1996], true},
		"both ends of a long part":      {[]string{"a", "55 " + long + " 5", "b"}, []string{"a", "*** " + long + " ***", "b"}, "a*** " + long[:1997] + "\n" + long[len(long)-1998:] + " ***b", true},
		"across the seam of a long one": {[]string{long + " 55", "5"}, []string{long + " 55", "5"}, long[len(long)-1997:] + " ***", false},
		"only the joined text":          {[]string{"call 555", "please"}, []string{"call 555", "please"}, "call ***please", false},
	} {
		var parts []string
		for _, p := range tt.parts {
			parts = append(parts, `{"type":"text","text":"`+p+`"}`)
		}
		m, err := Read(Input{Body: []byte(`{"messages":[{"role":"user","content":[` + strings.Join(parts, ",") + `]}]}`)}, testLimits)
		if err != nil || len(m.Turns) != len(tt.parts)+1 {
			t.Fatalf("%s: %v, %s", name, err, dump(m))
		}
		var rs []Replacement
		for i := range tt.parts {
			if tt.parts[i] != tt.masked[i] {
				rs = append(rs, Replacement{i, tt.masked[i]})
			}
		}
		out, err := m.Replace(append(rs, Replacement{len(tt.parts), tt.joined}))
		switch {
		case !tt.certain && !errors.Is(err, ErrNotCertain):
			t.Errorf("%s: %v, %s", name, err, out)
		case tt.certain && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.certain:
			for _, text := range tt.masked {
				if !strings.Contains(string(out), `"`+text+`"`) {
					t.Errorf("%s: %s", name, out)
				}
			}
		}
	}
}

// TestJoinedScope: a joined turn is scanned when one of its parts is.
func TestJoinedScope(t *testing.T) {
	const body = `{"system":["be ki","nd"],"messages":[{"role":"user","content":["fir","st"]},{"role":"assistant","content":["se","cond"]},{"role":"user","content":["thi","rd"]}]}`
	m, err := Read(Input{Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	for scope, want := range map[Scope][]string{
		LastUser:     {"thi", "rd", "third"},
		User:         {"fir", "st", "first", "thi", "rd", "third"},
		Conversation: {"be ki", "nd", "be kind", "fir", "st", "first", "se", "cond", "second", "thi", "rd", "third"},
	} {
		var got []string
		for _, i := range m.Select(scope) {
			got = append(got, m.Turns[i].Text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("scope %d: %q", scope, got)
		}
	}
}
