// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"context"
	"testing"
)

// TestUnseen: what requests refer to, in each API and by each way.
func TestUnseen(t *testing.T) {
	const chat, responses, messages, gemini = "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1beta/models/g:generateContent"
	for _, tt := range []struct {
		name, path, body string
		want             string
	}{
		{"an earlier answer", responses, `{"model":"m","input":"hi","previous_response_id":"resp_1"}`, "previous_response"},
		{"the same alone", responses, `{"previous_response_id":"resp_1"}`, "previous_response"},
		{"the same in a batch's line", "/v1/x", `{"custom_id":"a","url":"/v1/responses","body":{"input":"hi","previous_response_id":"resp_1"}}`, "previous_response"},
		{"a conversation", responses, `{"model":"m","input":"hi","conversation":"conv_1"}`, "conversation"},
		{"a conversation as an object", responses, `{"model":"m","input":"hi","conversation":{"id":"conv_1"}}`, "conversation"},
		{"a stored prompt", responses, `{"model":"m","prompt":{"id":"pmpt_1","version":"2","variables":{"a":"b"}}}`, "stored_prompt"},
		{"an item", responses, `{"model":"m","input":[{"type":"item_reference","id":"msg_1"},{"role":"user","content":"hi"}]}`, "previous_response"},
		{"an image by its call", responses, `{"model":"m","input":[{"type":"image_generation_call","id":"ig_1"},{"role":"user","content":"hi"}]}`, "previous_response"},
		{"a file", responses, `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]}`, "file"},
		{"a file of a chat", chat, `{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`, "file"},
		{"a sound", chat, `{"model":"m","messages":[{"role":"assistant","audio":{"id":"audio_1"}},{"role":"user","content":"hi"}]}`, "previous_response"},
		{"a vector store", responses, `{"model":"m","input":"hi","tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}`, "store"},
		{"a container", responses, `{"model":"m","input":"hi","tools":[{"type":"code_interpreter","container":"cntr_1"}]}`, "container"},
		{"files for a new container", responses, `{"model":"m","input":"hi","tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]}`, "file"},
		{"a skill in a container", responses, `{"model":"m","input":"hi","tools":[{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"skill_reference","skill_id":"skill_1"}]}}]}`, "skill"},
		{"a container by reference", responses, `{"model":"m","input":"hi","tools":[{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_1"}}]}`, "container"},
		{"a batch's file", "/v1/batches", `{"input_file_id":"file-1","endpoint":"/v1/responses"}`, "file"},
		{"an assistant's run", "/v1/threads/thread_1/runs", `{"assistant_id":"asst_1"}`, "conversation agent"},
		{"a message of a thread", "/openai/threads/thread_1/messages", `{"role":"user","content":"hi","attachments":[{"file_id":"file-1","tools":[]}]}`, "conversation file"},
		{"a thread in other letters", "/v1/%54hreads/thread_1/messages", `{"role":"user","content":"hi"}`, "conversation"},
		{"files of a new thread", "/v1/threads/runs", `{"assistant_id":"asst_1","thread":{"messages":[]},"tool_resources":{"file_search":{"vector_store_ids":["vs_1"]}}}`, "agent store"},
		{"a conversation in the path", "/v1/conversations/conv_1", `{"inputs":"hi"}`, "conversation"},
		{"Anthropic's container", messages, `{"model":"m","messages":[{"role":"user","content":"hi"}],"container":"container_1"}`, "container"},
		{"the same with skills", messages, `{"model":"m","messages":[{"role":"user","content":"hi"}],"container":{"id":"container_1","skills":[{"type":"custom","skill_id":"skill_1","version":"latest"}]}}`, "container skill"},
		{"Anthropic's file", messages, `{"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}`, "file"},
		{"a file in a tool's result", messages, `{"model":"m","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}]}`, "file"},
		{"an upload", messages, `{"model":"m","messages":[{"role":"user","content":[{"type":"container_upload","file_id":"file_1"}]}]}`, "file"},
		{"a batch of requests", "/v1/messages/batches", `{"requests":[{"custom_id":"a","params":{"model":"m","container":"container_1","messages":[{"role":"user","content":"hi"}]}}]}`, "container"},
		{"Gemini's cache", gemini, `{"contents":[{"parts":[{"text":"hi"}]}],"cachedContent":"cachedContents/1"}`, "cache"},
		{"Gemini's file", gemini, `{"contents":[{"parts":[{"fileData":{"mimeType":"text/plain","fileUri":"https://generativelanguage.googleapis.com/v1beta/files/abc"}}]}]}`, "file"},
		{"a file in a bucket", gemini, `{"contents":[{"parts":[{"file_data":{"mime_type":"text/plain","file_uri":"gs://bucket/a.txt"}}]}]}`, "file"},
		{"Gemini's file search", gemini, `{"contents":[{"parts":[{"text":"hi"}]}],"tools":[{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/1"]}}]}`, "store"},
		{"Vertex' search", gemini, `{"contents":[{"parts":[{"text":"hi"}]}],"tools":[{"retrieval":{"vertexAiSearch":{"datastore":"projects/p"}}}]}`, "store"},
		{"an interaction", "/v1beta/interactions", `{"model":"g","input":"hi","previous_interaction_id":"v1_1"}`, "previous_response"},
		{"Bedrock's bucket", "/model/m/converse", `{"messages":[{"role":"user","content":[{"document":{"format":"pdf","name":"a","source":{"s3Location":{"uri":"s3://bucket/a.pdf","bucketOwner":"1"}}}}]}]}`, "file"},
		{"Bedrock's prompt", "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprompt%2FP1%3A2/converse", `{"promptVariables":{"a":{"text":"hi"}}}`, "stored_prompt"},
		{"Bedrock's agent", "/agents/A/agentAliases/B/sessions/C/text", `{"inputText":"hi"}`, "conversation agent"},
		{"Bedrock's knowledge base", "/retrieveAndGenerate", `{"input":{"text":"hi"},"sessionId":"s","retrieveAndGenerateConfiguration":{"knowledgeBaseConfiguration":{"knowledgeBaseId":"K"}}}`, "conversation store"},
		{"Azure's index", chat, `{"model":"m","messages":[{"role":"user","content":"hi"}],"data_sources":[{"type":"azure_search","parameters":{"index_name":"i"}}]}`, "store"},
		{"Ollama's context", "/api/generate", `{"model":"m","prompt":"hi","context":[1,2,3]}`, "conversation"},
		{"Cohere's conversation", "/v1/chat", `{"message":"hi","conversation_id":"c1","connectors":[{"id":"web"}]}`, "conversation store"},

		{"a context of A2A", "/", `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"role":"user","messageId":"m","contextId":"c-1","parts":[]}}}`, "conversation"},
		{"tasks of A2A", "/v1/message:send", `{"message":{"role":"ROLE_USER","messageId":"m","parts":[{"text":"hi"}],"referenceTaskIds":["t-1"]}}`, "conversation"},
		{"a new task of A2A", "/", `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"role":"user","messageId":"m","contextId":"","referenceTaskIds":[],"parts":[]}}}`, ""},

		{"nothing", chat, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, ""},
		{"null and empty", responses, `{"model":"m","input":"hi","previous_response_id":null,"conversation":"","container":null,"tools":[{"type":"file_search","vector_store_ids":[]}]}`, ""},
		{"a caller's tool", chat, `{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"file_id":{"type":"string","default":"x"},"container":{"const":"a"}}}}}]}`, ""},
		{"a tool's arguments", messages, `{"model":"m","messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"file_id":"x","conversation":"y"}}]}]}`, ""},
		{"a new container", responses, `{"model":"m","input":"hi","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}`, ""},
		{"items with what they say", responses, `{"model":"m","input":[{"type":"message","id":"msg_1","role":"user","content":"hi"},{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}"}]}`, ""},
		{"a URL", chat, `{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/files/a.png"}}]}]}`, ""},
		{"metadata", chat, `{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"file_id":"x","conversation":"y"}}`, ""},
		{"a new conversation", "/v1/conversations", `{"items":[{"type":"message","role":"user","content":"hi"}]}`, ""},
		{"an empty body", "/v1/threads/thread_1/runs/run_1/cancel", ``, ""},
		{"MCP", "/mcp/sessions/a", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"file_id":"x"}}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := Input{Path: tt.path, ContentType: "application/json", Body: []byte(tt.body)}
			m, err := Read(in, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Unseen.String(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if m, err = ReadLoosely(context.Background(), in, testLimits); err != nil || len(m.Turns) > 0 && m.Unseen.String() != tt.want {
				t.Errorf("read loosely: %q, %v", m.Unseen, err)
			}
			in.Leg = ResponseLeg
			if m, err = Read(in, testLimits); err == nil && m.Unseen != 0 {
				t.Errorf("an answer refers to %q", m.Unseen)
			}
		})
	}
}
