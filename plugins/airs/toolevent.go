// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// The methods that the service takes as tool events; it refuses all others.
const (
	toolsCall = "tools/call"
	toolsList = "tools/list"
)

// A toolEvent is an MCP call, its result or a catalogue. Input and output are
// strings that hold JSON. The service refuses them as JSON values.
type toolEvent struct {
	method, server, tool string
	input, output        string
}

// toolEventsOf makes the calls for the tool events of a scan, none when it has
// none or the service would find them too large. It also returns the turns that
// are not in them. A batch has one call for each member that is a tool's call,
// its result or a catalogue. It ends with the first beyond most, which is
// refused.
func toolEventsOf(head []byte, c *Config, s *scan.Scan, most int) (events [][]byte, rest []llm.Turn) {
	if s.Message == nil || s.Message.Format != llm.MCP {
		return nil, nil
	}
	if s.Message.RPC == nil || !s.Message.RPC.Batch {
		e, rest := toolEventOf(c, s)
		if body := e.body(head); body != nil {
			return [][]byte{body}, rest
		}
		return nil, nil
	}
	for i := range s.Message.RPC.Members {
		if len(events) > most {
			break
		}
		one, err := memberScan(c, s, &s.Message.RPC.Members[i])
		if err != nil || i == maxBatch {
			return nil, nil // all of it goes as text
		}
		e, left := toolEventOf(c, one)
		if body := e.body(head); body != nil {
			events = append(events, body)
			rest = append(rest, left...)
			continue
		}
		rest = append(rest, one.Turns...)
	}
	if len(events) > 0 {
		rest = append(rest, turnsWhere(s.Turns, besideBody, true)...)
	}
	return events, rest
}

// besideBody reports whether a turn is in no member of a batch.
func besideBody(t llm.Turn) bool { return t.Beside }

// maxBatch is how many members of a batch are read one by one.
const maxBatch = 256

// memberScan reads one message of a batch on its own, so that what it says is
// known apart from the others.
func memberScan(c *Config, s *scan.Scan, member *llm.RPCMember) (*scan.Scan, error) {
	in := llm.Input{Leg: s.Leg, ContentType: "application/json", Body: member.Body, Request: requestOf(s.Request, member.ID)}
	m, err := llm.Read(in, limitsOf(member.Body))
	if err != nil {
		return nil, err
	}
	one := *s
	one.Message, one.Turns, one.Request = m, m.Turns, in.Request
	if s.Leg == llm.RequestLeg && c.Scope != llm.Everything {
		one.Turns = nil
		for _, i := range m.Select(c.Scope) {
			one.Turns = append(one.Turns, m.Turns[i])
		}
	}
	return &one, nil
}

// requestOf returns the call of a batch that an answer with this id is for, nil
// if there is none.
func requestOf(request *llm.Message, id []byte) *llm.Message {
	if request == nil || request.RPC == nil || len(id) == 0 {
		return nil
	}
	for _, m := range request.RPC.Members {
		if bytes.Equal(m.ID, id) {
			return &llm.Message{Format: llm.MCP, RPC: &llm.RPC{ID: m.ID, Method: m.Method, Tool: m.Tool}}
		}
	}
	return nil
}

// body is the call for an event, nil for none or one that does not fit.
func (e *toolEvent) body(head []byte) []byte {
	if e == nil {
		return nil
	}
	return (&element{tool: e}).fit(head)
}

// toolEventOf makes the tool event of a scan, nil when the scan is none. It
// also returns the turns that are not in it. They go on their own, because a
// tool event displaces a prompt that is sent beside it.
func toolEventOf(c *Config, s *scan.Scan) (e *toolEvent, rest []llm.Turn) {
	call := s.Message
	if s.Leg == llm.ResponseLeg {
		call = s.Request // an answer does not say to what
	}
	if s.Message.Format != llm.MCP || call == nil || call.RPC == nil {
		return nil, nil
	}
	e = &toolEvent{method: call.RPC.Method, server: clip(s.Identity.Service)}
	if e.server == "" {
		e.server = clip(appName(c))
	}
	switch {
	case e.method == toolsCall && s.Leg == llm.RequestLeg:
		e.tool = clip(call.RPC.Tool)
		e.input, rest = callInput(call.RPC, s.Turns)
	case e.method == toolsCall:
		e.tool = clip(call.RPC.Tool)
		e.output = callOutput(s.Turns)
	case e.method == toolsList && s.Leg == llm.ResponseLeg:
		e.output = catalogue(s.Turns)
	default:
		return nil, nil
	}
	return e, rest
}

