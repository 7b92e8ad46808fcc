// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// moreHostiles are bodies that would cost much where one part of the reader
// works on what another one made: schemas, joined parts, token ids, readings of
// answers with equal names, files and encoded texts.
func moreHostiles() []hostile {
	many := func(name, kind string, answer bool, head, sep, tail string, item func(i int) string) hostile {
		return hostile{name: name, kind: kind, answer: answer, body: func(n int) []byte { return fill(n, head, item, sep, tail) }}
	}
	of := func(name, kind string, answer bool, body func(n int) string) hostile {
		return hostile{name: name, kind: kind, answer: answer, body: func(n int) []byte { return []byte(body(n)) }}
	}
	f := fmt.Sprintf
	const half1, half2 = "dGhlIGdyZXkgaGVy", "b24gaGlkZXMgaGVy" // of base64
	list := []hostile{
		// Schemas.
		many("schemas in schemas", jsonKind, false, `{"messages":[],"tools":[{"parameters":`, ",", "}]}", func(i int) string {
			if i > 0 {
				return f(`"n%d":%s1%s`, i, strings.Repeat(`{"items":`, 60), strings.Repeat("}", 60))
			}
			return "{}"
		}),
		many("required names", jsonKind, false, `{"messages":[],"tools":[`, ",", "]}", func(i int) string {
			return f(`{"parameters":{"properties":{"n%d":{}},"required":["n%d"],"dependentRequired":{"n%d":["n%d"]}}}`, i, i, i, i)
		}),
		many("required names of one schema", jsonKind, false, `{"messages":[],"tools":[{"parameters":{"properties":{"a":{}},"anyOf":[`, ",", "]}}]}", same(`{"required":["a"],"$ref":"#/properties/a"}`)),
		of("a long reference", jsonKind, false, func(n int) string {
			return `{"messages":[],"tools":[{"parameters":{"$ref":"#` + rep("/items", n) + `"}}]}`
		}),
		many("long references", jsonKind, false, `{"messages":[],"tools":[{"parameters":{"anyOf":[`, ",", "]}}]}", same(`{"$ref":"#`+strings.Repeat("/items", 200)+`"}`)),
		many("types of a schema", jsonKind, false, `{"messages":[],"tools":[{"parameters":{"type":[`, ",", "]}}]}", same(`"string"`)),
		many("icons", jsonKind, false, `{"messages":[],"tools":[{"icons":[`, ",", "]}]}", same(`[[[{"sizes":["1x1"]}]]]`)),
		many("empty schemas", jsonKind, false, `{"messages":[],"tools":[{"parameters":{"anyOf":[`, ",", "]}}]}", same(`{}`)),
		many("tools that are parameters", jsonKind, false, `{"messages":[],"tools":[`, ",", "]}", same(`{"parameters":{"json":{}}}`)),
		many("headers of a tool", jsonKind, false, `{"messages":[],"tools":[{"type":"mcp","headers":{`, ",", "}}]}", func(i int) string { return f(`"n%d":"Bearer aB3dE5"`, i) }),
		// Words noted.
		many("ids that are words", jsonKind, false, `{"messages":[],"metadata":{"x":[`, ",", "]}}", func(i int) string { return f(`{"grey_%d":null}`, i) }),
		many("names of nothing", jsonKind, false, `{"messages":[],`, ",", "}", func(i int) string { return f(`"grey%d":null`, i) }),
		many("names of counters", sseKind, true, "", "", "", func(i int) string { return f("data: {\"usage\":{\"grey_tokens%d\":1}}\n\n", i) }),
		// Parts that are joined.
		many("results in halves", jsonKind, false, `{"messages":[{"role":"user","content":[`, ",", "]}]}", func(i int) string {
			return f(`{"type":"tool_result","tool_use_id":"%d","content":["`+half1+`","`+half2+`"]}`, i)
		}),
		of("results in halves far apart", jsonKind, false, func(n int) string {
			return string(fill(n, `{"messages":[{"role":"user","content":[`, func(i int) string {
				return f(`{"type":"tool_result","tool_use_id":"%d","content":"`+half1+`"}`, i%(n/140))
			}, ",", "]}]}"))
		}),
		many("streamed blocks in halves", sseKind, true, "", "", "", func(i int) string {
			return f("data: {\"choices\":[{\"index\":%d,\"delta\":{\"content\":[{\"index\":%d,\"text\":\""+half1+"\"}]}}]}\n\n", i/2, i%2)
		}),
		many("parts in many messages", jsonKind, false, `{"messages":[`, ",", "]}", same(`{"content":["a","b"]}`)),
		many("parts of JSON", jsonKind, false, `{"messages":[{"role":"tool","content":[`, ",", "]}]}", same(`"[1,","2]"`)),
		// Numbers.
		many("names of token ids", jsonKind, true, "[", ",", "]", same(`{"`+strings.Repeat("id", 23)+`x":[]}`)),
		many("names of words of token ids", jsonKind, true, "[", ",", "]", same(`{"`+strings.Repeat("tokids", 7)+`":[]}`)),
		many("long names of token ids in a request", jsonKind, false, "[", ",", "]", same(`{"`+strings.Repeat("tokidinput", 4)+`":[]}`)),
		many("token ids and texts", jsonKind, true, "[", ",", "]", same(`{"tokens":[1],"text":"a"}`)),
		many("token ids of chunks", sseKind, true, "", "", "", func(i int) string {
			return f("data: {\"choices\":[{\"index\":%d,\"token_ids\":[1],\"text\":\"a\"}]}\n\n", i%1000)
		}),
		many("token ids below arrays", jsonKind, true, "{\"text\":\"a\",\"x\":[", ",", "]}", same(strings.Repeat("[", 250)+`{"tokens":[1]}`+strings.Repeat("]", 250))),
		many("vectors", jsonKind, true, `{"x":[`, ",", "]}", same(`[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]`)),
		many("nearly vectors", jsonKind, true, `{"x":[`, ",", "]}", same(`[0.1,0.2,0.3,0.4,0.5,0.6,0.7,"a"]`)),
		many("deep arrays", jsonKind, true, `{"x":`+strings.Repeat("[", 250), ",", strings.Repeat("]", 250)+"}", same("1")),
		many("deep token ids", jsonKind, true, `{"text":"a","tokens":`+strings.Repeat("[", 250), ",", strings.Repeat("]", 250)+"}", same("1")),
		many("sparse vectors", jsonKind, true, `{"x":[`, ",", "]}", same(`{"indices":[1],"values":[0.5]}`)),
		many("sparse in sparse", jsonKind, true, `{"x":`, ",", "}", func(i int) string {
			if i > 0 {
				return f(`"n%d":1`, i)
			}
			return strings.Repeat(`{"indices":[1],"values":[`, 100) + "0.5" + strings.Repeat("]}", 100)
		}),
		// Equal names.
		many("tensors without a type", jsonKind, true, `{"x":{`, ",", "}}", same(`"data":[]`)),
		many("stored files of one part", jsonKind, true, `{"choices":[{"message":{"content":[{`, ",", "}]}}]}", same(`"file_id":"a"`)),
		many("equal names of an answer", jsonKind, true, `{"x":{`, ",", "}}", same(`"a":1`)),
		many("equal containers", jsonKind, true, `{"x":{`, ",", "}}", same(`"a":[1]`)),
		many("equal objects", jsonKind, true, `{"x":{`, ",", "}}", same(`"a":{"b":1}`)),
		many("equal names in small objects", jsonKind, true, `[`, ",", "]", same(`{"a":"b","a":"c"}`)),
		many("equal names in middling objects", jsonKind, true, `[`, ",", "]", same(`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"q":1}`)),
		many("equal names of chunks", sseKind, true, "", "", "", same("data: {\"choices\":[{\"delta\":{\"content\":\"a\",\"content\":\"b\"}}]}\n\n")),
		many("equal names deep in arrays", jsonKind, true, `{"a":0,"a":`+strings.Repeat("[", 200), ",", strings.Repeat("]", 200)+"}", same(`1`)),
		of("equal names deep", jsonKind, true, func(n int) string {
			const k = 120
			return strings.Repeat(`{"a":{},"a":`, k) + "[" + rep("1,", n) + "1]" + strings.Repeat("}", k)
		}),
		many("equal containers of different size", jsonKind, true, `{"a":[`+strings.Repeat("1,", 10)+`1]`, "", "}", same(`,"a":[[1]]`)),
		many("a surrogate in each string", jsonKind, true, "[", ",", "]", same(`"\ud800"`)),
		many("surrogates in chunks", sseKind, true, "", "", "", same("data: {\"choices\":[{\"delta\":{\"content\":\"\\ud83d\"}}]}\n\n")),
		// Streams that end in an error.
		many("a stream broken off", jsonKind, true, "", ",", `,{"error":1}`, same(`{}`)),
		many("texts broken off", jsonKind, true, "[", ",", `,{"error":1}`, same(`{"text":"a"}`)),
		of("an open object broken off", jsonKind, true, func(n int) string { return `{"error":1}` + rep("{", n) }),
		of("bare values in events", sseKind, true, func(n int) string { return "data: 1\n\n" + rep("{\n}\n\n", n) }),
		of("bare values in one event", sseKind, true, func(n int) string { return "data: 1\n\n" + rep("[1,\n", n) + "\n\n" }),
		of("bare values and names", sseKind, true, func(n int) string { return "data: 1\n\n" + rep("{\n}\nevent: a\n", n) + "\n\n" }),
		// Texts in charsets, and in each other.
		of("a Western text", "application/octet-stream", false, func(n int) string { return rep("the grey her\xf6n \xb0\xa4\xe7 hides in the green reeds ", n) }),
		many("Western texts as files", "multipart/form-data; boundary=b", false, "", "", "--b--\r\n", func(i int) string {
			return "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\nContent-Type: application/octet-stream\r\n\r\n" +
				strings.Repeat("the grey her\xf6n \xb0\xa4\xe7 hides in the reeds ", 250) + "\r\n"
		}),
		many("Western data URLs", jsonKind, false, `{"messages":[{"content":"`, " ", `"}]}`, func(i int) string {
			return "data:;base64," + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("the grey her\xf6n \xb0\xa4\xe7 hides in the reeds ", 250)))
		}),
		of("Western texts in Western texts", jsonKind, false, func(n int) string {
			return `{"messages":[{"content":"` + westernInWestern(n/3) + `"}]}`
		}),
		many("small Western texts in Western texts", jsonKind, false, `{"messages":[{"content":"`, " ", `"}]}`, func(int) string { return westernInWestern(400) }),
		{name: "Western texts in Western texts of an answer", kind: jsonKind, answer: true, body: func(n int) []byte {
			return []byte(`{"choices":[{"message":{"content":"` + westernInWestern(n/3) + `"}}]}`)
		}},
		// Files of lines.
		of("a file of one long line", "multipart/form-data; boundary=b", false, func(n int) string {
			return "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n{}\n{}\n[" + rep("1,", n) + "1]\n\r\n--b--"
		}),
		of("a file of events", "multipart/form-data; boundary=b", false, func(n int) string {
			return "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n" + rep("data: {}\n\n", n) + "\r\n--b--"
		}),
		of("a file of broken lines", "multipart/form-data; boundary=b", false, func(n int) string {
			return "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n{}\n{}\n" + rep("{\\u0041\n", n) + "\r\n--b--"
		}),
		{name: "a batch", kind: "multipart/form-data; boundary=b", path: "/v1/files", body: func(n int) []byte {
			return []byte("--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b\"\r\n\r\n" +
				rep(`{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"messages":[]}}`+"\n", n) + "\r\n--b--")
		}},
		{name: "a batch of examples", kind: "multipart/form-data; boundary=b", path: "/v1/files", body: func(n int) []byte {
			return []byte("--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b\"\r\n\r\n" +
				rep(`{"messages":[]}`+"\n", n) + "\r\n--b--")
		}},
	}
	// Answers that are read four times.
	for _, h := range firstHostiles() {
		if !h.answer || h.coding != "" {
			continue
		}
		body, doubled := h.body, h
		var extra string
		switch h.kind {
		case sseKind:
			extra = "data: {\"a\":1,\"a\":1}\n\n"
		case "application/x-ndjson":
			extra = "{\"a\":1,\"a\":1}\n"
		case jsonKind:
			doubled.name, doubled.readings = h.name+", and equal names", 1+len(strictjson.Readings)
			doubled.body = func(n int) []byte {
				b := body(n)
				return append([]byte(`{"a":1,"a":1,`), strings.TrimPrefix(string(b), "{")...)
			}
			if body(100)[0] == '[' {
				doubled.body = func(n int) []byte {
					b := body(n)
					return append([]byte(`[{"a":1,"a":1},`), b[1:]...)
				}
			}
			list = append(list, doubled)
			continue
		default:
			continue
		}
		doubled.name, doubled.readings = h.name+", and equal names", 1+len(strictjson.Readings)
		doubled.body = func(n int) []byte { return append([]byte(extra), body(n)...) }
		list = append(list, doubled)
	}
	return list
}

// westernInWestern returns a data URL of a text in no charset that is named,
// which has another in it, and so on.
func westernInWestern(n int) string {
	escape := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			if c := s[i]; c >= 0x80 || c == ' ' || c == '%' {
				fmt.Fprintf(&b, "%%%02X", c)
			} else {
				b.WriteByte(c)
			}
		}
		return "data:," + b.String()
	}
	s := "th\xb0n " + strings.Repeat("the grey heron hides ", n/21)
	for range 3 {
		s = "her\xf6n th\xb0n th\xa4n th\xe7n th\xd0n th\xddn th\xfen hides green reeds " + escape(s)
	}
	return escape(s)
}
