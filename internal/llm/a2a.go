// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"hash/maphash"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A2A is the format of the Agent2Agent protocol, in its bindings to JSON-RPC and
// to HTTP with JSON. Its members are those of specification/json/a2a.json (0.3)
// and specification/a2a.proto (1.0) of a2aproject/A2A. Of 1.0 both spellings
// are read that parsers of ProtoJSON take: taskId and task_id.
const A2A Format = "a2a"

// Messages of JSON-RPC are told by their methods and results (see isA2A), all
// other bodies by their path or what they hold (see plainA2A). Streams end as
// those of JSON-RPC do, or with an event called "error".
var a2aAPI = api{
	format:  A2A,
	paths:   []string{"/message:send", "/message:stream", "/.well-known/agent-card.json", "/.well-known/agent.json", "/extendedAgentCard"},
	streams: []string{"/message:stream"},
	grammar: a2a,
	refuse:  refuseGoogle,
}

var (
	// a2aMethods are the methods that only this protocol has, beside those that
	// begin with one of a2aBegins.
	a2aMethods = wordSet(`tasks/resubscribe tasks/send tasks/sendSubscribe SendMessage SendStreamingMessage GetTask ListTasks CancelTask SubscribeToTask
CreateTaskPushNotificationConfig GetTaskPushNotificationConfig ListTaskPushNotificationConfigs ListTaskPushNotificationConfig
SetTaskPushNotificationConfig DeleteTaskPushNotificationConfig GetExtendedAgentCard QuerySkill`)
	a2aBegins = [...]string{"message/", "agent/", "tasks/pushNotification"}

	// sharedMethods are those that MCP has, too.
	sharedMethods = wordSet(`tasks/get tasks/cancel tasks/list`)

	// mcpBegins are the beginnings of the methods that only MCP has.
	mcpBegins = [...]string{
		"tools/", "prompts/", "resources/", "initialize", "ping", "completion/", "logging/", "sampling/", "elicitation/", "roots/",
		"subscriptions/", "notifications/", "server/",
	}

	a2aKinds = wordSet(`task message status-update artifact-update`)
)

// a2aWords are the protocol's own words, as wholes: in pieces they would be words
// that anybody says.
var a2aWords = wordSet(`message/send message/stream tasks/get tasks/cancel tasks/list tasks/resubscribe tasks/send tasks/sendSubscribe
tasks/pushNotificationConfig/set tasks/pushNotificationConfig/get tasks/pushNotificationConfig/list tasks/pushNotificationConfig/delete
tasks/pushNotification/set tasks/pushNotification/get agent/getAuthenticatedExtendedCard agent/authenticatedExtendedCard
SendMessage SendStreamingMessage GetTask ListTasks CancelTask SubscribeToTask CreateTaskPushNotificationConfig GetTaskPushNotificationConfig
ListTaskPushNotificationConfigs DeleteTaskPushNotificationConfig GetExtendedAgentCard QuerySkill
submitted working completed failed canceled rejected input-required auth-required unknown
TASK_STATE_UNSPECIFIED TASK_STATE_SUBMITTED TASK_STATE_WORKING TASK_STATE_COMPLETED TASK_STATE_FAILED TASK_STATE_CANCELED
TASK_STATE_INPUT_REQUIRED TASK_STATE_REJECTED TASK_STATE_AUTH_REQUIRED ROLE_UNSPECIFIED ROLE_USER ROLE_AGENT user agent
task message status-update artifact-update text file data`)

func begins(s string, with []string) bool {
	for _, begin := range with {
		if strings.HasPrefix(s, begin) {
			return true
		}
	}
	return false
}

// speaksA2A reports whether a document of JSON-RPC messages is this protocol's.
func (r *reader) speaksA2A(in Input) bool {
	const root = strictjson.Root
	if r.isObject(root) {
		return r.isA2A(in, root)
	}
	for c := r.doc.First(root); c < r.doc.Next(root); c = r.doc.Next(c) {
		if !r.isA2A(in, c) {
			return false
		}
	}
	return true
}

// isA2A reports whether v, a JSON-RPC message, is this protocol's and not MCP's.
// Either way all of it is read: the shapes here mean what MCP's mean, too.
func (r *reader) isA2A(in Input, v int) bool {
	if method := r.member(v, "method"); method != "" {
		if sharedMethods[method] {
			p := r.doc.Member(v, "params")
			return p >= 0 && r.isObject(p) && r.doc.Member(p, "taskId") < 0 && r.anyOf(p, "id", "contextId", "historyLength", "pageSize", "pageToken", "tenant")
		}
		return a2aMethods[method] || begins(method, a2aBegins[:])
	}
	if q := in.Request; q != nil {
		if q.Format == A2A {
			return true
		}
		if q.RPC != nil && (q.RPC.Batch || begins(q.RPC.Method, mcpBegins[:])) {
			return false
		}
	}
	result := r.doc.Member(v, "result")
	return result >= 0 && r.isObject(result) && r.isTold(result)
}

