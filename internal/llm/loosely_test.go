// SPDX-License-Identifier: Apache-2.0

package llm_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

var limits = llm.Limits{DecodedBytes: llm.DefaultDecodedBytes, Ratio: llm.DefaultRatio, Depth: llm.DefaultDepth}

// loosely reads a body that ReadContext refuses.
func loosely(t testing.TB, in llm.Input) *llm.Message {
	t.Helper()
	m, err := llm.ReadLoosely(t.Context(), in, limits)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func saidBy(m *llm.Message) string {
	var b strings.Builder
	for _, turn := range m.Turns {
		b.WriteString(turn.Text)
		b.WriteString("\x00")
	}
	return b.String()
}

func TestReadLoosely(t *testing.T) {
	const said = "the grey heron hides seven copper lanterns"
	coded := base64.StdEncoding.EncodeToString([]byte(said))
	for _, c := range []struct {
		name, kind, coding, body string
		answer                   bool
		wants                    []string // texts that must be there, by default said
	}{
		{name: "a name twice", body: `{"messages":[{"role":"user","content":"one"}],"messages":[{"role":"user","content":"two"}]}`, wants: []string{"one", "two"}},
		{name: "a name twice, in pieces", body: `{"messages":[{"role":"user","content":[{"type":"text","text":"the grey her"},{"type":"text","text":"on hides seven copper lanterns"}]}],"x":1,"x":2}`},
		{name: "a lone surrogate", body: `{"messages":[{"role":"user","content":"\ud800 the grey heron hides seven copper lanterns"}]}`},
		{name: "names that differ by case", body: `{"Messages":[{"role":"user","content":"` + said + `"}]}`},
		{name: "cut off", body: `{"messages":[{"role":"user","content":"the grey her","x":"\u006fn"},{"content":"on hides seven copper lanterns`},
		{name: "escapes, cut off", body: `{"messages":[{"content":"\u0074he grey heron hides \u0073even copper lanterns"`},
		{name: "escapes in escapes", body: `{"a":"{\"b\":\"\\u0074he grey heron hides seven copper lanterns\"`},
		{name: "escapes of scripts", body: `{"a":"\x74he \u{67}rey \heron hides seven copper lanterns",}`},
		{name: "base64, cut off", body: `{"a":["` + coded + `"`},
		{name: "a data URL, cut off", body: `{"a":["data:text/plain;base64,` + coded + `"`},
		{name: "percent signs", body: `{"a":"the%20grey%20heron%20hides seven copper lanterns"`},
		{name: "a form", kind: "application/x-www-form-urlencoded", body: "a=%zz&b=the+grey+heron+hides+seven+copper+lanterns"},
		{name: "numbers of bytes", body: `{"a":[116,104,101,32,103,114,101,121,32,104,101,114,111,110,32,104,105,100,101,115,32,115,101,118,101,110,32,99,111,112,112,101,114,32,108,97,110,116,101,114,110,115]`},
		{name: "a type that is refused", kind: "application/x-protobuf", body: "\n*" + said},
		{name: "two types", kind: "application/json, text/plain", body: `{"messages":[{"role":"user","content":"` + said + `"}]}`},
		{name: "a charset", kind: "application/json; charset=utf-7", body: `{"messages":[{"role":"user","content":"the grey heron +AGgAaQBkAGUAcw- seven copper lanterns"}]}`},
		{name: "UTF-16", kind: "application/json", body: "\xff\xfe" + strings.Join(strings.Split(`{"messages":[{"role":"user","content":"`+said+`"}]}`, ""), "\x00") + "\x00"},
		{name: "a coding that is none", coding: "compress", body: `{"messages":[{"role":"user","content":"` + said + `"}]}`},
		{name: "a stream with a broken event", answer: true, kind: "text/event-stream", body: `data: {"choices":[{"index":0,"delta":{"content":"the grey her"}}]}` + "\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"on hides seven copper lanterns\"}\n\n"},
		{name: "token ids", body: `{"prompt_token_ids":[1820,20366,39475]}`, wants: []string{"1820,20366,39475"}},
	} {
		in := llm.Input{Path: "/v1/chat/completions", ContentType: c.kind, ContentEncoding: c.coding, Body: []byte(c.body)}
		if c.answer {
			in.Leg = llm.ResponseLeg
		}
		if c.kind == "" {
			in.ContentType = "application/json"
		}
		if _, err := llm.Read(in, limits); err == nil {
			t.Errorf("%s: is read strictly", c.name)
		}
		m := loosely(t, in)
		if c.wants == nil {
			c.wants = []string{said}
		}
		for _, want := range c.wants {
			if !strings.Contains(saidBy(m), want) {
				t.Errorf("%s: no %q in %q", c.name, want, saidBy(m))
			}
		}
		if m.Partial {
			t.Errorf("%s: is partial", c.name)
		}
		for _, turn := range m.Turns {
			if turn.Maskable {
				t.Errorf("%s: a text can be masked", c.name)
			}
		}
	}
}

// TestReadLooselyKnowsWhoSpeaks: what only has equal names, or another charset,
// is still read by its format.
func TestReadLooselyKnowsWhoSpeaks(t *testing.T) {
	for _, body := range []string{
		`{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}],"messages":[{"role":"user","content":"two"}]}`,
		"\ufeff" + `{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]}`,
	} {
		m := loosely(t, llm.Input{Path: "/v1/chat/completions", ContentType: "application/json", Body: []byte(body)})
		if m.Format != llm.OpenAIChat || m.Model != "m" || m.Turns[0].Role != llm.RoleSystem || m.Turns[1].Role != llm.RoleUser {
			t.Errorf("%s: %+v", body, m)
		}
	}
}

func TestReadLooselyIsBounded(t *testing.T) {
	body := []byte(`{"a":"` + strings.Repeat("the grey heron ", 1<<16))
	lim := limits
	lim.DecodedBytes = 1 << 16
	m, err := llm.ReadLoosely(t.Context(), llm.Input{Body: body}, lim)
	if err != nil || !m.Partial || len(m.Turns) == 0 || len(m.Turns[0].Text) > 1<<16 {
		t.Errorf("a body over the limit: %v, %d turns", err, len(m.Turns))
	}
	if m, err := llm.ReadLoosely(t.Context(), llm.Input{Body: []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\x00IEND\xaeB`\x82"), ContentType: "text/plain"}, limits); err != nil || len(m.Turns) > 0 {
		t.Errorf("a picture says %+v, %v", m, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := llm.ReadLoosely(ctx, llm.Input{Body: body}, limits); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	lim = limits
	lim.Until = time.Now().Add(-time.Second)
	if _, err := llm.ReadLoosely(t.Context(), llm.Input{Body: body}, lim); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after its time: %v", err)
	}
	full := errors.New("full")
	lim = limits
	lim.Held, lim.Grow = 1, func(int64) error { return full }
	if _, err := llm.ReadLoosely(t.Context(), llm.Input{Body: body}, lim); !errors.Is(err, full) {
		t.Errorf("without memory: %v", err)
	}
}

func FuzzReadLoosely(f *testing.F) {
	files, err := filepath.Glob("../../testdata/llm/*/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && len(b) < 4<<10 && !strings.HasSuffix(file, ".golden") {
			f.Add("application/json", "", b, true)
			f.Add("", "gzip, br", b[:len(b)/2], false)
		}
	}
	for _, s := range []string{`{"a":1,"a":"\ud800`, "\xff\xfea\x00", "a=%zz&b=+", `[116,104,101,32,103,114,101,121]`, `"\u{74}\x74\q"`, "dGhlIGdyZXkgaGVyb24gaGlkZXM="} {
		f.Add("application/json; charset=utf-7", "identity", []byte(s), false)
	}
	f.Fuzz(func(t *testing.T, contentType, coding string, body []byte, answer bool) {
		in := llm.Input{ContentType: contentType, ContentEncoding: coding, Body: body}
		if answer {
			in.Leg = llm.ResponseLeg
		}
		lim := limits
		lim.DecodedBytes = 1 << 16
		m, err := llm.ReadLoosely(t.Context(), in, lim)
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, turn := range m.Turns {
			if size += len(turn.Text); turn.Text == "" || turn.Maskable {
				t.Fatalf("turn %+v", turn)
			}
		}
		// Of each of two bodies, and four readings by the grammar.
		if most := 2*(12*1<<16+1<<20) + 8<<16; size > most {
			t.Fatalf("%d bytes", size)
		}
		if coding == "" && len(body) < 1<<16 && utf8.Valid(body) && strings.ContainsFunc(string(body), unicode.IsLetter) && len(m.Turns) == 0 {
			t.Fatal("nothing is shown of a text")
		}
	})
}

func BenchmarkReadLoosely(b *testing.B) {
	body := []byte(`{"messages":[` + strings.Repeat(`{"role":"user","content":"The ferry leaves at noon,\nand comes back at dusk."},`, 1<<20/80))
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"cut off, 1 MB", body}, {"bad bytes, 1 MB", append(body, "\xff\xe9t\xe9"...)}, {"cut off, 32 KB", body[:32<<10]},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := llm.ReadLoosely(b.Context(), llm.Input{ContentType: "application/json", Body: c.body}, limits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
