// SPDX-License-Identifier: Apache-2.0

package pdk_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

// field encodes one field that holds bytes, which need not be UTF-8.
func field(num protowire.Number, data string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), data))
}

// header encodes one entry of the map of headers, as Kong does: a text for one
// value, a list for more.
func header(name string, values ...string) string {
	if len(values) == 1 {
		return field(1, field(1, name)+field(2, field(3, values[0])))
	}
	var list string
	for _, v := range values {
		list += field(1, field(3, v))
	}
	return field(1, field(1, name)+field(2, field(6, list)))
}

func reply(data string) *pdk.Call { return &pdk.Call{Reply: []byte(data)} }

func TestHeaders(t *testing.T) {
	encoded := header("content-type", "text/plain") + header("x-caf\xe9", "\xe9\xff") +
		header("cookie", "a=1", "b=2", "") + field(1, field(1, "x-empty")+field(2, ""))
	h, full, err := reply(encoded).Headers()
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"Content-Type": {"text/plain"}, "x-caf\xe9": {"\xe9\xff"}, "Cookie": {"a=1", "b=2", ""}, "X-Empty": {""},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
	if full {
		t.Error("Full is true with 6 headers")
	}
}

// TestBufferedHeaders: each value of each header, and nothing that is no table of
// headers.
func TestBufferedHeaders(t *testing.T) {
	table := func(s string) string { return field(5, s) }
	const number = "\x11\x00\x00\x00\x00\x00\x00\xf0\x3f"
	h, known, err := reply(table(header("Content-Type", "text/plain") + field(1, field(1, "Content-Length")+field(2, number)) + header("content-encoding", "br") + header("Content-Encoding", "gzip", ""))).BufferedHeaders()
	if err != nil || !known {
		t.Fatal(known, err)
	}
	if has(h, "content-length") {
		t.Error("a number is there as a text")
	}
	if got := slices.Collect(h.Values("CONTENT-encoding")); !slices.Equal(got, []string{"br", "gzip", ""}) || h.Get("content-type") != "text/plain" {
		t.Errorf("%q, %+v", got, h)
	}
	h, _, _ = reply(table(header("content_encoding", "br") + header("Content-Encoding", "gzip") + header("CONTENT_TYPE", "text/html"))).BufferedHeaders()
	if got := slices.Collect(h.Values("Content-Encoding")); !slices.Equal(got, []string{"br", "gzip"}) || h.Get("Content-Type") != "text/html" {
		t.Errorf("names with underscores: %q, %+v", got, h)
	}
	h, _, _ = reply(table(header("cookie", "a=1", "b=2", "") + header("x-empty", ""))).BufferedHeaders()
	if h.Get("x-none") != "" || has(h, "x-none") || !has(h, "X-EMPTY") {
		t.Error("an absent header and an empty one are not told apart")
	}
	// U+212A folds to k in Unicode, and is no k in HTTP.
	if has(h, "Coo\u212Aie") || !has(h, "COOKIE") {
		t.Error("a letter outside ASCII was taken for one in it")
	}
	for name, encoded := range map[string]string{
		"nothing":          "",
		"nil":              "\x08\x01",
		"a text":           field(3, "x"),
		"a list":           field(6, field(1, field(3, "x"))),
		"an empty table":   table(""),
		"a table, and nil": table(header("a", "b")) + "\x08\x01",
		"a boolean in it":  table(header("a", "b") + field(1, field(1, "n")+field(2, "\x20\x01"))),
		"two kinds in one": table(header("a", "b") + field(1, field(1, "n")+field(2, number+field(3, "x")))),
		"only a number":    table(field(1, field(1, "n")+field(2, number))),
		"a table in it":    table(field(1, field(1, "n")+field(2, table("")))),
		"cut off":          table(header("a", "b"))[:5],
	} {
		if h, known, err := reply(encoded).BufferedHeaders(); known || err != nil {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

// has reports whether a header is there, with whatever value.
func has(h pdk.Header, name string) bool {
	for range h.Values(name) {
		return true
	}
	return false
}

func TestHeadersFull(t *testing.T) {
	_, full, err := reply(strings.Repeat(header("a", "1"), 998) + header("b", "1", "2")).Headers()
	if err != nil || !full {
		t.Errorf("full is %v with 1000 headers, %v", full, err)
	}
}

func TestHeadersOfNoKnownKindAreRefused(t *testing.T) {
	value := func(v string) string { return field(1, field(1, "x")+field(2, v)) }
	for name, encoded := range map[string]string{
		"number":       value("\x11\x00\x00\x00\x00\x00\x00\xf0\x3f"),
		"bool":         value("\x20\x01"),
		"null":         value("\x08\x00"),
		"struct":       value(field(5, "")),
		"two kinds":    value(field(3, "a") + field(6, field(1, field(3, "b")))),
		"nested list":  value(field(6, field(1, field(6, field(1, field(3, "b")))))),
		"odd list":     value(field(6, field(2, "b"))),
		"cut value":    value("\x1a\x05ab"),
		"cut entry":    field(1, "\x0a\x05ab"),
		"cut reply":    header("a", "b")[:5],
		"group":        "\x0b\x0c",
		"field 0":      "\x02\x00",
		"endless tag":  strings.Repeat("\xff", 11),
		"huge length":  "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"65 bits":      "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"field number": "\x82\x80\x80\x80\x10\x00", // 2^29
	} {
		if h, _, err := reply(encoded).Headers(); !errors.Is(err, pdk.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
}

func TestRawBody(t *testing.T) {
	for name, c := range map[string]struct {
		reply string
		want  pdk.RawBody
		err   error
	}{
		"none":     {"", pdk.RawBody{}, nil},
		"empty":    {field(1, ""), pdk.RawBody{Content: []byte{}}, nil},
		"bytes":    {field(1, "\xe9{"), pdk.RawBody{Content: []byte("\xe9{")}, nil},
		"file":     {field(2, "/tmp/caf\xe9"), pdk.RawBody{Path: "/tmp/caf\xe9"}, nil},
		"error":    {field(3, "Can't read request body"), pdk.RawBody{}, pdk.ErrUnreadableBody},
		"last one": {field(3, "x") + field(1, "y"), pdk.RawBody{Content: []byte("y")}, nil},
		"cut":      {field(1, "abc")[:3], pdk.RawBody{}, pdk.ErrMalformed},
		"unknown":  {field(9, "abc"), pdk.RawBody{}, nil},
	} {
		got, err := reply(c.reply).RawBody()
		if !errors.Is(err, c.err) || cmp.Diff(c.want, got) != "" {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestValue(t *testing.T) {
	encode := func(v any) string {
		m, err := structpb.NewValue(v)
		if err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		reply string
		want  pdk.Value
	}{
		"nothing":    {"", pdk.Value{}},
		"Kong's nil": {"\x08\x01", pdk.Value{}},
		"null":       {encode(nil), pdk.Value{}},
		"true":       {encode(true), pdk.Value{Kind: pdk.ValueBool, Bool: true}},
		"false":      {encode(false), pdk.Value{Kind: pdk.ValueBool}},
		"guard":      {encode("guard"), pdk.Value{Kind: pdk.ValueText, Text: "guard"}},
		"empty text": {encode(""), pdk.Value{Kind: pdk.ValueText}},
		"bytes":      {field(3, "\xe9"), pdk.Value{Kind: pdk.ValueText, Text: "\xe9"}},
		"zero":       {encode(0), pdk.Value{Kind: pdk.ValueNumber}},
		"number":     {encode(1.5), pdk.Value{Kind: pdk.ValueNumber, Number: 1.5}},
		"table":      {encode(map[string]any{"a": 1}), pdk.Value{Kind: pdk.ValueTable}},
	} {
		got, err := reply(c.reply).Value()
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestBytesThatAreNotUTF8(t *testing.T) {
	consumer, err := reply(field(1, "id") + field(3, "caf\xe9") + field(4, "\xff")).Consumer()
	if want := (pdk.Consumer{ID: "id", CustomID: "\xff", Username: "caf\xe9"}); err != nil || consumer != want {
		t.Errorf("%+v, %v; want %+v", consumer, err, want)
	}
	text, err := reply(field(1, "GET /\xe9 HTTP/1.1")).Text()
	if err != nil || text != "GET /\xe9 HTTP/1.1" {
		t.Errorf("%q, %v", text, err)
	}
	for _, call := range []pdk.Call{pdk.LogErr("a\xe9b"), pdk.LogWarn("a\xe9b")} {
		var list structpb.ListValue
		if err := proto.Unmarshal(call.Args, &list); err != nil || list.Values[0].GetStringValue() != "a\uFFFDb" {
			t.Errorf("%s: %v, %v", call.Method, &list, err)
		}
	}
	var s pdk.Struct
	s.Text("\xe9", "\xe9")
	var kv kong_plugin_protocol.KV
	if err := proto.Unmarshal(pdk.SetSerializeValue("k", s).Args, &kv); err != nil {
		t.Error(err)
	}
	// What is no text for people goes to Kong as it is.
	if args := pdk.SetRequestBody([]byte("\xe9")).Args; string(args) != field(1, "\xe9") {
		t.Errorf("the body became %q", args)
	}
}

func TestNestedStruct(t *testing.T) {
	var request, both pdk.Struct
	request.Text("action", "allow")
	request.Number("latency_ms", 12)
	both.Struct("request", request)
	both.Struct("response", pdk.Struct{})
	var kv kong_plugin_protocol.KV
	if err := proto.Unmarshal(pdk.SetSerializeValue("ai.guard.x", both).Args, &kv); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"request": map[string]any{"action": "allow", "latency_ms": 12.0}, "response": map[string]any{}}
	if diff := cmp.Diff(want, kv.V.AsInterface()); diff != "" || kv.K != "ai.guard.x" {
		t.Error(kv.K, diff)
	}
}

// TestStructLengths: lengths that take one, two and three bytes, in each place.
func TestStructLengths(t *testing.T) {
	for _, n := range []int{0, 1, 60, 100, 110, 120, 126, 127, 128, 129, 1000, 16_370, 16_383, 16_384} {
		long := strings.Repeat("a", n)
		var inner, outer pdk.Struct
		inner.Text(long, "1")
		inner.Text("text", long)
		inner.Text("bad", long+"\xe9")
		inner.Number("number", float64(n))
		outer.Struct("inner", inner)
		outer.Struct("none", pdk.Struct{})
		outer.Number("last", 1)
		for _, call := range []pdk.Call{pdk.SetSerializeValue(long, outer), pdk.SetNginxCtxStruct(long, outer)} {
			var kv kong_plugin_protocol.KV
			if err := proto.Unmarshal(call.Args, &kv); err != nil {
				t.Fatalf("%d: %v", n, err)
			}
			want := map[string]any{
				"inner": map[string]any{long: "1", "text": long, "bad": long + "\uFFFD", "number": float64(n)},
				"none":  map[string]any{}, "last": 1.0,
			}
			if diff := cmp.Diff(want, kv.V.AsInterface()); diff != "" || kv.K != long {
				t.Errorf("%d: %s", n, diff)
			}
			if size := proto.Size(&kv); long != "" && size != len(call.Args) {
				t.Errorf("%d: %d bytes, protobuf needs %d", n, len(call.Args), size)
			}
		}
	}
}

// TestAllocations: what an exchange makes of its headers and of its access log
// takes memory for the whole of it, and not for each name and value.
func TestAllocations(t *testing.T) {
	var encoded string
	for i := range 25 {
		encoded += header("x-header-number-"+string(rune('a'+i)), "a value")
	}
	call := reply(encoded)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = call.Headers() }); n > 8 {
		t.Errorf("25 headers take %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		var all pdk.Struct
		for _, leg := range []string{"request", "response"} {
			var s pdk.Struct
			s.Text("action", "allow")
			s.Text("scan_id", "2f0db789-1b35-4fe7-9930-e892888fa102")
			s.Number("latency_ms", 12.5)
			all.Struct(leg, s)
		}
		pdk.SetSerializeValue("ai.guard.x", all)
	}); n > 8 {
		t.Errorf("the access log takes %v allocations", n)
	}
}

// TestErrComesFirst: a reply that was thrown away must not read as nothing.
func TestErrComesFirst(t *testing.T) {
	c := &pdk.Call{Err: pdk.ErrTooLarge}
	var errs [13]error
	_, errs[0] = c.Text()
	_, errs[1] = c.Bytes()
	_, errs[2] = c.Int()
	_, errs[3] = c.RawBody()
	_, _, errs[4] = c.Headers()
	_, errs[5] = c.Consumer()
	_, errs[6] = c.Service()
	_, errs[7] = c.Value()
	_, errs[8] = c.Bool()
	_, errs[9] = c.BalancerData()
	_, errs[10] = c.ServiceEntity()
	_, errs[11] = c.AIStreams()
	_, _, errs[12] = c.BufferedHeaders()
	for i, err := range errs {
		if !errors.Is(err, pdk.ErrTooLarge) {
			t.Errorf("decoder %d: %v", i, err)
		}
	}
}

func TestClearBodyHeaders(t *testing.T) {
	calls := pdk.ClearBodyHeaders()
	calls[0] = pdk.Call{}
	if again := pdk.ClearBodyHeaders(); again[0].Method != "kong.response.clear_header" || len(again) != 10 {
		t.Errorf("%+v", again)
	}
}

// FuzzDecoders: no reply makes a decoder panic, and what go-pdk can decode
// says the same to us.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte(header("a", "b") + header("c", "d", "e")))
	f.Add([]byte(field(1, "x") + field(3, "y") + field(4, "z")))
	f.Add([]byte(field(5, header("a", "b")+header("c", "d", "e"))))
	f.Add([]byte("\x08\xc8\x01"))
	f.Add([]byte("\x11\x00\x00\x00\x00\x00\x00\xf0\x3f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &pdk.Call{Reply: b}
		if text, err := c.Text(); err == nil && utf8.ValidString(text) {
			same(t, b, &kong_plugin_protocol.String{}, func(m *kong_plugin_protocol.String) bool { return m.V == text })
		}
		if n, err := c.Int(); err == nil {
			same(t, b, &kong_plugin_protocol.Int{}, func(m *kong_plugin_protocol.Int) bool { return int(m.V) == n })
		}
		if body, err := c.RawBody(); err == nil {
			same(t, b, &kong_plugin_protocol.RawBodyResult{}, func(m *kong_plugin_protocol.RawBodyResult) bool {
				return string(m.GetContent()) == string(body.Content) && m.GetBodyFilepath() == body.Path
			})
		}
		if who, err := c.Consumer(); err == nil {
			same(t, b, &kong_plugin_protocol.Consumer{}, func(m *kong_plugin_protocol.Consumer) bool {
				return who == pdk.Consumer{ID: m.Id, CustomID: m.CustomId, Username: m.Username}
			})
		}
		if s, err := c.Service(); err == nil {
			same(t, b, &kong_plugin_protocol.Service{}, func(m *kong_plugin_protocol.Service) bool { return s == pdk.Service{ID: m.Id, Name: m.Name} })
		}
		if v, err := c.Value(); err == nil {
			same(t, b, &structpb.Value{}, func(m *structpb.Value) bool { return m.GetStringValue() == v.Text && m.GetBoolValue() == v.Bool })
		}
		if h, known, _ := c.BufferedHeaders(); known {
			same(t, b, &structpb.Value{}, func(m *structpb.Value) bool {
				for name := range m.GetStructValue().GetFields() {
					switch v := m.GetStructValue().Fields[name]; {
					case has(h, name):
					case v.GetStringValue() != "" || len(v.GetListValue().GetValues()) != 0:
						return false
					}
				}
				return true
			})
		}
		if h, _, err := c.Headers(); err == nil {
			same(t, b, &structpb.Struct{}, func(m *structpb.Struct) bool {
				for name, v := range m.Fields {
					got := h[http.CanonicalHeaderKey(name)]
					if got == nil && len(v.GetListValue().GetValues()) != 0 {
						return false
					}
					if s, ok := v.Kind.(*structpb.Value_StringValue); ok && !slices.Contains(got, s.StringValue) {
						return false
					}
				}
				return true
			})
		}
	})
}

// FuzzHeaderNames: names become those of net/http, whatever a client sends.
func FuzzHeaderNames(f *testing.F) {
	f.Add("content-type", "x-request-id")
	f.Add("ETAG", "eTag")
	f.Add("x_custom-", "--a--B")
	f.Add("with blank", "With Blank")
	f.Add("x-caf\xe9", "X-CAF\u00e9")
	f.Add("coo\u212Aie", "cookie")
	f.Add("", "a:b")
	f.Add("x-!#$%&'*+.^_`|~-z9a", "x-[\\]-{}\x7f")
	f.Fuzz(func(t *testing.T, a, b string) {
		h, _, err := reply(header(a, "1") + header(b, "2", "3") + header(a, "4")).Headers()
		if err != nil {
			t.Fatal(err)
		}
		want := http.Header{}
		want.Add(a, "1")
		want.Add(b, "2")
		want.Add(b, "3")
		want.Add(a, "4")
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("(-net/http +ours)\n%s", diff)
		}
	})
}

// same checks what we decoded against go-pdk's message, where that one can be
// decoded at all: it may hold text that is not UTF-8 in another field.
func same[M proto.Message](t *testing.T, b []byte, m M, equal func(M) bool) {
	t.Helper()
	if proto.Unmarshal(b, m) == nil && !equal(m) {
		t.Errorf("%q: go-pdk reads %v, we read something else", b, m)
	}
}

func BenchmarkHeaders25(b *testing.B) {
	var encoded string
	for i := range 25 {
		encoded += header("x-header-number-"+string(rune('a'+i)), "a value of usual length")
	}
	call := reply(encoded)
	b.ReportAllocs()
	for b.Loop() {
		if h, _, err := call.Headers(); err != nil || h["X-Header-Number-Y"] == nil {
			b.Fatal(err)
		}
	}
}
