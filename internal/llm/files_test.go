// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/base64"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
)

// inlinePlaces are the places where a body can hold a file's bytes.
var inlinePlaces = map[string]struct {
	leg  Leg
	path string
	body string // with $B64 for the bytes, $TYPE for their type
}{
	"data URL of OpenAI":     {RequestLeg, "", `{"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"$NAME","file_data":"data:$TYPE;base64,$B64"}}]}]}`},
	"file data of OpenAI":    {RequestLeg, "", `{"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"$NAME","file_data":"$B64"}}]}]}`},
	"input file":             {RequestLeg, "/v1/responses", `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","filename":"$NAME","file_data":"data:$TYPE;base64,$B64"}]}]}`},
	"Gemini's inline data":   {RequestLeg, "", `{"contents":[{"parts":[{"inlineData":{"mimeType":"$TYPE","data":"$B64"}}]}]}`},
	"Anthropic's document":   {RequestLeg, "", `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"$TYPE","data":"$B64"}}]}]}`},
	"Bedrock's document":     {RequestLeg, "", `{"messages":[{"role":"user","content":[{"document":{"format":"txt","name":"a","source":{"bytes":"$B64"}}}]}]}`},
	"Ollama's images":        {RequestLeg, "/api/chat", `{"model":"m","messages":[{"role":"user","content":"hi","images":["$B64"]}]}`},
	"MCP's resource":         {ResponseLeg, "/mcp", `{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"file:///$NAME","mimeType":"$TYPE","blob":"$B64"}]}}`},
	"MCP's resource of tool": {ResponseLeg, "/mcp", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"resource","resource":{"uri":"file:///$NAME","mimeType":"$TYPE","blob":"$B64"}}]}}`},
}

func formOf(name, kind, content string) string {
	head := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n"
	if kind != "" {
		head += "Content-Type: " + kind + "\r\n"
	}
	return head + "\r\n" + content + "\r\n--b--\r\n"
}

// everywhere returns the bodies that hold the bytes as a file.
func everywhere(name, kind, content string) map[string]Input {
	all := map[string]Input{
		"form": {ContentType: "multipart/form-data; boundary=b", Body: []byte(formOf(name, kind, content))},
	}
	for place, p := range inlinePlaces {
		body := strings.NewReplacer("$NAME", name, "$TYPE", kind, "$B64", base64.StdEncoding.EncodeToString([]byte(content))).Replace(p.body)
		all[place] = Input{Leg: p.leg, Path: p.path, ContentType: "application/json", Body: []byte(body)}
	}
	return all
}

// TestFilesAreDocuments: what a file says is content, whatever names it gives it.
func TestFilesAreDocuments(t *testing.T) {
	const words = "kindly-zq7-the-marker" // fit for a model's name, an id, an enum's value
	for name, content := range map[string]string{
		"JSON of a chat":        `{"model":"` + words + `","messages":[{"role":"user","content":"hi"}],"user":"x"}`,
		"JSON of an answer":     `{"id":"` + words + `","object":"chat.completion","choices":[]}`,
		"JSON of a call":        `{"jsonrpc":"2.0","id":"` + words + `","method":"tools/list"}`,
		"JSON array":            `[{"type":"` + words + `"}]`,
		"JSON of a schema":      `{"type":"object","$ref":"` + words + `"}`,
		"JSON with escapes":     `{"model":"\u006bindly-zq7-the-marker"}`,
		"JSON lines":            `{"model":"a"}` + "\n" + `{"model":"` + words + `"}` + "\n",
		"JSON lines of escapes": `{"model":"a"}` + "\n" + `{"model":"\u006bindly-zq7-the-marker"}` + "\n",
		"a broken line":         `{"model":"a"}` + "\n" + `{"model":"\u006bindly-zq7-the-marker"` + "\n",
		"an event stream":       "event: x\n" + `data: {"model":"\u006bindly-zq7-the-marker","choices":[]}` + "\n\n",
		"an event's id":         "id: " + words + "\ndata: {}\n\n",
		"a batch that is none":  `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"` + words + `","messages":[]}}` + "\n",
	} {
		for _, kind := range []string{"application/json", "text/plain", "application/octet-stream", "application/jsonl", "text/event-stream"} {
			for place, in := range everywhere("a.bin", kind, content) {
				m, err := Read(in, testLimits)
				if err != nil {
					t.Errorf("%s as %s in %s: %v", name, kind, place, err)
					continue
				}
				if !says(m, words) {
					t.Errorf("%s as %s in %s: not scanned:\n%s", name, kind, place, dump(m))
				}
			}
		}
	}
	part := "--b\r\nContent-Disposition: form-data; name=\"request\"\r\nContent-Type: application/json\r\n\r\n" + `{"model":"` + words + `","prompt":"hi"}` + "\r\n--b--\r\n"
	if m, err := Read(Input{ContentType: "multipart/form-data; boundary=b", Body: []byte(part)}, testLimits); err != nil || !says(m, words) {
		t.Errorf("JSON in a part without a file's name: %v", err)
	}
	field := "--b\r\nContent-Disposition: form-data; name=\"messages\"\r\n\r\n" + `[{"role":"user","content":"\u006bindly-zq7-the-marker"}]` + "\r\n--b--\r\n"
	if m, err := Read(Input{ContentType: "multipart/form-data; boundary=b", Body: []byte(field)}, testLimits); err != nil || !says(m, words) {
		t.Errorf("JSON in a field: %v", err)
	}
}

func says(m *Message, words string) bool {
	for _, t := range m.Turns {
		if strings.Contains(t.Text, words) {
			return true
		}
	}
	return false
}

// TestBatchFiles: an upload for a batch, line by line of a known shape, is read
// as the requests that it is; anything else about it makes it a document.
func TestBatchFiles(t *testing.T) {
	const model = "kindly-zq7-the-marker"
	body := `{"model":"` + model + `","messages":[{"role":"user","content":"When?"}]}`
	line := `{"custom_id":"request-1","method":"POST","url":"/v1/chat/completions","body":` + body + `}`
	upload := func(purpose, file string) []byte {
		return []byte("--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n" + purpose + "\r\n" + formOf("a.jsonl", "application/jsonl", file))
	}
	for _, tt := range []struct {
		name, path, purpose, file string
		structure                 bool
	}{
		{"batch", "/v1/files", "batch", line + "\n" + line + "\n", true},
		{"batch of one line", "/v1/files", "batch", line, true},
		{"examples", "/v1/files", "fine-tune", `{"messages":[{"role":"user","content":"When?"}],"tools":[]}` + "\n", true},
		{"another path", "/v1/ingest", "batch", line, false},
		{"another purpose", "/v1/files", "assistants", line, false},
		{"another line", "/v1/files", "batch", line + "\n" + `{"model":"m"}`, false},
		{"another name", "/v1/files", "batch", strings.Replace(line, `{"custom_id"`, `{"note":"x","custom_id"`, 1), false},
		{"a chat as it is", "/v1/files", "batch", body, false},
		{"a broken line", "/v1/files", "batch", line + "\n" + line[:40], false},
	} {
		m, err := Read(Input{Path: tt.path, ContentType: "multipart/form-data; boundary=b", Body: upload(tt.purpose, tt.file)}, testLimits)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		documents := 0
		for _, turn := range m.Turns {
			if turn.Kind == KindDocument {
				documents++
			}
		}
		if tt.structure != (documents == 0) || tt.structure == (strings.Contains(tt.file, model) && says(m, model)) || !says(m, "When?") || m.Format != Form || m.Chat {
			t.Errorf("%s:\n%s", tt.name, dump(m))
		}
	}
	// What stands around the request has to have its shape.
	odd := `{"custom_id":"kindly zq7 the marker","method":"POST","url":"/v1/chat/completions","body":{"messages":[]}}`
	if m, err := Read(Input{Path: "/v1/files", ContentType: "multipart/form-data; boundary=b", Body: upload("batch", odd)}, testLimits); err != nil || !says(m, "kindly zq7 the marker") {
		t.Errorf("a sentence as an id: %v", err)
	}
}

// TestBytesThatMayBeTextAreNoMedia: whatever the label, the name and the first
// bytes say.
func TestBytesThatMayBeTextAreNoMedia(t *testing.T) {
	russian, err := charmap.Windows1251.NewEncoder().String("Серая цапля прячет семь медных фонарей под старым причалом.")
	if err != nil {
		t.Fatal(err)
	}
	kana, err := japanese.ShiftJIS.NewEncoder().String("灰色のサギは古い桟橋の下に七つの銅のランタンを隠している。")
	if err != nil {
		t.Fatal(err)
	}
	bad := marker
	for i := len(bad) - 3; i > 0; i -= 3 {
		bad = bad[:i] + "\xff" + bad[i:]
	}
	for name, content := range map[string]string{
		"Russian": russian, "Japanese": kana, "bad bytes": bad, "bad bytes behind a tag": "ID3" + bad, "behind a tag": "ID3 \xff" + marker,
		"behind a picture's magic": "\xff\xd8\xff" + marker, "Russian behind an archive's": "PK\x03\x04" + russian, "control characters": strings.Join(strings.Split(marker, ""), "\x01"),
	} {
		for _, kind := range []string{"", "application/octet-stream", "text/x-python", "application/x-python-code", "application/javascript", "image/png", "text/plain", "audio/mpeg"} {
			for _, file := range []string{"a.bin", "a.py", "a"} {
				for place, in := range everywhere(file, kind, content) {
					check(t, name+" as "+kind+" in "+place, in)
				}
				for _, leg := range []Leg{RequestLeg, ResponseLeg} {
					check(t, name+" as "+kind+", a body", Input{Leg: leg, ContentType: kind, Body: []byte(content)})
				}
			}
		}
	}
}

func check(t *testing.T, name string, in Input) {
	t.Helper()
	m, err := Read(in, testLimits)
	var e *Error
	if err != nil && errors.As(err, &e) || err == nil && scanned(m) {
		return
	}
	t.Errorf("%s: %v\n%s", name, err, dump(m))
}

// TestTextFilesAreNeverMedia: a label or a name of text on a picture or on
// noise is refused, where the same bytes pass under their own.
func TestTextFilesAreNeverMedia(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
	for _, tt := range []struct {
		name, kind string
		refused    bool
	}{
		{"a.png", "image/png", false},
		{"a", "application/octet-stream", false},
		{"a.bin", "", false},
		{"a.txt", "image/png", true},
		{"a.PY", "application/octet-stream", true},
		{"a.csv", "", true},
		{"a.png", "text/plain", true},
		{"a", "application/javascript", true},
		{"a", "application/json", true},
	} {
		in := Input{ContentType: "multipart/form-data; boundary=b", Body: []byte(formOf(tt.name, tt.kind, png))}
		m, err := Read(in, testLimits)
		if (err != nil) != tt.refused || err == nil && len(m.Media) != 1 {
			t.Errorf("%s, %s: %v", tt.name, tt.kind, err)
		}
	}
}

// TestAnswersThatBeginWithABracket are text, unless they are JSON.
func TestAnswersThatBeginWithABracket(t *testing.T) {
	for _, head := range []string{
		"[00:00.000 --> 00:04.000] ", "[12:01] Alice: ", "[1] ", "[1], [2]: ", "[2025-10-09 12:00] ", "[-1.5 V] ", "[INFO] ", "[] ", "[\"quoted\"] ", "{{template}} ", "{name} ",
		"{not json} ", "{ x } ", "[{x}] ", "[[wiki]] ", "{", "[", "{}: ", "[1, 2, ... ",
	} {
		for _, kind := range []string{"text/plain", "text/plain; charset=utf-8", "text/vtt", ""} {
			for _, body := range []string{head + marker, head + `\u004bindly zq7 the marker`, head + "\n\n" + marker + "\n"} {
				m, err := Read(Input{Leg: ResponseLeg, ContentType: kind, Body: []byte(body)}, testLimits)
				if err != nil || !scanned(m) {
					t.Errorf("%q as %q: %v", body, kind, err)
				}
			}
		}
		stream := "data: " + head + marker + "\n\ndata: [DONE]\n\n"
		if m, err := Read(Input{Leg: ResponseLeg, ContentType: "text/event-stream", Body: []byte(stream)}, testLimits); err != nil || !scanned(m) {
			t.Errorf("%q in a stream: %v", head, err)
		}
	}
	for _, body := range []string{"[00:00.000 --> 00:04.000] " + marker, "[12:01] Alice: " + marker} {
		if m, err := Read(Input{ContentType: "text/plain", Body: []byte(body)}, testLimits); err != nil || !scanned(m) {
			t.Errorf("%q in a request: %v", body, err)
		}
	}
	for _, body := range []string{"[1,2", "[1] x", "[1 , x", "[{'a':1}]", "{a:1}", "{\"a\":1,}", "[1/*x*/]"} {
		if _, err := Read(Input{ContentType: "text/plain", Body: []byte(body)}, testLimits); err == nil && body != "[1/*x*/]" {
			t.Errorf("a request of %q is text", body)
		}
	}
	for _, body := range []string{`{"a":1,"a":2}`, `{"a":"x"} and more`, "{/*x*/\"a\":1}", `[{"a":1},]`} {
		if _, err := Read(Input{Leg: ResponseLeg, ContentType: "text/plain", Body: []byte(body)}, testLimits); err == nil && !strings.HasPrefix(body, `{"a":1,"a"`) {
			t.Errorf("an answer of %q is text", body)
		}
	}
}

// TestStreamsThatEndInABareError: an upstream's error outside the framing is
// scanned like all that the client gets.
func TestStreamsThatEndInABareError(t *testing.T) {
	const (
		event  = `{"candidates":[{"content":{"parts":[{"text":"At"}],"role":"model"}}]}`
		pretty = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"\\u004bindly zq7 the marker\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n"
		line   = `{"error":{"message":"\u004bindly zq7 the marker","type":"server_error","code":500}}`
	)
	sse, nd := "data: "+event+"\n\n", `{"message":{"role":"assistant","content":"At"},"done":false}`+"\n"
	for name, tt := range map[string]struct{ kind, body string }{
		"events":                        {"text/event-stream", sse + pretty},
		"events, CRLF":                  {"text/event-stream", strings.ReplaceAll(sse+pretty, "\n", "\r\n")},
		"events, one line":              {"text/event-stream", sse + line + "\n"},
		"events, next to the data":      {"text/event-stream", "data: " + event + "\n" + pretty},
		"events, in the middle":         {"text/event-stream", sse + pretty + "\n" + sse},
		"events, an array":              {"text/event-stream", sse + "[" + pretty + "]\n"},
		"the whole body":                {"text/event-stream", pretty},
		"events, text":                  {"text/event-stream", sse + "upstream error: " + marker},
		"events, HTML":                  {"text/event-stream", sse + "<html>\n<body>" + marker + "</body>\n</html>"},
		"events, broken":                {"text/event-stream", sse + "{\n \"note\": \"\\u004bindly zq7 the marker\"\n"},
		"events, a mark without a name": {"text/event-stream", sse + "[DONE]\n" + line},
		"lines":                         {"application/x-ndjson", nd + line},
		"lines, pretty":                 {"application/x-ndjson", nd + nd + pretty},
		"an array":                      {"application/json", "[" + event + "\n,\r\n" + event + "]\n" + pretty},
		"an open array":                 {"application/json", "[" + event + "\n,\r\n" + pretty},
		"an open array without a comma": {"application/json", "[" + event + "\n" + line},
		"one behind the other":          {"application/json", event + line},
	} {
		m, err := Read(Input{Leg: ResponseLeg, ContentType: tt.kind, Body: []byte(tt.body)}, testLimits)
		if err != nil || !scanned(m) {
			t.Errorf("%s: %v\n%s", name, err, dump(m))
		}
	}
	twice := sse + "{\n  \"error\": {\n \"message\": \"a\",\n \"message\": \"b\"\n}\n}\n"
	if m, err := Read(Input{Leg: ResponseLeg, ContentType: "text/event-stream", Body: []byte(twice)}, testLimits); err == nil && (!says(m, "a") || !says(m, "b")) {
		t.Error("a name twice in a bare error: one is not scanned")
	}
}

// FuzzFiles reads any bytes as a file and as a body, under any label: they are
// read or refused, and plain lines in front of them are scanned.
func FuzzFiles(f *testing.F) {
	f.Add("a.txt", "text/plain", []byte("caf\xe9"))
	f.Add("a", "application/octet-stream", []byte("ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x00"))
	f.Add("a.jsonl", "application/jsonl", []byte("{\"a\":1}\n{\"b\":\"\\u0041\"}\n"))
	f.Add("a", "text/event-stream", []byte("data: {}\n\n{\n\"error\": {}\n}\n"))
	f.Add("a", "application/json", []byte("[{}\n,{\"error\":{}}"))
	f.Fuzz(func(t *testing.T, name, kind string, content []byte) {
		inputs := map[string]Input{"request": {ContentType: kind, Body: content}, "answer": {Leg: ResponseLeg, ContentType: kind, Body: content}}
		if len(content) > 0 {
			b64 := base64.StdEncoding.EncodeToString(append([]byte(strings.Repeat(marker+"\n", 3)), content...))
			inputs["inline"] = Input{ContentType: "application/json", Body: []byte(`{"contents":[{"parts":[{"inlineData":{"mimeType":"a/b","data":"` + b64 + `"}}]}]}`)}
		}
		for place, in := range inputs {
			m, err := Read(in, testLimits)
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("%s: error of type %T", place, err)
			}
			if err == nil && place == "inline" && !scanned(m) {
				t.Fatalf("lines before %q is not scanned:\n%s", content, dump(m))
			}
		}
	})
}

// TestFilesTakeLinearWork: ten times the bytes allocate about ten times as much,
// whatever the file is made of.
func TestFilesTakeLinearWork(t *testing.T) {
	repeated := func(s string) func(int) string {
		return func(n int) string { return strings.Repeat(s, n/len(s)) }
	}
	for name, tt := range map[string]struct {
		leg  Leg
		kind string
		make func(int) string
	}{
		"braces on lines":        {ResponseLeg, "text/event-stream", func(n int) string { return "data: {}\n\n" + strings.Repeat("{\n", n/2) }},
		"braces in events":       {ResponseLeg, "text/event-stream", func(n int) string { return "data: {}\n\n" + strings.Repeat("{\n{\n\n", n/5) }},
		"open objects, an error": {ResponseLeg, "text/plain", func(n int) string { return strings.Repeat(`{"a":[`, n/6) + `{"error":1}` }},
		"errors on end":          {ResponseLeg, "text/plain", repeated(`{"error":1}`)},
		"pictures on end":        {RequestLeg, "application/octet-stream", repeated("GIF89a\x01\x00\x01\x00\x00\x00\x00;")},
		"archives on end":        {RequestLeg, "application/octet-stream", repeated("PK\x05\x06" + strings.Repeat("\x00", 18))},
		"bad bytes":              {RequestLeg, "application/octet-stream", repeated("the grey her\xffon")},
		"bad bytes on lines":     {RequestLeg, "application/octet-stream", repeated("a\xe9b\n")},
		"phrases in noise":       {RequestLeg, "application/octet-stream", repeated("a sentence of some words \x00\x01\x02\x03\xff\xfe\x80\x81\x99\x05\x9b\xc1\x03\x07\x08\x0f\x10\xfd\xfc\x1f\x1e\x0e\xfb\x02")},
	} {
		read := func(n int) (allocated uint64) {
			in := Input{Leg: tt.leg, ContentType: tt.kind, Body: []byte(tt.make(n))}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, _ = Read(in, testLimits)
			runtime.ReadMemStats(&after)
			t.Logf("%s, %d: %v, %d bytes", name, n, time.Since(start), after.TotalAlloc-before.TotalAlloc)
			return after.TotalAlloc - before.TotalAlloc
		}
		if small, large := read(100<<10), read(1<<20); large > 12*small+1<<20 {
			t.Errorf("%s: %d bytes for 100 KB, %d for 1 MB", name, small, large)
		}
	}
}
