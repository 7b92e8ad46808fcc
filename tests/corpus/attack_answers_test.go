// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"strconv"
	"strings"
)

// requests of APIs other than chat completions, for their answers.
const (
	askMessages  = `{"model":"claude-sonnet-4","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`
	askGemini    = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`
	askConverse  = `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`
	askTitan     = `{"inputText":"hi","textGenerationConfig":{"maxTokenCount":10}}`
	askCohereOne = `{"model":"command-r","message":"hi"}`
	askCohereTwo = `{"model":"command-a","messages":[{"role":"user","content":"hi"}]}`
	askOllama    = `{"model":"llama3","messages":[{"role":"user","content":"hi"}],"stream":false}`
	askGenerate  = `{"model":"llama3","prompt":"hi","stream":false}`
	askResponses = `{"model":"gpt-4o","input":"hi"}`

	geminiPath   = "/v1beta/models/gemini-2.0-flash:generateContent"
	conversePath = "/model/anthropic.claude-3/converse"
)

// attackAnswers hide the marker in answers that are no streams.
func attackAnswers() []testcase {
	l := &list{class: "answer: chat completions"}
	choice := func(name, message string) {
		l.say(name, `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",`+message+`},"finish_reason":"stop"}]}`)
	}
	choice("content", `"content":"$MARK"`)
	choice("content in parts", `"content":[{"type":"text","text":"ok"},{"type":"text","text":"$MARK"}]`)
	choice("refusal", `"content":null,"refusal":"$MARK"`)
	choice("reasoning_content", `"content":"ok","reasoning_content":"$MARK"`)
	choice("reasoning", `"content":"ok","reasoning":"$MARK"`)
	choice("arguments", `"content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"q\":\"$MARK\"}"}}]`)
	choice("arguments with escapes", `"content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"q\":\"\\u0074he grey heron hides seven copper lanterns\"}"}}]`)
	choice("name of a tool", `"content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"$MARK","arguments":"{}"}}]`)
	choice("function_call", `"content":null,"function_call":{"name":"f","arguments":"$MARK"}`)
	choice("transcript", `"content":null,"audio":{"id":"audio_1","data":"UklGRg==","expires_at":1,"transcript":"$MARK"}`)
	choice("audio that is text", `"content":null,"audio":{"id":"audio_1","data":"$BASE64","expires_at":1}`)
	choice("annotation", `"content":"ok","annotations":[{"type":"url_citation","url_citation":{"title":"$MARK","url":"https://a.example","start_index":0,"end_index":1}}]`)
	choice("URL of a citation", `"content":"ok","annotations":[{"type":"url_citation","url_citation":{"title":"t","url":"https://a.example/?q=$MARK"}}]`)
	choice("image", `"content":"ok","images":[{"type":"image_url","image_url":{"url":"data:text/html,$PERCENT"}}]`)
	choice("unknown member", `"content":"ok","thoughts":{"a":["$MARK"]}`)
	choice("Content", `"content":"ok","x":"$MARK"`)
	choice("role", `"content":"ok","name":"$MARK"`)
	l.say("second of two choices", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}},{"index":1,"message":{"role":"assistant","content":"$MARK"}}]}`)
	l.say("eighth choice", `{"choices":[`+strings.Repeat(`{"index":0,"message":{"role":"assistant","content":"ok"}},`, 7)+`{"index":7,"message":{"role":"assistant","content":"$MARK"}}]}`)
	l.say("delta in an answer", `{"choices":[{"index":0,"delta":{"content":"$MARK"}}]}`)
	l.say("text of a completion", `{"choices":[{"index":0,"text":"$MARK"}]}`)
	l.say("choice is a string", `{"choices":["$MARK"]}`)
	l.say("finish reason", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"$MARK"}]}`)
	l.say("model", `{"model":"$MARK","choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}]}`)
	l.say("id", `{"id":"$MARK","choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}]}`)
	l.say("usage", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}],"usage":{"prompt_tokens":1,"note":"$MARK"}}`)
	l.say("name in usage", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}],"usage":{"prompt_tokens":1,"$MARK":2}}`)
	l.say("log probabilities", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"logprobs":{"content":[{"token":"the grey heron hides","logprob":-1,"bytes":null,"top_logprobs":[]},{"token":" seven copper lanterns","logprob":-1,"bytes":null,"top_logprobs":[]}]}}]}`)
	l.say("bytes of log probabilities", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"logprobs":{"content":[{"token":"ok","logprob":-1,"bytes":`+byteList(marker)+`,"top_logprobs":[]}]}}]}`)
	l.say("alternatives of log probabilities", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"logprobs":{"content":[{"token":"ok","logprob":-1,"bytes":[111,107],"top_logprobs":[{"token":"$MARK","logprob":-2,"bytes":null}]}]}}]}`)
	l.say("refusal's log probabilities", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"logprobs":{"content":null,"refusal":[{"token":"$MARK","logprob":-1}]}}]}`)
	l.say("error in a 200", `{"error":{"message":"$MARK","type":"server_error"}}`)
	l.say("error beside choices", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}],"error":{"message":"ok","metadata":{"raw":"$MARK"}}}`)
	l.say("unknown member of the root", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}],"debug":"$MARK"}`)
	l.say("filter results", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"content_filter_results":{"custom_blocklists":{"details":[{"id":"$MARK"}]}}}]}`)
	l.say("citations of the root", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}],"citations":["https://a.example/$MARK"]}`)
	cases := l.cases

	l = &list{class: "answer: other APIs"}
	l.say("anthropic, second block", `{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"ok"},{"type":"text","text":"$MARK"}],"stop_reason":"end_turn"}`).over("/v1/messages", askMessages)
	l.say("anthropic, tool use", `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{"url":"$MARK"}}],"stop_reason":"tool_use"}`).over("/v1/messages", askMessages)
	l.say("anthropic, thinking", `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"thinking","thinking":"$MARK","signature":"RXJyb3I="}]}`).over("/v1/messages", askMessages)
	l.say("anthropic, redacted thinking that is text", `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"redacted_thinking","data":"$BASE64"}]}`).over("/v1/messages", askMessages)
	l.say("anthropic, cited text", `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"ok","citations":[{"type":"char_location","cited_text":"$MARK","document_index":0,"start_char_index":0,"end_char_index":1}]}]}`).over("/v1/messages", askMessages)
	l.say("anthropic, web search result", `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://a.example","title":"$MARK","encrypted_content":"RXJyb3I=","page_age":"April 30, 2025"}]}]}`).over("/v1/messages", askMessages)
	l.say("anthropic, stop sequence", `{"id":"msg_1","type":"message","role":"assistant","content":[],"stop_reason":"stop_sequence","stop_sequence":"$MARK"}`).over("/v1/messages", askMessages)
	l.say("anthropic, error", `{"type":"error","error":{"type":"overloaded_error","message":"$MARK"}}`).over("/v1/messages", askMessages)
	l.say("responses, text", `{"id":"resp_1","object":"response","status":"completed","output":[{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"$MARK","annotations":[]}]}]}`).over("/v1/responses", askResponses)
	l.say("responses, call", `{"id":"resp_1","object":"response","output":[{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{\"q\":\"$MARK\"}"}]}`).over("/v1/responses", askResponses)
	l.say("responses, reasoning", `{"id":"resp_1","object":"response","output":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"$MARK"}]}]}`).over("/v1/responses", askResponses)
	l.say("responses, refusal", `{"id":"resp_1","object":"response","output":[{"type":"message","role":"assistant","content":[{"type":"refusal","refusal":"$MARK"}]}]}`).over("/v1/responses", askResponses)
	l.say("responses, file search", `{"id":"resp_1","object":"response","output":[{"type":"file_search_call","id":"fs_1","queries":["q"],"results":[{"file_id":"f","filename":"a.txt","score":0.5,"text":"$MARK"}]}]}`).over("/v1/responses", askResponses)
	l.say("responses, code", `{"id":"resp_1","object":"response","output":[{"type":"code_interpreter_call","id":"ci_1","code":"print('$MARK')","outputs":[]}]}`).over("/v1/responses", askResponses)
	l.say("responses, mcp tools", `{"id":"resp_1","object":"response","output":[{"type":"mcp_list_tools","id":"mcpl_1","server_label":"x","tools":[{"name":"f","description":"$MARK","input_schema":{}}]}]}`).over("/v1/responses", askResponses)
	l.say("responses, image result that is text", `{"id":"resp_1","object":"response","output":[{"type":"image_generation_call","id":"ig_1","status":"completed","result":"$BASE64"}]}`).over("/v1/responses", askResponses)
	l.say("responses, instructions repeated", `{"id":"resp_1","object":"response","instructions":"$MARK","output":[]}`).over("/v1/responses", askResponses)
	l.say("responses, unknown item", `{"id":"resp_1","object":"response","output":[{"type":"teleport","to":{"x":"$MARK"}}]}`).over("/v1/responses", askResponses)
	l.say("gemini, second candidate", `{"candidates":[{"content":{"role":"model","parts":[{"text":"ok"}]}},{"content":{"role":"model","parts":[{"text":"$MARK"}]}}]}`).over(geminiPath, askGemini)
	l.say("gemini, function call", `{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"q":"'$MARK"}}}]}}]}`).over(geminiPath, askGemini)
	l.say("gemini, thought", `{"candidates":[{"content":{"role":"model","parts":[{"text":"$MARK","thought":true}]}}]}`).over(geminiPath, askGemini)
	l.say("gemini, inline text", `{"candidates":[{"content":{"role":"model","parts":[{"inlineData":{"mimeType":"image/png","data":"$BASE64"}}]}}]}`).over(geminiPath, askGemini)
	l.say("gemini, grounding", `{"candidates":[{"content":{"role":"model","parts":[{"text":"ok"}]},"groundingMetadata":{"searchEntryPoint":{"renderedContent":"<div>$MARK</div>"}}}]}`).over(geminiPath, askGemini)
	l.say("gemini, finish message", `{"candidates":[{"finishReason":"SAFETY","finishMessage":"$MARK"}]}`).over(geminiPath, askGemini)
	l.say("gemini, code result", `{"candidates":[{"content":{"parts":[{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"$MARK"}}]}}]}`).over(geminiPath, askGemini)
	l.say("gemini, array of answers", `[{"candidates":[{"content":{"parts":[{"text":"ok"}]}}]},{"candidates":[{"content":{"parts":[{"text":"$MARK"}]}}]}]`).over("/v1beta/models/g:streamGenerateContent", askGemini)
	l.say("converse, text", `{"output":{"message":{"role":"assistant","content":[{"text":"$MARK"}]}},"stopReason":"end_turn","usage":{"inputTokens":1},"metrics":{"latencyMs":5}}`).over(conversePath, askConverse)
	l.say("converse, tool use", `{"output":{"message":{"role":"assistant","content":[{"text":"ok"},{"toolUse":{"toolUseId":"t1","name":"f","input":{"q":"$MARK"}}}]}}}`).over(conversePath, askConverse)
	l.say("converse, reasoning", `{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"$MARK","signature":"RXJyb3I="}}}]}}}`).over(conversePath, askConverse)
	l.say("converse, trace", `{"output":{"message":{"role":"assistant","content":[]}},"trace":{"guardrail":{"modelOutput":["$MARK"]}}}`).over(conversePath, askConverse)
	l.say("titan", `{"inputTextTokenCount":1,"results":[{"tokenCount":2,"outputText":"$MARK","completionReason":"FINISH"}]}`).over("/model/amazon.titan-text/invoke", askTitan)
	l.say("llama", `{"generation":"$MARK","prompt_token_count":1,"generation_token_count":2,"stop_reason":"stop"}`).over("/model/meta.llama3/invoke", `{"prompt":"hi"}`)
	l.say("cohere v1", `{"text":"$MARK","generation_id":"g","chat_history":[],"finish_reason":"COMPLETE","meta":{"api_version":{"version":"1"}}}`).over("/v1/chat", askCohereOne)
	l.say("cohere v1, history", `{"text":"ok","chat_history":[{"role":"CHATBOT","message":"$MARK"}]}`).over("/v1/chat", askCohereOne)
	l.say("cohere v2", `{"id":"c","message":{"role":"assistant","tool_plan":"$MARK","content":[]},"finish_reason":"COMPLETE"}`).over("/v2/chat", askCohereTwo)
	l.say("cohere, citation", `{"text":"ok","citations":[{"start":0,"end":1,"text":"$MARK","document_ids":["a"]}]}`).over("/v1/chat", askCohereOne)
	l.say("cohere, rerank", `{"results":[{"index":0,"relevance_score":0.9,"document":{"text":"$MARK"}}]}`).over("/v2/rerank", `{"model":"r","query":"q","documents":["a"]}`)
	l.say("ollama, chat", `{"model":"llama3","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"$MARK"},"done":true}`).over("/api/chat", askOllama)
	l.say("ollama, generate", `{"model":"llama3","response":"$MARK","done":true,"context":[1,2]}`).over("/api/generate", askGenerate)
	l.say("tgi, tokens of the details", `{"generated_text":"ok","details":{"finish_reason":"length","tokens":[{"id":1,"text":"$HEAD","special":false},{"id":2,"text":"<pad>","special":true},{"id":3,"text":"$TAIL","special":false}]}}`).over("/generate", `{"inputs":"hi"}`)
	l.say("tgi, tokens of another sequence", `{"generated_text":"ok","details":{"best_of_sequences":[{"generated_text":"ok","tokens":[{"id":1,"text":"$HEAD"},{"id":3,"text":"$TAIL"}]}]}}`).over("/generate", `{"inputs":"hi"}`)
	l.say("ollama, thinking", `{"model":"llama3","message":{"role":"assistant","content":"ok","thinking":"$MARK"},"done":true}`).over("/api/chat", askOllama)
	l.say("moderations", `{"id":"m","results":[{"flagged":true,"categories":{"$MARK":true},"category_scores":{}}]}`).over("/v1/moderations", `{"input":"hi"}`)
	l.say("embeddings with a text", `{"object":"list","data":[{"object":"embedding","index":0,"embedding":["$MARK"]}]}`).over("/v1/embeddings", `{"model":"e","input":"hi"}`)
	l.say("embeddings in base64 that is text", `{"object":"list","data":[{"object":"embedding","index":0,"embedding":"$BASE64"}]}`).over("/v1/embeddings", `{"model":"e","input":"hi","encoding_format":"base64"}`)
	l.say("image's revised prompt", `{"created":1,"data":[{"b64_json":"iVBORw0KGgo=","revised_prompt":"$MARK"}]}`).over("/v1/images/generations", `{"prompt":"hi"}`)
	l.say("image that is text", `{"created":1,"data":[{"b64_json":"$BASE64"}]}`).over("/v1/images/generations", `{"prompt":"hi"}`)
	l.say("transcription", `{"text":"$MARK","segments":[]}`).over("/v1/audio/transcriptions", `{"a":1}`)
	l.say("segment of a transcription", `{"text":"ok","segments":[{"id":0,"text":"$MARK"}]}`).over("/v1/audio/transcriptions", `{"a":1}`)
	l.say("list of models", `{"object":"list","data":[{"id":"a","object":"model","description":"$MARK"}]}`).over("/v1/models", "").by("GET")
	l.say("messages of a thread", `{"object":"list","data":[{"id":"msg_1","role":"assistant","content":[{"type":"text","text":{"value":"$MARK","annotations":[]}}]}]}`).over("/v1/threads/t/messages", "").by("GET")
	l.say("content of a file", `{"a":1}`+"\n"+`{"response":{"body":{"choices":[{"message":{"content":"$MARK"}}]}}}`+"\n").over("/v1/files/f/content", "").by("GET").typed("application/octet-stream")
	l.say("unknown JSON", `{"x":[{"y":"$MARK"}]}`)
	l.say("a JSON string", `"$MARK"`)
	cases = append(cases, l.cases...)

	l = &list{class: "answer: bodies that are not what they say"}
	const good = `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"}}]}`
	const bad = `{"choices":[{"index":0,"message":{"role":"assistant","content":"$MARK"}}]}`
	l.say("gzip", bad).coded("gzip", gzipped)
	l.say("br", bad).coded("br", brotlied)
	l.say("zstd", bad).coded("zstd", zstandard)
	l.say("deflate", bad).coded("deflate", zlibbed)
	l.say("stacked", bad).coded("gzip, br", func(b []byte) []byte { return brotlied(gzipped(b)) }).must(unscannable)
	l.say("encoding in two headers", bad).coded("gzip", func(b []byte) []byte { return gzipped(gzipped(b)) }).with("Content-Encoding: gzip").must(unscannable)
	l.say("unknown coding", bad).coded("dcb", same).must(unscannable)
	l.say("gzip without a label", bad).must(malformed).subject().body = string(gzipped([]byte(spell.Replace(bad))))
	l.say("bomb", "").coded("gzip", func([]byte) []byte { return gzipped([]byte(strings.Repeat(marker, 200_000))) }).must(unscannable)
	l.say("HTML", "<html><body>$MARK</body></html>").typed("text/html")
	l.say("plain text", "$MARK").typed("text/plain; charset=utf-8")
	l.say("no type", "$MARK").typed("")
	l.say("CSV", "a,b\n1,$MARK\n").typed("text/csv")
	l.say("SVG", "<svg xmlns=\"http://www.w3.org/2000/svg\"><text>$MARK</text></svg>").typed("image/svg+xml")
	l.say("plain text that says it is an image", "$MARK").typed("image/png")
	l.say("plain text that says it is JSON", "$MARK").must(malformed)
	l.say("content twice", `{"choices":[{"index":0,"message":{"role":"assistant","content":"ok","content":"$MARK"}}]}`)
	l.say("choices twice", `{"choices":[{"message":{"content":"$MARK"}}],"choices":[{"message":{"content":"ok"}}]}`)
	l.say("Choices", `{"choices":[{"message":{"content":"ok"}}],"Choices":[{"message":{"content":"$MARK"}}]}`).must(malformed)
	l.say("byte order mark", "\xef\xbb\xbf"+bad).must(malformed)
	l.say("UTF-16", utf16LE(spell.Replace(bad))).must(malformed)
	l.say("charset", bad).typed("application/json; charset=utf-16").must(malformed)
	l.say("text after the document", good+" $MARK").must(malformed)
	l.say("document after the document", good+bad).must(malformed)
	l.say("lone surrogate", `{"choices":[{"message":{"content":"\udfff $MARK"}}]}`)
	l.say("bad byte", "{\"choices\":[{\"message\":{\"content\":\"\xff $MARK\"}}]}").must(malformed)
	l.say("over the size limit", `{"choices":[{"message":{"content":"$MARK`+strings.Repeat(" ", 11<<20)+`"}}]}`).must(tooLarge)
	l.say("gRPC", "\x00\x00\x00\x00\x2a$MARK").typed("application/grpc").must(unscannable)
	l.say("protobuf", "\x0a\x2a$MARK").typed("application/x-protobuf").must(unscannable)
	l.say("multipart", "--b\r\nContent-Type: text/plain\r\n\r\n$MARK\r\n--b--\r\n").typed("multipart/mixed; boundary=b")
	l.say("to a request without a body", bad).over("/v1/models", "").by("GET")
	l.say("to a DELETE", `{"deleted":true,"note":"$MARK"}`).over("/v1/files/f", "").by("DELETE")
	l.say("to HTTP/2", bad).http2 = true
	l.say("status 201", bad).answer.status = 201
	l.say("status 207", bad).answer.status = 207
	l.say("status 302", "moved to $MARK").typed("text/plain").answer.status = 302
	return append(cases, l.cases...)
}

// byteList writes the bytes of a text as an array of numbers.
func byteList(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("," + strconv.Itoa(int(s[i])))
	}
	return "[" + b.String()[1:] + "]"
}