// callInput returns a call's arguments as the JSON they are, and the turns that
// are not arguments. It resolves escapes that JSON does not need, since a
// detector that reads the text would not see through them.
func callInput(rpc *llm.RPC, turns []llm.Turn) (input string, rest []llm.Turn) {
	raw := gjson.GetBytes(rpc.Params, "arguments").Raw
	arguments := jsontext.Value(raw)
	if len(arguments) == 0 || arguments.Format() != nil {
		b := append([]byte(`{"arguments":`), quoted(join(turns, false))...)
		return string(append(b, '}')), nil
	}
	said := saidByEvent(rpc.Tool, raw, string(arguments))
	for i := range turns {
		if turns[i].Text == said {
			rest = append(rest, turns[:i]...)
			return string(arguments), append(rest, turns[i+1:]...)
		}
	}
	return string(arguments), turns
}

// saidByEvent returns the text of the turn that an event with this tool and
// input makes needless, "" for none. It goes by what the turn says: a message
// may hold other calls besides its own, and those are in no event. What is not
// a name, or is in the event only in part, is text, and so are arguments in
// which JSON holds JSON with escapes.
func saidByEvent(tool, arguments, input string) string {
	if !toolName(tool) || strings.Contains(input, `\\u`) {
		return ""
	}
	b := append([]byte(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":`), quoted(tool)...)
	b = append(append(append(b, `,"arguments":`...), arguments...), "}}"...)
	m, err := llm.Read(llm.Input{Body: b}, limitsOf(b))
	if err != nil || len(m.Turns) == 0 || m.Turns[0].Kind != llm.KindToolCall {
		return ""
	}
	return m.Turns[0].Text
}

// limitsOf are those for a part of a body that has kept its own.
func limitsOf(body []byte) llm.Limits {
	return llm.Limits{DecodedBytes: int64(len(body)), Ratio: 1, Depth: 1 << 16}
}

// maxToolName is the longest name of a tool, in bytes, as MCP has it.
const maxToolName = 128

func toolName(s string) bool {
	return s != "" && len(s) <= maxToolName && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:", r))
	})
}

// callOutput writes a call's result in MCP's own shape, from its turns. They
// hold its text, decoded, and not its pictures.
func callOutput(turns []llm.Turn) string {
	b := []byte(`{"content":[`)
	for i := range turns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"type":"text","text":`...)
		b = strictjson.AppendQuote(b, turns[i].Text)
		b = append(b, '}')
	}
	return string(append(b, "]}"...))
}

// catalogue writes tools as a bare array, since the service cannot read MCP's
// object around it. Each tool has only the two members that every reader of
// tools takes: what a server adds must not cost us the verdict.
func catalogue(turns []llm.Turn) string {
	b := []byte{'['}
	for i := range turns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = strictjson.AppendQuote(b, definedTool(&turns[i]))
		b = append(b, `,"description":`...)
		b = strictjson.AppendQuote(b, turns[i].Text)
		b = append(b, '}')
	}
	return string(append(b, ']'))
}

// definedTool names the tool of a definition, so that the service can name it
// in a detection: most definitions begin with their name.
func definedTool(t *llm.Turn) string {
	name, _, _ := strings.Cut(cmp.Or(t.Name, t.Text), "\n")
	if name == "" || len(name) > maxName || printable(name) != name {
		return "tool"
	}
	return name
}

func quoted(s string) []byte { return strictjson.AppendQuote(nil, s) }

// append appends the event as a member and a comma.
func (e *toolEvent) append(b []byte) []byte {
	b = append(b, `"tool_event":{"metadata":{"ecosystem":"mcp",`...)
	b = appendMember(b, "method", e.method)
	b = appendMember(b, "server_name", e.server)
	b = appendMember(b, "tool_invoked", e.tool)
	b = append(closeObject(b), ',')
	b = appendMember(b, "input", e.input)
	b = appendMember(b, "output", e.output)
	return append(closeObject(b), ',')
}
