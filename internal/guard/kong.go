// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"net/http"

	"kong-ai-guard/internal/pdk"
)

// Kong is what the engine needs of the gateway during one event.
type Kong interface {
	// Batch sends all calls at once and reads their replies in order, each
	// into its Call. An error means that the connection is of no more use.
	Batch(calls ...*pdk.Call) error
	// Own says who the caller is that this event's replies take memory for,
	// also those that were read before.
	Own(caller string)
	// Exit answers the client. In the access phase it never comes back with
	// an answer of Kong's; nothing can be called after it in either phase.
	Exit(status int, header http.Header, body []byte) error
}
