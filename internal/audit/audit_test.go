// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// patience is how long a test waits for what has to come: the machine may be
// busy, and nothing but a failure takes so long.
const patience = 2 * time.Minute

// A log is one under test, with what it told.
type log struct {
	*audit.Log
	t                        *testing.T
	written, dropped, failed atomic.Int64
	failure                  atomic.Pointer[error]
}

func open(t *testing.T, path string) *log {
	t.Helper()
	l := &log{t: t}
	var err error
	l.Log, err = audit.Open(path, audit.Options{
		Written: func() { l.written.Add(1) },
		Dropped: func() { l.dropped.Add(1) },
		Failed: func(err error) {
			l.failure.Store(&err)
			l.failed.Add(1)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		l.Close(now)
	})
	return l
}

// wait waits for a count to reach n.
func (l *log) wait(what string, count *atomic.Int64, n int64) {
	l.t.Helper()
	for end := time.Now().Add(patience); count.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("%d %s, want %d", count.Load(), what, n)
		}
	}
}

func (l *log) close() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.Close(ctx)
	if ctx.Err() != nil {
		l.t.Fatal("closing took all its time")
	}
}

// lines reads a file of records; an empty line stands for one that is none.
func lines(t *testing.T, path string) (ids []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		t.Errorf("%s ends within a line", path)
	}
	for line := range strings.Lines(string(b)) {
		var r audit.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			ids = append(ids, "")
			continue
		}
		ids = append(ids, r.RequestID)
	}
	return ids
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("records %q, want %q", got, want)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	full := audit.Record{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600)), Plugin: "p", RequestID: "r-1", Leg: "response", Mode: "enforce",
		Transport: "phases", Action: "block", Outcome: "policy_block", Reason: "why", Unscanned: "media", ScanID: "s", ReportID: "R",
		Service: "svc", Route: "rt", Consumer: "alice", Subject: "strict", Model: "gpt", Format: "openai.chat", Detectors: []string{"a", "b"}, Alert: true,
		LatencyMS: 1.25, Characters: 7, Scans: 2, Released: 3,
	}
	l := open(t, path)
	l.Write(full)
	l.Write(audit.Record{RequestID: "r-2"})
	l.close()
	l.Write(audit.Record{RequestID: "late"})

	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o640 != 0 || info.Mode().Perm()&0o600 != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, second, _ := bytes.Cut(b, []byte("\n"))
	const want = `{"time":"2026-01-02T02:04:05.000006Z","plugin":"p","request_id":"r-1","leg":"response","mode":"enforce","transport":"phases",` +
		`"action":"block","outcome":"policy_block","reason":"why","unscanned":"media","scan_id":"s","report_id":"R","service":"svc","route":"rt",` +
		`"consumer":"alice","subject":"strict","model":"gpt","format":"openai.chat","detectors":["a","b"],"alert":true,"latency_ms":1.25,"characters":7,"scans":2,"released":3}`
	if string(first) != want {
		t.Errorf("got  %s\nwant %s", first, want)
	}
	var r audit.Record
	if err := json.Unmarshal(second, &r); err != nil || r.RequestID != "r-2" || time.Since(r.Time) > time.Hour {
		t.Errorf("%v: %s", err, second)
	}
	for _, name := range []string{"reason", "released", "detectors", "model"} {
		if bytes.Contains(second, []byte(`"`+name+`"`)) {
			t.Errorf("%s stands there though it is empty: %s", name, second)
		}
	}
	if l.written.Load() != 2 || l.dropped.Load() != 1 || l.failed.Load() != 0 {
		t.Errorf("%d written, %d dropped, %d failed", l.written.Load(), l.dropped.Load(), l.failed.Load())
	}
}

