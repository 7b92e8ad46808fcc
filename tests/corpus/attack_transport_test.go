// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"fmt"
	"strings"
)

// attackTransport use the method, the path, headers and the protocol.
func attackTransport() []testcase {
	const chat = `{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`
	l := &list{class: "methods, paths, headers"}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"} {
		l.ask("body of a "+method, chat).by(method)
	}
	for _, path := range []string{
		"/", "/v1/models", "/v1/chat/completions/", "/V1/CHAT/COMPLETIONS", "//v1//chat/completions", "/v1/%63hat/completions",
		"/v1/chat/completions?stream=true", "/v1/chat/completions;a=b", "/mcp", "/health", "/v1/messages/count_tokens", "/v1/chat/completions%00",
	} {
		l.ask("path "+path, chat).to(path)
	}
	l.ask("HTTP/2", chat).http2 = true
	l.ask("Expect", chat).with("Expect: 100-continue")
	l.ask("TE", chat).with("Te: trailers, deflate")
	l.ask("method override", chat).with("X-Http-Method-Override: GET")
	l.ask("Upgrade: h2c", chat).with("Upgrade: h2c")
	l.ask("tool's own header", chat).with("X-App: cli", "X-Claude-Code-Session-Id: 1")
	l.ask("forged Kong-Request-ID", chat).with("Kong-Request-Id: 1", "X-Kong-Request-Id: 1")
	l.ask("header that is not UTF-8", chat).with("X-Name: \xe9\xff")
	l.ask("charset in Accept-Charset", chat).with("Accept-Charset: utf-16")
	flood := make([]string, 0, 150)
	for i := range 150 {
		flood = append(flood, fmt.Sprintf("A-%03d: x", i))
	}
	l.ask("150 headers before the encoding", chat).with(flood...).coded("gzip", gzipped)
	l.ask("150 headers before an unknown encoding", chat).with(flood...).with("Content-Encoding: compress").must(unscannable)
	for i := range 900 {
		flood = append(flood, fmt.Sprintf("B-%03d: x", i))
	}
	l.ask("1,050 headers", chat).with(flood...).must(ambiguous)
	cases := l.cases

	// Kong skips the response phase of an upgraded connection.
	l = &list{class: "unscanned answers"}
	for _, v := range []string{"websocket", "WebSocket", " websocket "} {
		l.ask("Upgrade: "+v, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`).with("Upgrade: " + v).must(upgrade)
	}
	l.ask("Upgrade with Connection", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`).with("Connection: Upgrade", "Upgrade: websocket").must(upgrade)
	l.ask("realtime", "").by("GET").to("/v1/realtime?model=gpt-4o-realtime").with("Connection: Upgrade", "Upgrade: websocket").must(upgrade)
	// Who lets them flow has to see what they say.
	stream := message{status: 200, header: []string{"Content-Type: text/event-stream"}, body: spell.Replace(sse(
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"ok"}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"$MARK"}]}}`,
	))}
	l.ask("event stream by GET", "").by("GET").to("/mcp").with("Accept: text/event-stream").must(streamRefused).answer = stream
	l.ask("event stream by GET among others", "").by("GET").to("/mcp").with("Accept: application/json, TEXT/Event-Stream;q=0.5").must(streamRefused).answer = stream
	subscribe := func(name, body string, events ...string) *testcase {
		c := l.ask("subscription: "+name, body).to("/mcp").with(listenHeader...).must(listenRefused)
		c.answer = message{status: 200, header: []string{"Content-Type: text/event-stream"}, body: spell.Replace(sse(events...))}
		return c
	}
	const (
		meta = `"_meta":{"io.modelcontextprotocol/subscriptionId":1}`
		ack  = `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{` + meta + `,"notifications":{"toolsListChanged":true}}}`
	)
	listen := listenCall("1", `"toolsListChanged":true`)
	subscribe("a message", listen, ack, `{"jsonrpc":"2.0","method":"notifications/message","params":{`+meta+`,"level":"info","data":"$MARK"}}`)
	subscribe("in the acknowledgement", listen, `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{`+meta+`,"notifications":{"resourceSubscriptions":["$MARK"]}}}`)
	subscribe("beside the change", listen, ack, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{`+meta+`,"note":"$ESCAPED"}}`)
	subscribe("in the meta of a change", listen, ack, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1,"note":"$MARK"}}}`)
	subscribe("the address of what changed", listen, ack, ": ping", `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{`+meta+`,"uri":"file:///$MARK","title":"menu"}}`)
	subscribe("a result at its end", listen, ack, `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete",`+meta+`,"content":[{"type":"text","text":"$MARK"}]}}`)
	subscribe("an error at its end", listen, ack, `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"$MARK"}}`)
	subscribe("words behind it", listen, ack, "$MARK")
	subscribe("in a batch", `[`+listenCall("1", ``)+`,{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"ferries","arguments":{}}}]`, ack,
		`{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"$MARK"}]}}`)
	subscribe("a name in another case", strings.Replace(listen, `"method"`, `"Method"`, 1), ack, `{"jsonrpc":"2.0","method":"notifications/message","params":{`+meta+`,"level":"info","data":"$MARK"}}`)
	l.ask("subscription: text in its filter", listenCall("1", `"resourceSubscriptions":["$MARK"]`)).to("/mcp").with(listenHeader...).answer = stream
	l.ask("subscription: text beside its filter", strings.Replace(listenCall("1", ``), `"notifications"`, `"note":"$MARK","notifications"`, 1)).to("/mcp").with(listenHeader...).answer = stream
	l.ask("subscription: method twice", strings.Replace(listen, `"params"`, `"method":"tools/call","params"`, 1)).to("/mcp").with(listenHeader...).must(malformed).answer = stream
	l.ask("gRPC over HTTP/2", "\x00\x00\x00\x00\x02hi").typed("application/grpc").must(unscannable).http2 = true
	return append(cases, l.cases...)
}
