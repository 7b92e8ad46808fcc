// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// descriptions returns the metrics of all plugins, with their labels. It is in
// the words of prometheus.Desc, the only ones that it has.
func descriptions(t *testing.T) map[string][]string {
	t.Helper()
	form := regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ".*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	constant := regexp.MustCompile(`(\w+)="`)
	found := map[string][]string{}
	for _, p := range plugins.All() {
		ch := make(chan *prometheus.Desc)
		go func() {
			defer close(ch)
			program.Registry(p).Describe(ch)
		}()
		for d := range ch {
			m := form.FindStringSubmatch(d.String())
			if m == nil {
				t.Fatalf("description %s", d)
			}
			labels := strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' })
			for _, c := range constant.FindAllStringSubmatch(m[2], -1) {
				labels = append(labels, c[1])
			}
			found[m[1]] = append(found[m[1]], labels...)
		}
	}
	if len(found) < 20 {
		t.Fatalf("only %v", found)
	}
	return found
}

var (
	promString   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	promDuration = regexp.MustCompile(`\[[^\]]*\]|\boffset\s+[0-9]+[a-z]+`)
	promSelector = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)?\s*\{([^}]*)\}`)
	promGrouping = regexp.MustCompile(`\b(?:by|on|without|ignoring)\s*\(([^)]*)\)`)
	promMatcher  = regexp.MustCompile(`^\s*(\w+)\s*(?:=~|!~|!=|=)\s*""\s*$`)
	promWord     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
)

var promFunctions = strings.Fields("sum max count rate increase absent histogram_quantile")

// query is what a PromQL expression asks for.
type query struct {
	metrics []string
	labels  map[string][]string // by metric: those it is selected by
	grouped []string
}

// read takes an expression apart. It knows as much of PromQL as the examples
// use, and refuses the rest.
func read(expr string) (query, error) {
	q := query{labels: map[string][]string{}}
	expr = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(expr)
	expr = promDuration.ReplaceAllString(promString.ReplaceAllString(expr, `""`), "")
	depth := 0
	for _, c := range expr {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		return q, fmt.Errorf("brackets do not match")
	}
	for _, m := range promSelector.FindAllStringSubmatch(expr, -1) {
		for matcher := range strings.SplitSeq(m[2], ",") {
			label := promMatcher.FindStringSubmatch(matcher)
			if label == nil || m[1] == "" {
				return q, fmt.Errorf("matcher %q", matcher)
			}
			q.labels[m[1]] = append(q.labels[m[1]], label[1])
		}
	}
	expr = promSelector.ReplaceAllString(expr, "$1 ")
	for _, m := range promGrouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			q.grouped = append(q.grouped, strings.TrimSpace(label))
		}
	}
	expr = promGrouping.ReplaceAllString(expr, " ")
	for _, word := range promWord.FindAllString(expr, -1) {
		name, function := strings.CutSuffix(word, "(")
		name = strings.TrimSpace(name)
		switch {
		case name == "or" || name == "and" || name == "unless":
		case slices.Contains(promFunctions, name):
		case function:
			return q, fmt.Errorf("function %s", name)
		default:
			q.metrics = append(q.metrics, name)
		}
	}
	if len(q.metrics) == 0 {
		return q, fmt.Errorf("no metric")
	}
	return q, nil
}

// verify checks that what an expression asks for is there.
func verify(t *testing.T, where, expr string, have map[string][]string) {
	t.Helper()
	q, err := read(expr)
	if err != nil {
		t.Errorf("%s: %v: %s", where, err, expr)
		return
	}
	allowed := []string{"instance", "job"} // Prometheus adds them
	for _, name := range q.metrics {
		base := name
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if cut, ok := strings.CutSuffix(name, part); ok && have[cut] != nil {
				base = cut
			}
		}
		labels, ok := have[base]
		if !ok {
			t.Errorf("%s: no metric %s: %s", where, name, expr)
		}
		if strings.HasSuffix(name, "_bucket") {
			labels = append(slices.Clone(labels), "le")
		}
		for _, label := range q.labels[name] {
			if !slices.Contains(labels, label) {
				t.Errorf("%s: %s has no label %s, only %v", where, name, label, labels)
			}
		}
		allowed = append(allowed, labels...)
	}
	for _, label := range q.grouped {
		if !slices.Contains(allowed, label) {
			t.Errorf("%s: no label %s: %s", where, label, expr)
		}
	}
}

