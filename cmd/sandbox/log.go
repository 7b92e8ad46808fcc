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

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
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
	// telling are exchanges whose own line has, or is to have, each verdict.
	telling map[string]bool
}

func (l *logWriter) line(line kongtest.Line) {
	switch {
	case l.raw:
		if l.level.shows(line.Level) {
			l.write(line.String())
		}
	default:
		if text := brief(line); text != "" && !l.told(line.Text) {
			l.write(text)
		}
	}
}

// exchange writes a line as Kong's file-log plugin does, or a short one, with
// what the audit log has of verdicts that the access log cannot have.
func (l *logWriter) exchange(x kongtest.Exchange, records []audit.Record) {
	if !l.raw {
		l.write(l.summary(time.Now(), x, records))
		return
	}
	if line, err := json.Marshal(x.AccessLog); err == nil {
		l.write(string(line))
	}
}

// tells says whether the own line of an exchange has each verdict: then what
// Kong's log has of it with a later request is not shown again.
func (l *logWriter) tells(id string, all bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.telling) >= maxCalls || l.telling == nil {
		l.telling = map[string]bool{}
	}
	if delete(l.telling, id); all {
		l.telling[id] = true
	}
}

// told reports whether a line of Kong's log is of an exchange whose own line has
// it.
func (l *logWriter) told(text string) bool {
	m := ofExchange.FindStringSubmatch(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	return m != nil && l.telling[m[1]]
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
	// ofExchange is whose verdict a plugin tells.
	ofExchange = regexp.MustCompile(` request_id="([^"]+)"`)
	prefix     = regexp.MustCompile(`^(?:SecurePrismaAIRS|\[noma-runtime-protection\]) `)
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

// guardOf is what the plugins have written into the access log of an exchange:
// the fields of each leg.
func guardOf(x kongtest.Exchange) map[string]map[string]map[string]any {
	var fields struct {
		Guard map[string]map[string]map[string]any
	}
	if ai, err := json.Marshal(x.AccessLog["ai"]); err == nil {
		_ = json.Unmarshal(ai, &fields) // what is not theirs is not shown
	}
	return fields.Guard
}

// open reports whether the access log was written without a verdict that is
// still to come, or that only the relay knows.
func open(legs map[string]map[string]any) bool {
	for _, leg := range legs {
		if leg["action"] == "pending" || leg["action"] == "relayed" {
			return true
		}
	}
	return false
}

// verdict is a leg of the audit log in a few words.
func verdict(r audit.Record) string {
	would := ""
	if r.Mode == "monitor" {
		would = "would have "
	}
	text := vendors[r.Plugin].title + " " + would + cmp.Or(done[r.Action], r.Action) + " the " + legs[r.Leg]
	if detail := cmp.Or(strings.Join(r.Detectors, ","), r.Reason); detail != "" {
		text += ": " + detail
	}
	if r.Released > 0 {
		text += fmt.Sprintf(", after %d characters", r.Released)
	}
	return text + fmt.Sprintf(" %.1f ms", r.LatencyMS)
}

// summary is an exchange in a line.
func (l *logWriter) summary(at time.Time, x kongtest.Exchange, records []audit.Record) string {
	guard := guardOf(x)
	bad := x.Status >= http.StatusBadRequest
	var parts []string
	for _, plugin := range slices.Sorted(maps.Keys(guard)) {
		if open(guard[plugin]) {
			before := len(parts)
			for _, r := range records {
				if r.Plugin == plugin {
					parts = append(parts, verdict(r))
					bad = bad || r.Mode != "monitor" && (r.Action == "block" || r.Action == "refuse")
				}
			}
			if len(parts) > before {
				if guard[plugin]["request"]["action"] == "relayed" {
					parts[before] = "relayed, " + parts[before]
				}
				continue
			}
		}
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
