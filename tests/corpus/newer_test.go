// SPDX-License-Identifier: Apache-2.0

package corpus_test

const (
	interactionsPath = "/v1beta/interactions"
	itemsPath        = "/v1/conversations/conv_68fa/items"
	askInteraction   = `{"model":"gemini-3-pro","input":"When does it leave?"}`
	streamed         = `{"model":"gemini-3-pro","stream":true,"input":"When does it leave?"}`
)

// attackNewer hide the marker in what conversations, sessions, interactions and
// templates of prompts say.
func attackNewer() []testcase {
	l := &list{class: "request: newer APIs"}
	l.ask("conversation with a first item", `{"items":[{"type":"message","role":"user","content":"$MARK"}]}`).to("/v1/conversations")
	l.ask("conversation, metadata", `{"metadata":{"topic":"$MARK"}}`).to("/v1/conversations")
	l.ask("item, system message", `{"items":[{"type":"message","role":"system","content":[{"type":"input_text","text":"$MARK"}]}]}`).to(itemsPath)
	l.ask("item, output of a call", `{"items":[{"type":"function_call_output","call_id":"call_1","output":"$MARK"}]}`).to(itemsPath)
	l.ask("item of an unknown type", `{"items":[{"type":"teleport","destination":"$MARK"}]}`).to(itemsPath)
	l.ask("items at another path", `{"items":[{"role":"user","content":"$MARK"}]}`).to("/kept")
	l.ask("two parts of an item", `{"items":[{"role":"user","content":[{"type":"input_text","text":"$HEAD"},{"type":"input_text","text":"$TAIL"}]}]}`).to(itemsPath)
	l.ask("chatkit, state of a workflow", `{"user":"u1","workflow":{"id":"wf_1","state_variables":{"greeting":"$MARK"}}}`).to("/v1/chatkit/sessions")
	l.ask("chatkit, name in the state", `{"user":"u1","workflow":{"id":"wf_1","state_variables":{"$MARK":1}}}`).to("/v1/chatkit/sessions")
	l.ask("realtime, instructions", `{"session":{"type":"realtime","model":"gpt-realtime","instructions":"$MARK"}}`).to("/v1/realtime/client_secrets")
	l.ask("realtime, tool", `{"session":{"type":"realtime","model":"gpt-realtime","tools":[{"type":"function","name":"f","description":"$MARK"}]}}`).to("/v1/realtime/client_secrets")
	l.ask("realtime, prompt of the transcription", `{"session":{"type":"transcription","audio":{"input":{"transcription":{"model":"gpt-4o-transcribe","prompt":"$MARK"}}}}}`).to("/v1/realtime/client_secrets")
	l.ask("realtime, older session", `{"model":"gpt-realtime","instructions":"$MARK","voice":"marin"}`).to("/v1/realtime/sessions")
	l.ask("part as a variable of a prompt", `{"model":"gpt-5","prompt":{"id":"pmpt_1","variables":{"city":{"type":"input_text","text":"$MARK"}}}}`).to("/v1/responses")
	l.ask("name of a variable", `{"model":"gpt-5","prompt":{"id":"pmpt_1","variables":{"$MARK":"x"}}}`).to("/v1/responses")
	l.ask("two variables", `{"model":"gpt-5","prompt":{"id":"pmpt_1","variables":{"a":"$HEAD","b":"$TAIL"}}}`).to("/v1/responses")
	l.ask("error of an MCP call", `{"model":"gpt-5","input":[{"type":"mcp_call","id":"mcp_1","server_label":"s","name":"f","arguments":"{}","error":"$MARK"}]}`).to("/v1/responses")
	l.ask("content of an MCP call's error", `{"model":"gpt-5","input":[{"type":"mcp_call","id":"mcp_1","server_label":"s","name":"f","arguments":"{}","error":{"type":"mcp_tool_execution_error","content":[{"type":"text","text":"$MARK"}]}}]}`).to("/v1/responses")
	l.ask("type of an MCP call's error", `{"model":"gpt-5","input":[{"type":"mcp_call","id":"mcp_1","server_label":"s","name":"f","arguments":"{}","error":{"type":"$MARK"}}]}`).to("/v1/responses")
	l.ask("interaction, text", `{"model":"gemini-3-pro","input":"$MARK"}`).to(interactionsPath)
	l.ask("interaction, content", `{"model":"gemini-3-pro","input":{"type":"text","text":"$MARK"}}`).to(interactionsPath)
	l.ask("interaction, turn of the model", `{"model":"gemini-3-pro","input":[{"role":"model","content":"$MARK"},{"role":"user","content":"hi"}]}`).to(interactionsPath)
	l.ask("interaction, system instruction", `{"model":"gemini-3-pro","system_instruction":"$MARK","input":"hi"}`).to(interactionsPath)
	l.ask("interaction, step", `{"model":"gemini-3-pro","input":[{"type":"user_input","content":[{"type":"text","text":"$MARK"}]}]}`).to(interactionsPath)
	l.ask("interaction, result", `{"model":"gemini-3-pro","input":[{"type":"function_result","call_id":"c1","name":"f","result":"$MARK"}]}`).to(interactionsPath)
	l.ask("interaction, result in base64", `{"model":"gemini-3-pro","input":[{"type":"function_result","call_id":"c1","name":"f","result":"$BASE64"}]}`).to(interactionsPath)
	l.ask("interaction, result as a value", `{"model":"gemini-3-pro","input":[{"type":"function_result","call_id":"c1","name":"f","result":{"a":[{"b":"$MARK"}]}}]}`).to(interactionsPath)
	l.ask("interaction, second part of a result", `{"model":"gemini-3-pro","input":[{"type":"function_result","call_id":"c1","name":"f","result":[{"type":"text","text":"ok"},{"x":"$MARK"}]}]}`).to(interactionsPath)
	l.ask("interaction, arguments", `{"model":"gemini-3-pro","input":[{"type":"function_call","id":"c1","name":"f","arguments":{"q":"$MARK"}},{"type":"function_result","call_id":"c1","result":"ok"}]}`).to(interactionsPath)
	l.ask("interaction, thought", `{"model":"gemini-3-pro","input":[{"type":"thought","summary":[{"type":"text","text":"$MARK"}]},{"type":"user_input","content":[{"type":"text","text":"hi"}]}]}`).to(interactionsPath)
	l.ask("interaction, text as signature", `{"model":"gemini-3-pro","input":[{"type":"thought","signature":"$MARK"},{"type":"user_input","content":[{"type":"text","text":"hi"}]}]}`).to(interactionsPath)
	l.ask("interaction, query of an image", `{"model":"gemini-3-pro","input":[{"type":"image","uri":"https://img.example/a.png?say=$MARK","mime_type":"image/png"}]}`).to(interactionsPath)
	l.ask("interaction, document", `{"model":"gemini-3-pro","input":[{"type":"document","data":"$BASE64","mime_type":"application/pdf"}]}`).to(interactionsPath)
	l.ask("interaction, source of an environment", `{"agent":"deep-research","input":"hi","environment":{"type":"remote","sources":[{"type":"inline","content":"$MARK","target":"/a.txt"}]}}`).to(interactionsPath)
	l.ask("interaction, URL of an MCP server", `{"model":"gemini-3-pro","input":"hi","tools":[{"type":"mcp_server","name":"s","url":"https://mcp.example/$MARK"}]}`).to(interactionsPath)
	l.ask("interaction, allowed tool", `{"model":"gemini-3-pro","input":"hi","generation_config":{"tool_choice":{"allowed_tools":{"mode":"any","tools":["$MARK"]}}}}`).to(interactionsPath)
	l.ask("interaction, schema", `{"model":"gemini-3-pro","input":"hi","response_format":{"type":"text","schema":{"type":"object","properties":{"x":{"type":"string","description":"$MARK"}}}}}`).to(interactionsPath)
	l.ask("role beside the type of another speaker", `{"model":"m","messages":[{"type":"model_output","role":"user","content":"$MARK"}]}`)
	l.ask("chat template", `{"model":"m","messages":[{"role":"user","content":"hi"}],"chat_template":"{{ messages[0].content }} $MARK"}`)
	l.ask("argument of a chat template", `{"model":"m","messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":{"greeting":"$MARK"}}`)
	l.ask("name of such an argument", `{"model":"m","messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":{"$MARK":true}}`)
	l.ask("two arguments of a chat template", `{"model":"m","messages":[{"role":"user","content":"hi"}],"chat_template_kwargs":{"a":"$HEAD","b":"$TAIL"}}`)
	l.ask("guided choice", `{"model":"m","messages":[{"role":"user","content":"hi"}],"guided_choice":["ok","$MARK"]}`)
	l.ask("structured outputs, choice", `{"model":"m","messages":[{"role":"user","content":"hi"}],"structured_outputs":{"choice":["ok","$MARK"]}}`)
	l.ask("structured outputs, grammar", `{"model":"m","messages":[{"role":"user","content":"hi"}],"structured_outputs":{"grammar":"root ::= \"$MARK\""}}`)
	l.ask("tokenize", `{"model":"m","prompt":"$MARK"}`).to("/tokenize")
	l.ask("pooling", `{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`).to("/pooling")
	l.ask("score, second text", `{"model":"m","text_1":"hi","text_2":["ok","$MARK"]}`).to("/score")
	l.ask("score, queries and items", `{"model":"m","queries":"$MARK","items":["ok"]}`).to("/score")
	l.ask("rerank, content of a document", `{"model":"m","query":"hi","documents":[{"content":[{"type":"text","text":"$MARK"}]}]}`).to("/rerank")
	cases := l.cases

	l = &list{class: "answer: newer APIs"}
	l.say("list of items", `{"object":"list","data":[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"$MARK"}]}],"has_more":false}`).over(itemsPath, `{"items":[{"role":"user","content":"hi"}]}`)
	l.say("list of items, error of an MCP call", `{"object":"list","data":[{"type":"mcp_call","id":"mcp_1","name":"f","arguments":"{}","error":{"type":"http_error","code":502,"message":"$MARK"}}]}`).over(itemsPath, `{"items":[{"role":"user","content":"hi"}]}`)
	l.say("items of a thread, widget", `{"object":"list","data":[{"id":"i1","object":"chatkit.thread_item","type":"chatkit.widget","widget":"{\"value\":\"$MARK\"}"}]}`).over(itemsPath, `{"items":[{"role":"user","content":"hi"}]}`)
	l.say("text as a client's secret", `{"id":"cksess_1","object":"chatkit.session","client_secret":"$MARK"}`).over("/v1/chatkit/sessions", `{"user":"u1","workflow":{"id":"wf_1"}}`)
	l.say("instructions of a session", `{"value":"ek_8Zx41fQ","session":{"type":"realtime","instructions":"$MARK"}}`).over("/v1/realtime/client_secrets", `{"session":{"type":"realtime"}}`)
	l.say("interaction, step", `{"id":"v1_1","status":"completed","steps":[{"type":"model_output","content":[{"type":"text","text":"$MARK"}]}]}`).over(interactionsPath, askInteraction)
	l.say("interaction, error of a step", `{"id":"v1_1","status":"failed","steps":[{"type":"model_output","error":{"code":13,"message":"$MARK"}}]}`).over(interactionsPath, askInteraction)
	l.say("interaction, result of a search", `{"id":"v1_1","status":"completed","steps":[{"type":"google_search_result","call_id":"g1","result":[{"search_suggestions":"$MARK"}]}]}`).over(interactionsPath, askInteraction)
	l.say("interaction, two outputs", `{"id":"v1_1","status":"completed","outputs":[{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}]}`).over(interactionsPath, askInteraction)
	l.say("interaction, image that is text", `{"id":"v1_1","status":"completed","steps":[{"type":"model_output","content":[{"type":"image","data":"$BASE64","mime_type":"image/png"}]}]}`).over(interactionsPath, askInteraction)
	cases = append(cases, l.cases...)

	l = &list{class: "stream: newer APIs"}
	interaction := func(name string, events ...string) {
		l.stream("interaction, "+name, events...).over(interactionsPath, streamed)
	}
	step := func(index, delta string) string {
		return `{"event_type":"step.delta","index":` + index + `,"delta":` + delta + `}`
	}
	interaction("text", step("0", `{"type":"text","text":"$HEAD"}`), step("0", `{"type":"text","text":"$TAIL"}`))
	interaction("text in the start", `{"event_type":"step.start","index":0,"step":{"type":"model_output","content":[{"type":"text","text":"$HEAD"}]}}`, step("0", `{"type":"text","text":"$TAIL"}`))
	interaction("older text in the start", `{"event_type":"content.start","index":0,"content":{"type":"text","text":"$HEAD"}}`, `{"event_type":"content.delta","index":0,"delta":{"type":"text","text":"$TAIL"}}`)
	interaction("another type of delta each time", step("0", `{"type":"text","text":"$HEAD"}`), step("0", `{"type":"function_result","text":"$TAIL"}`))
	interaction("thoughts", step("0", `{"type":"thought_summary","content":{"type":"text","text":"$HEAD"}}`), step("0", `{"type":"thought_summary","content":{"type":"text","text":"$TAIL"}}`))
	interaction("thoughts in the start", `{"event_type":"step.start","index":0,"step":{"type":"thought","summary":[{"type":"text","text":"$HEAD"}]}}`, step("0", `{"type":"thought_summary","content":{"type":"text","text":"$TAIL"}}`))
	interaction("two steps by turns", step("0", `{"type":"text","text":"$HEAD"}`), step("1", `{"type":"text","text":"ok"}`), step("0", `{"type":"text","text":"$TAIL"}`))
	interaction("arguments", `{"event_type":"step.start","index":0,"step":{"type":"function_call","id":"c1","name":"f","arguments":{}}}`, step("0", `{"type":"arguments_delta","arguments":"{\"q\":\"$HEAD"}`), step("0", `{"type":"arguments_delta","arguments":"$TAIL\"}"}`))
	interaction("result", step("0", `{"type":"code_execution_result","result":"$HEAD"}`), step("0", `{"type":"code_execution_result","result":"$TAIL"}`))
	interaction("result as a value", step("0", `{"type":"function_result","result":{"a":"$MARK"}}`))
	interaction("annotation", step("0", `{"type":"text_annotation_delta","annotations":[{"type":"url_citation","title":"$MARK"}]}`))
	interaction("completed that differs", step("0", `{"type":"text","text":"ok"}`), `{"event_type":"interaction.completed","interaction":{"id":"v1_1","status":"completed","steps":[{"type":"model_output","content":[{"type":"text","text":"$MARK"}]}]}}`)
	interaction("error", step("0", `{"type":"text","text":"ok"}`), `{"event_type":"error","error":{"code":"internal","message":"$MARK"}}`)
	interaction("unknown event", `{"event_type":"hologram.delta","index":0,"delta":{"type":"text","text":"$HEAD"}}`, `{"event_type":"hologram.delta","index":0,"delta":{"type":"text","text":"$TAIL"}}`)
	l.stream("error of an MCP call", `{"type":"response.output_item.done","output_index":0,"item":{"id":"mcp_1","type":"mcp_call","name":"f","arguments":"{}","error":{"type":"mcp_tool_execution_error","content":[{"type":"text","text":"$MARK"}]}}}`).over("/v1/responses", `{"stream":true,"model":"gpt-5","input":"hi"}`)
	l.stream("arguments of an MCP call", `{"type":"response.mcp_call_arguments.delta","item_id":"mcp_1","output_index":0,"delta":"{\"q\":\"$HEAD"}`, `{"type":"response.mcp_call_arguments.delta","item_id":"mcp_1","output_index":0,"delta":"$TAIL\"}"}`).over("/v1/responses", `{"stream":true,"model":"gpt-5","input":"hi"}`)
	l.stream("reasoning of vLLM", `{"choices":[{"index":0,"delta":{"reasoning":"$HEAD"}}]}`, `{"choices":[{"index":0,"delta":{"reasoning":"$TAIL"}}]}`)
	return append(cases, l.cases...)
}

