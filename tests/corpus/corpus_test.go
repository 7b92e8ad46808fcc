// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// all returns every case.
func all() []testcase {
	var cases []testcase
	for _, part := range []func() []testcase{
		attackRequests, attackTools, attackJSON, attackBytes, attackForms, attackTransport,
		attackAnswers, attackStreams, attackMCP, attackStatelessMCP, attackDisguises, attackSchemas, attackPieces, attackOrder, attackReadings, attackFiles, attackBrokenStreams, attackValues, attackThreads, attackWhole, attackAnthropic, attackNewer, attackA2A,
		goodRequests, goodAnswers, goodStreams, goodMCP, goodStatelessMCP, goodTransport, goodFreeNames, goodReadings, goodFiles, goodValues, goodThreads, goodNewer, goodRelayed, goodAnthropic, goodA2A,
	} {
		cases = append(cases, part()...)
	}
	return cases
}

var (
	phased       = variant{}
	relayed      = variant{suffix: "-relay", fields: map[string]any{"relay": "on"}}
	relayedSlow  = variant{suffix: "-relay-slow", fields: map[string]any{"relay": "on"}, slow: true}
	streamsGoing = []struct {
		variant
		cut cutting
	}{{relayed, small}, {relayed, units}, {relayedSlow, small}, {relayedSlow, units}}
)

// TestCorpus plays every case through both plugins, by Kong's phases and by the
// relay. Streams go through the relay in pieces, too, with a scan service that
// answers at once and with one that is slower than they are. When all went as
// they should, UPDATE=1 in the environment writes the table of the results into
// the documentation.
func TestCorpus(t *testing.T) {
	cases := all()
	h := open(t, cases, []variant{phased, relayed, relayedSlow}, nil)
	direct := make([]func() (result, error), len(cases))
	var streams []int
	for n := range cases {
		direct[n] = sync.OnceValues(func() (result, error) { return h.sendDirect(context.WithoutCancel(t.Context()), n) })
		if cases[n].streams() {
			streams = append(streams, n)
		}
	}
	var table tally
	check := func(t reporter, y *way, n int, r *result) {
		c := cases[n]
		if y.relays() {
			c = throughRelay(c)
		}
		if c.attack {
			table.add(y, &c, checkAttack(t, y, &c, r))
			return
		}
		want, err := direct[n]()
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		table.add(y, &c, checkGood(t, y, &c, r, &want))
	}
	t.Run("cases", func(t *testing.T) {
		for _, plugin := range plugins {
			for _, v := range []variant{phased, relayed} {
				y := &way{plugin, v, whole}
				for n := range cases {
					c := &cases[n]
					if c.relayed && !y.relays() {
						continue
					}
					t.Run(strings.Join([]string{y.String(), c.class, c.name}, "/"), func(t *testing.T) {
						t.Parallel()
						r, err := h.send(t.Context(), y, n)
						if err != nil {
							t.Fatal(err)
						}
						check(t, y, n, &r)
					})
				}
			}
		}
	})
	for _, plugin := range plugins {
		for _, g := range streamsGoing {
			y := &way{plugin, g.variant, g.cut}
			t.Run("streams/"+y.String()+"/"+string(y.cut), func(t *testing.T) {
				h.playStreams(t, y, streams, func(r reporter, n int, got *result) { check(r, y, n, got) })
			})
		}
	}
	t.Log("\n" + table.byClass() + "\n" + table.sums())
	if t.Failed() {
		// What failed would only be written down.
		t.Log("the tables of the documentation are not compared, since cases failed")
		return
	}
	if f := flag.Lookup("test.run"); f.Value.String() == "" || f.Value.String() == "TestCorpus" {
		checkDocuments(t, &table)
	}
}

// statuses are what outcomes answer, by plugin for a block, else by leg.
var statuses = map[string][2]int{
	malformed: {400, 502}, ambiguous: {400, 502}, tooLarge: {413, 502}, unscannable: {415, 502},
	upgrade: {415, 0}, streamRefused: {405, 0}, listenRefused: {404, 0},
}

// codes are how refusals name outcomes to clients.
var codes = map[string]string{
	blocked: "policy_violation", malformed: "malformed_body", ambiguous: "ambiguous_request", tooLarge: "body_too_large", unscannable: "unscannable_body",
}

