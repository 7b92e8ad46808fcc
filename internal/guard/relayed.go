// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/http"

	"kong-ai-guard/internal/relay"
)

// A relayed exchange is one whose request Kong sends to the relay: the access
// phase has learnt who calls what and where it goes, and everything else
// happens here.
type relayed struct {
	engine   *Engine
	exchange *exchange
	target   relay.Target
	caller   string
	// scout says that the phases judge the exchange, and that it is handed on
	// untouched: it only shows that requests of its kind come here.
	scout bool
	// seen hears that the request came, missed that it never did.
	seen, missed func()
}

// Serve carries the exchange, as relay.Exchange wants it.
func (x *relayed) Serve(w http.ResponseWriter, r *http.Request) {}

// Missed hears that the request never came.
func (x *relayed) Missed() { x.missed() }

var _ relay.Exchange = (*relayed)(nil)
