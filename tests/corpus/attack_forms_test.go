// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"net/url"
	"strings"
)

const (
	form      = "application/x-www-form-urlencoded"
	multipart = "multipart/form-data; boundary=xYzZY"
)

// parts writes a multipart body: each part is its header lines, an empty line
// and its content.
func parts(all ...string) string {
	var b strings.Builder
	for _, p := range all {
		head, body, _ := strings.Cut(p, "\n\n")
		b.WriteString("--xYzZY\r\n" + strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body + "\r\n")
	}
	b.WriteString("--xYzZY--\r\n")
	return b.String()
}

// attackForms hide the marker in forms.
func attackForms() []testcase {
	const path = "/v1/audio/transcriptions"
	file := "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\nContent-Type: audio/wav\n\nRIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\xff\xfe\x00\x01"
	l := &list{class: "forms"}
	l.ask("value", "model=whisper-1&prompt=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form)
	l.ask("percent escapes", "model=whisper-1&prompt=$PERCENT").to(path).typed(form)
	l.ask("name", "model=whisper-1&$PERCENT=1").to(path).typed(form)
	l.ask("unknown field", "model=whisper-1&x=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form)
	l.ask("model", "model=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form)
	l.ask("second of two", "prompt=hi&prompt=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form)
	l.ask("JSON in a value", `input=%7B%22a%22%3A%22$PERCENT%22%7D`).to(path).typed(form)
	l.ask("chat in a value", `messages=%5B%7B%22role%22%3A%22user%22%2C%22content%22%3A%22`+url.QueryEscape(escape(marker))+`%22%7D%5D`).typed(form)
	l.ask("semicolons", "a=1;prompt=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form).must(malformed)
	l.ask("bad escape", "a=%zz&prompt=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form).must(malformed)
	l.ask("not UTF-8", "a=%ff%fe&prompt=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form).must(malformed)
	l.ask("charset field", "_charset_=utf-16&prompt=the+grey+heron+hides+seven+copper+lanterns").to(path).typed(form).must(unscannable)
	l.ask("JSON under a form's type", `{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`).typed(form)
	l.ask("JSON with percent escapes under a form's type", `{"model":"m","messages":[{"role":"user","content":"$PERCENT"}]}`).typed(form)
	l.ask("JSON and a form in one", `{"a":"&prompt=the+grey+heron+hides+seven+copper+lanterns&b="}`).typed(form)
	l.ask("plus signs in JSON under a form's type", `{"model":"m","messages":[{"role":"user","content":"the+grey+heron+hides+seven+copper+lanterns"}]}`).typed(form)
	l.ask("1,001 fields", strings.Repeat("a=1&", 1001)+"prompt=$PERCENT").to(path).typed(form).must(tooLarge)
	cases := l.cases

	l = &list{class: "multipart"}
	part := func(name string, all ...string) *testcase {
		return l.ask(name, parts(all...)).to(path).typed(multipart)
	}
	part("field", "Content-Disposition: form-data; name=\"prompt\"\n\n$MARK", file)
	part("unknown field", "Content-Disposition: form-data; name=\"x\"\n\n$MARK")
	part("name of a field", "Content-Disposition: form-data; name=\"$MARK\"\n\nx")
	part("name of a file", "Content-Disposition: form-data; name=\"file\"; filename=\"$MARK\"\nContent-Type: audio/wav\n\nRIFF$\x00\x00\x00WAVEfmt \xff\xfe")
	part("extra header", "Content-Disposition: form-data; name=\"a\"\nX-Note: $MARK\n\nx")
	part("text file", "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\nContent-Type: text/plain\n\n$MARK")
	part("text that says it is audio", "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\nContent-Type: audio/wav\n\n$MARK")
	part("JSON file", "Content-Disposition: form-data; name=\"file\"; filename=\"a.json\"\nContent-Type: application/json\n\n{\"messages\":[{\"role\":\"user\",\"content\":\"$ESCAPED\"}]}")
	part("JSON file with a name twice", "Content-Disposition: form-data; name=\"file\"; filename=\"a.json\"\nContent-Type: application/json\n\n{\"a\":\"$MARK\",\"a\":1}").must(malformed)
	part("batch file", "Content-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\n\n{\"body\":{\"messages\":[]}}\n{\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"$ESCAPED\"}]}}")
	part("base64 file", "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\nContent-Transfer-Encoding: base64\n\n$BASE64").must(unscannable)
	part("UTF-16 file", "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\nContent-Type: text/plain; charset=utf-16\n\n"+utf16LE(marker)).must(unscannable)
	part("UTF-16 file that says nothing of it", "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\nContent-Type: text/plain\n\n\xff\xfe"+utf16LE(marker))
	part("UTF-16 file without a type", "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\n\n\xff\xfe"+utf16LE(marker))
	part("Latin 1 file", "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\nContent-Type: text/plain\n\ncaf\xe9 $MARK")
	part("Latin 1 as octets", "Content-Disposition: form-data; name=\"file\"; filename=\"a\"\nContent-Type: application/octet-stream\n\ncaf\xe9 $MARK")
	part("unknown charset", "Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\nContent-Type: text/plain\n\n"+noise(300)).must(unscannable)
	part("chat in a field", "Content-Disposition: form-data; name=\"messages\"\n\n[{\"role\":\"user\",\"content\":\"$ESCAPED\"}]")
	part("JSON file that only lenient parsers take", "Content-Disposition: form-data; name=\"file\"; filename=\"a.json\"\nContent-Type: application/json\n\n{\"a\":\"$ESCAPED\",}")
	part("JSON file with a byte order mark", "Content-Disposition: form-data; name=\"file\"; filename=\"a.json\"\n\n\xef\xbb\xbf{\"a\":\"$ESCAPED\"}")
	part("two names", "Content-Disposition: form-data; name=\"prompt\"; name=\"x\"\n\n$MARK").must(malformed)
	part("name in quotes with an escape", "Content-Disposition: form-data; name=\"pro\\\"mpt\"\n\n$MARK").must(malformed)
	part("multipart in multipart", "Content-Disposition: form-data; name=\"a\"\nContent-Type: multipart/mixed; boundary=inner\n\n--inner\r\nContent-Type: text/plain\r\n\r\n$MARK\r\n--inner--\r\n")
	l.ask("text before the first boundary", "$MARK\r\n"+parts(file)).to(path).typed(multipart).must(malformed)
	l.ask("text after the last boundary", parts(file)+"$MARK\r\n").to(path).typed(multipart).must(malformed)
	l.ask("no boundary in the label", parts("Content-Disposition: form-data; name=\"prompt\"\n\n$MARK")).to(path).typed("multipart/form-data").must(malformed)
	l.ask("another boundary in the label", parts("Content-Disposition: form-data; name=\"prompt\"\n\n$MARK")).to(path).typed("multipart/form-data; boundary=other").must(malformed)
	l.ask("two boundaries in the label", parts("Content-Disposition: form-data; name=\"prompt\"\n\n$MARK")).to(path).typed(multipart + "; boundary=b").must(malformed)
	l.ask("line feeds alone", strings.ReplaceAll(parts("Content-Disposition: form-data; name=\"prompt\"\n\n$MARK"), "\r\n", "\n")).to(path).typed(multipart).must(malformed)
	l.ask("no last boundary", strings.TrimSuffix(parts("Content-Disposition: form-data; name=\"prompt\"\n\n$MARK"), "--xYzZY--\r\n")).to(path).typed(multipart).must(malformed)
	l.ask("JSON under multipart's type", `{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`).typed(multipart).must(malformed)
	return append(cases, l.cases...)
}
