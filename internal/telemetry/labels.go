// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"strings"
	"sync"
)

const (
	// maxReasons bounds the values of the label "reason".
	maxReasons = 100
	otherLabel = "other"
)

// reasons turns the reason of a leg's end into a label. Reasons are texts of
// ours, from fixed sets, but the sets lie in many packages. Whatever they grow
// to, the label has at most a hundred values and "other".
type reasons struct {
	mu   sync.RWMutex
	seen map[string]bool
}

func (r *reasons) label(reason string) string {
	reason = statusClass(reason)
	r.mu.RLock()
	known, full := r.seen[reason], len(r.seen) >= maxReasons
	r.mu.RUnlock()
	switch {
	case known:
		return reason
	case full:
		return otherLabel
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	if !r.seen[reason] && len(r.seen) >= maxReasons {
		return otherLabel
	}
	r.seen[reason] = true
	return reason
}

// statusClass turns "... status 503" into "... status 5xx".
func statusClass(reason string) string {
	const word = "status "
	at := strings.LastIndex(reason, word)
	if digits := at + len(word); at >= 0 && len(reason) == digits+3 && reason != word+"429" {
		return reason[:digits+1] + "xx"
	}
	return reason
}
