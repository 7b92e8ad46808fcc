// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

func readAnswer(t testing.TB, kind, body string) *Message {
	t.Helper()
	m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body), ContentType: kind}, testLimits)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return m
}

// withCopies yields variants of the document src, each with a copy of one of
// its members, once before the member and once behind it. The copy has the
// marker for a value and, where the member has strings in it, the marker for
// some of them. What is inside the member gets copies of its own.
func withCopies(d *strictjson.Doc, src []byte, yield func(doc []byte)) {
	for v := range d.Len() {
		start, nameEnd := d.NameSpan(v)
		if nameEnd == 0 {
			continue
		}
		_, end := d.Span(v)
		name := src[start:nameEnd]
		values := [][]byte{[]byte(`"` + marker + `"`)}
		if d.Kind(v) >= strictjson.Array {
			from, to := d.Span(v)
			for _, at := range literals(d) {
				if at[0] > from && at[1] < to {
					values = append(values, put(src[:to], at)[from:])
				}
			}
		}
		step := 1 + len(values)/4
		for i := 0; i < len(values); i += step {
			value := values[i]
			if i == 0 || i/step%2 == 1 {
				yield(slices.Concat(src[:start], name, []byte(":"), value, []byte(","), src[start:]))
			}
			if i/step%2 == 0 {
				yield(slices.Concat(src[:end], []byte(","), name, []byte(":"), value, src[end:]))
			}
		}
	}
}

// TestEveryCopyIsScanned: whichever copy of whichever name of whichever answer
// holds the marker, it is scanned, and the answer is not refused.
func TestEveryCopyIsScanned(t *testing.T) {
	for _, path := range bodies(t) {
		if !strings.HasPrefix(filepath.Base(path), "answer") {
			continue
		}
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Leg: ResponseLeg}
			if strings.HasSuffix(path, ".ndjson") {
				in.ContentType = "application/x-ndjson"
			}
			n := 0
			for _, place := range documentsOf(body) {
				d := new(strictjson.Doc)
				src := body[place[0]:place[1]:place[1]]
				if d.ParseLenient(src, DefaultDepth) != nil {
					continue
				}
				withCopies(d, src, func(doc []byte) {
					n++
					in.Body = slices.Concat(body[:place[0]], doc, body[place[1]:])
					m, err := Read(in, testLimits)
					switch {
					case err == errTokens: // one of its readings has no text beside them
					case err != nil:
						t.Errorf("%v: %s", err, doc)
					case !scanned(m):
						t.Errorf("not scanned: %s", doc)
					}
				})
			}
			if n == 0 {
				t.Error("nothing was tried")
			}
		})
	}
}

// FuzzEveryCopyIsScanned: in whatever answer a name stands twice, both values
// are scanned.
func FuzzEveryCopyIsScanned(f *testing.F) {
	for _, path := range bodies(f) {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if strings.HasPrefix(filepath.Base(path), "answer") {
			f.Add(body, uint16(3), len(body)%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, n uint16, before bool) {
		places := documentsOf(body)
		in := Input{Leg: ResponseLeg, Body: body}
		if _, err := Read(in, testLimits); err != nil || len(places) == 0 {
			return
		}
		place := places[int(n)%len(places)]
		d := new(strictjson.Doc)
		if d.ParseLenient(body[place[0]:place[1]:place[1]], DefaultDepth) != nil {
			return
		}
		v := int(n) % d.Len()
		start, nameEnd := d.NameSpan(v)
		if nameEnd == 0 {
			return
		}
		_, end := d.Span(v)
		member := string(d.RawName(v)) + `:"` + marker + `"`
		at, text := place[0]+end, ","+member
		if before {
			at, text = place[0]+start, member+","
		}
		in.Body = slices.Concat(body[:at], []byte(text), body[at:])
		m, err := Read(in, testLimits)
		switch {
		case err == errTokens: // one of its readings has no text beside them
		case err != nil:
			t.Fatalf("%v: %q", err, in.Body)
		case !scanned(m):
			t.Fatalf("not scanned: %q", in.Body)
		}
	})
}

// documentsOf returns the places of the JSON documents of a body.
func documentsOf(body []byte) [][2]int {
	if strictjson.Loose(body) {
		return [][2]int{{0, len(body)}}
	}
	var places [][2]int
	if eventstream.LooksLike(body) {
		r := eventstream.NewReader(body)
		for r.Next() {
			for _, l := range r.Event().Lines {
				places = append(places, [2]int{l.Start, l.End})
			}
		}
		return places
	}
	for l := range eventstream.Lines(body) {
		places = append(places, [2]int{l.Start, l.End})
	}
	return places
}

// A client puts a stream's text together as its parser sees the chunks.
type client struct {
	name string
	text func(data []byte) (choice int, text string)
}

type chunkOf struct {
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
	} `json:"choices"`
}

