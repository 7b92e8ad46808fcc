// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"

	"kong-ai-guard/internal/pdk"
)

// verifiedTokenKey is where Kong's jwt plugin leaves the token that it has
// verified, in the context that the plugins of a request share. Clients have
// no way to write there.
const verifiedTokenKey = "authenticated_jwt_token"

// verifiedToken gives the request's bearer token if it is the one that Kong
// has verified. A consumer, or a credential of another kind, says nothing of
// a token that is sent along.
func verifiedToken(shared *pdk.Call, h pdk.Header) (string, error) {
	verified, err := shared.Value()
	if err != nil {
		return "", err
	}
	if verified.Kind != pdk.ValueText || verified.Text == "" || repeated(h, "Authorization") {
		return "", nil
	}
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token != verified.Text {
		return "", nil
	}
	return token, nil
}
