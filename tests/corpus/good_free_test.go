// SPDX-License-Identifier: Apache-2.0

package corpus_test

// goodFreeNames are bodies whose maps have names of the caller's own, which may
// differ from an API's only by case.
func goodFreeNames() []testcase {
	l := &list{class: "good: free names"}
	ask := func(name, path, request string) { l.pass(name, path, request, completion.body) }
	rpc := func(name, request, answer string) { l.pass(name, "/mcp", request, answer) }
	rpc("capabilities", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"Form":{},"URL":{}},"sampling":{}},"clientInfo":{"name":"desk","version":"1.0.0"}}}`,
		`{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"Logging":{},"tools":{"ListChanged":true}},"serverInfo":{"name":"ferries","version":"1.0.0"}}}`)
	rpc("answer to a form", `{"jsonrpc":"2.0","id":3,"result":{"action":"accept","content":{"Name":"Ada","Type":"day","TEXT":"none"}}}`, "")
	rpc("_meta", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"now","arguments":{"Name":"x","name":"y"},"_meta":{"ProgressToken":"t-2","progressToken":1}}}`,
		`{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"12:00","annotations":{"Audience":"all"}}],"_meta":{"TraceParent":"x"}}}`)
	ask("metadata", chatPath, `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"metadata":{"User_ID":"7","Content":"test","CONTENT":"x"}}`)
	ask("bias", chatPath, `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"logit_bias":{"1734":-100,"50256":5.5}}`)
	ask("template's arguments", chatPath, `{"model":"m","messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":{"Thinking":true,"enable_thinking":false}}`)
	l.pass("documents to rank", "/v1/rerank", `{"model":"rerank-v3","query":"reset","documents":[{"Title":"Reset","Content":"Use the link"},{"text":"a","Text":"b"}]}`,
		`{"id":"`+uuid+`","results":[{"index":0,"relevance_score":0.99,"document":{"Title":"Reset","Content":"Use the link","Text":"a"}}]}`)
	ask("documents of a chat", "/v2/chat", `{"model":"command-r","messages":[{"role":"user","content":"hi"}],"documents":[{"id":"1","data":{"Title":"Reset","Snippet":"Use the link"}}]}`)
	ask("documents of an old chat", "/v1/chat", `{"model":"command-r","message":"hi","documents":[{"Title":"Reset","ID":"1"}]}`)
	l.pass("metadata of a response", "/v1/responses", `{"model":"gpt-4o","input":"hi","metadata":{"Model":"x"},"prompt":{"id":"pmpt_1","variables":{"Name":"Ada","TYPE":"x"}}}`,
		`{"id":"resp_67ccd3a9da748190baa7f1570fe91ac604becb25c45c1d41","object":"response","status":"completed","model":"gpt-4o","output":[{"type":"message","id":"msg_67ccd3acc8d48190a77525dc6de64b4104becb25c45c1d41","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hello.","annotations":[]}]}],"metadata":{"Model":"x"}}`)
	ask("fields past the API", "/model/anthropic.claude-3/converse", `{"messages":[{"role":"user","content":[{"text":"hi"}]}],"additionalModelRequestFields":{"Temperature":1,"top_k":5},"requestMetadata":{"User_Id":"7"}}`)
	ask("keys of hosted tools", "/v1/responses", `{"model":"gpt-4o","input":"hi","tools":[{"type":"mcp","server_label":"s","server_url":"https://a.example","headers":{"Authorization":"Bearer sk-9f86d081884c7d659a2feaa0c55ad015","X-Team":"boats"}},{"type":"image_generation","quality":"high","size":"1024x1024"},{"type":"web_search","search_context_size":"low"}]}`)
	ask("schema with references", chatPath, `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"tree","strict":true,"schema":{"$schema":"https://json-schema.org/draft/2020-12/schema","$defs":{"node":{"type":"object","properties":{"Type":{"type":"string"},"kids":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["Type"],"additionalProperties":false}},"$ref":"#/$defs/node"}}}}`)
	return l.cases
}
