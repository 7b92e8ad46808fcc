// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"encoding/base64"
	"strings"
)

// The phrase of ordinary words as old charsets and careless writers put it.

// strewn puts what behind every n bytes of s.
func strewn(s, what string, n int) string {
	var b strings.Builder
	for i := range len(s) {
		if b.WriteByte(s[i]); i%n == n-1 {
			b.WriteString(what)
		}
	}
	return b.String()
}

// cyrillic is a sentence that no scan of these tests could object to, in
// windows-1251: it has to be refused, since nobody could read it.
const cyrillic = "\xd1\xe5\xf0\xe0\xff \xf6\xe0\xef\xeb\xff \xef\xf0\xff\xf7\xe5\xf2 \xf1\xe5\xec\xfc \xec\xe5\xe4\xed\xfb\xf5 \xf4\xee\xed\xe0\xf0\xe5\xe9"

// kana is one in Shift JIS.
const kana = "\x83n\x83C\x83C\x83\x8d\x83m\x83T\x83M\x83n\x83t\x83\x8b\x83C\x83T\x83\x93\x83o\x83V\x83m\x83V\x83^\x83j"

// named is the marker fit for a model's name, an id and the value of an enum,
// which a scan that takes it for structure does not see.
const named = `{"a":"$MARK"}`

// attackFiles hide the marker in files and in bytes that are no UTF-8.
func attackFiles() []testcase {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	l := &list{class: "files"}
	part := func(name, head, content string) *testcase {
		return l.ask(name, parts("Content-Disposition: form-data; name=\"file\"; "+head+"\n\n"+content)).to("/v1/files").typed(multipart)
	}
	inline := func(name, kind, content string) *testcase {
		return l.ask(name, `{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a","file_data":"data:`+kind+`;base64,`+b64(spell.Replace(content))+`"}}]}]}`)
	}

	for _, f := range []struct{ name, content string }{
		{"a chat", `{"model":"m","messages":[{"role":"$MARK","content":"hi"}]}`},
		{"an answer", `{"object":"chat.completion","choices":[],"system_fingerprint":"$ESCAPED"}`},
		{"a call", `{"jsonrpc":"2.0","id":1,"method":"$ESCAPED"}`},
		{"lines", `{"a":1}` + "\n" + named},
		{"lines with escapes", `{"a":1}` + "\n" + `{"model":"$ESCAPED"}`},
		{"events", "event: x\ndata: " + `{"choices":[],"model":"$ESCAPED"}` + "\n\n"},
		{"a broken line", `{"a":1}` + "\n" + `{"model":"$ESCAPED"`},
	} {
		part("form, "+f.name, `filename="a.json"`+"\nContent-Type: application/json", f.content)
		part("form without a type, "+f.name, `filename="a"`, f.content)
		inline("inline, "+f.name, "application/json", f.content)
		inline("inline octets, "+f.name, "application/octet-stream", f.content)
	}
	l.ask("a part that is no file", parts("Content-Disposition: form-data; name=\"request\"\nContent-Type: application/json\n\n"+`{"model":"m","tool_choice":"$ESCAPED"}`)).to("/v1/images/edits").typed(multipart)
	purpose := "Content-Disposition: form-data; name=\"purpose\"\n\nbatch"
	batch := func(name, file string) *testcase {
		return l.ask(name, parts(purpose, "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\n\n"+file)).to("/v1/files").typed(multipart)
	}
	batch("batch, a message", `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"$ESCAPED"}]}}`)
	batch("batch, an id", `{"custom_id":"$MARK","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}`)
	batch("batch, a method", `{"custom_id":"1","method":"$MARK","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}`)
	batch("batch, a url", `{"custom_id":"1","method":"POST","url":"/v1/$MARK","body":{"model":"m","messages":[]}}`)
	batch("batch, another name", `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]},"x":"$MARK"}`)
	batch("batch, an example", `{"messages":[{"role":"assistant","content":"$MARK"}]}`)
	batch("batch, no batch", `{"model":"m","type":"$MARK"}`)
	cases := l.cases

	l = &list{class: "bytes that are no UTF-8"}
	for _, kind := range []string{"application/octet-stream", "text/x-python", "application/x-python-code", "application/javascript", ""} {
		label := or(kind, "nothing")
		typed := ""
		if kind != "" {
			typed = "\nContent-Type: " + kind
		}
		textual := kind != "" && kind != "application/octet-stream"
		for _, f := range []struct {
			name, content, want string
		}{
			{"bad bytes", strewn(marker, "\xff", 4), blocked},
			{"bad bytes in words", strewn(marker, "\xe9", 6), blocked},
			{"many bad bytes", strewn(marker, "\xff\xfe", 2), unscannable},
			{"behind a tag's magic", "ID3 " + marker + " \xff", blocked},
			{"behind a picture's magic", "GIF89a\xff " + marker, blocked},
			{"behind a photograph's magic", "\xff\xd8\xff " + marker, blocked},
			{"behind an archive's magic", "PK\x03\x04\xff " + marker, blocked},
			{"windows-1251", cyrillic, unscannable},
			{"windows-1251 in a long text", strings.Repeat("An ordinary line.\n", 30) + cyrillic, unscannable},
			{"windows-1251 behind a tag's magic", "ID3" + cyrillic, unscannable},
			{"Shift JIS", kana, unscannable},
			{"UTF-16", utf16LE(marker), blocked},
			{"UTF-16 big-endian with a mark", "\xfe\xff" + utf16BE(marker), blocked},
		} {
			part("form, "+f.name+" as "+label, `filename="a"`+typed, f.content).must(f.want)
			body := l.ask("body, "+f.name+" as "+label, f.content).to("/v1/ingest").typed(kind).must(f.want)
			if textual || kind == "" {
				body.must(unscannable)
			}
			l.say("answer, "+f.name+" as "+label, f.content).typed(kind).must(body.want)
			if kind != "" {
				l.ask("inline, "+f.name+" as "+label, `{"contents":[{"parts":[{"inlineData":{"mimeType":"`+kind+`","data":"`+b64(f.content)+`"}}]}]}`).to(geminiPath).must(f.want)
			}
		}
	}
	return append(cases, l.cases...)
}

