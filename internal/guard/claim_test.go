// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/policy"
	"kong-ai-guard/internal/scan"
)

// claimer listens to the member "guardrails" and the header X-Claim.
type claimer struct{ *scanner }

func (claimer) ClaimMember() string { return "guardrails" }

func (claimer) Claim(member []byte, header http.Header) string {
	if s := gjson.GetBytes(member, "claim").Str; s != "" {
		return s
	}
	return header.Get("X-Claim")
}

const (
	claiming    = `{"model":"gpt-4o","guardrails":{"claim":"from the body"},"messages":[{"role":"user","content":"what is the capital of France?"}]}`
	withoutThat = `{"model":"gpt-4o","messages":[{"role":"user","content":"what is the capital of France?"}]}`
)

// What the client says for the scanner is known on both legs, in every mode,
// however much of the exchange is looked at; and only in enforce mode does the
// request change.
func TestClaims(t *testing.T) {
	all := []policy.Mode{policy.Enforce, policy.Monitor, policy.Off}
	for _, request := range all {
		for _, response := range all {
			t.Run(string(request)+" and "+string(response), func(t *testing.T) {
				w := newWorld(t)
				sc := &scanner{}
				k := chatRequest(t).set("x-claim", "from the header")
				k.body = claiming
				k.run(newEngine(w.Process, noma(), modes(request, response), claimer{sc}))
				w.Flush(context.Background())
				switch {
				case request == policy.Enforce && (k.upstreamBody == nil || *k.upstreamBody != withoutThat):
					t.Errorf("the upstream got %v", k.upstreamBody)
				case request != policy.Enforce && k.upstreamBody != nil:
					t.Errorf("the request was changed: %s", *k.upstreamBody)
				}
				want := "from the body"
				if request == policy.Off {
					want = "from the header"
				}
				for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
					for _, s := range sc.seen(leg) {
						if s.Claim != want && (leg == llm.RequestLeg || request != policy.Off || response != policy.Monitor) {
							t.Errorf("%s: claim %q, want %q", leg, s.Claim, want)
						}
						if strings.Contains(s.Turns[len(s.Turns)-1].Text, "claim") {
							t.Errorf("%s: scanned %+v", leg, s.Turns)
						}
					}
				}
			})
		}
	}
}

func TestClaimBesideAMask(t *testing.T) {
	w := newWorld(t)
	v := noma()
	v.Masks = true
	k := chatRequest(t).set("content-md5", "x")
	k.body = claiming
	k.run(newEngine(w.Process, v, strict(), claimer{&scanner{request: maskAll}}))
	if want := `{"model":"gpt-4o","messages":[{"role":"user","content":"***"}]}`; k.upstreamBody == nil || *k.upstreamBody != want {
		t.Errorf("the upstream got %v", k.upstreamBody)
	}
	if !contains(k.clearedRequest, "content-md5") {
		t.Errorf("cleared %v", k.clearedRequest)
	}
}

// What passes without a verdict goes on without the member too.
func TestClaimOfAnUnscannedRequest(t *testing.T) {
	w := newWorld(t)
	s := strict()
	s.BlockFailures = false
	k := chatRequest(t)
	k.body = claiming
	k.run(newEngine(w.Process, noma(), s, claimer{&scanner{request: fails(refused())}}))
	if k.upstreamBody == nil || *k.upstreamBody != withoutThat {
		t.Errorf("the upstream got %v", k.upstreamBody)
	}
}

// A scanner that listens to nothing has the body left alone.
func TestNoClaimer(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.body = claiming
	k.run(newEngine(w.Process, noma(), strict(), &scanner{}))
	if k.upstreamBody != nil || k.exit != nil {
		t.Errorf("the upstream got %v", k.upstreamBody)
	}
}

// Details stand in the answer to a block, and in no other.
func TestDetails(t *testing.T) {
	details := []byte(`{"prompt":{"x":{"result":true}}}`)
	for _, c := range []struct {
		name string
		scan func(context.Context, *scan.Scan) (scan.Verdict, error)
		want string
	}{
		{"block", verdict(scan.Verdict{Action: scan.Block, Details: details}), string(details)},
		{"block without", verdict(scan.Verdict{Action: scan.Block}), ""},
		{"no action", verdict(scan.Verdict{Details: details}), ""},
	} {
		w := newWorld(t)
		k := chatRequest(t).run(newEngine(w.Process, noma(), strict(), &scanner{request: c.scan}))
		if got := gjson.Get(k.exit.body, "error.details").Raw; got != c.want {
			t.Errorf("%s: details %q in %s", c.name, got, k.exit.body)
		}
	}
}

// A stream that is monitored flows or is reported whole, as configured.
func TestMonitoredStreams(t *testing.T) {
	stream := "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Par\"}}]}\n\n" +
		"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"is.\"}}]}\n\ndata: [DONE]\n\n"
	for _, buffer := range []bool{false, true} {
		w := newWorld(t)
		s := modes(policy.Monitor, policy.Monitor)
		s.BufferMonitoredStreams = buffer
		sc := &scanner{}
		k := chatRequest(t)
		k.body = `{"stream":true,"messages":[{"role":"user","content":"hi"}]}`
		k.answer, k.answerHeader["content-type"] = stream, "text/event-stream"
		k.run(newEngine(w.Process, noma(), s, sc))
		w.Flush(context.Background())
		if k.buffered() != buffer {
			t.Errorf("buffer %v: buffered %v", buffer, k.buffered())
		}
		if len(sc.seen(llm.RequestLeg)) != 1 {
			t.Errorf("buffer %v: the request was not reported", buffer)
		}
		unseen := w.metric("unscanned_total", "response", "monitored stream")
		answers := sc.seen(llm.ResponseLeg)
		if buffer && (len(answers) != 1 || answers[0].Turns[0].Text != "Paris." || unseen != 0) || !buffer && (len(answers) != 0 || unseen != 1) {
			t.Errorf("buffer %v: %d answers reported, %v counted as not seen", buffer, len(answers), unseen)
		}
		if l := k.leg("noma-runtime-protection", "response"); l["action"] != map[bool]string{true: "pending", false: "unscanned"}[buffer] {
			t.Errorf("buffer %v: access log %v", buffer, k.serialized)
		}
	}
}
