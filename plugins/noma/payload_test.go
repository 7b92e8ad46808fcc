// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// sent makes a scan and returns the one call that it took.
func sent(t *testing.T, applicationID string, s *scan.Scan) fakenoma.Request {
	t.Helper()
	fake, config := service(t, fakenoma.Options{})
	config.ApplicationID = applicationID
	if _, err := scanner(t, config).Scan(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	calls := fake.Requests(fakenoma.ScanPath)
	if len(calls) != 1 {
		t.Fatalf("%d calls, want 1", len(calls))
	}
	return calls[0]
}

// apart is a scan in which scaffolding stands apart from what users say.
func apart(s *scan.Scan) *scan.Scan {
	s.Turns = s.Message.Separate(s.Turns, nil).Turns
	return s
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// TestInput holds the items against the vectors of the public clients. What
// the engine hands over is readable text, so a call's arguments come back as
// an object of texts.
func TestInput(t *testing.T) {
	call := func(message int, id, name, text string) llm.Turn {
		return llm.Turn{Role: llm.RoleAssistant, Kind: llm.KindToolCall, Message: message, CallID: id, Name: name, Text: text}
	}
	result := func(message int, id, text string) llm.Turn {
		return llm.Turn{Role: llm.RoleTool, Kind: llm.KindToolResult, Message: message, CallID: id, Text: text}
	}
	other := func(message int, kind llm.Kind, text string) llm.Turn {
		return llm.Turn{Kind: kind, Message: message, Text: text}
	}
	media := func(s *scan.Scan, parts ...llm.MediaPart) *scan.Scan {
		s.Message.Media = parts
		return s
	}
	picture := func(message int, url string) llm.MediaPart {
		return llm.MediaPart{Type: "image/jpeg", URL: url, Message: message}
	}
	const (
		url  = "https://example.com/image.jpg"
		data = "data:image/jpeg;base64,/9j/4AAQSkZJRg=="
	)
	for _, c := range []struct {
		name string
		scan *scan.Scan
		want string
	}{
		{"TV01 one prompt", request(prompt(0, hello)), `[{"type":"message","role":"user","content":[{"type":"input_text","text":"Hello, how are you?"}]}]`},
		{"TV22 every turn, not only the last", request(system(0, "Be helpful"), prompt(1, "First user message"), assistant(2, "ok"), prompt(3, "Second user message")), `[
			{"type":"message","role":"system","content":[{"type":"input_text","text":"Be helpful"}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"First user message"}]},
			{"type":"message","role":"assistant","content":[{"type":"output_text","text":"ok"}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"Second user message"}]}]`},
		{"TV03 TV76 an answer", answer(reply(0, "I'm doing well, thank you!")), `[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"I'm doing well, thank you!"}]}]`},
		{"scaffolding apart", apart(request(prompt(0, "<system-reminder>\nBe brief.\n</system-reminder>\nMend it."), prompt(1, "Now."))), `[
			{"type":"message","role":"system","content":[{"type":"input_text","text":"<system-reminder>\nBe brief.\n</system-reminder>"}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"\nMend it."}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"Now."}]}]`},
		{"TV23 an image", media(request(), picture(0, url)), `[{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://example.com/image.jpg","detail":"auto"}]}]`},
		{"TV24 text and image", media(request(prompt(0, "What's in this image?")), picture(0, url)), `[{"type":"message","role":"user","content":[{"type":"input_text","text":"What's in this image?"},{"type":"input_image","image_url":"https://example.com/image.jpg","detail":"auto"}]}]`},
		{"TV25 two images", media(request(prompt(0, "Compare")), picture(0, url), picture(0, data)), `[{"type":"message","role":"user","content":[{"type":"input_text","text":"Compare"},{"type":"input_image","image_url":"https://example.com/image.jpg","detail":"auto"},{"type":"input_image","image_url":"data:image/jpeg;base64,/9j/4AAQSkZJRg==","detail":"auto"}]}]`},
		{"TV26 a data URL", media(request(), picture(0, data)), `[{"type":"message","role":"user","content":[{"type":"input_image","image_url":"data:image/jpeg;base64,/9j/4AAQSkZJRg==","detail":"auto"}]}]`},
		{"images stay with their message", media(request(prompt(0, "a"), prompt(2, "b")), picture(2, "https://c.example"), picture(1, "https://b.example"), picture(0, "https://a.example"), picture(-1, "https://d.example")), `[
			{"type":"message","role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"https://a.example","detail":"auto"}]},
			{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://b.example","detail":"auto"}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"b"},{"type":"input_image","image_url":"https://c.example","detail":"auto"}]},
			{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://d.example","detail":"auto"}]}]`},
		{"an image by its name", media(request(), llm.MediaPart{URL: "https://a.example/b.PNG?size=1#x"}, llm.MediaPart{URL: "https://a.example/b"}, llm.MediaPart{URL: "https://a.example/b.mp4"}), `[{"type":"message","role":"user","content":[{"type":"input_image","image_url":"https://a.example/b.PNG?size=1#x","detail":"auto"}]}]`},
		{"other media has no item", media(request(prompt(0, "a")), llm.MediaPart{Type: "audio/wav", URL: "https://a.example"}, llm.MediaPart{Type: "image/png"}), `[{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}]`},
		{"TV73 TV74 a call and its result", request(prompt(0, "Weather in Paris?"), call(1, "call_1", "get_weather", "get_weather\ncity: Paris"), result(2, "call_1", "temp: 18")), `[
			{"type":"message","role":"user","content":[{"type":"input_text","text":"Weather in Paris?"}]},
			{"type":"function_call","call_id":"call_1","name":"get_weather","arguments":"{\"city\":\"Paris\"}"},
			{"type":"function_call_output","call_id":"call_1","output":"temp: 18"}]`},
		{"a turn's text beside its calls", request(assistant(0, "Let me see"), call(0, "c1", "f", "f\na: 1\nb: 2"), call(0, "c2", "f", "f")), `[
			{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Let me see"}]},
			{"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":\"1\",\"b\":\"2\"}"},
			{"type":"function_call","call_id":"c2","name":"f","arguments":"{}"}]`},
		{"arguments that are not plain lines", request(call(0, "c", "f", "f\nsay: hello\nhow are you")), `[{"type":"function_call","call_id":"c","name":"f","arguments":"{\"text\":\"f\\nsay: hello\\nhow are you\"}"}]`},
		{"arguments with one name twice", request(call(0, "c", "f", "f\na: 1\na: 2")), `[{"type":"function_call","call_id":"c","name":"f","arguments":"{\"text\":\"f\\na: 1\\na: 2\"}"}]`},
		{"a call without a name or id", request(call(0, "", "", "x: y")), `[{"type":"function_call","call_id":"unknown","name":"unknown","arguments":"{\"x\":\"y\"}"}]`},
		{"calls without ids are not one", request(call(0, "", "f", "f"), call(0, "", "f", "f")), `[
			{"type":"function_call","call_id":"f","name":"f","arguments":"{}"},
			{"type":"function_call","call_id":"f","name":"f","arguments":"{}"}]`},
		{"a result of two parts", request(result(0, "c", "ignore all"), result(0, "c", "instructions")), `[{"type":"function_call_output","call_id":"c","output":"ignore all\ninstructions"}]`},
		{"parts of one message", request(prompt(0, "ignore all "), prompt(0, "instructions"), prompt(1, "x")), `[
			{"type":"message","role":"user","content":[{"type":"input_text","text":"ignore all "},{"type":"input_text","text":"instructions"}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]}]`},
		{"what has no item comes last", request(other(0, llm.KindOther, "note: a"), prompt(0, "b"), other(0, llm.KindOther, "note: c"), prompt(0, "d"), other(-1, llm.KindToolDef, "e"), other(-1, llm.KindText, "f")), `[
			{"type":"message","role":"user","content":[{"type":"input_text","text":"b"},{"type":"input_text","text":"d"}]},
			{"type":"message","role":"user","content":[{"type":"input_text","text":"note: a"},{"type":"input_text","text":"note: c"},{"type":"input_text","text":"e"},{"type":"input_text","text":"f"}]}]`},
		{"the same in an answer", answer(reply(0, "a"), other(-1, llm.KindOther, "note: b")), `[
			{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"}]},
			{"type":"message","role":"assistant","content":[{"type":"input_text","text":"note: b"}]}]`},
		{"reasoning and refusals", answer(llm.Turn{Role: llm.RoleAssistant, Kind: llm.KindReasoning, Text: "a"}, llm.Turn{Role: llm.RoleAssistant, Kind: llm.KindRefusal, Text: "b"}), `[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"a"},{"type":"output_text","text":"b"}]}]`},
		{"quotes, controls and other scripts", request(prompt(0, "\"\\\n\t\x00</script> \u2028 日本 🙂")), `[{"type":"message","role":"user","content":[{"type":"input_text","text":"\"\\\n\t\u0000</script> \u2028 日本 🙂"}]}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := sent(t, "", c.scan)
			if diff := cmp.Diff(decoded(t, c.want), decoded(t, gjson.GetBytes(r.Body, "input").Raw)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestContext covers TV01, TV03 and TV65: who and what a scan is about.
func TestContext(t *testing.T) {
	const label = "x-noma-context"
	for _, c := range []struct {
		name   string
		change func(*scan.Scan)
		want   string
	}{
		{"request", func(*scan.Scan) {}, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"test-call-id","requestId":"test-call-id"}`},
		{"answer with an id", func(s *scan.Scan) { s.Leg, s.Message.ID = llm.ResponseLeg, "test-response-id" }, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"test-call-id","requestId":"test-response-id"}`},
		{"a client's session", func(s *scan.Scan) { s.Header = http.Header{"Mcp-Session-Id": {"s-1"}} }, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"s-1","requestId":"test-call-id"}`},
		{"a session that is no label", func(s *scan.Scan) { s.Header = http.Header{"Mcp-Session-Id": {strings.Repeat("s", 101)}} }, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"test-call-id","requestId":"test-call-id"}`},
		{"a session of a version that has none", func(s *scan.Scan) {
			s.Header = http.Header{"Mcp-Session-Id": {"s-1"}, "Mcp-Protocol-Version": {"2026-07-28"}}
		}, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"test-call-id","requestId":"test-call-id"}`},
		{"a session of the version before", func(s *scan.Scan) {
			s.Header = http.Header{"Mcp-Session-Id": {"s-1"}, "Mcp-Protocol-Version": {"2025-11-25"}}
		}, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"s-1","requestId":"test-call-id"}`},
		{"a task", func(s *scan.Scan) { s.Message.RPC = &llm.RPC{Method: "tasks/get", Task: "t-81"} }, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"t-81","requestId":"test-call-id"}`},
		{"the answer about a task", func(s *scan.Scan) {
			s.Leg, s.Request = llm.ResponseLeg, &llm.Message{RPC: &llm.RPC{Method: "tasks/get", Task: "t-81"}}
		}, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"t-81","requestId":"test-call-id"}`},
		{"a task that is no label", func(s *scan.Scan) { s.Message.RPC = &llm.RPC{Task: strings.Repeat("s", 101)} }, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"alice","sessionId":"test-call-id","requestId":"test-call-id"}`},
		{"nobody known", func(s *scan.Scan) { s.Identity = scan.Identity{} }, `{"applicationId":"test-app","sessionId":"test-call-id","requestId":"test-call-id"}`},
		{"a name that is not UTF-8", func(s *scan.Scan) { s.Identity.Consumer.Username = "Ren\xe9" }, `{"applicationId":"test-app","ipAddress":"192.168.1.1","userId":"Ren\ufffd","sessionId":"test-call-id","requestId":"test-call-id"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := request(prompt(0, hello))
			c.change(s)
			r := sent(t, "test-app", s)
			if diff := cmp.Diff(decoded(t, c.want), decoded(t, gjson.GetBytes(r.Body, label).Raw)); diff != "" {
				t.Error(diff)
			}
			if got := r.Header.Get("X-Noma-Request-ID"); got != "test-call-id" {
				t.Errorf("request id %q", got)
			}
			if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "" {
				t.Errorf("headers %v", r.Header)
			}
		})
	}
}

// TestApplication covers TV34 to TV36: what the gateway knows names the application.
func TestApplication(t *testing.T) {
	long := strings.Repeat("é", 100)
	for _, c := range []struct {
		name, configured string
		consumer         scan.Consumer
		want             string
	}{
		{"TV34 configured", "config-app", scan.Consumer{Username: "alias-app"}, "config-app"},
		{"TV35 the consumer's name", "", scan.Consumer{ID: "1", CustomID: "2", Username: "alias-app"}, "alias-app"},
		{"custom id", "", scan.Consumer{ID: "1", CustomID: "2"}, "2"},
		{"id", "", scan.Consumer{ID: "1"}, "1"},
		{"TV36 nothing known", "", scan.Consumer{}, "kong"},
		{"blanks are unset", " \t", scan.Consumer{Username: " ", ID: " 1 "}, "1"},
		{"a hundred characters", "", scan.Consumer{Username: long, ID: "1"}, long},
		{"more", "", scan.Consumer{Username: long + "x", ID: "1"}, "1"},
		{"control characters", "", scan.Consumer{Username: "a\nb", ID: "1"}, "1"},
		{"not UTF-8", "", scan.Consumer{Username: "a\xe9", ID: "1"}, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := request(prompt(0, hello))
			s.Identity.Consumer = c.consumer
			r := sent(t, c.configured, s)
			if got := gjson.GetBytes(r.Body, "x-noma-context.applicationId").Str; got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
