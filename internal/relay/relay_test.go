// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

// net/http waits half a second after it has closed its half of a connection.
func TestMain(m *testing.M) {
	leaks.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}
