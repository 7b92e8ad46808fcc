// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// overNetHTTP is set for the process that runs the tests over net/http's client
// alone.
const overNetHTTP = "SCANHTTP_TEST_OVER_NET_HTTP"

func TestMain(m *testing.M) {
	if scheme := os.Getenv(benchService); scheme != "" {
		serveBench(scheme)
		return
	}
	viaTransport = os.Getenv(overNetHTTP) != ""
	dialTimeout = 2 * time.Minute // the machine may be busy
	os.Exit(m.Run())
}

// Whatever a Client promises it keeps over both ways of making calls: this
// runs all tests of the package once more, over the other one.
func TestOverNetHTTP(t *testing.T) {
	if viaTransport {
		t.Skip("this is it")
	}
	again := exec.Command(os.Args[0], "-test.run=.")
	again.Env = append(os.Environ(), overNetHTTP+"=1")
	out, err := again.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// onlyDirect skips what net/http's client does in another way.
func onlyDirect(t *testing.T) {
	t.Helper()
	if viaTransport {
		t.Skip("of the direct way")
	}
}
