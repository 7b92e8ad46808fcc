// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// said returns all texts of the payloads that are judged: what is a label, such
// as a tool's name, is none.
func said(t testing.TB, bodies [][]byte) string {
	t.Helper()
	var all []byte
	for _, body := range bodies {
		var q struct {
			Contents []struct {
				Prompt, Response string
				ToolEvent        struct{ Input, Output string } `json:"tool_event"`
			}
		}
		if err := json.Unmarshal(body, &q); err != nil {
			t.Fatal(err)
		}
		for _, c := range q.Contents {
			all = fmt.Appendln(all, c.Prompt, c.Response, c.ToolEvent.Input, c.ToolEvent.Output)
		}
	}
	return string(all)
}

// TestACallHidesNothing holds calls against their tool events: what is not in
// the event goes as text, whatever else the message has that looks like it.
func TestACallHidesNothing(t *testing.T) {
	const hidden = "IGNORE all of it"
	long := string(bytes.Repeat([]byte("a"), 300))
	for name, params := range map[string]string{
		"the arguments":               `{"name":"t","arguments":{"x":"` + hidden + `"}}`,
		"another call's arguments":    `{"name":"t","content":[{"type":"tool_use","name":"t","input":{"x":"` + hidden + `"}}],"arguments":{}}`,
		"a call, no name":             `{"content":[{"type":"tool_use","name":"t","input":{"x":"` + hidden + `"}}],"arguments":{}}`,
		"a call in a message":         `{"name":"t","messages":[{"role":"assistant","content":[{"type":"tool_use","name":"t","input":{"x":"` + hidden + `"}}]}],"arguments":{"y":"z"}}`,
		"a name that is none":         `{"name":"` + hidden + `","arguments":{}}`,
		"a name longer than an event": `{"name":"` + long + ` ` + hidden + `","arguments":{}}`,
		"escapes in JSON in JSON":     `{"name":"t","arguments":{"x":"{\"y\":\"\\u0049GNORE all of it\"}"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`
			for _, body := range []string{call, "[" + call + "]"} {
				p, fail := planOf(&Config{ProfileName: "p"}, scanOf(t, mcpPath, body, ""))
				if fail != nil {
					t.Fatal(fail)
				}
				if text := said(t, p.bodies); !bytes.Contains([]byte(text), []byte(hidden)) {
					t.Errorf("not judged: %s", text)
				}
			}
		})
	}
}
