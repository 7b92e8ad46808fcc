// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/awsframe"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// frame is one event of Bedrock's streams: the value of its header
// ":event-type" and its payload.
type frame struct{ event, payload string }

// chunk wraps a model's own event as InvokeModelWithResponseStream does.
func chunk(event string) frame {
	return frame{"chunk", fmt.Sprintf(`{"bytes":%q,"p":"abcdefghijkl"}`, base64.StdEncoding.EncodeToString([]byte(event)))}
}

// streams are the AWS event streams of the test data, by file.
var streams = map[string][]frame{
	"answer-converse.frames": {
		{"messageStart", `{"p":"abcdefghijklmnopqrstuvwx","role":"assistant"}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"I know the "}},"p":"abcdefgh"}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"timetable."}},"p":"abcdefghijk"}`},
		{"contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pki"}},"p":"abc"}`},
		{"contentBlockStop", `{"contentBlockIndex":0,"p":"abcdefghijklmnop"}`},
		{"contentBlockDelta", `{"contentBlockIndex":1,"delta":{"text":"Ferries run "},"p":"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO"}`},
		{"contentBlockDelta", `{"contentBlockIndex":1,"delta":{"text":"hourly."},"p":"abcdefghijklmnopqrstuvwxyzABCD"}`},
		{"contentBlockStop", `{"contentBlockIndex":1,"p":"abcdefghi"}`},
		{"contentBlockStart", `{"contentBlockIndex":2,"p":"abcdefghijklmnopqrstuvwxyz","start":{"toolUse":{"name":"top_song","toolUseId":"tooluse_kZJMlvQmRJ6eAyJE5GIl7Q"}}}`},
		{"contentBlockDelta", `{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"sign\": \"WZ"}},"p":"ab"}`},
		{"contentBlockDelta", `{"contentBlockIndex":2,"delta":{"toolUse":{"input":"PZ\"}"}},"p":"abcd"}`},
		{"contentBlockStop", `{"contentBlockIndex":2,"p":"abcdefghijklm"}`},
		{"messageStop", `{"p":"abcdefghijklmnopqrstuvwxyzABCDEFGH","stopReason":"tool_use"}`},
		{"metadata", `{"metrics":{"latencyMs":772},"p":"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0","usage":{"inputTokens":10,"outputTokens":20,"totalTokens":30}}`},
	},
	"answer-invoke-anthropic.frames": {
		chunk(`{"type":"message_start","message":{"id":"msg_bdrk_01HcPKZ7c8d9e0f1A2b3C4d5","type":"message","role":"assistant","model":"claude-3-5-sonnet-20240620","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":11,"output_tokens":1}}}`),
		chunk(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`),
		chunk(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello! The har"}}`),
		chunk(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"bour opens at nine."}}`),
		chunk(`{"type":"content_block_stop","index":0}`),
		chunk(`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":12}}`),
		chunk(`{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":11,"outputTokenCount":12,"invocationLatency":500,"firstByteLatency":300}}`),
	},
	"answer-invoke-llama.frames": {
		chunk(`{"generation":"Hel","prompt_token_count":10,"generation_token_count":1,"stop_reason":null}`),
		chunk(`{"generation":"lo there.","prompt_token_count":null,"generation_token_count":2,"stop_reason":null}`),
		chunk(`{"generation":"","prompt_token_count":null,"generation_token_count":3,"stop_reason":"stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":3,"invocationLatency":500,"firstByteLatency":300}}`),
	},
	"answer-invoke-titan.frames": {
		chunk(`{"outputText":"\nHello! How ","index":0,"totalOutputTextTokenCount":null,"completionReason":null,"inputTextTokenCount":5}`),
		chunk(`{"outputText":"can I help?","index":0,"totalOutputTextTokenCount":9,"completionReason":"FINISH","inputTextTokenCount":null}`),
	},
}

// appendHeader appends a header with a string, as frames encode it.
func appendHeader(dst []byte, name, value string) []byte {
	dst = append(append(dst, byte(len(name))), name...)
	dst = binary.BigEndian.AppendUint16(append(dst, byte(eventstream.HeaderString)), uint16(len(value)))
	return append(dst, value...)
}

// encodeFrames makes the bytes of a stream.
func encodeFrames(frames []frame) []byte {
	var out []byte
	for _, f := range frames {
		h := appendHeader(nil, ":event-type", f.event)
		h = appendHeader(h, ":content-type", "application/json")
		h = appendHeader(h, ":message-type", "event")
		out = awsframe.Append(out, h, []byte(f.payload))
	}
	return out
}

// TestFrameFiles keeps the committed streams as they are written down above.
func TestFrameFiles(t *testing.T) {
	for name, frames := range streams {
		path := filepath.Join("..", "..", "testdata", "llm", "bedrock", name)
		want := encodeFrames(frames)
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date", name)
		}
	}
}

func answerReader() *reader {
	return &reader{msg: &Message{Leg: ResponseLeg}, doc: new(strictjson.Doc), maxDepth: DefaultDepth}
}

// TestEveryStringOfFramesIsScanned puts the marker into every string of every
// event of the AWS streams, and frames them anew.
func TestEveryStringOfFramesIsScanned(t *testing.T) {
	for name, frames := range streams {
		for i, f := range frames {
			event, wrap := []byte(f.payload), func(s []byte) frame { return frame{f.event, string(s)} }
			if inner, ok := answerReader().invokeChunk(event); ok {
				event, wrap = inner, func(s []byte) frame { return chunk(string(s)) }
			}
			for _, at := range allLiterals(t, event) {
				marked := append([]frame(nil), frames...)
				marked[i] = wrap(put(event, at))
				m, err := Read(Input{Leg: ResponseLeg, Body: encodeFrames(marked)}, testLimits)
				if err == nil && !scanned(m) {
					t.Errorf("%s: not scanned in event %d at %d, after %q", name, i, at[0], event[max(0, at[0]-40):at[0]])
				}
			}
			marked := append([]frame(nil), frames...)
			marked[i].event = marker
			if m, err := Read(Input{Leg: ResponseLeg, Body: encodeFrames(marked)}, testLimits); err == nil && !scanned(m) {
				t.Errorf("%s: the type of event %d is not scanned", name, i)
			}
		}
	}
}
