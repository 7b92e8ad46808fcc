// SPDX-License-Identifier: Apache-2.0

package corpus_test

import "fmt"

const (
	// statelessMeta is what each request of MCP 2026-07-28 says of its sender.
	statelessMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"desk-client","version":"2.0.0"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}}`
	statelessTask = `"taskId":"786512e2-9e0d-44bd-8f29-789f320fe840","createdAt":"2026-08-01T10:30:00Z","lastUpdatedAt":"2026-08-01T10:40:00Z","ttlMs":60000,"pollIntervalMs":5000`
	statelessCall = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"get_times","arguments":{"pier":"North"},` + statelessMeta + `}}`
)

// attackStatelessMCP hide the marker where MCP 2026-07-28 has new places for it.
func attackStatelessMCP() []testcase {
	l := &list{class: "MCP 2026-07-28: requests"}
	rpc := func(name, method, params string) *testcase {
		return l.ask(name, fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s,%s}}`, method, params, statelessMeta)).to("/mcp").
			with("Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: "+method)
	}
	rpc("tools/call arguments", "tools/call", `"name":"f","arguments":{"q":"$MARK"}`)
	reply := func(name, result string) {
		rpc(name, "tools/call", `"name":"f","arguments":{},"inputResponses":{"a":`+result+`},"requestState":"x"`)
	}
	reply("what a user filled in", `{"action":"accept","content":{"q":"$MARK"}}`)
	reply("name of a field", `{"action":"accept","content":{"$MARK":1}}`)
	reply("sampled text", `{"role":"assistant","content":{"type":"text","text":"$MARK"},"model":"m","stopReason":"endTurn"}`)
	reply("sampled call", `{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{"q":"$MARK"}}],"model":"m","stopReason":"toolUse"}`)
	reply("a root", `{"roots":[{"uri":"file:///a","name":"$MARK"}]}`)
	reply("unknown member", `{"action":"accept","x":"$MARK"}`)
	reply("no object", `"$MARK"`)
	rpc("name of an answer", "tools/call", `"name":"f","inputResponses":{"$MARK":{"action":"decline"}}`)
	rpc("answers as a list", "tools/call", `"name":"f","inputResponses":["$MARK"]`)
	rpc("requestState", "tools/call", `"name":"f","requestState":"$MARK"`)
	rpc("requestState in base64", "tools/call", `"name":"f","requestState":"$BASE64"`)
	rpc("requestState as an object", "tools/call", `"name":"f","requestState":{"a":"$MARK"}`)
	rpc("tasks/update", "tasks/update", `"taskId":"t1","inputResponses":{"a":{"action":"accept","content":{"q":"$MARK"}}}`)
	rpc("text as the id of a task", "tasks/get", `"taskId":"$MARK"`)
	rpc("filter of a subscription", "resources/subscribe", `"notifications":{"resourceSubscriptions":["file:///$MARK"]}`)
	rpc("unknown filter", "resources/subscribe", `"notifications":{"x":"$MARK"}`)
	l.ask("name of the client", `{"jsonrpc":"2.0","id":7,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/clientInfo":{"name":"$MARK","version":"1"}}}}`).to("/mcp")
	l.ask("capability of the client", `{"jsonrpc":"2.0","id":7,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"x":"$MARK"}}}}}`).to("/mcp")
	l.ask("level of the log", `{"jsonrpc":"2.0","id":7,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/logLevel":"$MARK"}}}`).to("/mcp")
	cases := l.cases

	l = &list{class: "MCP 2026-07-28: headers"}
	header := func(name string, lines ...string) *testcase {
		return l.ask(name, statelessCall).to("/mcp").with(append(lines, "Mcp-Protocol-Version: 2026-07-28")...)
	}
	header("an argument", "Mcp-Param-Pier: $MARK")
	header("an argument in base64", "Mcp-Param-Pier: =?base64?$BASE64?=")
	header("base64 without a mark", "Mcp-Param-Pier: $BASE64")
	header("another spelling of base64", "Mcp-Param-Pier: =?BASE64?$BASE64")
	header("beside one that repeats the body", "Mcp-Param-Pier: North", "Mcp-Param-Day: $MARK")
	header("after one that repeats the body", "Mcp-Param-Pier: North", "Mcp-Param-Pier: $MARK")
	header("underscores", "Mcp_Param_Pier: $MARK")
	header("the name", "Mcp-Name: $MARK")
	header("the name in base64", "Mcp-Name: =?base64?$BASE64?=")
	header("the method", "Mcp-Method: $MARK")
	header("an older version", "Mcp-Param-Pier: $MARK", "Mcp-Protocol-Version: 2025-06-18")
	l.ask("beside a batch", `[`+statelessCall+`,{"jsonrpc":"2.0","id":8,"method":"ping"}]`).to("/mcp").with("Mcp-Param-Pier: $MARK")
	l.ask("beside a chat", question.body).with("Mcp-Param-Pier: $MARK")
	l.ask("beside a text", "hello").to("/mcp").typed("text/plain").with("Mcp-Param-Pier: $MARK")
	for i := range l.cases {
		h := l.cases[i].request.header
		for n := range h {
			h[n] = spell.Replace(h[n])
		}
	}
	cases = append(cases, l.cases...)

	l = &list{class: "MCP 2026-07-28: answers"}
	result := func(name, members string) *testcase {
		return l.say(name, `{"jsonrpc":"2.0","id":7,"result":{`+members+`}}`).over("/mcp", statelessCall)
	}
	result("instructions", `"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{},"instructions":"$MARK"`)
	result("supported version", `"resultType":"complete","supportedVersions":["$MARK"],"capabilities":{}`)
	result("name of the server", `"resultType":"complete","content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"$MARK","version":"1"}}`)
	result("type of a result", `"resultType":"$MARK"`)
	ask := func(name, request string) {
		result(name, `"resultType":"input_required","inputRequests":{"a":`+request+`}`)
	}
	ask("message of a form", `{"method":"elicitation/create","params":{"mode":"form","message":"$MARK","requestedSchema":{"type":"object","properties":{}}}}`)
	ask("schema of a form", `{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"string","description":"$MARK"}}}}}`)
	ask("message beside a URL", `{"method":"elicitation/create","params":{"mode":"url","message":"$MARK","url":"https://a.example/"}}`)
	ask("URL", `{"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://a.example/?q=$MARK"}}`)
	ask("sampling", `{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"$MARK"}}],"maxTokens":9}}`)
	ask("tool of sampling", `{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":9,"tools":[{"name":"f","description":"$MARK","inputSchema":{"type":"object"}}],"toolChoice":{"mode":"auto"}}}`)
	ask("choice of a tool", `{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":9,"toolChoice":{"mode":"$MARK"}}}`)
	ask("a tool's result in sampling", `{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":[{"type":"tool_result","toolUseId":"c1","content":[{"type":"text","text":"$MARK"}]}]}],"maxTokens":9}}`)
	ask("structured result in sampling", `{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":[{"type":"tool_result","toolUseId":"c1","content":[],"structuredContent":{"a":"$MARK"}}]}],"maxTokens":9}}`)
	ask("method", `{"method":"$MARK","params":{}}`)
	ask("unknown method", `{"method":"x/y","params":{"z":"$MARK"}}`)
	ask("no object", `"$MARK"`)
	result("name of a request", `"resultType":"input_required","inputRequests":{"$MARK":{"method":"roots/list"}}`)
	result("requestState", `"resultType":"input_required","requestState":"$MARK"`)
	result("requestState in base64", `"resultType":"input_required","requestState":"$BASE64"`)
	result("status of a task", `"resultType":"task","status":"working","statusMessage":"$MARK",`+statelessTask)
	result("result of a task", `"resultType":"complete","status":"completed","result":{"content":[{"type":"text","text":"$MARK"}]},`+statelessTask)
	result("error of a task", `"resultType":"complete","status":"failed","error":{"code":-32603,"message":"$MARK"},`+statelessTask)
	result("request of a task", `"resultType":"complete","status":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"$MARK"}}},`+statelessTask)
	result("tasks in a list", `"tasks":[{"status":"working","statusMessage":"$MARK",`+statelessTask+`}]`)
	l.say("error's data", `{"jsonrpc":"2.0","id":7,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","message":"$MARK","url":"https://a.example/"}]}}}`).over("/mcp", statelessCall)
	l.stream("stream: task", `{"jsonrpc":"2.0","method":"notifications/tasks","params":{"status":"completed","result":{"content":[{"type":"text","text":"$MARK"}]},`+statelessTask+`}}`, `{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete"}}`).over("/mcp", statelessCall)
	l.stream("stream: subscription", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"uri":"file:///$MARK"}}`).over("/mcp", statelessCall)
	l.stream("stream: text as the id of a subscription", `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"$MARK"}}}`).over("/mcp", statelessCall)
	l.stream("stream: after progress", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"message":"half"}}`, `{"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"$MARK"}}}}}`).over("/mcp", statelessCall)
	return append(cases, l.cases...)
}