func (r *reader) anyOf(v int, names ...string) bool {
	for _, name := range names {
		if r.doc.Member(v, name) >= 0 {
			return true
		}
	}
	return false
}

// isTold reports whether object v is what an agent tells: a message, a task, what
// became of one, or what the agent is.
func (r *reader) isTold(v int) bool {
	if !r.mayTell(v) {
		return false
	}
	object := func(v int, name string) int {
		if m := r.doc.Member(v, name); m >= 0 && r.isObject(m) {
			return m
		}
		return -1
	}
	if a2aKinds[r.member(v, "kind")] || r.isCard(v) {
		return true
	}
	for _, name := range [...]string{"statusUpdate", "status_update", "artifactUpdate", "artifact_update"} {
		if object(v, name) >= 0 {
			return true
		}
	}
	if m := object(v, "message"); m >= 0 && r.isMessage(m) {
		return true
	}
	if t := object(v, "task"); t >= 0 && r.isTask(t) {
		return true
	}
	if list := r.doc.Member(v, "tasks"); list >= 0 && r.isArray(list) && r.doc.First(list) < r.doc.Next(list) {
		if t := r.doc.First(list); r.isObject(t) && r.isTask(t) {
			return true
		}
	}
	return r.isTask(v) || r.isMessage(v)
}

// mayTell reports whether object v has one of the names by which isTold goes.
// Every event of any stream is asked, and few have one.
func (r *reader) mayTell(v int) bool {
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		switch string(r.doc.Name(c)) {
		case "kind", "skills", "statusUpdate", "status_update", "artifactUpdate", "artifact_update",
			"message", "task", "tasks", "status", "parts":
			return true
		}
	}
	return false
}

// wrapsTold reports whether object v holds what an agent tells as its result. Clients
// take an envelope that JSON-RPC forbids, with a member too many or without a
// version.
func (r *reader) wrapsTold(v int) bool {
	result := r.doc.Member(v, "result")
	return result >= 0 && r.isObject(result) && r.isTold(result)
}

// isTask reports whether object v is a task, of which MCP's has no state.
func (r *reader) isTask(v int) bool {
	s := r.doc.Member(v, "status")
	return s >= 0 && r.isObject(s) && r.doc.Member(s, "state") >= 0
}

func (r *reader) isMessage(v int) bool {
	return r.anyOf(v, "parts") && r.anyOf(v, "messageId", "message_id")
}

// isCard reports whether object v is an agent's card.
func (r *reader) isCard(v int) bool {
	skills := r.doc.Member(v, "skills")
	return skills >= 0 && r.isArray(skills) && r.anyOf(v, "name") && r.anyOf(v, "capabilities", "defaultInputModes", "supportedInterfaces", "protocolVersion")
}

// plainA2A returns the shape of a document that is no JSON-RPC message: what is
// sent to the protocol's own paths and comes from there, an agent's card, or what
// an agent tells a webhook. It is nil for any other.
func (r *reader) plainA2A(in Input) *shape {
	const root = strictjson.Root
	if r.doc.Len() == 0 || !r.isObject(root) {
		return nil
	}
	s := signs{r.doc, root}
	f := r.ofPath.of(in.Path)
	switch {
	case in.Leg == ResponseLeg && in.Request != nil && in.Request.Format == A2A, in.Leg == ResponseLeg && f == A2A:
		return a2aResult
	case in.Leg == ResponseLeg:
		if (in.Request == nil || in.Request.Format == None || in.Request.Format == Unknown) && (r.isTold(root) || r.wrapsTold(root)) {
			return a2aResult
		}
		return nil
	case f == A2A:
		return a2aParams
	case (!s.any(known.promptNames) || r.isMessage(root)) && !s.any(known.askNames) && !r.isCard(root) && r.isTold(root):
		return a2aResult
	}
	return nil
}

