// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/netip"
	"time"

	"kong-ai-guard/internal/pdk"
)

// What the process has is shared out among callers. A caller is the consumer
// that Kong has authenticated, else the client's address as Kong takes it from
// trusted proxies. Learning who it is costs Kong's worker two calls. Where the
// scan does not need them, they are made only while it matters: while half or
// more of something is taken, or shortly after a scan has failed.

// remembersFailure is how long after a failed scan callers are told apart. It
// is longer than a breaker stays open.
const remembersFailure = time.Minute

// callerOf names a caller, "" if nothing is known of him. It takes only the
// network of an IPv6 address, because everybody has as many addresses as he
// likes.
func callerOf(consumer, address string) string {
	if consumer != "" {
		return "consumer " + consumer
	}
	if address == "" {
		return ""
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Unmap().Is4() {
		return "address " + address
	}
	network, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return "address " + address
	}
	return "address " + network.String()
}

// pressed reports whether it matters who takes what.
func (p *Process) pressed() bool {
	if p.Room.shares.tight.Load() || p.work.shares.tight.Load() || p.slots.tight.Load() ||
		p.monitor.items.tight.Load() || p.monitor.bytes.tight.Load() {
		return true
	}
	failed := p.failed.Load()
	return failed != 0 && time.Since(time.Unix(0, failed)) < remembersFailure
}

// knowCaller finds out who the caller is, if that matters. The error is
// pdk.ErrGone; a reply that cannot be read leaves him unknown.
func (p *phase) knowCaller() error {
	if p.caller != "" || !p.engine.process.pressed() {
		return nil
	}
	if known := p.engine.consumer.Load(); known != nil && known.ID != "" {
		p.own(callerOf(known.ID, ""))
		return nil
	}
	consumer, address := pdk.ClientConsumer(), pdk.ClientForwardedIP()
	if err := p.batch(&consumer, &address); err != nil {
		return err
	}
	who, err := consumer.Consumer()
	if err != nil {
		return nil
	}
	ip, err := address.Text()
	if err != nil {
		ip = ""
	}
	p.own(callerOf(who.ID, ip))
	return nil
}

// own notes who the caller is once that is known. What the event has taken so
// far counts for him.
func (p *phase) own(caller string) {
	if p.caller != "" || caller == "" {
		return
	}
	p.caller = caller
	p.kong.Own(caller)
	p.engine.process.Room.Move("", caller, p.held)
	p.engine.process.work.Move("", caller, p.working)
}
