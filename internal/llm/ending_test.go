// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// blocked is a block by policy, of a call of this format.
func blocked(format Format) Refusal {
	return Refusal{
		Format: format, Status: 403, Message: "Response blocked by security policy", Code: "policy_violation", Policy: true,
		RequestID: "req-7f3a", ScanID: "scan-91c2", Details: []byte("{\"rule\":\n\"house\"}"),
	}
}

// TestEndings says where the clients of each API find what they raise.
func TestEndings(t *testing.T) {
	tests := []struct {
		name    string
		format  Format
		framing Framing
		rpc     *RPC
		id      string
		event   string            // the line before the data, "-" for a bare line
		places  map[string]string // of the first event, line or frame
	}{
		{"openai chat", OpenAIChat, Events, nil, "chatcmpl-1", "", map[string]string{
			"error.message": "Response blocked by security policy", "error.type": "permission_error", "error.code": "policy_violation", "error.details.rule": "house",
			"message": "Response blocked by security policy", "request_id": "req-7f3a", "scan_id": "scan-91c2",
		}},
		{"openai completions", OpenAICompletions, Events, nil, "", "", map[string]string{"error.message": "Response blocked by security policy"}},
		{"openai other", OpenAIOther, Events, nil, "", "", map[string]string{"error.message": "Response blocked by security policy"}},
		{"openai lines", OpenAIChat, Lines, nil, "", "-", map[string]string{"error.message": "Response blocked by security policy"}},
		{"responses", OpenAIResponses, Events, nil, "resp_68a1", "event: response.failed", map[string]string{
			"type": "response.failed", "response.id": "resp_68a1", "response.status": "failed", "response.error.code": "policy_violation",
			"response.error.message": "Response blocked by security policy", "error.message": "Response blocked by security policy",
			"message": "Response blocked by security policy", "code": "policy_violation", "scan_id": "scan-91c2",
		}},
		{"responses without an id", OpenAIResponses, Events, nil, "", "event: response.failed", map[string]string{"response.id": "", "response.status": "failed"}},
		{"responses whose id says something", OpenAIResponses, Events, nil, "the password is swordfish", "event: response.failed", map[string]string{"response.id": "", "response.status": "failed"}},
		{"anthropic", AnthropicMessages, Events, nil, "", "event: error", map[string]string{
			"type": "error", "error.type": "permission_error", "error.message": "Response blocked by security policy", "request_id": "req-7f3a", "code": "policy_violation",
		}},
		{"anthropic, results of a batch", AnthropicMessages, Lines, nil, "", "-", map[string]string{
			"custom_id": "", "result.type": "errored", "result.error.type": "error", "result.error.error.type": "permission_error",
			"result.error.error.message": "Response blocked by security policy", "result.error.request_id": "req-7f3a", "code": "policy_violation",
		}},
		{"anthropic, a session's events", AnthropicAgents, Events, nil, "", "event: error", map[string]string{"type": "error", "error.type": "permission_error"}},
		{"gemini", Gemini, Events, nil, "", "-", map[string]string{
			"error.code": "403", "error.message": "Response blocked by security policy", "error.status": "PERMISSION_DENIED", "error.details.0.rule": "house", "scan_id": "scan-91c2",
		}},
		{"conversations", OpenAIConversations, Events, nil, "", "", map[string]string{"error.message": "Response blocked by security policy", "error.type": "permission_error"}},
		{"interactions", GeminiInteractions, Events, nil, "", "event: error", map[string]string{
			"event_type": "error", "error.code": "policy_violation", "error.message": "Response blocked by security policy", "details.rule": "house", "scan_id": "scan-91c2",
		}},
		{"cohere v2", Cohere, Events, nil, "", "event: message-end", map[string]string{
			"type": "message-end", "delta.finish_reason": "ERROR", "delta.error": "Response blocked by security policy", "message": "Response blocked by security policy",
		}},
		{"cohere v1", Cohere, Lines, nil, "", "-", map[string]string{
			"event_type": "stream-end", "is_finished": "true", "finish_reason": "ERROR", "error": "Response blocked by security policy", "response.finish_reason": "ERROR", "scan_id": "scan-91c2",
		}},
		{"ollama", Ollama, Lines, nil, "", "-", map[string]string{"error": "Response blocked by security policy", "code": "policy_violation"}},
		{"tgi", TGI, Events, nil, "", "", map[string]string{"error": "Response blocked by security policy", "error_type": "policy_violation", "code": "policy_violation"}},
		{"converse", BedrockConverse, Frames, nil, "", "validationException", map[string]string{"message": "Response blocked by security policy", "scan_id": "scan-91c2"}},
		{"invoke", BedrockInvoke, Frames, nil, "", "validationException", map[string]string{"message": "Response blocked by security policy", "details.rule": "house"}},
		{"a call", MCP, Events, &RPC{ID: []byte("77")}, "", "event: message", map[string]string{
			"jsonrpc": "2.0", "id": "77", "error.code": "-31001", "error.message": "Response blocked by security policy", "error.data.scan_id": "scan-91c2", "error.data.details.rule": "house",
		}},
		{"a call with an id of line ends", MCP, Events, &RPC{ID: []byte("\"a\u2028b\u0085c\"")}, "", "event: message", map[string]string{"id": "a\u2028b\u0085c"}},
		{"a batch", MCP, Events, &RPC{Batch: true, IDs: [][]byte{[]byte(`"first"`), []byte("2")}}, "", "event: message", map[string]string{"id": "first", "error.code": "-31001"}},
		{"no call", MCP, Events, nil, "", "event: message", map[string]string{
			"method": "notifications/message", "params.level": "error", "params.data.message": "Response blocked by security policy", "params.data.code": "policy_violation", "id": "",
		}},
		{"notifications alone", MCP, Events, &RPC{Batch: true}, "", "event: message", map[string]string{"method": "notifications/message"}},
		{"unknown events", Unknown, Events, nil, "", "event: error", map[string]string{"error.message": "Response blocked by security policy"}},
		{"text as events", Text, Events, nil, "", "event: error", map[string]string{"error.message": "Response blocked by security policy"}},
		{"unknown lines", Unknown, Lines, nil, "", "-", map[string]string{"error.message": "Response blocked by security policy"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := blocked(tt.format)
			r.RPC = tt.rpc
			parts := parseEnding(t, tt.framing, RenderEnding(r, tt.framing, tt.id))
			if want := partsOf(&r, tt.framing); len(parts) != want {
				t.Fatalf("%d parts, not %d: %q", len(parts), want, parts)
			}
			if parts[0].event != tt.event {
				t.Errorf("event %q", parts[0].event)
			}
			for place, want := range tt.places {
				if got := gjson.GetBytes(parts[0].data, place).String(); got != want {
					t.Errorf("%s is %q, not %q", place, got, want)
				}
			}
		})
	}
	if got := RenderEnding(blocked(OpenAIChat), Whole, ""); got != nil {
		t.Errorf("of a whole answer: %q", got)
	}
	for status, want := range map[int]string{400: "validationException", 403: "validationException", 502: "internalServerException", 503: "serviceUnavailableException"} {
		parts := parseEnding(t, Frames, RenderEnding(Refusal{Format: BedrockConverse, Status: status, Message: "No."}, Frames, ""))
		if parts[0].event != want {
			t.Errorf("%d is %s", status, parts[0].event)
		}
	}
}

