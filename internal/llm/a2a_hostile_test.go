// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// a2aSaid is what TestA2AStreamsAreJoinedAsClientsDo looks for: it comes in two
// pieces, HEAD and TAIL, with other texts between them.
const a2aSaid = "the grey heron hides"

// TestA2AStreamsAreJoinedAsClientsDo holds that no member which clients do not
// look at, and no text that they show elsewhere, keeps apart what they join.
// They keep an artifact by its id alone (a2a-python, client/artifact_aggregator)
// and take any value for append that their language takes for true.
func TestA2AStreamsAreJoinedAsClientsDo(t *testing.T) {
	const (
		head = "the grey he"
		tail = "ron hides"
		ids  = `"taskId":"t-1","contextId":"c-1"`
	)
	envelope := func(result string) string { return `{"jsonrpc":"2.0","id":"q-1","result":` + result + `}` }
	artifact := func(id, part, more string) string {
		return fmt.Sprintf(`{"kind":"artifact-update",%s,"artifact":{"artifactId":%q,"parts":[%s]},"append":%s}`, ids, id, part, more)
	}
	text := func(s string) string { return `{"kind":"text","text":"` + s + `"}` }
	status := func(id, s string) string {
		return fmt.Sprintf(`{"kind":"status-update",%s,"status":{"state":"working","message":{"kind":"message","role":"agent","messageId":%q,"parts":[%s]}},"final":false}`, ids, id, text(s))
	}
	other := artifact("b", text("meanwhile "), "false")
	for _, tt := range []struct {
		name   string
		events []string
	}{
		{"append is a text", []string{envelope(artifact("a", text(head), "false")), envelope(other), envelope(artifact("a", text(tail), `"true"`))}},
		{"append is a number", []string{envelope(artifact("a", text(head), "false")), envelope(other), envelope(artifact("a", text(tail), `1`))}},
		{"another task's id", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			envelope(strings.Replace(artifact("a", text(tail), "true"), "t-1", "t-2", 1)),
		}},
		{"another task's event between", []string{
			envelope(artifact("a", text(head), "false")), envelope(strings.Replace(artifact("a", text("meanwhile "), "true"), "t-1", "t-2", 1)),
			envelope(artifact("a", text(tail), "true")),
		}},
		{"a thought", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			envelope(artifact("a", `{"kind":"text","thought":true,"text":"`+tail+`"}`, "true")),
		}},
		{"another member beside the result", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			strings.Replace(envelope(artifact("a", text(tail), "true")), `"id"`, `"trace":1,"id"`, 1),
		}},
		{"no version", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			strings.Replace(envelope(artifact("a", text(tail), "true")), `"jsonrpc":"2.0",`, ``, 1),
		}},
		{"an error beside the result", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			strings.Replace(envelope(artifact("a", text(tail), "true")), `"id"`, `"error":null,"id"`, 1),
		}},
		{"status messages around an artifact", []string{envelope(status("m-1", head)), envelope(other), envelope(status("m-2", tail))}},
		{"artifacts around a status message", []string{
			envelope(artifact("a", text(head), "false")), envelope(status("m-1", "meanwhile ")), envelope(artifact("c", text(tail), "false")),
		}},
		{"texts around a file", []string{
			envelope(artifact("a", text(head), "false")),
			envelope(artifact("a", `{"kind":"data","data":{"seats":"many"}},`+text(tail), "true")),
		}},
		{"the newer form after the older", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			envelope(`{"artifactUpdate":{` + ids + `,"artifact":{"artifactId":"a","parts":[{"text":"` + tail + `"}]},"append":true}}`),
		}},
		{"a class of events", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			envelope(strings.Replace(artifact("a", text(tail), "true"), `"kind"`, `"type":"x.delta","kind"`, 1)),
		}},
		{"a role of the artifact", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			envelope(strings.Replace(artifact("a", text(tail), "true"), `"artifactId"`, `"role":"tool","type":"tool_result","index":3,"artifactId"`, 1)),
		}},
		{"a call in the part", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			envelope(artifact("a", `{"kind":"text","type":"tool_use","id":"x","tool_call_id":"y","content_index":4,"text":"`+tail+`"}`, "true")),
		}},
		{"its name said again", []string{
			envelope(strings.Replace(artifact("a", text(head), "false"), `"artifactId"`, `"name":"n","artifactId"`, 1)), envelope(other),
			envelope(strings.Replace(artifact("a", text(tail), "true"), `"artifactId"`, `"name":"n","artifactId"`, 1)),
		}},
		{"a role's change", []string{
			envelope(status("m-1", head)), envelope(strings.Replace(status("m-1", tail), `"agent"`, `"user"`, 1)),
		}},
		{"no ids", []string{
			envelope(strings.Replace(artifact("a", text(head), "false"), `"artifactId":"a",`, ``, 1)), envelope(other),
			envelope(strings.Replace(artifact("a", text(tail), "true"), `"artifactId":"a",`, ``, 1)),
		}},
		{"an id that is a number", []string{
			envelope(strings.Replace(artifact("a", text(head), "false"), `"a"`, `7`, 1)), envelope(other),
			envelope(strings.Replace(artifact("a", text(tail), "true"), `"a"`, `7`, 1)),
		}},
		{"a task in each event", []string{
			envelope(`{"kind":"task","id":"t-1","status":{"state":"working"},"artifacts":[{"artifactId":"a","parts":[` + text(head) + `]},{"artifactId":"b","parts":[` + text("meanwhile ") + `]}]}`),
			envelope(artifact("a", text(tail), "true")),
		}},
		{"an array of events", []string{
			envelope(artifact("a", text(head), "false")), envelope(other),
			"[" + envelope(artifact("a", text(tail), "true")) + "]",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			for _, e := range tt.events {
				sse(&b, "", e)
			}
			asked, err := Read(Input{Leg: RequestLeg, Path: "/", Body: []byte(`{"jsonrpc":"2.0","id":"q-1","method":"message/stream","params":{}}`)}, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			flow := flowBody{name: tt.name, label: "text/event-stream", body: []byte(b.String())}
			checkStream(t, flow, all, at1, byChance(1))
			for seed := range uint64(20) {
				watchStream(t, flow, seed)
			}
			for _, request := range []*Message{asked, nil} {
				in := flow.input()
				in.Body, in.Request = flow.body, request
				m, err := Read(in, testLimits)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(m.Turns, func(turn Turn) bool { return strings.Contains(turn.Text, a2aSaid) }) {
					t.Errorf("request %t: %q is in none of %+v", request != nil, a2aSaid, m.Turns)
				}
			}
		})
	}
}

