// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/awsframe"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A hostile is a kind of body that is made to cost more than its bytes are
// worth: of about n bytes.
type hostile struct {
	name, kind string
	answer     bool
	body       func(n int) []byte
	coding     string
	readings   int // how often it is read, more than once if names are equal
	path       string
}

// fill returns head, as many of the items as fit in n bytes, and tail.
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

func hostiles() []hostile { return append(firstHostiles(), moreHostiles()...) }

func firstHostiles() []hostile {
	many := func(name, kind string, answer bool, head, sep, tail string, item func(i int) string) hostile {
		return hostile{name: name, kind: kind, answer: answer, body: func(n int) []byte { return fill(n, head, item, sep, tail) }}
	}
	of := func(name, kind string, answer bool, body func(n int) string) hostile {
		return hostile{name: name, kind: kind, answer: answer, body: func(n int) []byte { return []byte(body(n)) }}
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
		{name: "frames", kind: "application/vnd.amazon.eventstream", answer: true, body: func(n int) []byte {
			var b []byte
			for len(b) < n {
				b = awsframe.Append(b, nil, []byte("{}"))
			}
			return b
		}},
		{name: "frames with chunks", kind: "application/vnd.amazon.eventstream", answer: true, body: func(n int) []byte {
			var b []byte
			for len(b) < n {
				b = awsframe.Append(b, nil, []byte(`{"bytes":"eyJhIjoiYiJ9"}`))
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
		{name: "members of gzip", kind: "text/plain", coding: "gzip", body: func(n int) []byte {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write([]byte("a"))
			_ = w.Close()
			return bytes.Repeat(b.Bytes(), n/b.Len())
		}},
	}
	return list
}

// cost reads a body and returns the work and the memory that it took.
func cost(h *hostile, body []byte) (work int, taken int64, err error) {
	in := Input{ContentType: h.kind, ContentEncoding: h.coding, Path: h.path, Body: body}
	if h.answer {
		in.Leg = ResponseLeg
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, work, err = read(context.Background(), in, testLimits)
	runtime.ReadMemStats(&after)
	return work, int64(after.TotalAlloc - before.TotalAlloc), err
}

// What one byte of a body may cost, at most: bytes and values looked at, and
// bytes taken, with all that was given back meanwhile.
const (
	mostWork  = 64
	mostTaken = 320
)

// TestCost reads each kind of hostile body in two sizes. Ten times the bytes
// cost about ten times the work and the memory, and no byte costs much. It
// counts, so that no machine is too slow for it.
func TestCost(t *testing.T) {
	const small, large, most = 50 << 10, 500 << 10, 12
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) {
			body, larger := h.body(small), h.body(large)
			_, _, _ = cost(&h, body) // what is made once is made now
			runtime.GC()
			runtime.GC() // what is kept for others is gone, so that both sizes find none
			work, taken, _ := cost(&h, body)
			moreWork, moreTaken, err := cost(&h, larger)
			perByte := func(n int64, of []byte) float64 { return float64(n) / float64(len(of)) }
			t.Logf("work %.1f and %.1f, bytes %.1f and %.1f a byte; %v",
				perByte(int64(work), body), perByte(int64(moreWork), larger), perByte(taken, body), perByte(moreTaken, larger), err)
			if moreWork > most*work {
				t.Errorf("work grows from %d to %d", work, moreWork)
			}
			if moreTaken > most*(taken+256<<10)+16*int64(len(larger)) { // slices double at other sizes
				t.Errorf("memory grows from %d to %d", taken, moreTaken)
			}
			for _, of := range []struct {
				body  []byte
				work  int
				taken int64
			}{{body, work, taken}, {larger, moreWork, moreTaken}} {
				if n := len(of.body) * max(h.readings, 1); of.work > mostWork*n || of.taken > int64(mostTaken*n) {
					t.Errorf("%d bytes cost %d of work and %d bytes", n, of.work, of.taken)
				}
			}
		})
	}
}

// FuzzCost repeats a fragment, or nests it, in a body of every label, and holds
// what it costs against its size.
func FuzzCost(f *testing.F) {
	kinds := []string{jsonKind, sseKind, "application/x-ndjson", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/vnd.amazon.eventstream", "application/octet-stream", ""}
	for _, h := range hostiles() {
		if h.coding == "" {
			body := h.body(600)
			cut := min(len(body), 200)
			f.Add(body[:cut], body[cut:min(len(body), 2*cut)], body[max(cut, len(body)-40):], uint8(max(slices.Index(kinds, h.kind), 0)), h.answer, false)
		}
	}
	f.Add([]byte(`{"messages":[`), []byte(`{"content":[`), []byte(`]}]}`), uint8(0), false, true)
	f.Add([]byte(`data: `), []byte(`{"a":`), []byte("}\n\n"), uint8(1), true, true)
	f.Fuzz(func(t *testing.T, head, item, tail []byte, kind uint8, answer, nest bool) {
		if len(head)+len(item)+len(tail) > 1<<10 || len(item) == 0 {
			return
		}
		const size = 128 << 10
		n := size / len(item)
		var body []byte
		if nest {
			n = min(n, 250)
		}
		body = append(append(body, head...), bytes.Repeat(item, n)...)
		if nest {
			tail = bytes.Repeat(tail, n)
		}
		body = append(body, tail...)
		if len(body) < size {
			body = bytes.Repeat(body, size/len(body))
		}
		h := &hostile{kind: kinds[int(kind)%len(kinds)], answer: answer}
		paid := int64(len(body))
		if answer {
			paid *= int64(1 + len(strictjson.Readings)) // names may be equal
		}
		if work, taken, _ := cost(h, body); int64(work) > mostWork*paid || taken > mostTaken*paid {
			t.Errorf("%d bytes cost %d of work and %d bytes", len(body), work, taken)
		}
	})
}

// BenchmarkHostile reads the kinds of hostile bodies that were seen to cost the
// most, 1 MB each.
func BenchmarkHostile(b *testing.B) {
	worst := []string{
		"long name over tiny values", "log probabilities beside long texts", "labels with one beginning", "a call's name in pieces",
		"deep names", "unknown lines", "JSON-RPC in a stream", "empty lines of JSON", "names with escapes", "nearly known names", "a file of lines",
		"Western texts in Western texts", "small Western texts in Western texts", "unknown lines, and equal names", "equal names of chunks",
		"broken JSON in strings", "unknown names without values", "plain data",
	}
	for _, h := range hostiles() {
		if !slices.Contains(worst, h.name) {
			continue
		}
		b.Run(h.name, func(b *testing.B) {
			body := h.body(1 << 20)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = read(context.Background(), Input{Leg: map[bool]Leg{true: ResponseLeg}[h.answer], ContentType: h.kind, Body: body}, testLimits)
			}
		})
	}
}

// TestReadingEndsWithItsContext: a body that takes long is given up when the
// exchange ends, wherever the reading is.
func TestReadingEndsWithItsContext(t *testing.T) {
	ended := 0
	for _, h := range hostiles() {
		in := Input{ContentType: h.kind, ContentEncoding: h.coding, Path: h.path, Body: h.body(128 << 10)}
		if h.answer {
			in.Leg = ResponseLeg
		}
		ctx := &endsLater{Context: context.Background(), looks: math.MaxInt}
		_, whole, err := read(ctx, in, testLimits)
		looks := math.MaxInt - ctx.looks
		if err != nil || looks < 8 {
			continue // it was quick, or was refused
		}
		ended++
		_, work, err := read(&endsLater{Context: context.Background(), looks: looks / 2}, in, testLimits)
		if !errors.Is(err, context.Canceled) || h.kind == sseKind && work > whole-whole/8 {
			t.Errorf("%s: %d of %d done: %v", h.name, work, whole, err)
		}
	}
	if ended < 30 {
		t.Errorf("%d bodies were given up", ended)
	}
	lim := testLimits
	lim.Until = time.Now()
	if _, err := Read(Input{Body: []byte(chat)}, lim); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read after its end: %v", err)
	}
}

