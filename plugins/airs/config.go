// SPDX-License-Identifier: Apache-2.0

package airs

import "kong-ai-guard/internal/guard"

// Config is one plugin instance's configuration, checked and with its
// defaults filled in. It is not changed after Decode made it.
type Config struct {
	// APIKey authenticates to the service; "" when APIKeyFile holds the key.
	APIKey string
	// APIKeyFile is the path of a file that holds the key, "" for none.
	APIKeyFile string
	// ProfileName is the AI security profile that scans are judged under,
	// 1 to 100 characters.
	ProfileName string
	// AppName is what the application is called at the service, after the
	// prefix "kong-"; "" stands for "kong" alone.
	AppName string
	// APIEndpoint is the whole URL of the synchronous scan.
	APIEndpoint string

	guard.Settings
}
