// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

// FuzzPlan proves that whatever is said, the service takes what we make of it:
// a payload that it refuses would turn an attack into an outage.
func FuzzPlan(f *testing.F) {
	f.Add(oneTurn, oneReply, "request-1")
	f.Add(`{"messages":[{"role":"user","content":"`+"```\\n"+`x"},{"role":"tool","content":" "}]}`, `{"choices":[{"message":{"content":" "}},{"message":{"content":"x"}}]}`, "")
	f.Add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"x":"\u0000\ud83d\ude00"},"_meta":{"a":"b"}}}`, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}`, "r\xff")
	f.Add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":5}`, `null`, "r")
	f.Add(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":{"a":1},"arguments":[" "]}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}`, "r")
	f.Add(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"\n","description":"\u2028"}]}}`, "r")
	f.Add(`[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"x":"y"}}},{"jsonrpc":"2.0","id":2,"method":"tools/list"},{"jsonrpc":"2.0","method":{"a":1},"params":[5]}]`, `[{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"t","description":"d"}]}},{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}]`, "r")
	f.Add(`{"x":"a://b c://d","y":[1,true,null,"www.x"]}`, `[" ","\t"]`, "r")
	service := fakeairs.New(fakeairs.Options{})
	limits := llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 256}
	config := &Config{ProfileName: "p"}
	f.Fuzz(func(t *testing.T, request, response, label string) {
		s := &scan.Scan{MaxCalls: 16, RequestID: label, Model: label, Identity: scan.Identity{Service: label, ClientIP: label}}
		m, err := llm.Read(llm.Input{ContentType: "application/json", Body: []byte(request)}, limits)
		if err != nil {
			return
		}
		s.Message, s.Turns = m, m.Turns
		sound(t, service, config, s)
		answer, err := llm.Read(llm.Input{Leg: llm.ResponseLeg, ContentType: "application/json", Body: []byte(response), Request: m}, limits)
		if err != nil {
			return
		}
		s.Leg, s.Prompt, s.Request, s.Message, s.Turns = llm.ResponseLeg, m.Turns, m, answer, answer.Turns
		sound(t, service, config, s)
	})
}

func sound(t *testing.T, service *fakeairs.Server, config *Config, s *scan.Scan) {
	t.Helper()
	p, fail := planOf(config, s)
	if fail != nil && len(s.Turns) > 0 {
		t.Fatalf("no plan for %d turns: %v", len(s.Turns), fail)
	}
	for _, body := range p.bodies {
		checkBody(t, body)
		r := httptest.NewRequest("POST", fakeairs.Path, bytes.NewReader(body))
		r.Header.Set("X-Pan-Token", "k")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		service.ServeHTTP(w, r)
		if w.Code != 200 {
			t.Fatalf("the service refuses with %d %s:\n%s", w.Code, w.Body, body)
		}
	}
}
