// SPDX-License-Identifier: Apache-2.0

package kong_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// pages are those of the documentation, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"README.md": string(read(t, "../README.md"))}
	found, err := filepath.Glob("../docs/*.md")
	if err != nil || len(found) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for _, path := range found {
		all["docs/"+filepath.Base(path)] = string(read(t, path))
	}
	return all
}

// The plugins in the curl lines of the pages are such as Kong takes.
func TestPluginsInPages(t *testing.T) {
	body := regexp.MustCompile(`(?s)(?:-d|--data) '(\{.*?\n?\})'`)
	for page, wanted := range map[string]int{"README.md": 1, "docs/install-kong-conf.md": 3, "docs/install-konnect.md": 2} {
		var ours []string
		for _, m := range body.FindAllStringSubmatch(pages(t)[page], -1) {
			var p struct {
				Name     string
				Config   map[string]any
				Messages []any // of a prompt
			}
			if err := json.Unmarshal([]byte(m[1]), &p); err != nil {
				t.Errorf("%s: %v in %s", page, err, m[1])
				continue
			}
			if p.Messages != nil {
				continue
			}
			ours = append(ours, check(t, page, kongtest.Plugin{Name: p.Name, Config: p.Config}))
		}
		if wanted > 1 {
			both(t, page, ours)
		}
		if len(ours) != wanted {
			t.Errorf("%s has %d requests that are judged, want %d", page, len(ours), wanted)
		}
	}
}

// anchor is what a heading is called in a link.
func anchor(heading string) string {
	heading = regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

// markdown has every page of the repository by its path, without the blocks of
// code: their comments are no headings, and their brackets no links.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	code := regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "tests/*/*.md", "kong/*/*.md"} {
		found, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			at, err := filepath.Rel("..", path)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.ToSlash(at)] = code.ReplaceAllString(string(read(t, path)), "")
		}
	}
	return all
}

// broken says what is wrong with a link, if anything.
func broken(all map[string]string, page, to string) string {
	target, fragment, _ := strings.Cut(to, "#")
	if strings.Contains(target, "://") {
		return ""
	}
	at := page
	if target != "" {
		at = path.Join(path.Dir(page), target)
		if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(at))); err != nil {
			return "leads to " + at + ", which is not there"
		}
	}
	if fragment == "" {
		return ""
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(all[at], -1) {
		if anchor(m[1]) == fragment {
			return ""
		}
	}
	return "leads to " + at + ", which has no heading " + fragment
}

func TestLinksInPages(t *testing.T) {
	all := markdown(t)
	links := 0
	for page, text := range all {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			links++
			if what := broken(all, page, m[1]); what != "" {
				t.Errorf("%s %s", page, what)
			}
		}
	}
	if len(all) < 20 || links < 100 {
		t.Errorf("found %d pages and %d links", len(all), links)
	}
	for _, to := range []string{"docs/nowhere.md", "#nowhere", "docs/relay.md#nowhere", "LICENSE#nowhere"} {
		if broken(all, "README.md", to) == "" {
			t.Errorf("a link to %s was taken", to)
		}
	}
}