// Whatever strangers choose, a record is one short line of valid UTF-8.
func TestHostileValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	hostile := strings.Repeat("\"\\\n\x00\x1b\xff\u2028\u202e<&>\U0001F600", 200)
	var r audit.Record
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(hostile)
		}
	}
	r.RequestID = "r-1"
	for range 1000 {
		r.Detectors = append(r.Detectors, hostile)
	}
	l := open(t, path)
	l.Write(r)
	l.Write(audit.Record{RequestID: "r-2", Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)})
	l.Write(audit.Record{RequestID: "r-3"})
	l.close()
	equal(t, lines(t, path), "r-1", "r-3")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if line, _, _ := bytes.Cut(b, []byte("\n")); len(line) >= 4096 || !utf8.Valid(line) || bytes.ContainsAny(line, "\x00\x1b\\") {
		t.Errorf("%d bytes: %q", len(line), line)
	}
	if l.dropped.Load() != 1 {
		t.Errorf("%d dropped", l.dropped.Load())
	}
}

func TestAppendsOnALineOfItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, tc := range []struct {
		before string
		want   []string
	}{
		{"", []string{"r-1"}},
		{`{"request_id":"old"}` + "\n", []string{"old", "r-1"}},
		{`{"request_id":"ol`, []string{"", "r-1"}},
	} {
		if err := os.WriteFile(path, []byte(tc.before), 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, path)
		l.Write(audit.Record{RequestID: "r-1"})
		l.close()
		equal(t, lines(t, path), tc.want...)
	}
}

func TestRotation(t *testing.T) {
	for name, told := range map[string]bool{"told": true, "seen": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, old := filepath.Join(dir, "audit.log"), filepath.Join(dir, "audit.log.1")
			l := open(t, path)
			l.Write(audit.Record{RequestID: "r-1"})
			l.wait("written", &l.written, 1)
			if err := os.Rename(path, old); err != nil {
				t.Fatal(err)
			}
			moved := 1
			if told {
				l.Reopen()
				l.Write(audit.Record{RequestID: "r-2"})
				l.wait("written", &l.written, 2)
			} else {
				// Within a second what was moved is noticed, and nothing is lost.
				for end := time.Now().Add(patience); ; moved++ {
					l.Write(audit.Record{RequestID: "r-2"})
					l.wait("written", &l.written, int64(moved+1))
					if _, err := os.Stat(path); err == nil {
						break
					}
					if time.Now().After(end) {
						t.Fatal("nobody noticed")
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			l.Reopen()
			l.Write(audit.Record{RequestID: "r-3"})
			l.close()
			equal(t, lines(t, path), "r-3")
			if got := lines(t, old); len(got) != moved || got[0] != "r-1" {
				t.Errorf("the old file holds %q, want %d", got, moved)
			}
			if l.dropped.Load() != 0 || l.failed.Load() != 0 {
				t.Errorf("%d dropped, %d failed", l.dropped.Load(), l.failed.Load())
			}
		})
	}
}

// While the path cannot be opened again, the file that is open is used.
func TestRotationThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sub")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path, moved := filepath.Join(dir, "audit.log"), dir+".old"
	l := open(t, path)
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	l.Write(audit.Record{RequestID: "r-1"})
	l.wait("written", &l.written, 1)
	if l.failed.Load() == 0 {
		t.Error("nobody heard that the path cannot be opened")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	l.Write(audit.Record{RequestID: "r-2"})
	l.close()
	equal(t, lines(t, filepath.Join(moved, "audit.log")), "r-1")
	equal(t, lines(t, path), "r-2")
}

func TestPathsThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"none": "", "a directory": dir, "no directory": filepath.Join(dir, "none", "audit.log"),
	} {
		if l, err := audit.Open(path, audit.Options{}); err == nil {
			l.Close(context.Background())
			t.Errorf("%s: no error", name)
		}
	}
}

