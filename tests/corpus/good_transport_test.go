// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"fmt"
	"strings"
)

func repeat(s string, n int) string { return strings.Repeat(s, n) }

// goodTransport is traffic that is good by its method, status, labels and
// headers.
func goodTransport() []testcase {
	l := &list{class: "good: methods, statuses, labels"}
	plain := func(name, method, path string, status int, body string, header ...string) *testcase {
		c := l.pass(name, path, "", body).by(method)
		c.request.header = nil
		c.answer.status, c.answer.header = status, header
		return c
	}
	const json = "Content-Type: application/json"
	plain("list of models", "GET", "/v1/models", 200, `{"object":"list","data":[{"id":"gpt-4o","object":"model","created":1715367049,"owned_by":"system"},{"id":"text-embedding-3-small","object":"model","created":1705948997,"owned_by":"openai-internal"}]}`, json)
	plain("health", "GET", "/healthz", 200, "ok", "Content-Type: text/plain")
	plain("HEAD", "HEAD", "/v1/models", 200, "", json, "Etag: \"1\"")
	plain("preflight", "OPTIONS", chatPath, 204, "", "Access-Control-Allow-Origin: *", "Access-Control-Allow-Methods: POST, GET").with("Origin: https://app.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,authorization")
	plain("preflight with a body", "OPTIONS", chatPath, 200, "ok", "Content-Type: text/plain").with("Origin: https://app.example")
	plain("304", "GET", "/v1/models", 304, "", "Etag: \"1\"").with("If-None-Match: \"1\"")
	plain("204 to DELETE", "DELETE", "/v1/files/file-abc123", 204, "")
	plain("DELETE", "DELETE", "/v1/responses/resp_1", 200, `{"id":"resp_1","object":"response","deleted":true}`, json)
	plain("empty POST", "POST", "/v1/responses/resp_1/cancel", 200, `{"id":"resp_1","object":"response","status":"cancelled"}`, json)
	plain("download", "GET", "/v1/files/file-1/content", 200, "a,b\n1,2\n", "Content-Type: text/csv", "Content-Disposition: attachment; filename=\"a.csv\"")
	plain("page of documentation", "GET", "/docs", 200, "<!doctype html>\n<html><head><script>window.x = {\"a\": 1}</script></head><body>API</body></html>", "Content-Type: text/html; charset=utf-8")
	plain("script", "GET", "/app.js", 200, "export const a = { b: [1, 2] };\n", "Content-Type: text/javascript")
	plain("icon", "GET", "/favicon.ico", 200, "\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00\x01\x00\x20\x00"+noise(100), "Content-Type: image/x-icon")
	plain("font", "GET", "/a.woff2", 200, "wOF2\x00\x01\x00\x00"+noise(500), "Content-Type: font/woff2")
	plain("metrics", "GET", "/metrics", 200, "# HELP up Up.\n# TYPE up gauge\nup 1\n", "Content-Type: text/plain; version=0.0.4; charset=utf-8")
	plain("empty 200", "POST", "/v1/x", 200, "", json)
	plain("201", "POST", "/v1/x", 201, `{"id":"x_1"}`, json, "Location: /v1/x/1")

	chat := func(name string) *testcase { return l.pass(name, chatPath, question.body, completion.body) }
	chat("no content type").typed("")
	chat("curl's default type").typed(form)
	chat("JSON as plain text").typed("text/plain")
	chat("charset in capitals").typed(`Application/JSON; Charset="UTF-8"`)
	chat("vendor's JSON").typed("application/vnd.ferry.v1+json")
	chat("JSON with profile").typed("application/json; profile=x")
	chat("HTTP/2").http2 = true
	chat("HTTP/1.1 with Expect").with("Expect: 100-continue")
	chat("long path").to("/v1/" + repeat("a/", 500) + "chat/completions")
	chat("query with every character").to(chatPath + "?a=%F0%9F%98%80&b=1;2&c='\"<>&d=%00")
	chat("path that is not UTF-8").to("/v1/%ff%fe/chat/completions")
	chat("header that is not UTF-8").with("X-Name: Jos\xe9")
	chat("Upgrade: h2c").with("Upgrade: h2c")
	chat("Accept of an event stream").with("Accept: text/event-stream, application/json")
	chat("authorization").with("Authorization: Bearer sk-proj-1", "Openai-Organization: org-1", "X-Stainless-Lang: python", "X-Stainless-Retry-Count: 0", "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	many := make([]string, 0, 150)
	for i := range 150 {
		many = append(many, fmt.Sprintf("X-Header-%03d: value %d", i, i))
	}
	chat("150 headers").with(many...)
	l.pass("form", "/v1/audio/translations", "model=whisper-1&prompt=a+b%20c&temperature=0.2&response_format=json&note=%E2%82%AC", `{"text":"ok"}`).typed(form)
	l.pass("form of one word", "/token", "grant_type=client_credentials&scope=a+b", `{"access_token":"x","token_type":"Bearer","expires_in":3600}`).typed(form)
	l.pass("CSV upload", "/v1/ingest", "pier,time\nNorth,12:00\n", `{"ok":true}`).typed("text/csv")
	l.pass("Markdown", "/v1/ingest", "# Ferries\n\n- data: not a stream, [really]\n- {not json}\n", `{"ok":true}`).typed("text/markdown")
	l.pass("YAML", "/v1/ingest", "data:\n  - a: 1\nevent: none\n", `{"ok":true}`).typed("application/yaml")
	l.pass("XML", "/v1/ingest", "<?xml version=\"1.0\"?><a b=\"1\">c</a>", `<ok/>`).typed("application/xml").answer.header = []string{"Content-Type: application/xml"}
	l.pass("image", "/v1/ocr", png, `{"text":"ferry"}`).typed("image/png")
	l.pass("sound", "/v1/listen", wav, `{"text":"ferry"}`).typed("audio/wav")
	l.pass("raw sound", "/v1/listen", noise(20_000), `{"text":"ferry"}`).typed("application/octet-stream")
	l.pass("plain question", "/ask", "When does the ferry leave?", "At noon.").typed("text/plain").answer.header = []string{"Content-Type: text/plain"}
	return l.cases
}
