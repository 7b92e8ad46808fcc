// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

// A scan is sent on the goroutine that waits for it, which costs half of what
// net/http's client does. One header too many would undo that unseen.
func TestScansAreSentDirectly(t *testing.T) {
	_, s := service(t, nil)
	before := leaks.NetHTTPConnections(t)
	for range 3 {
		if _, err := sc(t, s, prompt("What is the capital of France?")); err != nil {
			t.Fatal(err)
		}
		if n := leaks.NetHTTPConnections(t); n > before {
			t.Fatalf("net/http has %d connections, before there were %d", n, before)
		}
	}
}