var clients = []client{
	{"objects become one", func(data []byte) (int, string) {
		var c chunkOf
		if json.Unmarshal(data, &c) != nil || len(c.Choices) == 0 {
			return 0, ""
		}
		return c.Choices[0].Index, c.Choices[0].Delta.Content
	}},
	{"the last copy", func(data []byte) (int, string) { return walkCopies(data, false) }},
	{"the first copy", func(data []byte) (int, string) { return walkCopies(data, true) }},
}

// walkCopies reads a chunk token by token and takes the first or last copies.
func walkCopies(data []byte, first bool) (int, string) {
	dec := json.NewDecoder(bytes.NewReader(data))
	var value func() any
	value = func() any {
		switch tok, _ := dec.Token(); tok {
		case json.Delim('{'):
			m := map[string]any{}
			for dec.More() {
				name, _ := dec.Token()
				v := value()
				if _, twice := m[name.(string)]; !twice || !first {
					m[name.(string)] = v
				}
			}
			_, _ = dec.Token()
			return m
		case json.Delim('['):
			a := []any{}
			for dec.More() {
				a = append(a, value())
			}
			_, _ = dec.Token()
			return a
		default:
			return tok
		}
	}
	root, _ := value().(map[string]any)
	choices, _ := root["choices"].([]any)
	if len(choices) == 0 {
		return 0, ""
	}
	choice, _ := choices[0].(map[string]any)
	index, _ := choice["index"].(float64)
	delta, _ := choice["delta"].(map[string]any)
	text, _ := delta["content"].(string)
	return int(index), text
}

