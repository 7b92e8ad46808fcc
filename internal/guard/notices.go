// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	maxNotices      = 100
	noticesPerEvent = 10 // each costs Kong's worker a call
)

// A severity is the level of a line in Kong's log.
type severity uint8

const (
	quiet   severity = iota // no line
	warning                 // kong.log.warn
	failure                 // kong.log.err
)

func (s severity) zap() zapcore.Level {
	switch s {
	case failure:
		return zapcore.ErrorLevel
	case warning:
		return zapcore.WarnLevel
	default:
		return zapcore.DebugLevel
	}
}

// notices are lines about what happened outside of any event. They go to
// stderr at once, which operators seldom see, and wait here for the next
// event, which can write them into Kong's log. Repeats are counted.
type notices struct {
	log    *zap.Logger
	prefix string

	waiting atomic.Int32 // len(list), to spare events the lock
	mu      sync.Mutex
	list    []notice
	lost    int
}

type notice struct {
	severity severity
	text     string
	first    time.Time
	times    int
}

// add takes a line that is complete, with its prefix, and clean.
func (n *notices) add(s severity, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.list {
		if n.list[i].text == text {
			n.list[i].times++
			n.log.Debug(text, zap.Int("times", n.list[i].times))
			return
		}
	}
	n.log.Log(s.zap(), text)
	if len(n.list) == maxNotices {
		n.lost++
		return
	}
	n.list = append(n.list, notice{severity: s, text: text, first: time.Now(), times: 1})
	n.waiting.Store(int32(len(n.list)))
}

// take removes the oldest lines, as many as one event may write.
func (n *notices) take() []notice {
	if n.waiting.Load() == 0 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	count := min(len(n.list), noticesPerEvent)
	taken := make([]notice, count, count+1)
	copy(taken, n.list)
	n.list = append(n.list[:0], n.list[count:]...)
	n.waiting.Store(int32(len(n.list)))
	if n.lost > 0 && len(n.list) == 0 {
		taken = append(taken, notice{
			severity: warning, first: time.Now(), times: 1,
			text: n.prefix + " more lines were not kept: " + strconv.Itoa(n.lost),
		})
		n.lost = 0
	}
	return taken
}

// line is the text as Kong's log gets it.
func (n notice) line(now time.Time) string {
	age := now.Sub(n.first).Round(time.Second)
	if n.times > 1 {
		return fmt.Sprintf("%s (%d times, first %s ago)", n.text, n.times, age)
	}
	return fmt.Sprintf("%s (%s ago)", n.text, age)
}
