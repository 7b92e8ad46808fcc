// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestNamesTokens(t *testing.T) {
	for _, name := range []string{
		"input_ids", "inputIds", "INPUT_IDS", "prompt_token_ids", "promptTokenIds", "token_ids", "tokenids", "prompt_ids", "tokens", "input_tokens",
		"decoder_input_ids", "output_ids", "tokenized_prompt", "token-ids", "batch_token_ids", "completion_ids", "raw tokens", "input_ids_2",
	} {
		if !namesTokens([]byte(name), false) {
			t.Errorf("%s names no token ids", name)
		}
	}
	for _, name := range []string{
		"stop_token_ids", "bad_words_ids", "suppress_tokens", "eos_token_id", "logit_bias", "allowed_token_ids", "begin_suppress_tokens",
		"forced_decoder_ids", "max_tokens", "token_counts", "tokens_per_second", "token_logprobs", "token_type_ids", "file_ids", "document_ids",
		"vector_store_ids", "user_ids", "ids", "id", "order_ids", "message_ids", "content", "values", "texts", "", "tökens", strings.Repeat("token", 20),
	} {
		if namesTokens([]byte(name), false) {
			t.Errorf("%s names token ids", name)
		}
	}
	for name, want := range map[string]bool{"prompt": true, "prompt_embeds": true, "inputs_embeds": true, "input_embeddings": true, "image_embeds": false, "embeddings": false} {
		if got := namesTokens([]byte(name), true); got != want {
			t.Errorf("%s in a request: %v", name, got)
		}
		if namesTokens([]byte(name), false) {
			t.Errorf("%s in an answer", name)
		}
	}
}