// goodNewer are exchanges of those APIs as their clients have them.
func goodNewer() []testcase {
	l := &list{class: "good: newer APIs"}
	l.pass("conversation", "/v1/conversations", `{"items":[{"type":"message","role":"user","content":"When does it leave?"}],"metadata":{"topic":"ferries"}}`, `{"id":"conv_68fa","object":"conversation","created_at":1760000000,"metadata":{"topic":"ferries"}}`)
	l.pass("empty conversation", "/v1/conversations", `{}`, `{"id":"conv_68fb","object":"conversation","created_at":1760000000,"metadata":{}}`)
	l.pass("conversation without items", "/v1/conversations", `{"items":[],"metadata":{}}`, `{"id":"conv_68fc","object":"conversation","created_at":1760000000,"metadata":{}}`)
	l.pass("items", itemsPath, `{"items":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"At noon."}]},{"type":"function_call_output","call_id":"call_1","output":"{\"noon\":true}"}]}`,
		`{"object":"list","data":[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"At noon.","annotations":[],"logprobs":[]}]},{"type":"function_call_output","id":"fco_1","call_id":"call_1","output":"{\"noon\":true}","status":"completed"}],"first_id":"msg_1","last_id":"fco_1","has_more":false}`)
	l.pass("list of items", itemsPath, "", `{"object":"list","data":[{"type":"message","id":"msg_1","status":"completed","role":"user","content":[{"type":"input_text","text":"When does it leave?"}]}],"first_id":"msg_1","last_id":"msg_1","has_more":false}`).by("GET")
	l.pass("chatkit session", "/v1/chatkit/sessions", `{"user":"u1","workflow":{"id":"wf_68fa","state_variables":{"greeting":"Welcome","deck":4}},"chatkit_configuration":{"history":{"enabled":true,"recent_threads":5}},"expires_after":{"anchor":"created_at","seconds":600}}`,
		`{"id":"cksess_68fa","object":"chatkit.session","client_secret":"ek_8Zx41fQ","expires_at":1760000600,"workflow":{"id":"wf_68fa","version":null,"state_variables":{"greeting":"Welcome"},"tracing":{"enabled":true}},"user":"u1","rate_limits":{"max_requests_per_1_minute":10},"max_requests_per_1_minute":10,"status":"active","chatkit_configuration":{"automatic_thread_titling":{"enabled":true},"file_upload":{"enabled":false,"max_file_size":null,"max_files":null},"history":{"enabled":true,"recent_threads":5}}}`)
	l.pass("realtime secret", "/v1/realtime/client_secrets", `{"expires_after":{"anchor":"created_at","seconds":600},"session":{"type":"realtime","model":"gpt-realtime","instructions":"You sell tickets.","audio":{"output":{"voice":"marin"}}}}`,
		`{"value":"ek_68af296e8e408191a1120ab6383263c2","expires_at":1756310470,"session":{"type":"realtime","object":"realtime.session","id":"sess_C9CiUVUzUzYIssh3ELY1d","model":"gpt-realtime","output_modalities":["audio"],"instructions":"You sell tickets.","tools":[],"tool_choice":"auto","max_output_tokens":"inf","tracing":null,"truncation":"auto","audio":{"output":{"format":{"type":"audio/pcm","rate":24000},"voice":"marin","speed":1.0}}}}`)
	l.pass("failed call of MCP", "/v1/responses", `{"model":"gpt-5","prompt":{"id":"pmpt_1","version":"2","variables":{"city":"Bergen","photo":{"type":"input_image","file_id":"file-6F2ks"}}},"input":"When?"}`,
		`{"id":"resp_1","object":"response","created_at":1760000000,"status":"completed","model":"gpt-5","output":[{"id":"mcp_1","type":"mcp_call","approval_request_id":null,"arguments":"{}","error":{"type":"http_error","code":502,"message":"Bad gateway"},"name":"find","output":null,"server_label":"ferries","status":"failed"},{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"I could not find out.","annotations":[]}]}]}`)
	l.pass("interaction", interactionsPath, `{"model":"gemini-3-pro","system_instruction":"Be kind.","input":[{"type":"user_input","content":[{"type":"text","text":"When?"},{"type":"image","data":"`+pngBase64+`","mime_type":"image/png"}]},{"type":"function_call","id":"c1","name":"find","arguments":{"what":"ferry"},"signature":"`+signature+`"},{"type":"function_result","call_id":"c1","name":"find","result":{"at":"noon"}}],"tools":[{"type":"google_search"},{"type":"mcp_server","name":"deepwiki","url":"https://mcp.example/mcp"}],"generation_config":{"thinking_level":"low","tool_choice":"auto"},"store":false}`,
		`{"id":"v1_1","object":"interaction","model":"gemini-3-pro","status":"completed","created":"2026-03-30T22:20:00Z","updated":"2026-03-30T22:20:01Z","steps":[{"type":"thought","signature":"`+signature+`","summary":[{"type":"text","text":"A time."}]},{"type":"model_output","content":[{"type":"text","text":"At noon.","annotations":[{"type":"url_citation","url":"https://ferry.example/times","title":"Times","start_index":0,"end_index":7}]}]}],"usage":{"total_input_tokens":7,"total_output_tokens":20,"total_thought_tokens":22,"total_tokens":49,"input_tokens_by_modality":[{"modality":"text","tokens":7}]}}`)
	l.pass("interaction in the background", interactionsPath, `{"agent":"deep-research-pro-preview-12-2025","agent_config":{"type":"deep-research","thinking_summaries":"auto"},"input":"The history of ferries","background":true}`, `{"id":"v1_2","object":"interaction","agent":"deep-research-pro-preview-12-2025","status":"in_progress"}`)
	l.pass("interaction that goes on", interactionsPath, `{"model":"gemini-2.5-flash","previous_interaction_id":"v1_1","input":"And tomorrow?"}`, `{"id":"v1_3","object":"interaction","role":"model","model":"gemini-2.5-flash","status":"completed","outputs":[{"type":"text","text":"At noon, too."}]}`)
	l.passStream("interaction in events", interactionsPath, streamed, "event: interaction.created\ndata: "+`{"event_type":"interaction.created","interaction":{"id":"v1_4","object":"interaction","model":"gemini-3-pro","status":"in_progress"},"event_id":"evt_1"}`,
		"event: step.start\ndata: "+`{"event_type":"step.start","index":0,"step":{"type":"model_output"}}`, "event: step.delta\ndata: "+`{"event_type":"step.delta","index":0,"delta":{"type":"text","text":"At "}}`,
		"event: step.delta\ndata: "+`{"event_type":"step.delta","index":0,"delta":{"type":"text","text":"noon."}}`, "event: step.stop\ndata: "+`{"event_type":"step.stop","index":0}`,
		"event: interaction.completed\ndata: "+`{"event_type":"interaction.completed","interaction":{"id":"v1_4","object":"interaction","model":"gemini-3-pro","status":"completed","usage":{"total_tokens":9}}}`, "event: done\ndata: [DONE]")
	l.pass("vLLM", chatPath, `{"model":"Qwen/Qwen3-8B","messages":[{"role":"user","content":"When?"}],"chat_template":"{% for m in messages %}{{ m.content }}{% endfor %}","chat_template_kwargs":{"enable_thinking":false},"structured_outputs":{"choice":["noon","midnight"]}}`,
		`{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"Qwen/Qwen3-8B","choices":[{"index":0,"message":{"role":"assistant","content":"noon","reasoning":"A time.","reasoning_content":"A time."},"finish_reason":"stop"}]}`)
	l.pass("vLLM, tokens", "/tokenize", `{"model":"m","prompt":"When?","return_token_strs":true}`, `{"count":2,"max_model_len":4096,"tokens":[4599,30],"token_strs":["When","?"]}`)
	l.pass("vLLM, score", "/score", `{"model":"m","text_1":"When?","text_2":["At noon.","At sea."]}`, `{"id":"score-1","object":"list","created":1,"model":"m","data":[{"index":0,"object":"score","score":0.9},{"index":1,"object":"score","score":0.1}],"usage":{"prompt_tokens":4,"total_tokens":4}}`)
	return l.cases
}
