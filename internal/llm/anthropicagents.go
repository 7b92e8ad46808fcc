// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// AnthropicAgents is the format of Anthropic's managed agents: agents, sessions
// and the events of a session, that are sent, listed and streamed. The shapes
// are those of anthropic-sdk-go 1.84 (betaagent.go, betasession.go,
// betasessionevent.go) under managed-agents-2026-04-01.
const AnthropicAgents Format = "anthropic.agents"

// An agent's own path is left out: other vendors have one of that name.
var agentsAPI = api{
	format: AnthropicAgents,
	paths: []string{
		"/v1/sessions", "/v1/sessions/*", "/v1/sessions/*/events", "/v1/sessions/*/events/stream",
		"/v1/sessions/*/threads/*/events", "/v1/sessions/*/threads/*/stream",
	},
	asks: "initial_events",
	request: func(s signs) bool {
		return s.begins("events", isSessionEvent) || s.has("agent") && s.has("environment_id") || s.isAgent()
	},
	answer: func(s signs) bool {
		return isSessionEvent(s.doc, s.root) || s.begins("data", isSessionEvent) || s.typed("agent") || s.typed("session") || s.typed("event_")
	},
	grammar: agents,
	refuse:  refuseAnthropic,
}

// isAgent reports whether the root is an agent as it is made: one with a name,
// instructions of its own and no conversation.
func (s signs) isAgent() bool {
	return s.has("system") && s.has("name") && s.has("model") && !s.has("messages") && !s.has("prompt")
}

// eventKinds are the beginnings of the types of a session's events.
var eventKinds = [...]string{"user.", "agent.", "system.", "session.", "span.", "workflow_run"}

// isSessionEvent reports whether v is an event of a session, by its type.
func isSessionEvent(d *strictjson.Doc, v int) bool {
	if d.Kind(v) != strictjson.Object {
		return false
	}
	t := d.Member(v, "type")
	if t < 0 || d.Kind(t) != strictjson.String {
		return false
	}
	kind := d.Bytes(t)
	for _, begin := range eventKinds {
		if bytes.HasPrefix(kind, []byte(begin)) {
			return true
		}
	}
	return string(kind) == "event_delta" || string(kind) == "event_start"
}