// TestQueriesAskForWhatIsThere: every query of the dashboard and of the alert
// rules names metrics and labels that the binaries have.
func TestQueriesAskForWhatIsThere(t *testing.T) {
	have := descriptions(t)
	t.Run("dashboard", func(t *testing.T) {
		b, err := os.ReadFile("../../kong/grafana-dashboard.json")
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			UID, Title string
			Templating struct {
				List []struct{ Name, Definition string }
			}
			Panels []struct {
				ID          int
				Title, Type string
				GridPos     struct{ H, W, X, Y int }
				Targets     []struct{ Expr, LegendFormat, RefID string }
				FieldConfig struct{ Defaults struct{ Unit string } }
				Datasource  struct{ Type, UID string }
			}
		}
		if err := json.Unmarshal(b, &dashboard); err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		queries := 0
		legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
		for _, p := range dashboard.Panels {
			if seen[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("panel %q: id %d is taken, or it is too wide", p.Title, p.ID)
			}
			seen[p.ID] = true
			for _, target := range p.Targets {
				queries++
				verify(t, p.Title, target.Expr, have)
				for _, label := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
					if q, _ := read(target.Expr); !slices.Contains(q.grouped, label[1]) {
						t.Errorf("%s: the legend has %s, the query has not", p.Title, label[1])
					}
				}
			}
		}
		if queries < 20 || dashboard.UID == "" {
			t.Errorf("%d queries, uid %q", queries, dashboard.UID)
		}
		for _, v := range dashboard.Templating.List {
			if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil && !slices.Contains(have[m[1]], m[2]) {
				t.Errorf("variable %s: %s", v.Name, v.Definition)
			}
		}
	})
	t.Run("alerts", func(t *testing.T) {
		b, err := os.ReadFile("../../kong/alerts.yaml")
		if err != nil {
			t.Fatal(err)
		}
		var rules struct {
			Groups []struct {
				Name  string
				Rules []struct {
					Alert, Expr, For    string
					Labels, Annotations map[string]string
				}
			}
		}
		if err := yaml.UnmarshalWithOptions(b, &rules, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if names[r.Alert] || r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
					t.Errorf("alert %q: named twice, or without severity or summary", r.Alert)
				}
				names[r.Alert] = true
				verify(t, r.Alert, r.Expr, have)
			}
		}
		docs, err := os.ReadFile("../../docs/metrics.md")
		if err != nil {
			t.Fatal(err)
		}
		for name := range names {
			if !strings.Contains(string(docs), name) {
				t.Errorf("docs/metrics.md does not say what to do about %s", name)
			}
		}
	})
	t.Run("docs", func(t *testing.T) {
		docs, err := os.ReadFile("../../docs/metrics.md")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(have)) {
			if strings.HasPrefix(name, "ai_guard_") && !strings.Contains(string(docs), "`"+name+"`") {
				t.Errorf("docs/metrics.md does not explain %s", name)
			}
		}
		for _, name := range regexp.MustCompile("`(ai_guard_[a-z_]+)`").FindAllStringSubmatch(string(docs), -1) {
			if have[name[1]] == nil {
				t.Errorf("docs/metrics.md explains %s, which is not there", name[1])
			}
		}
	})
}

// TestWrongQueriesAreSeen proves that the checks above can fail.
func TestWrongQueriesAreSeen(t *testing.T) {
	for _, expr := range []string{
		`sum(rate(x_total[5m])`, `sum(nonsense(x_total))`, `x{label}`, `{plugin="p"}`, `5 > 3`,
	} {
		if _, err := read(expr); err == nil {
			t.Errorf("%s was taken", expr)
		}
	}
	q, err := read(`sum by (plugin, le) (rate(x_bucket{a="b, c{d}", e=~"f"}[$__rate_interval])) / on (job) y > 0.5 or z`)
	if err != nil || !slices.Equal(q.metrics, []string{"x_bucket", "y", "z"}) || !slices.Equal(q.grouped, []string{"plugin", "le", "job"}) || !slices.Equal(q.labels["x_bucket"], []string{"a", "e"}) {
		t.Errorf("%+v, %v", q, err)
	}
}