// partsOf returns how many events, lines or frames an ending has.
func partsOf(r *Refusal, f Framing) int {
	switch {
	case f == Frames:
	case r.RPC != nil && len(r.RPC.IDs) > 0:
		return len(r.RPC.IDs)
	case r.RPC == nil && r.Format == Cohere:
		return 2
	}
	return 1
}

// An endingPart is an event, line or frame of an ending: what stands before its
// data ("-" for a bare line), or an exception's type, and its data.
type endingPart struct {
	event string
	data  []byte
}

// parseEnding takes an ending apart as simple clients do, and holds it to the
// grammar.
func parseEnding(t *testing.T, f Framing, ending []byte) (parts []endingPart) {
	t.Helper()
	if f == Frames {
		for r := eventstream.NewFrameReader(ending); ; {
			if !r.Next() {
				if r.Err() != nil {
					t.Fatal(r.Err())
				}
				return parts
			}
			headers := make(map[string]string)
			for _, h := range r.Frame().Headers {
				headers[string(h.Name)] = string(h.Value)
			}
			if headers[":message-type"] != "exception" || headers[":content-type"] != "application/json" {
				t.Errorf("headers %q", headers)
			}
			parts = append(parts, endingPart{headers[":exception-type"], r.Frame().Payload.In(ending)})
		}
	}
	text, ended := strings.CutSuffix(string(ending), "\n")
	if !ended {
		t.Fatalf("no end of a line: %q", ending)
	}
	between := "\n\n"
	if f == Lines {
		between = "\n"
	}
	for event := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), between) {
		name, data := "", event
		if strings.HasPrefix(event, "event: ") {
			name, data, _ = strings.Cut(event, "\n")
		}
		data, isEvent := strings.CutPrefix(data, "data: ")
		if !isEvent {
			name = "-"
		}
		if isEvent && f == Lines || !json.Valid([]byte(data)) || strings.ContainsAny(data, "\r\n\f\v\x1c\x1d\x1e\u0085\u2028\u2029") {
			t.Errorf("%q is not one line of JSON", event)
		}
		parts = append(parts, endingPart{name, []byte(data)})
	}
	return parts
}

