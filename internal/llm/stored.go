// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A request need not hold a text to say something. It may refer to what the API
// keeps, return a tool's result, or allow a call. Such a request does not lack
// a prompt.

// storedIDs are the members that continue or take in what the API keeps.
var storedIDs = wordSet(`previous_response_id conversation conversation_id cachedContent cached_content container container_id session_id previous_interaction_id`)

// keptUnder are the members that name what a request's content is added to, so
// that it is there for others. Not among them are those that name an answer or a
// cache, to which nothing is added.
var keptUnder = wordSet(`conversation conversation_id conversationId thread thread_id threadId session session_id sessionId container container_id chat_id chatId`)

// keeps reports whether a request asks the API to keep what it says.
func keeps(d *strictjson.Doc) bool {
	const root = strictjson.Root
	if d.Kind(root) != strictjson.Object {
		return false
	}
	for c := d.First(root); c < d.Next(root); c = d.Next(c) {
		name, kind := d.Name(c), d.Kind(c)
		if kind == strictjson.True && string(name) == "store" || kind != strictjson.Null && keptUnder[string(name)] {
			return true
		}
	}
	return false
}

// mediaWords are in the types of parts that say something only if they have a
// file, which is then among the media.
var mediaWords = [...]string{"image", "audio", "video", "file", "document", "media", "screenshot"}

// carries reports whether an item of this type says something by itself: a call
// or its result, an approval, a reference.
func carries(kind []byte) bool {
	switch string(kind) {
	case "", "message", "text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text", "user_input", "model_output", "thought":
		return false // nothing but text
	}
	for _, end := range [...]string{"_call", "_output", "tool_use", "tool_result", "_request", "_response", "_reference"} {
		if bytes.HasSuffix(kind, []byte(end)) {
			return true
		}
	}
	for _, word := range mediaWords {
		if bytes.Contains(kind, []byte(word)) {
			return false
		}
	}
	return true
}

// refers reports whether object v is nothing but a reference by id, as stored
// prompts and items are.
func (r *reader) refers(v int) bool {
	if id := r.member(v, "id"); id == "" {
		return false
	}
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		switch string(r.doc.Name(c)) {
		case "role", "content", "parts", "text", "message":
			return false
		}
	}
	return true
}

// storedKind returns the kind of media that object v, which has a file's id,
// says it is.
func (r *reader) storedKind(v int) string {
	kind := []byte(r.member(v, "type"))
	switch {
	case bytes.Contains(kind, []byte("image")) || bytes.Contains(kind, []byte("screenshot")):
		return "image"
	case bytes.Contains(kind, []byte("audio")):
		return "audio"
	case bytes.Contains(kind, []byte("video")):
		return "video"
	}
	return ""
}

// nonempty reports whether v is an array or object with something in it.
func (r *reader) nonempty(v int) bool {
	return r.doc.Kind(v) >= strictjson.Array && r.doc.First(v) < r.doc.Next(v)
}
