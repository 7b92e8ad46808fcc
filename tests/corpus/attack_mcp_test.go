// SPDX-License-Identifier: Apache-2.0

package corpus_test

// attackMCP hide the marker in JSON-RPC messages, and chats behind their look.
func attackMCP() []testcase {
	l := &list{class: "MCP: requests"}
	rpc := func(name, body string) *testcase { return l.ask(name, body).to("/mcp") }
	rpc("tools/call arguments", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"q":{"r":["$MARK"]}}}}`)
	rpc("tools/call name of an argument", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"$MARK":1}}}`)
	rpc("tools/call name of the tool", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"$MARK","arguments":{}}}`)
	rpc("tools/call JSON in an argument", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"q":"{\"r\":\"\\u0074he grey heron hides seven copper lanterns\"}"}}}`)
	rpc("tools/call _meta", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{},"_meta":{"a":"$MARK"}}}`)
	rpc("tools/call unknown param", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{},"x":"$MARK"}}`)
	rpc("tools/call arguments as a string", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":"$MARK"}}`)
	rpc("prompts/get", `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p","arguments":{"topic":"$MARK"}}}`)
	rpc("resources/read", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///$MARK"}}`)
	rpc("completion/complete", `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"$MARK"}}}`)
	rpc("initialize", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"$MARK","version":"1"}}}`)
	rpc("capabilities", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"experimental":{"x":"$MARK"}}}}`)
	rpc("notification", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"$MARK"}}`)
	rpc("reason of a cancellation", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"$MARK"}}`)
	rpc("progress message", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"$MARK"}}`)
	rpc("answer to sampling", `{"jsonrpc":"2.0","id":1,"result":{"role":"assistant","content":{"type":"text","text":"$MARK"},"model":"m"}}`)
	rpc("answer to elicitation", `{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"name":"$MARK"}}}`)
	rpc("answer to roots/list", `{"jsonrpc":"2.0","id":1,"result":{"roots":[{"uri":"file:///a","name":"$MARK"}]}}`)
	rpc("error of the client", `{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"ok","data":{"x":"$MARK"}}}`)
	rpc("batch, second message", `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"f","arguments":{"q":"$MARK"}}}]`)
	rpc("batch of notifications", `[{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"$MARK"}}]`)
	rpc("unknown method", `{"jsonrpc":"2.0","id":1,"method":"x/y","params":{"z":"$MARK"}}`)
	rpc("text as method", `{"jsonrpc":"2.0","id":1,"method":"$MARK"}`)
	rpc("text as id", `{"jsonrpc":"2.0","id":"$MARK","method":"ping"}`)
	rpc("object as id", `{"jsonrpc":"2.0","id":{"a":"$MARK"},"method":"ping"}`)
	rpc("params as an array", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["$MARK"]}`)
	rpc("params as a string", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"$MARK"}`)
	rpc("method as an object", `{"jsonrpc":"2.0","id":1,"method":{"a":"$MARK"},"params":5}`)
	rpc("params twice", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"q":"$MARK"}},"params":{"name":"f","arguments":{}}}`).must(malformed)
	rpc("Params", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f"},"Params":{"name":"f","arguments":{"q":"$MARK"}}}`)
	rpc("Arguments", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{},"Arguments":{"q":"$MARK"}}}`).must(malformed)
	rpc("batch with something else", `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"note":"$MARK"}]`)
	rpc("two messages on two lines", `{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n"+`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"f","arguments":{"q":"$MARK"}}}`).must(malformed)
	cases := l.cases

	l = &list{class: "MCP: a chat in its clothes"}
	l.ask("chat with jsonrpc and method", `{"jsonrpc":"2.0","method":"tools/list","model":"m","messages":[{"role":"user","content":"$MARK"}]}`)
	l.ask("chat with id, jsonrpc and method", `{"jsonrpc":"2.0","id":1,"method":"ping","model":"m","messages":[{"role":"user","content":"$MARK"}]}`)
	l.ask("chat to the path of MCP", `{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`).to("/mcp")
	l.ask("chat in params", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"model":"m","messages":[{"role":"user","content":"$MARK"}]}}`)
	l.ask("method without jsonrpc", `{"method":"charge","amount":10,"note":"$MARK"}`)
	l.ask("jsonrpc 1.0", `{"jsonrpc":"1.0","method":"tools/list","params":{"note":"$MARK"}}`)
	l.ask("batch of chats", `[{"jsonrpc":"2.0","method":"ping","messages":[{"role":"user","content":"$MARK"}]}]`)
	l.ask("ping with params", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"prompt":"$MARK"}}`).to("/v1/completions")
	l.say("answer to such a chat", `{"choices":[{"index":0,"message":{"role":"assistant","content":"$MARK"}}]}`).over(chatPath, `{"jsonrpc":"2.0","method":"tools/list","model":"m","messages":[{"role":"user","content":"hi"}]}`)
	l.say("answer with the look of MCP", `{"jsonrpc":"2.0","id":1,"result":{},"choices":[{"index":0,"message":{"role":"assistant","content":"$MARK"}}]}`)
	cases = append(cases, l.cases...)

	l = &list{class: "MCP: answers"}
	const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"f","arguments":{}}}`
	answer := func(name, body string) *testcase { return l.say(name, body).over("/mcp", call) }
	answer("tools/call text", `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"ok"},{"type":"text","text":"$MARK"}]}}`)
	answer("tools/call structured", `{"jsonrpc":"2.0","id":7,"result":{"content":[],"structuredContent":{"rows":[{"a":"$MARK"}]}}}`)
	answer("tools/call resource", `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"resource","resource":{"uri":"file:///a","mimeType":"text/plain","text":"$MARK"}}]}}`)
	answer("tools/call blob", `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"resource","resource":{"uri":"file:///a","mimeType":"image/png","blob":"$BASE64"}}]}}`)
	answer("tools/call image that is text", `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"image","mimeType":"image/png","data":"$BASE64"}]}}`)
	answer("tools/call link", `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"resource_link","uri":"file:///a","name":"a","description":"$MARK"}]}}`)
	answer("tools/call error", `{"jsonrpc":"2.0","id":7,"result":{"isError":true,"content":[{"type":"text","text":"$MARK"}]}}`)
	answer("tools/call unknown part", `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"song","lyrics":"$MARK"}]}}`)
	answer("tools/call _meta", `{"jsonrpc":"2.0","id":7,"result":{"content":[],"_meta":{"x":"$MARK"}}}`)
	answer("poisoned description", `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f","description":"$MARK","inputSchema":{"type":"object"}}]}}`).over("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
	answer("poisoned schema", `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f","inputSchema":{"type":"object","properties":{"q":{"type":"string","description":"$MARK"}}}}]}}`).over("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
	answer("poisoned output schema", `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f","inputSchema":{},"outputSchema":{"title":"$MARK"}}]}}`).over("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
	answer("poisoned annotations", `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f","annotations":{"title":"$MARK"}}]}}`).over("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
	answer("second tool", `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f"},{"name":"g","description":"$MARK"}]}}`).over("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
	answer("prompts/list", `{"jsonrpc":"2.0","id":7,"result":{"prompts":[{"name":"p","arguments":[{"name":"a","description":"$MARK"}]}]}}`)
	answer("prompts/get", `{"jsonrpc":"2.0","id":7,"result":{"description":"d","messages":[{"role":"user","content":{"type":"text","text":"$MARK"}}]}}`)
	answer("resources/list", `{"jsonrpc":"2.0","id":7,"result":{"resources":[{"uri":"file:///a","name":"$MARK"}]}}`)
	answer("resources/templates/list", `{"jsonrpc":"2.0","id":7,"result":{"resourceTemplates":[{"uriTemplate":"file:///{a}","name":"n","description":"$MARK"}]}}`)
	answer("resources/read", `{"jsonrpc":"2.0","id":7,"result":{"contents":[{"uri":"file:///a","text":"$MARK"}]}}`)
	answer("completion", `{"jsonrpc":"2.0","id":7,"result":{"completion":{"values":["$MARK"],"total":1,"hasMore":false}}}`)
	answer("instructions", `{"jsonrpc":"2.0","id":7,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"},"instructions":"$MARK"}}`)
	answer("title of the server", `{"jsonrpc":"2.0","id":7,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","title":"$MARK","version":"1"}}}`)
	answer("error", `{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"$MARK"}}`)
	answer("error's data", `{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"no","data":["$MARK"]}}`)
	answer("sampling by the server", `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"$MARK"}}],"maxTokens":10}}`)
	answer("system prompt of sampling", `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"systemPrompt":"$MARK","messages":[],"maxTokens":10}}`)
	answer("elicitation by the server", `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"$MARK","requestedSchema":{"type":"object","properties":{}}}}`)
	answer("schema of an elicitation", `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"string","title":"$MARK"}}}}}`)
	answer("batch", `[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"$MARK"}]}}]`)
	answer("result of another id", `{"jsonrpc":"2.0","id":8,"result":{"content":[{"type":"text","text":"$MARK"}]}}`)
	answer("result is a string", `{"jsonrpc":"2.0","id":7,"result":"$MARK"}`)
	answer("text as id", `{"jsonrpc":"2.0","id":"$MARK","result":{}}`)
	answer("text as id, to a GET", `{"jsonrpc":"2.0","id":"$MARK","result":{}}`).over("/mcp", "").by("GET")
	answer("text as id, to a chat", `{"jsonrpc":"2.0","id":"$MARK","result":{}}`).over(chatPath, question.body)
	answer("text as id in a batch", `[{"jsonrpc":"2.0","id":"$MARK","result":{}}]`).over("/mcp", "").by("GET")
	answer("status 400", `{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"$MARK"}}`).answer.status = 400
	answer("status 404, plain text", `$MARK`).typed("text/plain").answer.status = 404
	answer("status 500", `{"error":"$MARK"}`).answer.status = 500
	for name, events := range map[string][]string{
		"one event":            {"event: message\ndata: " + `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"$MARK"}]}}`},
		"id first":             {"id: 42\nevent: message\ndata: " + `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"$MARK"}]}}`},
		"after progress":       {`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`, `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"$MARK"}]}}`},
		"progress message":     {`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"$MARK"}}`, `{"jsonrpc":"2.0","id":7,"result":{}}`},
		"log message":          {`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"x":"$MARK"}}}`, `{"jsonrpc":"2.0","id":7,"result":{}}`},
		"tools of a stream":    {`{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f","description":"$MARK"}]}}`},
		"batch in an event":    {`[{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"$MARK"}]}}]`},
		"chat among messages":  {`{"jsonrpc":"2.0","id":7,"result":{}}`, `{"choices":[{"index":0,"delta":{"content":"$HEAD"}}]}`, `{"choices":[{"index":0,"delta":{"content":"$TAIL"}}]}`},
		"text after a message": {`{"jsonrpc":"2.0","id":7,"result":{}}`, "$MARK"},
	} {
		l.stream("stream: "+name, events...).over("/mcp", call)
	}
	return append(cases, l.cases...)
}
