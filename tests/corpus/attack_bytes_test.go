// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"archive/zip"
	"bytes"
	"strings"
)

// attackBytes hide the marker in encodings of the whole body and behind labels
// that lie.
func attackBytes() []testcase {
	const chat = `{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`
	spelled := []byte(spell.Replace(chat))
	l := &list{class: "content encoding"}
	l.ask("gzip", chat).coded("gzip", gzipped)
	l.ask("x-gzip", chat).coded("x-gzip", gzipped)
	l.ask("GZIP", chat).coded("GZIP", gzipped)
	l.ask("deflate, zlib", chat).coded("deflate", zlibbed)
	l.ask("deflate, raw", chat).coded("deflate", deflated)
	l.ask("br", chat).coded("br", brotlied)
	l.ask("zstd", chat).coded("zstd", zstandard)
	l.ask("identity", chat).coded("identity", same)
	l.ask("unknown coding", chat).coded("compress", same).must(unscannable)
	l.ask("stacked", chat).coded("gzip, br", func(b []byte) []byte { return brotlied(gzipped(b)) }).must(unscannable)
	l.ask("gzip twice", chat).coded("gzip, gzip", func(b []byte) []byte { return gzipped(gzipped(b)) }).must(unscannable)
	l.ask("stacked in two headers", chat).coded("gzip", gzipped).with("Content-Encoding: identity").must(ambiguous)
	l.ask("gzip in gzip", chat).coded("gzip", func(b []byte) []byte { return gzipped(gzipped(b)) }).must(malformed)
	l.ask("gzip without a label", chat).must(malformed).subject().body = string(gzipped(spelled))
	l.ask("zstd without a label", chat).must(malformed).subject().body = string(zstandard(spelled))
	l.ask("gzip as plain text", chat).typed("text/plain").must(unscannable).subject().body = string(gzipped(spelled))
	l.ask("zstd as nothing", chat).typed("").must(unscannable).subject().body = string(zstandard(spelled))
	l.ask("zlib without a label", chat).must(malformed).subject().body = string(zlibbed(spelled))
	l.ask("raw deflate without a label", chat).must(malformed).subject().body = string(deflated(spelled))
	l.ask("br without a label", chat).must(malformed).subject().body = string(brotlied(spelled))
	l.ask("label without gzip", chat).with("Content-Encoding: gzip").must(malformed)
	l.ask("label of br on gzip", chat).coded("br", gzipped).must(malformed)
	l.ask("two members", chat).coded("gzip", func(b []byte) []byte {
		return append(gzipped([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`)), gzipped(b)...)
	}).must(malformed)
	l.ask("text behind the member", chat).coded("gzip", func(b []byte) []byte { return append(gzipped([]byte("{}")), b...) }).must(malformed)
	l.ask("cut off", chat).coded("gzip", func(b []byte) []byte { z := gzipped(b); return z[:len(z)-5] }).must(malformed)
	l.ask("bad checksum", chat).coded("gzip", func(b []byte) []byte { z := gzipped(b); z[len(z)-6] ^= 1; return z }).must(malformed)
	bomb := []byte(`{"model":"m","messages":[{"role":"user","content":"` + marker + strings.Repeat(" ", 9<<20) + `"}]}`)
	l.ask("bomb of gzip", "").coded("gzip", func([]byte) []byte { return gzipped(bomb) }).must(unscannable)
	l.ask("bomb of br", "").coded("br", func([]byte) []byte { return brotlied(bomb) }).must(unscannable)
	l.ask("bomb of zstd", "").coded("zstd", func([]byte) []byte { return zstandard(bomb) }).must(unscannable)
	cases := l.cases

	l = &list{class: "content type"}
	for _, t := range []string{
		"", "text/plain", "application/vnd.api+json", "application/JSON", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\"",
		"text/json", "application/x-json", "text/html", "application/xml", "application/octet-stream", "image/png", "audio/mpeg",
		"application/x-ndjson", "text/event-stream", "application/pdf", "x/y", "application/jsonp", "*/*",
	} {
		l.ask("JSON as "+or(t, "nothing"), chat).typed(t)
	}
	for _, t := range []string{"json", "application/json, text/plain", "application/json; charset=utf-8; charset=utf-8", ";", "application/json; a=b c"} {
		l.ask("label of "+t, chat).typed(t).must(malformed)
	}
	l.ask("two content types", chat).with("Content-Type: text/plain").must(ambiguous)
	l.ask("gRPC", "\x00\x00\x00\x00\x2a$MARK").typed("application/grpc").must(unscannable)
	l.ask("gRPC web", "\x00\x00\x00\x00\x2a$MARK").typed("application/grpc-web+proto").must(unscannable)
	for _, t := range []string{"application/x-protobuf", "application/cbor", "application/msgpack"} {
		l.ask(t, "\x0a\x2a$MARK").typed(t).must(unscannable)
	}
	for _, t := range []string{"", "text/plain", "text/markdown", "text/html", "text/csv", "application/xml", "image/svg+xml", "application/yaml", "application/octet-stream", "image/png", "application/x-www-form-urlencoded"} {
		l.ask("plain text as "+or(t, "nothing"), "<p>\n$MARK\n</p>").typed(t).to("/v1/files")
	}
	l.ask("text that begins as an image", "GIF89a $MARK").typed("image/gif")
	l.ask("text that begins as a document", "%PDF- $MARK").typed("application/pdf")
	l.ask("text with some control characters", "\x01\x02 $MARK, and many more words so that it is text").typed("application/octet-stream")
	l.ask("Latin 1 as octets", "caf\xe9 $MARK").typed("application/octet-stream")
	l.ask("Latin 1 as an image", "caf\xe9 $MARK").typed("image/png")
	l.ask("UTF-16 as octets", utf16LE(marker)).typed("application/octet-stream")
	l.ask("UTF-32 as octets", utf32LE(marker)).typed("application/octet-stream")
	l.ask("plain text that says it is JSON", "$MARK").must(malformed)
	l.ask("batch file of requests", `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"hi"}]}}`+"\n"+
		`{"custom_id":"2","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"$MARK"}]}}`+"\n").to("/v1/files").typed("application/jsonl")
	l.ask("batch file with a broken line", `{"a":1}`+"\n"+`{"b":"$MARK"`+"\n").to("/v1/files").typed("application/jsonl").must(malformed)
	l.ask("event stream as a request", sse(`{"model":"m","messages":[{"role":"user","content":"$MARK"}]}`)).typed("text/event-stream")
	l.ask("zip", "").typed("text/plain").must(unscannable).subject().body = zipped("a.txt", marker)
	return append(cases, l.cases...)
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// zipped is an archive of one file.
func zipped(name, content string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	if err != nil {
		panic(err) // a buffer takes all
	}
	if _, err := f.Write([]byte(content)); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.String()
}
