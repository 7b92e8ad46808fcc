// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// masks finds the turn that each masked text belongs to. That is certain only
// when every text has exactly one place, no item whose sensitive data fired is
// left unmasked, and something changes. A mask on the wrong turn would let
// through what the service wanted masked, so there is no best guess.
func masks(entries []entry, p *payload, turns []llm.Turn) (found []llm.Replacement, certain bool) {
	for i := range entries {
		e := &entries[i]
		if e.masked == "" {
			if e.sensitive {
				return nil, false
			}
			continue
		}
		it, ok := place(entries, i, p.items)
		if !ok {
			return nil, false
		}
		sent := p.sent[it.from:it.to]
		// Replace finds out whether the mask of a joined turn is the one of its
		// parts.
		if len(sent) == 1 && it.verbatim && (turns[sent[0]].Maskable || turns[sent[0]].Joined) {
			if turns[sent[0]].Text != e.masked {
				found = append(found, llm.Replacement{Turn: sent[0], Text: e.masked})
				continue
			}
		}
		// The service may repeat a text in which it masked nothing.
		if e.sensitive || !says(e.masked, sent, turns) {
			return nil, false
		}
	}
	return found, len(found) > 0
}

// place returns the item that entry n is about. When there are as many entries
// as items, they are in the same order. Else an entry has a place only if it is
// the one entry of its role and there is one item of that role.
func place(entries []entry, n int, items []item) (item, bool) {
	e := &entries[n]
	if len(entries) == len(items) {
		it := items[n]
		if e.kind != "" && e.kind != it.kind || e.role != "" && it.role != "" && e.role != it.role {
			return item{}, false
		}
		return it, true
	}
	if e.role == "" {
		return item{}, false
	}
	for i := range entries {
		if i != n && (entries[i].role == e.role || entries[i].role == "") {
			return item{}, false
		}
	}
	var only item
	count := 0
	for _, it := range items {
		if it.role == e.role {
			only = it
			count++
		}
	}
	return only, count == 1
}

// says reports whether text is what the turns say, white space aside.
func says(text string, sent []int, turns []llm.Turn) bool {
	words := strings.Fields(text)
	for _, i := range sent {
		for word := range strings.FieldsSeq(turns[i].Text) {
			if len(words) == 0 || words[0] != word {
				return false
			}
			words = words[1:]
		}
	}
	return len(words) == 0
}