// TestEndingsAreRead ends every stream of the test data after each of its
// units, in the form of each API: what was sent and the ending are read as one
// answer, which says why it ended.
func TestEndingsAreRead(t *testing.T) {
	formats := []Format{Unknown}
	for _, a := range apis {
		formats = append(formats, a.format)
	}
	paths, err := filepath.Glob(filepath.Join("..", "..", "testdata", "llm", "*", "answer*"))
	if err != nil {
		t.Fatal(err)
	}
	streams := 0
	for _, path := range paths {
		framing, ok := map[string]Framing{".sse": Events, ".ndjson": Lines, ".frames": Frames}[filepath.Ext(path)]
		if !ok {
			continue
		}
		streams++
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			ends := unitEnds(t, framing, body)
			if len(ends) < 2 && filepath.Base(path) != "answer-stream-error.sse" {
				t.Fatalf("%d units", len(ends))
			}
			for _, format := range formats {
				r := blocked(format)
				if format == MCP {
					r.RPC = &RPC{ID: []byte("77")}
				}
				ending := RenderEnding(r, framing, "resp_1")
				for _, end := range ends {
					cut := body[:end:end]
					m, err := Read(Input{Leg: ResponseLeg, Body: append(cut, ending...)}, testLimits)
					if err != nil {
						t.Fatalf("%s after %d bytes: %v", format, end, err)
					}
					if !slices.ContainsFunc(m.Turns, func(turn Turn) bool { return strings.Contains(turn.Text, r.Message) }) {
						t.Fatalf("%s after %d bytes, no error in: %s", format, end, dump(m))
					}
				}
			}
		})
	}
	if streams < 10 {
		t.Errorf("only %d streams", streams)
	}
}

// unitEnds returns where the units of a stream end, the last one included.
func unitEnds(t *testing.T, framing Framing, body []byte) (ends []int) {
	var err error
	switch framing {
	case Events:
		r := eventstream.NewReader(body)
		for r.Next() {
			ends = append(ends, r.Event().End)
		}
		err = r.Err()
	case Frames:
		r := eventstream.NewFrameReader(body)
		for r.Next() {
			ends = append(ends, r.Frame().End)
		}
		err = r.Err()
	default:
		for at := 0; at < len(body); {
			at += bytes.IndexByte(body[at:], '\n') + 1
			ends = append(ends, at)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// FuzzEnding: whatever a refusal says, its ending has as many events, lines or
// frames as it should, and each says it.
func FuzzEnding(f *testing.F) {
	f.Add(uint8(0), uint8(1), "No.", "policy_violation", "resp_1", `"a"`, `{"rule":"house"}`)
	f.Add(uint8(1), uint8(2), "a\r\n\ndata: b", "c\u2028d", "\u0085", "{\r\n\"x\"\n\n:1}", "{\n}")
	f.Add(uint8(2), uint8(3), "\x00\xff\u2029", "", "a b c d", "null", "")
	f.Fuzz(func(t *testing.T, format, framing uint8, message, code, id, rpcID, details string) {
		r := Refusal{Format: append(apis, &api{format: Unknown})[int(format)%(len(apis)+1)].format, Status: 403, Message: message, Code: code}
		if strict(details) {
			r.Details = []byte(details)
		}
		if strict(rpcID) {
			r.RPC = &RPC{Batch: true, IDs: [][]byte{[]byte(rpcID), []byte("2")}}
		}
		fr := []Framing{Events, Lines, Frames}[framing%3]
		parts := parseEnding(t, fr, RenderEnding(r, fr, id))
		if want := partsOf(&r, fr); len(parts) != want {
			t.Fatalf("%d parts, not %d: %q", len(parts), want, parts)
		}
		for _, p := range parts {
			if utf8.ValidString(message) && message != "" && !holdsString(p.data, message) {
				t.Fatalf("%q does not say %q", p.data, message)
			}
		}
	})
}

// strict reports whether s is JSON that our reader of requests accepts.
func strict(s string) bool {
	_, err := strictjson.Parse([]byte(s), 32)
	return err == nil
}

// holdsString reports whether one of the strings in JSON is s.
func holdsString(data []byte, s string) bool {
	found := false
	var look func(v gjson.Result)
	look = func(v gjson.Result) {
		if v.Type == gjson.String && v.Str == s {
			found = true
		}
		if v.IsObject() || v.IsArray() {
			v.ForEach(func(_, v gjson.Result) bool { look(v); return !found })
		}
	}
	look(gjson.ParseBytes(data))
	return found
}