// goodStatelessMCP is what a client and a server of MCP 2026-07-28 say.
func goodStatelessMCP() []testcase {
	l := &list{class: "good: MCP 2026-07-28"}
	rpc := func(name, method, params, result string, lines ...string) *testcase {
		if params != "" {
			params += ","
		}
		c := l.pass(name, "/mcp", fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":{%s%s}}`, method, params, statelessMeta),
			`{"jsonrpc":"2.0","id":7,"result":{`+result+`,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"ferry-server","version":"3.0.1"}}}}`)
		return c.with(append(lines, "Accept: application/json, text/event-stream", "Mcp-Protocol-Version: 2026-07-28", "Mcp-Method: "+method)...)
	}
	const state = `"requestState":"9xQk0mZ3p7Vd2RrT8sLh5YbNcW1uJgAeF4oKiXzQvB6MnPyHtDwSGCaUEjlIOxqr"`
	rpc("server/discover", "server/discover", "", `"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{"listChanged":true},"extensions":{"io.modelcontextprotocol/tasks":{}}},"instructions":"Ask for times.","ttlMs":3600000,"cacheScope":"public"`)
	rpc("tools/list", "tools/list", "", `"resultType":"complete","tools":[{"name":"get_times","inputSchema":{"type":"object","properties":{"pier":{"type":"string","x-mcp-header":"Pier"}}}}],"ttlMs":0,"cacheScope":"private"`)
	rpc("tools/call with headers", "tools/call", `"name":"get_times","arguments":{"pier":"Nørre","n":3,"fast":true}`, `"resultType":"complete","content":[{"type":"text","text":"12:00"}],"structuredContent":["12:00"],"isError":false`,
		"Mcp-Name: get_times", "Mcp-Param-Pier: =?base64?TsO4cnJl?=", "Mcp-Param-Count: 3", "Mcp-Param-Fast: true")
	rpc("tools/call with a header of its own", "tools/call", `"name":"get_times","arguments":{"pier":"North"}`, `"resultType":"complete","content":[]`, "Mcp-Name: get_times", "Mcp-Param-Region: eu-west-1")
	rpc("resources/read", "resources/read", `"uri":"file:///times.csv"`, `"resultType":"complete","contents":[{"uri":"file:///times.csv","text":"12:00"}],"ttlMs":0,"cacheScope":"private"`, "Mcp-Name: file:///times.csv")
	rpc("input required", "tools/call", `"name":"book","arguments":{}`, `"resultType":"input_required",`+state+`,"inputRequests":{"pier":{"method":"elicitation/create","params":{"mode":"form","message":"Which pier?","requestedSchema":{"type":"object","properties":{"pier":{"type":"string"}}}}},"pay":{"method":"elicitation/create","params":{"mode":"url","message":"Please pay.","url":"https://pay.example/t/81"}},"roots":{"method":"roots/list"},"plan":{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"Plan a trip."}}],"maxTokens":100,"tools":[{"name":"now","inputSchema":{"type":"object"}}],"toolChoice":{"mode":"auto"}}}}`)
	rpc("input given", "tools/call", `"name":"book","arguments":{},`+state+`,"inputResponses":{"pier":{"action":"accept","content":{"pier":"North"}},"pay":{"action":"decline"},"roots":{"roots":[{"uri":"file:///home/ann"}]},"plan":{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"now","input":{}}],"model":"claude-3","stopReason":"toolUse"}}`, `"resultType":"complete","content":[{"type":"text","text":"Booked."}]`, "Mcp-Name: book")
	rpc("task created", "tools/call", `"name":"book","arguments":{}`, `"resultType":"task","status":"working","statusMessage":"Asking.",`+statelessTask, "Mcp-Name: book")
	const about = `"taskId":"786512e2-9e0d-44bd-8f29-789f320fe840"`
	const named = "Mcp-Name: 786512e2-9e0d-44bd-8f29-789f320fe840"
	rpc("tasks/get", "tasks/get", about, `"resultType":"complete","status":"completed","result":{"content":[{"type":"text","text":"Booked."}],"isError":false},`+statelessTask, named)
	rpc("tasks/get failed", "tasks/get", about, `"resultType":"complete","status":"failed","error":{"code":-32603,"message":"Closed"},`+statelessTask, named)
	rpc("tasks/update", "tasks/update", about+`,"inputResponses":{"pier":{"action":"cancel"}}`, `"resultType":"complete"`, named)
	rpc("tasks/cancel", "tasks/cancel", about, `"resultType":"complete"`, named)
	old := rpc("version that the server does not speak", "server/discover", "", `"resultType":"complete"`)
	old.answer.status, old.answer.body = 400, `{"jsonrpc":"2.0","id":7,"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"],"requested":"2027-01-01"}}}`
	stream := rpc("tools/call answered by a stream", "tools/call", `"name":"get_times","arguments":{"pier":"North"}`, "", "Mcp-Name: get_times", "Mcp-Param-Pier: North")
	stream.answer.header = []string{"Content-Type: text/event-stream"}
	stream.answer.body = sse("event: message\ndata: "+`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t-2","progress":1,"message":"half"}}`,
		"event: message\ndata: "+`{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","content":[{"type":"text","text":"12:00"}]}}`)
	return l.cases
}
