// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"slices"
	"strings"
)

// attackOrder write the marker with words that stand elsewhere in another order.
func attackOrder() []testcase {
	l := &list{class: "words in another order"}
	words := strings.Fields(marker)
	reversed := slices.Clone(words)
	slices.Reverse(reversed)
	each := func(words []string, before, after string) string {
		return before + strings.Join(words, after+","+before) + after
	}
	properties := `"properties":{` + each(reversed, `"`, `":{"type":"string"}`) + `}`
	for _, names := range []string{`"required":[` + each(words, `"`, `"`) + `],`, `"propertyOrdering":[` + each(words, `"`, `"`) + `],`, `"$ref":"#/` + strings.Join(words, "/") + `",`} {
		name, _, _ := strings.Cut(names[1:], `"`)
		l.ask("schema: "+name, `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{`+names+properties+`}}}]}`)
		l.say("MCP: "+name, `{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"f","inputSchema":{`+names+properties+`}}]}}`).over("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`)
	}
	tools := `"tools":[` + each(reversed, `{"type":"function","function":{"name":"`, `"}}`) + `]`
	l.ask("allowed tools", `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],`+tools+`,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[`+each(words, `{"type":"function","name":"`, `"}`)+`]}}}`)
	l.ask("names of results", `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"},`+each(words, `{"role":"tool","content":"ok","name":"`, `"}`)+`],`+tools+`}`)
	l.say("words of a transcript", `{"text":"`+strings.Join(reversed, " ")+`","words":[`+each(words, `{"start":0,"word":"`, `"}`)+`]}`).over("/v1/audio/transcriptions", `{"a":1}`)
	l.say("segments of a transcript", `{"text":"`+strings.Join(reversed, " ")+`","segments":[`+each(words, `{"id":0,"text":" `, `"}`)+`]}`).over("/v1/audio/transcriptions", `{"a":1}`)
	l.stream("ids of events", strings.Split("id: "+strings.Join(words, "\ndata: {\"choices\":[]}\n\nid: ")+"\ndata: {\"choices\":[]}", "\n\n")...)
	return l.cases
}
