// SPDX-License-Identifier: Apache-2.0

package corpus_test

// goodMCP is a session of the Model Context Protocol over HTTP.
func goodMCP() []testcase {
	l := &list{class: "good: MCP"}
	const accept = "Accept: application/json, text/event-stream"
	const session = "Mcp-Session-Id: 1868a90c-6f3b-4d2e-9f5a-0c2b7e4d1a33"
	rpc := func(name, request, answer string) *testcase {
		c := l.pass(name, "/mcp", request, answer).with(accept, session, "Mcp-Protocol-Version: 2025-06-18")
		c.answer.header = append([]string{session}, c.answer.header...)
		return c
	}
	accepted := func(name, request string) {
		c := rpc(name, request, "")
		c.answer.status, c.answer.header = 202, nil
	}
	rpc("initialize", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"roots":{"listChanged":true},"sampling":{},"elicitation":{}},"clientInfo":{"name":"desk-client","title":"Desk","version":"1.0.0"}}}`,
		`{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"logging":{},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"tools":{"listChanged":true}},"serverInfo":{"name":"ferry-server","title":"Ferries","version":"1.0.0"},"instructions":"Ask for times."}}`)
	accepted("initialized", `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	accepted("progress", `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"abc-1","progress":50,"total":100}}`)
	accepted("cancelled", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"3"}}`)
	accepted("roots changed", `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
	rpc("ping", `{"jsonrpc":"2.0","id":"`+uuid+`","method":"ping"}`, `{"jsonrpc":"2.0","id":"`+uuid+`","result":{}}`)
	rpc("tools/list", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":1},"cursor":"bmV4dA=="}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"get_times","title":"Times","description":"Times of the ferries","inputSchema":{"type":"object","properties":{"pier":{"type":"string","description":"Name of the pier"},"day":{"type":"string","format":"date"}},"required":["pier"],"$schema":"http://json-schema.org/draft-07/schema#"},"outputSchema":{"type":"object","properties":{"times":{"type":"array","items":{"type":"string"}}}},"annotations":{"title":"Times","readOnlyHint":true,"openWorldHint":false}}],"nextCursor":"cGFnZTI="}}`)
	rpc("tools/call", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get_times","arguments":{"pier":"North","day":"2025-10-09","n":3,"fast":true,"filter":null},"_meta":{"progressToken":"t-2"}}}`,
		`{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"{\"times\":[\"12:00\",\"13:00\"]}"},{"type":"image","data":"`+pngBase64+`","mimeType":"image/png"},{"type":"resource_link","uri":"file:///times.csv","name":"times.csv","mimeType":"text/csv","annotations":{"audience":["user"],"priority":0.9}},{"type":"resource","resource":{"uri":"file:///a.txt","mimeType":"text/plain","text":"At noon."}}],"structuredContent":{"times":["12:00","13:00"]},"isError":false}}`)
	rpc("tools/call without arguments", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"now"}}`, `{"jsonrpc":"2.0","id":3,"result":{"content":[]}}`)
	rpc("tools/call with a long result", `{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"get_times","arguments":{"pier":"North"}}}`, `{"jsonrpc":"2.0","id":4,"result":{"content":[{"type":"text","text":"`+repeat(`12:00 North, 13:00 South\n`, 8000)+`"}]}}`)
	rpc("tool that failed", `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"get_times","arguments":{}}}`, `{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"pier is required"}],"isError":true}}`)
	rpc("unknown tool", `{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"nope","arguments":{}}}`, `{"jsonrpc":"2.0","id":6,"error":{"code":-32602,"message":"Unknown tool: nope"}}`)
	rpc("prompts/list", `{"jsonrpc":"2.0","id":7,"method":"prompts/list"}`, `{"jsonrpc":"2.0","id":7,"result":{"prompts":[{"name":"plan","title":"Plan","description":"Plan a trip","arguments":[{"name":"to","description":"Where to","required":true}]}]}}`)
	rpc("prompts/get", `{"jsonrpc":"2.0","id":8,"method":"prompts/get","params":{"name":"plan","arguments":{"to":"Oslo"}}}`, `{"jsonrpc":"2.0","id":8,"result":{"description":"Plan","messages":[{"role":"user","content":{"type":"text","text":"Plan a trip to Oslo"}}]}}`)
	rpc("resources/list", `{"jsonrpc":"2.0","id":9,"method":"resources/list","params":{}}`, `{"jsonrpc":"2.0","id":9,"result":{"resources":[{"uri":"file:///times.csv","name":"times.csv","mimeType":"text/csv","size":120}]}}`)
	rpc("resources/templates/list", `{"jsonrpc":"2.0","id":10,"method":"resources/templates/list"}`, `{"jsonrpc":"2.0","id":10,"result":{"resourceTemplates":[{"uriTemplate":"file:///{path}","name":"Files","mimeType":"application/octet-stream"}]}}`)
	rpc("resources/read", `{"jsonrpc":"2.0","id":11,"method":"resources/read","params":{"uri":"file:///times.csv"}}`, `{"jsonrpc":"2.0","id":11,"result":{"contents":[{"uri":"file:///times.csv","mimeType":"text/csv","text":"pier,time\nNorth,12:00\n"},{"uri":"file:///a.png","mimeType":"image/png","blob":"`+pngBase64+`"}]}}`)
	rpc("resources/subscribe", `{"jsonrpc":"2.0","id":12,"method":"resources/subscribe","params":{"uri":"file:///times.csv"}}`, `{"jsonrpc":"2.0","id":12,"result":{}}`)
	rpc("completion/complete", `{"jsonrpc":"2.0","id":13,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"plan"},"argument":{"name":"to","value":"Os"},"context":{"arguments":{"from":"Bergen"}}}}`, `{"jsonrpc":"2.0","id":13,"result":{"completion":{"values":["Oslo"],"total":1,"hasMore":false}}}`)
	rpc("logging/setLevel", `{"jsonrpc":"2.0","id":14,"method":"logging/setLevel","params":{"level":"info"}}`, `{"jsonrpc":"2.0","id":14,"result":{}}`)
	accepted("answer to sampling", `{"jsonrpc":"2.0","id":1,"result":{"role":"assistant","content":{"type":"text","text":"At noon."},"model":"claude-3","stopReason":"endTurn"}}`)
	accepted("answer to roots/list", `{"jsonrpc":"2.0","id":2,"result":{"roots":[{"uri":"file:///home/ann/project","name":"Project"}]}}`)
	accepted("answer to an elicitation", `{"jsonrpc":"2.0","id":3,"result":{"action":"accept","content":{"name":"Ann","age":30}}}`)
	accepted("error of the client", `{"jsonrpc":"2.0","id":4,"error":{"code":-1,"message":"User rejected sampling request"}}`)
	rpc("batch", `[{"jsonrpc":"2.0","id":15,"method":"ping"},{"jsonrpc":"2.0","id":16,"method":"tools/call","params":{"name":"now","arguments":{}}},{"jsonrpc":"2.0","method":"notifications/initialized"}]`, `[{"jsonrpc":"2.0","id":15,"result":{}},{"jsonrpc":"2.0","id":16,"result":{"content":[{"type":"text","text":"12:00"}]}}]`)
	stream := rpc("tools/call answered by a stream", `{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"now","arguments":{}}}`, sse(": ping",
		"id: 41\nevent: message\ndata: "+`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t-2","progress":1,"message":"half"}}`,
		"id: 42\nevent: message\ndata: "+`{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":"12:00"}]}}`))
	stream.answer.header = []string{session, "Content-Type: text/event-stream"}
	end := rpc("end of the session", "", "")
	end.request.method, end.answer.status, end.answer.header = "DELETE", 204, nil
	gone := rpc("session that is gone", `{"jsonrpc":"2.0","id":18,"method":"ping"}`, `{"jsonrpc":"2.0","id":18,"error":{"code":-32001,"message":"Session not found"}}`)
	gone.answer.status = 404
	return l.cases
}
