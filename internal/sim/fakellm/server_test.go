// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// ask sends a request whose headers are "Name: value" and returns the answer.
func ask(t *testing.T, s *Server, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// data returns the data of the events of a stream.
func data(t *testing.T, w *httptest.ResponseRecorder) (all []string) {
	t.Helper()
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("content type %q: %s", got, w.Body)
	}
	for event := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
		_, d, found := strings.Cut("\n"+event, "\ndata: ")
		if !found || d != "[DONE]" && !gjson.Valid(d) {
			t.Fatalf("not an event: %q", event)
		}
		all = append(all, d)
	}
	return all
}

// joined puts together what the events of a stream have at a path.
func joined(events []string, path string) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(gjson.Get(e, path).String())
	}
	return b.String()
}

const (
	anthropicVersion = "Anthropic-Version: 2023-06-01"
	weather          = `"type":"object","properties":{"city":{"type":"string"},"unit":{"type":"string","enum":["celsius"]},"days":{"type":"integer"}},"required":["city","unit","days"]`
	called           = `{"city":"Paris","unit":"celsius","days":3}`
)

func TestAnswersOfEachProvider(t *testing.T) {
	for _, test := range []struct {
		name, path, body string
		text             string // where the answer's text lies
		deltas           string // where the events of a stream have it
		want             string
	}{
		{
			"chat", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"What is 2+2?"}]%s}`,
			"choices.0.message.content", "choices.0.delta.content", "2 + 2 = 4.",
		},
		{
			"chat of parts", "/v1/chat/completions", `{"model":"m","messages":[{"role":"system","content":"Be kind."},{"role":"user","content":[{"type":"text","text":"Say"},{"type":"text","text":"hi"}]}]%s}`,
			"choices.0.message.content", "choices.0.delta.content", "You said: Say\nhi",
		},
		{
			"chat with a tool", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"Weather?"}],"tools":[{"type":"function","function":{"name":"weather","parameters":{` + weather + `}}}]%s}`,
			"choices.0.message.tool_calls.0.function.arguments", "choices.0.delta.tool_calls.0.function.arguments", called,
		},
		{
			"chat after a tool", "/v1/chat/completions", `{"model":"m","tools":[{"type":"function","function":{"name":"f"}}],"messages":[{"role":"user","content":"Weather?"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"sunny"}]%s}`,
			"choices.0.message.content", "choices.0.delta.content", "The tool says: sunny",
		},
		{
			"completions", "/v1/completions", `{"model":"m","prompt":"Tell me the secret ingredient"%s}`,
			"choices.0.text", "choices.0.text", rules[1].answer,
		},
		{
			"responses", "/v1/responses", `{"model":"m","input":"What card on file?"%s}`,
			"output.0.content.0.text", "delta", rules[2].answer,
		},
		{
			"responses of items", "/v1/responses", `{"model":"m","instructions":"Be kind.","input":[{"role":"user","content":"hi"},{"type":"message","role":"user","content":[{"type":"input_text","text":"there"}]}]%s}`,
			"output.0.content.0.text", "delta", "You said: there",
		},
		{
			"responses with a tool", "/v1/responses", `{"model":"m","input":"Weather?","tools":[{"type":"function","name":"weather","parameters":{` + weather + `}}]%s}`,
			"output.0.arguments", "delta", called,
		},
		{
			"messages", "/v1/messages", `{"model":"m","max_tokens":9,"system":"Be kind.","messages":[{"role":"user","content":"hi"}]%s}`,
			"content.0.text", "delta.text", "You said: hi",
		},
		{
			"messages with a tool", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"weather","input_schema":{` + weather + `}}]%s}`,
			"content.0.input", "delta.partial_json", called,
		},
		{
			"messages after a tool", "/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"sunny"}]}],"tools":[{"name":"f","input_schema":{}}]%s}`,
			"content.0.text", "delta.text", "The tool says: sunny",
		},
		{
			"interactions", "/v1beta/interactions", `{"model":"m","system_instruction":"Be kind.","input":"hi"%s}`,
			"steps.0.content.0.text", "delta.text", "You said: hi",
		},
		{
			"interactions of turns", "/v1beta/interactions", `{"model":"m","input":[{"role":"user","content":"hi"},{"role":"model","content":"Hello."},{"role":"user","content":[{"type":"text","text":"there"}]}]%s}`,
			"steps.0.content.0.text", "delta.text", "You said: there",
		},
		{
			"interactions of a content", "/v1beta/interactions", `{"model":"m","input":{"type":"text","text":"hi"}%s}`,
			"steps.0.content.0.text", "delta.text", "You said: hi",
		},
		{
			"interactions with a tool", "/v1beta/interactions", `{"model":"m","input":[{"type":"user_input","content":[{"type":"text","text":"Weather?"}]}],"tools":[{"type":"function","name":"weather","parameters":{` + weather + `}}]%s}`,
			"steps.0.arguments", "delta.arguments", called,
		},
		{
			"interactions after a tool", "/v1beta/interactions", `{"model":"m","input":[{"type":"function_result","call_id":"c1","name":"f","result":"sunny"}],"tools":[{"type":"function","name":"f"}]%s}`,
			"steps.0.content.0.text", "delta.text", "The tool says: sunny",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := New(Options{})
			whole := ask(t, s, "POST", test.path, fmt.Sprintf(test.body, ""), anthropicVersion)
			if whole.Code != 200 || !gjson.Valid(whole.Body.String()) {
				t.Fatalf("answered %d %s", whole.Code, whole.Body)
			}
			if got := gjson.Get(whole.Body.String(), test.text).String(); got != test.want {
				t.Errorf("said %q, want %q: %s", got, test.want, whole.Body)
			}
			streamed := ask(t, s, "POST", test.path, fmt.Sprintf(test.body, `,"stream":true`), anthropicVersion)
			if got := joined(data(t, streamed), test.deltas); got != test.want {
				t.Errorf("streamed %q, want %q: %s", got, test.want, streamed.Body)
			}
		})
	}
}

