// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"fmt"
	"strings"
)

// attackReadings are answers with a name twice, or with halves of surrogate
// pairs, that say the marker to some of the clients.
func attackReadings() []testcase {
	l := &list{class: "answer: two readings"}
	for _, twice := range []struct{ name, first, second string }{
		{"first", "$MARK", "ok"},
		{"second", "ok", "$MARK"},
	} {
		a, b := twice.first, twice.second
		message := func(s string) string { return `{"role":"assistant","content":"` + s + `"}` }
		choices := func(s string) string { return `[{"index":0,"message":` + message(s) + `}]` }
		l.say("content twice, "+twice.name, `{"choices":[{"index":0,"message":{"role":"assistant","content":"`+a+`","content":"`+b+`"}}]}`)
		l.say("reasoning twice, "+twice.name, `{"choices":[{"index":0,"message":{"role":"assistant","reasoning_content":"`+a+`","content":"ok","reasoning_content":"`+b+`"}}]}`)
		l.say("message twice, "+twice.name, `{"choices":[{"index":0,"message":`+message(a)+`,"message":`+message(b)+`}]}`)
		l.say("choices twice, "+twice.name, `{"choices":`+choices(a)+`,"choices":`+choices(b)+`}`)
		l.say("by an escape, "+twice.name, `{"choices":[{"index":0,"message":{"role":"assistant","content":"`+a+`","c\u006fntent":"`+b+`"}}]}`)
		l.say("role twice, "+twice.name, `{"choices":[{"index":0,"message":{"role":"`+a+`","role":"`+b+`","content":"ok"}}]}`)
		l.say("id twice, "+twice.name, `{"id":"`+a+`","id":"`+b+`","choices":`+choices("ok")+`}`)
		l.say("finish reason twice, "+twice.name, `{"choices":[{"index":0,"finish_reason":"`+a+`","message":`+message("ok")+`,"finish_reason":"`+b+`"}]}`)
		l.say("index twice, "+twice.name, `{"choices":[{"index":"`+a+`","index":"`+b+`","message":`+message("ok")+`}]}`)
		l.say("tool twice, "+twice.name, `{"choices":[{"index":0,"message":{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","name":"g","arguments":"{\"q\":\"`+a+`\"}","arguments":"{\"q\":\"`+b+`\"}"}}]}}]}`)
		l.say("tool's name twice, "+twice.name, `{"choices":[{"index":0,"message":{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"`+a+`","name":"`+b+`","arguments":"{}"}}]}}]}`)
		l.say("type twice, "+twice.name, `{"content":[{"type":"thinking","type":"text","text":"`+a+`","thinking":"ok","text":"`+b+`"}],"role":"assistant"}`)
		l.say("usage twice, "+twice.name, `{"choices":`+choices("ok")+`,"usage":{"note":"`+a+`"},"usage":{"note":"`+b+`"}}`)
		l.say("unknown name twice, "+twice.name, `{"choices":`+choices("ok")+`,"x_note":"`+a+`","x_note":"`+b+`"}`)
		l.say("root of a text twice, "+twice.name, `{"response":"`+a+`","response":"`+b+`","done":true}`)
		l.say("result twice, "+twice.name, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"`+a+`"}]},"result":{"content":[{"type":"text","text":"`+b+`"}]}}`)
		l.say("structured result twice, "+twice.name, `{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"a":"`+a+`","a":"`+b+`"}}}`)
		l.say("a version of JSON-RPC twice, "+twice.name, `{"jsonrpc":"`+a+`","jsonrpc":"2.0","id":1,"result":"`+b+`"}`)
	}
	l.say("in the second of three", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok","content":"$MARK","content":"fine"}}]}`)
	l.say("in the first of the second", `{"a":{"b":"ok","b":"ok"},"a":{"b":"$MARK","b":"ok"}}`)
	l.say("a name twice", `{"choices":[],"$MARK":1,"$MARK":2}`)
	l.say("in one message with one copy each", `{"choices":[{"index":0,"message":{"content":"$MARK"},"message":{"role":"assistant"}}]}`)
	l.say("names that are one when halves are replaced", `{"choices":[],"x":{"\ud800":"$MARK","\udc00":"ok"}}`)
	l.say("a half before", `{"choices":[{"message":{"content":"\ud83d $MARK"}}]}`)
	l.say("a half in a name", `{"choices":[],"\ud83d $MARK":1}`)
	l.say("a half in arguments", `{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\"q\":\"$MARK \ud83d\"}"}}]}}]}`)
	l.say("a half in MCP", `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\ude00 $MARK"}]}}`)
	l.say("a name twice, a bad byte", "{\"choices\":[{\"message\":{\"content\":\"$MARK\",\"content\":\"\xff\"}}]}").must(malformed)
	l.say("a name twice, cut off", `{"choices":[{"message":{"content":"ok","content":"$MARK"}}]`).must(malformed)
	l.say("a name twice, text behind", `{"choices":[{"message":{"content":"ok","content":"ok"}}]} $MARK`).must(malformed)
	cases := l.cases

	l = &list{class: "stream: two readings"}
	delta := func(members string) string { return `{"choices":[{"index":0,"delta":{` + members + `}}]}` }
	pair := func(name, a, b string) string { return fmt.Sprintf(`"%s":"%s","%s":"%s"`, name, a, name, b) }
	l.stream("the same twice", delta(pair("reasoning_content", "$HEAD", "$HEAD")), delta(pair("reasoning_content", "$TAIL", "$TAIL")))
	l.stream("in the first copies", delta(pair("content", "$HEAD", "so ")), delta(pair("content", "$TAIL", "it is")))
	l.stream("in the last copies", delta(pair("content", "so ", "$HEAD")), delta(pair("content", "it is", "$TAIL")))
	l.stream("a first copy and a single one", delta(pair("content", "$HEAD", "so ")), delta(`"content":"$TAIL"`))
	l.stream("a single one and a last copy", delta(`"content":"$HEAD"`), delta(pair("content", "so ", "$TAIL")))
	l.stream("a decoy for those who take the first", delta(`"content":"$HEAD"`), delta(pair("content", "xyz", "$TAIL")))
	l.stream("in the second of three", delta(`"content":"a",`+pair("content", "$HEAD", "so ")), delta(`"content":"a",`+pair("content", "$TAIL", "it is")))
	l.stream("deltas twice", `{"choices":[{"index":0,"delta":{"content":"so "},"delta":{"content":"$HEAD"}}]}`, delta(`"content":"$TAIL"`))
	l.stream("choices twice", `{"choices":[{"index":0,"delta":{"content":"$HEAD"}}],"choices":[{"index":0,"delta":{"content":"so "}}]}`, delta(`"content":"$TAIL"`))
	l.stream("deltas that become one", `{"choices":[{"index":0,"delta":{"content":"$HEAD"},"delta":{"role":"assistant"}}]}`, delta(pair("content", "so ", "$TAIL")))
	l.stream("index twice, last", `{"choices":[{"index":1,"index":0,"delta":{"content":"$HEAD"}}]}`, delta(`"content":"$TAIL"`))
	l.stream("index twice, first", `{"choices":[{"index":0,"index":1,"delta":{"content":"$HEAD"}}]}`, delta(`"content":"$TAIL"`))
	l.stream("arguments twice", delta(`"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f",`+pair("arguments", "{}", `{\"q\":\"$HEAD`)+`}}]`), delta(`"tool_calls":[{"index":0,"function":{`+pair("arguments", "", `$TAIL\"}`)+`}}]`))
	l.stream("type twice", `{"type":"content_block_delta","type":"ping","index":0,"delta":{"type":"text_delta","text":"$HEAD"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$TAIL"}}`)
	l.stream("an unknown name twice", `{"choices":[],"x_note":"$HEAD","x_note":"so "}`, `{"choices":[],"x_note":"$TAIL","x_note":"it is"}`)
	lines := l.say("JSON lines", `{"message":{"content":"so ","content":"$HEAD"}}`+"\n"+`{"message":{"content":"it is","content":"$TAIL"}}`+"\n").typed("application/x-ndjson")
	lines.request.path = "/api/chat"
	half := func(s string) string { return strings.Replace(s, " her", ` \ud83d`, 1) }
	l.stream("halves before and behind", delta(`"content":"\ud83d $HEAD"`), delta(`"content":"$TAIL \ude00"`))
	l.stream("halves of other texts", delta(`"content":"\ud83d"`), delta(`"reasoning":"\ude00$HEAD"`), delta(`"content":"\ude00"`), delta(`"reasoning":"$TAIL"`))
	l.stream("a half in a name", `{"choices":[],"`+half("the her")+`":"$HEAD"}`, `{"choices":[],"`+half("the her")+`":"$TAIL"}`)
	return append(cases, l.cases...)
}
