// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"go.uber.org/zap"
)

// panicked logs a recovered panic with its stack. A text that was thrown may
// quote what was being worked on, so only the runtime's own texts are logged.
func (s *Server) panicked(where string, v any) {
	s.Counters.Panics.Add(1)
	what := fmt.Sprintf("a value of type %T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	s.Log.Error("panic", zap.String("in", where), zap.String("what", what), zap.ByteString("stack", debug.Stack()))
}
