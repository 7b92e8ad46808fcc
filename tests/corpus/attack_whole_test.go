// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"encoding/base64"

	"golang.org/x/text/encoding/charmap"
)

// attackWhole cut the marker where a reader has it whole.
func attackWhole() []testcase {
	l := &list{class: "pieces that readers have whole"}
	// A stream of plain text, with pieces that are JSON by chance.
	l.stream("a blank between words of plain text", marker[:14], " ", marker[15:])
	l.stream("a blank between JSON strings and words of plain text", "so:", `true`, marker[:14], " ", marker[15:])
	l.stream("a line of plain text cut by an event's lines", "data: $HEAD\ndata: $TAIL")

	chunk := func(text string) string {
		return base64.StdEncoding.EncodeToString([]byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + text + `"}}`))
	}
	for _, more := range []string{`,"x":1`, `,"p":"some more words"`} {
		c := l.say("an invoke chunk with "+more, "").over("/model/anthropic.claude-3/invoke-with-response-stream", question.body).typed("application/vnd.amazon.eventstream")
		c.answer.body = frames([2]string{"chunk", `{"bytes":"` + chunk(marker[:12]) + `"` + more + `}`}, [2]string{"chunk", `{"bytes":"` + chunk(marker[12:]) + `"` + more + `}`})
	}
	delta := func(s string) string { return `{"choices":[{"index":0,"delta":{"content":"` + s + `"}}]}` }
	l.stream("an event that is JSON by lines and as a whole", delta("$HEAD"), "data: [\ndata: "+delta("$TAIL")+"\ndata: ]")
	l.stream("a delta that says it is a thought", delta("$HEAD"), `{"choices":[{"index":0,"delta":{"content":"$TAIL","thought":true}}]}`)
	l.stream("a choice with an output_index", delta("$HEAD"), `{"choices":[{"index":0,"output_index":2,"delta":{"content":"$TAIL"}}]}`)
	piece := func(s string) string { return `{"candidates":[{"content":{"parts":[{"text":"` + s + `"}]}}]}` }
	for _, first := range []string{`{}`, `null`, `{"usageMetadata":{}}`} {
		l.say("Gemini's array that begins with "+first, `[`+first+`,`+piece("$HEAD")+`,`+piece("$TAIL")+`]`)
	}
	l.say("JSON lines behind a line of text", "x\n"+`{"message":{"content":"$HEAD"}}`+"\n"+`{"message":{"content":"$TAIL"}}`+"\n").typed("application/x-ndjson")

	for _, part := range []string{`{"type":"text","text":"$TAIL","thought":true}`, `{"type":"reasoning_text","text":"$TAIL"}`, `{"type":"tool_result","text":"$TAIL"}`, `{"type":"text","text":"$TAIL","tool_call_id":"b"}`} {
		l.ask("a part like "+part, `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"$HEAD"},`+part+`]}]}`)
	}
	l.ask("a batch of messages", `{"requests":[{"custom_id":"a","params":{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}]}]}}]}`).to("/v1/messages/batches")
	const chat = `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}]}]}`
	l.ask("a refusal behind a text", `{"model":"m","messages":[{"role":"assistant","content":[{"type":"text","text":"$HEAD"},{"type":"refusal","refusal":"$TAIL"}]}]}`)
	for i, mark := range []string{"\xfe\xff", "\xff\xfe"} {
		l.ask("UTF-8 behind UTF-16's mark, "+[]string{"big", "little"}[i]+" end first", mark+"Well, "+marker+", as ever.").typed("application/octet-stream")
	}
	for _, front := range []string{"\f", "\u00a0", "\x00", "/* a */", "// a\n", "# a\n"} {
		l.ask("JSON behind "+escape(front), front+chat).typed("text/plain").must(malformed)
	}

	old, err := charmap.Windows1251.NewEncoder().String("Серая цапля прячет семь медных фонарей под мостом, и никто об этом не знает.")
	if err != nil {
		panic(err)
	}
	for _, head := range []string{"\x93NUMPY", ".snd\x00\x00", "\x00asm\x01\x00\x00\x00", "8BPS\x00\x01\x00\x00"} {
		l.ask("Cyrillic behind "+head[1:4], head+old).typed("application/octet-stream").must(unscannable)
	}
	return l.cases
}
