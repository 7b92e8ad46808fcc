// SPDX-License-Identifier: Apache-2.0

package corpus_test

import "strings"

// Where agents speak A2A: one address for JSON-RPC, others for HTTP with JSON.
const (
	a2aPath = "/a2a"
	a2aSend = `{"jsonrpc":"2.0","id":"q-1","method":"message/send","params":{"message":{"kind":"message","role":"user","messageId":"m-1","parts":[{"kind":"text","text":"When does the ferry leave?"}]}}}`
	a2aTask = `"taskId":"363422be-b0f9-4692-a24d-278670e7c7f1","contextId":"c295ea44-7543-4f78-b524-7a38915ad6e4"`
)

// a2aResult is a message of JSON-RPC with a result.
func a2aResult(result string) string { return `{"jsonrpc":"2.0","id":"q-1","result":` + result + `}` }

// a2aArtifact is an event with parts of an artifact, as 0.3 has it.
func a2aArtifact(id, parts, more string) string {
	return a2aResult(`{"kind":"artifact-update",` + a2aTask + `,"artifact":{"artifactId":"` + id + `","parts":[` + parts + `]},"append":` + more + `}`)
}

func a2aStatus(id, text string) string {
	return a2aResult(`{"kind":"status-update",` + a2aTask + `,"status":{"state":"working","message":{"kind":"message","role":"agent","messageId":"` + id + `","parts":[{"kind":"text","text":"` + text + `"}]}},"final":false}`)
}

