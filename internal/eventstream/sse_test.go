// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// event is what a client sees of an Event, and what else it could see.
type event struct {
	Name, ID, Data string
	NoData         bool
	Others         []string
}

func readAll(t testing.TB, body []byte) ([]event, error) {
	t.Helper()
	var events []event
	r := NewReader(body)
	end := 0
	for r.Next() {
		e := r.Event()
		if e.Start < end || e.End <= e.Start || e.End > len(body) {
			t.Fatalf("event at %v after %d in %d bytes", e.Span, end, len(body))
		}
		end = e.End
		got := event{Name: string(e.Name), ID: string(e.ID), Data: string(e.Data), NoData: e.Data == nil}
		for _, f := range e.Fields {
			got.Others = append(got.Others, kindNames[f.Kind]+"="+string(f.Text.In(body)))
		}
		for i := range min(len(e.Data), 200) {
			if at := e.Offset(i); e.Data[i] != '\n' && body[at] != e.Data[i] {
				t.Fatalf("Offset(%d) = %d: body has %q there, data %q", i, at, body[at], e.Data[i])
			}
		}
		events = append(events, got)
	}
	return events, r.Err()
}

var kindNames = map[FieldKind]string{Comment: "comment", EventName: "event", EventID: "id", Retry: "retry", NearData: "near", Unknown: "unknown"}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReader(t *testing.T) {
	tests := []struct {
		name, body string
		want       []event
	}{
		{"empty", "", nil},
		{"blank lines only", "\n\r\n\r\r", nil},
		{"byte order mark only", "\uFEFF", nil},
		{"one event", "data: x\n\n", []event{{Data: "x"}}},
		{"CRLF", "data: x\r\ndata: y\r\n\r\n", []event{{Data: "x\ny"}}},
		{"CR", "data: x\rdata: y\r\rdata: z\r\r", []event{{Data: "x\ny"}, {Data: "z"}}},
		{"mixed ends", "data: a\ndata: b\r\ndata: c\r\ndata: d\r\n\rdata: e", []event{{Data: "a\nb\nc\nd"}, {Data: "e"}}},
		{"LF then CR are two ends", "data: a\n\rdata: b\n\n", []event{{Data: "a"}, {Data: "b"}}},
		{"no last blank line", "data: a\n\ndata: b\n", []event{{Data: "a"}, {Data: "b"}}},
		{"no last line end", "data: a\n\ndata: b", []event{{Data: "a"}, {Data: "b"}}},
		{"one space goes", "data:  x \n\n", []event{{Data: " x "}}},
		{"no space", "data:x\n\n", []event{{Data: "x"}}},
		{"tab stays", "data:\tx\n\n", []event{{Data: "\tx"}}},
		{"empty data", "data:\n\ndata\n\ndata\ndata\n\n", []event{{}, {}, {Data: "\n"}}},
		{"colons in the value", "data: a:b: c\n\n", []event{{Data: "a:b: c"}}},
		{"last name wins, all are seen", "event: secret\nevent: ok\ndata: x\n\n", []event{{Name: "ok", Data: "x", Others: []string{"event=secret", "event=ok"}}}},
		{"id", "id: 1\ndata: x\n\n", []event{{ID: "1", Data: "x", Others: []string{"id=1"}}}},
		{"NUL in id is ignored and seen", "id: 1\nid: a\x00b\ndata: x\n\n", []event{{ID: "1", Data: "x", Others: []string{"id=1", "id=a\x00b"}}}},
		{"retry", "retry: 10\n\n", []event{{NoData: true, Others: []string{"retry=10"}}}},
		{"comments", ": a\n:b\n:\n\n: c", []event{{NoData: true, Others: []string{"comment=a", "comment=b", "comment="}}, {NoData: true, Others: []string{"comment=c"}}}},
		{"unknown fields", "foo: bar\nbaz\ndatum: 1\n\n", []event{{NoData: true, Others: []string{"unknown=foo: bar", "unknown=baz", "unknown=datum: 1"}}}},
		{"nearly data", "Data: a\n data: b\ndata : c\n\uFEFFdata: d\n\n", []event{{NoData: true, Others: []string{"near=a", "near=b", "near=c", "near=d"}}}},
		{"byte order mark", "\uFEFFdata: x\n\n", []event{{Data: "x"}}},
		{"second byte order mark", "\uFEFF\uFEFFdata: x\n\n", []event{{NoData: true, Others: []string{"near=x"}}}},
		{"line separator inside text", "data: a\u2028b\n\n", []event{{Data: "a\u2028b"}}},
		{"file", string(testdata(t, "mixed.sse")), []event{
			{NoData: true, Others: []string{"comment=hello"}},
			{Name: "content_block_delta", ID: "42", Data: "{\"a\":\n \"b\"}", Others: []string{"event=content_block_delta", "id=42"}},
			{},
			{Data: "x", Others: []string{"retry=10"}},
			{Data: "[DONE]", Others: []string{"unknown=foo: bar", "unknown=baz"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readAll(t, []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		want       error
	}{
		{"bytes that are not UTF-8", "data: a\xff\n\n", ErrNotUTF8},
		{"JSON continued after CR", "data: {\"choices\":\r[{\"delta\":{\"content\":\"\\u0061\"}}]}\n\n", ErrAmbiguousLines},
		{"JSON continued after CR by its colon", "data: {\"a\"\r: \"x\"}\n\n", ErrAmbiguousLines},
		{"JSON continued after two CRs", "data: {\"a\":\r\r\"x\"}\n\n", ErrAmbiguousLines},
		{"JSON continued over several CRs", "data: {\"a\"\r:\r\"x\"}\n\n", ErrAmbiguousLines},
		{"data behind a line separator", "data: x\u2028data: {\"a\":1}\n\n", ErrAmbiguousLines},
		{"data behind a next line", ": x\u0085 data: {\"a\":1}\n\n", ErrAmbiguousLines},
		{"data behind a form feed", "event: x\fdata: {\"a\":1}\n\n", ErrAmbiguousLines},
		{"too many lines", strings.Repeat(":\ndata\n", maxLines/2) + ":\n\n", ErrTooManyLines},
		{"data behind a record separator, second place", "data: data:\x1edata: {\"a\":1}\n\n", ErrAmbiguousLines},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := readAll(t, []byte(tt.body)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

func TestReaderKeepsCommentsInStreamsOfCR(t *testing.T) {
	got, err := readAll(t, []byte("data: {\"a\":1}\r\r: ping\r\rdata: \"b\"\r\r"))
	if err != nil || len(got) != 3 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestReaderTakesManyLines(t *testing.T) {
	r := NewReader([]byte(strings.Repeat(strings.Repeat(":\n", maxLines)+"\n", 2)))
	for range 2 {
		if !r.Next() || len(r.Event().Fields) != maxLines {
			t.Errorf("%d lines, %v", len(r.Event().Fields), r.Err())
		}
	}
}

func TestDataIsAPieceOfTheBody(t *testing.T) {
	body := []byte("event: e\ndata: hello\n\n")
	r := NewReader(body)
	if !r.Next() {
		t.Fatal(r.Err())
	}
	r.Event().Data[0] = 'H'
	if !bytes.Contains(body, []byte("Hello")) {
		t.Error("the data was copied")
	}
}

func TestOffsetOutsideOfData(t *testing.T) {
	r := NewReader([]byte("data: ab\ndata: c\n\n"))
	r.Next()
	if at := r.Event().Offset(len("ab\nc")); at != 16 {
		t.Errorf("the end of the data lies at %d, want 16", at)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic for an offset that no data has")
		}
	}()
	r.Event().Offset(5)
}

func TestLooksLike(t *testing.T) {
	yes := []string{
		"data: x", "data:x\n\n", "\uFEFFdata: x\n\n", ": hi\n\ndata: x\n\n", "event: e\r\ndata: x\r\n\r\n",
		"foo\rdata: x\r\r", "some prose first\nand more\n\ndata: {\"choices\":[]}\n\n", "{\ndata: {\"a\":\"b\"}\n\n",
		" data: {\"a\":1}\n\n", "DATA: [1]\n\n", "x\u2028data: {\"a\":1}\n\n", "\uFEFF\uFEFFdata: {\"a\":1}\n\n",
		string(testdata(t, "mixed.sse")), string(testdata(t, "openai.sse")), string(testdata(t, "anthropic.sse")),
	}
	for _, body := range yes {
		if !LooksLike([]byte(body)) {
			t.Errorf("not taken for a stream: %q", body)
		}
	}
	no := []string{
		"", "\n\n", "hello", ": only a comment\n\n", "event: only a name\n\n", "data:\n\n", "data: \n\ndata\n\n",
		`{"data": "x"}`, "{\n\"data\": {\"a\": \"data: x\"}\n}", "{\n  \"data\": 1\n}",
		"The data: it is big.\nAnd then some.", "apiVersion: v1\nkind: ConfigMap\ndata:\n  key: value\n",
		"metadata: x", "  data: value of YAML\n", "database: x", "d", "dat", "data",
		string(testdata(t, "ollama.ndjson")), string(testdata(t, "bedrock.bin")),
	}
	for _, body := range no {
		if LooksLike([]byte(body)) {
			t.Errorf("taken for a stream: %q", body)
		}
	}
}

// appendEvent writes an event as a server would; an empty name or id is left out.
func appendEvent(dst []byte, e event) []byte {
	if e.Name != "" {
		dst = fmt.Appendf(dst, "event: %s\n", e.Name)
	}
	if e.ID != "" {
		dst = fmt.Appendf(dst, "id: %s\n", e.ID)
	}
	for line := range strings.SplitSeq(e.Data, "\n") {
		dst = fmt.Appendf(dst, "data: %s\n", line)
	}
	return append(dst, '\n')
}

func TestWrittenEventsAreRead(t *testing.T) {
	token := rapid.StringMatching(`[a-z_.]{0,8}`)
	text := rapid.StringOf(rapid.RuneFrom([]rune("ab :\n\"{}\u00e9\u2028\x00")))
	rapid.Check(t, func(t *rapid.T) {
		var want []event
		var body []byte
		for range rapid.IntRange(0, 5).Draw(t, "events") {
			e := event{Name: token.Draw(t, "name"), ID: token.Draw(t, "id"), Data: text.Draw(t, "data")}
			body = appendEvent(body, e)
			if e.Name != "" {
				e.Others = append(e.Others, "event="+e.Name)
			}
			if e.ID != "" {
				e.Others = append(e.Others, "id="+e.ID)
			}
			want = append(want, e)
		}
		// Whatever ends the lines, the events are the same.
		end := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line end")
		body = bytes.ReplaceAll(body, []byte("\n"), []byte(end))
		body = body[:len(body)-rapid.IntRange(0, min(len(body), len(end))).Draw(t, "cut")]
		var got []event
		r := NewReader(body)
		for r.Next() {
			e := event{Name: string(r.Event().Name), ID: string(r.Event().ID), Data: string(r.Event().Data)}
			for _, f := range r.Event().Fields {
				e.Others = append(e.Others, kindNames[f.Kind]+"="+string(f.Text.In(body)))
			}
			got = append(got, e)
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%q (-want +got)\n%s", body, d)
		}
	})
}

// naive reads a stream as the standard's text says it, without regard for cost.
// Unlike the standard it returns the last event without its blank line.
func naive(body string) (events []event, lines int) {
	body = strings.TrimPrefix(body, "\uFEFF")
	body = strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\r", "\n")
	var e event
	var data []string
	dispatch := func() {
		if data != nil {
			e.Data = strings.Join(data, "\n")
			events = append(events, e)
		}
		e, data = event{}, nil
	}
	for line := range strings.SplitSeq(body, "\n") {
		if line == "" {
			dispatch()
			continue
		}
		lines++
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = append(data, value)
		case "event":
			e.Name = value
		case "id":
			if !strings.Contains(value, "\x00") {
				e.ID = value
			}
		}
	}
	dispatch()
	return events, lines
}

func FuzzReader(f *testing.F) {
	for _, name := range []string{"mixed.sse", "openai.sse", "anthropic.sse"} {
		f.Add(testdata(f, name))
	}
	f.Add([]byte("data: a\r\rdata: b\n\r\n: c\rid: 1\x00\nevent\n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readAll(t, body)
		if err != nil {
			// A stream may be wrong in both ways.
			if !errors.Is(err, ErrAmbiguousLines) && errors.Is(err, ErrNotUTF8) == utf8.Valid(body) {
				t.Fatalf("%v for %q", err, body)
			}
			return
		}
		want, lines := naive(string(body))
		n := 0
		var seen []event
		for _, e := range got {
			n += len(e.Others)
			if !e.NoData {
				n += strings.Count(e.Data, "\n") + 1
				e.Others = nil
				seen = append(seen, e)
			}
		}
		if n != lines {
			t.Fatalf("%d of %d lines were given: %q", n, lines, body)
		}
		if d := cmp.Diff(want, seen); d != "" {
			t.Fatalf("%q (-naive +got)\n%s", body, d)
		}
		for _, e := range want {
			if strings.TrimSpace(e.Data) != "" && !strings.Contains(e.Data, "\n") && !LooksLike(body) {
				t.Fatalf("a client finds data in a body that does not look like a stream: %q", body)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	body := bytes.Repeat(testdata(b, "anthropic.sse"), 300)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(body)
		for r.Next() {
		}
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
}

func BenchmarkReaderOfCRAlone(b *testing.B) {
	body := bytes.Repeat([]byte("data: x\r\r"), 10000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(body)
		for r.Next() {
		}
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
}

func BenchmarkLooksLike(b *testing.B) {
	body := bytes.Repeat([]byte("A line of plain text as it stands in an answer of some length.\n"), 500)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if LooksLike(body) {
			b.Fatal("it does not")
		}
	}
}
