// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestMasksOfPartsAtRandom: what a service wants masked in parts, and in the turns
// that join them, is masked in the body, or the masks have no certain place. Long
// parts, of which only the ends are joined, say the same again and again: that makes
// them hard to tell apart from their middle.
func TestMasksOfPartsAtRandom(t *testing.T) {
	const note = "\n<system-reminder>\nx\n</system-reminder>\n"
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	lengths := []int{10, joinedEdge - 1, joinedEdge, joinedEdge + 1, maxJoined - 10, maxJoined, maxJoined + 1, 6000}
	done := 0
	for range 3000 {
		var content []string
		for range 2 + rng.IntN(3) {
			var b strings.Builder
			for range 1 + rng.IntN(4) {
				switch rng.IntN(8) {
				case 0:
					b.WriteString(note)
				case 1, 2:
					b.WriteString(strings.Repeat(pick("a", "S", "aS", "*", "S*", "é", "ab S "), lengths[rng.IntN(len(lengths))]))
				default:
					b.WriteString(pick("S", "a", "*", "SS", "aSa", "é", " ", "S\n"))
				}
			}
			quoted, err := json.Marshal(b.String())
			if err != nil {
				t.Fatal(err)
			}
			content = append(content, `{"type":"text","text":`+string(quoted)+`}`)
		}
		body := `{"messages":[{"role":"user","content":[` + strings.Join(content, ",") + `]}]}`
		m, err := Read(Input{Path: "/v1/messages", Body: []byte(body)}, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		turns, restore := m.Turns, func(r []Replacement) []Replacement { return r }
		s := m.Separate(m.Turns, nil)
		if s != nil {
			turns, restore = s.Turns, s.Restore
		}
		mask := pick("*", "", "a", "****", "[x]", "aa")
		all, each := rng.IntN(2) == 0, rng.IntN(4) > 0 // of the turns, of what is secret in one
		var masks []Replacement
		for i := range turns {
			if strings.Contains(turns[i].Text, "S") && (all || rng.IntN(2) == 0) {
				n := -1
				if !each {
					n = 1 + rng.IntN(2)
				}
				masks = append(masks, Replacement{i, strings.Replace(turns[i].Text, "S", mask, n)})
			}
		}
		if len(masks) == 0 {
			continue
		}
		got, err := m.Replace(restore(masks))
		if err != nil {
			continue
		}
		done++
		if all && each && strings.Contains(string(got), "S") {
			t.Fatalf("left unmasked with %q", mask)
		}
		if len(mask) != 1 {
			continue
		}
		// Each text stands where it stood, and what was masked says what was asked for.
		after, err := Read(Input{Path: "/v1/messages", Body: got}, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		now := after.Turns
		if apart := after.Separate(after.Turns, nil); apart != nil {
			now = apart.Turns
		}
		if len(now) != len(turns) {
			t.Fatalf("%d turns became %d", len(turns), len(now))
		}
		for _, r := range masks {
			if now[r.Turn].Text != r.Text {
				t.Fatalf("turn %d of %d with %q: %.80q, want %.80q", r.Turn, len(turns), mask, now[r.Turn].Text, r.Text)
			}
		}
	}
	if done == 0 {
		t.Error("no mask found its place")
	}
}