// TestCopiesAreJoinedAsClientsDo: whatever stands twice in the chunks of a
// stream, and in whichever of them, what a client shows of a choice is one text
// of ours.
func TestCopiesAreJoinedAsClientsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z]{2,5} `)
		// member gives a name with one value, or with more of them.
		member := func(name string, values func() string) string {
			var b []string
			for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "copies of "+name) {
				b = append(b, fmt.Sprintf("%q:%s", name, values()))
			}
			return strings.Join(b, ",")
		}
		content := func() string { return quoted(word.Draw(t, "word")) }
		index := func() string { return fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "index")) }
		delta := func() string {
			if rapid.IntRange(0, 4).Draw(t, "a role") == 0 {
				return `{"role":"assistant"}`
			}
			return "{" + member("content", content) + "}"
		}
		choices := func() string { return "[{" + member("index", index) + "," + member("delta", delta) + "}]" }
		var b strings.Builder
		shown := make([]map[int]string, len(clients))
		for range rapid.IntRange(1, 5).Draw(t, "chunks") {
			data := "{" + member("choices", choices) + "}"
			sse(&b, "", data)
			for i, c := range clients {
				if shown[i] == nil {
					shown[i] = map[int]string{}
				}
				choice, text := c.text([]byte(data))
				shown[i][choice] += text
			}
		}
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(b.String()), ContentType: "text/event-stream"}, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range clients {
			for choice, text := range shown[i] {
				if text != "" && !slices.ContainsFunc(m.Turns, func(turn Turn) bool { return turn.Text == text }) {
					t.Fatalf("%s: %q of choice %d is no text of ours:\n%s\n%s", c.name, text, choice, b.String(), dump(m))
				}
			}
		}
	})
}

// TestCopiesHaveNoMask: one name twice, and no text of the answer is masked.
func TestCopiesHaveNoMask(t *testing.T) {
	for _, body := range []string{
		`{"choices":[{"index":0,"message":{"role":"assistant","content":"one","reasoning_content":"two","reasoning_content":"two"}}]}`,
		"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"}}]}\n\ndata: {\"choices\":[],\"id\":\"a\",\"id\":\"a\"}\n\n",
		"{\"message\":{\"content\":\"one\"},\"done\":false}\n{\"done\":true,\"done\":true}\n",
	} {
		m := readAnswer(t, "", body)
		if !strings.Contains(said(m), "one") {
			t.Errorf("%s: says %q", body, said(m))
		}
		for i := range m.Turns {
			if _, err := m.Replace([]Replacement{{Turn: i, Text: "x"}}); m.Turns[i].Maskable || err == nil {
				t.Errorf("%s: turn %d is maskable", body, i)
			}
		}
	}
}

// TestNoNoiseOfCopies: a name twice that says the same says it once.
func TestNoNoiseOfCopies(t *testing.T) {
	stream := ""
	for _, s := range []string{"The ", "grey ", "heron."} {
		stream += fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":%q,\"content\":null,\"reasoning_content\":%q}}]}\n\n", s, s)
	}
	m := readAnswer(t, "text/event-stream", stream)
	if len(m.Turns) != 1 || m.Turns[0].Text != "The grey heron." || m.Turns[0].Kind != KindReasoning {
		t.Errorf("says\n%s", dump(m))
	}
}

// TestCopiesInFrames: the bytes of a chunk that stand twice are both read.
func TestCopiesInFrames(t *testing.T) {
	inner := func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + s + `"}}`))
	}
	half := len(marker) / 2
	for name, pair := range map[string]func(s string) string{
		"first": func(s string) string { return `{"bytes":"` + inner(s) + `","bytes":"` + inner("x") + `"}` },
		"last":  func(s string) string { return `{"bytes":"` + inner("x") + `","p":"ab","bytes":"` + inner(s) + `"}` },
		"some":  func(s string) string { return `{"bytes":"` + inner(s) + `"}` },
	} {
		body := encodeFrames([]frame{
			{"chunk", `{"bytes":"` + inner("so ") + `","bytes":"` + inner("so ") + `"}`},
			{"chunk", pair(marker[:half])},
			{"chunk", pair(marker[half:])},
		})
		m, err := Read(Input{Leg: ResponseLeg, Body: body}, testLimits)
		if err != nil || !scanned(m) {
			t.Errorf("%s: %v, says %q", name, err, said(m))
		}
	}
}

