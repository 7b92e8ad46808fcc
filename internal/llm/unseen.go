// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Unseen is a set of what a request refers to that its API keeps: the model
// reads it, and no request shows it.
type Unseen uint16

// What may be kept.
const (
	UnseenResponse     Unseen = 1 << iota // an earlier answer, with all that led to it
	UnseenConversation                    // a conversation, thread or session
	UnseenPrompt                          // a stored prompt
	UnseenAgent                           // an assistant or agent, with its instructions
	UnseenFile                            // an uploaded file, or one in the cloud's storage
	UnseenStore                           // an index of documents
	UnseenContainer                       // a container with its files
	UnseenSkill                           // a skill that was uploaded
	UnseenCache                           // a cached beginning of prompts
)

var unseenNames = [...]string{
	"previous_response", "conversation", "stored_prompt", "agent", "file", "store", "container", "skill", "cache",
}

// UnseenKinds are all that there are, each alone.
func UnseenKinds() []Unseen {
	kinds := make([]Unseen, len(unseenNames))
	for i := range kinds {
		kinds[i] = 1 << i
	}
	return kinds
}

// String returns the names of what is in the set, with blanks between them, as
// they stand in logs and answers: "previous_response file".
func (u Unseen) String() string {
	var names []string
	for i, name := range unseenNames {
		if u&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// First returns the first of the set, nothing of an empty one.
func (u Unseen) First() Unseen { return u & -u }

// refs are the members that refer to what an API keeps, wherever they stand in a
// part of a request that is not somebody's own.
var refs = map[string]Unseen{
	"previous_response_id": UnseenResponse, "previous_interaction_id": UnseenResponse,
	"cachedContent": UnseenCache, "cached_content": UnseenCache,
	"file_id": UnseenFile, "file_ids": UnseenFile, "input_file_id": UnseenFile, "s3Location": UnseenFile,
	"container_id": UnseenContainer, "skill_id": UnseenSkill,
	"vector_store_id": UnseenStore, "vector_store_ids": UnseenStore, "file_search_store_names": UnseenStore, "fileSearchStoreNames": UnseenStore,
	"vectorStoreIds": UnseenStore, "knowledge_base_id": UnseenStore, "knowledge_base_ids": UnseenStore, "knowledgeBaseId": UnseenStore,
	"collection_ids": UnseenStore, "library_ids": UnseenStore, "memory_store_id": UnseenStore,
	"datastore": UnseenStore, "ragCorpus": UnseenStore, "rag_corpus": UnseenStore,
}

// rootRefs are those that mean it in a request's root alone.
var rootRefs = map[string]Unseen{
	"conversation": UnseenConversation, "conversation_id": UnseenConversation, "conversationId": UnseenConversation,
	"thread_id": UnseenConversation, "threadId": UnseenConversation, "session_id": UnseenConversation, "sessionId": UnseenConversation,
	"chat_id": UnseenConversation, "chatId": UnseenConversation,
	"assistant_id": UnseenAgent, "agent_id": UnseenAgent, "agentId": UnseenAgent,
	"data_sources": UnseenStore, "connectors": UnseenStore,
}

// refer notes that a request refers to what member v of it names, unless that is
// nothing.
func (r *reader) refer(u Unseen, v int) {
	if r.msg.Leg == RequestLeg && r.names(v) {
		r.msg.Unseen |= u
	}
}

// names reports whether v is the name of something.
func (r *reader) names(v int) bool {
	return !r.empty(v) && r.doc.Kind(v) != strictjson.False && (!r.isString(v) || len(bytes.TrimSpace(r.doc.Bytes(v))) > 0)
}

// referInRoot looks for references in v, the root of a request.
func (r *reader) referInRoot(v int) {
	if r.msg.Leg != RequestLeg {
		return
	}
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		name := r.doc.Name(c)
		if u := rootRefs[string(name)] | refs[string(name)]; u != 0 {
			r.refer(u, c)
			continue
		}
		switch string(name) {
		case "thread", "session":
			if r.isString(c) { // or else what the new one is to be
				r.refer(UnseenConversation, c)
			}
		case "context":
			if r.isArray(c) && r.integers(c) { // Ollama's: a conversation in token ids
				r.refer(UnseenConversation, c)
			}
		case "container":
			r.referToContainer(c)
		case "prompt":
			if r.isObject(c) && r.refers(c) {
				r.refer(UnseenPrompt, c)
			}
		}
	}
	if v == strictjson.Root && r.inner == 0 {
		r.talk.goesOn = r.msg.Unseen&goesOn != 0
	}
}

// referToContainer looks at a container, which is an id, or an object with an
// id or of what a new one is to have.
func (r *reader) referToContainer(v int) {
	switch {
	case r.isString(v):
		r.refer(UnseenContainer, v)
	case r.isObject(v):
		if id := r.doc.Member(v, "id"); id >= 0 {
			r.refer(UnseenContainer, id)
		}
		r.referBelow(v)
	}
}

// referBelow looks for references in value v and in all that is in it.
func (r *reader) referBelow(v int) {
	if r.msg.Leg != RequestLeg {
		return
	}
	r.step(r.doc.Next(v) - v)
	for c := v; c < r.doc.Next(v); c++ {
		name := r.doc.Name(c)
		if u := refs[string(name)]; u != 0 {
			r.refer(u, c)
		} else if string(name) == "container" && r.isString(c) {
			r.refer(UnseenContainer, c)
		}
	}
}

// isReference reports whether object v, an item of a conversation, is nothing
// but an id.
func (r *reader) isReference(v int) bool {
	if r.member(v, "id") == "" {
		return false
	}
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		switch string(r.doc.Name(c)) {
		case "id", "type", "status":
		default:
			return false
		}
	}
	return true
}

// isStoredURL reports whether a URL is that of a file in the cloud's storage, or
// of one that was uploaded to Gemini's API.
func isStoredURL(s []byte) bool {
	scheme, rest, ok := bytes.Cut(bytes.TrimSpace(s), []byte("://"))
	if !ok {
		return false
	}
	switch strings.ToLower(string(scheme[:min(len(scheme), 8)])) {
	case "gs", "s3":
		return true
	case "http", "https":
		host, path, _ := bytes.Cut(rest, []byte("/"))
		return len(host) < 64 && strings.EqualFold(string(host), "generativelanguage.googleapis.com") && bytes.Contains(path, []byte("files/"))
	}
	return false
}

// unseenInPath returns what a request's path refers to: threads, conversations
// and sessions by their ids, Bedrock's agents and prompts.
func unseenInPath(path string) (u Unseen) {
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain // %2F in an ARN, and letters that servers read all the same
	}
	before, bedrock := "", false
	for segment := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == ':' }) {
		switch before {
		case "threads", "conversations":
			if segment != "runs" { // which makes a thread and runs it
				u |= UnseenConversation
			}
		case "sessions":
			u |= UnseenConversation
		case "agentaliases":
			u |= UnseenAgent
		case "prompt":
			if bedrock {
				u |= UnseenPrompt
			}
		}
		before = strings.ToLower(segment)
		bedrock = bedrock || before == "bedrock"
	}
	return u
}
