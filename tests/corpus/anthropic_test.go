// SPDX-License-Identifier: Apache-2.0

package corpus_test

import "strings"

// Where Anthropic's batches and the events of its sessions go.
const (
	batchPath  = "/v1/messages/batches"
	eventsPath = "/v1/sessions/sesn_011CZkZAtmR3yMPDzynEDxu7/events"
)

// A session's event that says one text, whole or as pieces of it.
func agentMessage(id, text string) string {
	return `{"id":"` + id + `","type":"agent.message","content":[{"type":"text","text":"` + text + `"}],"processed_at":"2026-03-15T10:00:00Z"}`
}

func agentDelta(id, index, text string) string {
	return `{"type":"event_delta","event_id":"` + id + `","delta":{"type":"content_delta","index":` + index + `,"content":{"type":"text","text":"` + text + `"}}}`
}

// withNames gives events the lines that their servers put before them.
func withNames(events ...string) []string {
	var out []string
	for _, e := range events {
		_, rest, _ := strings.Cut(e, `"type":"`)
		kind, _, _ := strings.Cut(rest, `"`)
		out = append(out, "event: "+kind+"\ndata: "+e)
	}
	return out
}

// attackAnthropic hide the marker in batches, in managed agents and in the
// blocks that Anthropic's own tools bring.
func attackAnthropic() []testcase {
	l := &list{class: "anthropic: batches"}
	batch := func(name, params string) {
		l.ask(name, `{"requests":[{"custom_id":"a","params":{"model":"claude-sonnet-4","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}},`+params+`]}`).to(batchPath)
	}
	batch("message", `{"custom_id":"b","params":{"messages":[{"role":"user","content":"$MARK"}]}}`)
	batch("blocks", `{"custom_id":"b","params":{"messages":[{"role":"user","content":[{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}]}]}}`)
	batch("system", `{"custom_id":"b","params":{"system":"$MARK","messages":[]}}`)
	batch("tool", `{"custom_id":"b","params":{"messages":[],"tools":[{"name":"f","description":"$MARK"}]}}`)
	batch("custom id", `{"custom_id":"$MARK","params":{"messages":[]}}`)
	batch("beside the parameters", `{"custom_id":"b","params":{"messages":[]},"note":"$MARK"}`)
	result := func(name string, lines ...string) {
		l.say(name, strings.Join(lines, "\n")+"\n").over(batchPath+"/msgbatch_1/results", "").by("GET").typed("application/x-jsonl")
	}
	good := `{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"ok"}]}}}`
	result("result", good, `{"custom_id":"b","result":{"type":"succeeded","message":{"role":"assistant","content":[{"type":"text","text":"$MARK"}]}}}`)
	result("blocks of a result", `{"custom_id":"b","result":{"type":"succeeded","message":{"role":"assistant","content":[{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}]}}}`, good)
	result("tool of a result", good, `{"custom_id":"b","result":{"type":"succeeded","message":{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{"q":"$MARK"}}]}}}`)
	result("error of a result", `{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"$MARK"}}}}`, good)
	result("type of a result", good, `{"custom_id":"b","result":{"type":"$MARK"}}`)
	result("custom id of a result", good, `{"custom_id":"$MARK","result":{"type":"expired"}}`)
	result("result that is a text", good, `{"custom_id":"b","result":"$MARK"}`)
	cases := l.cases

	l = &list{class: "anthropic: managed agents"}
	event := func(name, event string) {
		l.ask(name, `{"events":[{"type":"user.message","content":[{"type":"text","text":"hi"}]},`+event+`]}`).to(eventsPath)
	}
	event("user.message", `{"type":"user.message","content":[{"type":"text","text":"$MARK"}]}`)
	event("blocks of user.message", `{"type":"user.message","content":[{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}]}`)
	event("system.message", `{"type":"system.message","content":[{"type":"text","text":"$MARK"}]}`)
	event("document", `{"type":"user.message","content":[{"type":"document","title":"a","source":{"type":"text","media_type":"text/plain","data":"$MARK"}}]}`)
	event("custom tool's result", `{"type":"user.custom_tool_result","custom_tool_use_id":"sevt_1","content":[{"type":"text","text":"$MARK"}]}`)
	event("search result", `{"type":"user.tool_result","tool_use_id":"sevt_1","content":[{"type":"search_result","title":"a","source":"b","content":[{"type":"text","text":"$MARK"}]}]}`)
	event("deny_message", `{"type":"user.tool_confirmation","tool_use_id":"sevt_1","result":"deny","deny_message":"$MARK"}`)
	event("result of a confirmation", `{"type":"user.tool_confirmation","tool_use_id":"sevt_1","result":"$MARK"}`)
	event("outcome", `{"type":"user.define_outcome","description":"$MARK"}`)
	event("rubric", `{"type":"user.define_outcome","description":"a","rubric":{"type":"text","content":"$MARK"}}`)
	event("id", `{"type":"user.interrupt","session_thread_id":"$MARK"}`)
	event("type", `{"type":"user.$MARK"}`)
	event("unknown member", `{"type":"user.message","content":[],"note":{"a":["$MARK"]}}`)
	event("chat beside the events", `{"type":"user.message","messages":[{"role":"user","content":"$MARK"}]}`)
	agent := func(name, members string) {
		l.ask(name, `{"name":"clerk","model":{"id":"claude-sonnet-4"},`+members+`}`).to("/v1/agents")
	}
	agent("system of an agent", `"system":"$MARK"`)
	agent("description of an agent", `"system":"a","description":"$MARK"`)
	agent("tool of an agent", `"system":"a","tools":[{"type":"custom","name":"f","description":"$MARK"}]`)
	agent("tool set of an agent", `"system":"a","tools":[{"type":"agent_toolset_20260401","configs":[{"name":"$MARK","enabled":true}]}]`)
	agent("skill of an agent", `"system":"a","skills":[{"type":"custom","skill_id":"$MARK"}]`)
	agent("server of an agent", `"system":"a","mcp_servers":[{"type":"url","name":"$MARK","url":"https://a.example"}]`)
	agent("metadata of an agent", `"system":"a","metadata":{"k":"$MARK"}`)
	l.ask("first event of a session", `{"agent":"agent_1","environment_id":"env_1","initial_events":[{"type":"user.message","content":[{"type":"text","text":"$MARK"}]}]}`).to("/v1/sessions")
	l.ask("system of a session's agent", `{"agent":{"type":"agent_with_overrides","id":"agent_1","system":"$MARK"},"environment_id":"env_1"}`).to("/v1/sessions")
	l.ask("memory of a session", `{"agent":"agent_1","environment_id":"env_1","resources":[{"type":"memory_store","memory_store_id":"m","instructions":"$MARK"}]}`).to("/v1/sessions")
	l.ask("environment", `{"name":"env","description":"$MARK","config":{"type":"cloud"}}`).to("/v1/environments")
	listed := func(name, event string) {
		l.say(name, `{"data":[`+agentMessage("sevt_1", "ok")+`,`+event+`],"next_page":null}`).over(eventsPath, "").by("GET")
	}
	listed("listed message", agentMessage("sevt_2", "$MARK"))
	listed("listed tool use", `{"id":"sevt_2","type":"agent.tool_use","name":"bash","input":{"command":"$MARK"}}`)
	listed("listed tool result", `{"id":"sevt_2","type":"agent.mcp_tool_result","mcp_tool_use_id":"sevt_1","content":[{"type":"text","text":"$MARK"}]}`)
	listed("listed error", `{"id":"sevt_2","type":"session.error","error":{"type":"unknown_error","message":"$MARK"}}`)
	listed("listed explanation", `{"id":"sevt_2","type":"span.outcome_evaluation_end","explanation":"$MARK"}`)
	listed("listed agent", `{"id":"sevt_2","type":"session.updated","agent":{"system":"$MARK"}}`)
	listed("listed name", `{"id":"sevt_2","type":"session.thread_created","agent_name":"$MARK"}`)
	cases = append(cases, l.cases...)

	l = &list{class: "anthropic: streams"}
	stream := func(name string, events ...string) { l.stream(name, withNames(events...)...) }
	stream("message", agentMessage("sevt_1", "ok"), agentMessage("sevt_2", "$MARK"))
	stream("pieces", agentDelta("sevt_1", "0", "$HEAD"), agentDelta("sevt_1", "0", "$TAIL"))
	stream("another event's piece between", agentDelta("sevt_1", "0", "$HEAD"), agentDelta("sevt_2", "0", "and "), agentMessage("sevt_3", "so"), agentDelta("sevt_1", "0", "$TAIL"))
	stream("pieces of two blocks", agentDelta("sevt_1", "0", "$HEAD"), agentDelta("sevt_1", "1", "$TAIL"))
	stream("pieces of two blocks, in disorder", agentDelta("sevt_1", "1", "$TAIL"), agentDelta("sevt_1", "0", "$HEAD"))
	stream("an index as a text", agentDelta("sevt_1", `"0"`, "$HEAD"), agentDelta("sevt_1", "0.0", "$TAIL"))
	stream("two blocks of a message", `{"id":"sevt_1","type":"agent.message","content":[{"type":"text","text":"$HEAD"},{"type":"text","text":"$TAIL"}]}`)
	stream("one id in two events", agentMessage("sevt_1", "$HEAD"), agentMessage("sevt_1", "$TAIL"))
	stream("tool use", `{"id":"sevt_1","type":"agent.custom_tool_use","name":"f","input":{"q":"$MARK"}}`)
	stream("a chat under another type", `{"id":"sevt_1","type":"agent.message","choices":[{"index":0,"delta":{"content":"$HEAD"}}]}`, `{"id":"sevt_2","type":"user.message","choices":[{"index":0,"delta":{"content":"$TAIL"}}]}`)
	stream("Ollama under another type", `{"id":"sevt_1","type":"agent.message","message":{"content":"$HEAD"}}`, `{"id":"sevt_2","type":"agent.message","message":{"content":"$TAIL"}}`)
	stream("a text under another type", `{"id":"sevt_1","type":"agent.message","content":"$HEAD"}`, `{"id":"sevt_2","type":"agent.message","content":"$TAIL"}`)
	stream("compaction", `{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"$HEAD"}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"$TAIL"}}`)
	stream("advisor", `{"type":"content_block_start","index":0,"content_block":{"type":"advisor_tool_result","tool_use_id":"srvtoolu_1","content":{"type":"advisor_result","text":"$MARK"}}}`)
	cases = append(cases, l.cases...)

	l = &list{class: "anthropic: blocks"}
	block := func(name, role, block string) {
		l.ask(name, `{"model":"claude-sonnet-4","max_tokens":10,"messages":[{"role":"`+role+`","content":[`+block+`]},{"role":"user","content":"hi"}]}`).to("/v1/messages")
	}
	block("compaction", "assistant", `{"type":"compaction","content":"$MARK"}`)
	block("ciphertext of a compaction that is text", "assistant", `{"type":"compaction","content":"a","encrypted_content":"$BASE64"}`)
	block("tool of a compaction", "assistant", `{"type":"compaction","content":"a","tool_changes":[{"type":"tool_addition","tool":{"type":"tool_reference","name":"f","definition":{"name":"f","description":"$MARK"}}}]}`)
	block("advisor", "assistant", `{"type":"advisor_tool_result","tool_use_id":"srvtoolu_1","content":{"type":"advisor_result","text":"$MARK"}}`)
	block("memory: create", "assistant", `{"type":"tool_use","id":"toolu_1","name":"memory","input":{"command":"create","path":"/memories/a","file_text":"$MARK"}}`)
	block("memory: str_replace", "assistant", `{"type":"tool_use","id":"toolu_1","name":"memory","input":{"command":"str_replace","path":"/memories/a","old_str":"a","new_str":"$MARK"}}`)
	block("memory: insert", "assistant", `{"type":"tool_use","id":"toolu_1","name":"memory","input":{"command":"insert","path":"/memories/a","insert_line":1,"insert_text":"$MARK"}}`)
	block("memory: path", "assistant", `{"type":"tool_use","id":"toolu_1","name":"memory","input":{"command":"delete","path":"/memories/$MARK"}}`)
	block("bash", "assistant", `{"type":"bash_code_execution_tool_result","tool_use_id":"s","content":{"type":"bash_code_execution_result","stdout":"$MARK","stderr":"","return_code":0,"content":[]}}`)
	block("lines of an edit", "assistant", `{"type":"text_editor_code_execution_tool_result","tool_use_id":"s","content":{"type":"text_editor_code_execution_str_replace_result","lines":["a","$MARK"]}}`)
	block("lines of an edit, joined", "assistant", `{"type":"text_editor_code_execution_tool_result","tool_use_id":"s","content":{"type":"text_editor_code_execution_str_replace_result","lines":["$HEAD","$TAIL"]}}`)
	block("error of an edit", "assistant", `{"type":"text_editor_code_execution_tool_result","tool_use_id":"s","content":{"type":"text_editor_code_execution_tool_result_error","error_code":"unavailable","error_message":"$MARK"}}`)
	block("encrypted output that is text", "assistant", `{"type":"code_execution_tool_result","tool_use_id":"s","content":{"type":"encrypted_code_execution_result","encrypted_stdout":"$BASE64","return_code":0}}`)
	l.ask("instructions of a compaction", `{"model":"claude-sonnet-4","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"context_management":{"edits":[{"type":"compact_20260112","instructions":"$MARK"}]}}`).to("/v1/messages")
	l.ask("skill of a container", `{"model":"claude-sonnet-4","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"container":{"skills":[{"type":"custom","skill_id":"$MARK"}]}}`).to("/v1/messages")
	return append(cases, l.cases...)
}