// TestLoneSurrogates: halves of an emoji are joined where clients join their
// texts, and what stays alone is replaced. Such a text cannot be masked.
func TestLoneSurrogates(t *testing.T) {
	delta := func(member string) string {
		return `data: {"choices":[{"index":0,"delta":{` + member + `}}]}` + "\n\n"
	}
	args := func(s string) string { return `"tool_calls":[{"index":0,"function":{"arguments":"` + s + `"}}]` }
	for _, tt := range []struct{ name, body, want string }{
		{"cut in two", delta(`"content":"a\ud83d"`) + delta(`"content":"\ude00b"`), "a😀b"},
		{"with an empty piece between", delta(`"content":"a\ud83d"`) + delta(`"content":""`) + delta(`"content":"\ude00b"`), "a😀b"},
		{"never completed", delta(`"content":"a\ud83d"`) + delta(`"content":"b"`), "a\ufffdb"},
		{"other texts between", delta(`"content":"a\ud83d"`) + delta(`"reasoning":"x\ude00"`) + delta(`"content":"\ude00b"`), "a😀b"},
		{"arguments", delta(args(`{\"a\":\"b\ud83d`)) + delta(args(`\ude00c\"}`)), "a: b😀c"},
		{"escapes in arguments", delta(args(`{\"a\":\"b\\ud83d`)) + delta(args(`\\ude00c\"}`)), "a: b😀c"},
		{"an unknown name", delta(`"zone":"a\ud83d"`) + delta(`"zone":"\ude00b"`), "zone: a😀b"},
		{"truncated", `{"choices":[{"index":0,"message":{"role":"assistant","content":"a\ud83d"}}]}`, "a\ufffd"},
		{"in a name", `{"choices":[{"index":0,"message":{"role":"assistant","content":"a","\ud83dx":"y"}}]}`, "\ufffdx: y"},
		{"two names that are one to some", `{"result":{"\ud83d":"one","\ude00":"two"}}`, "\ufffd: two"},
		{"a tool's result", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"a\ud83d"}]}}`, "a\ufffd"},
		{"JSON lines", "{\"message\":{\"content\":\"a\\ud83d\"}}\n{\"message\":{\"content\":\"\\ude00b\"}}\n", "a😀b"},
	} {
		m := readAnswer(t, "", tt.body)
		if !strings.Contains(said(m), tt.want) {
			t.Errorf("%s: says %q, want %q", tt.name, said(m), tt.want)
		}
		for i := range m.Turns {
			if m.Turns[i].Maskable && strings.ContainsAny(m.Turns[i].Text, "\ufffd😀") {
				t.Errorf("%s: turn %d is maskable", tt.name, i)
			}
		}
	}
	m := readAnswer(t, "", `{"choices":[{"index":0,"message":{"content":"a\ud83d"}},{"index":1,"message":{"content":"plain"}}]}`)
	if out, err := m.Replace([]Replacement{{Turn: 1, Text: "x"}}); err != nil || !bytes.Contains(out, []byte(`"a\ud83d"`)) || !bytes.Contains(out, []byte(`"x"`)) {
		t.Errorf("another text is not masked: %v %s", err, out)
	}
	for _, body := range []string{"{\"choices\":[{\"message\":{\"content\":\"a\xff\"}}]}", "{\"a\":1,\"a\":\"\xed\xa0\xbd\"}"} {
		if _, err := Read(Input{Leg: ResponseLeg, Body: []byte(body), ContentType: "application/json"}, testLimits); err == nil {
			t.Errorf("bytes that are no UTF-8 are accepted: %q", body)
		}
	}
}

// TestPlaces: a refusal says which name it is about, if the grammar knows it,
// and where it is in the body.
func TestPlaces(t *testing.T) {
	const secret = "Kindly keep this"
	for _, tt := range []struct {
		kind, body, reason, place string
	}{
		{"", `{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}`, "duplicate name in a JSON object", `'content' at byte 54`},
		{"", `{"model":"m","messages":[],"` + secret + `":1,"` + secret + `":2}`, "duplicate name in a JSON object", "a name of 16 bytes at byte 48"},
		{"", `{"model":"m","messages":[{"role":"user","content":"` + secret + `\ud83d"}]}`, "a lone surrogate in a JSON string", "at byte 67"},
		{"", `{"model":"m","messages":[{"role":"user","Content":"b"}]}`, errVariant.Reason, `like 'content' at byte 40`},
		{"", `{"model":"m","Messages":[]}`, errVariant.Reason, `like 'messages' at byte 13`},
		{"", `{"Messages":[]}`, errVariant.Reason, `like 'messages' at byte 1`},
		{"application/jsonl", `{"custom_id":"1","body":{}}` + "\n" + `{"body":{},"body":{}}`, "duplicate name in a JSON object", "a name of 4 bytes at byte 39"},
		{"text/event-stream", "data: {\"messages\":[]}\n\ndata: {\"messages\":[],\"messages\":[]}\n\n", "duplicate name in a JSON object", `'messages' at byte 44`},
		{"", `{"model":"m"`, "not valid JSON", ""},
	} {
		_, err := Read(Input{Body: []byte(tt.body), ContentType: tt.kind}, testLimits)
		if err == nil || err.Error() != tt.reason || PlaceOf(err) != tt.place {
			t.Errorf("%s: %v, place %q, want %s: %q", tt.body, err, PlaceOf(err), tt.reason, tt.place)
		}
	}
}
