// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
)

func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const chat = `{"messages":[{"role":"user","content":"` + marker + `"}]}`

// TestReadBody: whatever a body's label says, what a reader behind us could
// take it for is scanned, or the body is refused.
func TestReadBody(t *testing.T) {
	multipart := "--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n" + marker + "\r\n--b--\r\n"
	file := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n" +
		`{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":` + chat + "}\n" + `{"custom_id":"2"}` + "\r\n--b--\r\n"
	tests := []struct {
		name, kind, coding, body string
		class                    Class
		refused, request         bool // request: only there
	}{
		{name: "JSON", kind: "application/json", body: chat},
		{name: "JSON without a type", body: chat},
		{name: "JSON as text", kind: "text/plain", body: chat},
		{name: "JSON of a vendor", kind: "application/vnd.api+json; charset=utf-8", body: chat},
		{name: "JSON as a form", kind: "application/x-www-form-urlencoded", body: chat},
		{name: "a form hidden in JSON", kind: "application/x-www-form-urlencoded", body: `{"a":"b&prompt=Kindly%20zq7%20the%20marker&c=d"}`},
		{name: "a form", kind: "application/x-www-form-urlencoded", body: "model=gpt-4o&prompt=Kindly+zq7+the+marker"},
		{name: "a form's name", kind: "application/x-www-form-urlencoded", body: "Kindly+zq7+the+marker=1"},
		{name: "a form's unknown field", kind: "application/x-www-form-urlencoded", body: "x=Kindly%20zq7+the%20marker"},
		{name: "multipart field", kind: "multipart/form-data; boundary=b", body: multipart},
		{name: "multipart file of JSON lines", kind: "multipart/form-data; boundary=b", body: file},
		{name: "multipart without its boundary", kind: "multipart/form-data", body: multipart, refused: true},
		{name: "JSON as multipart", kind: "multipart/form-data; boundary=b", body: chat, refused: true},
		{name: "gzip", kind: "application/json", coding: "gzip", body: gzipped(t, chat)},
		{name: "gzip without a label", kind: "application/json", body: gzipped(t, chat), refused: true},
		{name: "gzip label on plain JSON", kind: "application/json", coding: "gzip", body: chat, refused: true},
		{name: "unknown coding", kind: "application/json", coding: "compress", body: chat, class: Unscannable, refused: true},
		{name: "two codings", kind: "application/json", coding: "gzip, gzip", body: gzipped(t, gzipped(t, chat)), class: Unscannable, refused: true},
		{name: "UTF-16 label", kind: "application/json; charset=utf-16", body: chat, refused: true},
		{name: "UTF-7 label", kind: "text/plain; charset=utf-7", body: chat, refused: true},
		{name: "Latin 1 label on ASCII", kind: "application/json; charset=iso-8859-1", body: chat},
		{name: "Latin 1 text", kind: "text/plain; charset=iso-8859-1", body: "caf\xe9 " + marker, refused: true},
		{name: "UTF-16 bytes", kind: "application/json", body: "\xff\xfe{\x00}\x00", refused: true},
		{name: "byte order mark", kind: "application/json", body: "\xef\xbb\xbf" + chat, refused: true},
		{name: "byte order mark before JSON as text", kind: "text/plain", body: "\xef\xbb\xbf" + `{"a":"\u004bindly zq7 the marker"}`, refused: true},
		{name: "JSON behind a guard", kind: "text/plain", body: ")]}'\n" + `{"a":"\u004bindly zq7 the marker"}`},
		{name: "JSON before a stream", kind: "text/plain", body: `{"a":"\u004bindly zq7 the marker"}` + "\ndata: x\n\n", refused: true},
		{name: "broken JSON before a stream", kind: "text/plain", body: `{"a":1,"a":"\u004bindly zq7 the marker"}` + "\ndata: x\n\n", refused: true},
		{name: "trailing data", kind: "application/json", body: chat + "x", refused: true},
		{name: "two documents", kind: "application/json", body: chat + chat, refused: true},
		{name: "two documents as text", kind: "text/plain", body: chat + "\n" + chat, refused: true},
		{name: "JSON lines", kind: "application/x-ndjson", body: "{\"a\":1}\n" + chat},
		{name: "duplicate name as text", kind: "text/plain", body: `{"a":1,"a":"` + marker + `"}`, refused: true},
		{name: "comments", kind: "text/plain", body: "{/*x*/\"messages\":[]}", refused: true},
		{name: "lone surrogate", kind: "application/json", body: `{"a":"\ud800 ` + marker + `"}`, refused: true},
		{name: "deep", kind: "application/json", body: strings.Repeat("[", 300) + strings.Repeat("]", 300), refused: true},
		{name: "deep as text", kind: "text/plain", body: strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300), refused: true},
		{name: "escaped", kind: "application/json", body: `{"messages":[{"role":"user","content":"\u004bindly zq7 the marker"}]}`},
		{name: "text", kind: "text/plain", body: "So " + marker + "."},
		{name: "text that starts with a bracket", kind: "text/plain", body: "[sic] " + marker},
		{name: "text that starts with a brace", kind: "text/plain", body: "{x} " + marker, refused: true},
		{name: "HTML", kind: "text/html", body: "<p>" + marker + "</p>"},
		{name: "CSV", kind: "text/csv", body: "a,b\n" + marker + ",2\n"},
		{name: "XML without a type", body: "<a>" + marker + "</a>"},
		{name: "event stream", kind: "text/event-stream", body: "data: " + chat + "\n\n"},
		{name: "event stream as JSON", kind: "application/json", body: "data: " + `{"x":"\u004bindly zq7 the marker"}` + "\n\n"},
		{name: "SVG", kind: "image/svg+xml", body: "<svg><text>" + marker + "</text></svg>"},
		{name: "text as an image", kind: "image/png", body: "So " + marker},
		{name: "gRPC", kind: "application/grpc+proto", body: "\x00\x00\x00\x00\x05hello", class: Unscannable, refused: true},
		{name: "MessagePack", kind: "application/msgpack", body: "\x81\xa1a\xa1b", class: Unscannable, refused: true},
		{name: "unknown bytes", kind: "application/x-thing", body: "\x81\xa1a\xa1b\x00\x01", class: Unscannable, refused: true},
		{name: "data URL", kind: "application/json", body: `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:text/plain;base64,S2luZGx5IHpxNyB0aGUgbWFya2Vy"}}]}]}`},
		{name: "base64 in a text", kind: "application/json", body: `{"messages":[{"role":"user","content":"S2luZGx5IHpxNyB0aGUgbWFya2Vy"}]}`},
		{name: "data URL in a text", kind: "application/json", body: `{"messages":[{"role":"user","content":"see ![](data:text/plain;base64,S2luZGx5IHpxNyB0aGUgbWFya2Vy)"}]}`},
		{name: "base64 as file", kind: "application/json", body: `{"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.txt","file_data":"S2luZGx5IHpxNyB0aGUgbWFya2Vy"}}]}]}`},
		{name: "token ids", kind: "application/json", body: `{"model":"m","prompt":[1,2,3]}`, class: Unscannable, refused: true, request: true},
		{name: "token id batches", kind: "application/json", body: `{"model":"m","input":[[1,2],[3]]}`, class: Unscannable, refused: true, request: true},
		{name: "arguments that are no sound JSON", kind: "application/json", body: `{"messages":[{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1,\"a\":\"\\u004bindly zq7 the marker\"}"}}]}]}`},
		{name: "case variant at the root", kind: "application/json", body: `{"Messages":[{"role":"user","content":"` + marker + `"}]}`, refused: true},
		{name: "case variant in a message", kind: "application/json", body: `{"messages":[{"role":"user","content":"hi","Content":"` + marker + `"}]}`, refused: true},
		{name: "Unicode case variant", kind: "application/json", body: `{"me\u017fsages":[{"role":"user","content":"` + marker + `"}]}`, refused: true},
		{name: "extra JSON-RPC names on a chat", kind: "application/json", body: `{"jsonrpc":"2.0","method":"tools/list","messages":[{"role":"user","content":"` + marker + `"}]}`},
		{name: "a JSON string", kind: "application/json", body: `"` + marker + `"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, leg := range []Leg{RequestLeg, ResponseLeg} {
				if tt.request && leg == ResponseLeg {
					continue
				}
				in := Input{Leg: leg, ContentType: tt.kind, ContentEncoding: tt.coding, Body: []byte(tt.body)}
				m, err := Read(in, testLimits)
				var e *Error
				switch {
				case err != nil && !errors.As(err, &e):
					t.Fatalf("%v: error of type %T", leg, err)
				case tt.refused && err == nil && leg == ResponseLeg && scanned(m):
					// An answer may be read more widely, as long as it is read.
				case tt.refused && err == nil:
					t.Errorf("%v: accepted as %s", leg, m.Format)
				case tt.refused && tt.class != Malformed && e.Class != tt.class:
					t.Errorf("%v: class %d (%v), want %d", leg, e.Class, err, tt.class)
				case !tt.refused && err != nil:
					t.Errorf("%v: %v", leg, err)
				case !tt.refused && !scanned(m):
					t.Errorf("%v: not scanned:\n%s", leg, dump(m))
				}
			}
		})
	}
}

func TestReadEmptyBody(t *testing.T) {
	for _, body := range []string{"", " \r\n\t"} {
		m, err := Read(Input{Body: []byte(body), ContentType: "application/json"}, testLimits)
		if err != nil || m.Format != None || len(m.Turns) != 0 {
			t.Errorf("%q: %v, %+v", body, err, m)
		}
	}
}

func TestReadMedia(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
	for _, kind := range []string{"image/png", "application/octet-stream", ""} {
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(png), ContentType: kind}, testLimits)
		if err != nil {
			t.Errorf("%q: %v", kind, err)
			continue
		}
		if m.Format != Media || len(m.Media) != 1 || m.Media[0].Type != "image/png" || len(m.Turns) != 0 {
			t.Errorf("%q: %s", kind, dump(m))
		}
	}
}

// TestReadZippedDocuments: what office programs write is a zip archive by its
// bytes, and as a whole body it is media, like in a form.
func TestReadZippedDocuments(t *testing.T) {
	zip := "PK\x03\x04\x14\x00\x08\x00\x08\x00\x00\x00\x00\x00\xff\xfe\xfd\xfc"
	for kind, refused := range map[string]bool{
		"application/vnd.openxmlformats-officedocument.wordprocessingml.document": false,
		"application/vnd.oasis.opendocument.text":                                 false,
		"application/epub+zip":                                                    false,
		"application/zip":                                                         false,
		"text/plain":                                                              true,
		"":                                                                        true,
	} {
		m, err := Read(Input{Body: []byte(zip), ContentType: kind}, testLimits)
		if (err != nil) != refused || err == nil && (m.Format != Media || m.Media[0].Type != "application/zip") {
			t.Errorf("%q: %v", kind, err)
		}
	}
	gzip := gzipped(t, "text")
	if _, err := Read(Input{Body: []byte(gzip), ContentType: "application/epub+zip"}, testLimits); err == nil {
		t.Error("a compressed body is taken for a document")
	}
}
