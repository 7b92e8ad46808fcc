// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"fmt"
	"runtime/debug"
)

// recovered turns a panic into an error, for the goroutines that we start:
// there it would end the process and with it every exchange. The panic's
// value may quote content, so the error has its type only. To be deferred.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic (%T)\n%s", v, debug.Stack())
	}
}
