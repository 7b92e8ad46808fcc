// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"strings"
)

// filled are the marker with marks in place of its blanks, as ids and keys have
// them. The scan services of these tests object to them too.
var filled = []string{with("."), with("-"), with("_"), with("/"), with("+"), with(":"), with("~")}

func with(mark string) string { return strings.ReplaceAll(marker, " ", mark) }

// schemas are the places where a request or an answer holds a schema, in the
// place of %.
var schemaPlaces = []struct{ name, path, request, answer string }{
	{name: "tool", request: `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":%}}]}`},
	{name: "response_format", request: `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"f","schema":%}}}`},
	{name: "responses", path: "/v1/responses", request: `{"model":"gpt-4o","input":"hi","text":{"format":{"type":"json_schema","name":"f","schema":%}},"tools":[{"type":"function","name":"f","parameters":%}]}`},
	{name: "anthropic", path: "/v1/messages", request: `{"model":"claude-sonnet-4","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":%}]}`},
	{name: "gemini", path: "/v1beta/models/gemini-2.0-flash:generateContent", request: `{"contents":[{"parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":%}]}]}`},
	{name: "gemini response", path: "/v1beta/models/gemini-2.0-flash:generateContent", request: `{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"responseSchema":%}}`},
	{name: "converse", path: "/model/anthropic.claude-3/converse", request: `{"messages":[{"role":"user","content":[{"text":"hi"}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":%}}}]}}`},
	{name: "ollama", path: "/api/chat", request: `{"model":"llama3.2","messages":[{"role":"user","content":"hi"}],"format":%}`},
	{name: "guided_json", request: `{"model":"m","messages":[{"role":"user","content":"hi"}],"guided_json":%}`},
	{name: "MCP tool", path: "/mcp", request: `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`, answer: `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f","inputSchema":%}]}}`},
	{name: "MCP entry", path: "/mcp", request: `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`, answer: `{"jsonrpc":"2.0","id":7,"result":{"tools":[%]}}`},
	{name: "MCP prompt", path: "/mcp", request: `{"jsonrpc":"2.0","id":7,"method":"prompts/list"}`, answer: `{"jsonrpc":"2.0","id":7,"result":{"prompts":[%]}}`},
	{name: "MCP resource", path: "/mcp", request: `{"jsonrpc":"2.0","id":7,"method":"resources/list"}`, answer: `{"jsonrpc":"2.0","id":7,"result":{"resources":[%]}}`},
	{name: "MCP elicitation", path: "/mcp", request: `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"f"}}`, answer: `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"m","requestedSchema":%}}`},
}

// attackSchemas hide the marker behind marks in the words of schemas.
func attackSchemas() []testcase {
	l := &list{class: "schemas"}
	names := strings.Fields("authorization headers mode quality size environment $ref type format $schema required require_approval mimeType audience title")
	depths := []string{`%`, `{"properties":{"q":%}}`, `{"anyOf":[{"items":%}]}`, `{"properties":{"headers":{"properties":{"authorization":%}}}}`}
	for i, p := range schemaPlaces {
		for j, name := range names {
			value := `"` + filled[(i+j)%len(filled)] + `"`
			switch {
			case name == "headers":
				value = `{"Authorization":` + value + `}`
			case name == "required" || name == "audience":
				value = `[` + value + `]`
			case name == "$ref" && i%2 == 0:
				value = `"#/` + value[1:]
			}
			schema := strings.ReplaceAll(depths[(i+j)%len(depths)], "%", `{"`+name+`":`+value+`}`)
			if p.answer == "" {
				c := l.ask(p.name+": "+name, strings.ReplaceAll(p.request, "%", schema))
				if p.path != "" {
					c.to(p.path)
				}
				continue
			}
			l.say(p.name+": "+name, strings.ReplaceAll(p.answer, "%", schema)).over(p.path, p.request)
		}
	}
	tool := func(name, tool string) {
		l.ask("hosted: "+name, `{"model":"gpt-4o","input":"hi","tools":[`+tool+`]}`).to("/v1/responses")
	}
	tool("authorization", `{"type":"mcp","server_label":"s","authorization":"`+with(".")+`"}`)
	tool("headers", `{"type":"mcp","server_label":"s","headers":{"Authorization":"Bearer `+with(".")+`"}}`)
	tool("login", `{"type":"mcp","server_label":"s","authorization":"Basic $BASE64"}`)
	tool("name of a header", `{"type":"mcp","server_label":"s","headers":{"`+with("-")+`":"x"}}`)
	tool("quality", `{"type":"image_generation","quality":"`+with("-")+`"}`)
	tool("ids", `{"type":"file_search","vector_store_ids":["`+with("_")+`"]}`)
	tool("authorization of no hosted tool", `{"type":"function","name":"f","authorization":"`+with(".")+`"}`)
	l.ask("token of a connector", `{"model":"command-r","message":"hi","connectors":[{"id":"web","user_access_token":"`+with(".")+`"}]}`).to("/v1/chat")
	l.ask("token of a server", `{"model":"claude-sonnet-4","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"mcp_servers":[{"type":"url","url":"https://a.example","name":"a","authorization_token":"`+with("-")+`"}]}`).to("/v1/messages")
	l.ask("key of a data source", `{"messages":[{"role":"user","content":"hi"}],"data_sources":[{"type":"azure_search","parameters":{"authentication":{"type":"api_key","key":"`+with(":")+`"}}}]}`)
	return l.cases
}

