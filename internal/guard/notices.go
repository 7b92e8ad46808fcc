// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	maxNotices      = 100
	noticesPerEvent = 10 // each costs Kong's worker a call
)

func zapLevel(s policy.Severity) zapcore.Level {
	switch s {
	case policy.Failure:
		return zapcore.ErrorLevel
	case policy.Warning:
		return zapcore.WarnLevel
	default:
		return zapcore.DebugLevel
	}
}

// repeatAfter is how long repeats of a line are only counted after it was
// written: a service that is away for an hour must not fill the log.
const repeatAfter = time.Minute

// notices are lines about what happened outside any event. They go to
// stderr at once, which operators seldom see, and wait here for the next
// event, which can write them into Kong's log. Repeats are counted.
type notices struct {
	log    *zap.Logger
	prefix string
	panics *panics

	// waiting is how many lines events may write now. It spares them the lock.
	waiting atomic.Int32

	mu      sync.Mutex
	list    []notice
	written map[string]*repeats // by key
	timer   *time.Timer         // until repeats become a line, nil for none
	lost    int
}

type notice struct {
	severity policy.Severity
	key      string // what makes two of them repeats
	text     string
	first    time.Time
	times    int
}

// repeats counts how often a line came again since it was written.
type repeats struct {
	notice
	until time.Time // they become a line of their own
}

// add takes a line that is clean and complete, with its prefix. Lines with the
// same key are repeats, and the first one's text is written. A line with the
// key "" has no repeats.
func (n *notices) add(s policy.Severity, key, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if r := n.written[key]; r != nil && (r.times > 0 || now.Before(r.until)) {
		if r.times++; r.times == 1 {
			r.first, r.text = now, text
			n.schedule()
		}
		n.log.Debug(text, zap.Int("times", r.times))
		return
	}
	for i := range n.list {
		if key != "" && n.list[i].key == key {
			n.list[i].times++
			n.log.Debug(text, zap.Int("times", n.list[i].times))
			return
		}
	}
	delete(n.written, key)
	n.log.Log(zapLevel(s), text)
	n.enqueue(notice{severity: s, key: key, text: text, first: now, times: 1})
}

// enqueue, schedule and revive are called with the lock held.
func (n *notices) enqueue(line notice) {
	if len(n.list) == maxNotices {
		n.lost++
		return
	}
	n.list = append(n.list, line)
	n.waiting.Store(int32(len(n.list)))
}

// schedule says when repeats become a line. They do so whether or not an event
// comes to write it: without one they are told on stderr.
func (n *notices) schedule() {
	var due time.Time
	for _, r := range n.written {
		if r.times > 0 && (due.IsZero() || r.until.Before(due)) {
			due = r.until
		}
	}
	if n.timer != nil {
		n.timer.Stop()
		n.timer = nil
	}
	if !due.IsZero() {
		n.timer = time.AfterFunc(time.Until(due), n.later)
	}
}

// later tells of the repeats that waited long enough.
func (n *notices) later() {
	defer func() {
		if v := recover(); v != nil {
			n.panics.recovered(v)
		}
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.revive(time.Now())
	n.schedule()
}

// revive makes lines of the repeats that waited long enough, and forgets the
// lines that were not repeated.
func (n *notices) revive(now time.Time) {
	for key, r := range n.written {
		if now.Before(r.until) {
			continue
		}
		delete(n.written, key)
		if r.times > 0 {
			n.log.Log(zapLevel(r.severity), r.line(now))
			n.enqueue(r.notice)
		}
	}
}

// take removes the oldest lines, as many as one event may write.
func (n *notices) take() []notice {
	if n.waiting.Load() == 0 {
		return nil
	}
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	count := min(len(n.list), noticesPerEvent)
	taken := make([]notice, count, count+1)
	copy(taken, n.list)
	n.list = append(n.list[:0], n.list[count:]...)
	n.waiting.Store(int32(len(n.list)))
	for _, line := range taken {
		n.remember(line, now)
	}
	if n.lost > 0 && len(n.list) == 0 {
		taken = append(taken, notice{
			severity: policy.Warning, first: now, times: 1,
			text: n.prefix + " more lines were not kept: " + strconv.Itoa(n.lost),
		})
		n.lost = 0
	}
	return taken
}

// remember has repeats of a line counted from now on.
func (n *notices) remember(line notice, now time.Time) {
	if line.key == "" {
		return
	}
	if len(n.written) == maxNotices {
		n.revive(now)
	}
	if len(n.written) == maxNotices {
		return
	}
	if n.written == nil {
		n.written = map[string]*repeats{}
	}
	line.times = 0
	n.written[line.key] = &repeats{notice: line, until: now.Add(repeatAfter)}
}

// line is the text as Kong's log gets it.
func (n notice) line(now time.Time) string {
	age := now.Sub(n.first).Round(time.Second)
	if n.times > 1 {
		return fmt.Sprintf("%s (%d times, first %s ago)", n.text, n.times, age)
	}
	return fmt.Sprintf("%s (%s ago)", n.text, age)
}
