// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// goodAnswers are answers as real models and servers give them.
func goodAnswers() []testcase {
	l := &list{class: "good: answers"}
	say := func(name, answer string) *testcase { return l.pass(name, chatPath, question.body, answer) }
	say("tool calls", `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"`+callID+`","type":"function","function":{"name":"get_weather","arguments":"{\"location\":\"Oslo\",\"unit\":\"celsius\"}"}},{"id":"call_2","type":"function","function":{"name":"now","arguments":""}}],"refusal":null},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}`)
	say("three choices", `{"choices":[{"index":0,"message":{"role":"assistant","content":"At noon."}},{"index":1,"message":{"role":"assistant","content":"At noon."}},{"index":2,"message":{"role":"assistant","content":"Hourly."}}]}`)
	say("log probabilities", `{"choices":[{"index":0,"message":{"role":"assistant","content":"At noon."},"logprobs":{"content":[{"token":"At","logprob":-0.1,"bytes":[65,116],"top_logprobs":[{"token":"At","logprob":-0.1,"bytes":[65,116]},{"token":"By","logprob":-2.5,"bytes":[66,121]}]},{"token":" noon.","logprob":-0.2,"bytes":[32,110,111,111,110,46],"top_logprobs":[]}],"refusal":null},"finish_reason":"stop"}]}`)
	say("refusal of the model", `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":"I cannot help with that."},"finish_reason":"stop"}]}`)
	say("sound", `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"audio":{"id":"audio_abc123","data":"`+wavBase64+`","expires_at":1729018505,"transcript":"At noon."}},"finish_reason":"stop"}]}`)
	say("images", `{"choices":[{"index":0,"message":{"role":"assistant","content":"Here.","images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,`+pngBase64+`"}}]},"finish_reason":"stop"}]}`)
	say("empty content", `{"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"length"}]}`)
	say("no choices", `{"choices":[]}`)
	say("empty object", `{}`)
	say("spread over lines", "{\n  \"choices\": [\n    {\n      \"index\": 0,\n      \"message\": {\n        \"role\": \"assistant\",\n        \"content\": \"At noon.\"\n      }\n    }\n  ]\n}\n")
	say("white space in front", "\n\n   \n"+completion.body)
	say("code", `{"choices":[{"index":0,"message":{"role":"assistant","content":"`+"```go\\nfunc f() error { return fmt.Errorf(\\\"%w\\\", err) }\\n```"+`"},"finish_reason":"stop"}]}`)
	say("300 KB", `{"choices":[{"index":0,"message":{"role":"assistant","content":"`+strings.Repeat(`Ferries run hourly.\n`, 15_000)+`"},"finish_reason":"stop"}]}`)
	for _, c := range []struct {
		name   string
		encode func([]byte) []byte
	}{{"gzip", gzipped}, {"deflate", zlibbed}, {"br", brotlied}, {"zstd", zstandard}, {"identity", same}} {
		t := say("coded by "+c.name, string(c.encode([]byte(completion.body))))
		t.answer.header = append(t.answer.header, "Content-Encoding: "+c.name, "Vary: Accept-Encoding", "Etag: \"a1\"")
		t.with("Accept-Encoding: gzip, deflate, br, zstd")
	}
	for _, c := range []struct {
		name   string
		encode func([]byte) []byte
	}{{"gzip", gzipped}, {"deflate", deflated}, {"br", brotlied}, {"zstd", zstandard}} {
		say("request coded by "+c.name, completion.body).coded(c.name, c.encode)
	}
	say("many headers", completion.body).answer.header = []string{"Content-Type: application/json; charset=utf-8", "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2", "X-Request-Id: req_1", "Openai-Processing-Ms: 320", "X-Ratelimit-Remaining-Tokens: 149984", "Etag: W/\"1\"", "Cache-Control: no-store", "Content-Digest: sha-256=:AA==:", "Strict-Transport-Security: max-age=31536000", "Link: <https://a.example>; rel=\"next\""}
	say("plain text", "At noon.").answer.header = []string{"Content-Type: text/plain; charset=utf-8"}
	say("no content type", completion.body).answer.header = nil
	say("HTML", "<!doctype html><title>ok</title><p>At noon.</p>").answer.header = []string{"Content-Type: text/html; charset=utf-8"}
	say("Latin 1 label on ASCII", "At noon.").answer.header = []string{"Content-Type: text/plain; charset=iso-8859-1"}
	l.pass("image", "/v1/files/file-1/content", "", png).by("GET").answer.header = []string{"Content-Type: image/png"}
	l.pass("document", "/v1/files/file-1/content", "", pdf).by("GET").answer.header = []string{"Content-Type: application/pdf"}
	l.pass("octets", "/v1/files/file-1/content", "", noise(5000)).by("GET").answer.header = []string{"Content-Type: application/octet-stream"}
	l.pass("JSON lines", "/v1/files/file-1/content", "", `{"id":"batch_req_1","custom_id":"1","response":{"status_code":200,"body":`+completion.body+`},"error":null}`+"\n"+`{"id":"batch_req_2","custom_id":"2","response":{"status_code":200,"body":`+completion.body+`},"error":null}`+"\n").by("GET").answer.header = []string{"Content-Type: application/octet-stream"}
	cases := l.cases

	l = &list{class: "good: errors of the upstream"}
	problem := func(name string, status int, contentType, body string) *testcase {
		c := l.pass(name, chatPath, question.body, body)
		c.answer.status = status
		c.answer.header = nil
		if contentType != "" {
			c.answer.header = []string{"Content-Type: " + contentType}
		}
		return c
	}
	problem("400", 400, "application/json", `{"error":{"message":"Unknown parameter: 'x'.","type":"invalid_request_error","param":"x","code":"unknown_parameter"}}`)
	problem("401", 401, "application/json", `{"error":{"message":"Incorrect API key provided: sk-1***9.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`)
	problem("404, HTML", 404, "text/html", "<html><body><h1>404 Not Found</h1></body></html>")
	problem("413, empty", 413, "", "")
	problem("429", 429, "application/json", `{"error":{"message":"Rate limit reached","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`).answer.header = []string{"Content-Type: application/json", "Retry-After: 20", "X-Ratelimit-Reset-Tokens: 6m0s"}
	problem("500", 500, "application/json", `{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}`)
	problem("502, HTML", 502, "text/html", "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>")
	problem("503, broken JSON", 503, "application/json", `{"error":`)
	problem("529 of Anthropic", 529, "application/json", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy"}`)
	problem("500 over the size limit", 500, "text/plain", strings.Repeat("overloaded ", 1<<20))
	problem("500 in gzip", 500, "application/json", string(gzipped([]byte(`{"error":{"message":"no"}}`)))).answer.header = []string{"Content-Type: application/json", "Content-Encoding: gzip"}
	return append(cases, l.cases...)
}

// goodStreams are streamed answers as real models give them.
func goodStreams() []testcase {
	l := &list{class: "good: streams"}
	asked := `{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"When?"}]}`
	chunk := func(choices string) string {
		return `{"id":"chatcmpl-9aXk2","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_a1b2c3","choices":[` + choices + `],"usage":null,"obfuscation":"` + encode(noise(9)) + `"}`
	}
	delta := func(d string) string {
		return chunk(`{"index":0,"delta":` + d + `,"logprobs":null,"finish_reason":null}`)
	}
	const usage = `{"id":"chatcmpl-9aXk2","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`
	l.passStream("chat", chatPath, asked, delta(`{"role":"assistant","content":"","refusal":null}`), delta(`{"content":"At"}`), delta(`{"content":" noon."}`), chunk(`{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}`), usage, "[DONE]")
	l.passStream("chat with two choices", chatPath, asked, chunk(`{"index":0,"delta":{"content":"At"}}`), chunk(`{"index":1,"delta":{"content":"Ho"}}`), chunk(`{"index":0,"delta":{"content":" noon."}}`), chunk(`{"index":1,"delta":{"content":"urly."}}`), "[DONE]")
	l.passStream("tool calls", chatPath, asked, delta(`{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"`+callID+`","type":"function","function":{"name":"get_weather","arguments":""}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"loc"}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":"ation\":\"Oslo\"}"}}]}`), chunk(`{"index":0,"delta":{},"finish_reason":"tool_calls"}`), "[DONE]")
	l.passStream("reasoning", chatPath, asked, delta(`{"role":"assistant","content":null,"reasoning_content":"They ask"}`), delta(`{"reasoning_content":" for a time."}`), delta(`{"content":"At noon."}`), "[DONE]")
	var many []string
	for i := range 900 {
		many = append(many, delta(fmt.Sprintf(`{"content":" ferry %d"}`, i)))
	}
	l.passStream("300 KB", chatPath, asked, append(many, "[DONE]")...)
	l.passStream("with comments", chatPath, asked, ": OPENROUTER PROCESSING", ": OPENROUTER PROCESSING", delta(`{"content":"At noon."}`), ":", ": ping - 2025-10-09 12:00:00", "[DONE]")
	crlf := l.passStream("CRLF and ids", chatPath, asked, "id: 1\nevent: message\nretry: 3000\ndata: "+delta(`{"content":"At noon."}`), "id: 2\ndata: [DONE]")
	crlf.answer.body = strings.ReplaceAll(crlf.answer.body, "\n", "\r\n")
	l.passStream("azure", chatPath, asked, `{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}`, `{"choices":[{"content_filter_offsets":{"check_offset":44,"start_offset":44,"end_offset":198},"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}},"finish_reason":null,"index":0}]}`, delta(`{"content":"At noon."}`), "[DONE]")
	l.passStream("error in the stream", chatPath, asked, delta(`{"content":"At"}`), `{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}`)
	gz := l.passStream("gzip", chatPath, asked, delta(`{"content":"At noon."}`), "[DONE]")
	gz.answer.body = string(gzipped([]byte(gz.answer.body)))
	gz.answer.header = append(gz.answer.header, "Content-Encoding: gzip")
	l.passStream("empty", chatPath, asked, "[DONE]")

	var events []string
	for _, e := range []string{
		`{"type":"message_start","message":{"id":"msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY","type":"message","role":"assistant","content":[],"model":"claude-sonnet-4","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`, `{"type":"ping"}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"A time."}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"` + signature + `"}}`, `{"type":"content_block_stop","index":0}`,
		`{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}`, `{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"At noon."}}`, `{"type":"content_block_stop","index":1}`,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"` + toolID + `","name":"get_weather","input":{}}}`, `{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}`, `{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"location\": \"Oslo\"}"}}`, `{"type":"content_block_stop","index":2}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}`, `{"type":"message_stop"}`,
	} {
		kind, _, _ := strings.Cut(strings.TrimPrefix(e, `{"type":"`), `"`)
		events = append(events, "event: "+kind+"\ndata: "+e)
	}
	l.passStream("anthropic", "/v1/messages", strings.Replace(askMessages, "{", `{"stream":true,`, 1), events...)
	l.passStream("responses", "/v1/responses", `{"model":"gpt-4.1","stream":true,"input":"When?"}`,
		`{"type":"response.created","sequence_number":0,"response":{"id":"resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654","object":"response","created_at":1741290958,"status":"in_progress","error":null,"incomplete_details":null,"instructions":"Be kind.","output":[],"model":"gpt-4.1","reasoning":{"effort":null,"summary":null},"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"usage":null}}`,
		`{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}`,
		`{"type":"response.content_part.added","sequence_number":2,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}`,
		`{"type":"response.output_text.delta","sequence_number":3,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"At","obfuscation":"`+encode(noise(9))+`"}`,
		`{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":0,"content_index":0,"delta":" noon."}`,
		`{"type":"response.output_text.done","sequence_number":5,"item_id":"msg_1","output_index":0,"content_index":0,"text":"At noon."}`,
		`{"type":"response.content_part.done","sequence_number":6,"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":"At noon.","annotations":[]}}`,
		`{"type":"response.output_item.done","sequence_number":7,"output_index":0,"item":{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"At noon.","annotations":[]}]}}`,
		`{"type":"response.completed","sequence_number":8,"response":{"id":"resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654","object":"response","status":"completed","output":[{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"At noon.","annotations":[]}]}],"usage":{"input_tokens":37,"output_tokens":11,"total_tokens":48}}}`)
	l.passStream("gemini", "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse", askGemini, `{"candidates":[{"content":{"parts":[{"text":"At"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":2},"modelVersion":"gemini-2.0-flash"}`, `{"candidates":[{"content":{"parts":[{"text":" noon."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":3}}`)
	array := l.pass("gemini without events", "/v1beta/models/gemini-2.0-flash:streamGenerateContent", askGemini, `[{"candidates":[{"content":{"parts":[{"text":"At"}],"role":"model"}}]}`+"\n,\r\n"+`{"candidates":[{"content":{"parts":[{"text":" noon."}],"role":"model"},"finishReason":"STOP"}]}`+"\n]\n")
	array.answer.header = []string{"Content-Type: application/json; charset=UTF-8"}
	cohere := l.passStream("cohere v2", "/v2/chat", strings.Replace(askCohereTwo, "{", `{"stream":true,`, 1), `{"id":"`+uuid+`","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}`, `{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}`, `{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"At noon."}}}}`, `{"type":"content-end","index":0}`, `{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":5,"output_tokens":3}}}}`)
	cohere.answer.body = strings.ReplaceAll(cohere.answer.body, "data: {\"type\":\"content-delta\"", "event: content-delta\ndata: {\"type\":\"content-delta\"")
	lines := l.pass("ollama", "/api/chat", `{"model":"llama3.2","messages":[{"role":"user","content":"When?"}]}`, `{"model":"llama3.2","created_at":"2025-10-09T12:00:00.1Z","message":{"role":"assistant","content":"At"},"done":false}`+"\n"+`{"model":"llama3.2","created_at":"2025-10-09T12:00:00.2Z","message":{"role":"assistant","content":" noon."},"done":false}`+"\n"+`{"model":"llama3.2","created_at":"2025-10-09T12:00:00.3Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":5}`+"\n")
	lines.answer.header = []string{"Content-Type: application/x-ndjson"}
	aws := l.pass("converse stream", "/model/anthropic.claude-3/converse-stream", askConverse, frames(
		[2]string{"messageStart", `{"p":"abcdefghijk","role":"assistant"}`}, [2]string{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"At"},"p":"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO"}`}, [2]string{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":" noon."},"p":"abc"}`},
		[2]string{"contentBlockStop", `{"contentBlockIndex":0,"p":"abcd"}`}, [2]string{"messageStop", `{"p":"ab","stopReason":"end_turn"}`}, [2]string{"metadata", `{"metrics":{"latencyMs":321},"p":"abcdefgh","usage":{"inputTokens":4,"outputTokens":3,"totalTokens":7}}`}))
	aws.answer.header = []string{"Content-Type: application/vnd.amazon.eventstream"}
	var chunks [][2]string
	for _, e := range []string{`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-3","usage":{"input_tokens":1,"output_tokens":1}}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"At noon."}}`, `{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":8,"outputTokenCount":5,"invocationLatency":514,"firstByteLatency":423}}`} {
		chunks = append(chunks, [2]string{"chunk", `{"bytes":"` + base64.StdEncoding.EncodeToString([]byte(e)) + `","p":"abcdef"}`})
	}
	invoke := l.pass("invoke stream", "/model/anthropic.claude-3/invoke-with-response-stream", `{"anthropic_version":"bedrock-2023-05-31","max_tokens":10,"messages":[{"role":"user","content":"When?"}]}`, frames(chunks...))
	invoke.answer.header = []string{"Content-Type: application/vnd.amazon.eventstream"}
	for _, e := range []struct {
		coding, name string
		encode       func([]byte) []byte
	}{{"gzip", "gzip, flushed", flushedGzip}, {"br", "br", brotlied}, {"zstd", "zstd", zstandard}, {"deflate", "deflate", zlibbed}} {
		c := l.passStream(e.name, chatPath, asked, delta(`{"role":"assistant","content":""}`), delta(`{"content":"At noon."}`), "[DONE]")
		c.answer.header = append(c.answer.header, "Content-Encoding: "+e.coding, `Etag: "1"`)
		c.decoded = c.answer.body
		c.answer.body = string(e.encode([]byte(c.decoded)))
	}
	return l.cases
}