func TestEveryChoiceIsStreamed(t *testing.T) {
	w := ask(t, New(Options{}), "POST", "/v1/chat/completions", `{"model":"m","n":2,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"one two"}]}`)
	events := data(t, w)
	said := map[int64]string{}
	for _, e := range events {
		said[gjson.Get(e, "choices.0.index").Int()] += gjson.Get(e, "choices.0.delta.content").String()
	}
	if said[0] != "You said: one two" || said[1] != said[0] {
		t.Errorf("said %v", said)
	}
	if last := events[len(events)-2]; gjson.Get(last, "usage.total_tokens").Int() == 0 {
		t.Errorf("no usage in %s", last)
	}
}

func TestEmbeddingsModelsAndOllama(t *testing.T) {
	s := New(Options{})
	w := ask(t, s, "POST", "/v1/embeddings", `{"model":"m","input":["a","b"]}`)
	if n := gjson.Get(w.Body.String(), "data.1.embedding.#").Int(); n != 4 {
		t.Errorf("embedding of %d: %s", n, w.Body)
	}
	w = ask(t, s, "GET", "/v1/models", "")
	if n := gjson.Get(w.Body.String(), "data.#").Int(); n == 0 {
		t.Errorf("no models: %s", w.Body)
	}
	w = ask(t, s, "POST", "/api/chat", `{"model":"m","messages":[{"role":"user","content":"a b"}]}`)
	lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
	if got := joined(lines, "message.content"); got != "You said: a b" || !gjson.Get(lines[len(lines)-1], "done").Bool() {
		t.Errorf("said %q in %s", got, w.Body)
	}
	w = ask(t, s, "POST", "/api/chat", `{"model":"m","stream":false,"messages":[{"role":"user","content":"a b"}]}`)
	if got := gjson.Get(w.Body.String(), "message.content").String(); got != "You said: a b" {
		t.Errorf("said %q", got)
	}
}

