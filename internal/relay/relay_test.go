// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

// overNetHTTP is set for the process that runs the tests over net/http's client
// alone.
const overNetHTTP = "RELAY_TEST_OVER_NET_HTTP"

// net/http waits half a second after it has closed its half of a connection.
func TestMain(m *testing.M) {
	if os.Getenv(benchUpstream) != "" {
		serveBench()
		return
	}
	if os.Getenv(overNetHTTP) != "" {
		relay.ViaTransport()
	}
	leaks.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// Whatever a Client promises it keeps over both ways of handing requests on:
// this runs all tests of the package once more, over the other one.
func TestOverNetHTTP(t *testing.T) {
	if relay.IsViaTransport() {
		t.Skip("this is it")
	}
	again := exec.Command(os.Args[0], "-test.run=.")
	again.Env = append(os.Environ(), overNetHTTP+"=1")
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// onlyDirect skips what net/http's client does in another way.
func onlyDirect(t *testing.T) {
	t.Helper()
	if relay.IsViaTransport() {
		t.Skip("of the direct way")
	}
}
