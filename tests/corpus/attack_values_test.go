// SPDX-License-Identifier: Apache-2.0

package corpus_test

import "strings"

// attackValues cut the marker in two parts that readers join with nothing
// between them, and write texts as numbers.
func attackValues() []testcase {
	const (
		texts  = `{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}`
		bare   = `{"text":"$HEAD"},{"text":"$TAIL"}`
		inputs = `{"type":"input_text","text":"$HEAD"},{"type":"input_text","text":"$TAIL"}`
		image  = `{"type":"image_url","image_url":{"url":"https://img.example/a.png"}}`
	)
	l := &list{class: "parts that are joined"}
	l.ask("a user's parts", `{"model":"gpt-4o","messages":[{"role":"user","content":[`+texts+`]}]}`)
	l.ask("an image between them", `{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"$HEAD"},`+image+`,{"type":"text","text":"$TAIL"}]}]}`)
	l.ask("a blank part between them", `{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"$HEAD"},{"type":"text","text":""},{"type":"text","text":"$TAIL"}]}]}`)
	l.ask("strings", `{"model":"gpt-4o","messages":[{"role":"user","content":["$HEAD","$TAIL"]}]}`)
	l.ask("behind a long part", `{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"`+strings.Repeat("Ferries run hourly. ", 1500)+` $HEAD"},{"type":"text","text":"$TAIL `+strings.Repeat("Ferries run hourly. ", 1500)+`"}]}]}`)
	l.ask("a tool's message", `{"model":"gpt-4o","messages":[{"role":"user","content":"go"},{"role":"tool","tool_call_id":"call_1","content":[`+texts+`]}]}`)
	l.ask("Anthropic's system", `{"model":"claude","max_tokens":9,"system":[`+texts+`],"messages":[{"role":"user","content":"hi"}]}`).to("/v1/messages")
	l.ask("Anthropic's tool result", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[`+texts+`]}]}]}`).to("/v1/messages")
	l.ask("around a tool result", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"$HEAD"},{"type":"tool_result","tool_use_id":"toolu_1","content":"ok"},{"type":"text","text":"$TAIL"}]}]}`).to("/v1/messages")
	l.ask("Anthropic's document of blocks", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"content","content":[`+texts+`]}}]}]}`).to("/v1/messages")
	l.ask("Responses", `{"model":"gpt-4o","input":[{"role":"user","content":[`+inputs+`]}]}`).to("/v1/responses")
	l.ask("Responses, a call's output", `{"model":"gpt-4o","input":[{"type":"function_call_output","call_id":"call_1","output":[`+inputs+`]}]}`).to("/v1/responses")
	l.ask("Gemini", `{"contents":[{"role":"user","parts":[`+bare+`]}]}`).to("/v1beta/models/g:generateContent")
	l.ask("Gemini's instructions", `{"systemInstruction":{"parts":[`+bare+`]},"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`).to("/v1beta/models/g:generateContent")
	l.ask("Converse", `{"messages":[{"role":"user","content":[`+bare+`]}],"inferenceConfig":{"maxTokens":9}}`).to("/model/m/converse")
	l.ask("Converse's system", `{"system":[`+bare+`],"messages":[{"role":"user","content":[{"text":"hi"}]}]}`).to("/model/m/converse")
	l.ask("Cohere", `{"model":"command-r","messages":[{"role":"user","content":[`+texts+`]}]}`).to("/v2/chat")
	l.say("an answer's parts", `{"choices":[{"index":0,"message":{"role":"assistant","content":[`+texts+`]}}]}`)
	l.say("Anthropic's blocks", `{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[`+texts+`],"stop_reason":"end_turn"}`)
	l.say("Gemini's parts", `{"candidates":[{"content":{"role":"model","parts":[`+bare+`]},"finishReason":"STOP"}]}`)
	l.say("Converse's blocks", `{"output":{"message":{"role":"assistant","content":[`+bare+`]}},"stopReason":"end_turn"}`)
	l.say("items of a response", `{"id":"resp_1","object":"response","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"$HEAD"}]},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"$TAIL"}]}]}`)
	l.stream("blocks",
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$HEAD"}}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"$TAIL"}}`)
	l.stream("items",
		`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"$HEAD"}`,
		`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"$TAIL"}`)
	l.stream("parts of one item",
		`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"$HEAD"}`,
		`{"type":"response.output_text.delta","output_index":0,"content_index":1,"delta":"$TAIL"}`)
	cases := l.cases

	const ids = `[1820,20366,1364,263,50697]`
	l = &list{class: "token ids"}
	for _, c := range [][2]string{
		{"input_ids", `{"input_ids":` + ids + `,"sampling_params":{"temperature":0}}`},
		{"a batch", `{"input_ids":[` + ids + `]}`},
		{"beside a chat", `{"model":"m","messages":[{"role":"user","content":"hi"}],"prompt_token_ids":` + ids + `}`},
		{"in a message", `{"model":"m","messages":[{"role":"user","content":"hi","token_ids":` + ids + `}]}`},
		{"in a part", `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"tokens","tokens":` + ids + `}]}]}`},
		{"in a prompt", `{"model":"m","prompt":{"prompt_token_ids":` + ids + `}}`},
		{"among texts", `{"model":"m","prompt":["hi",1820,20366]}`},
		{"a whole prompt", `{"model":"m","prompt":` + ids + `}`},
		{"inputs", `{"inputs":` + ids + `}`},
		{"a tensor", `{"inputs":[{"name":"input_ids","shape":[1,5],"datatype":"INT64","data":` + ids + `}]}`},
		{"a tensor of another name", `{"inputs":[{"name":"INPUT0","shape":[1,8],"datatype":"INT32","data":[1820,20366,1364,263,50697,11,12,13]}]}`},
		{"instances", `{"instances":[{"input_ids":` + ids + `}]}`},
		{"written with capitals", `{"a":{"promptTokenIds":` + ids + `}}`},
		{"in an object of their name", `{"prompt":{"input_ids":{"data":` + ids + `}}}`},
		{"as strings", `{"tokens":["1820","20366"]}`},
		{"arguments of a tool", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"complete","arguments":{"token_ids":` + ids + `}}}`},
		{"vectors in place of a text", `{"prompt":"hi","prompt_embeds":"k05VTVBZAQB2AHsn"}`},
	} {
		l.ask(c[0], c[1]).must(unscannable)
	}
	l.say("an answer of nothing else", `{"output_ids":`+ids+`}`).must(unscannable)
	l.say("another choice's", `{"choices":[{"index":0,"message":{"role":"assistant","content":"At noon."}},{"index":1,"message":{"role":"assistant","content":null},"token_ids":`+ids+`}]}`).must(unscannable)
	l.say("a tensor in an answer", `{"outputs":[{"name":"output_ids","datatype":"INT32","shape":[1,5],"data":`+ids+`}]}`).must(unscannable)
	l.stream("a stream of nothing else", `{"choices":[{"index":0,"delta":{},"token_ids":`+ids+`}]}`).must(unscannable)
	cases = append(cases, l.cases...)

	l = &list{class: "among numbers"}
	l.say("a string in a vector", `{"embedding":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,"$MARK"]}`)
	l.say("a string in a vector nobody knows", `{"result":{"data":[[0.1,0.2,0.3,0.4,0.5,0.6,0.7,"$MARK"]]}}`)
	l.say("the name of a vector", `{"result":{"$MARK":[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]}}`)
	l.say("a string in a sparse vector", `[[{"index":4,"value":0.5,"token":"$MARK"}]]`)
	l.say("beside an embedding", `{"embedding":{"values":[0.1,0.2],"note":"$MARK"}}`)
	l.say("type of an embedding", `{"embeddingsByType":{"$MARK":[0.1,0.2]},"inputTextTokenCount":5}`)
	l.ask("id of a file", `{"model":"gpt-4o","input":[{"role":"user","content":[{"type":"input_file","file_id":"$MARK"}]}]}`).to("/v1/responses")
	l.ask("beside an id", `{"model":"gpt-4o","prompt":{"id":"pmpt_1","note":"$MARK"}}`).to("/v1/responses")
	l.ask("reason of an approval", `{"model":"gpt-4o","input":[{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":false,"reason":"$MARK"}]}`).to("/v1/responses")
	l.ask("metadata of a conversation", `{"metadata":{"topic":"$MARK"}}`).to("/v1/conversations")
	return append(cases, l.cases...)
}
