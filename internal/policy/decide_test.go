// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

var vendor = policy.Vendor{
	Plugin: "p", LogPrefix: "P", BlockStatus: 451, BlockMessage: [2]string{"no prompt", "no answer"}, ScanIDHeader: "X-Scan",
}

func chat(t *testing.T, text string) *llm.Message {
	t.Helper()
	body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":%q}]}`, text)
	m, err := llm.Read(llm.Input{ContentType: "application/json", Body: []byte(body)}, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 64})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Whatever was found, and whatever the settings, a leg goes on only with an
// allow, a mask, nothing to scan, or by one of the settings that weaken it.
func TestNothingPassesWithoutAReason(t *testing.T) {
	for o := range policy.Outcomes {
		for bits := range 8 {
			s := policy.Settings{
				RequestMode: policy.Enforce, ResponseMode: policy.Enforce,
				BlockFailures: bits&1 == 0, BlockFailuresResponse: bits&2 == 0, AllowUnscannable: bits&4 != 0,
			}
			for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
				m := chat(t, "secret")
				f := policy.Finding{Outcome: o, Message: m, Turns: m.Turns, Verdict: scan.Verdict{Masked: []llm.Replacement{{Turn: 0, Text: "***"}}}}
				d := policy.Decide(&vendor, &s, leg, &policy.Exchange{}, f)
				passes := false
				switch o {
				case policy.Allowed, policy.Masked, policy.Nothing, policy.Unscanned, policy.Pending, policy.Skipped:
					passes = true
				case policy.Unavailable:
					passes = leg == llm.RequestLeg && !s.BlockFailures || leg == llm.ResponseLeg && !s.BlockFailuresResponse
				case policy.Unscannable:
					passes = s.AllowUnscannable
				case policy.MissingPrompt, policy.ContextRefused, policy.UpgradeRefused, policy.StreamRefused, policy.ListenRefused, policy.HTTP2Refused:
					if leg == llm.ResponseLeg {
						continue // an answer cannot have it
					}
				case policy.UpstreamFailed, policy.UpstreamTimeout:
					if leg == llm.RequestLeg {
						continue // nor a request this
					}
				}
				if (d.Refusal == nil) != passes {
					t.Errorf("%s on the %s, settings %03b: refusal %v", o, leg, bits, d.Refusal)
				}
				if passes && (o == policy.Unavailable || o == policy.Unscannable) && (d.Outcome != policy.Unscanned || d.Was != o) {
					t.Errorf("%s on the %s: passes as %s", o, leg, d.Outcome)
				}
				if (d.Body != nil) != (o == policy.Masked) {
					t.Errorf("%s: body %q", o, d.Body)
				}
			}
		}
	}
}

// A refusal always says something, with a status that no client takes for
// success, also when the leg cannot have the outcome.
func TestEachRefusalAnswers(t *testing.T) {
	s := policy.Settings{RequestMode: policy.Enforce, ResponseMode: policy.Enforce, BlockFailures: true, BlockFailuresResponse: true}
	for o := range policy.Outcomes {
		for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
			d := policy.Refuse(&vendor, &s, leg, &policy.Exchange{RequestID: "r-1", Path: "/v1/chat/completions"}, policy.Ended(o, ""))
			r := d.Refusal
			if r == nil || r.Status < 400 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
				t.Fatalf("%s on the %s: %+v", o, leg, r)
			}
			var body struct {
				Message   string
				RequestID string `json:"request_id"`
				Error     struct{ Code string }
			}
			if err := json.Unmarshal(r.Body, &body); err != nil || body.Message == "" || body.RequestID != "r-1" || body.Error.Code == "" {
				t.Errorf("%s on the %s: %s", o, leg, r.Body)
			}
		}
	}
}

