// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"

	"kong-ai-guard/internal/strictjson"
)

// FormatOf gives the API that a request's path belongs to, as far as paths
// tell; OpenAIChat, whose error format most clients read, when they do not.
func FormatOf(path string) Format {
	if f, ok := formatOfPath(path); ok {
		return f
	}
	return OpenAIChat
}

func formatOfPath(path string) (Format, bool) {
	path = strings.TrimRight(path, "/")
	end := func(suffixes ...string) bool {
		for _, s := range suffixes {
			if strings.HasSuffix(path, s) {
				return true
			}
		}
		return false
	}
	switch {
	case end("/chat/completions"):
		return OpenAIChat, true
	case end("/completions"):
		return OpenAICompletions, true
	case end("/responses"):
		return OpenAIResponses, true
	case end("/messages", "/messages/count_tokens"):
		return AnthropicMessages, true
	case end(":generateContent", ":streamGenerateContent", ":countTokens", ":embedContent", ":batchEmbedContents", ":predict"):
		return Gemini, true
	case end("/converse", "/converse-stream"):
		return BedrockConverse, true
	case end("/invoke", "/invoke-with-response-stream"):
		return BedrockInvoke, true
	case end("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"):
		return Ollama, true
	case end("/v2/chat", "/v1/chat", "/v1/generate", "/v2/embed", "/v1/embed", "/rerank"):
		return Cohere, true
	case end("/embeddings", "/moderations", "/images/generations", "/images/edits", "/audio/speech", "/audio/transcriptions", "/audio/translations"):
		return OpenAIOther, true
	case end("/mcp", "/sse"):
		return MCP, true
	}
	return Unknown, false
}

// requestFormat tells the format of a request from its root's names; the path
// only decides between formats that look alike.
func requestFormat(d *strictjson.Doc, path string) Format {
	if d.Kind(strictjson.Root) != strictjson.Object {
		return Unknown
	}
	has := func(name string) bool { return d.Member(strictjson.Root, name) >= 0 }
	hint, hinted := formatOfPath(path)
	hinted = hinted && hint != MCP
	switch {
	case !conversational(d) && !has("tools") && !has("model") && !has("instances") && !has("requests"):
		return Unknown
	case hinted:
		return hint
	case has("contents") || has("instances") || has("requests"):
		return Gemini
	case has("inputText"):
		return BedrockInvoke
	case has("message") || has("chat_history") || has("texts"):
		return Cohere
	case has("messages") && (has("inferenceConfig") || has("toolConfig") || arrayOfTexts(d)):
		return BedrockConverse
	case has("messages") && (has("system") || has("anthropic_version")):
		return AnthropicMessages
	case has("messages"):
		return OpenAIChat
	case has("input") && (has("instructions") || has("max_output_tokens") || has("previous_response_id") || d.Kind(d.Member(strictjson.Root, "input")) == strictjson.Array):
		return OpenAIResponses
	case has("input"):
		return OpenAIOther
	case has("prompt"):
		return OpenAICompletions
	}
	return OpenAIChat
}

// arrayOfTexts reports whether the first message's content is an array of
// objects without a type, as Bedrock's Converse has them.
func arrayOfTexts(d *strictjson.Doc) bool {
	v := d.Member(strictjson.Root, "messages")
	if d.Kind(v) != strictjson.Array || d.First(v) == d.Next(v) {
		return false
	}
	c := d.Member(d.First(v), "content")
	if c < 0 || d.Kind(c) != strictjson.Array || d.First(c) == d.Next(c) {
		return false
	}
	part := d.First(c)
	return d.Kind(part) == strictjson.Object && d.Member(part, "type") < 0 && d.Member(part, "text") >= 0
}

// chatNames are the root's names that make a request a conversation or prompt.
var chatNames = wordSet(`messages contents prompt input message chat_history inputText instructions system texts query`)

// conversational reports whether the document is a conversation or prompt.
func conversational(d *strictjson.Doc) bool {
	if d.Kind(strictjson.Root) != strictjson.Object {
		return false
	}
	for c := d.First(strictjson.Root); c < d.Next(strictjson.Root); c = d.Next(c) {
		if chatNames[string(d.Name(c))] {
			return true
		}
	}
	return false
}

// variantNames are those of chatNames that no other API is likely to use.
var variantNames = wordSet(`messages contents prompt input chat_history inputtext instructions systeminstruction tools`)