// attackBrokenStreams hide the marker where a stream ends in a bare error, and
// in answers that begin as JSON hardly does.
func attackBrokenStreams() []testcase {
	const event = `{"choices":[{"index":0,"delta":{"content":"At"}}]}`
	const failure = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"$ESCAPED\"\n  }\n}\n"
	l := &list{class: "answer: broken streams, brackets"}
	stream := func(name, tail string) {
		c := l.stream(name, event)
		c.answer.body += spell.Replace(tail)
	}
	stream("bare error", failure)
	stream("bare error on one line", `{"error":{"message":"$ESCAPED"}}`)
	stream("bare error and more", failure+"\n"+sse(event))
	stream("bare text", "upstream failed: $MARK")
	stream("bare HTML", "<html>\n<p>$MARK</p>\n</html>")
	stream("bare object without an end", "{\n  \"error\": \"$ESCAPED\"\n")
	l.say("array with an error behind it", `[{"candidates":[]}]`+"\n"+`{"error":{"message":"$ESCAPED"}}`)
	l.say("open array with an error", `[{"candidates":[]}`+"\n,"+`{"error":{"message":"$ESCAPED"}}`)
	l.say("lines with an error", `{"message":{"role":"assistant","content":"At"},"done":false}`+"\n"+failure).typed("application/x-ndjson")
	for _, head := range []string{"[00:00.000 --> 00:04.000] ", "[12:01] Alice: ", "[1] ", "{name} ", "{{", "[-1 V] ", "[\"x\"] "} {
		l.say("text behind "+head, head+"$MARK").typed("text/plain")
		l.say("escapes behind "+head, head+"$ESCAPED").typed("text/plain")
	}
	return l.cases
}