// a2aPlace returns the place of what object v says in a stream, as clients put it
// together. An artifact goes on in events that append to it, whatever task they
// name (a2a-python, client/artifact_aggregator): see assembler.add. What the agent
// says of its work is one text, since agents send a sentence in several messages,
// each with an id of its own, and other events between them. Nobody adds to a
// history. Texts are numbered as they begin, those of artifacts behind all others,
// so that what a client shows one after the other is one text, too.
func (r *reader) a2aPlace(a at, s *shape, v int) at {
	switch s {
	case a2aResult:
		a.joined = true
		if id := r.member(v, "taskId", "task_id", "id"); id != "" {
			a.task = id
		}
		// Parsers that convert values take "true" and 1 for true.
		more := r.doc.Member(v, "append")
		a.more = more >= 0 && r.doc.Kind(more) != strictjson.False && r.doc.Kind(more) != strictjson.Null
	case a2aArtifact:
		a.joined, a.thread = true, artifactThread(r.member(v, "artifactId", "artifact_id"))
		a.block = r.asm.a2aBlock(&r.budget, a.thread, a.more)
	case a2aMessage:
		if a.joined, a.thread = true, messageThread; r.inArray(v) {
			a.thread = historyThread
		}
		a.block = r.asm.a2aBlock(&r.budget, a.thread, a.thread == messageThread)
	}
	return a
}

// The threads of A2A: one of what the agent says, one of histories, and those of
// artifacts, whose texts are numbered from artifactBlocks on.
const (
	messageThread   uint64 = 1
	historyThread   uint64 = 2
	artifactThreads uint64 = 1 << 63
	artifactBlocks         = 1 << 40
)

// threadSeed is another one in each process: an agent that could make two threads
// one would have its words read among others.
var threadSeed = maphash.MakeSeed()

func artifactThread(id string) uint64 {
	return maphash.String(threadSeed, id) | artifactThreads
}

// tell prepares for an event of A2A.
func (m *assembler) tell() {
	m.begin("", false)
	m.told = true
}

// a2aBlock returns the number of the text that a thread is at: another one unless
// more of it comes.
func (m *assembler) a2aBlock(b *budget, thread uint64, more bool) int {
	n, ok := m.threads[thread]
	if ok && more {
		return n
	}
	if m.threads == nil {
		m.threads = make(map[uint64]int)
	}
	if !ok {
		b.take(groupBytes)
	}
	m.begun++
	n = m.begun
	if thread >= artifactThreads {
		n += artifactBlocks
	}
	m.threads[thread] = n
	return n
}