// attackPieces hide the marker in ids and names of one word each, or in prose
// that looks like data.
func attackPieces() []testcase {
	l := &list{class: "words for structure"}
	words := strings.Fields(marker)
	each := func(before, after, between string) string {
		return before + strings.Join(words, after+between+before) + after
	}
	l.ask("names of nothing", `{"model":"m","messages":[{"role":"user","content":"hi"}],`+each(`"`, `":""`, `,`)+`}`)
	l.ask("names of nulls in a part", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi",`+each(`"`, `":null`, `,`)+`}]}]}`)
	l.ask("ids of messages", `{"model":"m","messages":[`+each(`{"role":"user","content":"hi","id":"`, `"}`, `,`)+`]}`)
	l.ask("ids of results", `{"model":"m","messages":[`+each(`{"role":"tool","content":"ok","tool_call_id":"`, `"}`, `,`)+`]}`)
	l.ask("list of ids", `{"model":"m","messages":[{"role":"user","content":[{"type":"reference","reference_ids":[`+each(`"`, `"`, `,`)+`]}]}]}`)
	l.ask("list of modalities", `{"model":"m","messages":[{"role":"user","content":"hi"}],"modalities":[`+each(`"`, `"`, `,`)+`]}`)
	l.ask("id in one word", `{"model":"m","messages":[{"role":"user","content":"hi","id":"`+with("-")+`"}]}`)
	l.ask("model", `{"model":"`+with("-")+`","messages":[{"role":"user","content":"hi"}]}`)
	l.ask("long prose as a picture", `{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"`+repeat(with("/")+"+", 40)+`"}}]}]}`).to("/v1/messages")
	l.ask("long prose as a signature", `{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"`+repeat(with("_")+"-", 40)+`"}]}]}`).to("/v1/messages")
	l.ask("capabilities", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{`+each(`"`, `":{}`, `,`)+`}}}`).to("/mcp")
	l.ask("name of a capability", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"`+with("-")+`":true}}}}`).to("/mcp")
	l.ask("name of a client", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"`+with("-")+`","version":"1"}}}`).to("/mcp")
	l.ask("cursor", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"`+with("_")+`"}}`).to("/mcp")
	l.ask("documents", `{"model":"m","query":"q","documents":[{"Title":"Reset","Content":"$MARK"}]}`).to("/v1/rerank")
	l.ask("metadata", `{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"Content":"$MARK"}}`)
	l.ask("answer to a form", `{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"Type":"$MARK"}}}`).to("/mcp")
	l.ask("_meta", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","_meta":{"ProgressToken":"$MARK"}}}`).to("/mcp")
	l.ask("bias", `{"model":"m","messages":[{"role":"user","content":"hi"}],"logit_bias":{"$MARK":1}}`)
	l.say("string among the numbers", `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,"`+with("-")+`",0.2]}],"model":"m"}`).over("/v1/embeddings", `{"model":"m","input":"hi"}`)
	l.say("ids of an answer", `{"id":"resp_1","object":"response","output":[`+each(`{"type":"message","content":[],"id":"`, `"}`, `,`)+`]}`).over("/v1/responses", `{"model":"m","input":"hi"}`)
	l.say("documents of an answer", `{"results":[{"index":0,"relevance_score":0.9,"document":{"Text":"$MARK"}}]}`).over("/v1/rerank", `{"model":"m","query":"q","documents":["a"]}`)
	l.say("metadata of an answer", `{"id":"resp_1","object":"response","output":[],"metadata":{"Content":"$MARK"}}`).over("/v1/responses", `{"model":"m","input":"hi"}`)
	return l.cases
}
