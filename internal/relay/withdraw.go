// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// headerPrefix is what the names of all token headers begin with.
	headerPrefix = "X-Relay-"
	// methodWithdraw says to the relay of another plugin that the exchange of a
	// token will not come. Without a token it says nothing, and a client that
	// sends it through Kong only ends his own request.
	methodWithdraw = "WITHDRAW"
	withdrawTime   = 5 * time.Second
)

// Withdraw tells the next relay, if t is one, that r will not come: where two
// plugins are chained, the second expects what the first one ends, and would
// take it for a request that went elsewhere. It does not wait.
func (c *Client) Withdraw(r *http.Request, t *Target) {
	tokens := http.Header{}
	for name, values := range r.Header {
		if strings.HasPrefix(name, headerPrefix) && len(values) == 1 && isToken(values[0]) {
			tokens[name] = values
		}
	}
	if ip := net.ParseIP(hostname(t.Address)); len(tokens) == 0 || t.Scheme != "http" || ip == nil || !ip.IsLoopback() {
		return
	}
	to := *t
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), withdrawTime)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, methodWithdraw, "/", http.NoBody)
		if err != nil {
			return
		}
		request.Header, request.RequestURI = tokens, "/"
		if answer, err := c.Forward(ctx, request, nil, &to); err == nil {
			answer.Body.Close()
		}
	}()
}

// isToken keeps what a client writes into such a header from going anywhere.
func isToken(s string) bool {
	return len(s) == 2*tokenBytes && strings.Trim(s, "0123456789abcdef") == ""
}
