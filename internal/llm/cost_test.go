// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"kong-ai-guard/internal/eventstream"
)

// A hostile is a kind of body that is made to cost more than its bytes are
// worth: of about n bytes.
type hostile struct {
	name, kind string
	answer     bool
	body       func(n int) []byte
}

// fill gives head, as many of the items as fit in n bytes, and tail.
func fill(n int, head string, item func(i int) string, sep, tail string) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	for i := 0; b.Len() < n-len(tail); i++ {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(item(i))
	}
	b.WriteString(tail)
	return b.Bytes()
}

func same(s string) func(int) string { return func(int) string { return s } }

func rep(s string, n int) string { return strings.Repeat(s, max(n, 0)/len(s)) }

const (
	jsonKind = "application/json"
	sseKind  = "text/event-stream"
)

// An answer's or request's event, line or document.
func hostiles() []hostile {
	many := func(name, kind string, answer bool, head, sep, tail string, item func(i int) string) hostile {
		return hostile{name, kind, answer, func(n int) []byte { return fill(n, head, item, sep, tail) }}
	}
	of := func(name, kind string, answer bool, body func(n int) string) hostile {
		return hostile{name, kind, answer, func(n int) []byte { return []byte(body(n)) }}
	}
	f := fmt.Sprintf
	list := []hostile{
		// The issue's own.
		of("long name over tiny values", sseKind, true, func(n int) string {
			return `data: {"` + rep("a", n/2) + `":[` + rep(`"x",`, n/2) + `"x"]}` + "\n\n"
		}),
		of("long name over objects", sseKind, true, func(n int) string {
			return `data: {"` + rep("a", n/2) + `":[` + rep(`{"b":1},`, n/2) + `1]}` + "\n\n"
		}),
		of("long type over tiny values", sseKind, true, func(n int) string {
			return `data: {"type":"` + rep("a", n/2) + `","x":[` + rep(`"x",`, n/2) + `"x"]}` + "\n\n"
		}),
		of("the same in a request", jsonKind, false, func(n int) string {
			return `data: {"` + rep("a", n/2) + `":[` + rep(`"x",`, n/2) + `"x"]}` + "\n\n"
		}),
		of("the same in a request labelled a stream", sseKind, false, func(n int) string {
			return `data: {"` + rep("a", n/2) + `":[` + rep(`"x",`, n/2) + `"x"]}` + "\n\n"
		}),
		of("log probabilities beside long texts", jsonKind, true, func(n int) string {
			return `{"choices":[{"message":{"content":[` + rep(`{"text":"`+rep("a", n/32)+`"},`, n/2) + rep(`{"logprobs":"aaaab"},`, n/2) + `{"text":"a"}]}}]}`
		}),
		of("log probabilities in a request", jsonKind, false, func(n int) string {
			return `{"messages":[{"role":"user","content":[` + rep(`{"text":"`+rep("a", n/32)+`"},`, n/2) + rep(`{"logprobs":"aaaab"},`, n/2) + `{"text":"a"}]}]}`
		}),
		of("long log probabilities", jsonKind, false, func(n int) string {
			return `{"messages":[{"role":"user","content":[` + rep(`{"text":"`+rep("a", n/32)+`"},`, n/2) + rep(`{"logprobs":"`+rep("a", 1000)+`b"},`, n/2) + `{"text":"a"}]}]}`
		}),
		many("labels with one beginning", sseKind, true, `data: {"x":1`, "", "}\n\n", func(i int) string { return f(`,"%s%d":1`, strings.Repeat("a", 256), i) }),
		many("labels longer than are repeated", sseKind, true, `data: {"x":1`, "", "}\n\n", func(i int) string { return f(`,"%s%d":null`, strings.Repeat("a", 300), i) }),
		many("a call's name in pieces", sseKind, true, "", "", "", same(`data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"type":"function","function":{"name":"ab"}}]}}]}`+"\n\n")),
		many("calls' names in pieces, short", sseKind, true, "", "", "", same(`data: {"tool_calls":[{"name":"ab"}]}`+"\n")),
		of("a long call's name in many threads", sseKind, true, func(n int) string {
			return `data: {"choices":[{"delta":{"tool_calls":[{"name":"` + rep("a", n/2) + `"}]}}]}` + "\n\n" +
				string(fill(n/2, "", func(i int) string {
					return f("data: {\"type\":\"t%d\",\"tool_calls\":[{\"arguments\":\"1\"}]}\n\n", i)
				}, "", ""))
		}),
		// Their siblings in streams.
		many("choices", sseKind, true, `data: {"choices":[`, ",", "]}\n\n", func(i int) string { return f(`{"index":%d,"text":"a"}`, i) }),
		many("choices, an event each", sseKind, true, "", "", "", func(i int) string { return f("data: {\"choices\":[{\"index\":%d,\"text\":\"a\"}]}\n\n", i) }),
		many("types", sseKind, true, "", "", "", func(i int) string { return f("data: {\"type\":\"%d\",\"x\":\"a\"}\n\n", i) }),
		many("types without text", sseKind, true, "", "", "", func(i int) string { return f("data: {\"type\":\"zz%dzz\"}\n\n", i) }),
		many("unknown names", sseKind, true, "", "", "", func(i int) string { return f("data: {\"n%d\":\"a\"}\n\n", i) }),
		many("unknown names without values", sseKind, true, `data: {"x":1`, "", "}\n\n", func(i int) string { return f(`,"n %d":{}`, i) }),
		of("deep names", sseKind, true, func(n int) string {
			return string(fill(n, "", func(i int) string {
				return f("data: {\"%d\":%s1%s}\n\n", i, strings.Repeat(`{"b c":`, 200), strings.Repeat("}", 200))
			}, "", ""))
		}),
		of("long label over many", sseKind, true, func(n int) string {
			return string(fill(n, `data: {"`+strings.Repeat("a", 240)+`":{"x":1`, func(i int) string { return f(`,"%d":1`, i) }, "", "}}\n\n"))
		}),
		many("one text in tiny pieces", sseKind, true, "", "", "", same(`data: {"delta":"a"}`+"\n\n")),
		many("two names in turn", sseKind, true, "", "", "", same("data: {\"choices\":[{\"delta\":{\"reasoning\":\"a\",\"reasoning_content\":\"b\"}}]}\n\n")),
		many("six names in turn", sseKind, true, "", "", "", same("data: {\"choices\":[{\"text\":\"a\",\"delta\":{\"content\":\"b\",\"text\":\"c\",\"parts\":\"d\",\"message\":\"e\"},\"message\":\"f\"}]}\n\n")),
		many("many names of one text", sseKind, true, "", "", "", func(i int) string {
			k := i % 60
			return "data: {\"choices\":[{\"delta\":" + strings.Repeat(`{"content":`, k) + `"a"` + strings.Repeat("}", k) + "}]}\n\n"
		}),
		of("nine copies of a text in pieces", sseKind, true, func(n int) string {
			return string(fill(n, "", func(i int) string { return f("data: {\"choices\":[{\"index\":%d,\"text\":\"a\"}]}\n\n", i%9) }, "", ""))
		}),
		many("many copies of a text", sseKind, true, "", "", "", func(i int) string {
			return f("data: {\"choices\":[{\"index\":%d,\"text\":\"%s\"}]}\n\n", i, strings.Repeat("a", 1000))
		}),
		many("calls with arguments", sseKind, true, "", "", "", func(i int) string {
			return f("data: {\"tool_calls\":[{\"index\":%d,\"name\":\"a\",\"arguments\":\"[\"}]}\n", i)
		}),
		many("calls that come whole", sseKind, true, "", "", "", same("data: {\"tool_calls\":[{\"name\":\"a\",\"arguments\":{\"b\":1}}]}\n\n")),
		many("plain data", sseKind, true, "", "", "", same("data: a\n\n")),
		many("data that begins like JSON", sseKind, true, "data: {}\n\n", "", "", same("data: \"a\n\n")),
		many("data lines of one event", sseKind, true, "", "", "", same("data: a\n")),
		many("JSON data lines of one event", sseKind, true, "", "", "", same("data: []\n")),
		many("lines that are nearly data", sseKind, true, "data: 1\n", "", "", same("Data: {}\n\n")),
		many("unknown lines", sseKind, true, "data: 1\n", "", "", same("[1]\n\n")),
		many("other lines", sseKind, true, "data: 1\n", "", "", same("zz zz\n\n")),
		many("comments", sseKind, true, "data: 1\n", "", "", same(": zz zz \\u0041\n\n")),
		many("event names", sseKind, true, "data: 1\n", "", "", same("event: zz zz\n\n")),
		many("CR", sseKind, true, "data: 1\n\n", "", "", same("\r")),
		many("nearly hidden data", sseKind, true, "data: 1\n", "", "", same("data:")),
		many("a provider in each chunk", sseKind, true, "", "", "", func(i int) string { return f("data: {\"choices\":[],\"provider\":\"a b %d\"}\n\n", i) }),
		many("log probabilities of chunks", sseKind, true, "", "", "", same(`data: {"choices":[{"index":0,"delta":{"content":"a"},"logprobs":{"content":[{"token":"b","bytes":[1],"top_logprobs":[{"token":"c"}]}]}}]}`+"\n\n")),
		many("lines of JSON", "application/x-ndjson", true, "", "", "", same("{\"message\":{\"content\":\"a\"}}\n")),
		many("lines of JSON-RPC", "application/x-ndjson", true, "", "", "", same(`{"jsonrpc":"2.0","result":{"content":[{"type":"text","text":"a"}]}}`+"\n")),
		many("JSON-RPC in a stream", sseKind, true, "", "", "", same(`data: {"jsonrpc":"2.0","result":{"a":"b"}}`+"\n\n")),
		many("empty lines of JSON", "application/x-ndjson", true, "{}\n{}\n", "", "", same("{}\n")),
		many("Gemini's array", jsonKind, true, "[", ",", "]", same(`{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}`)),
		{"frames", "application/vnd.amazon.eventstream", true, func(n int) []byte {
			var b []byte
			for len(b) < n {
				b = eventstream.AppendFrame(b, nil, []byte("{}"))
			}
			return b
		}},
		{"frames with chunks", "application/vnd.amazon.eventstream", true, func(n int) []byte {
			var b []byte
			for len(b) < n {
				b = eventstream.AppendFrame(b, nil, []byte(`{"bytes":"eyJhIjoiYiJ9"}`))
			}
			return b
		}},
		// Documents.
		many("values", jsonKind, false, "[", ",", "]", same("0")),
		many("empty objects", jsonKind, false, "[", ",", "]", same("{}")),
		many("empty strings", jsonKind, false, `{"messages":[`, ",", "]}", same(`""`)),
		many("names", jsonKind, false, "{", ",", "}", func(i int) string { return f(`"n%d":1`, i) }),
		many("names of a chat", jsonKind, false, `{"messages":[],`, ",", "}", func(i int) string { return f(`"n%d":1`, i) }),
		many("names with escapes", jsonKind, false, `{"messages":[],`, ",", "}", func(i int) string { return f(`"\u006e%d":1`, i) }),
		many("nearly known names", jsonKind, false, `{"messages":[],`, ",", "}", func(i int) string { return f(`"messages\u017f%d":1`, i) }),
		many("turns", jsonKind, false, `{"messages":[`, ",", "]}", same(`{"content":"a"}`)),
		many("parts", jsonKind, false, `{"messages":[{"content":[`, ",", "]}]}", same(`"a"`)),
		many("typed parts", jsonKind, false, `{"messages":[{"content":[`, ",", "]}]}", same(`{"type":"text","text":"a"}`)),
		many("few typed parts", jsonKind, false, `{"messages":[{"content":[`, ",", "]}]}", same(`{"type":"text","text":"`+strings.Repeat("abcdefgh ", 40)+`"}`)),
		many("images", jsonKind, false, `{"messages":[{"content":[`, ",", "]}]}", same(`{"image_url":"a"}`)),
		many("media", jsonKind, false, `{"messages":[{"content":[`, ",", "]}]}", same(`{"data":"AAAA"}`)),
		many("members of a part", jsonKind, false, `{"messages":[{"content":[{"type":"image","image_url":"a","file_url":"b","audio_url":"c","video_url":"d"`, "", "}]}]}", func(i int) string { return f(`,"n%d":1`, i) }),
		many("JSON in strings", jsonKind, false, `{"x":[`, ",", "]}", same(`"[]"`)),
		many("broken JSON in strings", jsonKind, false, `{"x":[`, ",", "]}", same(`"["`)),
		of("JSON in JSON in JSON", jsonKind, false, func(n int) string {
			s := `{"a":[` + rep("1,", n/40) + `1]}`
			for range 5 {
				s = strconv.Quote(s)
				s = `{"a":` + s + `}`
			}
			return s
		}),
		many("arguments", jsonKind, false, `{"messages":[{"role":"assistant","tool_calls":[`, ",", "]}]}", same(`{"function":{"name":"a","arguments":"{}"}}`)),
		of("escapes", jsonKind, false, func(n int) string { return `{"x":"{` + rep(`\\u0041`, n) + `"}` }),
		of("escapes of text", "text/plain", false, func(n int) string { return rep(`\ud83d\ude00`, n) }),
		of("backslashes", jsonKind, false, func(n int) string { return `{"x":"{` + rep(`\\\\`, n) + `"}` }),
		of("data URLs", jsonKind, false, func(n int) string { return `{"messages":[{"content":"` + rep("data:,a ", n) + `"}]}` }),
		of("data URLs without an end", jsonKind, false, func(n int) string { return `{"messages":[{"content":"` + rep("data:,", n) + `"}]}` }),
		of("data URLs without a comma", jsonKind, false, func(n int) string { return `{"messages":[{"content":"` + rep("data:", n) + `"}]}` }),
		of("colons", jsonKind, false, func(n int) string { return `{"messages":[{"content":"` + rep(":", n) + `"}]}` }),
		of("base64 in base64", jsonKind, false, func(n int) string {
			s := rep("the grey heron ", n/3)
			for range 4 {
				s = base64.StdEncoding.EncodeToString([]byte(s))
			}
			return `{"messages":[{"content":"` + s + `"}]}`
		}),
		many("base64 in many strings", jsonKind, false, `{"x":[`, ",", "]}", same(`"dGhlIGdyZXkgaGVyb24="`)),
		of("base64 of nothing", jsonKind, false, func(n int) string { return `{"messages":[{"content":"` + rep("=", n) + `"}]}` }),
		many("tools", jsonKind, false, `{"messages":[],"tools":[`, ",", "]}", same(`{"name":"a"}`)),
		many("properties", jsonKind, false, `{"messages":[],"tools":[{"parameters":{"properties":{`, ",", "}}}]}", func(i int) string { return f(`"n%d":{"type":"a"}`, i) }),
		many("properties in properties", jsonKind, false, `{"messages":[],"tools":[{"parameters":`, ",", "}]}", func(i int) string {
			if i > 0 {
				return f(`"n%d":{"properties":{"a":{"required":["a"]}}}`, i)
			}
			return strings.Repeat(`{"properties":{"a":`, 40) + "1" + strings.Repeat("}}", 40)
		}),
		many("mentions", jsonKind, false, `{"messages":[],"tools":[{"name":"b"}],"tool_choice":{"tools":[`, ",", "]}}", func(i int) string { return f(`{"name":"n%d"}`, i) }),
		many("mentions and lines", jsonKind, false, `{"messages":[`, ",", "]}", func(i int) string {
			return f(`{"name":"n%d"},{"tool_calls":[{"name":"a","arguments":"b\nc\nd\ne"}]}`, i)
		}),
		many("a batch of JSON-RPC", jsonKind, false, "[", ",", "]", same(`{"jsonrpc":"2.0","method":""}`)),
		many("calls of JSON-RPC", jsonKind, false, "[", ",", "]", same(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)),
		many("a file of requests", "application/jsonl", false, "", "", "", same(`{"messages":[{"content":"a"}]}`+"\n")),
		many("indexes that are hard to read", sseKind, true, "", "", "", same("data: {\"choices\":[{\"index\":1.00000000000000011102230246251565404236316680908203125e-300,\"text\":\"a\"}]}\n\n")),
		many("indexes of documents", jsonKind, false, `{"messages":[`, ",", "]}", same(`{"index":1.00000000000000011102230246251565404236316680908203125e-300}`)),
		// Bodies that are refused.
		of("open brackets", jsonKind, false, func(n int) string { return rep("[", n) }),
		of("open strings", jsonKind, false, func(n int) string { return "[" + rep(`"a",`, n) }),
		of("two documents", jsonKind, false, func(n int) string { return rep("{}", n) }),
		many("equal names", jsonKind, false, "{", ",", "}", func(i int) string { return f(`"n%d":1`, max(i-100, 0)) }),
		of("not UTF-8", jsonKind, false, func(n int) string { return `["` + rep("a", n/2) + "\xff" + rep("a", n/2) + `"]` }),
		// Forms, files and text.
		of("fields of a form", "application/x-www-form-urlencoded", false, func(n int) string { return rep("a=b&", 900*4) + "c=" + rep("%41", n-3600) }),
		of("too many fields", "application/x-www-form-urlencoded", false, func(n int) string { return rep("a=b&", n) }),
		of("JSON as a form", "application/x-www-form-urlencoded", false, func(n int) string { return `{"a":"` + rep("%41+", n) + `"}` }),
		of("almost boundaries", "multipart/form-data; boundary=--------------b", false, func(n int) string {
			return "----------------b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n" + rep("-", n) + "\r\n----------------b--"
		}),
		of("a file of lines", "multipart/form-data; boundary=b", false, func(n int) string {
			return "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n{}\n{}\n" + rep("{\"a\":1}\n", n) + "\r\n--b--"
		}),
		of("a text of line ends", "text/plain", false, func(n int) string { return "a" + rep("\n", n) }),
		of("UTF-16", "application/octet-stream", false, func(n int) string { return "\xff\xfe" + rep("a\x00", n) }),
		of("blanks", jsonKind, false, func(n int) string { return rep(" ", n) + "1" }),
		many("transcript", jsonKind, true, `{"text":"`+strings.Repeat("a b c d ", 2000)+`","words":[`, ",", "]}", same(`{"word":"a","start":1}`)),
		many("answers' media", jsonKind, true, `{"data":[`, ",", "]}", same(`{"url":"a"}`)),
	}
	return list
}

// cost reads a body and gives the work and the memory that it took.
func cost(t testing.TB, h *hostile, body []byte) (work int, taken int64, err error) {
	in := Input{ContentType: h.kind, Body: body}
	if h.answer {
		in.Leg = ResponseLeg
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, work, err = read(context.Background(), in, testLimits)
	runtime.ReadMemStats(&after)
	return work, int64(after.TotalAlloc - before.TotalAlloc), err
}

func TestCostTable(t *testing.T) {
	if os.Getenv("COST") == "" {
		t.Skip()
	}
	for _, h := range hostiles() {
		for _, n := range []int{100 << 10, 1 << 20} {
			body := h.body(n)
			start := time.Now()
			work, taken, err := cost(t, &h, body)
			d := time.Since(start)
			e := ""
			if err != nil {
				e = err.Error()
			}
			fmt.Printf("%-45s %8d work/B %6.1f alloc/B %7.1f  %8.2f ms/MB %s\n", h.name, len(body), float64(work)/float64(len(body)), float64(taken)/float64(len(body)), float64(d.Microseconds())/1000/(float64(len(body))/(1<<20)), e)
		}
	}
}

var (
	_ = filepath.Join
	_ = errors.Is
	_ gzip.Header
)
