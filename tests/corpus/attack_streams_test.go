// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"encoding/base64"
	"strings"
)

// attackStreams hide the marker in streamed answers. $HEAD and $TAIL are the
// marker cut inside a word.
func attackStreams() []testcase {
	l := &list{class: "stream: chat completions"}
	delta := func(d string) string {
		return `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":` + d + `,"finish_reason":null}]}`
	}
	content := func(s string) string { return delta(`{"content":"` + s + `"}`) }
	l.stream("in one chunk", delta(`{"role":"assistant","content":""}`), content("$MARK"), "[DONE]")
	l.stream("cut in a word", content("$HEAD"), content("$TAIL"), "[DONE]")
	var letters []string
	for _, r := range marker {
		letters = append(letters, content(string(r)))
	}
	l.stream("letter by letter", append(letters, "[DONE]")...)
	l.stream("with other chunks between", content("$HEAD"), `{"choices":[],"usage":{"total_tokens":3}}`, delta(`{}`), ": ping", content("$TAIL"), "[DONE]")
	l.stream("with another choice between", content("$HEAD"), `{"choices":[{"index":1,"delta":{"content":"and so"}}]}`, content("$TAIL"), "[DONE]")
	l.stream("second choice", content("ok"), `{"choices":[{"index":1,"delta":{"content":"$HEAD"}}]}`, content("ok"), `{"choices":[{"index":1,"delta":{"content":"$TAIL"}}]}`, "[DONE]")
	l.stream("two choices in one chunk", `{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"$HEAD"}}]}`, `{"choices":[{"index":0,"delta":{"content":"b"}},{"index":1,"delta":{"content":"$TAIL"}}]}`, "[DONE]")
	l.stream("index of 1.0", content("ok"), `{"choices":[{"index":1.0,"delta":{"content":"$HEAD"}}]}`, content("x"), `{"choices":[{"index":1.0,"delta":{"content":"$TAIL"}}]}`)
	l.stream("index of 1e0 beside 1", `{"choices":[{"index":1,"delta":{"content":"$HEAD"}}]}`, content("x"), `{"choices":[{"index":1e0,"delta":{"content":"$TAIL"}}]}`)
	l.stream("large index", content("ok"), `{"choices":[{"index":3000000,"delta":{"content":"$HEAD"}}]}`, content("x"), `{"choices":[{"index":3000000,"delta":{"content":"$TAIL"}}]}`)
	l.stream("negative index", content("ok"), `{"choices":[{"index":-1,"delta":{"content":"$HEAD"}}]}`, content("x"), `{"choices":[{"index":-1,"delta":{"content":"$TAIL"}}]}`)
	l.stream("index as a text", content("ok"), `{"choices":[{"index":"1","delta":{"content":"$HEAD"}}]}`, content("x"), `{"choices":[{"index":"1","delta":{"content":"$TAIL"}}]}`)
	l.stream("another index of the root", `{"index":0,"choices":[{"index":0,"delta":{"content":"$HEAD"}}]}`, `{"index":1,"choices":[{"index":0,"delta":{"content":"$TAIL"}}]}`)
	l.stream("another output_index of the root", `{"output_index":0,"choices":[{"index":0,"delta":{"content":"$HEAD"}}]}`, `{"output_index":7,"choices":[{"index":0,"delta":{"content":"$TAIL"}}]}`)
	l.stream("another index in the delta", delta(`{"index":0,"content":"$HEAD"}`), delta(`{"index":1,"content":"$TAIL"}`))
	l.stream("another contentBlockIndex in the delta", delta(`{"contentBlockIndex":0,"content":"$HEAD"}`), delta(`{"contentBlockIndex":1,"content":"$TAIL"}`))
	l.stream("another type of the root", `{"type":"a.delta","choices":[{"index":0,"delta":{"content":"$HEAD"}}]}`, `{"type":"b.delta","choices":[{"index":0,"delta":{"content":"$TAIL"}}]}`)
	l.stream("another type in the delta", delta(`{"type":"x_call","content":"$HEAD"}`), delta(`{"type":"y","content":"$TAIL"}`))
	l.stream("another type in the choice", `{"choices":[{"index":0,"type":"x_call","delta":{"content":"$HEAD"}}]}`, `{"choices":[{"index":0,"type":"reasoning","delta":{"content":"$TAIL"}}]}`)
	l.stream("another role in the delta", delta(`{"role":"assistant","content":"$HEAD"}`), delta(`{"role":"tool","content":"$TAIL"}`))
	l.stream("another id of the chunk", `{"id":"a","choices":[{"index":0,"delta":{"content":"$HEAD"}}]}`, `{"id":"b","choices":[{"index":0,"delta":{"content":"$TAIL"}}]}`)
	l.stream("tool calls beside the content", delta(`{"content":"$HEAD","tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}`), delta(`{"content":"$TAIL","tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}`))
	l.stream("name beside the content", delta(`{"name":"f","content":"$HEAD"}`), delta(`{"content":"$TAIL"}`))
	l.stream("content in parts", delta(`{"content":[{"type":"text","text":"$HEAD"}]}`), delta(`{"content":[{"type":"text","text":"$TAIL"}]}`))
	l.stream("content as text, then in parts", delta(`{"content":"$HEAD"}`), delta(`{"content":[{"type":"text","text":"$TAIL"}]}`))
	l.stream("message instead of delta", `{"choices":[{"index":0,"message":{"role":"assistant","content":"$MARK"}}]}`, "[DONE]")
	l.stream("text of a completion", `{"choices":[{"index":0,"text":"$HEAD"}]}`, `{"choices":[{"index":0,"text":"$TAIL"}]}`, "[DONE]")
	l.stream("refusal", delta(`{"refusal":"$HEAD"}`), delta(`{"refusal":"$TAIL"}`))
	l.stream("reasoning", delta(`{"reasoning_content":"$HEAD"}`), delta(`{"reasoning_content":"$TAIL"}`))
	l.stream("arguments", delta(`{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"q\":\"$HEAD"}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":"$TAIL\"}"}}]}`))
	l.stream("escape cut in the arguments", delta(`{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":"{\"q\":\"\\u00"}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":"74he grey heron hides seven copper lanterns\"}"}}]}`))
	l.stream("arguments of two calls by turns", delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"q\":\"$HEAD"}},{"index":1,"id":"b","function":{"name":"g","arguments":"{\"r\":"}}]}`), delta(`{"tool_calls":[{"index":1,"function":{"arguments":"1}"}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":"$TAIL\"}"}}]}`))
	l.stream("name of a tool", delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"$HEAD"}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"name":"$TAIL"}}]}`))
	l.stream("function_call", delta(`{"function_call":{"name":"f","arguments":"$HEAD"}}`), delta(`{"function_call":{"arguments":"$TAIL"}}`))
	l.stream("transcript", delta(`{"audio":{"id":"a","transcript":"$HEAD"}}`), delta(`{"audio":{"transcript":"$TAIL"}}`))
	l.stream("unknown member of the delta", delta(`{"thought":"$HEAD"}`), delta(`{"thought":"$TAIL"}`))
	l.stream("log probabilities", `{"choices":[{"index":0,"delta":{"content":"ok"},"logprobs":{"content":[{"token":"$HEAD","logprob":-1}]}}]}`, `{"choices":[{"index":0,"delta":{"content":"ok"},"logprobs":{"content":[{"token":"$TAIL","logprob":-1}]}}]}`)
	l.stream("after [DONE]", content("ok"), "[DONE]", content("$MARK"))
	l.stream("on both sides of [DONE]", content("$HEAD"), "[DONE]", content("$TAIL"))
	l.stream("text that contains [DONE]", content("[DONE] $MARK"), "[DONE]")
	l.stream("[DONE] with a text", content("ok"), "[DONE] $MARK")
	l.stream("error in the stream", content("ok"), `{"error":{"message":"$MARK"}}`)
	l.stream("last chunk with the usage", content("ok"), `{"choices":[],"usage":{"x":"$MARK"}}`, "[DONE]")
	l.stream("citations", content("ok"), `{"choices":[{"index":0,"delta":{"content":""}}],"citations":["https://a.example/$MARK"]}`)
	l.stream("chunk of Anthropic among them", content("ok"), `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$MARK"}}`)
	l.stream("chunk of Gemini among them", content("ok"), `{"candidates":[{"content":{"parts":[{"text":"$MARK"}]}}]}`)
	l.stream("chunk of Ollama among them", content("ok"), `{"message":{"role":"assistant","content":"$HEAD"}}`, content("ok"), `{"message":{"role":"assistant","content":"$TAIL"}}`)
	l.stream("message beside the choices", `{"choices":[{"index":0,"delta":{"content":"ok"}}],"message":{"role":"assistant","content":"$HEAD"}}`, `{"choices":[{"index":0,"delta":{"content":"ok"}}],"message":{"role":"assistant","content":"$TAIL"}}`)
	l.stream("delta beside the choices", `{"choices":[{"index":0,"delta":{"content":"ok"}}],"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$HEAD"}}`, `{"choices":[{"index":0,"delta":{"content":"ok"}}],"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$TAIL"}}`)
	l.stream("JSON that is not an object", `["$MARK"]`, `"ok"`)
	l.stream("strings", `"$HEAD"`, `"$TAIL"`)
	l.stream("plain text", "$MARK")
	l.stream("not asked for", content("$HEAD"), content("$TAIL")).over(chatPath, question.body)
	l.stream("as JSON", content("$HEAD"), content("$TAIL")).typed("application/json")
	l.stream("as plain text", content("$HEAD"), content("$TAIL")).typed("text/plain")
	l.stream("without a type", content("$HEAD"), content("$TAIL")).typed("")
	l.stream("as octets", content("$HEAD"), content("$TAIL")).typed("application/octet-stream")
	l.stream("gzip", content("$HEAD"), content("$TAIL")).coded("gzip", gzipped)
	l.stream("120 KB", strings.Split(strings.Repeat(content("all well ")+"\x00", 800)+content("$HEAD")+"\x00"+content("$TAIL")+"\x00[DONE]", "\x00")...)
	cases := l.cases

	l = &list{class: "stream: lines"}
	lines := func(name, body string) *testcase {
		c := l.say(name, body).typed("text/event-stream")
		c.request.body = `{"stream":true,"model":"m","messages":[{"role":"user","content":"hi"}]}`
		return c
	}
	lines("CR alone", strings.ReplaceAll(sse(content("$HEAD"), content("$TAIL")), "\n", "\r"))
	lines("CRLF", strings.ReplaceAll(sse(content("$HEAD"), content("$TAIL")), "\n", "\r\n"))
	lines("byte order mark", "\xef\xbb\xbf"+sse(content("$HEAD"), content("$TAIL")))
	lines("no last blank line", strings.TrimRight(sse(content("$HEAD"), content("$TAIL")), "\n"))
	lines("no space after the colon", strings.ReplaceAll(sse(content("$HEAD"), content("$TAIL")), "data: ", "data:"))
	lines("two spaces after the colon", strings.ReplaceAll(sse(content("$HEAD"), content("$TAIL")), "data: ", "data:  "))
	lines("data in several lines", "data: {\"choices\":\ndata: [{\"index\":0,\"delta\":{\"content\":\ndata: \"$MARK\"}}]}\n\n")
	lines("several messages in one event", "data: "+content("$HEAD")+"\ndata: "+content("$TAIL")+"\n\n")
	lines("comment", ": $MARK\n\n"+sse(content("ok")))
	lines("comment in several lines", ": $HEAD\n:$TAIL\n\n: the grey heron\n: hides seven copper lanterns\n\n"+sse(content("ok")))
	lines("name of an event", "event: $MARK\ndata: {}\n\n"+sse(content("ok")))
	lines("id of an event", "id: $MARK\ndata: {}\n\n"+sse(content("ok")))
	lines("retry", "retry: $MARK\n\n"+sse(content("ok")))
	lines("unknown field", "note: $MARK\n\n"+sse(content("ok")))
	lines("line without a colon", "$MARK\n\n"+sse(content("ok")))
	lines("Data", strings.ReplaceAll(sse(content("$HEAD"), content("$TAIL")), "data: ", "Data: ")+sse(content("ok")))
	lines("data after a space", sse(content("ok"))+strings.ReplaceAll(sse(content("$HEAD"), content("$TAIL")), "data: ", " data: "))
	lines("data before a space", sse(content("ok"))+strings.ReplaceAll(sse(content("$HEAD"), content("$TAIL")), "data: ", "data : "))
	lines("JSON lines among events", sse(content("ok"))+content("$HEAD")+"\n"+content("$TAIL")+"\n")
	lines("event behind a line separator", "data: {}\u2028data: "+content("$MARK")+"\n\n").must(malformed)
	lines("event behind a form feed", "data: {}\fdata: "+content("$MARK")+"\n\n").must(malformed)
	lines("JSON broken by a CR", "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\r\"$MARK\"}}]}\n\n").must(malformed)
	lines("bad byte", "data: "+content("\xff$MARK")+"\n\n").must(malformed)
	lines("name twice in a chunk", sse(`{"choices":[{"index":0,"delta":{"content":"ok","content":"$MARK"}}]}`))
	lines("two documents in one event", sse(content("ok")+content("$MARK"))).must(malformed)
	lines("chunk that is cut off", sse(`{"choices":[{"index":0,"delta":{"content":"$MARK`)).must(malformed)
	lines("Delta", sse(`{"choices":[{"index":0,"delta":{"content":"ok"},"Delta":{"content":"$MARK"}}]}`)).must(malformed)
	lines("100,001 lines in one event", strings.Repeat("data:\n", 100_001)+"data: $MARK\n\n").must(malformed)
	cases = append(cases, l.cases...)

	l = &list{class: "stream: other APIs"}
	anthropic := func(name string, events ...string) {
		for i, e := range events {
			if kind, _, ok := strings.Cut(strings.TrimPrefix(e, `{"type":"`), `"`); ok {
				events[i] = "event: " + kind + "\ndata: " + e
			}
		}
		l.stream("anthropic, "+name, events...).over("/v1/messages", strings.Replace(askMessages, "{", `{"stream":true,`, 1))
	}
	block := func(index int, d string) string {
		return `{"type":"content_block_delta","index":` + string(rune('0'+index)) + `,"delta":` + d + `}`
	}
	anthropic("text", `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude","usage":{"input_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, block(0, `{"type":"text_delta","text":"$HEAD"}`), `{"type":"ping"}`, block(0, `{"type":"text_delta","text":"$TAIL"}`), `{"type":"content_block_stop","index":0}`, `{"type":"message_stop"}`)
	anthropic("text in the start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"$HEAD"}}`, block(0, `{"type":"text_delta","text":"$TAIL"}`))
	anthropic("thinking", block(0, `{"type":"thinking_delta","thinking":"$HEAD"}`), block(0, `{"type":"thinking_delta","thinking":"$TAIL"}`))
	anthropic("input", `{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}`, block(1, `{"type":"input_json_delta","partial_json":"{\"q\":\"$HEAD"}`), block(1, `{"type":"input_json_delta","partial_json":"$TAIL\"}"}`))
	anthropic("input in the start", `{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"f","input":{"q":"$MARK"}}}`)
	anthropic("citation", block(0, `{"type":"citations_delta","citation":{"type":"char_location","cited_text":"$MARK"}}`))
	anthropic("signature", block(0, `{"type":"signature_delta","signature":"$BASE64"}`))
	anthropic("two blocks by turns", block(0, `{"type":"text_delta","text":"$HEAD"}`), block(1, `{"type":"text_delta","text":"ok"}`), block(0, `{"type":"text_delta","text":"$TAIL"}`))
	anthropic("unknown type of delta", block(0, `{"type":"song_delta","song":"$MARK"}`))
	anthropic("another type of delta each time", block(0, `{"type":"text_delta","text":"$HEAD"}`), block(0, `{"type":"text_delta2","text":"$TAIL"}`))
	anthropic("text in the message of the start", `{"type":"message_start","message":{"id":"msg_1","content":[{"type":"text","text":"$HEAD"}]}}`, block(0, `{"type":"text_delta","text":"$TAIL"}`))
	anthropic("stop sequence", `{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"$MARK"},"usage":{"output_tokens":1}}`)
	anthropic("error", `{"type":"error","error":{"type":"overloaded_error","message":"$MARK"}}`)
	anthropic("message in the start", `{"type":"message_start","message":{"id":"msg_1","content":[{"type":"text","text":"$MARK"}]}}`)
	responses := func(name string, events ...string) {
		l.stream("responses, "+name, events...).over("/v1/responses", `{"stream":true,"model":"gpt-4o","input":"hi"}`)
	}
	responses("text", `{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"$HEAD"}`, `{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"$TAIL"}`)
	responses("arguments", `{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":0,"delta":"{\"q\":\"$HEAD"}`, `{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":0,"delta":"$TAIL\"}"}`)
	responses("reasoning", `{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"summary_index":0,"delta":"$HEAD"}`, `{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"summary_index":0,"delta":"$TAIL"}`)
	responses("done that differs", `{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"ok"}`, `{"type":"response.output_text.done","item_id":"msg_1","output_index":0,"content_index":0,"text":"$MARK"}`)
	responses("completed that differs", `{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"ok"}`, `{"type":"response.completed","response":{"id":"resp_1","object":"response","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"$MARK"}]}]}}`)
	responses("item", `{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"$MARK"}]}}`)
	responses("failure", `{"type":"response.failed","response":{"id":"resp_1","error":{"code":"server_error","message":"$MARK"}}}`)
	responses("two items by turns", `{"type":"response.output_text.delta","item_id":"a","output_index":0,"content_index":0,"delta":"$HEAD"}`, `{"type":"response.output_text.delta","item_id":"b","output_index":1,"content_index":0,"delta":"ok"}`, `{"type":"response.output_text.delta","item_id":"a","output_index":0,"content_index":0,"delta":"$TAIL"}`)
	responses("text in the part of the start", `{"type":"response.content_part.added","item_id":"a","output_index":0,"content_index":0,"part":{"type":"output_text","text":"$HEAD"}}`, `{"type":"response.output_text.delta","item_id":"a","output_index":0,"content_index":0,"delta":"$TAIL"}`)
	responses("text in the item of the start", `{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"a","role":"assistant","content":[{"type":"output_text","text":"$HEAD"}]}}`, `{"type":"response.output_text.delta","item_id":"a","output_index":0,"content_index":0,"delta":"$TAIL"}`)
	responses("arguments in the item of the start", `{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"a","call_id":"call_1","name":"f","arguments":"{\"q\":\"$HEAD"}}`, `{"type":"response.function_call_arguments.delta","item_id":"a","output_index":0,"delta":"$TAIL\"}"}`)
	responses("two parts by turns", `{"type":"response.output_text.delta","item_id":"a","output_index":0,"content_index":0,"delta":"$HEAD"}`, `{"type":"response.output_text.delta","item_id":"a","output_index":0,"content_index":1,"delta":"ok"}`, `{"type":"response.output_text.delta","item_id":"a","output_index":0,"content_index":0,"delta":"$TAIL"}`)
	responses("unknown event", `{"type":"response.hologram.delta","delta":"$HEAD"}`, `{"type":"response.hologram.delta","delta":"$TAIL"}`)
	responses("partial image that is text", `{"type":"response.image_generation_call.partial_image","partial_image_b64":"$BASE64"}`)
	gemini := func(name string, events ...string) {
		l.stream("gemini, "+name, events...).over("/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse", askGemini)
	}
	gemini("text", `{"candidates":[{"content":{"role":"model","parts":[{"text":"$HEAD"}]}}]}`, `{"candidates":[{"content":{"role":"model","parts":[{"text":"$TAIL"}]}}]}`)
	gemini("function call", `{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"q":"$MARK"}}}]}}]}`)
	gemini("candidates by turns", `{"candidates":[{"index":0,"content":{"parts":[{"text":"$HEAD"}]}}]}`, `{"candidates":[{"index":1,"content":{"parts":[{"text":"ok"}]}}]}`, `{"candidates":[{"index":0,"content":{"parts":[{"text":"$TAIL"}]}}]}`)
	gemini("thoughts between", `{"candidates":[{"content":{"parts":[{"text":"$HEAD"}]}}]}`, `{"candidates":[{"content":{"parts":[{"text":"ok","thought":true}]}}]}`, `{"candidates":[{"content":{"parts":[{"text":"$TAIL"}]}}]}`)
	gemini("in two parts", `{"candidates":[{"content":{"parts":[{"text":"$HEAD"},{"text":"$TAIL"}]}}]}`)
	l.say("gemini, array in chunks", `[{"candidates":[{"content":{"parts":[{"text":"$MARK"}]}}]}`+"\n,\r\n"+`{"candidates":[{"content":{"parts":[{"text":"ok"}]}}]}]`).over("/v1beta/models/gemini-2.0-flash:streamGenerateContent", askGemini)
	cohere := func(name string, events ...string) {
		l.stream("cohere, "+name, events...).over("/v2/chat", strings.Replace(askCohereTwo, "{", `{"stream":true,`, 1))
	}
	cohere("v2", `{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"$HEAD"}}}}`, `{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"$TAIL"}}}}`)
	cohere("plan", `{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"$HEAD"}}}`, `{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"$TAIL"}}}`)
	cohere("arguments", `{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"a","type":"function","function":{"name":"f","arguments":""}}}}}`, `{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"q\":\"$HEAD"}}}}}`, `{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"$TAIL\"}"}}}}}`)
	ndjson := func(name, path string, lines ...string) *testcase {
		return l.say(name, strings.Join(lines, "\n")+"\n").over(path, `{"model":"llama3","messages":[{"role":"user","content":"hi"}]}`).typed("application/x-ndjson")
	}
	ndjson("ollama, chat", "/api/chat", `{"model":"llama3","message":{"role":"assistant","content":"$HEAD"},"done":false}`, `{"model":"llama3","message":{"role":"assistant","content":"$TAIL"},"done":false}`, `{"model":"llama3","message":{"role":"assistant","content":""},"done":true}`)
	ndjson("ollama, generate", "/api/generate", `{"model":"llama3","response":"$HEAD","done":false}`, `{"model":"llama3","response":"$TAIL","done":true}`)
	const token = `{"index":1,"token":{"id":5,"text":"$TEXT","logprob":-0.1,"special":$SPECIAL},"generated_text":null,"details":null}`
	tgi := func(name string, tokens ...[2]string) {
		var events []string
		for _, t := range tokens {
			events = append(events, strings.NewReplacer("$TEXT", t[0], "$SPECIAL", t[1]).Replace(token))
		}
		l.stream("tgi, "+name, events...).over("/generate_stream", `{"inputs":"hi"}`)
	}
	tgi("tokens", [2]string{"$HEAD", "false"}, [2]string{"$TAIL", "false"})
	tgi("a special token between", [2]string{"$HEAD", "false"}, [2]string{"<pad>", "true"}, [2]string{"$TAIL", "false"})
	tgi("a part in a special token", [2]string{"$HEAD", "true"}, [2]string{"$TAIL", "false"})
	ndjson("ollama, thinking", "/api/chat", `{"message":{"role":"assistant","content":"","thinking":"$HEAD"}}`, `{"message":{"role":"assistant","content":"","thinking":"$TAIL"}}`)
	ndjson("ollama as JSON", "/api/chat", `{"message":{"content":"$HEAD"}}`, `{"message":{"content":"$TAIL"}}`).typed("application/json")
	ndjson("ollama without a type", "/api/chat", `{"message":{"content":"$HEAD"}}`, `{"message":{"content":"$TAIL"}}`).typed("")
	ndjson("broken line among JSON lines", "/api/chat", `{"message":{"content":"ok"}}`, `{"message":{"content":"$MARK"`).must(malformed)
	ndjson("cohere v1", "/v1/chat", `{"event_type":"text-generation","text":"$HEAD"}`, `{"event_type":"text-generation","text":"$TAIL"}`, `{"event_type":"stream-end","finish_reason":"COMPLETE"}`)
	const frameType = "application/vnd.amazon.eventstream"
	aws := func(name string, messages ...[2]string) *testcase {
		for i := range messages {
			messages[i][1] = spell.Replace(messages[i][1])
		}
		return l.say(name, frames(messages...)).over("/model/anthropic.claude-3/converse-stream", askConverse).typed(frameType)
	}
	converse := func(s string) [2]string {
		return [2]string{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"` + s + `"},"p":"abc"}`}
	}
	aws("converse stream", [2]string{"messageStart", `{"role":"assistant"}`}, converse("$HEAD"), converse("$TAIL"), [2]string{"messageStop", `{"stopReason":"end_turn"}`})
	aws("converse stream without a type", converse("$HEAD"), converse("$TAIL")).typed("")
	aws("converse stream, tool input", [2]string{"contentBlockDelta", `{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"q\":\"$HEAD"}}}`}, [2]string{"contentBlockDelta", `{"contentBlockIndex":1,"delta":{"toolUse":{"input":"$TAIL\"}"}}}`})
	aws("converse stream, reasoning", [2]string{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"$HEAD"}}}`}, [2]string{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"$TAIL"}}}`})
	aws("frame's event type", [2]string{marker, `{}`})
	aws("frame of plain text", [2]string{"chunk", "$MARK"})
	invoke := func(s string) [2]string {
		return [2]string{"chunk", `{"bytes":"` + base64.StdEncoding.EncodeToString([]byte(spell.Replace(s))) + `"}`}
	}
	aws("invoke stream", invoke(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$HEAD"}}`), invoke(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"$TAIL"}}`))
	aws("invoke stream, padding", [2]string{"chunk", `{"bytes":"e30=","p":"$MARK"}`})
	bad := aws("frame with a wrong checksum", converse("$MARK")).must(malformed)
	bad.answer.body = bad.answer.body[:len(bad.answer.body)-1] + "\x00"
	cut := aws("frame that is cut off", converse("ok"), converse("$MARK")).must(malformed)
	cut.answer.body = cut.answer.body[:len(cut.answer.body)-5]
	return append(cases, l.cases...)
}