// variantOfChat gives the root's member whose name differs only by case from one
// that would make the document a conversation, and that name; -1 for none.
func variantOfChat(d *strictjson.Doc) (v int, known string) {
	for c := d.First(strictjson.Root); c < d.Next(strictjson.Root); c = d.Next(c) {
		name := d.Name(c)
		if len(name) <= 32 && !chatNames[string(name)] {
			if lower := strings.ToLower(fold(name)); variantNames[lower] {
				return c, lower
			}
		}
	}
	return -1, ""
}

// asksForStream reports whether a request asks for a streamed answer.
func asksForStream(d *strictjson.Doc, path string) bool {
	if strings.HasSuffix(path, ":streamGenerateContent") || strings.HasSuffix(path, "/converse-stream") || strings.HasSuffix(path, "-with-response-stream") {
		return true
	}
	v := d.Member(strictjson.Root, "stream")
	if v >= 0 {
		return d.Kind(v) == strictjson.True
	}
	return strings.HasSuffix(path, "/api/chat") || strings.HasSuffix(path, "/api/generate") // Ollama streams unless told not to
}

// WantsStream reports whether a request's body asks for a streamed answer. It
// is cheap for bodies that do not speak of streams, and false for bodies that
// cannot be read.
func WantsStream(path string, body []byte) bool {
	if !bytes.Contains(body, []byte(`"stream"`)) {
		return strings.Contains(path, "tream") || strings.Contains(path, "/api/")
	}
	d, err := strictjson.Parse(body, DefaultDepth)
	return err == nil && d.Kind(strictjson.Root) == strictjson.Object && asksForStream(d, path)
}

// answerNames are the root's names that make a document an answer we know.
var answerNames = wordSet(`choices candidates content output output_text generations generation completion outputText results message outputs generated_text
response delta text embeddings embedding embeddingsByType predictions data error errors usage usageMetadata item part content_block event_type object
contentBlockDelta contentBlockStart messageStart messageStop contentBlockStop metadata promptFeedback type`)

// answerFormat tells the format of an answer, or of a stream's event: that of
// the request, if it is known.
func answerFormat(d *strictjson.Doc, request *Message) Format {
	root := strictjson.Root
	if d.Kind(root) == strictjson.Array {
		// The first element may be one that says nothing.
		for c := d.First(root); c < d.Next(strictjson.Root); c = d.Next(c) {
			if d.Kind(c) == strictjson.Object && (d.Kind(root) == strictjson.Array || d.Member(c, "candidates") >= 0) && namesAnswer(d, c) {
				if root = c; d.Member(c, "candidates") >= 0 {
					break
				}
			}
		}
	}
	if d.Kind(root) != strictjson.Object {
		return Unknown
	}
	known := namesAnswer(d, root)
	has := func(name string) bool { return d.Member(root, name) >= 0 }
	switch {
	case !known:
		return Unknown
	case request != nil && request.Format != None && request.Format != Unknown && request.Format != MCP && request.Format != Media:
		return request.Format
	case has("candidates"):
		return Gemini
	case has("choices"):
		return OpenAIChat
	case has("content_block") || has("content") && has("role") || typed(d, root, "message_") || typed(d, root, "content_block_"):
		return AnthropicMessages
	case has("output") && has("object") || typed(d, root, "response."):
		return OpenAIResponses
	case has("output") || has("contentBlockIndex"):
		return BedrockConverse
	case has("outputText") || has("generation") || has("inputTextTokenCount") || has("outputs"):
		return BedrockInvoke
	case has("generations") || has("event_type") || typed(d, root, "message-") || typed(d, root, "content-"):
		return Cohere
	case has("done"):
		return Ollama
	}
	return OpenAIOther
}

// namesAnswer reports whether object v has a name that makes it an answer.
func namesAnswer(d *strictjson.Doc, v int) bool {
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if answerNames[string(d.Name(c))] {
			return true
		}
	}
	return false
}

// streamsArray reports whether an answer is an array of Gemini's answers, each
// the next piece.
func streamsArray(d *strictjson.Doc) bool {
	for c := d.First(strictjson.Root); c < d.Next(strictjson.Root); c = d.Next(c) {
		if d.Kind(c) == strictjson.Object && d.Member(c, "candidates") >= 0 {
			return true
		}
	}
	return false
}

// typed reports whether object v's type begins with prefix.
func typed(d *strictjson.Doc, v int, prefix string) bool {
	t := d.Member(v, "type")
	return t >= 0 && d.Kind(t) == strictjson.String && strings.HasPrefix(string(d.Bytes(t)), prefix)
}
