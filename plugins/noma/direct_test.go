// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// A scan is sent on the goroutine that waits for it, which costs half of what
// net/http's client does. One header too many would undo that unseen.
func TestScansAreSentDirectly(t *testing.T) {
	_, c := service(t, fakenoma.Options{ClientID: "id", ClientSecret: "secret"})
	s := scanner(t, c)
	before := netHTTPConnections(t)
	for range 3 {
		if _, err := s.Scan(t.Context(), request(prompt(0, "What is the capital of France?"))); err != nil {
			t.Fatal(err)
		}
		if n := netHTTPConnections(t); n > before {
			t.Fatalf("net/http has %d connections, before there were %d", n, before)
		}
	}
}

// netHTTPConnections is how many connections net/http's clients have.
func netHTTPConnections(t *testing.T) int {
	t.Helper()
	var all strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(all.String(), "created by net/http.(*Transport)")
}
