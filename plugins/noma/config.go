// SPDX-License-Identifier: Apache-2.0

package noma

import "kong-ai-guard/internal/guard"

// Config is one plugin instance's configuration, checked and with its
// defaults filled in. It is not changed after Decode made it.
type Config struct {
	// APIBase is the service's URL without a trailing slash; the paths of
	// the scan and of the token endpoint are appended to it.
	APIBase string
	// ApplicationID is the application that exchanges are reported under;
	// "" takes it from the Kong consumer.
	ApplicationID string
	// ClientID and ClientSecret are the OAuth client credentials.
	// ClientSecret is "" when ClientSecretFile holds it.
	ClientID, ClientSecret string
	// ClientSecretFile is the path of a file that holds the secret, "" for none.
	ClientSecretFile string

	guard.Settings
}