// A disk that is full holds up nobody. The record waits for it, those behind
// are lost when the queue is full.
func TestFullDisk(t *testing.T) {
	const device = "/dev/full"
	if _, err := os.Stat(device); err != nil && runtime.GOOS != "linux" {
		t.Skip("only Linux has a disk that is always full")
	}
	l := open(t, device)
	for range 5000 {
		l.Write(audit.Record{RequestID: "r"})
	}
	l.wait("failed", &l.failed, 1)
	if err := *l.failure.Load(); !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), device) {
		t.Errorf("failed with %v", err)
	}
	if n := l.dropped.Load(); n < 5000-4096-1 || n > 5000-4096 {
		t.Errorf("%d dropped", n)
	}
	l.close()
	if l.dropped.Load() != 5000 || l.written.Load() != 0 {
		t.Errorf("%d dropped, %d written", l.dropped.Load(), l.written.Load())
	}
}

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// read reads a line as soon as there is one. A reader that comes while the
// writer finds out that the last one has gone sees an end first.
func read(t *testing.T, path string) (*os.File, []byte) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		r, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(r).ReadBytes('\n')
		if err == nil {
			return r, line
		}
		r.Close()
		if !errors.Is(err, io.EOF) || time.Now().After(end) {
			t.Fatalf("%v: %s", err, line)
		}
	}
}

// A pipe needs no reader to start with, and a reader may go and come back.
func TestPipe(t *testing.T) {
	path := fifo(t)
	l := open(t, path)
	l.Write(audit.Record{RequestID: "r-1"})
	l.wait("failed", &l.failed, 1)
	for _, want := range []string{"r-1", "r-2"} {
		r, line := read(t, path)
		var got audit.Record
		if err := json.Unmarshal(line, &got); err != nil || got.RequestID != want {
			t.Errorf("%v: %s", err, line)
		}
		r.Close()
		l.Write(audit.Record{RequestID: "r-2"})
	}
	if l.dropped.Load() != 0 {
		t.Errorf("%d dropped", l.dropped.Load())
	}
}

// A reader that does not read costs records, and no time. What it reads in the
// end are whole lines.
func TestSlowReader(t *testing.T) {
	path := fifo(t)
	r, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := open(t, path)
	long := audit.Record{RequestID: "r", Model: strings.Repeat("m", 190), Detectors: []string{strings.Repeat("d", 190)}}
	const sent = 20_000
	for range sent {
		l.Write(long)
	}
	if l.dropped.Load() == 0 || l.failed.Load() != 0 {
		t.Errorf("%d dropped, %d failed", l.dropped.Load(), l.failed.Load())
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	l.Close(now)
	for end := time.Now().Add(patience); l.written.Load()+l.dropped.Load() < sent; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d written and %d dropped of %d", l.written.Load(), l.dropped.Load(), sent)
		}
	}
	n := int64(0)
	for scanner := bufio.NewScanner(r); scanner.Scan(); n++ {
		var got audit.Record
		if err := json.Unmarshal(scanner.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, scanner.Bytes())
		}
	}
	if n == 0 || n != l.written.Load() {
		t.Errorf("%d lines read, %d written", n, l.written.Load())
	}
}

// The page's table of fields has each of a record, marked as one of the audit
// log's.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[audit.Record]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		listed := false
		for row := range strings.Lines(string(page)) {
			cells := strings.Split(row, "|")
			listed = listed || len(cells) == 7 && strings.Contains(cells[1], "`"+name+"`") && strings.TrimSpace(cells[4]) == "x"
		}
		if !listed {
			t.Errorf("docs/access-log.md does not say what %s of the audit log is", name)
		}
	}
}

func TestNoLog(t *testing.T) {
	var l *audit.Log
	l.Write(audit.Record{})
	l.Reopen()
	l.Close(context.Background())
}

func BenchmarkWrite(b *testing.B) {
	l, err := audit.Open(os.DevNull, audit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close(context.Background())
	r := audit.Record{
		Time: time.Now(), Plugin: "prisma-airs-intercept", RequestID: "17bd90db76beeffea4cd7e5ef6e3d103", Leg: "request", Mode: "enforce",
		Transport: "phases", Action: "allow", Outcome: "allow", ScanID: "4f4d7ab9-04c3-46e9-96b0-0cd8e7285529", Service: "chat", Route: "chat",
		Consumer: "alice", Subject: "strict", Model: "gpt-5", Format: "openai.chat", LatencyMS: 12.5, Characters: 160, Scans: 1,
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Write(r)
	}
}
