// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// A textSum tells a text, and for whom it was judged, from all others.
type textSum [sha256.Size]byte

// knownTexts remembers texts that the service has allowed. A program repeats its
// tools with each request, 100 KB of them, and they change seldom; but where they
// do, whoever serves a tool has changed them, so the one that is new has to be
// scanned. The zero value is ready. It holds twice maxKnown sums at most.
type knownTexts struct {
	mu            sync.Mutex
	recent, older map[textSum]struct{}
}

// maxKnown is how many texts are remembered before the older ones may go.
const maxKnown = 8192

// has reports whether a text is known, which keeps it known.
func (k *knownTexts) has(sum textSum) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.recent[sum]; ok {
		return true
	}
	_, ok := k.older[sum]
	if ok {
		k.put(sum)
	}
	return ok
}

func (k *knownTexts) add(sum textSum) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(sum)
}

func (k *knownTexts) put(sum textSum) {
	if len(k.recent) >= maxKnown {
		k.recent, k.older = nil, k.recent
	}
	if k.recent == nil {
		k.recent = make(map[textSum]struct{})
	}
	k.recent[sum] = struct{}{}
}

// sumOf is the sum of a definition. The service may judge by the application, so
// what it allowed to one caller, or under the name of one of Kong's services, is
// known there alone.
func sumOf(t *llm.Turn, c *content, x *exchange) (sum textSum) {
	h := sha256.New()
	for _, s := range [...]string{
		c.claim, x.identity.Consumer.ID, x.identity.Consumer.Username, x.identity.Consumer.CustomID, x.identity.Service, c.message.Model, string(t.Role), t.Text,
	} {
		_ = binary.Write(h, binary.LittleEndian, int64(len(s)))
		h.Write([]byte(s))
	}
	h.Sum(sum[:0])
	return sum
}

// leaveOutKnown takes the definitions that the service has allowed before out of
// what is judged, unless nothing else would be left.
func (e *Engine) leaveOutKnown(c *content, x *exchange) {
	if e.known == nil || !slices.ContainsFunc(c.turns, func(t llm.Turn) bool { return t.Kind != llm.KindToolDef }) {
		return
	}
	turns, picked := c.turns[:0:0], c.picked[:0:0]
	for i := range c.turns {
		if t := &c.turns[i]; t.Kind == llm.KindToolDef && e.known.has(sumOf(t, c, x)) {
			continue
		}
		turns, picked = append(turns, c.turns[i]), append(picked, c.picked[i])
	}
	c.turns, c.picked = turns, picked
}

// keepKnown remembers the definitions that were judged and allowed.
func (e *Engine) keepKnown(c *content, x *exchange) {
	if e.known == nil || c.message.Leg != llm.RequestLeg {
		return
	}
	for i := range c.turns {
		if t := &c.turns[i]; t.Kind == llm.KindToolDef {
			e.known.add(sumOf(t, c, x))
		}
	}
}
