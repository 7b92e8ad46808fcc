// SPDX-License-Identifier: Apache-2.0

package kong_test

import (
	"net/http"
	"strings"
	"testing"
)

// A modePair is what the two plugins of a route do, on both legs.
type modePair struct{ prisma, prismaRelay, noma, nomaRelay string }

// name is that of its route. No name is the beginning of another one.
func (p modePair) name() string {
	return strings.Join([]string{"pair", p.prisma, p.prismaRelay, p.noma, p.nomaRelay, "end"}, "-")
}

func modePairs() (pairs []modePair) {
	modes, relays := []string{"enforce", "monitor", "off"}, []string{"off", "on"}
	for _, p := range modes {
		for _, n := range modes {
			for _, pr := range relays {
				for _, nr := range relays {
					pairs = append(pairs, modePair{p, pr, n, nr})
				}
			}
		}
	}
	return pairs
}

// TestModePairs has both plugins on one route, each relayed or not: whatever the
// other one does, the one that enforces scans both legs.
func TestModePairs(t *testing.T) {
	h := open(t, 1)
	for _, pair := range modePairs() {
		enforced := pair.prisma == "enforce" || pair.noma == "enforce"
		for round := range 2 { // the first one proves where requests go
			for _, stream := range []bool{false, true} {
				ask := func(prompt string) (a answer, said string, calls int) {
					h.llm.Forget()
					a, err := h.ask(t.Context(), question{route: pair.name(), prompt: prompt, stream: stream})
					if err != nil {
						t.Errorf("%+v, round %d, stream %v, %q: %v", pair, round, stream, prompt, err)
					}
					said = a.body
					if stream && a.status == http.StatusOK {
						said = text(a.body)
					}
					return a, said, len(h.llm.Requests())
				}
				if a, said, calls := ask(harmless); a.status != http.StatusOK || !strings.Contains(said, "2 + 2 = 4.") || calls != 1 {
					t.Errorf("%+v, round %d, stream %v: %d %s after %d calls", pair, round, stream, a.status, a.body, calls)
				}
				if a, _, calls := ask(malicious); enforced == (calls > 0) || enforced == (a.status == http.StatusOK) {
					t.Errorf("%+v, round %d, stream %v, malicious prompt: %d %s after %d calls", pair, round, stream, a.status, a.body, calls)
				}
				if a, said, calls := ask(leading); enforced == strings.Contains(said, "how to hack") || calls != 1 {
					t.Errorf("%+v, round %d, stream %v, malicious answer: %d %s after %d calls", pair, round, stream, a.status, a.body, calls)
				}
			}
		}
	}
}