func TestConversationsKeepItems(t *testing.T) {
	s := New(Options{})
	w := ask(t, s, "POST", "/v1/conversations", `{"items":[{"role":"user","content":"hi"}],"metadata":{"a":"b"}}`)
	id := gjson.Get(w.Body.String(), "id").String()
	if w.Code != 200 || gjson.Get(w.Body.String(), "object").String() != "conversation" || id == "" {
		t.Fatalf("made %d %s", w.Code, w.Body)
	}
	items := "/v1/conversations/" + id + "/items"
	w = ask(t, s, "POST", items, `{"items":[{"type":"message","role":"assistant","content":"Hello."},{"type":"function_call_output","call_id":"c1","output":"sunny"}]}`)
	if n := gjson.Get(w.Body.String(), "data.#").Int(); n != 2 {
		t.Errorf("added %d: %s", n, w.Body)
	}
	w = ask(t, s, "GET", items, "")
	if got := gjson.Get(w.Body.String(), "data.#.content.0.text").Raw; got != `["hi","Hello."]` {
		t.Errorf("listed %s: %s", got, w.Body)
	}
	if last := gjson.Get(w.Body.String(), "last_id").String(); last == "" || last != gjson.Get(w.Body.String(), "data.2.id").String() {
		t.Errorf("the last is %q: %s", last, w.Body)
	}
	for path, body := range map[string]string{
		"/v1/conversations/conv_none/items": `{"items":[{"role":"user","content":"hi"}]}`,
		items:                               `{"items":[{"role":"nobody","content":"hi"}]}`,
		"/v1/conversations":                 `{"messages":[]}`,
	} {
		if w := ask(t, s, "POST", path, body); w.Code < 400 || gjson.Get(w.Body.String(), "error.message").String() == "" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for range 2 * maxItems / maxNewItems {
		ask(t, s, "POST", items, `{"items":[`+strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"hi"},`, maxNewItems), ",")+`]}`)
	}
	if n := gjson.Get(ask(t, s, "GET", items, "").Body.String(), "data.#").Int(); n != maxItems {
		t.Errorf("%d items are kept", n)
	}
}

func TestRefusalsHaveTheProvidersForm(t *testing.T) {
	user := `"messages":[{"role":"user","content":"hi"}]`
	for _, test := range []struct {
		name, method, path, body, header string
		status                           int
		at, want                         string // where the answer has what
	}{
		{"no such path", "POST", "/v1/chat", `{}`, "", 404, "error.message", "Invalid URL (POST /v1/chat)"},
		{"wrong method", "GET", "/v1/chat/completions", "", "", 405, "error.type", "invalid_request_error"},
		{"wrong key", "POST", "/v1/chat/completions", `{}`, "Authorization: Bearer other", 401, "error.code", "invalid_api_key"},
		{"wrong type", "POST", "/v1/responses", `{}`, "Content-Type: text/plain", 415, "error.code", "unsupported_content_type"},
		{"not JSON", "POST", "/v1/chat/completions", `{"model":`, "", 400, "error.message", "We could not parse the JSON body of your request."},
		{"unknown parameter", "POST", "/v1/chat/completions", `{"model":"m","mesages":1,` + user + `}`, "", 400, "error.param", "mesages"},
		{"no model", "POST", "/v1/chat/completions", `{` + user + `}`, "", 400, "error.message", "you must provide a model parameter"},
		{"unknown model", "POST", "/v1/chat/completions", `{"model":"no-such-model",` + user + `}`, "", 404, "error.code", "model_not_found"},
		{"no input of an interaction", "POST", "/v1beta/interactions", `{"model":"m"}`, "", 400, "error.code", "invalid_request"},
		{"no messages", "POST", "/v1/chat/completions", `{"model":"m","messages":[]}`, "", 400, "error.param", "messages"},
		{"unknown role", "POST", "/v1/chat/completions", `{"model":"m","messages":[{"role":"boss","content":"hi"}]}`, "", 400, "error.param", "messages[0].role"},
		{"bad content", "POST", "/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":7}]}`, "", 400, "error.param", "messages[0].content"},
		{"too many choices", "POST", "/v1/chat/completions", `{"model":"m","n":129,` + user + `}`, "", 400, "error.param", "n"},
		{"no input", "POST", "/v1/responses", `{"model":"m"}`, "", 400, "error.param", "input"},
		{"unknown item", "POST", "/v1/responses", `{"model":"m","input":[{"type":"x"}]}`, "", 400, "error.param", "input[0].type"},
		{"no prompt", "POST", "/v1/completions", `{"model":"m"}`, "", 400, "error.param", "prompt"},
		{"token ids", "POST", "/v1/embeddings", `{"model":"m","input":[1,2]}`, "", 400, "error.param", "input"},
		{"anthropic key", "POST", "/v1/messages", `{}`, "X-Api-Key: other", 401, "error.type", "authentication_error"},
		{"anthropic without a limit", "POST", "/v1/messages", `{"model":"m",` + user + `}`, "", 400, "error.message", "max_tokens: Field required"},
		{"anthropic role", "POST", "/v1/messages", `{"model":"m","max_tokens":1,"messages":[{"role":"system","content":"hi"}]}`, "", 400, "type", "error"},
		{"anthropic method", "GET", "/v1/messages", "", "", 405, "error.type", "invalid_request_error"},
		{"ollama without a model", "POST", "/api/chat", `{}`, "", 400, "error", "model is required"},
		{"ollama model", "POST", "/api/chat", `{"model":"no-such-model"}`, "", 404, "error", "model 'no-such-model' not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			headers := []string{"Authorization: Bearer good", anthropicVersion}
			if test.header != "" {
				headers = append(headers, test.header)
			}
			w := ask(t, New(Options{Keys: []string{"good"}}), test.method, test.path, test.body, headers...)
			if got := gjson.Get(w.Body.String(), test.at).String(); w.Code != test.status || got != test.want {
				t.Errorf("answered %d %s", w.Code, w.Body)
			}
		})
	}
	if w := ask(t, New(Options{}), "POST", "/v1/messages", `{}`); w.Code != 400 || !strings.Contains(w.Body.String(), "anthropic-version") {
		t.Errorf("without a version: %d %s", w.Code, w.Body)
	}
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`

func TestMCPSession(t *testing.T) {
	s := New(Options{})
	const accept = "Accept: application/json, text/event-stream"
	w := ask(t, s, "POST", "/mcp", initialize, accept)
	session := "Mcp-Session-Id: " + w.Header().Get("Mcp-Session-Id")
	if got := gjson.Get(w.Body.String(), "result.protocolVersion").String(); got != "2025-06-18" {
		t.Fatalf("initialize: %s", w.Body)
	}
	if w = ask(t, s, "POST", "/mcp", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, accept, session); w.Code != 202 {
		t.Errorf("notification: %d", w.Code)
	}
	w = ask(t, s, "POST", "/mcp", `{"jsonrpc":"2.0","id":"a","method":"tools/list"}`, accept, session)
	if n := gjson.Get(w.Body.String(), "result.tools.#").Int(); n != 2 || gjson.Get(w.Body.String(), "id").String() != "a" {
		t.Errorf("tools: %s", w.Body)
	}
	call := `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"%s","arguments":{"question":"2+2"}}}`
	w = ask(t, s, "POST", "/mcp", fmt.Sprintf(call, "ask_cook"), accept, session)
	if got := gjson.Get(w.Body.String(), "result.content.0.text").String(); got != "2 + 2 = 4." {
		t.Errorf("call: %s", w.Body)
	}
	w = ask(t, s, "POST", "/mcp", fmt.Sprintf(call, "ask_cook_slowly"), accept, session)
	if got := joined(data(t, w), "result.content.0.text"); got != "2 + 2 = 4." {
		t.Errorf("call answered by a stream: %s", w.Body)
	}
	w = ask(t, s, "POST", "/mcp", fmt.Sprintf(call, "other"), accept, session)
	if got := gjson.Get(w.Body.String(), "error.code").Int(); got != rpcInvalidParams {
		t.Errorf("unknown tool: %s", w.Body)
	}
	if w = ask(t, s, "DELETE", "/mcp", "", session); w.Code != 204 {
		t.Errorf("end: %d", w.Code)
	}
	if w = ask(t, s, "POST", "/mcp", fmt.Sprintf(call, "ask_cook"), accept, session); w.Code != 404 {
		t.Errorf("after the end: %d", w.Code)
	}
}

// stateless is a request of the protocol without sessions, with its headers.
func stateless(method, params string) (body string, headers []string) {
	body = fmt.Sprintf(`{"jsonrpc":"2.0","id":"a","method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`, method, params)
	headers = []string{"Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: " + method}
	if name := gjson.Get("{"+params+`"":0}`, "name").String(); name != "" {
		headers = append(headers, "Mcp-Name: "+name)
	}
	return body, headers
}

