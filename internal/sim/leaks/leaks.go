// SPDX-License-Identifier: Apache-2.0

// Package leaks has tests fail over goroutines that they leave behind. It looks
// as goleak does, which gives what is ending less than half a second: too
// little for a goroutine that a busy machine does not run.
package leaks

import (
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end. Only leaks take so long.
const patience = 2 * time.Minute

// Verify fails a test that goroutines outlive, but for those that options except.
func Verify(t testing.TB, options ...goleak.Option) {
	t.Helper()
	if err := find(patience, options...); err != nil {
		t.Error(err)
	}
}

// VerifyTestMain runs the tests of a package, looks for what they left running
// if they passed, and exits.
func VerifyTestMain(m *testing.M, options ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		if err := find(patience, options...); err != nil {
			fmt.Fprintf(os.Stderr, "the tests passed, and left behind: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// find returns what still runs after at least so long.
func find(patience time.Duration, options ...goleak.Option) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if err := goleak.Find(options...); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// NetHTTPConnections is how many connections net/http's clients have open, by the
// goroutines that these leave behind each call: what is sent on the caller's own
// has none.
func NetHTTPConnections(t testing.TB) int {
	t.Helper()
	var all strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&all, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(all.String(), "created by net/http.(*Transport)")
}
