// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// Relayed is what the access phase knows of an exchange that it sends to the
// relay.
type Relayed struct {
	Target        relay.Target
	Caller, Token string
	Identity      scan.Identity
	Scout         bool
	Seen          func()
}

// Relayed makes an exchange that the relay is to carry.
func (e *Engine) Relayed(r Relayed) relay.Exchange {
	seen := r.Seen
	if seen == nil {
		seen = func() {}
	}
	return &relayed{
		engine: e, target: r.Target, caller: r.Caller, scout: r.Scout, seen: seen, missed: func() {},
		exchange: &exchange{identity: r.Identity, named: r.Identity, token: r.Token},
	}
}