// TestTokenIDsInRequests: a text as numbers is refused wherever it stands.
func TestTokenIDsInRequests(t *testing.T) {
	const ids = `[9906,1917,8510,374]`
	for _, body := range []string{
		`{"input_ids":` + ids + `}`,
		`{"input_ids":[` + ids + `],"sampling_params":{"temperature":0}}`,
		`{"model":"m","messages":[{"role":"user","content":"hi"}],"prompt_token_ids":` + ids + `}`,
		`{"model":"m","messages":[{"role":"user","content":"hi","token_ids":` + ids + `}]}`,
		`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"tokens","tokens":` + ids + `}]}]}`,
		`{"model":"m","prompt":{"prompt_token_ids":` + ids + `}}`,
		`{"model":"m","prompt":["hi",9906]}`,
		`{"model":"m","prompt":[["hi",[9906]]]}`,
		`{"model":"m","input":` + ids + `}`,
		`{"inputs":` + ids + `}`,
		`{"inputs":{"input_ids":[` + ids + `]}}`,
		`{"instances":[{"input_ids":` + ids + `}]}`,
		`{"instances":[` + ids + `]}`,
		`{"inputs":[{"name":"input_ids","shape":[1,4],"datatype":"INT64","data":` + ids + `}]}`,
		`{"inputs":[{"name":"input_ids","shape":[1,4],"datatype":"FP32","data":[9906.0,1917.0]}]}`,
		`{"inputs":[{"name":"INPUT0","shape":[1,8],"datatype":"INT32","data":[[1,2,3,4,5,6,7,8]]}]}`,
		`{"model":"m","tokens":` + ids + `}`,
		`{"input_ids":{"data":` + ids + `}}`,
		`{"prompt":{"tokens":{"values":[` + ids + `]}}}`,
		`{"tokens":["9906","1917"]}`,
		`{"tokens":[{"a":1},9906]}`,
		`{"a":{"b":[{"prompt":` + ids + `}]}}`,
		`{"prompt":"hi","prompt_embeds":"k05VTVBZ"}`,
		`{"inputs_embeds":[[0.1,0.2]]}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"complete","arguments":{"token_ids":` + ids + `}}}`,
	} {
		var e *Error
		if m, err := Read(Input{Body: []byte(body)}, testLimits); !errors.As(err, &e) || e.Class != Unscannable {
			t.Errorf("%s: %v, %v", body, err, m)
		}
	}
	for _, body := range []string{
		`{"prompt":"hi","stop_token_ids":[2,3],"logit_bias":{"50256":-100},"bad_words_ids":[[1,2]],"suppress_tokens":[5],"eos_token_id":[2]}`,
		`{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":5,"allowed_token_ids":[1,2]}`,
		`{"model":"m","prompt":"hi","context":[1,2,3]}`,
		`{"inputs":[{"name":"text_input","shape":[1],"datatype":"BYTES","data":["hi"]},{"name":"max_tokens","shape":[1],"datatype":"INT32","data":[64]}]}`,
		`{"messages":[{"role":"user","content":"input_ids: [1,2]"}]}`,
		`{"messages":[{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"get","arguments":"{\"ids\":[1,2,3]}"}}]}]}`,
		`{"input_ids":[]}`,
		`{"data":` + ids + `,"tokens":{"limits":[1,2],"data":["a"]}}`,
		`{"tokens":["a","b"]}`,
		`{"instances":[[0.5,1,2]]}`,
		`{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"input_ids":{"type":"array","items":{"type":"integer"},"default":[1]}}}}}]}`,
	} {
		if _, err := Read(Input{Body: []byte(body)}, testLimits); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestTokenIDsInAnswers: they may stand beside the text that they repeat.
func TestTokenIDsInAnswers(t *testing.T) {
	const ids = `[9906,1917,8510,374,4111,1111,1111,1111]`
	event := func(data ...string) string { return "data: " + strings.Join(data, "\n\ndata: ") + "\n\n" }
	for body, refused := range map[string]bool{
		`{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"token_ids":` + ids + `}],"prompt_token_ids":` + ids + `}`: false,
		`{"choices":[{"index":0,"text":"Hello","token_ids":` + ids + `}]}`:                                                                  false,
		`{"choices":[{"index":0,"text":"Hello"},{"index":1,"text":"","token_ids":` + ids + `}]}`:                                            true,
		`{"choices":[{"index":0,"message":{"role":"assistant","content":null},"token_ids":` + ids + `}]}`:                                   true,
		`{"text":"Hello","output_ids":` + ids + `,"meta_info":{"id":"1"}}`:                                                                  false,
		`{"text":["Hello"],"token_ids":[` + ids + `]}`:                                                                                      false,
		`{"output_ids":` + ids + `}`:                                                              true,
		`{"completion_ids":[` + ids + `]}`:                                                        true,
		`{"content":"Hello","tokens":` + ids + `,"stop":true}`:                                    false,
		`{"outputs":[{"name":"output_ids","datatype":"INT32","shape":[1,8],"data":` + ids + `}]}`: true,
		`{"data":[{"token_ids":` + ids + `}]}`:                                                    true,
		`{"text":"Hello","segments":[{"id":0,"text":"Hello","tokens":` + ids + `}]}`:              false,
		`{"model":"m","response":"Hello","done":true,"context":` + ids + `}`:                      false,
		event(`{"choices":[{"index":0,"delta":{"content":"Hello"},"token_ids":[1]}]}`, `{"choices":[{"index":0,"delta":{},"token_ids":[2]}]}`):             false,
		event(`{"choices":[{"index":0,"delta":{"content":"Hello"}}]}`, `{"choices":[{"index":1,"delta":{},"token_ids":[2]}]}`):                             true,
		event(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"prompt_token_ids":[1]}`, `{"choices":[{"delta":{"content":"Hello"}}]}`): false,
		event(`{"choices":[{"index":0,"delta":{},"token_ids":[1]}]}`):                                                                                      true,
	} {
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body)}, testLimits)
		switch {
		case refused != (err != nil):
			t.Errorf("%s: %v, %v", body, err, m)
		case err == nil:
			for _, turn := range m.Turns {
				if strings.Contains(turn.Text, "4111") {
					t.Errorf("%s: scanned as text: %q", body, turn.Text)
				}
			}
		}
	}
	m, err := Read(Input{Leg: ResponseLeg, Path: "/tokenize", Body: []byte(`{"count":8,"max_model_len":4096,"tokens":` + ids + `}`)}, testLimits)
	if err != nil || strings.Contains(dump(m), "4111") {
		t.Errorf("the answer of a tokenizer: %v, %v", err, m)
	}
}

// vectorOf makes a vector of n fractions.
func vectorOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",%.4f", float64(i%7)/10-0.4111)
	}
	return "[" + b.String()[1:] + "]"
}

// TestVectors: embeddings are structure in whatever shape they come, and what
// is not a number among them is content.
func TestVectors(t *testing.T) {
	v, bits := vectorOf(16), "["+strings.Repeat("4111,1111,", 8)+"0]"
	for name, body := range map[string]string{
		"OpenAI":              `{"object":"list","data":[{"object":"embedding","index":0,"embedding":` + v + `}],"model":"m","usage":{"prompt_tokens":5}}`,
		"base64":              `{"data":[{"object":"embedding","index":0,"embedding":"` + strings.Repeat("AACAPwAAAL8z", 6) + `"}]}`,
		"Titan":               `{"embedding":` + v + `,"inputTextTokenCount":5}`,
		"Titan by type":       `{"embeddingsByType":{"float":` + v + `,"binary":` + bits + `},"inputTextTokenCount":5}`,
		"TEI":                 `[` + v + `,` + v + `]`,
		"TEI, all":            `[[` + v + `,` + v + `]]`,
		"feature extraction":  `[[[` + v + `]]]`,
		"one vector":          v,
		"Vertex":              `{"predictions":[{"embeddings":{"statistics":{"truncated":false,"token_count":6},"values":` + v + `}}]}`,
		"Vertex, pictures":    `{"predictions":[{"imageEmbedding":` + v + `,"textEmbedding":` + v + `}]}`,
		"Gemini":              `{"embedding":{"values":` + v + `}}`,
		"Gemini's batch":      `{"embeddings":[{"values":` + v + `}]}`,
		"Jina":                `{"model":"m","object":"list","data":[{"object":"embeddings","index":0,"embeddings":[` + v + `,` + v + `]}]}`,
		"Cohere":              `{"id":"1","embeddings":{"float":[` + v + `],"int8":[` + bits + `]},"texts":[]}`,
		"vLLM pooling":        `{"object":"list","data":[{"index":0,"object":"pooling","data":[` + v + `]}]}`,
		"Ollama":              `{"model":"m","embeddings":[` + v + `],"total_duration":1}`,
		"sparse":              `{"data":[{"index":0,"embedding":{"indices":[4111,1111],"values":[0.5,0.25]}}]}`,
		"TEI, sparse":         `[[{"index":4111,"value":0.5},{"index":1111,"value":0.25}]]`,
		"sparse, unknown":     `{"result":{"vectors":[{"indices":[4111,1111],"values":[0.5,0.25]}]}}`,
		"Cloudflare":          `{"result":{"shape":[1,16],"data":[` + v + `]},"success":true}`,
		"an inference server": `{"model_name":"m","outputs":[{"name":"embedding","datatype":"FP32","shape":[1,16],"data":` + v + `}]}`,
		"an output":           `{"output":` + v + `}`,
		"with zeros":          `{"result":[0,0,0,0.5,0,0,0,0,1.5,0]}`,
	} {
		m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body)}, testLimits)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, turn := range m.Turns {
			if strings.Contains(turn.Text, "0.") || strings.Contains(turn.Text, "111") {
				t.Errorf("%s: scanned as text: %q", name, turn.Text)
			}
		}
		// A string in the place of a number is content, and so is a name.
		if at := strings.LastIndexAny(body, "0123456789"); strings.Contains(body, "[") {
			from := strings.LastIndexAny(body[:at+1], "[,:") + 1
			m, err := Read(Input{Leg: ResponseLeg, Body: []byte(body[:from] + `"` + marker + `"` + body[at+1:])}, testLimits)
			if err == nil && !scanned(m) {
				t.Errorf("%s: a string is not scanned", name)
			}
		}
	}
	for name, tt := range map[string]struct {
		leg  Leg
		body string
	}{
		"integers":             {ResponseLeg, `{"result":[4111,1111,1111,1111,4111,1111,1111,1111]}`},
		"few numbers":          {ResponseLeg, `{"result":[4111.5,1111.5]}`},
		"indices alone":        {ResponseLeg, `{"result":{"indices":[4111,1111]}}`},
		"a request":            {RequestLeg, `{"vector":[4111.5,1111.5,1.5,1.5,1.5,1.5,1.5,1.5]}`},
		"a tool's arguments":   {ResponseLeg, `{"choices":[{"message":{"tool_calls":[{"type":"function","function":{"name":"f","arguments":"{\"v\":[4111.5,1.5,1.5,1.5,1.5,1.5,1.5,1.5]}"}}]}}]}`},
		"what a tool gave":     {ResponseLeg, `{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"v":[4111.5,1.5,1.5,1.5,1.5,1.5,1.5,1.5]}}}`},
		"a name with a vector": {ResponseLeg, `{"result":{"row 4111 of them":[1.5,1.5,1.5,1.5,1.5,1.5,1.5,1.5]}}`},
	} {
		m, err := Read(Input{Leg: tt.leg, Body: []byte(tt.body)}, testLimits)
		if err != nil || !strings.Contains(dump(m), "4111") {
			t.Errorf("%s: %v, not scanned", name, err)
		}
	}
}
