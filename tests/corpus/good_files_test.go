// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"
)

// sound is speech of 16 bits a sample without a header, as services of speech
// take it.
func sound() string {
	var b []byte
	for i := range 30_000 {
		x := float64(i)
		b = binary.LittleEndian.AppendUint16(b, uint16(int16(6000*math.Sin(x/9)*math.Sin(x/700))))
	}
	return string(b)
}

// goodFiles is what people upload.
func goodFiles() []testcase {
	l := &list{class: "good: files"}
	const ok = `{"id":"file-1","object":"file","bytes":1,"created_at":1760000000,"filename":"a","purpose":"user_data","status":"processed"}`
	floats := noise(4000)
	for i := 3; i < len(floats); i += 4 {
		floats = floats[:i] + "\x3c" + floats[i+1:]
	}
	for _, f := range []struct{ name, kind, content string }{
		{"a.png", "image/png", png},
		{"a.wav", "audio/wav", wav},
		{"a.pcm", "application/octet-stream", sound()},
		{"a.bin", "application/octet-stream", noise(5000)},
		{"weights.bin", "application/octet-stream", floats},
		{"a.zip", "application/zip", zipped("a.txt", strings.Repeat("ferry ", 100))},
		{"a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", zipped("word/document.xml", "<w/>")},
		{"a.gz", "application/gzip", string(gzipped([]byte(strings.Repeat("ferry ", 100))))},
		{"a.mp3", "audio/mpeg", "ID3\x04\x00\x00\x00\x00\x00\x00" + strings.Repeat("\xff\xfb\x90\x00"+noise(413), 5)},
		{"a.m4a", "audio/mp4", "\x00\x00\x00\x14ftypM4A \x00\x00\x00\x00isom\x00\x00\x10\x08mdat" + noise(4096)},
		{"a.webm", "video/webm", "\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webmB\x87\x81\x04B\x85\x81\x02" + noise(2000)},
		{"a.xls", "application/vnd.ms-excel", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + strings.Repeat("\x00", 16) + "\x3e\x00\x03\x00\xfe\xff\x09\x00" + strings.Repeat("\xff", 1500) + noise(500)},
		{"a.parquet", "application/octet-stream", "PAR1" + noise(3000) + "\x20\x00\x00\x00PAR1"},
		{"a.safetensors", "application/octet-stream", "\x40\x00\x00\x00\x00\x00\x00\x00{\"w\":{\"dtype\":\"F32\",\"shape\":[1000],\"data_offsets\":[0,4000]}}    " + floats},
		{"a.txt", "text/plain", "caf\xe9 au lait, pi\xe8ce de r\xe9sistance, na\xefve\n"},
		{"a.csv", "text/csv", "pier,time\nN\xf6rd,12:00\n"},
		{"a.json", "application/json", `{"model":"gpt-4o","messages":[{"role":"user","content":"When?"}]}`},
		{"a.jsonl", "application/jsonl", `{"a":1}` + "\n" + `{"b":2}` + "\n"},
	} {
		body := parts("Content-Disposition: form-data; name=\"purpose\"\n\nuser_data", "Content-Disposition: form-data; name=\"file\"; filename=\""+f.name+"\"\nContent-Type: "+f.kind+"\n\n"+f.content)
		l.pass("upload of "+f.name+", "+f.kind, "/v1/files", body, ok).typed(multipart)
		if !strings.HasPrefix(f.kind, "text/") {
			l.pass("inline "+f.name+", "+f.kind, geminiPath, `{"contents":[{"role":"user","parts":[{"text":"What is it?"},{"inlineData":{"mimeType":"`+f.kind+`","data":"`+base64.StdEncoding.EncodeToString([]byte(f.content))+`"}}]}]}`, `{"candidates":[{"content":{"parts":[{"text":"A ferry."}],"role":"model"},"finishReason":"STOP"}]}`)
		}
	}
	l.pass("batch", "/v1/files", parts("Content-Disposition: form-data; name=\"purpose\"\n\nbatch", "Content-Disposition: form-data; name=\"file\"; filename=\"batch.jsonl\"\nContent-Type: application/jsonl\n\n"+
		strings.Repeat(`{"custom_id":"request-1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-4o-mini","messages":[{"role":"user","content":"When does the ferry leave?"}],"max_tokens":100}}`+"\n", 3)), ok).typed(multipart)
	l.pass("raw sound of 16 bits", "/v1/listen", sound(), `{"text":"ferry"}`).typed("audio/l16; rate=16000")
	l.pass("raw sound as octets", "/v1/listen", sound(), `{"text":"ferry"}`).typed("application/octet-stream")

	l2 := &list{class: "good: plain answers, broken streams"}
	for _, a := range []string{
		"[00:00.000 --> 00:04.000] Hello, the ferry leaves at noon.\n[00:04.000 --> 00:07.500] Be there.\n", "[12:01] Alice: hi\n[12:02] Bob: hello\n", "[INFO] started\n",
		"[1] The timetable of 2025.\n[2] The map of the piers.\n", "[1], [2] and [3] agree.", "{{name}}, your ferry leaves.", "{not json}", "[-40 C] it is cold", "[2025-10-09] Closed.", "[]", "[x] done\n[ ] open\n",
	} {
		c := l2.pass("plain: "+a[:min(len(a), 20)], "/v1/audio/transcriptions", "model=whisper-1&response_format=text", a).typed(form)
		c.answer.header = []string{"Content-Type: text/plain; charset=utf-8"}
		l2.passStream("stream of "+a[:min(len(a), 20)], "/v1/audio/transcriptions", "model=whisper-1", strings.Split(strings.TrimSuffix(a, "\n"), "\n")[0], "[DONE]").typed(form)
	}
	blank := l2.pass("180 KB of blank lines in gzip", chatPath, question.body, "")
	blank.answer.body = string(gzipped([]byte(strings.Repeat("\n", 180<<10) + completion.body)))
	blank.answer.header = []string{"Content-Type: application/json", "Content-Encoding: gzip"}
	blank = l2.pass("a megabyte of blank lines in br", chatPath, question.body, "")
	blank.answer.body = string(brotlied([]byte(strings.Repeat(" \n", 500<<10) + completion.body)))
	blank.answer.header = []string{"Content-Type: application/json", "Content-Encoding: br"}
	const failure = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"The model is overloaded. Please try again later.\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n"
	event := `{"candidates":[{"content":{"parts":[{"text":"At"}],"role":"model"},"index":0}],"modelVersion":"gemini-2.0-flash"}`
	const path = "/v1beta/models/gemini-2.0-flash:streamGenerateContent"
	tail := func(name, tail string) {
		c := l2.passStream(name, path+"?alt=sse", askGemini, event)
		c.answer.body += tail
	}
	tail("gemini that ends in a bare error", failure)
	tail("gemini that ends in a bare error, CRLF", strings.ReplaceAll(failure, "\n", "\r\n"))
	tail("gemini that ends in a bare error in an array", "[{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"Overloaded.\"\n  }\n}\n]\n")
	tail("a bare error on one line", `{"error":{"message":"Overloaded.","type":"server_error","code":503}}`+"\n\n")
	tail("a bare line of text", "upstream connect error or disconnect/reset before headers\n")
	tail("a page of a proxy", "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n</body>\r\n</html>\r\n")
	whole := l2.passStream("a bare error is all", path+"?alt=sse", askGemini)
	whole.answer.body = failure
	array := func(name, body string) {
		c := l2.pass(name, path, askGemini, body)
		c.answer.header = []string{"Content-Type: application/json; charset=UTF-8"}
	}
	array("gemini's array that holds an error", "["+event+"\n,\r\n"+failure+"]\n")
	array("gemini's array that is broken off by an error", "["+event+"\n,\r\n"+failure)
	array("gemini's array with an error behind it", "["+event+"]\n"+failure)
	lines := l2.pass("ollama that ends in an error", "/api/chat", `{"model":"llama3.2","messages":[{"role":"user","content":"When?"}]}`, `{"model":"llama3.2","message":{"role":"assistant","content":"At"},"done":false}`+"\n"+`{"error":"an error was encountered while running the model: unexpected EOF"}`+"\n")
	lines.answer.header = []string{"Content-Type: application/x-ndjson"}
	return append(l.cases, l2.cases...)
}
