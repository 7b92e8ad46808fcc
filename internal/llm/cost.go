// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A budget is what reading one body has cost so far, and what it may cost. The
// first error stays and ends the reading, since every loop over values checks
// it.
type budget struct {
	ctx   context.Context
	until time.Time
	grow  func(int64) error
	held  int64 // memory that the reading may take without asking
	used  int64 // memory that it has taken
	work  int   // bytes and values that were looked at
	next  int   // the work at which ctx is looked at again
	err   error
}

// workBetweenLooks is how much work, in bytes and values, is done between two
// looks at the context.
const workBetweenLooks = 1 << 15

// step counts n bytes or values that are looked at.
func (b *budget) step(n int) {
	if b.work += n; b.work >= b.next {
		b.look()
	}
}

func (b *budget) look() {
	b.next = b.work + workBetweenLooks
	if err := b.ctx.Err(); err != nil {
		b.fail(err)
	} else if !b.until.IsZero() && !time.Now().Before(b.until) {
		b.fail(context.DeadlineExceeded)
	}
}

// take counts n bytes of memory, and asks for more where they are not there.
func (b *budget) take(n int) {
	if b.used += int64(n); b.used > b.held && b.grow != nil {
		b.more()
	}
}

// growth is the least memory that is asked for at once. Large bodies ask for an
// eighth of what they have, so that they do not ask often.
const growth = 16 << 10

func (b *budget) more() {
	n := max(b.used-b.held, b.held/8, growth)
	if err := b.grow(n); err != nil {
		b.fail(err)
		b.grow = nil
		return
	}
	b.held += n
}

// fail ends the reading.
func (b *budget) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// What things take besides their text, in bytes. Slices that grow leave as much
// again behind.
const (
	turnBytes  = 160
	textBytes  = 512 // of a stream
	pathBytes  = 192
	spanBytes  = 32
	mediaBytes = 96
	shareBytes = 24
	markBytes  = 2 * 96
	groupBytes = 256      // of parts that are joined
	innerLarge = 64 << 10 // JSON in a string that is paid for before it is read
	manyValues = 1 << 10  // of a text whose index is estimated
)

// extra returns s with room for n more elements. It doubles what is full, so
// that little memory is left behind on the way. append alone leaves several
// times the whole.
func extra[T any](s []T, n int) []T {
	if cap(s)-len(s) < n {
		return slices.Grow(s, max(n, len(s)))
	}
	return s
}

// IndexBytes returns about what the index of a JSON text takes, and the search
// for equal names in it, before it is known whether the text is JSON.
func IndexBytes(body []byte) int64 {
	// A value comes first in its container or after a comma.
	values := bytes.Count(body, []byte{','}) + bytes.Count(body, []byte{'['}) + bytes.Count(body, []byte{'{'}) + 1
	names := min(values, bytes.Count(body, []byte{':'}))
	return int64(min(values, strictjson.MaxValues))*nodeBytes + int64(names)*nameBytes
}

const (
	nodeBytes = 24
	nameBytes = 40
)

// parseInner reads a JSON text that lies in another into a Doc of its own, which
// the caller has to Return; nil when it is none.
func (r *reader) parseInner(s []byte) *strictjson.Doc {
	r.step(len(s))
	if len(s) >= innerLarge {
		if r.take(int(IndexBytes(s))); r.err != nil {
			return nil
		}
	}
	d := strictjson.Borrow()
	if !d.Accepts(s, r.maxDepth) {
		d.Return()
		return nil
	}
	return d
}