func TestMCPWithoutSession(t *testing.T) {
	s := New(Options{})
	for _, c := range []struct{ method, params, path, want string }{
		{"server/discover", "", "result.supportedVersions.0", "2026-07-28"},
		{"server/discover", "", "result.capabilities.tools.listChanged", "true"},
		{"tools/list", "", "result.tools.#", "2"},
		{"tools/call", `"name":"ask_cook","arguments":{"question":"2+2"},`, "result.content.0.text", "2 + 2 = 4."},
		{"tools/call", `"name":"ask_cook","arguments":{"question":"2+2"},`, "result.resultType", "complete"},
		{"initialize", "", "error.code", "-32601"},
		{"ping", "", "error.code", "-32601"},
	} {
		body, headers := stateless(c.method, c.params)
		w := ask(t, s, "POST", "/mcp", body, headers...)
		status := http.StatusOK
		if strings.HasPrefix(c.path, "error") {
			status = http.StatusNotFound
		}
		if got := gjson.Get(w.Body.String(), c.path).String(); got != c.want || w.Code != status || gjson.Get(w.Body.String(), "id").String() != "a" {
			t.Errorf("%s: %d %s", c.method, w.Code, w.Body)
		}
	}
	body, headers := stateless("tools/call", `"name":"ask_cook_slowly","arguments":{"question":"2+2"},`)
	if got := joined(data(t, ask(t, s, "POST", "/mcp", body, headers...)), "result.content.0.text"); got != "2 + 2 = 4." {
		t.Errorf("a call that is answered by a stream says %q", got)
	}
	for name, other := range map[string]string{"method": "Mcp-Method: tools/call", "version": "MCP-Protocol-Version: 2026-12-01"} {
		body, headers := stateless("tools/list", "")
		if w := ask(t, s, "POST", "/mcp", body, append(headers, other)...); w.Code != 400 || gjson.Get(w.Body.String(), "error.code").Int() != rpcHeaderMismatch {
			t.Errorf("another %s: %d %s", name, w.Code, w.Body)
		}
	}
	body, headers = stateless("tools/list", "")
	body = strings.Replace(body, mcpStateless, "2026-12-01", 1)
	if w := ask(t, s, "POST", "/mcp", body, append(headers, "MCP-Protocol-Version: 2026-12-01")...); w.Code != 400 || gjson.Get(w.Body.String(), "error.data.supported.0").String() != mcpStateless {
		t.Errorf("a later version: %d %s", w.Code, w.Body)
	}
}

