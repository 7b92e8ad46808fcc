// SPDX-License-Identifier: Apache-2.0

package llm

import "strings"

// MCP is the format of the Model Context Protocol.
const MCP Format = "mcp"

// Bodies are told by their envelope (see isRPC), and refused as JSON-RPC.
var mcpAPI = api{
	format:  MCP,
	paths:   []string{"/mcp", "/sse"},
	grammar: rpc,
	end:     endRPC,
}

// endRPC ends a stream by answering each call that the caller made with an
// error, in a message of its own: clients read no arrays there. Where nobody
// waits for an answer it is a line for the client's log instead, since an
// error without an id ends the session of some clients.
func endRPC(r *Refusal, _ []byte, f Framing, _ string) (out []byte) {
	message := func(data []byte) { out = append(out, framed(f, "message", data)...) }
	switch {
	case r.RPC != nil && r.RPC.Batch && len(r.RPC.IDs) > 0:
		for _, id := range r.RPC.IDs {
			message(rpcRefusal(r, id))
		}
	case r.RPC != nil && r.RPC.ID != nil:
		message(rpcRefusal(r, r.RPC.ID))
	case r.Format == A2A:
		message(rpcRefusal(r, nil)) // its clients know no notifications
	default:
		o := object{}
		o.str("jsonrpc", "2.0")
		o.str("method", "notifications/message")
		o.open("params")
		o.str("level", "error")
		o.open("data")
		o.shared(r)
		o.json("details", r.Details)
		o.close()
		o.close()
		message(o.end())
	}
	return out
}

