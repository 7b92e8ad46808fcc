// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/realkong"
)

func TestUsedBy(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("io", "rchar: 9\nwchar: 9\nsyscr: 40\nsyscw: 2\nread_bytes: 9\n")
	write("task/7/status", "Name:\ta\nvoluntary_ctxt_switches:\t10\nnonvoluntary_ctxt_switches:\t1\n")
	write("task/8/status", "Name:\tb\nvoluntary_ctxt_switches:\t20\nnonvoluntary_ctxt_switches:\t2\n")
	for _, stat := range []string{
		"7 (nginx) S 1 7 7 0 -1 4194560 500 0 0 0 150 50 999 999 20 0 3 0 100\n",
		"7 (a) b (c d) S 1 7 7 0 -1 4194560 500 0 0 0 150 50 999 999 20 0 3 0 100\n",
	} {
		write("stat", stat)
		got, err := usedBy(dir)
		if want := (usage{cpu: 2 * time.Second, voluntary: 30, forced: 3, calls: 42}); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", stat, got, err, want)
		}
	}
	for _, stat := range []string{"", "7 (nginx) S 1", "7 (nginx) S 1 7 7 0 -1 4194560 500 0 0 0 x 50 0"} {
		write("stat", stat)
		if got, err := usedBy(dir); err == nil {
			t.Errorf("%q: %+v, want an error", stat, got)
		}
	}
	write("stat", "7 (nginx) S 1 7 7 0 -1 4194560 500 0 0 0 150 50 999 999\n")
	write("io", "rchar: 9\n")
	if got, err := usedBy(dir); err == nil {
		t.Errorf("without counters: %+v, want an error", got)
	}
}

// TestUsed reads the real thing.
func TestUsed(t *testing.T) {
	if _, err := os.Stat("/proc/self/io"); err != nil && runtime.GOOS != "linux" {
		t.Skip("what is measured runs on Linux")
	}
	self := []int{os.Getpid()}
	before, err := used(self)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := os.ReadFile("/proc/self/stat"); err != nil {
			t.Fatal(err)
		}
	}
	after, err := used(self)
	if d := after.minus(before); err != nil || d.calls < 100 || d.cpu < 0 {
		t.Errorf("%+v, %v, want 100 reads or more", d, err)
	}
	const nobody = 1 << 30 // above Linux's highest process id
	if u, err := used([]int{nobody}); err == nil {
		t.Errorf("%+v for a process that is not there", u)
	}
}

func TestReadTally(t *testing.T) {
	const out = "Running 4s test @ http://127.0.0.1:1/none\n  3850 requests in 4.00s, 1MB read\n" + wrkMark + "3850 4000500 3 2 1300 10300\n"
	want := tally{answers: 3850, took: 4000500 * time.Microsecond, refused: 3, broken: 2, p50: 1300 * time.Microsecond, p99: 10300 * time.Microsecond}
	if got, err := readTally(out); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, out := range []string{"", "unable to connect to 127.0.0.1:1", wrkMark + "3850 4000"} {
		if got, err := readTally(out); err == nil {
			t.Errorf("%q: %+v, want an error", out, got)
		}
	}
}

// TestWrk has wrk, where it is, drive the stand-ins themselves.
func TestWrk(t *testing.T) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		t.Skip("no wrk")
	}
	all := loads()
	s, err := startStandins(all)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	o := options{wrk: wrk, seconds: 1, connections: 2}
	for _, l := range all {
		got, err := drive(t.Context(), o, t.TempDir(), s.model, l)
		if err != nil || got.answers == 0 || got.refused+got.broken > 0 || got.p50 <= 0 || got.p99 < got.p50 {
			t.Errorf("%s: %+v, %v", l.name(), got, err)
		}
	}
	got, err := drive(t.Context(), o, t.TempDir(), s.model, load{size: "no", form: "such", request: []byte("{}")})
	if err != nil || got.refused == 0 {
		t.Errorf("an answer that is not there: %+v, %v", got, err)
	}
}

func TestLoads(t *testing.T) {
	all := loads()
	s, err := startStandins(all)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	content := regexp.MustCompile(`"content":"([^"]*)"`)
	for _, l := range all {
		size := map[string]int{"60B": 60, "32KB": 32 << 10}[l.size]
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.model, bytes.NewReader(l.request))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(answerHeader, l.name())
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || (l.form == stream) != (res.ContentLength < 0) {
			t.Errorf("%s: status %d, length %d, %v", l.name(), res.StatusCode, res.ContentLength, err)
		}
		for leg, body := range map[string][]byte{"prompt": l.request, "answer": answer} {
			n := 0
			for _, text := range content.FindAllSubmatch(body, -1) {
				n += len(text[1])
			}
			if n != size {
				t.Errorf("%s: %d bytes of text in the %s", l.name(), n, leg)
			}
		}
	}
}