func TestMCPRefusals(t *testing.T) {
	const both = "Accept: application/json, text/event-stream"
	for _, test := range []struct {
		name, method, body, header string
		status                     int
		code                       int64
	}{
		{"no session", "POST", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, both, 400, 0},
		{"get without a session", "GET", "", both, 400, 0},
		{"get of no stream", "GET", "", "Accept: application/json", 406, 0},
		{"put", "PUT", "{}", both, 405, 0},
		{"accepts too little", "POST", initialize, "Accept: application/json", 406, 0},
		{"not JSON", "POST", `{`, both, 400, rpcParse},
		{"not JSON-RPC", "POST", `{"id":1,"method":"ping"}`, both, 400, rpcInvalidRequest},
		{"batch", "POST", `[` + initialize + `]`, both, 400, rpcInvalidRequest},
		{"no version", "POST", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, both, 200, rpcInvalidParams},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := ask(t, New(Options{}), test.method, "/mcp", test.body, test.header)
			if w.Code != test.status || gjson.Get(w.Body.String(), "error.code").Int() != test.code {
				t.Errorf("answered %d %s", w.Code, w.Body)
			}
		})
	}
	if w := ask(t, New(Options{}), "POST", "/mcp", initialize, both, "Content-Type: text/plain"); w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("plain text: %d", w.Code)
	}
}

func TestRequestsAreRememberedWithoutCredentials(t *testing.T) {
	s := New(Options{})
	ask(t, s, "POST", "/v1/chat/completions", `{"model":"m"}`, "Authorization: Bearer secret", "X-Api-Key: secret")
	all := s.Requests()
	if len(all) != 1 || all[0].Path != "/v1/chat/completions" || string(all[0].Body) != `{"model":"m"}` {
		t.Fatalf("remembered %v", all)
	}
	if strings.Contains(fmt.Sprint(all[0].Header), "secret") {
		t.Error("a key is remembered")
	}
	if s.Forget(); len(s.Requests()) != 0 {
		t.Error("not forgotten")
	}
}
