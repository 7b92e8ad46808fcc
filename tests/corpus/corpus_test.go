// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// all returns every case.
func all() []testcase {
	var cases []testcase
	for _, part := range []func() []testcase{
		attackRequests, attackTools, attackJSON, attackBytes, attackForms, attackTransport,
		attackAnswers, attackStreams, attackMCP, attackDisguises, attackSchemas, attackPieces, attackOrder, attackReadings, attackFiles, attackBrokenStreams, attackValues, attackThreads, attackWhole,
		goodRequests, goodAnswers, goodStreams, goodMCP, goodTransport, goodFreeNames, goodReadings, goodFiles, goodValues, goodThreads,
	} {
		cases = append(cases, part()...)
	}
	return cases
}

// TestCorpus plays every case through both plugins. When all went as they
// should, UPDATE=1 in the environment writes the table of its results into the
// documentation.
func TestCorpus(t *testing.T) {
	cases := all()
	h := open(t, cases)
	var table tally
	t.Run("cases", func(t *testing.T) {
		for _, plugin := range plugins {
			for n := range cases {
				c := &cases[n]
				t.Run(strings.Join([]string{plugin, c.class, c.name}, "/"), func(t *testing.T) {
					t.Parallel()
					r, err := h.send(t.Context(), plugin, n)
					if err != nil {
						t.Fatal(err)
					}
					if c.attack {
						table.add(plugin, c, checkAttack(t, plugin, c, &r))
						return
					}
					want, err := h.sendDirect(t.Context(), n)
					if err != nil {
						t.Fatal(err)
					}
					table.add(plugin, c, checkGood(t, c, &r, &want))
				})
			}
		}
	})
	t.Log("\n" + table.markdown())
	if t.Failed() {
		// What failed would only be written down.
		t.Log("the table of the documentation is not compared, since cases failed")
		return
	}
	if f := flag.Lookup("test.run"); f.Value.String() == "" || f.Value.String() == "TestCorpus" {
		checkDocument(t, table.markdown())
	}
}

// statuses are what outcomes answer, by plugin for a block, else by leg.
var statuses = map[string][2]int{
	malformed: {400, 502}, ambiguous: {400, 502}, tooLarge: {413, 502}, unscannable: {415, 502},
	upgrade: {415, 0}, streamRefused: {405, 0},
}

// checkAttack reports whether an attack got through.
func checkAttack(t *testing.T, plugin string, c *testcase, r *result) (through bool) {
	through = r.reached
	if c.onAnswer {
		through = len(r.body) > 0 && bytes.Equal(r.body, []byte(c.answer.body)) || strings.Contains(string(r.body), marker)
		if !r.reached || string(r.got) != c.request.body {
			t.Errorf("the request did not reach the upstream as it was: %d %s", r.status, r.outcome)
		}
	}
	if through {
		t.Errorf("ESCAPE: %d, %.300q", r.status, r.body)
		return true
	}
	leg := 0
	if c.onAnswer {
		leg = 1
	}
	status := statuses[c.want][leg]
	if c.want == blocked {
		status = map[string]int{prisma: 403, noma: 400}[plugin]
	}
	if r.outcome != c.want || r.status != status {
		t.Errorf("ended as %d %q, want %d %q: %.200s", r.status, r.outcome, status, c.want, r.body)
	}
	// A caller finds its own id in its answer, whatever that is.
	if c.onAnswer && strings.Contains(string(r.body), "heron") {
		t.Errorf("the refusal quotes the attack: %s", r.body)
	}
	return false
}

// ownHeaders are those of a gateway and of the connection.
var ownHeaders = []string{"Via", "Server", "Date", "X-Kong-Request-Id", "Content-Length", "Transfer-Encoding"}

// checkGood reports whether good traffic was disturbed: want is what the
// upstream gives without a gateway.
func checkGood(t *testing.T, c *testcase, r, want *result) (disturbed bool) {
	for _, h := range []http.Header{r.header, want.header} {
		for _, name := range ownHeaders {
			h.Del(name)
		}
	}
	if !r.reached || r.status != want.status || !bytes.Equal(r.body, want.body) {
		t.Errorf("FALSE BLOCK: %d %q %.300q, want %d %.200q", r.status, r.outcome, r.body, want.status, want.body)
		return true
	}
	if d := cmp.Diff(want.header, r.header); d != "" {
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
	wrong  map[string]int // by plugin: escapes, or false blocks
}

func (ta *tally) add(plugin string, c *testcase, wrong bool) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	if ta.rows == nil {
		ta.rows = make(map[string]*row)
	}
	r := ta.rows[c.class]
	if r == nil {
		r = &row{attack: c.attack, cases: make(map[string]bool), wrong: make(map[string]int)}
		ta.rows[c.class] = r
		ta.classes = append(ta.classes, c.class)
	}
	r.cases[c.name] = true
	if wrong {
		r.wrong[plugin]++
	}
}

// markdown is the table, attacks first, with sums.
func (ta *tally) markdown() string {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	slices.Sort(ta.classes)
	var b strings.Builder
	for _, kind := range []struct {
		attack      bool
		what, wrong string
	}{{true, "attacks", "escapes"}, {false, "good traffic", "false blocks"}} {
		fmt.Fprintf(&b, "| %s | cases |", kind.what)
		for _, p := range plugins {
			fmt.Fprintf(&b, " %s `%s` |", kind.wrong, p)
		}
		b.WriteString("\n|---|---:|" + strings.Repeat("---:|", len(plugins)) + "\n")
		sum := row{wrong: make(map[string]int)}
		cases := 0
		for _, class := range ta.classes {
			r := ta.rows[class]
			if r.attack != kind.attack {
				continue
			}
			fmt.Fprintf(&b, "| %s | %d |", class, len(r.cases))
			cases += len(r.cases)
			for _, p := range plugins {
				fmt.Fprintf(&b, " %d |", r.wrong[p])
				sum.wrong[p] += r.wrong[p]
			}
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "| **all** | **%d** |", cases)
		for _, p := range plugins {
			fmt.Fprintf(&b, " **%d** |", sum.wrong[p])
		}
		b.WriteString("\n\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

const (
	tableBegin = "<!-- corpus: written by UPDATE=1 go test ./tests/corpus -->\n"
	tableEnd   = "<!-- end of corpus -->"
)

// checkDocument checks that the documentation shows this run's table.
func checkDocument(t *testing.T, table string) {
	path := filepath.Join("..", "..", "docs", "security-model.md")
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