// rpc adds what the Model Context Protocol says in JSON-RPC 2.0 messages.
func rpc() {
	e := rpcShape
	e.add(fEnum, "jsonrpc")
	e.add(fIdent, "id")
	e.add(fEnum, "method")
	e.add(field{rule: other, shape: rpcParams}, "params")
	e.add(field{rule: other, shape: rpcResult}, "result")
	e.add(field{rule: text, kind: KindOther, shape: rpcError}, "error")
	rpcError.add(field{rule: text, kind: KindOther}, "message")
	rpcError.add(fSetting, "code")

	taskShape.add(fToken, "taskId")
	taskShape.add(fEnum, "status")
	taskShape.add(field{rule: text, kind: KindText}, "statusMessage")
	taskShape.add(fIdent, "createdAt", "lastUpdatedAt")
	taskShape.add(fSetting, "ttl", "ttlMs", "pollInterval", "pollIntervalMs")

	for _, s := range []*shape{rpcParams, rpcResult} {
		s.add(fToken, "cursor", "nextCursor", "protocolVersion", "supportedVersions", "sessionId", "taskId", "elicitationId")
		s.add(field{rule: setting, shape: rpcMeta, afresh: true}, "_meta")
		s.add(field{rule: text, kind: KindText, role: RoleUser, shape: messageShape}, "messages")
		s.add(field{rule: text, kind: KindText, role: RoleSystem, shape: partShape}, "systemPrompt", "instructions")
		s.add(field{rule: text, kind: inherit, shape: partShape}, "content")
		s.add(field{rule: other, shape: capabilityShape}, "capabilities")
		s.add(field{rule: other, shape: infoShape}, "clientInfo", "serverInfo")
		s.add(fModel, "model")
		s.add(fEnum, "role", "level", "stopReason", "includeContext", "type", "action", "resultType", "status", "cacheScope")
		s.add(fSetting, "progress", "total", "maxTokens", "temperature", "hasMore", "isError", "ttlMs")
		// Requests of the server travel in results since 2026-07-28, what became
		// of them in the parameters of the call that is made once more, and both
		// in what is told of a task.
		s.add(field{rule: other, shape: rpcAsked, afresh: true}, "inputRequests")
		s.add(field{rule: other, shape: rpcReplies, afresh: true}, "inputResponses")
		s.add(fState, "requestState")
		s.add(field{rule: other, shape: rpcResult}, "result")
		s.add(field{rule: text, kind: KindOther, shape: rpcError}, "error")
		s.add(field{rule: other, shape: taskShape}, "task", "tasks")
		inheritFields(s, taskShape)
	}
	rpcAsked.each = &field{rule: other, shape: rpcShape}
	rpcReplies.each = &field{rule: other, shape: rpcResult}
	// Only where it names a call does a JSON-RPC message hold these.
	rpcParams.add(fToken, "requestId", "progressToken")
	rpcParams.add(fName, "name", "uri", "logger", "reason", "stopSequences")
	rpcParams.add(field{rule: text, kind: KindText}, "message")
	rpcParams.add(fEnum, "mode")
	rpcParams.add(field{rule: other, shape: preferenceShape}, "modelPreferences", "ref")
	rpcParams.add(field{rule: other, shape: rpcMeta}, "metadata")
	rpcParams.add(field{rule: other, shape: argumentShape}, "argument", "context")
	preferenceShape.add(field{rule: other, shape: preferenceShape}, "hints")
	preferenceShape.add(fName, "name", "uri")
	preferenceShape.add(fIdent, "type")
	preferenceShape.add(fSetting, "costPriority", "speedPriority", "intelligencePriority")
	argumentShape.add(fName, "name")
	argumentShape.add(field{rule: text, kind: KindText, role: RoleUser}, "value")
	argumentShape.add(fArgs, "arguments")
	rpcParams.add(fArgs, "arguments")
	rpcParams.add(fDef, "tools")
	rpcParams.add(fSchema, "requestedSchema")
	rpcParams.add(field{rule: other, shape: filterShape}, "notifications", "toolChoice")
	filterShape.add(fSetting, "toolsListChanged", "promptsListChanged", "resourcesListChanged")
	filterShape.add(fName, "resourceSubscriptions")
	filterShape.add(fToken, "taskIds")
	filterShape.add(fEnum, "mode")

	rpcResult.add(fListing, "tools", "prompts", "resources", "resourceTemplates")
	rpcResult.add(fResult, "structuredContent")
	rpcResult.add(field{rule: text, kind: KindDocument, role: RoleTool, shape: resourceShape}, "contents")
	rpcResult.add(field{rule: other, shape: completionShape}, "completion")
	completionShape.add(field{rule: text, kind: KindText}, "values")
	completionShape.add(fSetting, "total", "hasMore")
	rpcResult.add(field{rule: text, kind: KindText}, "description")

	// What a user filled in has the names of the form.
	rpcElicited.add(field{rule: other, role: RoleUser}, "content")
	rpcSampled.add(fParts, "content")

	rpcMeta.add(fToken, "progressToken", "traceparent", "tracestate")
	rpcMeta.add(fToken, metaPrefix+"protocolVersion")
	rpcMeta.add(fIdent, metaPrefix+"subscriptionId") // the id of a call
	rpcMeta.add(fEnum, metaPrefix+"logLevel")
	rpcMeta.add(field{rule: other, shape: infoShape}, metaPrefix+"clientInfo", metaPrefix+"serverInfo")
	rpcMeta.add(field{rule: other, shape: capabilityShape}, metaPrefix+"clientCapabilities")
	rpcMeta.add(field{rule: other, shape: taskShape}, metaPrefix+"related-task")
	capabilityShape.add(field{rule: setting, shape: capabilityShape}, "roots", "sampling", "elicitation", "tools", "prompts",
		"resources", "logging", "completions", "tasks", "form", "url", "context", "experimental", "extensions", metaPrefix+"tasks",
		"list", "cancel", "requests", "call", "createMessage", "create")
	capabilityShape.add(fSetting, "listChanged", "subscribe")
	infoShape.add(fToken, "name", "version")
	infoShape.add(fDocument, "title", "description")
	infoShape.add(fName, "websiteUrl")

	partShape.add(field{rule: text, kind: KindDocument, shape: resourceShape}, "resource")
	partShape.add(fDocument, "uri", "description") // of a link to a resource
	partShape.add(fIdent, "mimeType")
	// A resource is text or a file. Its own address is not media.
	resourceShape.add(fDocument, "uri", "name", "title", "description", "text")
	resourceShape.add(fInline, "blob")
	resourceShape.add(fIdent, "mimeType")
	resourceShape.add(fSetting, "size")
	resourceShape.add(field{rule: other, shape: hintShape}, "annotations")
	resourceShape.add(field{rule: setting, shape: rpcMeta}, "_meta")
	partShape.add(fResult, "structuredContent") // of a tool's result among messages
	partShape.add(fSetting, "isError")
	partShape.add(field{rule: setting, shape: rpcMeta}, "_meta")
	partShape.add(field{rule: other, shape: hintShape}, "annotations")
	hintShape.add(fEnum, "audience")
	hintShape.add(fSetting, "priority")
	hintShape.add(fIdent, "lastModified")
	inheritFields(hintShape, citationShape)
}

var (
	rpcShape        = grammar(shape{})
	rpcParams       = grammar(shape{block: true})
	rpcResult       = grammar(shape{})
	rpcElicited     = grammar(shape{})              // the answer to an elicitation
	rpcSampled      = grammar(shape{message: true}) // the answer to sampling
	rpcAsked        = grammar(shape{})              // the server's requests, by names of its own
	rpcReplies      = grammar(shape{})              // what the client says to them
	taskShape       = grammar(shape{})
	filterShape     = grammar(shape{})
	rpcError        = grammar(shape{})
	rpcMeta         = grammar(shape{free: true})
	capabilityShape = grammar(shape{free: true})
	infoShape       = grammar(shape{})
	hintShape       = grammar(shape{free: true})
	preferenceShape = grammar(shape{})
	argumentShape   = grammar(shape{block: true})
	completionShape = grammar(shape{})
	resourceShape   = grammar(shape{})
)