// checkAttack reports whether an attack got through.
func checkAttack(t reporter, y *way, c *testcase, r *result) (through bool) {
	t.Helper()
	answer := c.answer.body
	if y.relays() && c.decoded != "" {
		answer = c.decoded
	}
	through = r.reached
	if c.onAnswer {
		through = len(r.body) > 0 && (string(r.body) == c.answer.body || string(r.body) == answer) || strings.Contains(string(r.body), marker)
		if !r.reached || string(r.got) != c.request.body {
			t.Errorf("the request did not reach the upstream as it was: %d %s", r.status, r.outcome)
		}
	}
	if through {
		t.Errorf("ESCAPE: %d, %.300q", r.status, r.body)
		return true
	}
	if c.onAnswer && y.relays() && r.status == c.answer.status {
		return checkCutStream(t, c, r, answer)
	}
	leg := 0
	if c.onAnswer {
		leg = 1
	}
	status := statuses[c.want][leg]
	if c.want == blocked {
		status = map[string]int{prisma: 403, noma: 400}[y.plugin]
	}
	if r.outcome != c.want || r.status != status || r.cut {
		t.Errorf("ended as %d %q, want %d %q, cut off %v: %.200s", r.status, r.outcome, status, c.want, r.cut, r.body)
	}
	// A caller finds its own id in its answer, whatever that is.
	if c.onAnswer && strings.Contains(string(r.body), "heron") {
		t.Errorf("the refusal quotes the attack: %s", r.body)
	}
	return false
}

// checkCutStream reports whether an attack got through in a stream of which the
// client has got some: what there was of it when it was ended.
func checkCutStream(t reporter, c *testcase, r *result, answer string) (through bool) {
	t.Helper()
	n, ending := released(r.body, answer)
	if shows(c, r) {
		t.Errorf("ESCAPE: readers find the marker in what came: %.300q", r.body)
		return true
	}
	if !r.cut && !endsWith(ending, codes[c.want]) {
		t.Errorf("ESCAPE: a stream ended without an error, after %d bytes of %d: %.300q", n, len(answer), ending)
		return true
	}
	if r.outcome != c.want {
		t.Errorf("ended as %q after %d bytes, want %q: %.200q", r.outcome, n, c.want, ending)
	}
	if strings.Contains(string(ending), "heron") {
		t.Errorf("the ending quotes the attack: %s", ending)
	}
	return false
}

// readLimits bound what is read of a case.
var readLimits = llm.Limits{DecodedBytes: 20 << 20, Ratio: 1000, Depth: 300}

// shows reports whether a reader finds the marker in what the client got.
func shows(c *testcase, r *result) bool {
	in := llm.Input{
		Leg: llm.ResponseLeg, Path: c.request.path, Body: r.body,
		ContentType: r.header.Get("Content-Type"), ContentEncoding: strings.Join(r.header.Values("Content-Encoding"), ", "),
	}
	m, err := llm.Read(in, readLimits)
	if err != nil {
		if m, err = llm.ReadLoosely(context.Background(), in, readLimits); err != nil {
			return false
		}
	}
	for i := range m.Turns {
		if says(gjson.Result{Type: gjson.String, Str: m.Turns[i].Text}, 4) {
			return true
		}
	}
	return false
}

// ownHeaders are those of a gateway and of the connection.
var ownHeaders = []string{"Via", "Server", "Date", "X-Kong-Request-Id", "Content-Length", "Transfer-Encoding"}

// checkGood reports whether good traffic was disturbed: want is what the
// upstream gives without a gateway.
func checkGood(t reporter, y *way, c *testcase, r, want *result) (disturbed bool) {
	t.Helper()
	header, wantHeader, wantBody := r.header.Clone(), want.header.Clone(), want.body
	for _, name := range ownHeaders {
		header.Del(name)
		wantHeader.Del(name)
	}
	if y.relays() && decodedByRelay[c.class+"/"+c.name] {
		wantBody = []byte(c.decoded)
		wantHeader.Del("Content-Encoding")
		wantHeader.Del("Etag") // of the bytes that came
	}
	if !r.reached || r.status != want.status || r.cut || !bytes.Equal(r.body, wantBody) {
		t.Errorf("FALSE BLOCK: %d %q %.300q, cut off %v, want %d %.200q", r.status, r.outcome, r.body, r.cut, want.status, wantBody)
		return true
	}
	if d := cmp.Diff(wantHeader, header); d != "" {
		t.Errorf("FALSE BLOCK: headers of the answer (-want +got):\n%s", d)
		return true
	}
	if string(r.got) != c.request.body {
		t.Errorf("FALSE BLOCK: the upstream got %d other bytes, of %d", len(r.got), len(c.request.body))
		return true
	}
	return false
}

// A tally counts results by class.
type tally struct {
	mu      sync.Mutex
	classes []string
	rows    map[string]*row
}