// endsLater is a context that has ended when it is looked at often enough.
type endsLater struct {
	context.Context
	looks int
}

func (c *endsLater) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestReadingAsksForItsMemory: what reading takes beyond what was set aside it
// asks for, and it ends when it gets no more.
func TestReadingAsksForItsMemory(t *testing.T) {
	for _, h := range hostiles() {
		in := Input{ContentType: h.kind, ContentEncoding: h.coding, Path: h.path, Body: h.body(128 << 10)}
		if h.answer {
			in.Leg = ResponseLeg
		}
		_, _, _ = read(context.Background(), in, testLimits) // what is kept for others is made now
		lim := testLimits
		lim.Grow = func(n int64) error { lim.Held += n; return nil }
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, _, err := read(context.Background(), in, lim)
		if err != nil {
			continue // its memory is given back
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > lim.Held+int64(len(in.Body)) {
			t.Errorf("%s: keeps %d bytes, asked for %d", h.name, kept, lim.Held)
		}
		runtime.KeepAlive(m)
		if lim.Held < 128<<10 {
			continue
		}
		refusal := errors.New("no more")
		lim.Held, lim.Grow = 32<<10, func(int64) error { return refusal }
		if _, _, err := read(context.Background(), in, lim); !errors.Is(err, refusal) {
			t.Errorf("%s: read without the memory: %v", h.name, err)
		}
	}
}
