// SPDX-License-Identifier: Apache-2.0

package corpus_test

// goodReadings are answers that parsers read each in its own way, as servers
// give them.
func goodReadings() []testcase {
	l := &list{class: "good: answers of careless servers"}
	const asks = `{"stream":true,"model":"m","messages":[{"role":"user","content":"When does the ferry leave?"}]}`
	say := func(name, answer string) { l.pass(name, chatPath, question.body, answer) }
	say("reasoning twice", `{"id":"chat-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","reasoning_content":"It is a ferry.","content":"Hourly.","reasoning_content":"It is a ferry.","tool_calls":[]},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`)
	say("content twice, one null", `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"content":"Hourly."},"finish_reason":"stop"}]}`)
	say("usage twice", `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hourly."}}],"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":1}}`)
	say("truncated in an emoji", `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hourly \ud83d"},"finish_reason":"length"}]}`)
	say("half an emoji in a name", `{"choices":[{"index":0,"message":{"role":"assistant","content":"Hourly","x_\ud83d":1}}]}`)
	l.passStream("reasoning twice in each delta", chatPath, asks,
		`{"id":"chat-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"It is ","content":null,"reasoning_content":"It is "},"finish_reason":null}]}`,
		`{"id":"chat-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":"a ferry.","content":null,"reasoning_content":"a ferry."},"finish_reason":null}]}`,
		`{"id":"chat-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Hourly."},"finish_reason":"stop"}]}`, "[DONE]")
	l.passStream("emoji cut in two", chatPath, asks,
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":"Hourly \ud83d"}}]}`, `{"choices":[{"index":0,"delta":{"content":"\udea2!"}}]}`, "[DONE]")
	l.passStream("emoji cut in two in arguments", chatPath, asks,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"post","arguments":"{\"text\":\"Hourly \ud83d"}}]}}]}`,
		`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\udea2\"}"}}]}}]}`, "[DONE]")
	l.passStream("emoji of which the second half never comes", "/v1/messages", `{"stream":true,"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hourly \ud83d"}}`, `{"type":"message_delta","delta":{"stop_reason":"max_tokens"}}`)
	lines := l.pass("JSON lines", "/api/chat", question.body, `{"model":"m","message":{"role":"assistant","content":"Hourly \ud83d"},"done":false}`+"\n"+`{"model":"m","message":{"role":"assistant","content":"\udea2"},"done":false,"done":false}`+"\n"+`{"done":true,"done_reason":"stop"}`+"\n")
	lines.answer.header = []string{"Content-Type: application/x-ndjson"}
	mcp := l.pass("a tool that counts in UTF-16", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"path":"a.txt"}}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Ferries \ud83d"}],"structuredContent":{"item":"Oslo","item":"Bergen","rest":"\ude00"}}}`)
	mcp.answer.header = []string{"Content-Type: application/json"}
	return l.cases
}
