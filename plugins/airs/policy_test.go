// SPDX-License-Identifier: Apache-2.0

package airs_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

func TestABlockIsABlockWhenFailuresPass(t *testing.T) { // 19
	h := build(t, map[string]any{"block_failures": false})
	h.airs.SetFault(fakeairs.Fault{Body: `{"action":"block","category":"malicious"}`})
	if r := h.post(t, chatPath, chat("hi"), completion("x")); r.status != 403 {
		t.Errorf("%+v", r)
	}
}

func TestErrorsOfTheUpstreamPassAsTheyAre(t *testing.T) { // 80 to 82
	h := build(t, map[string]any{"max_response_body_bytes": 2048})
	problem := `{"error":{"message":"how to hack the rate limit"}}`
	large := `{"error":{"message":"` + strings.Repeat("x", 4096) + `"}}`
	for _, tc := range []struct {
		upstream int
		say      string
		status   int
		scans    int // of the answer
	}{
		{500, problem, 500, 0},
		{429, problem, 429, 0},
		{502, large, 502, 0},
		{200, completion(strings.Repeat("x", 4096)), 502, 0},
		{200, completion("fine"), 200, 1},
	} {
		before := len(h.airs.Requests())
		h.mu.Lock()
		h.status = tc.upstream
		h.mu.Unlock()
		r := h.post(t, chatPath, chat("hi"), tc.say)
		scans := len(h.airs.Requests()) - before - 1
		if r.status != tc.status || scans != tc.scans || tc.upstream >= 400 && r.body != tc.say {
			t.Errorf("%d: %d scans, %+v", tc.upstream, scans, r)
		}
	}
}

func TestOddBodiesGetAStatusOfOurs(t *testing.T) { // 85 to 87
	h := build(t, nil)
	for _, tc := range []struct {
		body, say string
		statuses  string
	}{
		{`{"messages":[1]}`, completion("x"), "415"},
		{`{"messages":[null]}`, completion("x"), "200 403"},
		{`{"messages":[{"role":"user","content":[1,2,3]}]}`, completion("x"), "415"},
		{`{"messages":"hi"}`, completion("x"), "200 403"},
		{`{"messages":[{"role":"user","content":" \n"}]}`, completion("x"), "200 403"},
		{`{"messages":`, completion("x"), "400"},
		{chat("hi"), `{"choices":[{"delta":{"content":"x"}}]}`, "200"},
		{chat("hi"), `{"choices":[null,5,"x"]}`, "200"},
		{chat("hi"), `null`, "200"},
		{chat("hi"), `{"choices":[`, "200 502"},
	} {
		r := h.post(t, chatPath, tc.body, tc.say)
		if !strings.Contains(tc.statuses, strconv.Itoa(r.status)) {
			t.Errorf("%s, %s: %+v", tc.body, tc.say, r)
		}
	}
	for _, q := range h.airs.Requests() {
		if q.Status != 200 {
			t.Errorf("the service refused %s", q.Body)
		}
	}
}

func TestMethodsWithoutABodyPass(t *testing.T) { // 103
	h := build(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodOptions, http.MethodHead} {
		r, err := http.NewRequestWithContext(t.Context(), method, h.gateway.URL()+"/llm/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
	if n := h.airs.Calls(); n != 0 {
		t.Errorf("%d scans", n)
	}
}