// A mask whose place is not certain is a block.
func TestMaskWithoutAPlace(t *testing.T) {
	m := chat(t, "secret")
	s := policy.Settings{RequestMode: policy.Enforce}
	for name, masks := range map[string][]llm.Replacement{
		"no mask": nil, "another turn": {{Turn: 5}}, "before the first": {{Turn: -1}},
	} {
		d := policy.Decide(&vendor, &s, llm.RequestLeg, &policy.Exchange{}, policy.Finding{
			Outcome: policy.Masked, Message: m, Turns: m.Turns, Verdict: scan.Verdict{Masked: masks},
		})
		if d.Refusal == nil || d.Refusal.Status != 451 || d.Outcome != policy.Blocked || d.Reason != policy.ReasonMask || d.Body != nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestBlockMessage(t *testing.T) {
	s := policy.Settings{RequestMode: policy.Enforce, ResponseMode: policy.Enforce}
	for _, c := range []struct {
		leg           llm.Leg
		setting, want string
	}{
		{llm.RequestLeg, "", "no prompt"},
		{llm.ResponseLeg, "", "no answer"},
		{llm.RequestLeg, "Call us.", "Call us."},
		{llm.ResponseLeg, "Call us.", "Call us."},
	} {
		s.BlockMessage = c.setting
		d := policy.Decide(&vendor, &s, c.leg, &policy.Exchange{}, policy.Finding{Outcome: policy.Blocked, Verdict: scan.Verdict{ScanID: "s-1"}})
		var body struct{ Message string }
		if err := json.Unmarshal(d.Refusal.Body, &body); err != nil || body.Message != c.want || d.Refusal.Header.Get("X-Scan") != "s-1" {
			t.Errorf("%s %q: %s, %v", c.leg, c.setting, d.Refusal.Body, d.Refusal.Header)
		}
	}
}

// TestBlockAsMessage: what the service blocks is answered as a turn of the
// model's where the request asked for one, on either leg. Nothing else is.
func TestBlockAsMessage(t *testing.T) {
	s := policy.Settings{RequestMode: policy.Enforce, ResponseMode: policy.Enforce, RefuseAsMessage: true, BlockFailures: true, BlockFailuresResponse: true}
	read := func(path, body string) *llm.Message {
		m, err := llm.Read(llm.Input{Leg: llm.RequestLeg, Path: path, Body: []byte(body)}, llm.Limits{DecodedBytes: 1 << 20, Ratio: 100, Depth: 64})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	chat := read("/v1/chat/completions", `{"model":"gpt-5","messages":[{"role":"user","content":"x"}]}`)
	stamp := func() llm.Stamp { return llm.Stamp{ID: "1f"} }
	verdict := scan.Verdict{ScanID: "s-1\"\r\n", Details: []byte(`{"rule":"house"}`)}
	for o := range policy.Outcomes {
		for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
			x := &policy.Exchange{RequestID: "r-1", Path: "/v1/chat/completions", Stamp: stamp}
			f := policy.Finding{Outcome: o, Verdict: verdict, Message: chat}
			if leg == llm.ResponseLeg {
				x.Request, f.Message = chat, nil
			}
			r := policy.Refuse(&vendor, &s, leg, x, f).Refusal
			mark := r.Header.Get("X-AI-Guard-Refused")
			if o != policy.Blocked {
				if r.Status < 400 || mark != "" {
					t.Errorf("%s on the %s: %d, marked %q", o, leg, r.Status, mark)
				}
				continue
			}
			var body struct {
				ID, Model string
				Choices   []struct {
					Message struct{ Role, Content string }
				}
			}
			if err := json.Unmarshal(r.Body, &body); err != nil || len(body.Choices) != 1 || body.Choices[0].Message.Content != vendor.BlockMessage[leg] || body.Choices[0].Message.Role != "assistant" || body.ID != "chatcmpl-1f" || body.Model != "gpt-5" {
				t.Errorf("on the %s: %s", leg, r.Body)
			}
			if r.Status != 200 || mark != `p; request_id="r-1"; scan_id="s-1___"` || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("on the %s: %d %v", leg, r.Status, r.Header)
			}
		}
	}
	for name, x := range map[string]*policy.Exchange{
		"nothing is known of the request": {Path: "/v1/chat/completions", Stamp: stamp},
		"no turn was asked for":           {Path: "/v1/embeddings", Request: read("/v1/embeddings", `{"model":"m","input":"x"}`), Stamp: stamp},
		"a tool was called":               {Path: "/mcp", Request: read("/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`), Stamp: stamp},
	} {
		if r := policy.Refuse(&vendor, &s, llm.ResponseLeg, x, policy.Finding{Outcome: policy.Blocked}).Refusal; r.Status != 451 || r.Header.Get("X-AI-Guard-Refused") != "" {
			t.Errorf("%s: %d %v", name, r.Status, r.Header)
		}
	}
	s.RefuseAsMessage = false
	if r := policy.Refuse(&vendor, &s, llm.RequestLeg, &policy.Exchange{Stamp: stamp}, policy.Finding{Outcome: policy.Blocked, Message: chat}).Refusal; r.Status != 451 {
		t.Errorf("answered with %d", r.Status)
	}
}
