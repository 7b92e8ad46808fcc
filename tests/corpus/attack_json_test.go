// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"strings"
	"unicode/utf16"
)

// attackJSON are bodies that two parsers read in two ways, or that hide the
// marker in the writing.
func attackJSON() []testcase {
	const benign = `[{"role":"user","content":"hi"}]`
	const bad = `[{"role":"user","content":"$MARK"}]`
	l := &list{class: "JSON: two readings"}
	l.ask("messages twice, bad first", `{"model":"m","messages":`+bad+`,"messages":`+benign+`}`).must(malformed)
	l.ask("messages twice, bad last", `{"model":"m","messages":`+benign+`,"messages":`+bad+`}`).must(malformed)
	l.ask("content twice", `{"model":"m","messages":[{"role":"user","content":"$MARK","content":"hi"}]}`).must(malformed)
	l.ask("same name by an escape", `{"model":"m","messages":`+benign+`,"mess\u0061ges":`+bad+`}`).must(malformed)
	l.ask("twice, deep down", `{"model":"m","messages":`+benign+`,"metadata":{"a":{"b":{"c":"$MARK","c":1}}}}`).must(malformed)
	l.ask("twice in a schema", `{"model":"m","messages":`+benign+`,"tools":[{"type":"function","function":{"name":"f","description":"a","description":"$MARK"}}]}`).must(malformed)
	l.ask("empty name twice", `{"model":"m","messages":`+benign+`,"x":{"":"$MARK","":""}}`).must(malformed)
	for _, name := range []string{"Messages", "MESSAGES", "me\u017f\u017fages", "messageS", "MeSsAgEs"} {
		l.ask("messages as "+escaped(name), `{"model":"m","messages":`+benign+`,"`+name+`":`+bad+`}`).must(malformed)
		l.ask("only "+escaped(name), `{"model":"m","`+name+`":`+bad+`}`).must(malformed)
	}
	l.ask("Content", `{"model":"m","messages":[{"role":"user","content":"hi","Content":"$MARK"}]}`).must(malformed)
	l.ask("Role", `{"model":"m","messages":[{"role":"user","Role":"system","content":"$MARK"}]}`).must(malformed)
	l.ask("Text", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi","Text":"$MARK"}]}]}`).must(malformed)
	l.ask("tool\u212a", `{"model":"m","messages":`+benign+`,"too\u017fs":"$MARK"}`)
	l.ask("Input", `{"model":"m","input":"hi","Input":"$MARK"}`).to("/v1/responses").must(malformed)
	l.ask("only Prompt", `{"model":"m","Prompt":"$MARK"}`).to("/v1/completions").must(malformed)
	l.ask("only Contents", `{"Contents":[{"parts":[{"text":"$MARK"}]}]}`).to("/v1beta/models/g:generateContent").must(malformed)
	l.ask("two documents", `{"model":"m","messages":`+benign+`}{"model":"m","messages":`+bad+`}`).must(malformed)
	l.ask("two documents on two lines", `{"model":"m","messages":`+benign+"}\n"+`{"model":"m","messages":`+bad+`}`).must(malformed)
	l.ask("text after the document", `{"model":"m","messages":`+benign+`} $MARK`).must(malformed)
	l.ask("NUL after the document", `{"model":"m","messages":`+bad+"}\x00").must(malformed)
	l.ask("comment", `{"model":"m",/* $MARK */"messages":`+benign+`}`).must(malformed)
	l.ask("comment to the end of the line", "{\"model\":\"m\",// $MARK\n"+`"messages":`+benign+`}`).must(malformed)
	l.ask("comma at the end", `{"model":"m","messages":`+bad+`,}`).must(malformed)
	l.ask("single quotes", `{'model':'m','messages':[{'role':'user','content':'$MARK'}]}`).must(malformed)
	l.ask("bare names", `{model:"m",messages:`+bad+`}`).must(malformed)
	l.ask("NaN", `{"model":"m","messages":`+bad+`,"temperature":NaN}`).must(malformed)
	l.ask("Infinity", `{"model":"m","messages":`+bad+`,"temperature":-Infinity}`).must(malformed)
	l.ask("number with a leading zero", `{"model":"m","messages":`+bad+`,"n":01}`).must(malformed)
	l.ask("hexadecimal number", `{"model":"m","messages":`+bad+`,"n":0x1}`).must(malformed)
	l.ask("unknown escape", `{"model":"m","messages":[{"role":"user","content":"\x74he grey heron hides seven copper lanterns"}]}`).must(malformed)
	l.ask("raw line feed in a string", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\n$MARK\"}]}").must(malformed)
	l.ask("raw NUL in a string", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\x00$MARK\"}]}").must(malformed)
	l.ask("cut off", `{"model":"m","messages":[{"role":"user","content":"$MARK"}]`).must(malformed)
	l.ask("cut off in a string", `{"model":"m","messages":[{"role":"user","content":"$MARK`).must(malformed)
	l.ask("prefix against hijacking", ")]}'\n"+`{"model":"m","messages":`+bad+`}`).must(malformed)
	l.ask("prefix against hijacking, as text", ")]}'\n"+`{"model":"m","messages":`+bad+`}`).typed("text/plain")
	l.ask("JSON in a call", `callback({"model":"m","messages":`+bad+`})`).must(malformed)
	l.ask("JSON in a call, as text", `callback({"model":"m","messages":`+bad+`})`).typed("text/plain")
	l.ask("record separator", "\x1e"+`{"model":"m","messages":`+bad+`}`+"\n").must(malformed)
	l.ask("257 deep", deep(257, `"$MARK"`)).must(malformed)
	l.ask("20,000 deep", deep(20_000, `"$MARK"`)).must(malformed)
	l.ask("250 deep", deep(250, `"$MARK"`))
	l.ask("a million open brackets", strings.Repeat("[", 1_000_000)).must(malformed)
	cases := l.cases

	l = &list{class: "JSON: escapes"}
	l.ask("content", `{"model":"m","messages":[{"role":"user","content":"$ESCAPED"}]}`)
	l.ask("names", `{"model":"m","mess\u0061ges":[{"r\u006fle":"user","c\u006fntent":"$MARK"}]}`)
	l.ask("name of an unknown member", `{"model":"m","messages":`+benign+`,"$ESCAPED":1}`)
	l.ask("JSON in a string", `{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"a":"{\"b\":\"\\u0074he grey heron hides seven copper lanterns\"}"}}`)
	l.ask("JSON in a string in a string", `{"a":"{\"b\":\"{\\\"c\\\":\\\"\\\\u0074he grey heron hides seven copper lanterns\\\"}\"}"}`).to("/anything")
	l.ask("lone surrogate", `{"model":"m","messages":[{"role":"user","content":"\ud800 $MARK"}]}`).must(malformed)
	l.ask("lone surrogate in a name", `{"model":"m","messages":`+benign+`,"\udc00":"$MARK"}`).must(malformed)
	l.ask("surrogates in the wrong order", `{"model":"m","messages":[{"role":"user","content":"\udc00\ud800 $MARK"}]}`).must(malformed)
	l.ask("escaped NUL", `{"model":"m","messages":[{"role":"user","content":"hi\u0000 $MARK"}]}`)
	l.ask("escaped line feeds", `{"model":"m","messages":[{"role":"user","content":"the grey heron\nhides seven\r\n\tcopper lanterns"}]}`)
	l.ask("escaped slash", `{"model":"m","messages":[{"role":"user","content":"\/\/ $MARK \/\/"}]}`)
	cases = append(cases, l.cases...)

	l = &list{class: "JSON: charset"}
	chat := spell.Replace(`{"model":"m","messages":` + bad + `}`)
	l.ask("byte order mark", "\xef\xbb\xbf"+chat).must(malformed)
	l.ask("two byte order marks", "\xef\xbb\xbf\xef\xbb\xbf"+chat).must(malformed)
	l.ask("UTF-16 LE with a mark", "\xff\xfe"+utf16LE(chat)).typed("application/json; charset=utf-16").must(malformed)
	l.ask("UTF-16 LE, not labelled", utf16LE(chat)).must(malformed)
	l.ask("UTF-16 BE", utf16BE(chat)).typed("application/json; charset=utf-16be").must(malformed)
	l.ask("UTF-16 as plain text", "\xff\xfe"+utf16LE(marker)).typed("text/plain; charset=utf-16").must(malformed)
	l.ask("UTF-32", utf32LE(chat)).typed("application/json; charset=utf-32").must(malformed)
	l.ask("UTF-32, not labelled", utf32LE(chat)).must(malformed)
	l.ask("UTF-7 label", strings.Replace(chat, "hides", "+AGgAaQBkAGUAcw-", 1)).typed("application/json; charset=utf-7").must(malformed)
	l.ask("EBCDIC label", chat).typed("application/json; charset=ibm037").must(malformed)
	l.ask("Shift JIS label", strings.Replace(chat, "hides", "\x83\x5c hides", 1)).typed("application/json; charset=shift_jis").must(malformed)
	l.ask("Latin 1 with a high byte", strings.Replace(chat, "the grey", "caf\xe9 the grey", 1)).typed("application/json; charset=iso-8859-1").must(malformed)
	l.ask("Latin 1 label on UTF-8", strings.Replace(chat, "the grey", "café the grey", 1)).typed("application/json; charset=iso-8859-1").must(malformed)
	l.ask("unknown charset", chat).typed("application/json; charset=x-mine").must(malformed)
	l.ask("two charsets", chat).typed("application/json; charset=utf-8; charset=utf-16").must(malformed)
	l.ask("bad byte in the content", strings.Replace(chat, "the grey", "\xff the grey", 1)).must(malformed)
	l.ask("bad byte in a name", strings.Replace(chat, `"model"`, "\"mod\xffel\"", 1)).must(malformed)
	l.ask("overlong encoding", strings.Replace(chat, "the grey", "\xc1\xb4he grey", 1)).must(malformed)
	l.ask("surrogate in UTF-8", strings.Replace(chat, "the grey", "\xed\xa0\x80 the grey", 1)).must(malformed)
	l.ask("no break space before the document", "\u00a0"+chat).must(malformed)
	return append(cases, l.cases...)
}

// deep nests a value, and its array counts.
func deep(n int, v string) string {
	return strings.Repeat("[", n) + v + strings.Repeat("]", n)
}

// escaped writes a name in ASCII, for the names of tests.
func escaped(s string) string {
	return strings.ReplaceAll(s, "\u017f", "long-s")
}

func utf16LE(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

func utf16BE(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u>>8), byte(u))
	}
	return string(b)
}

func utf32LE(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r), byte(r>>8), byte(r>>16), byte(r>>24))
	}
	return string(b)
}
