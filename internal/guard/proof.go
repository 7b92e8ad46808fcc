// SPDX-License-Identifier: Apache-2.0

package guard

import "sync"

// Kong asks every plugin of a request before it sends the request anywhere, and
// a plugin that runs after ours can send it elsewhere. So an exchange is
// relayed only where others of its kind were seen to come. Until then the
// exchanges are scouts: they are sent to the relay, which hands them on
// untouched, while the phases judge both legs with buffering on.
//
//	unproven -- a scout came --> proven -- a relayed one did not come --> unproven
//	unproven, proven -- a scout's answer came, the scout had not --> refuted

// A kind of exchanges is what may decide which plugins run, as far as an instance
// knows of it. The consumer is "" where nobody asked who that is.
type kind struct{ route, consumer string }

// A role is what becomes of an exchange.
type role uint8

const (
	// scouts are judged by the phases and sent to the relay.
	scouts role = iota
	// relays are judged by the relay.
	relays
	// stays are judged by the phases alone.
	stays
)

// A proof is what is known of a kind of exchanges.
type proof struct {
	role role
	// need is how many scouts still have to come. price is how many it takes
	// after the next exchange that is missed.
	need, price int
}

const (
	// maxProofs bounds the kinds that an instance remembers. A kind that is
	// forgotten has to be proven again.
	maxProofs = 10_000
	// Each exchange that is missed makes the next proof dearer. One that a later
	// plugin refused cannot be told from one that it sent elsewhere, and whoever
	// can cause the latter would have the rest of an instance's life to do it
	// over and over. Each scout is his risk to be found out for good.
	dearer, dearest = 4, 64
)

// proofs are those of an instance.
type proofs struct {
	mu   sync.Mutex
	of   map[kind]*proof
	most int
}

func newProofs() *proofs { return &proofs{of: map[kind]*proof{}, most: maxProofs} }

// role is what becomes of the next exchange of a kind. known is false for a
// kind of which nothing is known yet.
func (p *proofs) role(k kind) (r role, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.of[k]; known != nil {
		return known.role, true
	}
	return scouts, false
}

// get is called with the lock held.
func (p *proofs) get(k kind) *proof {
	of := p.of[k]
	if of != nil {
		return of
	}
	if len(p.of) >= p.most {
		for other := range p.of { // any: each can be proven again
			delete(p.of, other)
			break
		}
	}
	of = &proof{need: 1, price: dearer}
	p.of[k] = of
	return of
}

// came hears of a scout that the relay has seen. made is true for the one that
// completes the proof.
func (p *proofs) came(k kind) (made bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.get(k)
	if of.role != scouts {
		return false
	}
	if of.need--; of.need > 0 {
		return false
	}
	of.role = relays
	return true
}

// missed hears of a relayed exchange that never came. takenBack is true when
// there was a proof.
func (p *proofs) missed(k kind) (takenBack bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.get(k)
	if of.role == stays {
		return false
	}
	takenBack = of.role == relays
	of.role, of.need = scouts, of.price
	of.price = min(of.price*dearer, dearest)
	return takenBack
}

// refute hears of an exchange whose answer came although the relay had not seen
// its request: it went elsewhere. first is true for the first of its kind.
func (p *proofs) refute(k kind) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := p.get(k)
	first = of.role != stays
	of.role = stays
	return first
}