// agents adds what the managed agents' APIs say, and their events.
func agents() {
	r := requestShape
	r.add(field{rule: text, kind: inherit, role: RoleUser, shape: eventShape}, "events", "initial_events")
	r.add(field{rule: ident, shape: agentShape}, "agent")
	r.add(field{rule: other, shape: agentShape}, "multiagent", "execution_identity")
	r.add(fIdent, "environment_id", "vault_ids")
	r.add(field{rule: other, shape: mountShape}, "resources")
	r.add(field{rule: other, shape: budgetShape}, "budget")
	r.add(field{rule: other, shape: skillShape}, "skills")
	r.add(field{rule: model, shape: modelShape}, "model")

	g := agentShape
	g.add(fEnum, "type", "status")
	g.add(fIdent, "id", "role_arn", "created_at", "updated_at", "archived_at")
	g.add(fSetting, "version")
	g.add(fName, "name")
	g.add(fSystem, "system", "description")
	g.add(field{rule: model, shape: modelShape}, "model")
	g.add(fDef, "tools")
	g.add(field{rule: other, shape: serverShape}, "mcp_servers")
	g.add(field{rule: other, shape: skillShape}, "skills")
	g.add(field{rule: other, shape: metadataShape}, "metadata")
	g.add(field{rule: other, shape: agentShape}, "agents", "predefined_agents", "multiagent", "execution_identity", "subagents", "workflows", "inline_agents", "advisor")
	modelShape.add(fIdent, "id") // not by the rule for models, which takes more words
	modelShape.add(fModel, "model")
	modelShape.add(fEnum, "speed", "type")
	modelShape.add(fIdent, "inference_geo")
	modelShape.add(field{rule: enum, shape: modelShape}, "effort")
	skillShape.add(fEnum, "type")
	skillShape.add(fIdent, "skill_id", "version")
	budgetShape.add(fEnum, "type")
	budgetShape.add(field{rule: other, shape: budgetShape}, "max_list_cost")
	budgetShape.add(fIdent, "amount", "currency")

	s := mountShape
	s.add(fEnum, "type", "access")
	s.add(fIdent, "id", "memory_store_id", "created_at", "updated_at")
	s.add(fStored, "file_id")
	s.add(fName, "mount_path", "url")
	s.add(fSystem, "instructions")
	s.add(fSecret, "authorization_token")
	s.add(field{rule: other, shape: mountShape}, "checkout")
	s.add(fName, "name", "sha")

	a := answerShape
	a.add(fSystem, "system")
	a.add(field{rule: ident, shape: agentShape}, "agent")
	a.add(field{rule: other, shape: agentShape}, "multiagent", "execution_identity")
	a.add(field{rule: other, shape: serverShape}, "mcp_servers")
	a.add(field{rule: other, shape: skillShape}, "skills")
	a.add(field{rule: other, shape: mountShape}, "resources")
	a.add(field{rule: other, shape: budgetShape}, "budget")
	a.add(fUsage, "stats")
	a.add(fIdent, "environment_id", "vault_ids", "archived_at", "updated_at", "next_page")

	e := eventShape
	e.add(fEnum, "type", "evaluated_permission")
	e.add(fIdent, "id", "event_id", "processed_at", "session_thread_id", "mcp_tool_use_id", "custom_tool_use_id", "tool_use_id",
		"from_session_thread_id", "to_session_thread_id", "workflow_run_id", "workflow_run_phase_id", "phase_started_id",
		"outcome_id", "outcome_evaluation_start_id", "model_request_start_id")
	e.add(fParts, "content")
	e.add(field{rule: text, kind: inherit, role: RoleAssistant, shape: deltaShape, slot: "text"}, "delta")
	e.add(field{rule: other, shape: eventShape}, "event")
	e.add(fArgs, "input")
	e.add(fMention, "name")
	e.add(fName, "agent_name", "from_agent_name", "to_agent_name", "mcp_server_name", "title")
	e.add(field{rule: text, kind: KindText}, "deny_message", "description", "explanation")
	e.add(field{rule: text, kind: inherit, shape: sourceShape}, "rubric")
	e.add(fSetting, "is_error", "iteration", "max_iterations")
	e.add(field{rule: other, shape: evaluationShape}, "evaluation")
	e.add(field{rule: enum, shape: evaluationShape}, "result", "stop_reason")
	e.add(field{rule: other, shape: detailsShape}, "stop_details")
	e.add(field{rule: text, kind: KindOther, shape: errorShape}, "error")
	e.add(fUsage, "usage", "model_usage")
	e.add(field{rule: other, shape: budgetShape}, "budget")
	e.add(field{rule: ident, shape: agentShape}, "agent")
	e.add(field{rule: other, shape: metadataShape}, "metadata")
	e.add(field{rule: other, shape: eventShape}, "phases")
	evaluationShape.add(fEnum, "type", "reason_code")
	evaluationShape.add(fIdent, "event_ids")
	evaluationShape.add(field{rule: enum, shape: evaluationShape}, "evaluated_permission")
	evaluationShape.add(field{rule: text, kind: KindOther, shape: errorShape}, "error")
	errorShape.add(fIdent, "credential_id", "vault_id")
	errorShape.add(fName, "mcp_server_name", "repository_url")
	errorShape.add(field{rule: enum, shape: evaluationShape}, "retry_status")
	usageShape.add(fSetting, "active_seconds")
	usageShape.add(fEnum, "speed")
	usageShape.add(field{rule: setting, shape: budgetShape}, "list_cost")
}

var (
	agentShape      = grammar(shape{})
	modelShape      = grammar(shape{})
	skillShape      = grammar(shape{})
	mountShape      = grammar(shape{}) // what a session's container holds
	budgetShape     = grammar(shape{})
	evaluationShape = grammar(shape{}) // what became of a call or of a turn

	// eventShape is an event of a session. It means what a message or an answer
	// means under all other names, since a client of another API does not look
	// at its type.
	eventShape = grammar(shape{message: true})
)

// eventOf puts into a the place of member c of v, an event of a stream or a line
// of results: the event that it is or continues. Clients put together what events
// of one id say, and nothing of two.
func (r *reader) eventOf(a *at, s *shape, v, c int) {
	id := ""
	switch name := r.doc.Name(c); {
	case s == eventShape && string(name) == "content" && r.isArray(c):
		id = "id"
	case s == eventShape && string(name) == "delta" && r.isObject(c):
		id = "event_id"
	case s == answerShape && string(name) == "result" && r.isObject(c):
		id = "custom_id"
	default:
		return
	}
	if m := r.doc.Member(v, id); m >= 0 {
		if n, ok := r.place(m); ok {
			a.block, a.call, a.event = n, 0, true
		}
	}
}
