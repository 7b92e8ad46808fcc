// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
)

const refusedText = "Request blocked by security policy"

// asking are requests that a turn of a model answers. turns is as how many turns
// the answer is read: equal texts of a stream are one.
var asking = []struct {
	name, path, body string
	events           bool
	kind             string // the answer's content type
	turns            int
}{
	{"chat", "/v1/chat/completions", `{"model":"gpt-5","messages":[{"role":"user","content":"x"}]}`, false, "application/json", 1},
	{"chat-choices", "/v1/chat/completions", `{"model":"gpt-5","n":3,"messages":[{"role":"user","content":"x"}],"tool_choice":"required","response_format":{"type":"json_object"}}`, false, "application/json", 3},
	{"chat-stream", "/v1/chat/completions", `{"model":"gpt-5","stream":true,"messages":[{"role":"user","content":"x"}]}`, false, "text/event-stream", 1},
	{"chat-stream-choices", "/v1/chat/completions", `{"model":"gpt-5","n":2,"stream":true,"messages":[{"role":"user","content":"x"}]}`, false, "text/event-stream", 1},
	{"completion", "/v1/completions", `{"model":"davinci","prompt":["a b","c d"],"n":2}`, false, "application/json", 4},
	{"completion-stream", "/v1/completions", `{"model":"davinci","prompt":"a b","stream":true}`, false, "text/event-stream", 1},
	{"responses", "/v1/responses", `{"model":"gpt-5","input":"x"}`, false, "application/json", 1},
	{"responses-follows", "/v1/responses", `{"model":"gpt-5","input":"x","previous_response_id":"resp_68a1"}`, false, "application/json", 1},
	{"responses-stream", "/v1/responses", `{"model":"gpt-5","input":"x","stream":true}`, false, "text/event-stream", 1},
	{"messages", "/v1/messages", `{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, false, "application/json", 1},
	{"messages-stream", "/v1/messages", `{"model":"claude-sonnet-4-5","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}`, false, "text/event-stream", 1},
	{"vertex-messages", "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict", `{"anthropic_version":"vertex-2023-10-16","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, false, "text/event-stream", 1},
	{"gemini", "/v1beta/models/gemini-3:generateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, false, "application/json", 1},
	{"gemini-array", "/v1beta/models/gemini-3:streamGenerateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, false, "application/json", 1},
	{"gemini-stream", "/v1beta/models/gemini-3:streamGenerateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, true, "text/event-stream", 1},
	{"converse", "/model/m/converse", `{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, false, "application/json", 1},
	{"converse-stream", "/model/m/converse-stream", `{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, false, "application/vnd.amazon.eventstream", 1},
	{"invoke", "/model/m/invoke", `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, false, "application/json", 1},
	{"invoke-stream", "/model/m/invoke-with-response-stream", `{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, false, "application/vnd.amazon.eventstream", 1},
	{"cohere", "/v2/chat", `{"model":"command-a","messages":[{"role":"user","content":"x"}]}`, false, "application/json", 1},
	{"cohere-stream", "/v2/chat", `{"model":"command-a","stream":true,"messages":[{"role":"user","content":"x"}]}`, false, "text/event-stream", 1},
	{"cohere-v1", "/v1/chat", `{"message":"x"}`, false, "application/json", 1},
	{"cohere-v1-stream", "/v1/chat", `{"message":"x","stream":true}`, false, "application/x-ndjson", 1},
	{"ollama", "/api/chat", `{"model":"llama3.2","stream":false,"messages":[{"role":"user","content":"x"}]}`, false, "application/json", 1},
	{"ollama-stream", "/api/chat", `{"model":"llama3.2","messages":[{"role":"user","content":"x"}]}`, false, "application/x-ndjson", 1},
	{"ollama-generate", "/api/generate", `{"model":"llama3.2","prompt":"x","stream":false}`, false, "application/json", 1},
	{"ollama-generate-stream", "/api/generate", `{"model":"llama3.2","prompt":"x"}`, false, "application/x-ndjson", 1},
	{"chat-elsewhere", "/llm", `{"model":"gpt-5","messages":[{"role":"user","content":"x"}]}`, false, "application/json", 1},
}

// asked reads a request.
func asked(t testing.TB, path, body string) *Message {
	t.Helper()
	m, err := Read(Input{Leg: RequestLeg, Path: path, Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// refusedTurn is a block of a request, to be told as the model's turn.
func refusedTurn(m *Message, events bool) Refusal {
	r := blocked(m.Format)
	r.Message, r.Asked, r.Model, r.Events = refusedText, m.Asked, m.Model, events
	r.Stamp = Stamp{ID: "6f1d2c3b4a59687786950413", At: time.Unix(1764000000, 123e6)}
	return r
}

// TestTurns says a refusal in the form of each API and compares it with the
// golden files. What was said is read as the model's words and nothing else.
// UPDATE_GOLDEN=1 writes the files anew.
func TestTurns(t *testing.T) {
	for _, tt := range asking {
		t.Run(tt.name, func(t *testing.T) {
			m := asked(t, tt.path, tt.body)
			if !m.Asked.Answerable() {
				t.Fatal("no turn answers it")
			}
			kind, body := Render(refusedTurn(m, tt.events))
			if kind != tt.kind {
				t.Errorf("content type %q", kind)
			}
			golden := filepath.Join("testdata", "turns", tt.name)
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, body, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(body, want) {
				t.Errorf("got  %q\nwant %q", body, want)
			}
			for _, request := range []*Message{m, nil} {
				read, err := Read(Input{Leg: ResponseLeg, Path: tt.path, ContentType: kind, Body: body, Request: request}, testLimits)
				if err != nil {
					t.Fatal(err)
				}
				turns := slices.DeleteFunc(slices.Clone(read.Turns), func(turn Turn) bool { return turn.Joined || saysRefusal(&turn) })
				if n := len(read.Turns) - len(turns); n != tt.turns || len(turns) > 0 {
					t.Errorf("%d times said, and else %+v", n, turns)
				}
			}
		})
	}
}

// saysRefusal reports whether a turn is a model's, and says the refusal and nothing else.
func saysRefusal(turn *Turn) bool {
	return turn.Role == RoleAssistant && turn.Kind == KindText && strings.TrimSpace(turn.Text) == refusedText
}

// TestNoTurn holds requests that no model's turn answers.
func TestNoTurn(t *testing.T) {
	chat := `"model":"m","messages":[{"role":"user","content":"x"}]`
	for _, tt := range []struct{ path, body string }{
		{"/v1/embeddings", `{"model":"m","input":"x"}`},
		{"/v1/moderations", `{"input":"x"}`},
		{"/v1/images/generations", `{"prompt":"x"}`},
		{"/v1/messages/count_tokens", `{` + chat + `}`},
		{"/v1/messages/batches", `{"requests":[{"custom_id":"a","params":{` + chat + `}}]}`},
		{"/v1/threads", `{"messages":[{"role":"user","content":"x"}]}`},
		{"/v1/threads/t/messages", `{"role":"user","content":"x"}`},
		{"/v1/threads/t/runs", `{"assistant_id":"a","instructions":"x"}`},
		{"/v1/responses/input_tokens", `{"model":"m","input":"x","instructions":"y"}`},
		{"/v1/responses/compact", `{"model":"m","input":"x","instructions":"y"}`},
		{"/v1/completions", `{"model":"m","prompt":"def f(","suffix":"return x"}`},
		{"/api/generate", `{"model":"m","prompt":"def f(","suffix":"return x"}`},
		{"/api/embed", `{"model":"m","input":"x"}`},
		{"/v1beta/models/m:countTokens", `{"contents":[{"parts":[{"text":"x"}]}]}`},
		{"/v1beta/models/m:embedContent", `{"content":{"parts":[{"text":"x"}]}}`},
		{"/v1/models/m:predict", `{"instances":[{"prompt":"x"}]}`},
		{"/model/m/invoke", `{"inputText":"x"}`},
		{"/v2/embed", `{"texts":["x"]}`},
		{"/v1/rerank", `{"query":"x","documents":["y"]}`},
		{"/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"b":"x"}}}`},
		{"/tell", `{"question":"x"}`},
		{"/paint", `{"prompt":"x","model":"m"}`},
		{"/v1/chat/completions", `[{` + chat + `}]`},
	} {
		if m := asked(t, tt.path, tt.body); m.Asked.Answerable() {
			t.Errorf("%s %s: %+v", tt.path, tt.body, m.Asked)
		}
	}
	var none *Asked
	if none.Answerable() || NewTold(nil) != nil {
		t.Error("nothing was asked for")
	}
}

// TestAskedChoices bounds what a request can make us write.
func TestAskedChoices(t *testing.T) {
	for n, want := range map[string]int{"1": 1, "2": 2, "128": 128, "129": 128, "0": 1, "-3": 1, "1e9": 1, "99999999": 1, "null": 1, `"7"`: 1} {
		m := asked(t, "/v1/chat/completions", `{"model":"m","n":`+n+`,"messages":[{"role":"user","content":"x"}]}`)
		if m.Asked.Choices != want {
			t.Errorf("n %s: %d choices", n, m.Asked.Choices)
		}
	}
	m := asked(t, "/v1/completions", `{"model":"m","n":99,"prompt":["a b"`+strings.Repeat(`,"a b"`, 500)+`]}`)
	if m.Asked.Choices != maxChoices {
		t.Errorf("%d choices", m.Asked.Choices)
	}
}

// TestTurnQuotesNothing: of a request only what is no text comes back.
func TestTurnQuotesNothing(t *testing.T) {
	for _, tt := range []struct{ path, body string }{
		{"/v1/chat/completions", `{"model":"tell me the secret swordfish word now","messages":[{"role":"user","content":"swordfish"}]}`},
		{"/v1/responses", `{"model":"m","input":"swordfish","previous_response_id":"tell me the secret swordfish word"}`},
		{"/v1/messages", `{"model":"m","system":"swordfish","messages":[{"role":"user","content":"swordfish"}]}`},
	} {
		m := asked(t, tt.path, tt.body)
		if _, body := Render(refusedTurn(m, false)); bytes.Contains(body, []byte("swordfish")) {
			t.Errorf("%s", body)
		}
	}
}

func TestNewStamp(t *testing.T) {
	a, b := NewStamp(), NewStamp()
	if a.ID == b.ID || len(a.ID) != 24 || strings.Trim(a.ID, "0123456789abcdef") != "" || time.Since(a.At) < 0 {
		t.Errorf("%+v, %+v", a, b)
	}
}

// cutStreams are streams of the test data and the requests that ask for such.
// ends says after each unit what ends them then: words or an error.
var cutStreams = []struct{ path, body, stream, ends string }{
	{"/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`, "openai/answer-plain-stream.sse", "wwwwww"},
	{"/v1/responses", `{"model":"m","stream":true,"input":"x"}`, "responses/answer-items-stream.sse", "wwwwwwwwweeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"},
	{"/v1/responses", `{"model":"m","stream":true,"input":"x"}`, "responses/answer-plain-stream.sse", "wwwwwwwwwww"},
	{"/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`, "openai/answer-tools-stream.sse", "eeeeee"},
	{"/v1/completions", `{"model":"m","stream":true,"prompt":"x y"}`, "openai/answer-completions-stream.sse", "wwww"},
	{"/api/generate", `{"model":"m","prompt":"x"}`, "ollama/answer-generate-stream.ndjson", "www"},
	{"/v1/messages", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`, "anthropic/answer-stream.sse", "weeeewwwwwwweeeeeeeeeee"},
	{"/v1/messages", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`, "anthropic/answer-stream-plain.sse", "wwwwwwww"},
	{"/v1beta/models/m:streamGenerateContent", `{"contents":[{"parts":[{"text":"x"}]}]}`, "gemini/answer-stream.sse", "wwwe"},
	{"/model/m/converse-stream", `{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "bedrock/answer-converse.frames", "weeewwwweeeeee"},
	{"/model/m/invoke-with-response-stream", `{"anthropic_version":"v","messages":[{"role":"user","content":"x"}]}`, "bedrock/answer-invoke-anthropic.frames", "wwwwwww"},
	{"/v2/chat", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`, "cohere/answer-v2-stream.sse", "wwweeeeeeeeeeee"},
	{"/v1/chat", `{"message":"x","stream":true}`, "cohere/answer-v1-stream.ndjson", "wwwwwwee"},
	{"/api/chat", `{"model":"m","messages":[{"role":"user","content":"x"}]}`, "ollama/answer-chat-stream.ndjson", "wwwwee"},
}

// TestTurnsAreEnded ends streams after each of their units with a turn's last
// words: what went out and they are read as one answer, which says so. No block
// is begun twice or left open. Where a call has gone out, or a thought is not
// ended, it ends with an error.
func TestTurnsAreEnded(t *testing.T) {
	for _, tt := range cutStreams {
		t.Run(tt.stream, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "llm", tt.stream))
			if err != nil {
				t.Fatal(err)
			}
			framing := map[string]Framing{".sse": Events, ".ndjson": Lines, ".frames": Frames}[filepath.Ext(tt.stream)]
			m := asked(t, tt.path, tt.body)
			r := refusedTurn(m, true)
			r.Told = NewTold(m.Asked)
			from, ends := 0, ""
			for _, end := range unitEnds(t, framing, body) {
				r.Told.Note(framing, body[from:end])
				from = end
				ending := RenderEnding(r, framing, "resp_1")
				whole := slices.Concat(body[:end], ending)
				read, err := Read(Input{Leg: ResponseLeg, Path: tt.path, Body: whole, Request: m}, testLimits)
				if err != nil {
					t.Fatalf("after %d bytes: %v", end, err)
				}
				if bytes.Contains(ending, []byte("policy_violation")) {
					ends += "e"
					continue
				}
				ends += "w"
				if !slices.ContainsFunc(read.Turns, func(turn Turn) bool {
					return turn.Role == RoleAssistant && turn.Kind == KindText && strings.HasSuffix(turn.Text, refusedText)
				}) {
					t.Fatalf("after %d bytes, not said in: %s", end, dump(read))
				}
				checkBlocks(t, framing, whole)
			}
			if ends != tt.ends {
				t.Errorf("ends %s, not %s", ends, tt.ends)
			}
		})
	}
}

// checkBlocks holds the blocks of a stream to be begun once, in order, and ended.
func checkBlocks(t *testing.T, f Framing, stream []byte) {
	t.Helper()
	if f != Events {
		return
	}
	next, open, sequence := int64(0), int64(-1), int64(-1)
	for r := eventstream.NewReader(stream); r.Next(); {
		e := gjson.ParseBytes(r.Event().Data)
		if n := e.Get("sequence_number"); n.Exists() {
			if n.Int() <= sequence {
				t.Fatalf("event %d after %d", n.Int(), sequence)
			}
			sequence = n.Int()
		}
		index := e.Get("index").Int()
		switch e.Get("type").String() {
		case "content_block_start":
			if index != next || open >= 0 {
				t.Fatalf("block %d begins, not %d, while %d is open", index, next, open)
			}
			open, next = index, next+1
		case "content_block_stop":
			if index != open {
				t.Fatalf("block %d ends, not %d", index, open)
			}
			open = -1
		case "response.output_item.added":
			if got := e.Get("output_index").Int(); got != next {
				t.Fatalf("item %d, not %d", got, next)
			}
			next++
		case "message_stop":
			if open >= 0 {
				t.Fatalf("block %d was left open", open)
			}
		}
	}
}

// TestTurnThatCannotBeEnded: where it is not known how the stream stands it ends
// with an error, as any other.
func TestTurnThatCannotBeEnded(t *testing.T) {
	m := asked(t, "/v1/messages", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`)
	whole := asked(t, "/v1/messages", `{"model":"m","messages":[{"role":"user","content":"x"}]}`)
	event := func(data string) []byte { return []byte("data: " + data + "\n\n") }
	for name, tt := range map[string]struct {
		asked   *Asked
		told    *Told
		framing Framing
		units   []byte
	}{
		"nobody looked":              {m.Asked, nil, Events, nil},
		"another request's":          {m.Asked, NewTold(whole.Asked), Events, nil},
		"no stream was asked for":    {whole.Asked, NewTold(whole.Asked), Events, nil},
		"lines":                      {m.Asked, NewTold(m.Asked), Lines, nil},
		"not JSON":                   {m.Asked, NewTold(m.Asked), Events, event("{")},
		"a number of two":            {m.Asked, NewTold(m.Asked), Events, event(`{"type":"content_block_start","index":0,"index":1}`)},
		"a number that is none":      {m.Asked, NewTold(m.Asked), Events, event(`{"type":"content_block_start","index":-1}`)},
		"a number beyond any":        {m.Asked, NewTold(m.Asked), Events, event(`{"type":"content_block_start","index":99999999999}`)},
		"a number that is a decimal": {m.Asked, NewTold(m.Asked), Events, event(`{"type":"content_block_start","index":1.0}`)},
	} {
		tt.told.Note(tt.framing, tt.units)
		r := refusedTurn(m, false)
		r.Asked, r.Told = tt.asked, tt.told
		if got := RenderEnding(r, tt.framing, ""); !bytes.Contains(got, []byte("policy_violation")) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestTold: what looks like a call and is none does not keep a turn from being
// ended, and what is one does.
func TestTold(t *testing.T) {
	chat := asked(t, "/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`)
	for delta, want := range map[string]bool{
		`{"content":"fine","tool_calls":null,"function_call":null}`: true,
		`{"content":"fine","tool_calls":[]}`:                        true,
		`{"content":"call \"tool_calls\":[1] of type tool_use"}`:    true,
		`{"tool_calls":[{"index":0}]}`:                              false,
		`{"tool\u005fcalls":[{"index":0}]}`:                         false,
		`{"function_call":{"name":"a"}}`:                            false,
		`{"content":[{"type":"server_tool_use"}]}`:                  false,
		`{"item":{"type":"mcp_approval_request","name":"a"}}`:       false,
		`{"tool_call_delta":{"name":"a"}}`:                          false,
		`{"tool_call_delta":null}`:                                  true,
	} {
		told := NewTold(chat.Asked)
		told.Note(Events, []byte("data: {\"choices\":[{\"delta\":"+delta+"}]}\n\ndata: [DONE]\n\n"))
		if told.endable() != want {
			t.Errorf("%s: %+v", delta, told)
		}
	}
}

// FuzzTurn: whatever a stream has told and a refusal says, its last words are
// whole units of the stream and say it.
func FuzzTurn(f *testing.F) {
	for i := range cutStreams {
		if body, err := os.ReadFile(filepath.Join("..", "..", "testdata", "llm", cutStreams[i].stream)); err == nil {
			f.Add(uint8(i), body, "No.\n\ndata: x", "resp_1")
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, told []byte, message, id string) {
		tt := cutStreams[int(which)%len(cutStreams)]
		m := asked(t, tt.path, tt.body)
		r := refusedTurn(m, true)
		r.Message, r.Told = message, NewTold(m.Asked)
		framing := r.framing()
		r.Told.Note(framing, told)
		ending := RenderEnding(r, framing, id)
		if len(ending) == 0 || len(ending) > 8192+20*len(message) {
			t.Fatalf("%d bytes", len(ending))
		}
		if !r.Told.endable() || !utf8.ValidString(message) || strings.TrimSpace(message) == "" {
			return
		}
		read, err := Read(Input{Leg: ResponseLeg, Path: tt.path, Body: ending, Request: m, ContentType: map[Framing]string{Frames: framesType}[framing]}, testLimits)
		if err != nil {
			t.Fatalf("%v: %q", err, ending)
		}
		if !slices.ContainsFunc(read.Turns, func(turn Turn) bool { return strings.HasSuffix(turn.Text, message) }) {
			t.Fatalf("not said: %s", dump(read))
		}
	})
}
