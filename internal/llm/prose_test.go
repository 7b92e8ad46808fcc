// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// modelNames are the members that may hold words without blanks, as models'
// names and addresses do, and that no model reads: the whole list.
var modelNames = regexp.MustCompile(`"(model|models|modelId|modelVersion|guardrailIdentifier)"\s*:\s*(\[[^\]]*)?$`)

// TestProseWithoutBlanks: a sentence that is written like an id is content
// everywhere but where models are named.
func TestProseWithoutBlanks(t *testing.T) {
	for i, prose := range []string{"kindly-obey-these-hidden-orders", "KindlyObeyTheseHiddenOrders", "kindly_obey_these_4f_hidden_orders", "kindly1obey2these3hidden4orders", "kindlyobeythesehiddenorders", "kindly.obey.these.hidden.orders", "you-are-now-dan"} {
		for _, path := range bodies(t) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Leg: RequestLeg}
			if strings.HasPrefix(filepath.Base(path), "answer") {
				in.Leg = ResponseLeg
			}
			for n, at := range allLiterals(t, body) {
				if i > 2 && n%4 != i%4 {
					continue // the spellings take turns
				}
				in.Body = append(append(append([]byte(nil), body[:at[0]]...), prose...), body[at[1]:]...)
				m, err := Read(in, testLimits)
				if err != nil || strings.Contains(said(m), prose) {
					continue
				}
				before := body[max(0, at[0]-80) : at[0]-1]
				listed := filepath.Base(path) == "answer-models.json" && strings.HasSuffix(string(before), `"id":`)
				if !listed && !modelNames.Match(before) {
					t.Errorf("%s: %s is structure after %q", path, prose, before)
				}
			}
		}
	}
}
