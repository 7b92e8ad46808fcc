// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"net/http"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestScansBeside(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
		for bits := range 4 {
			s := policy.Settings{RequestMode: mode, PromptBeside: bits&1 != 0, MayMask: bits&2 != 0}
			if want := mode == policy.Enforce && bits == 1; s.ScansBeside() != want {
				t.Errorf("%s, beside %v, masks %v: %v", mode, s.PromptBeside, s.MayMask, s.ScansBeside())
			}
		}
	}
}

func TestGoesBeside(t *testing.T) {
	const chat, path = `{"messages":[{"role":"user","content":"hello"}]}`, "/v1/chat/completions"
	for _, c := range []struct {
		name, method, path, body, cut string
		want                          bool
	}{
		{"chat", http.MethodPost, path, chat, "", true},
		{"embeddings", http.MethodPost, "/v1/embeddings", `{"model":"m","input":"hello"}`, "", true},
		{"gemini", http.MethodPost, "/v1beta/models/g:generateContent", `{"contents":[{"parts":[{"text":"hello"}]}]}`, "", true},
		{"another method", http.MethodPatch, path, chat, "", false},
		{"a member is cut out", http.MethodPost, path, `{"x":{},"messages":[{"role":"user","content":"hello"}]}`, "x", false},
		{"nothing to cut out", http.MethodPost, path, chat, "x", true},
		{"a session", http.MethodPost, path, `{"session_id":"s","messages":[{"role":"user","content":"hello"}]}`, "", false},
		{"a conversation by its path", http.MethodPost, "/v1/conversations/c/items", chat, "", false},
		{"an agent's session by its path", http.MethodPost, "/agents/a/agentAliases/b/sessions/c/text", chat, "", false},
		{"MCP", http.MethodPost, path, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "", false},
		{"unknown", http.MethodPost, "/x", `{"y":"z"}`, "", false},
		{"empty", http.MethodPost, path, ` `, "", false},
	} {
		in := llm.Input{Path: c.path, Body: []byte(c.body), Cut: c.cut}
		m, err := llm.Read(in, llm.Limits{DecodedBytes: 1 << 20, Ratio: 10, Depth: 10})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := policy.GoesBeside(c.method, &in, m); got != c.want {
			t.Errorf("%s: %v (format %s)", c.name, got, m.Format)
		}
	}
}

// Beside changes a mask alone, and a client that is told to come back later is
// told that this costs.
func TestBesideFindings(t *testing.T) {
	v := policy.Vendor{BlockStatus: 403, BlockMessage: [2]string{"blocked", "blocked"}}
	s := policy.Settings{RequestMode: policy.Enforce, BlockFailures: true}
	for o := policy.Allowed; o < policy.Outcomes; o++ {
		before := policy.Finding{Outcome: o, Reason: "r", Verdict: scan.Verdict{ScanID: "1"}}
		f := policy.Beside(before)
		if o == policy.Masked && (f.Outcome != policy.Blocked || f.Reason != policy.ReasonMaskBeside || f.Verdict.ScanID != "1") ||
			o != policy.Masked && (f.Outcome != o || f.Reason != "r") {
			t.Errorf("%s: %+v", o, f)
		}
		if !o.Refuses(llm.RequestLeg) {
			continue
		}
		r := policy.Refuse(&v, &s, llm.RequestLeg, &policy.Exchange{}, before).Refusal
		if r.Header.Get("X-Should-Retry") != "" {
			t.Errorf("%s: %v before the model was called", o, r.Header)
		}
		if r.Paid(); (r.Header.Get("X-Should-Retry") == "false") != (r.Header.Get("Retry-After") != "") {
			t.Errorf("%s: %v", o, r.Header)
		}
	}
}
