// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

// A scan is sent on the goroutine that waits for it, which costs half of what
// net/http's client does. One header too many would undo that unseen.
func TestScansAreSentDirectly(t *testing.T) {
	_, c := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "secret"})
	s := scanner(t, c)
	before := leaks.NetHTTPConnections(t)
	for range 3 {
		if _, err := s.Scan(t.Context(), request(prompt(0, "What is the capital of France?"))); err != nil {
			t.Fatal(err)
		}
		if n := leaks.NetHTTPConnections(t); n > before {
			t.Fatalf("net/http has %d connections, before there were %d", n, before)
		}
	}
}