func TestHasField(t *testing.T) {
	const dump = `{"Plugins":[{"Name":"p","Schema":{"fields":[{"protocols":{"type":"set"}},{"config":{"type":"record","fields":[{"api_key":{"type":"string"}},{"relay":{"type":"string"}}]}}]}}]}`
	for name, want := range map[string]bool{"relay": true, "api_key": true, "protocols": false, "other": false} {
		if got, err := hasField([]byte(dump), name); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	if _, err := hasField([]byte("no dump"), "relay"); err == nil {
		t.Error("no error for what is no dump")
	}
}

// of1000 is a round of 1,000 exchanges in a second.
func of1000(worker, plugin time.Duration, p99 time.Duration) sample {
	return sample{
		tally: tally{answers: 1000, took: time.Second, p50: time.Millisecond, p99: p99}, scans: 2000,
		worker: usage{cpu: worker, voluntary: 1500, forced: 500}, plugin: usage{cpu: plugin, voluntary: 12000, forced: 2500, calls: 20000},
	}
}

func TestWriteTable(t *testing.T) {
	const ms = time.Millisecond
	rows := []result{
		// The machine is half as fast in the second round.
		{row: "none", samples: []sample{of1000(100*ms, 0, ms), of1000(200*ms, 0, 2*ms), of1000(100*ms, 0, ms)}},
		{row: "prisma", samples: []sample{of1000(300*ms, 500*ms, 4*ms), of1000(600*ms, 1000*ms, 8*ms), of1000(300*ms, 500*ms, 4*ms)}},
		{row: "both", samples: []sample{of1000(600*ms, 1000*ms, 8*ms), of1000(1500*ms, 2000*ms, 16*ms), of1000(600*ms, 1000*ms, 8*ms)}},
		{row: "noma", samples: []sample{of1000(300*ms, 500*ms, 4*ms)}, invalid: "3 answers with a status above 399"},
	}
	const want = `
a title
row     worker us       plugin us         all us            worker/none       all/none             worker/ref        all/ref           p99/ref           worker switches  plugin switches  plugin r+w  scans  req/s  p50 ms  p99 ms
none    133 (100-200)   0 (0-0)           133 (100-200)     1.00 (1.00-1.00)  1.00 (1.00-1.00)     0.33 (0.33-0.33)  0.12 (0.12-0.12)  0.25 (0.25-0.25)  1.5+0.5          12.0+2.5         20.0        2.00   1000   1.0     1.3 (1.0-2.0)
prisma  400 (300-600)   667 (500-1000)    1067 (800-1600)   3.00 (3.00-3.00)  8.00 (8.00-8.00)     1.00 (1.00-1.00)  1.00 (1.00-1.00)  1.00 (1.00-1.00)  1.5+0.5          12.0+2.5         20.0        2.00   1000   1.0     5.3 (4.0-8.0)
both    900 (600-1500)  1333 (1000-2000)  2233 (1600-3500)  6.75 (6.00-7.50)  16.75 (16.00-17.50)  2.25 (2.00-2.50)  2.09 (2.00-2.19)  2.00 (2.00-2.00)  1.5+0.5          12.0+2.5         20.0        2.00   1000   1.0     10.7 (8.0-16.0)
noma    invalid: 3 answers with a status above 399
`
	var b strings.Builder
	if err := writeTable(&b, "a title", rows, "prisma"); err != nil || b.String() != want {
		t.Errorf("%v:%s\nwant:%s", err, b.String(), want)
	}
	for _, reference := range []string{"noma", "not there"} {
		b.Reset()
		if err := writeTable(&b, "", rows[1:], reference); err != nil {
			t.Fatal(err)
		}
		line := strings.Fields(strings.Split(b.String(), "\n")[3])
		if got := fmt.Sprint(line[7:12]); got != "[- - - - -]" {
			t.Errorf("ratios to %s, and to none, which are not to be had: %s", reference, got)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		figures []float64
		want    spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{5, 1}, spread{3, 1, 5}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}},
		{[]float64{6, 1, 2}, spread{3, 1, 6}},
	} {
		if got := spreadOf(c.figures); got != c.want {
			t.Errorf("%v: %v, want %v", c.figures, got, c.want)
		}
	}
}

func TestRun(t *testing.T) {
	t.Setenv("KONG_BIN", "")
	t.Setenv("PATH", t.TempDir())
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 0, "Nothing was measured. What is missing here: Kong (put kong on PATH, or name it in KONG_BIN); wrk on PATH"},
		{[]string{"-help"}, 0, "-rounds"},
		{[]string{"-rounds", "0"}, 2, "above 0"},
		{[]string{"-only", "("}, 2, "-only"},
		{[]string{"more"}, 2, "unexpected"},
	} {
		var b bytes.Buffer
		if code := run(t.Context(), c.args, &b, &b); code != c.code || !strings.Contains(b.String(), c.says) {
			t.Errorf("%v: code %d, %s", c.args, code, b.String())
		}
	}
}

// TestInterrupted: what somebody breaks off says nothing about a row.
func TestInterrupted(t *testing.T) {
	stop, interrupt := context.WithCancel(t.Context())
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		interrupt()
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer model.Close()
	c := &cell{row: row{name: plain}, load: loads()[0], kong: &realkong.Kong{URL: model.URL}}
	if err := sampleAll(stop, options{}, t.TempDir(), nil, []*cell{c}, io.Discard); !errors.Is(err, context.Canceled) || c.invalid != "" {
		t.Errorf("%v, and the row is invalid: %q", err, c.invalid)
	}
}
