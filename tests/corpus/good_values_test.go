// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"fmt"
	"strings"
)

// vector writes n numbers as embedding models do. Its digits would pass for
// those of a card.
func vector(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",%.16f", 0.4111111111111111-float64(i%9)/8)
	}
	return "[" + b.String()[1:] + "]"
}

// goodValues are answers that are numbers, and requests without a text.
func goodValues() []testcase {
	l := &list{class: "good: embeddings and token ids"}
	v, bytes := vector(64), "["+strings.Repeat("41,11,-11,111,", 32)+"7]"
	embed := func(name, path, request, answer string) { l.pass(name, path, request, answer) }
	input := `{"model":"m","input":"When does the ferry leave?"}`
	embed("OpenAI", "/v1/embeddings", input, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":`+v+`}],"model":"m","usage":{"prompt_tokens":5,"total_tokens":5}}`)
	embed("Titan", "/model/amazon.titan-embed-text-v2:0/invoke", `{"inputText":"When does the ferry leave?","dimensions":256,"normalize":true}`, `{"embedding":`+v+`,"embeddingsByType":{"float":`+v+`,"binary":`+bytes+`},"inputTextTokenCount":6}`)
	embed("Titan, by type", "/model/amazon.titan-embed-text-v2:0/invoke", `{"inputText":"When does the ferry leave?"}`, `{"embeddingsByType":{"float":`+v+`},"inputTextTokenCount":6}`)
	embed("TEI", "/embed", `{"inputs":"When does the ferry leave?"}`, `[`+v+`]`)
	embed("TEI, all", "/embed_all", `{"inputs":"When does the ferry leave?"}`, `[[`+v+`,`+v+`]]`)
	embed("TEI, sparse", "/embed_sparse", `{"inputs":"When does the ferry leave?"}`, `[[{"index":4111,"value":0.4111},{"index":11111111,"value":1.5}]]`)
	embed("feature extraction", "/models/m/pipeline/feature-extraction", `{"inputs":"When does the ferry leave?"}`, `[[`+v+`,`+v+`]]`)
	embed("Vertex", "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict", `{"instances":[{"content":"When does the ferry leave?","task_type":"RETRIEVAL_QUERY"}]}`, `{"predictions":[{"embeddings":{"statistics":{"truncated":false,"token_count":6},"values":`+v+`}}],"metadata":{"billableCharacterCount":20}}`)
	embed("Gemini", "/v1beta/models/g:embedContent", `{"content":{"parts":[{"text":"When does the ferry leave?"}]}}`, `{"embedding":{"values":`+v+`}}`)
	embed("Jina", "/v1/embeddings", input, `{"model":"m","object":"list","usage":{"total_tokens":6},"data":[{"object":"embeddings","index":0,"embeddings":[`+v+`,`+v+`]}]}`)
	embed("Cohere", "/v2/embed", `{"model":"m","texts":["When does the ferry leave?"],"input_type":"search_query","embedding_types":["float","int8"]}`, `{"id":"a1b2","embeddings":{"float":[`+v+`],"int8":[`+bytes+`]},"texts":["When does the ferry leave?"],"meta":{"api_version":{"version":"2"}}}`)
	embed("vLLM pooling", "/pooling", input, `{"id":"pool-1","object":"list","created":1,"model":"m","data":[{"index":0,"object":"pooling","data":[`+v+`]}],"usage":{"prompt_tokens":6,"total_tokens":6}}`)
	embed("Ollama", "/api/embed", input, `{"model":"m","embeddings":[`+v+`],"total_duration":14143917,"load_duration":1019500,"prompt_eval_count":8}`)
	embed("sparse", "/v1/embeddings", input, `{"object":"list","data":[{"index":0,"object":"embedding","embedding":{"indices":[4111,1111,11111],"values":[0.4111,0.5,0.25]}}]}`)
	embed("unknown", "/ai/run/@cf/baai/bge", `{"text":["When does the ferry leave?"]}`, `{"result":{"shape":[1,64],"data":[`+v+`],"pooling":"cls"},"success":true,"errors":[],"messages":[]}`)
	embed("an inference server", "/v2/models/m/infer", `{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["When does the ferry leave?"]}]}`, `{"model_name":"m","outputs":[{"name":"embedding","datatype":"FP32","shape":[1,64],"data":`+v+`}]}`)
	embed("token ids beside a text", chatPath, question.body, `{"choices":[{"index":0,"message":{"role":"assistant","content":"At noon."},"token_ids":[4111,1111,1111,1111,1111],"finish_reason":"stop"}],"prompt_token_ids":[4111,1111,1111,1111]}`)
	embed("token ids beside the text of a generation", "/generate", `{"text":"When does the ferry leave?"}`, `{"text":"At noon.","output_ids":[4111,1111,1111,1111],"meta_info":{"prompt_tokens":6}}`)
	embed("a tokenizer", "/tokenize", `{"model":"m","prompt":"When does the ferry leave?"}`, `{"count":4,"max_model_len":4096,"tokens":[4111,1111,1111,1111]}`)
	embed("settings with token ids", "/v1/completions", `{"model":"m","prompt":"When does the ferry leave?","stop_token_ids":[2,3],"logit_bias":{"50256":-100},"bad_words_ids":[[1,2]],"suppress_tokens":[5]}`, completion.body)
	embed("ids for a tool", chatPath, `{"model":"gpt-4o","messages":[{"role":"user","content":"go"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"orders","arguments":"{\"ids\":[1,2,3]}"}}]}]}`, completion.body)
	l.passStream("token ids in a stream", chatPath, strings.Replace(question.body, `"model"`, `"stream":true,"model"`, 1),
		`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"prompt_token_ids":[4111,1111]}`,
		`{"choices":[{"index":0,"delta":{"content":"At noon."},"token_ids":[4111]}]}`,
		`{"choices":[{"index":0,"delta":{},"finish_reason":"stop","token_ids":[2]}]}`, `[DONE]`)
	cases := l.cases

	l = &list{class: "good: requests without a text"}
	ask := func(name, path, request string) { l.pass(name, path, request, completion.body) }
	ask("an empty result of a call", "/v1/responses", `{"model":"gpt-4o","input":[{"type":"function_call_output","call_id":"call_1","output":""}]}`)
	ask("an approval", "/v1/responses", `{"model":"gpt-4o","previous_response_id":"resp_1","input":[{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}]}`)
	ask("a stored prompt", "/v1/responses", `{"model":"gpt-4o","prompt":{"id":"pmpt_abc123","version":"2"}}`)
	ask("a stored file", "/v1/responses", `{"model":"gpt-4o","input":[{"role":"user","content":[{"type":"input_file","file_id":"file-abc123"}]}]}`)
	ask("a stored image", "/v1/responses", `{"model":"gpt-4o","input":[{"role":"user","content":[{"type":"input_image","file_id":"file-abc123","detail":"auto"}]}]}`)
	ask("a stored screenshot", "/v1/responses", `{"model":"gpt-4o","input":[{"type":"computer_call_output","call_id":"call_1","output":{"type":"computer_screenshot","file_id":"file-abc123"}}]}`)
	ask("a stored item", "/v1/responses", `{"model":"gpt-4o","input":[{"type":"item_reference","id":"msg_abc123"}]}`)
	ask("a file for a container", "/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":[{"type":"container_upload","file_id":"file_abc123"}]}]}`)
	ask("an empty tool result", "/v1/messages", `{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1"}]}]}`)
	ask("an empty result of a tool", chatPath, `{"model":"gpt-4o","messages":[{"role":"tool","tool_call_id":"call_1","content":""}]}`)
	ask("Converse's empty result", "/model/m/converse", `{"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[]}}]}]}`)
	ask("a new conversation", "/v1/conversations", `{}`)
	ask("a new thread", "/v1/threads", `{}`)
	ask("a new vector store", "/v1/vector_stores", `{}`)
	ask("the end of a response", "/v1/responses/resp_1/cancel", `{}`)
	ask("Ollama loads a model for chat", "/api/chat", `{"model":"llama3.2","messages":[]}`)
	ask("Ollama loads a model", "/api/generate", `{"model":"llama3.2"}`)
	ask("Converse's stored prompt without variables", "/model/arn:aws:bedrock:us-east-1:111122223333:prompt%2FABCDEFGHIJ:1/converse", `{}`)
	ask("Converse's stored prompt, its slash not escaped", "/model/arn:aws:bedrock:us-east-1:111122223333:prompt/ABCDEFGHIJ:1/converse-stream", `{}`)
	return append(cases, l.cases...)
}
