// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"fmt"
	"strings"
)

// attackThreads cut the marker in streams whose chunks say a text under several
// names, or under several roles.
func attackThreads() []testcase {
	l := &list{class: "stream: names and roles"}
	choice := func(members string) string { return `{"choices":[{"index":0,` + members + `}]}` }
	for _, pair := range [][2]string{
		{`"delta":{"reasoning":"%s","reasoning_content":"%s"}`, "reasoning beside reasoning_content"},
		{`"delta":{"reasoning_content":"%s","reasoning":"%s"}`, "reasoning_content beside reasoning"},
		{`"delta":{"reasoning":"%s","reasoning_details":[{"type":"reasoning.text","text":"%s"}]}`, "reasoning beside its details"},
		{`"delta":{"thinking":"%s","reasoning":"%s"}`, "thinking beside reasoning"},
		{`"text":"%s","delta":{"content":"%s"}`, "text beside the delta"},
		{`"message":{"content":"%s"},"delta":{"content":"%s"}`, "message beside the delta"},
		{`"delta":{"content":"%s","text":"%s"}`, "content beside text in the delta"},
		{`"delta":{"content":[{"text":"%s","content":"%s"}]}`, "content beside text in a part"},
		{`"delta":{"tool_calls":[{"index":0,"function":{"arguments":"%s","input":"%s"}}]}`, "arguments beside input"},
	} {
		event := func(a, b string) string { return choice(fmt.Sprintf(pair[0], a, b)) }
		l.stream(pair[1]+", copies", event("$HEAD", "$HEAD"), event("$TAIL", "$TAIL"), "[DONE]")
		l.stream(pair[1]+", the first", event("$HEAD", "and "), event("$TAIL", "so "), "[DONE]")
		l.stream(pair[1]+", the second", event("and ", "$HEAD"), event("so ", "$TAIL"), "[DONE]")
	}
	delta := func(d string) string { return choice(`"delta":` + d) }
	l.stream("one name after the other", delta(`{"reasoning":"$HEAD"}`), delta(`{"reasoning_content":"$TAIL"}`))
	l.stream("one name after the other, then both", delta(`{"reasoning":"$HEAD"}`), delta(`{"reasoning_content":"$TAIL"}`), delta(`{"reasoning":"a","reasoning_content":"b"}`))
	l.stream("a name that is missing once", delta(`{"reasoning":"$HEAD","reasoning_content":"a"}`), delta(`{"reasoning_content":"$TAIL"}`), delta(`{"reasoning":"c","reasoning_content":"d"}`))
	l.stream("another name between", delta(`{"reasoning":"$HEAD"}`), delta(`{"reasoning_content":"a"}`), delta(`{"reasoning":"$TAIL"}`))
	l.stream("text beside delta.text at the root", `{"text":"and ","delta":{"text":"$HEAD"}}`, `{"text":"so ","delta":{"text":"$TAIL"}}`)
	l.stream("delta.text beside text at the root", `{"text":"$HEAD","delta":{"text":"and "}}`, `{"text":"$TAIL","delta":{"text":"so "}}`)
	l.stream("thinking beside text in a block", `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"$HEAD","text":"a"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"$TAIL","text":"b"}}`)
	l.stream("Ollama's message by changing roles", `{"message":{"role":"assistant","content":"$HEAD"},"done":false}`, `{"message":{"role":"tool","content":"$TAIL"},"done":false}`)
	l.stream("Gemini's parts by changing roles", `{"candidates":[{"content":{"role":"model","parts":[{"text":"$HEAD"}]}}]}`, `{"candidates":[{"content":{"role":"function","parts":[{"text":"$TAIL"}]}}]}`)
	l.stream("a message by changing roles", choice(`"message":{"role":"assistant","content":"$HEAD"}`), choice(`"message":{"role":"user","content":"$TAIL"}`))
	l.stream("a role that comes late", choice(`"message":{"content":"$HEAD"}`), choice(`"message":{"role":"tool","content":"$TAIL"}`))
	l.stream("a block's text by changing roles", `{"type":"content_block_delta","index":0,"delta":{"role":"user","type":"text_delta","text":"$HEAD"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$TAIL"}}`)
	cases := l.cases

	l = &list{class: "stream: more than is read"}
	l.stream("many values under a long name", `{"`+strings.Repeat("a", 30_000)+`":[`+strings.Repeat(`"x",`, 20_000)+`"$MARK"]}`).must(tooLarge)
	var events []string
	for i := range 17_000 {
		events = append(events, fmt.Sprintf(`{"choices":[{"index":%d,"text":"a"}]}`, i))
	}
	l.stream("many choices", append(events, `{"choices":[{"index":0,"text":"$MARK"}]}`)...).must(tooLarge)
	cases = append(cases, l.cases...)

	l = &list{class: "request: text like a stream"}
	for _, kind := range []string{"application/json", "text/plain", "text/event-stream", ""} {
		name := strings.TrimSpace(kind + " as label")
		l.ask(name, "data: {\"a\":\"$MARK\"}\n\n").typed(kind)
		l.ask(name+", escaped", "data: {\"a\":\"$ESCAPED\"}\n\n").typed(kind)
		l.ask(name+", under a long name", "data: {\""+strings.Repeat("a", 30_000)+"\":["+strings.Repeat(`"x",`, 10_000)+"\"$MARK\"]}\n\n").typed(kind)
	}
	l.ask("JSON before it", "{\"messages\":[{\"role\":\"user\",\"content\":\"$BASE64\"}]}\ndata: x\n\n").must(malformed)
	l.ask("JSON before it, as text", "{\"messages\":[{\"role\":\"user\",\"content\":\"$BASE64\"}]}\ndata: x\n\n").typed("text/plain").must(malformed)
	return append(cases, l.cases...)
}

// goodThreads say a text under two names, as servers do.
func goodThreads() []testcase {
	l := &list{class: "good: names of streams"}
	asked := strings.Replace(question.body, `"model"`, `"stream":true,"model"`, 1)
	both := func(s string) string {
		return `{"choices":[{"index":0,"delta":{"content":"","reasoning":"` + s + `","reasoning_content":"` + s + `"},"finish_reason":null}]}`
	}
	l.passStream("reasoning and reasoning_content", chatPath, asked, both("Tides "), both("are low"), both(" at noon."), "[DONE]")
	l.passStream("content in parts after content as text", chatPath, asked, `{"choices":[{"index":0,"delta":{"content":"At "}}]}`, `{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"noon."}]}}]}`, "[DONE]")
	l.pass("text like a stream", "/v1/ingest", "Notes on streams:\ndata: one\n\ndata: two\n", `{"ok":true}`).typed("text/plain")
	return l.cases
}
