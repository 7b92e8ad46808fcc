// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
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

// A logWriter writes a line for each exchange, or what Kong writes into its
// error log and its access log.
type logWriter struct {
	raw   bool  // what Kong writes
	level level // of Kong's lines
	// coloured marks what was not allowed, for terminals.
	coloured bool

	mu sync.Mutex
	w  io.Writer
}

func (l *logWriter) line(line kongtest.Line) {
	switch {
	case l.raw:
		if l.level.shows(line.Level) {
			l.write(line.String())
		}
	default:
		if text := brief(line); text != "" {
			l.write(text)
		}
	}
}

// exchange writes a line as Kong's file-log plugin does, or a short one.
func (l *logWriter) exchange(x kongtest.Exchange) {
	if !l.raw {
		l.write(l.summary(time.Now(), x))
		return
	}
	if line, err := json.Marshal(x.AccessLog); err == nil {
		l.write(string(line))
	}
}

func (l *logWriter) write(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.w, line)
}

const clock = "15:04:05"

// told is how a plugin tells what became of a leg, and finding what of that is
// worth a glance. late is what follows when it was told with a later request.
var (
	told    = regexp.MustCompile(`^(?:SecurePrismaAIRS|\[noma-runtime-protection\]) (request|response) ([a-z ]+): outcome="`)
	finding = regexp.MustCompile(` (?:detectors|reason|check)="([^"]+)"`)
	late    = regexp.MustCompile(` \((?:\d+ times, first )?[0-9a-z.]+ ago\)$`)
	prefix  = regexp.MustCompile(`^(?:SecurePrismaAIRS|\[noma-runtime-protection\]) `)
)

// legs are the legs of an exchange in the words of its user.
var legs = map[string]string{"request": "prompt", "response": "answer"}

// brief is what is shown of a line of Kong's log beside the exchanges, "" for
// nothing: warnings, errors, and verdicts that came after their exchange.
func brief(line kongtest.Line) string {
	who := line.Plugin
	if v, ok := vendors[who]; ok {
		who = v.title
	}
	if who == "" {
		who = "Kong"
	}
	at := line.At.Format(clock) + " "
	text := late.ReplaceAllString(line.Text, "")
	m := told.FindStringSubmatch(text)
	switch {
	case line.Output || !level("warn").shows(line.Level):
		return ""
	case m == nil:
		return at + who + ": " + prefix.ReplaceAllString(text, "")
	case text == line.Text:
		return "" // the exchange's own line has it
	}
	return at + who + ", of an earlier exchange: the " + legs[m[1]] + " " + m[2] + found(text)
}

// found is what a plugin found, in front of which goes a colon.
func found(text string) string {
	if m := finding.FindStringSubmatch(text); m != nil {
		return ": " + m[1]
	}
	return ""
}

// done is what an action of the access log has done.
var done = map[string]string{
	"allow": "allowed", "mask": "masked", "block": "blocked", "refuse": "refused",
	"unscanned": "let pass unscanned", "pending": "watches", "relayed": "relayed",
}

// summary is an exchange in a line.
func (l *logWriter) summary(at time.Time, x kongtest.Exchange) string {
	guard := map[string]map[string]map[string]any{}
	if ai, err := json.Marshal(x.AccessLog["ai"]); err == nil {
		var fields struct {
			Guard map[string]map[string]map[string]any
		}
		if json.Unmarshal(ai, &fields) == nil {
			guard = fields.Guard
		}
	}
	bad := x.Status >= http.StatusBadRequest
	var parts []string
	for _, plugin := range slices.Sorted(maps.Keys(guard)) {
		for _, leg := range []string{"request", "response"} {
			result, ok := guard[plugin][leg]
			if !ok {
				continue
			}
			action, _ := result["action"].(string)
			part := vendors[plugin].title + " " + cmp.Or(done[action], action) + " the " + legs[leg]
			detail := ""
			for _, line := range x.Logs {
				if m := told.FindStringSubmatch(line.Text); m != nil && line.Plugin == plugin && m[1] == leg && !late.MatchString(line.Text) {
					detail = found(line.Text)
				}
			}
			if reason, ok := result["reason"].(string); ok && detail == "" {
				detail = ": " + reason
			}
			part += detail
			if took, ok := result["latency_ms"].(float64); ok && action != "pending" && action != "relayed" {
				part += fmt.Sprintf(" %.1f ms", took)
			}
			parts = append(parts, part)
		}
	}
	if parts == nil {
		parts = []string{"no plugin"}
	}
	status := strconv.Itoa(x.Status)
	if l.coloured {
		colour := "32" // green
		if bad {
			colour = "31"
		}
		status = "\x1b[1;" + colour + "m" + status + "\x1b[0m"
	}
	return at.Format(clock) + " " + x.Method + " " + x.Path + " " + status + " " + strings.Join(parts, "; ")
}

// isTerminal reports whether a writer shows colours.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
