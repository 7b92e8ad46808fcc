// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/http"

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
	return &carried{seen: r.Seen, relayed: &relayed{
		engine: e, target: r.Target, caller: r.Caller, scout: r.Scout,
		exchange: &exchange{identity: r.Identity, named: r.Identity, token: r.Token},
	}}
}

// carried is an exchange that no access phase has sent.
type carried struct {
	*relayed
	seen func()
}

func (c *carried) Serve(w http.ResponseWriter, r *http.Request) {
	if c.seen != nil {
		c.seen()
	}
	c.relayed.Serve(w, r)
}

func (*carried) Missed() {}
