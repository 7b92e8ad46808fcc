// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"io"
)

// packedFile returns an archive of one file, in base64.
func packedFile(name, text string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err == nil {
		_, err = io.WriteString(f, text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // in memory nothing can fail
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// skill returns OpenAI's tool with an archive of instructions.
func skill(data string) string {
	return `[{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"inline","name":"tides","description":"Reads tide tables.","source":{"type":"base64","media_type":"application/zip","data":"` + data + `"}}]}}]`
}

// attackTools hide the marker in what requests say of tools.
func attackTools() []testcase {
	l := &list{class: "request: tools"}
	tools := func(name, tools string) {
		l.ask(name, `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"tools":`+tools+`}`)
	}
	tools("description", `[{"type":"function","function":{"name":"f","description":"$MARK"}}]`)
	tools("name", `[{"type":"function","function":{"name":"$MARK"}}]`)
	tools("description of a parameter", `[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"q":{"type":"string","description":"$MARK"}}}}}]`)
	tools("name of a parameter", `[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"$MARK":{"type":"string"}}}}}]`)
	tools("value of an enum", `[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"q":{"enum":["a","$MARK"]}}}}}]`)
	tools("default", `[{"type":"function","function":{"name":"f","parameters":{"properties":{"q":{"default":{"x":"$MARK"}}}}}}]`)
	tools("const", `[{"type":"function","function":{"name":"f","parameters":{"properties":{"q":{"const":"$MARK"}}}}}]`)
	tools("example", `[{"type":"function","function":{"name":"f","parameters":{"examples":[{"q":"$MARK"}]}}}]`)
	tools("title", `[{"type":"function","function":{"name":"f","parameters":{"title":"$MARK"}}}]`)
	tools("pattern", `[{"type":"function","function":{"name":"f","parameters":{"properties":{"q":{"pattern":"$MARK"}}}}}]`)
	tools("required", `[{"type":"function","function":{"name":"f","parameters":{"required":["$MARK"]}}}]`)
	tools("required name of another schema", `[{"type":"function","function":{"name":"f","parameters":{"properties":{"a":{"properties":{"b":{}}},"c":{"required":["$MARK"]}}}}}]`)
	tools("$ref", `[{"type":"function","function":{"name":"f","parameters":{"$ref":"#/$MARK"}}}]`)
	tools("$defs", `[{"type":"function","function":{"name":"f","parameters":{"$defs":{"a":{"anyOf":[{"description":"$MARK"}]}}}}}]`)
	tools("format", `[{"type":"function","function":{"name":"f","parameters":{"properties":{"q":{"format":"$MARK"}}}}}]`)
	tools("type", `[{"type":"function","function":{"name":"f","parameters":{"type":["string","$MARK"]}}}]`)
	tools("unknown keyword", `[{"type":"function","function":{"name":"f","parameters":{"x-hint":"$MARK"}}}]`)
	tools("strict is a text", `[{"type":"function","function":{"name":"f","strict":"$MARK"}}]`)
	tools("minimum is a text", `[{"type":"function","function":{"name":"f","parameters":{"properties":{"q":{"minimum":"$MARK"}}}}}]`)
	tools("minimum is an object", `[{"type":"function","function":{"name":"f","parameters":{"properties":{"q":{"minimum":{"x":["$MARK"]}}}}}}]`)
	tools("description in an array", `[{"type":"function","function":{"name":"f","description":[["$MARK"]]}}]`)
	tools("second tool", `[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g","description":"$MARK"}}]`)
	tools("string instead of a tool", `["$MARK"]`)
	tools("string instead of tools", `"$MARK"`)
	tools("hosted tool's option", `[{"type":"mcp","server_label":"x","server_description":"$MARK","server_url":"https://a.example"}]`)
	tools("allowed tools", `[{"type":"mcp","server_label":"x","allowed_tools":["$MARK"]}]`)
	tools("custom tool's grammar", `[{"type":"custom","custom":{"name":"f","format":{"type":"grammar","grammar":{"syntax":"lark","definition":"$MARK"}}}}]`)
	tools("JSON in a description", `[{"type":"function","function":{"name":"f","description":"{\"x\":\"$ESCAPED\"}"}}]`)
	tools("base64 in a description", `[{"type":"function","function":{"name":"f","description":"$BASE64"}}]`)
	tools("text in an archive", skill(packedFile("tides/SKILL.md", "Read the table. "+marker)))
	tools("name in an archive", skill(packedFile(marker+".md", "Read the table.")))
	tools("archive as a data URL", skill("data:text/plain;base64,"+packedFile("a.md", marker)))
	tools("archive in a description", `[{"type":"function","function":{"name":"f","description":"`+packedFile("a.md", marker)+`"}}]`)
	l.ask("broken archive", `{"model":"gpt-5.4","input":"hi","tools":`+skill(base64.StdEncoding.EncodeToString([]byte("PK\x03\x04 "+marker)))+`}`).to("/v1/responses").must(unscannable)
	l.ask("archive that is no archive", `{"model":"gpt-5.4","input":"hi","tools":`+skill("$BASE64")+`}`).to("/v1/responses").must(unscannable)
	l.ask("functions", `{"model":"gpt-4","messages":[{"role":"user","content":"hi"}],"functions":[{"name":"f","description":"$MARK"}]}`)
	l.ask("tool choice", `{"model":"gpt-4","messages":[{"role":"user","content":"hi"}],"tool_choice":{"type":"function","function":{"name":"$MARK"}}}`)
	l.ask("tool choice is a text", `{"model":"gpt-4","messages":[{"role":"user","content":"hi"}],"tool_choice":"$MARK"}`)
	l.ask("anthropic", `{"model":"claude-sonnet-4","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{"type":"object","properties":{"q":{"description":"$MARK"}}}}]}`).to("/v1/messages")
	l.ask("gemini", `{"contents":[{"parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[{"name":"f","description":"$MARK"}]}]}`).to("/v1beta/models/gemini-2.0-flash:generateContent")
	l.ask("converse", `{"messages":[{"role":"user","content":[{"text":"hi"}]}],"toolConfig":{"tools":[{"toolSpec":{"name":"f","description":"$MARK","inputSchema":{"json":{}}}}]}}`).to("/model/anthropic.claude-3/converse")
	l.ask("cohere v1", `{"model":"command-r","message":"hi","tools":[{"name":"f","description":"a","parameter_definitions":{"q":{"description":"$MARK","type":"str"}}}]}`).to("/v1/chat")

	call := func(name, calls string) {
		l.ask("call: "+name, `{"model":"gpt-4o","messages":[{"role":"assistant","content":null,`+calls+`},{"role":"tool","tool_call_id":"call_1","content":"ok"}]}`)
	}
	call("arguments", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"q\":\"$MARK\"}"}}]`)
	call("escaped arguments", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"q\":\"\\u0074he grey heron hides seven copper lanterns\"}"}}]`)
	call("name in the arguments", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"$MARK\":1}"}}]`)
	call("arguments that are no JSON", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"q=$MARK"}}]`)
	call("arguments as an object", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":{"a":["$MARK"]}}}]`)
	call("broken JSON with escapes", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"q\":\"\\u0074he grey heron hides seven copper lanterns\","}}]`)
	call("name", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"$MARK","arguments":"{}"}}]`)
	call("id", `"tool_calls":[{"id":"$MARK","type":"function","function":{"name":"f","arguments":"{}"}}]`)
	call("type", `"tool_calls":[{"id":"call_1","type":"$MARK","function":{"name":"f","arguments":"{}"}}]`)
	call("second of two", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"call_2","type":"function","function":{"name":"f","arguments":"{\"q\":\"$MARK\"}"}}]`)
	call("custom input", `"tool_calls":[{"id":"call_1","type":"custom","custom":{"name":"f","input":"$MARK"}}]`)
	call("function_call", `"function_call":{"name":"f","arguments":"{\"q\":\"$MARK\"}"}`)
	call("unknown member", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"},"note":"$MARK"}]`)
	call("arguments twice, in two places", `"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"},"arguments":"{\"q\":\"$MARK\"}"}]`)
	l.ask("result: JSON", `{"model":"gpt-4o","messages":[{"role":"tool","tool_call_id":"call_1","content":"{\"rows\":[{\"text\":\"$ESCAPED\"}]}"}]}`)
	l.ask("result: in parts", `{"model":"gpt-4o","messages":[{"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"$MARK"}]}]}`)
	l.ask("result: id", `{"model":"gpt-4o","messages":[{"role":"tool","tool_call_id":"$MARK","content":"ok"}]}`)
	return l.cases
}
