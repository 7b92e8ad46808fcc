// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
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
		{"chat-220KB", chatBody(220<<10, 60)},
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

// streamBodies are whole answers that are streams of about 1,000 events.
func streamBodies() (all []flowBody) {
	add := func(name, begin, event, end string) {
		var b strings.Builder
		b.WriteString(begin)
		for i := range 1000 {
			fmt.Fprintf(&b, event+"\n\n", fmt.Sprintf(" w%02d", i%100))
		}
		b.WriteString(end)
		all = append(all, flowBody{name: name, label: sseKind, body: []byte(b.String())})
	}
	add("chat", "", `data: {"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_fc9f1d7035","choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}]}`, "data: [DONE]\n\n")
	add("anthropic", `event: message_start`+"\n"+`data: {"type":"message_start","message":{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","content":[],"model":"claude-sonnet-4-20250514","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"output_tokens":1}}}`+"\n\n"+
		`event: content_block_start`+"\n"+`data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`+"\n\n",
		`event: content_block_delta`+"\n"+`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}`,
		`event: content_block_stop`+"\n"+`data: {"type":"content_block_stop","index":0}`+"\n\n"+`event: message_stop`+"\n"+`data: {"type":"message_stop"}`+"\n\n")
	add("responses", "", `event: response.output_text.delta`+"\n"+`data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_67c9fdcf37fc8190ba82116e33fb28c507b8b0ad4e5eb654","output_index":0,"content_index":0,"delta":"%s","logprobs":[],"obfuscation":"aZ09xQk3LmT"}`, "")
	add("gemini", "", `data: {"candidates":[{"content":{"parts":[{"text":"%s"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":2,"totalTokenCount":10,"promptTokensDetails":[{"modality":"TEXT","tokenCount":8}]},"modelVersion":"gemini-2.5-flash","responseId":"mAitaLmkHPPlz7IPvtfUqQ4"}`, "")
	add("mcp", "", `event: message`+"\n"+`data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"database","data":"%s"}}`, "")
	return all
}

// BenchmarkReadStream reads answers that are streams as the response phase does,
// and BenchmarkFlow as the relay does: in the pieces that come off the wire, a
// window each 100 events.
func BenchmarkReadStream(b *testing.B) {
	for _, s := range streamBodies() {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s.body)))
			for b.Loop() {
				m, err := Read(Input{Leg: ResponseLeg, Body: s.body, ContentType: s.label}, testLimits)
				if err != nil || len(m.Turns) == 0 {
					b.Fatal(m, err)
				}
			}
		})
	}
}

func BenchmarkFlow(b *testing.B) {
	for _, s := range streamBodies() {
		var pieces [][]byte
		for e := range bytes.SplitAfterSeq(s.body, []byte("\n\n")) {
			pieces = append(pieces, e)
		}
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s.body)))
			for b.Loop() {
				flow := openStream(b)
				for i, p := range pieces {
					if _, err := flow.Write(p); err != nil {
						b.Fatal(err)
					}
					if i%100 == 99 {
						_, end := flow.Window(2000)
						flow.Take(end)
					}
				}
				if m, err := flow.Close(); err != nil || len(m.Turns) == 0 {
					b.Fatal(m, err)
				}
			}
		})
	}
}
