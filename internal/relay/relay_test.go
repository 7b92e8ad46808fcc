// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"testing"

	"go.uber.org/goleak"
)

// net/http waits half a second after it has closed its half of a connection.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}
