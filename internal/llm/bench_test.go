// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// chatBody makes a chat request of about size bytes in n messages, with the
// escapes that prose has.
func chatBody(size, n int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are a helpful assistant."}`)
	sentence := `She said: \"It costs 5\u20ac a day\", and then\nleft the caf\u00e9 for good. `
	per := max(size/n/len(sentence), 1)
	for i := range n {
		role := "user"
		if i%2 == 1 {
			role = "assistant"
		}
		fmt.Fprintf(&b, `,{"role":%q,"content":"%s"}`, role, strings.Repeat(sentence, per))
	}
	b.WriteString(`],"temperature":0.7,"stream":false}`)
	return []byte(b.String())
}

// partsBody makes a chat request whose one message has n tiny parts.
func partsBody(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"gpt-4o-mini","messages":[{"role":"user","content":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"type":"text","text":"a"}`)
	}
	b.WriteString(`]}]}`)
	return []byte(b.String())
}

// gjsonTexts is the comparison: validate, then take the messages' texts.
func gjsonTexts(body []byte) int {
	if !gjson.ValidBytes(body) {
		return 0
	}
	n := 0
	gjson.GetBytes(body, "messages").ForEach(func(_, m gjson.Result) bool {
		_ = m.Get("role").String()
		c := m.Get("content")
		if c.IsArray() {
			c.ForEach(func(_, p gjson.Result) bool { n += len(p.Get("text").String()); return true })
			return true
		}
		n += len(c.String())
		return true
	})
	return n
}

func BenchmarkRead(b *testing.B) {
	for _, bb := range []struct {
		name string
		body []byte
	}{
		{"chat-1KB", chatBody(1<<10, 3)},
		{"chat-32KB", chatBody(32<<10, 60)},
		{"parts-1000", partsBody(1000)},
		{"chat-10MB", chatBody(10<<20-4096, 60)},
	} {
		b.Run(bb.name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.body)))
			for b.Loop() {
				if _, err := Read(Input{Body: bb.body, ContentType: "application/json", Path: "/v1/chat/completions"}, testLimits); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bb.name+"/gjson", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.body)))
			for b.Loop() {
				if gjsonTexts(bb.body) == 0 {
					b.Fatal("no text")
				}
			}
		})
	}
}