// metaPrefix begins the protocol's own names in _meta and among extensions.
const metaPrefix = "io.modelcontextprotocol/"

// fState is what a server has a client send back to it. The protocol calls it
// opaque, and whoever sends it writes what he likes: only what reads as
// ciphertext is structure, and text in base64 is scanned as the text it is.
var fState = field{rule: opaque}

// resultShape returns the shape of object v, a result: what a user made of a
// form, what a model said to the server's messages, or any other.
func (r *reader) resultShape(v int) *shape {
	content := r.doc.Member(v, "content")
	switch {
	case content < 0:
	case r.isObject(content) && r.doc.Member(v, "action") >= 0:
		return rpcElicited
	case r.doc.Member(v, "role") >= 0:
		return rpcSampled
	}
	return rpcResult
}

// envelope reports whether object v is a JSON-RPC 2.0 message and nothing
// else: an envelope that also carries a chat's members is read as a chat.
func (r *reader) envelope(v int) bool {
	version, call := false, false
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		switch string(r.doc.Name(c)) {
		case "jsonrpc":
			version = string(r.doc.Raw(c)) == `"2.0"`
		case "method", "result", "error":
			call = true
		case "id", "params":
		default:
			return false
		}
	}
	return version && call
}

// isRPC reports whether the document is one JSON-RPC message, or a batch.
func (r *reader) isRPC() bool {
	const root = 0
	switch {
	case r.doc.Len() == 0:
		return false
	case r.isObject(root):
		return r.envelope(root)
	case !r.isArray(root) || r.doc.First(root) == r.doc.Next(root):
		return false
	}
	for c := r.doc.First(root); c < r.doc.Next(root); c = r.doc.Next(c) {
		if !r.isObject(c) || !r.envelope(c) {
			return false
		}
	}
	return true
}

// walkRPC reads a document of JSON-RPC messages, those of A2A if told says so.
func (r *reader) walkRPC(told bool) error {
	const root = 0
	if r.msg.Format = MCP; told {
		r.msg.Format = A2A
	}
	rpc := &RPC{}
	if r.msg.RPC == nil {
		r.msg.RPC = rpc
	}
	first, end := root, r.doc.Next(root)
	if rpc.Batch = r.isArray(root); rpc.Batch {
		first = r.doc.First(root)
	}
	for v := first; v < end; v = r.doc.Next(v) {
		if err := r.walkEnvelope(rpc, v, told); err != nil {
			return err
		}
	}
	return nil
}

// walkEnvelope reads one JSON-RPC message.
func (r *reader) walkEnvelope(rpc *RPC, v int, told bool) error {
	var a at
	r.afresh(&a)
	m := r.envelopeMembers(v)
	if rpc.Batch {
		if m.ID != nil {
			rpc.IDs = append(extra(rpc.IDs, 1), m.ID)
		}
		m.Body = clone(r.doc.Raw(v))
		r.take(turnBytes + len(m.Body))
		rpc.Members = append(extra(rpc.Members, 1), m)
	} else {
		rpc.ID, rpc.Method, rpc.Tool = m.ID, m.Method, m.Tool
		if p := r.doc.Member(v, "params"); p >= 0 {
			rpc.Params = clone(r.doc.Raw(p))
			if strings.HasPrefix(m.Method, "tasks/") && !told {
				rpc.Task = r.member(p, "taskId")
			}
		}
		if p := r.doc.Member(v, "result"); p >= 0 {
			rpc.Result = clone(r.doc.Raw(p))
		}
	}
	if told {
		if r.msg.Leg == ResponseLeg {
			a.role = RoleAssistant
		}
		return r.object(a, a2aRPC, v)
	}
	return r.object(a, rpcShape, v)
}

// afresh makes a the place of what a JSON-RPC message says besides a call or its
// result: nobody speaks in a client's message, and a tool in a server's.
func (r *reader) afresh(a *at) {
	a.kind, a.message, a.name, a.callID, a.role = KindText, -1, "", "", RoleTool
	if r.msg.Leg == RequestLeg {
		a.role = RoleNone
	}
}

// envelopeMembers reads what names a JSON-RPC message and its call.
func (r *reader) envelopeMembers(v int) (m RPCMember) {
	if id := r.doc.Member(v, "id"); id >= 0 {
		m.ID = clone(r.doc.Raw(id))
	}
	if method := r.doc.Member(v, "method"); method >= 0 && r.isString(method) {
		m.Method = string(r.doc.Bytes(method))
	}
	if p := r.doc.Member(v, "params"); p >= 0 {
		if name := r.doc.Member(p, "name"); name >= 0 && r.isString(name) {
			m.Tool = string(r.doc.Bytes(name))
		}
	}
	return m
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
