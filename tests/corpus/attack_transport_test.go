// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"fmt"
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
	l.ask("gRPC over HTTP/2", "\x00\x00\x00\x00\x02hi").typed("application/grpc").must(unscannable).http2 = true
	return append(cases, l.cases...)
}
