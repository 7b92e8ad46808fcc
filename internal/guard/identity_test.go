// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"testing"

	"kong-ai-guard/internal/llm"
)

// An instance of one consumer knows who calls; another asks each time.
func TestConsumerOfAnInstance(t *testing.T) {
	for _, scoped := range []bool{true, false} {
		w := newWorld(t)
		s := strict()
		s.ScopedToConsumer = scoped
		sc := &scanner{}
		e := newEngine(w.Process, noma(), s, sc)
		asked := 0
		for range 3 {
			asked += chatRequest(t).run(e).count("kong.client.get_consumer")
		}
		if want := map[bool]int{true: 1, false: 3}[scoped]; asked != want {
			t.Errorf("scoped %v: asked %d times", scoped, asked)
		}
		for _, sc := range sc.seen(llm.RequestLeg) {
			if sc.Identity.Consumer.Username != "alice" {
				t.Errorf("scoped %v: consumer %+v", scoped, sc.Identity.Consumer)
			}
		}
	}
}

func TestOnlyAVerifiedTokenIsGiven(t *testing.T) {
	const token = "h.p.s"
	for _, tc := range []struct {
		name          string
		authorization []string
		verified      any
		want          string
	}{
		{"verified", []string{"Bearer " + token}, token, token},
		{"another case", []string{"bearer  " + token}, token, token},
		{"nobody verified it", []string{"Bearer " + token}, nil, ""},
		{"another one was verified", []string{"Bearer " + token}, "x.y.z", ""},
		{"no token, none verified", nil, "", ""},
		{"verified from elsewhere", nil, token, ""},
		{"another scheme", []string{"Basic " + token}, token, ""},
		{"two headers", []string{"Bearer " + token, "Bearer forged"}, token, ""},
		{"no text", []string{"Bearer true"}, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := prisma()
			v.Needs.Token = true
			s := &scanner{}
			k := chatRequest(t)
			k.shared["authenticated_jwt_token"] = tc.verified
			for _, a := range tc.authorization {
				k.headers = append(k.headers, [2]string{"authorization", a})
			}
			k.run(newEngine(newWorld(t).Process, v, strict(), s))
			for _, leg := range []llm.Leg{llm.RequestLeg, llm.ResponseLeg} {
				if scans := s.seen(leg); len(scans) != 1 || scans[0].Token != tc.want {
					t.Errorf("%v: %+v", leg, scans)
				}
			}
		})
	}
	t.Run("not asked for", func(t *testing.T) {
		k := chatRequest(t).run(newEngine(newWorld(t).Process, prisma(), strict(), &scanner{}))
		if n := k.count("kong.ctx.shared.get"); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}
