// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxLines bounds the log lines that are kept; the oldest go.
const maxLines = 20000

// A Line is one line of Kong's error log.
type Line struct {
	At time.Time
	// Level is nginx's: debug, info, notice, warn, err, crit, alert.
	Level string
	// Plugin is who wrote it, "" for the gateway itself.
	Plugin string
	// RequestID is Kong's id of the request it belongs to, "" for none.
	RequestID string
	// Output is true for a line of the process's stdout or stderr, which
	// Kong logs at info.
	Output bool
	Text   string
}

// String is the line in the form of Kong's log.
func (l Line) String() string {
	level := l.Level
	if level == "err" {
		level = "error" // nginx writes it out, and people search for it
	}
	s := l.At.Format("2006/01/02 15:04:05") + " [" + level + "] "
	if l.Plugin != "" {
		s += "[" + l.Plugin + "] "
	}
	s += l.Text
	if l.RequestID != "" {
		s += fmt.Sprintf(", request_id: %q", l.RequestID)
	}
	return s
}

type logBook struct {
	mu    sync.Mutex
	lines []Line
	tell  func(Line)
}

// add keeps a line, and returns it with its time.
func (b *logBook) add(l Line) Line {
	l.At = time.Now()
	b.mu.Lock()
	if len(b.lines) >= maxLines {
		b.lines = append(b.lines[:0], b.lines[maxLines/2:]...)
	}
	b.lines = append(b.lines, l)
	b.mu.Unlock()
	if b.tell != nil {
		b.tell(l)
	}
	return l
}

func (b *logBook) all() []Line {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}