// goodAnthropic are batches, sessions and blocks as Anthropic's clients send
// them and its servers answer.
func goodAnthropic() []testcase {
	l := &list{class: "good: Anthropic's other APIs"}
	l.pass("batch", batchPath, `{"requests":[{"custom_id":"ferry-1","params":{"model":"claude-sonnet-4","max_tokens":100,"messages":[{"role":"user","content":"When does the ferry leave?"}]}},{"custom_id":"ferry-2","params":{"model":"claude-sonnet-4","max_tokens":100,"messages":[{"role":"user","content":"And the next?"}]}}]}`,
		`{"id":"msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d","type":"message_batch","processing_status":"in_progress","request_counts":{"processing":2,"succeeded":0,"errored":0,"canceled":0,"expired":0},"ended_at":null,"created_at":"2026-09-24T18:37:24.100435Z","expires_at":"2026-09-25T18:37:24.100435Z","archived_at":null,"cancel_initiated_at":null,"results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_01HkcTjaV5uDC8jWR4ZsDV8d/results"}`)
	c := l.pass("results", batchPath+"/msgbatch_1/results", "", `{"custom_id":"ferry-2","result":{"type":"succeeded","message":{"id":"msg_014VwiXbi91y3JMjcpyGBHX5","type":"message","role":"assistant","model":"claude-sonnet-4","content":[{"type":"text","text":"At eight."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":36}}}}`+"\n"+
		`{"custom_id":"ferry-1","result":{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"},"request_id":null}}}`+"\n"+`{"custom_id":"ferry-3","result":{"type":"canceled"}}`+"\n").by("GET")
	c.answer.header = []string{"Content-Type: application/x-jsonl"}
	l.pass("agent", "/v1/agents", `{"name":"Clerk","model":{"id":"claude-sonnet-4","speed":"standard"},"system":"You sell tickets.","tools":[{"type":"agent_toolset_20260401","default_config":{"enabled":true,"permission_policy":{"type":"always_ask"}},"configs":[]}],"mcp_servers":[],"skills":[{"type":"anthropic","skill_id":"xlsx"}],"metadata":{}}`,
		`{"id":"agent_011CZkYqphY8vELVzwCUpqiQ","type":"agent","version":1,"name":"Clerk","description":null,"model":{"id":"claude-sonnet-4","speed":"standard"},"system":"You sell tickets.","tools":[],"mcp_servers":[],"skills":[],"metadata":{},"created_at":"2026-03-15T10:00:00Z","updated_at":"2026-03-15T10:00:00Z","archived_at":null}`)
	l.pass("session", "/v1/sessions", `{"agent":"agent_011CZkYqphY8vELVzwCUpqiQ","environment_id":"env_011CZkZ9X2dpNyB7HsEFoRfW"}`,
		`{"id":"sesn_011CZkZAtmR3yMPDzynEDxu7","type":"session","status":"idle","environment_id":"env_011CZkZ9X2dpNyB7HsEFoRfW","title":null,"agent":{"id":"agent_011CZkYqphY8vELVzwCUpqiQ","type":"agent","version":1,"name":"Clerk","model":{"id":"claude-sonnet-4"},"system":null,"tools":[],"mcp_servers":[],"skills":[]},"resources":[],"vault_ids":[],"metadata":{},"stats":{"active_seconds":0},"usage":{},"created_at":"2026-03-15T10:00:00Z","updated_at":"2026-03-15T10:00:00Z","archived_at":null}`)
	l.pass("events", eventsPath, `{"events":[{"type":"user.message","content":[{"type":"text","text":"When does the ferry leave?"}]}]}`, `{"data":[{"id":"sevt_1","type":"user.message","content":[{"type":"text","text":"When does the ferry leave?"}],"processed_at":null}]}`)
	l.pass("an interrupt", eventsPath, `{"events":[{"type":"user.interrupt"}]}`, `{"data":[{"id":"sevt_2","type":"user.interrupt","processed_at":null}]}`)
	l.pass("list of events", eventsPath, "", `{"data":[`+agentMessage("sevt_1", "At noon.")+`],"next_page":"page_MjAyNS0wNS0xNFQwMDowMDowMFo="}`).by("GET")
	l.passStream("stream of events", eventsPath, `{"events":[{"type":"user.message","content":[{"type":"text","text":"When?"}]}]}`, withNames(
		`{"id":"sevt_0","type":"session.status_running","processed_at":"2026-03-15T10:00:00Z"}`, `{"type":"event_start","event":{"id":"sevt_1","type":"agent.message"}}`,
		agentDelta("sevt_1", "0", "At"), agentDelta("sevt_1", "0", " noon."), agentMessage("sevt_1", "At noon."),
		`{"id":"sevt_2","type":"session.status_idle","stop_reason":{"type":"end_turn"},"processed_at":"2026-03-15T10:00:01Z"}`)...)
	l.pass("compaction, advisor and memory", "/v1/messages", `{"model":"claude-sonnet-4","max_tokens":100,"context_management":{"edits":[{"type":"compact_20260112","trigger":{"type":"input_tokens","value":100000}}]},"tools":[{"type":"memory_20250818","name":"memory"},{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4"}],"messages":[{"role":"assistant","content":[{"type":"compaction","content":"They asked for a ferry.","encrypted_content":"`+signature+`"},{"type":"tool_use","id":"`+toolID+`","name":"memory","input":{"command":"view","path":"/memories"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"`+toolID+`","content":"Directory: /memories"}]}]}`,
		`{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4","content":[{"type":"server_tool_use","id":"srvtoolu_1","name":"advisor","input":{}},{"type":"advisor_tool_result","tool_use_id":"srvtoolu_1","content":{"type":"advisor_redacted_result","encrypted_content":"`+signature+`"}},{"type":"text","text":"At noon."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1,"iterations":[{"type":"advisor_message","model":"claude-opus-4","input_tokens":1,"output_tokens":1}]},"context_management":{"applied_edits":[]}}`)
	return l.cases
}
