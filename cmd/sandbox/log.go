// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"kong-ai-guard/internal/sim/kongtest"
)

// levels are nginx's, the chattiest first.
var levels = []string{"debug", "info", "notice", "warn", "err", "crit", "alert"}

// A level is what is shown of Kong's log: lines from there on. "" is notice.
type level string

func (l *level) set(s string) error {
	if !slices.Contains(levels[:5], s) {
		return errors.New("must be debug, info, notice, warn or err")
	}
	*l = level(s)
	return nil
}

// shows reports whether a line of that level is shown.
func (l level) shows(line string) bool {
	if l == "" {
		l = "notice"
	}
	return slices.Index(levels, line) >= slices.Index(levels, string(l))
}

// args makes plugin servers say as much as is shown.
func (l level) args() []string {
	if l == "debug" {
		return []string{"-log-level", "debug"}
	}
	return nil
}

// A logWriter writes what Kong writes into its error log and its access log.
type logWriter struct {
	level level

	mu sync.Mutex
	w  io.Writer
}

func (l *logWriter) line(line kongtest.Line) {
	if l.level.shows(line.Level) {
		l.write(line.String())
	}
}

// exchange writes a line as Kong's file-log plugin does.
func (l *logWriter) exchange(x kongtest.Exchange) {
	if line, err := json.Marshal(x.AccessLog); err == nil {
		l.write(string(line))
	}
}

func (l *logWriter) write(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.w, line)
}
