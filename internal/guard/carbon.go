// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"io"
	"sync"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// firstRoom is how much memory a body of unknown length gets at first.
const firstRoom = 8 << 10

// A carbon keeps a copy of a body that passes by, within a limit. Its memory is
// the monitor queue's. It never holds up who writes. Its methods may be called
// at once: an upstream may answer before it has the whole request.
type carbon struct {
	engine *Engine
	caller string
	limit  int64

	mu     sync.Mutex
	bytes  []byte
	held   int64
	whole  bool // all of the body has passed
	cut    bool // the body is longer than the limit: this is its beginning
	fault  error
	closed bool
}

func (e *Engine) carbon(caller string, leg llm.Leg) *carbon {
	return &carbon{engine: e, caller: caller, limit: e.settings.MaxBytes(leg)}
}

// add copies what has passed.
func (k *carbon) add(p []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.fault != nil || k.cut {
		return
	}
	if left := k.limit - int64(len(k.bytes)); int64(len(p)) > left {
		p, k.cut = p[:left], true
	}
	n := int64(len(k.bytes) + len(p))
	if n > int64(cap(k.bytes)) {
		room := min(max(firstRoom, 2*int64(cap(k.bytes)), n), k.limit)
		if !k.engine.process.monitor.bytes.offerOrCount(k.caller, room) {
			k.drop(pdk.ErrNoRoom)
			return
		}
		grown := make([]byte, len(k.bytes), room)
		copy(grown, k.bytes)
		k.engine.process.monitor.bytes.release(k.caller, k.held)
		k.bytes, k.held = grown, room
	}
	k.bytes = append(k.bytes, p...)
}

// end says that the body is whole.
func (k *carbon) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.whole = true
}

// drop is called with the lock held.
func (k *carbon) drop(fault error) {
	k.engine.process.monitor.bytes.release(k.caller, k.held)
	k.bytes, k.held, k.fault = nil, 0, fault
}

// isWhole reports whether all of the body has passed.
func (k *carbon) isWhole() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.whole
}

// take returns the copy, which counts for nobody any more, and keeps no other.
// cut says that it is only the beginning of a body that is too large.
func (k *carbon) take() (b []byte, cut bool, fault error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, cut, fault = k.bytes, k.cut, k.fault
	k.drop(nil)
	k.closed = true
	return b, cut, fault
}

// A carbonReader is a request's body of which a copy is kept.
type carbonReader struct {
	io.ReadCloser
	copy *carbon
	// left is how much is to come, less than 0 if that is not known. Whoever
	// reads as much as was announced does not wait for the end.
	left int64
}

func (r *carbonReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.copy.add(p[:n])
	r.left -= int64(n)
	if err == io.EOF || r.left == 0 {
		r.copy.end()
	}
	return n, err
}

// monitor hands the leg's copy to the queue, if there is something to judge,
// and returns what was found so far.
func (p *run) monitor(k *carbon, in llm.Input, status int) policy.Finding {
	b := body{in: in, own: true}
	b.in.Body, b.cut, b.fault = k.take()
	var f policy.Finding
	if b.fault == pdk.ErrNoRoom {
		p.engine.process.monitor.dropped(1)
		f = policy.Ended(policy.Unscanned, policy.ReasonQueueFull)
	} else {
		f = p.reserveMonitored(&b)
	}
	if p.leg == llm.RequestLeg {
		p.exchange.access = p.report(&f)
	}
	p.note(&f)
	if f.Outcome == policy.Pending {
		p.submit(&b, status)
	}
	return f
}