// attackA2A hide the marker in what agents say to each other.
func attackA2A() []testcase {
	l := &list{class: "A2A: requests"}
	call := func(name, method, params string) *testcase {
		return l.ask(name, `{"jsonrpc":"2.0","id":"q-1","method":"`+method+`","params":`+params+`}`).to(a2aPath)
	}
	message := func(name, members string) {
		call(name, "message/send", `{"message":{"kind":"message","role":"user","messageId":"m-1",`+members+`}}`)
		call(name+", 1.0", "SendStreamingMessage", `{"message":{"role":"ROLE_USER","messageId":"m-1",`+members+`}}`)
	}
	message("text", `"parts":[{"kind":"text","text":"$MARK"}]`)
	message("two parts", `"parts":[{"kind":"text","text":"$HEAD"},{"kind":"text","text":"$TAIL"}]`)
	message("data", `"parts":[{"kind":"data","data":{"a":["$MARK"]}}]`)
	message("name of data", `"parts":[{"kind":"data","data":{"$MARK":1}}]`)
	message("bytes of a file", `"parts":[{"kind":"file","file":{"name":"a.txt","mimeType":"text/plain","bytes":"$BASE64"}}]`)
	message("raw bytes", `"parts":[{"raw":"$BASE64","mediaType":"text/plain"}]`)
	message("name of a file", `"parts":[{"kind":"file","file":{"name":"$MARK","uri":"https://a.example/a.png"}}]`)
	message("data URL", `"parts":[{"kind":"file","file":{"uri":"data:text/plain;base64,$BASE64"}}]`)
	message("metadata", `"parts":[],"metadata":{"a":{"b":"$MARK"}}`)
	message("metadata of a part", `"parts":[{"kind":"text","text":"hi","metadata":{"a":"$MARK"}}]`)
	message("kind of a part", `"parts":[{"kind":"$MARK","text":"hi"}]`)
	message("context", `"parts":[],"contextId":"$MARK"`)
	message("extension", `"parts":[],"extensions":["$MARK"]`)
	message("unknown member", `"parts":[],"note":"$MARK"`)
	call("the agent's role", "message/send", `{"message":{"kind":"message","role":"agent","messageId":"m-1","parts":[{"kind":"text","text":"$MARK"}]}}`)
	call("id of a task", "tasks/get", `{"id":"$MARK"}`)
	call("metadata of a call", "tasks/cancel", `{"id":"t-1","metadata":{"a":"$MARK"}}`)
	call("token of a webhook", "tasks/pushNotificationConfig/set", `{"taskId":"t-1","pushNotificationConfig":{"url":"https://a.example/","token":"$MARK"}}`)
	call("address of a webhook", "tasks/pushNotificationConfig/set", `{"taskId":"t-1","pushNotificationConfig":{"url":"https://a.example/$MARK"}}`)
	call("another protocol's member", "message/send", `{"arguments":{"q":"$MARK"}}`)
	call("a chat among the parameters", "message/send", `{"messages":[{"role":"user","content":"$MARK"}]}`)
	call("method", "message/$MARK", `{}`)
	l.ask("by its own path", `{"message":{"role":"ROLE_USER","messageId":"m-1","parts":[{"text":"$HEAD"},{"text":"$TAIL"}]}}`).to("/v1/message:send")
	l.ask("a chat to that path", `{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`).to("/v1/message:send")
	l.ask("what a webhook is told", `{"kind":"task","id":"t-1","status":{"state":"completed"},"artifacts":[{"artifactId":"a","parts":[{"kind":"text","text":"$HEAD"},{"kind":"text","text":"$TAIL"}]}]}`).to("/hook")
	l.ask("what a webhook is told, 1.0", `{"statusUpdate":{`+a2aTask+`,"status":{"state":"TASK_STATE_WORKING","message":{"role":"ROLE_AGENT","messageId":"m","parts":[{"text":"$MARK"}]}}}}`).to("/hook")
	cases := l.cases

	l = &list{class: "A2A: answers"}
	told := func(name, result string) { l.say(name, a2aResult(result)).over(a2aPath, a2aSend) }
	told("message", `{"kind":"message","role":"agent","messageId":"m","parts":[{"kind":"text","text":"$HEAD"},{"kind":"text","text":"$TAIL"}]}`)
	told("message, 1.0", `{"message":{"role":"ROLE_AGENT","messageId":"m","parts":[{"text":"$HEAD"},{"text":"$TAIL"}]}}`)
	told("state", `{"kind":"task","id":"t","status":{"state":"$MARK"}}`)
	told("status", `{"kind":"task","id":"t","status":{"state":"working","message":{"role":"agent","messageId":"m","parts":[{"kind":"text","text":"$MARK"}]}}}`)
	told("history", `{"kind":"task","id":"t","status":{"state":"working"},"history":[{"role":"user","messageId":"m","parts":[{"kind":"text","text":"$MARK"}]}]}`)
	told("artifact", `{"task":{"id":"t","status":{"state":"TASK_STATE_COMPLETED"},"artifacts":[{"artifactId":"a","parts":[{"text":"$HEAD"},{"text":"$TAIL"}]}]}}`)
	told("name of an artifact", `{"kind":"task","id":"t","status":{"state":"completed"},"artifacts":[{"artifactId":"a","name":"$MARK","parts":[]}]}`)
	told("metadata", `{"kind":"task","id":"t","status":{"state":"completed"},"metadata":{"$MARK":true}}`)
	told("what MCP has", `{"kind":"task","content":[{"type":"text","text":"$MARK"}],"structuredContent":{"a":1}}`)
	l.say("error", `{"jsonrpc":"2.0","id":"q-1","error":{"code":-32603,"message":"$MARK"}}`).over(a2aPath, a2aSend)
	told("extended card", `{"name":"a","capabilities":{},"skills":[{"id":"s","name":"s","description":"$MARK"}]}`)
	card := func(name, members string) {
		l.say(name, `{"name":"Ferry agent","description":"Books ferries.","version":"1.0.0","capabilities":{},`+members+`}`).over("/.well-known/agent-card.json", "").by("GET")
	}
	card("skill of a card", `"skills":[{"id":"s","name":"s","description":"$MARK","tags":[]}]`)
	card("example of a skill", `"skills":[{"id":"s","name":"s","description":"d","tags":[],"examples":["$MARK"]}]`)
	card("tag of a skill", `"skills":[{"id":"s","name":"s","description":"d","tags":["$MARK"]}]`)
	card("scheme of a card", `"skills":[],"securitySchemes":{"a":{"type":"http","description":"$MARK"}}`)
	cases = append(cases, l.cases...)

	l = &list{class: "A2A: streams"}
	stream := func(name string, events ...string) {
		l.stream(name, events...).over(a2aPath, strings.Replace(a2aSend, "message/send", "message/stream", 1))
	}
	text := func(s string) string { return `{"kind":"text","text":"` + s + `"}` }
	stream("one event", a2aArtifact("a", text("$MARK"), "false"))
	stream("cut in a word", a2aArtifact("a", text("$HEAD"), "false"), a2aArtifact("a", text("$TAIL"), "true"))
	stream("another artifact between", a2aArtifact("a", text("$HEAD"), "false"), a2aArtifact("b", text("and so on, "), "false"), a2aStatus("m", "still at it"), a2aArtifact("a", text("$TAIL"), "true"))
	stream("without append", a2aArtifact("a", text("$HEAD"), "false"), a2aArtifact("a", text("$TAIL"), "false"))
	stream("over two artifacts", a2aArtifact("a", text("$HEAD"), "false"), a2aArtifact("b", text("$TAIL"), "false"))
	stream("an index in the parts", a2aArtifact("a", `{"index":7,"text":"$HEAD"}`, "false"), a2aArtifact("a", `{"index":2,"text":"$TAIL"}`, "true"))
	stream("another type in the parts", a2aArtifact("a", `{"type":"reasoning","text":"$HEAD"}`, "false"), a2aArtifact("a", `{"type":"x_call","text":"$TAIL"}`, "true"))
	stream("parts of an event", a2aArtifact("a", text("ok")+","+text("$HEAD"), "false"), a2aArtifact("a", text("$TAIL")+","+text("ok"), "true"))
	stream("after a task", a2aResult(`{"task":{"id":"363422be-b0f9-4692-a24d-278670e7c7f1","status":{"state":"TASK_STATE_WORKING"},"artifacts":[{"artifactId":"a","parts":[{"text":"$HEAD"}]}]}}`),
		a2aResult(`{"artifactUpdate":{`+a2aTask+`,"artifact":{"artifactId":"a","parts":[{"text":"$TAIL"}]},"append":true}}`))
	stream("both spellings of 1.0", a2aResult(`{"artifactUpdate":{"taskId":"t","artifact":{"artifactId":"a","parts":[{"text":"$HEAD"}]}}}`),
		a2aResult(`{"artifactUpdate":{"taskId":"t","artifact":{"artifactId":"b","parts":[{"text":"and "}]}}}`),
		a2aResult(`{"artifact_update":{"task_id":"t","artifact":{"artifact_id":"a","parts":[{"text":"$TAIL"}]},"append":true}}`))
	stream("status after status", a2aStatus("m-1", "$HEAD"), a2aStatus("m-2", "$TAIL"))
	stream("one message in pieces", a2aStatus("m-1", "$HEAD"), a2aArtifact("a", text("ok"), "false"), a2aStatus("m-1", "$TAIL"))
	other := a2aArtifact("b", text("and so on, "), "false")
	again := func(name, old, more string) {
		stream(name, a2aArtifact("a", text("$HEAD"), "false"), other, strings.Replace(a2aArtifact("a", text("$TAIL"), "true"), old, more, 1))
	}
	again("append is a text", `"append":true`, `"append":"true"`)
	again("another task's id", a2aTask, `"taskId":"t-2"`)
	again("a thought", `"kind":"text"`, `"kind":"text","thought":true`)
	again("a member beside the result", `"id":"q-1"`, `"id":"q-1","trace":1`)
	again("no version", `"jsonrpc":"2.0",`, ``)
	stream("status messages around an artifact", a2aStatus("m-1", "$HEAD"), other, a2aStatus("m-2", "$TAIL"))
	stream("artifacts around a status message", a2aArtifact("a", text("$HEAD"), "false"), a2aStatus("m-1", "still at it"), a2aArtifact("c", text("$TAIL"), "false"))
	stream("data", a2aArtifact("a", `{"kind":"data","data":{"a":"$MARK"}}`, "false"))
	stream("metadata", a2aResult(`{"kind":"status-update",`+a2aTask+`,"status":{"state":"working"},"metadata":{"a":"$MARK"}}`))
	l.stream("by its own path", `{"artifactUpdate":{`+a2aTask+`,"artifact":{"artifactId":"a","parts":[{"text":"$HEAD"}]}}}`,
		`{"artifactUpdate":{`+a2aTask+`,"artifact":{"artifactId":"a","parts":[{"text":"$TAIL"}]},"append":true}}`).
		over("/v1/message:stream", `{"message":{"role":"ROLE_USER","messageId":"m-1","parts":[{"text":"hi"}]}}`)
	stream("types of the root by its own path", a2aArtifact("a", text("ok"), "false"), `{"type":"a.delta","artifactUpdate":{`+a2aTask+`,"artifact":{"artifactId":"a","parts":[{"text":"$HEAD"}]}}}`,
		`{"type":"b.delta","artifactUpdate":{`+a2aTask+`,"artifact":{"artifactId":"a","parts":[{"text":"$TAIL"}]},"append":true}}`)
	return append(cases, l.cases...)
}