// TestA2APartsAreJoinedAsClientsDo is the same for parts of one message, in
// requests and answers that are no streams.
func TestA2APartsAreJoinedAsClientsDo(t *testing.T) {
	for _, beside := range []string{
		`"kind":"text"`, `"type":"thinking"`, `"type":"tool_use"`, `"type":"x_call","name":"f"`, `"type":"tool_result"`, `"type":"reasoning"`,
		`"thought":true`, `"role":"tool"`, `"tool_call_id":"c"`, `"metadata":{"thought":true}`, `"mediaType":"text/plain"`, `"filename":"a.txt"`, `"index":4`,
		`"annotations":{}`, `"cache_control":{"type":"ephemeral"}`, `"id":"p"`,
	} {
		parts := `"role":"agent","messageId":"m","parts":[{"kind":"text","text":"the grey he"},{` + beside + `,"text":"ron hides"}]`
		for _, tt := range []struct {
			leg  Leg
			body string
		}{
			{RequestLeg, `{"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{` + parts + `}}}`},
			{ResponseLeg, `{"jsonrpc":"2.0","id":1,"result":{"kind":"message",` + parts + `}}`},
			{ResponseLeg, `{"jsonrpc":"2.0","id":1,"result":{"task":{"id":"t","status":{"state":"TASK_STATE_WORKING","message":{` + parts + `}}}}}`},
			{ResponseLeg, `{"artifactUpdate":{"artifact":{"artifactId":"a",` + parts + `}}}`},
		} {
			m, err := Read(Input{Leg: tt.leg, Path: "/", Body: []byte(tt.body)}, testLimits)
			if err != nil {
				t.Errorf("%s: %v", tt.body, err)
				continue
			}
			if !slices.ContainsFunc(m.Turns, func(turn Turn) bool { return strings.Contains(turn.Text, a2aSaid) }) {
				t.Errorf("%s: %q is in none of %+v", tt.body, a2aSaid, m.Turns)
			}
		}
	}
}