// a2a adds what agents say to each other.
func a2a() {
	e := a2aRPC
	e.add(field{rule: other, shape: a2aParams}, "params")
	e.add(field{rule: other, shape: a2aResult}, "result")

	p := a2aParams
	p.add(field{rule: text, kind: KindText, role: RoleUser, shape: a2aSent, slot: "text"}, "message")
	p.add(field{rule: other, shape: a2aConfig}, "configuration")
	p.add(fToken, "id", "taskId", "task_id", "contextId", "context_id", "tenant", "pageToken", "page_token", "pushNotificationConfigId", "sessionId")
	p.add(fSetting, "historyLength", "history_length", "pageSize", "page_size", "includeArtifacts", "include_artifacts")
	p.add(fIdent, "statusTimestampAfter", "status_timestamp_after", "lastUpdatedAfter")
	p.add(fEnum, "status")
	p.add(field{rule: other}, "metadata")
	p.add(field{rule: other, shape: a2aHook}, "pushNotificationConfig", "push_notification_config", "pushNotification", "config")

	c := a2aConfig
	c.add(fIdent, "acceptedOutputModes", "accepted_output_modes")
	c.add(fSetting, "blocking", "historyLength", "history_length", "returnImmediately", "return_immediately")
	c.add(field{rule: other, shape: a2aHook}, "pushNotificationConfig", "taskPushNotificationConfig", "task_push_notification_config")
	h := a2aHook
	h.add(fToken, "id", "taskId", "task_id", "tenant")
	h.add(fName, "url")
	h.add(fSecret, "token", "credentials")
	h.add(fIdent, "scheme", "schemes")
	h.add(field{rule: other, shape: a2aHook}, "authentication", "pushNotificationConfig")

	t := a2aResult
	t.add(fEnum, "kind")
	t.add(fIdent, "id", "taskId", "task_id", "contextId", "context_id", "nextPageToken", "next_page_token", "createdAt", "lastModified")
	t.add(fSetting, "append", "lastChunk", "last_chunk", "final", "pageSize", "page_size", "totalSize", "total_size", "historyLength")
	t.add(field{rule: enum, shape: a2aStatus}, "status")
	t.add(field{rule: other, shape: a2aResult}, "result") // of an envelope that is none: see wrapsTold
	t.add(field{rule: other, shape: a2aArtifact}, "artifact", "artifacts")
	t.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: a2aMessage, slot: "text"}, "message", "history")
	t.add(field{rule: other, shape: a2aResult}, "task", "tasks", "statusUpdate", "status_update", "artifactUpdate", "artifact_update")
	t.add(field{rule: other}, "metadata")
	t.add(field{rule: other, shape: a2aHook}, "pushNotificationConfig", "configs")
	t.add(fName, "url")
	a2aStatus.add(fEnum, "state")
	a2aStatus.add(fIdent, "timestamp")
	a2aStatus.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: a2aMessage, slot: "text"}, "message")

	for _, m := range []*shape{a2aMessage, a2aSent, a2aArtifact} {
		m.add(fEnum, "kind", "role")
		m.add(fIdent, "messageId", "message_id", "contextId", "context_id", "taskId", "task_id", "artifactId", "artifact_id",
			"referenceTaskIds", "reference_task_ids")
		m.add(fName, "extensions")
		m.add(field{rule: text, kind: inherit, shape: a2aPart, slot: "text", joined: true}, "parts")
		m.add(field{rule: other}, "metadata")
	}
	// What an agent keeps of a context or a task it reads again.
	a2aSent.add(field{rule: ident, unseen: UnseenConversation}, "contextId", "context_id", "taskId", "task_id", "referenceTaskIds", "reference_task_ids")
	a2aArtifact.add(field{rule: text, kind: KindText, role: RoleAssistant, shape: a2aPart, slot: "text", joined: true}, "parts")
	a2aArtifact.add(field{rule: text, kind: KindDocument, slot: slotRepeated}, "name", "description")

	a2aPart.add(fEnum, "kind", "type")
	a2aPart.add(field{rule: other, shape: a2aFile}, "file")
	a2aPart.add(field{rule: other}, "data", "metadata")
	for _, f := range []*shape{a2aPart, a2aFile} {
		f.add(fInline, "bytes", "raw", "fileWithBytes", "file_with_bytes")
		f.add(fLink, "uri", "url", "fileWithUri", "file_with_uri")
		f.add(fIdent, "mimeType", "mime_type", "mediaType", "media_type")
		f.add(fDocument, "name", "filename")
	}

	// The card of an agent. Whoever chooses among agents reads of it what is said
	// of tools.
	t.add(fListing, "skills")
	t.add(field{rule: text, kind: KindToolDef}, "description")
	t.add(fName, "name", "documentationUrl", "documentation_url", "iconUrl", "icon_url", "additionalInterfaces", "supportedInterfaces", "provider")
	t.add(fIdent, "version", "protocolVersion", "preferredTransport", "defaultInputModes", "defaultOutputModes", "default_input_modes", "default_output_modes")
	t.add(fSetting, "supportsAuthenticatedExtendedCard")
	t.add(field{rule: other, shape: a2aAbilities}, "capabilities")
	a2aAbilities.add(fSetting, "streaming", "pushNotifications", "push_notifications", "stateTransitionHistory", "extendedAgentCard", "skillQuery")
}

var (
	a2aRPC       = grammar(shape{})
	a2aParams    = grammar(shape{})              // what a client sends
	a2aResult    = grammar(shape{})              // what an agent tells
	a2aSent      = grammar(shape{message: true}) // the caller's, whatever role it says
	a2aMessage   = grammar(shape{message: true})
	a2aStatus    = grammar(shape{})
	a2aArtifact  = grammar(shape{})
	a2aPart      = grammar(shape{block: true})
	a2aFile      = grammar(shape{})
	a2aConfig    = grammar(shape{})
	a2aHook      = grammar(shape{}) // where an agent is to tell what becomes of a task
	a2aAbilities = grammar(shape{})
)

// inheritA2A gives the shapes here what their names mean in other formats: a body
// that fits several loses nothing.
func inheritA2A() {
	inheritFields(a2aRPC, rpcShape)
	inheritFields(a2aParams, rpcParams)
	inheritFields(a2aParams, requestShape)
	inheritFields(a2aResult, rpcResult)
	inheritFields(a2aResult, answerShape)
	inheritFields(a2aPart, partShape)
	inheritFields(a2aMessage, a2aResult)
	inheritFields(a2aMessage, messageShape)
	inheritFields(a2aSent, messageShape)
}

// a2aRole returns the role that a message names. "agent" is a speaker of this
// protocol alone.
func a2aRole(s string, def Role) Role {
	switch strings.ToLower(strings.TrimPrefix(s, "ROLE_")) {
	case "agent":
		return RoleAssistant
	case "user":
		return RoleUser
	}
	return def
}