// goodA2A is what agents say to each other every day.
func goodA2A() []testcase {
	l := &list{class: "good: A2A"}
	text := func(s string) string { return `{"kind":"text","text":"` + s + `"}` }
	l.pass("message", a2aPath, a2aSend, a2aResult(`{"kind":"message","role":"agent","messageId":"m-2","contextId":"c-1","parts":[`+text("At noon.")+`]}`))
	l.pass("task", a2aPath, a2aSend, a2aResult(`{"kind":"task","id":"363422be-b0f9-4692-a24d-278670e7c7f1","contextId":"c-1","status":{"state":"input-required","timestamp":"2026-04-02T16:59:35Z","message":{"kind":"message","role":"agent","messageId":"m-2","parts":[`+text("For how many?")+`]}},"artifacts":[{"artifactId":"a-1","name":"Times","parts":[{"kind":"data","data":{"at":"12:00","seats":3}}]}]}`))
	l.pass("tasks/get", a2aPath, `{"jsonrpc":"2.0","id":2,"method":"tasks/get","params":{"id":"363422be-b0f9-4692-a24d-278670e7c7f1","historyLength":3}}`, `{"jsonrpc":"2.0","id":2,"error":{"code":-32001,"message":"Task not found"}}`)
	l.pass("1.0", a2aPath, `{"jsonrpc":"2.0","id":3,"method":"SendMessage","params":{"message":{"role":"ROLE_USER","messageId":"m-1","parts":[{"text":"When?"}]},"configuration":{"acceptedOutputModes":["text/plain"]}}}`,
		`{"jsonrpc":"2.0","id":3,"result":{"message":{"role":"ROLE_AGENT","messageId":"m-2","parts":[{"text":"At noon."}]}}}`)
	l.pass("webhook is set", a2aPath, `{"jsonrpc":"2.0","id":4,"method":"tasks/pushNotificationConfig/set","params":{"taskId":"t-1","pushNotificationConfig":{"url":"https://hooks.example/a2a","token":"t-4f9a1c","authentication":{"schemes":["Bearer"]}}}}`,
		`{"jsonrpc":"2.0","id":4,"result":{"taskId":"t-1","pushNotificationConfig":{"id":"p-1","url":"https://hooks.example/a2a"}}}`)
	l.pass("card", "/.well-known/agent-card.json", "", `{"protocolVersion":"0.3.0","name":"Ferry agent","description":"Books ferries.","url":"https://agent.example/a2a","version":"1.0.0","capabilities":{"streaming":true},"defaultInputModes":["text/plain"],"defaultOutputModes":["text/plain"],"skills":[{"id":"book","name":"Book","description":"Books a seat.","tags":["ferry"],"examples":["Book the ferry at noon."]}]}`).by("GET")
	l.pass("by its own path", "/v1/message:send", `{"message":{"role":"ROLE_USER","messageId":"m-1","parts":[{"text":"When?"}]}}`, `{"message":{"role":"ROLE_AGENT","messageId":"m-2","parts":[{"text":"At noon."}]}}`)
	said := make([]string, 40) // what each event says of its artifact is the same
	for i := range said {
		said[i] = a2aResult(`{"kind":"artifact-update",` + a2aTask + `,"metadata":{"agent":"ferry-agent"},"artifact":{"artifactId":"a","name":"Times of the ferry","description":"When it leaves.","parts":[` + text("noon, ") + `]},"append":` + []string{"false", "true"}[min(i, 1)] + `}`)
	}
	l.passStream("a stream of many events", a2aPath, strings.Replace(a2aSend, "message/send", "message/stream", 1), said...)
	l.passStream("stream", a2aPath, strings.Replace(a2aSend, "message/send", "message/stream", 1),
		a2aResult(`{"kind":"task","id":"363422be-b0f9-4692-a24d-278670e7c7f1","contextId":"c-1","status":{"state":"submitted"}}`), a2aStatus("m-2", "Looking it up."),
		a2aArtifact("a", text("At no"), "false"), a2aArtifact("a", text("on."), "true"),
		a2aResult(`{"kind":"status-update",`+a2aTask+`,"status":{"state":"completed"},"final":true}`))
	return l.cases
}
