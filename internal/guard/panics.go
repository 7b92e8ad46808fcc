// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"runtime"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// maxPlaces bounds how many distinct stacks are logged in a process's life.
const maxPlaces = 100

// panics counts recovered panics and logs the stack of each distinct place
// once, so that one bad kind of request does not fill the log.
type panics struct {
	log     *zap.Logger
	metrics *telemetry.Metrics

	mu   sync.Mutex
	seen map[uintptr]bool
}

// recovered takes what recover returned. It has to be called by the deferred
// function, while the stack of the panic is still there.
func (p *panics) recovered(value any) {
	p.metrics.Panics.Inc()
	var pcs [64]uintptr
	stack := pcs[:runtime.Callers(2, pcs[:])]
	place, text := describe(stack)
	p.mu.Lock()
	known := p.seen[place] || len(p.seen) >= maxPlaces
	if !known {
		if p.seen == nil {
			p.seen = map[uintptr]bool{}
		}
		p.seen[place] = true
	}
	p.mu.Unlock()
	if known {
		return
	}
	// A panic's own text may quote what was worked on. Only the runtime's texts
	// are known to hold nothing but types and numbers.
	what := fmt.Sprintf("%T", value)
	if err, ok := value.(runtime.Error); ok {
		what = err.Error()
	}
	p.log.Error("recovered from a panic", zap.String("what", what), zap.String("stack", text))
}

// describe finds the frame that panicked, the first below the runtime's own,
// and writes the frames from there on.
func describe(stack []uintptr) (place uintptr, text string) {
	var b strings.Builder
	frames := runtime.CallersFrames(stack)
	panicking := false
	for {
		f, more := frames.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		panicking = panicking || inRuntime
		if panicking && !inRuntime {
			if place == 0 {
				place = f.PC
			}
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return place, b.String()
		}
	}
}