type row struct {
	attack bool
	cases  map[string]bool
	wrong  map[column]int // by column: escapes, or false blocks
	played map[column]bool
}

// A column of the table is a plugin and a transport.
type column struct {
	plugin  string
	relayed bool
}

func columns() []column {
	var all []column
	for _, p := range plugins {
		all = append(all, column{p, false}, column{p, true})
	}
	return all
}

func (c column) String() string {
	if c.relayed {
		return "`" + c.plugin + "`, relayed"
	}
	return "`" + c.plugin + "`"
}

func (ta *tally) add(y *way, c *testcase, wrong bool) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	if ta.rows == nil {
		ta.rows = make(map[string]*row)
	}
	r := ta.rows[c.class]
	if r == nil {
		r = &row{attack: c.attack, cases: make(map[string]bool), wrong: make(map[column]int), played: make(map[column]bool)}
		ta.rows[c.class] = r
		ta.classes = append(ta.classes, c.class)
	}
	r.cases[c.name] = true
	at := column{y.plugin, y.relays()}
	r.played[at] = true
	if wrong {
		r.wrong[at]++
	}
}

// The two kinds of cases, attacks first.
var kinds = []struct {
	attack             bool
	what, wrong, total string
}{
	{true, "attacks", "escapes", "attacks that escape"},
	{false, "good traffic", "false blocks", "good traffic that is blocked"},
}

// head starts a table that has a column for each plugin and transport.
func head(first, counted string) string {
	line := strings.TrimSpace("| "+first) + " | cases |"
	for _, p := range columns() {
		line += strings.TrimRight(" "+counted, " ") + " " + p.String() + " |"
	}
	return line + "\n|---|---:|" + strings.Repeat("---:|", len(columns())) + "\n"
}

// byClass has a row for each class of cases.
func (ta *tally) byClass() string {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	slices.Sort(ta.classes)
	var b strings.Builder
	for _, kind := range kinds {
		b.WriteString(head(kind.what, kind.wrong))
		for _, class := range ta.classes {
			r := ta.rows[class]
			if r.attack != kind.attack {
				continue
			}
			fmt.Fprintf(&b, "| %s | %d |", class, len(r.cases))
			for _, p := range columns() {
				if r.played[p] {
					fmt.Fprintf(&b, " %d |", r.wrong[p])
				} else {
					b.WriteString(" - |")
				}
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// sums has a row for the attacks and one for good traffic.
func (ta *tally) sums() string {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	var b strings.Builder
	b.WriteString(head("", ""))
	for _, kind := range kinds {
		cases, wrong := 0, make(map[column]int)
		for _, r := range ta.rows {
			if r.attack != kind.attack {
				continue
			}
			cases += len(r.cases)
			for _, p := range columns() {
				wrong[p] += r.wrong[p]
			}
		}
		fmt.Fprintf(&b, "| %s | %d |", kind.total, cases)
		for _, p := range columns() {
			fmt.Fprintf(&b, " %d |", wrong[p])
		}
		b.WriteString("\n")
	}
	return b.String()
}

const (
	tableBegin = "<!-- corpus: written by UPDATE=1 go test ./tests/corpus -->\n"
	tableEnd   = "<!-- end of corpus -->"
)

// checkDocuments checks that the documentation shows this run's tables: the
// sums where guarantees are read, the classes beside the cases.
func checkDocuments(t *testing.T, results *tally) {
	checkDocument(t, filepath.Join("..", "..", "docs", "security-model.md"), results.sums())
	checkDocument(t, "RESULTS.md", results.byClass())
}

func checkDocument(t *testing.T, path, table string) {
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(doc), tableBegin)
	shown, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	if shown == table {
		return
	}
	if os.Getenv("UPDATE") == "" {
		t.Errorf("%s shows another table; UPDATE=1 writes this one", path)
		return
	}
	if err := os.WriteFile(path, []byte(before+tableBegin+table+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCorpusIsLarge keeps the corpus from shrinking, and its names apart.
func TestCorpusIsLarge(t *testing.T) {
	attacks, good := 0, 0
	seen := make(map[string]bool)
	for _, c := range all() {
		if key := c.class + "/" + c.name; seen[key] {
			t.Errorf("two cases are named %s", key)
		} else {
			seen[key] = true
		}
		if c.attack {
			attacks++
		} else {
			good++
		}
	}
	if attacks < 200 || good < 60 {
		t.Errorf("%d attacks and %d good ones, want 200 and 60", attacks, good)
	}
}