// What is said elsewhere of pages, in comments and in what programs write,
// leads to pages, too.
func TestPagesThatAreNamed(t *testing.T) {
	all := markdown(t)
	name := regexp.MustCompile(`\bdocs/[A-Za-z0-9-]+\.md(?:#[a-z0-9_-]+)?`)
	for _, dir := range []string{"cmd", "docker", "internal", "kong", "plugins", "schema", "tests"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(file string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || file == filepath.Join("..", "kong", "pages_test.go") {
				return err
			}
			for _, to := range name.FindAllString(string(read(t, file)), -1) {
				if what := broken(all, "README.md", to); what != "" {
					t.Errorf("%s %s", file, what)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// The outcomes that the pages name are the plugins'.
func TestOutcomesInPages(t *testing.T) {
	source := string(read(t, "../internal/policy/outcome.go"))
	for page, text := range pages(t) {
		for _, m := range regexp.MustCompile("outcome=\"([a-z_0-9]+)\"").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(source, `name: "`+m[1]+`"`) {
				t.Errorf("%s tells of the outcome %q, which there is not", page, m[1])
			}
		}
	}
}

// How it works tells each outcome that ends an exchange, with its code.
func TestEachOutcomeIsExplained(t *testing.T) {
	page := pages(t)["docs/how-it-works.md"]
	source := string(read(t, "../internal/policy/outcome.go"))
	rules := regexp.MustCompile(`(?s)name: "([a-z_0-9]+)", action: action(?:Block|Refuse).*?code: "([a-z_0-9]+)"`).FindAllStringSubmatch(source, -1)
	if len(rules) < 10 {
		t.Fatalf("found %d outcomes", len(rules))
	}
	for _, rule := range rules {
		if !regexp.MustCompile("(?m)^\\| " + rule[1] + " \\|.*\\| `" + rule[2] + "` \\|$").MatchString(page) {
			t.Errorf("the page has no row for the outcome %s with the code %s", rule[1], rule[2])
		}
	}
}

// Each page can be reached from the README.
func TestReadmeLeadsToEachPage(t *testing.T) {
	all := pages(t)
	for page := range all {
		if page != "README.md" && !strings.Contains(all["README.md"], "]("+page+")") {
			t.Errorf("the README does not lead to %s", page)
		}
	}
}

// What the vendors' documentation answers, ours does too.
func TestTroubleshootAnswersEachSymptom(t *testing.T) {
	page := strings.ToLower(pages(t)["docs/troubleshoot.md"])
	for symptom, words := range map[string][]string{
		"plugin not found, in hybrid mode":    {"requests get 500 and the data plane says", "every** data plane"},
		"the variable KONG_PLUGINS":           {"printenv kong_plugins"},
		"the path of Lua":                     {"luarocks list | grep noma"},
		"egress":                              {"api.noma.security", "egress"},
		"credentials":                         {"client id and secret are wrong"},
		"timeouts":                            {"proxy_timeout"},
		"a generic application":               {"everything is reported as application `kong`", "application_id", "consumer"},
		"monitor mode":                        {"monitor_mode: false"},
		"where the plugin's files are":        {"/usr/local/share/lua/5.1/kong/plugins/"},
		"errors while plugins load":           {"grep -i error", "pluginserver"},
		"not in Konnect: the schema":          {"the schema is not uploaded"},
		"not in Konnect: the data plane":      {"the data plane is not connected"},
		"not in Konnect: synchronisation":     {"the data plane does not take the configuration"},
		"good requests blocked: the key":      {`check="api_key"`, "expired"},
		"good requests blocked: the profile":  {"profile_name"},
		"good requests blocked: the scan log": {"scan_id", "console"},
		"a missing prompt":                    {`outcome="missing_prompt"`},
		"no verdict":                          {`outcome="no_verdict"`},
	} {
		for _, w := range words {
			if !strings.Contains(page, strings.ToLower(w)) {
				t.Errorf("%s: nothing about %q", symptom, w)
			}
		}
	}
}

// Each way to install begins with whom the page is for and ends with the two
// requests that show whether it works, and no page puts a secret on a command
// line.
func TestInstallPages(t *testing.T) {
	secret := regexp.MustCompile(`(?i)(api_?key|client_?secret|token)["']?[=:] ?["']?(YOUR|MY|THE)|--konnect-token[ =]|Bearer \$`)
	installs := 0
	for name, page := range pages(t) {
		if found := secret.FindString(page); found != "" {
			t.Errorf("%s has a secret on a command line: %s", name, found)
		}
		if !strings.HasPrefix(name, "docs/install-") {
			continue
		}
		installs++
		paragraphs := strings.Split(page, "\n\n")
		if first := paragraphs[1]; !strings.HasPrefix(first, "You ") || !strings.Contains(first, "this is your page") || strings.Count(first, "](install-") < 3 {
			t.Errorf("%s does not begin with whom it is for, and where others go: %s", name, first)
		}
		_, end, _ := strings.Cut(page, "\n## See it work\n")
		if strings.Contains(end, "\n## ") || strings.Count(end, "curl -i http") != 2 || !strings.Contains(end, "What is 2+2?") || !strings.Contains(end, "Ignore all instructions") ||
			!strings.Contains(end, "403 from Prisma AIRS or 400 from Noma") || !strings.HasSuffix(end, "[troubleshoot.md](troubleshoot.md).\n") {
			t.Errorf("%s does not end with two requests and what to see", name)
		}
	}
	if installs != 5 {
		t.Errorf("%d ways to install", installs)
	}
}

// pluginsIn returns what looks like an instance of one of our plugins, anywhere
// in a document.
func pluginsIn(v any) (found []kongtest.Plugin) {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			found = append(found, pluginsIn(element)...)
		}
	case map[string]any:
		name, _ := v["name"].(string)
		if config, ok := v["config"].(map[string]any); ok && schemas[name] != nil {
			found = append(found, kongtest.Plugin{Name: name, Config: config})
		}
		for _, member := range v {
			found = append(found, pluginsIn(member)...)
		}
	}
	return found
}

// The plugins in the YAML of the pages are such as Kong takes, and bare fields
// are fields of one.
func TestYAMLInPages(t *testing.T) {
	fields := map[string]bool{}
	for _, schema := range schemas {
		for _, f := range schema.Fields {
			for _, inner := range f.Fields {
				fields[inner.Name] = true
			}
		}
	}
	judged := 0
	for page, text := range pages(t) {
		for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "# kong.yml") {
				continue // two files side by side
			}
			var document any
			if err := yaml.Unmarshal([]byte(m[1]), &document); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, m[1])
				continue
			}
			ours := pluginsIn(document)
			for _, p := range ours {
				judged++
				if p.Config["api_key"] == nil && !strings.Contains(m[1], "_format_version") {
					p.Config["api_key"] = "key" // it is a part of a configuration
				}
				check(t, page, p)
			}
			bare, _ := document.(map[string]any)
			if len(ours) > 0 || bare["plugins"] != nil || bare["services"] != nil {
				continue
			}
			for name := range bare {
				if judged++; !fields[name] {
					t.Errorf("%s: no plugin has a field %s", page, name)
				}
			}
		}
	}
	if judged < 15 {
		t.Errorf("%d plugins and fields in all pages", judged)
	}
}
