// SPDX-License-Identifier: Apache-2.0

package kongschema_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	lua "github.com/yuin/gopher-lua"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

var update = flag.Bool("update", false, "write the golden files")

// declared returns the plugins' declarations, and one that uses whatever can
// be declared.
func declared() []kongschema.Plugin {
	all := []kongschema.Plugin{{
		Name: "sample", Protocols: []string{"http"}, NoConsumer: true, Config: new(sample).fields(),
		Checks: []kongschema.EntityCheck{
			kongschema.AtLeastOneOf("secret", "token", "nested.inner"),
			kongschema.MutuallyExclusive("secret", "token"),
		},
	}}
	for _, p := range plugins.All() {
		all = append(all, p.Schema())
	}
	return all
}

func TestLuaSaysWhatTheDumpSays(t *testing.T) {
	for _, plugin := range declared() {
		t.Run(plugin.Name, func(t *testing.T) {
			var want any
			if err := json.Unmarshal(plugin.Dump(), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, runLua(t, plugin.Lua())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// runLua runs a schema.lua where nothing exists but ngx.null, and returns the
// table that it returns as JSON would decode it.
func runLua(t *testing.T, source []byte) any {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	null := state.NewUserData()
	ngx := state.NewTable()
	ngx.RawSetString("null", null)
	state.SetGlobal("ngx", ngx)
	if err := state.DoString(string(source)); err != nil {
		t.Fatal(err)
	}
	return fromLua(t, state.Get(-1), null)
}

func fromLua(t *testing.T, value lua.LValue, null *lua.LUserData) any {
	t.Helper()
	switch v := value.(type) {
	case *lua.LUserData:
		if v != null {
			t.Fatal("a userdata that is not ngx.null")
		}
		return nil
	case lua.LString:
		return string(v)
	case lua.LNumber:
		return float64(v)
	case lua.LBool:
		return bool(v)
	case *lua.LTable:
		if v.Len() > 0 {
			list := make([]any, v.Len())
			for i := range list {
				list[i] = fromLua(t, v.RawGetInt(i+1), null)
			}
			return list
		}
		object := make(map[string]any)
		v.ForEach(func(key, value lua.LValue) { object[key.String()] = fromLua(t, value, null) })
		return object
	}
	t.Fatalf("unexpected %s", value.Type())
	return nil
}

func TestLuaRequiresNothing(t *testing.T) {
	for _, plugin := range declared() {
		source := string(plugin.Lua())
		if strings.Contains(source, "require(") || strings.Contains(source, "require \"") || strings.Contains(source, "function") {
			t.Errorf("%s: schema.lua calls something", plugin.Name)
		}
	}
}

// TestDumpIsAsReviewed holds the schemas against golden files, so that no
// change to what Kong enforces goes unseen.
func TestDumpIsAsReviewed(t *testing.T) {
	for _, plugin := range declared() {
		golden := filepath.Join("testdata", plugin.Name+".dump.json")
		dump := append(plugin.Dump(), '\n')
		if *update {
			if err := os.WriteFile(golden, dump, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(dump)); diff != "" {
			t.Errorf("%s (go test -update, when it is meant so): %s", plugin.Name, diff)
		}
	}
}

// attributes are what Kong's schema language allows for each type.
var attributes = map[string][]string{
	"string":  {"one_of", "len_min", "len_max", "starts_with", "match", "referenceable", "encrypted"},
	"boolean": {},
	"integer": {"between", "gt", "one_of"},
	"number":  {"between", "gt", "one_of"},
	"array":   {"elements", "len_min", "len_max"},
	"set":     {"elements", "len_min", "len_max"},
	"map":     {"keys", "values", "len_min", "len_max"},
	"record":  {"fields"},
	"foreign": {"reference", "eq"},
}

func TestDumpIsWhatKongTakes(t *testing.T) {
	for _, plugin := range declared() {
		if err := plugin.Check(); err != nil {
			t.Error(err)
		}
		var schema struct {
			Name   string
			Fields []map[string]map[string]any
			Checks []map[string][]string `json:"entity_checks"`
		}
		if err := json.Unmarshal(plugin.Dump(), &schema); err != nil {
			t.Fatal(err)
		}
		if schema.Name != plugin.Name {
			t.Errorf("name %q", schema.Name)
		}
		var top []string
		for _, field := range schema.Fields {
			for name, spec := range field {
				top = append(top, name)
				checkSpec(t, name, spec, name != "config")
			}
		}
		want := []string{"protocols", "consumer", "config"}
		if !plugin.NoConsumer {
			want = []string{"protocols", "config"}
		}
		if !slices.Equal(top, want) {
			t.Errorf("%s: fields %v", plugin.Name, top)
		}
		for _, check := range schema.Checks {
			for kind, paths := range check {
				for _, path := range paths {
					if !strings.HasPrefix(path, "config.") {
						t.Errorf("%s: %s of %s", plugin.Name, kind, path)
					}
				}
			}
		}
	}
}

// TestSharedFieldsAreTheSame holds what both plugins have against each other.
func TestSharedFieldsAreTheSame(t *testing.T) {
	own := []string{
		"api_key", "api_key_file", "profile_name", "app_name", "api_endpoint", "max_retries", "mask_sensitive_data", "session_id_header",
		"profile_id", "profile_claim", "profile_claim_map", "fallback_profile_name", "allowed_profiles", "profile_claim_header",
		"app_user_source", "send_user_ip", "block_message", "set_observability_headers",
		"oauth_client_id", "oauth_client_secret", "oauth_token_url", "oauth_scope", "alert_only_detectors",
		"scan_sse_responses", "sse_provider", "sse_max_scan_chars", "sse_truncation_fail_closed", "sse_set_observability_headers",
		"API_base", "application_ID", "client_ID", "client_secret", "client_secret_file", "api_base", "application_id", "client_id",
		"token_url", "scan_path", "anonymize_input", "trust_client_application_id", "block_details", "send_client_ip",
	}
	ours := declared()[1:]
	shared := make([]map[string]map[string]any, len(ours))
	for i, plugin := range ours {
		var dump struct {
			Fields []map[string]struct {
				Fields []map[string]map[string]any
			}
		}
		if err := json.Unmarshal(plugin.Dump(), &dump); err != nil {
			t.Fatal(err)
		}
		shared[i] = make(map[string]map[string]any)
		for _, field := range dump.Fields[len(dump.Fields)-1]["config"].Fields {
			for name, spec := range field {
				if !slices.Contains(own, name) {
					shared[i][name] = spec
				}
			}
		}
		delete(shared[i]["timeout_ms"], "default") // each service has its own pace
	}
	for i := range ours[1:] {
		if diff := cmp.Diff(shared[0], shared[i+1]); diff != "" {
			t.Errorf("%s and %s: %s", ours[0].Name, ours[i+1].Name, diff)
		}
	}
}

func checkSpec(t *testing.T, name string, spec map[string]any, described bool) {
	t.Helper()
	kind, _ := spec["type"].(string)
	allowed, known := attributes[kind]
	if !known {
		t.Errorf("%s: type %q", name, kind)
	}
	if text, _ := spec["description"].(string); (described || text != "") && (len(text) < 10 || len(text) > 500) {
		t.Errorf("%s: a description of %d bytes, not of 10 to 500: %q", name, len(text), text)
	}
	for attribute, value := range spec {
		if !slices.Contains([]string{"type", "description", "required", "default"}, attribute) && !slices.Contains(allowed, attribute) {
			t.Errorf("%s: %s cannot have %s", name, kind, attribute)
		}
		switch attribute {
		case "elements", "keys", "values":
			checkSpec(t, name+"."+attribute, value.(map[string]any), false)
		case "fields":
			for _, field := range value.([]any) {
				for inner, spec := range field.(map[string]any) {
					checkSpec(t, name+"."+inner, spec.(map[string]any), true)
				}
			}
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	var text string
	var number int64
	for name, config := range map[string]kongschema.Record{
		"a short description":     {kongschema.String("x", &text).Common().Describe("too short")},
		"a long description":      {kongschema.String("x", &text).Common().Describe(strings.Repeat("é", 250) + "!")},
		"a name twice":            {kongschema.String("x", &text).Common().Describe("long enough"), kongschema.Bool("x", new(bool)).Common().Describe("long enough")},
		"no name":                 {kongschema.String("", &text).Common().Describe("long enough")},
		"a default of its own":    {kongschema.Integer("x", &number).Default(11).Between(1, 10).Common().Describe("long enough")},
		"a default of a type":     {kongschema.Bool("x", new(bool)).Default("true").Common().Describe("long enough")},
		"an unknown choice":       {kongschema.Choice("x", &text, kongschema.Is("a", "a")).Default("b").Common().Describe("long enough")},
		"a list without elements": {kongschema.Array("x", new([]string), nil).Common().Describe("long enough")},
		"a map without values":    {kongschema.Map("x", new(map[string]string), kongschema.Each(), nil).Common().Describe("long enough")},
		"in no group":             {kongschema.String("x", &text).Describe("long enough")},
		"required, not needed":    {kongschema.String("x", &text).Required().Advanced().Describe("long enough")},
		"a group in a record":     {kongschema.Nested("x", kongschema.Record{kongschema.String("y", &text).Common().Describe("long enough")}).Common().Describe("long enough")},
		"a bad nested field":      {kongschema.Nested("x", kongschema.Record{kongschema.String("y", &text)}).Common().Describe("long enough")},
	} {
		if err := (&kongschema.Plugin{Config: config}).Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	check := kongschema.AtLeastOneOf("x", "nobody")
	plugin := kongschema.Plugin{
		Config: kongschema.Record{kongschema.String("x", &text).Common().Describe("long enough")},
		Checks: []kongschema.EntityCheck{check},
	}
	if err := plugin.Check(); err == nil {
		t.Error("a check of a field that does not exist: accepted")
	}
}

// TestJSONSchema holds each field's JSON Schema against the dump.
func TestJSONSchema(t *testing.T) {
	for _, plugin := range declared() {
		var dump struct {
			Fields []map[string]struct {
				Fields []map[string]map[string]any
			}
		}
		var schema struct {
			Properties map[string]struct {
				Properties map[string]map[string]any
				Required   []string
			}
		}
		if err := json.Unmarshal(plugin.Dump(), &dump); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(plugin.JSONSchema(), &schema); err != nil {
			t.Fatal(err)
		}
		if _, attachable := schema.Properties["consumer"]; attachable == plugin.NoConsumer {
			t.Errorf("%s: consumer %v", plugin.Name, attachable)
		}
		config := schema.Properties["config"]
		fields := dump.Fields[len(dump.Fields)-1]["config"].Fields
		if len(fields) != len(config.Properties) {
			t.Errorf("%s: %d fields, %d properties", plugin.Name, len(fields), len(config.Properties))
		}
		types := map[string]string{"record": "object", "map": "object", "set": "array"}
		for _, field := range fields {
			for name, spec := range field {
				property := config.Properties[name]
				kind := spec["type"].(string)
				if jsonType, ok := types[kind]; ok {
					kind = jsonType
				}
				if property["type"] != kind {
					t.Errorf("%s.%s: type %v", plugin.Name, name, property["type"])
				}
				if text, _ := property["description"].(string); !strings.HasPrefix(text, spec["description"].(string)) {
					t.Errorf("%s.%s: description %q", plugin.Name, name, text)
				}
				for attribute, keyword := range map[string]string{
					"default": "default", "one_of": "enum", "referenceable": "x-referenceable", "encrypted": "x-encrypted", "gt": "exclusiveMinimum",
				} {
					if diff := cmp.Diff(spec[attribute], property[keyword]); diff != "" {
						t.Errorf("%s.%s: %s: %s", plugin.Name, name, keyword, diff)
					}
				}
				if bounds, ok := spec["between"].([]any); ok && (bounds[0] != property["minimum"] || bounds[1] != property["maximum"]) {
					t.Errorf("%s.%s: %v to %v", plugin.Name, name, property["minimum"], property["maximum"])
				}
				if required := spec["required"] == true && kind != "object"; required != slices.Contains(config.Required, name) {
					t.Errorf("%s.%s: required %v", plugin.Name, name, !required)
				}
			}
		}
	}
}

func TestReferenceNamesEachField(t *testing.T) {
	plugin := declared()[0]
	page := string(plugin.Reference(nil, ""))
	if headings := regexp.MustCompile(`(?m)^## (.*)$`).FindAllString(page, -1); !slices.Equal(headings, []string{"## Required", "## Common", "## Advanced", "## Across fields"}) {
		t.Errorf("the page has the parts %v", headings)
	}
	for _, row := range []string{
		"| `text` | 2 to 5 bytes; required | A text of a certain length. |\n",
		"| `secret` | referenceable; encrypted | A secret, \"quoted\" \\ and more \\| \x01. |\n",
		"| `path` | starts with `/`; **`/tmp`** | A path with a prefix. |\n",
		"| `token` | matches the Lua pattern `^%l+$` | A text with a pattern. |\n",
		"| `count` | integer; 1 to 10; **`3`** | A whole number in a range. |\n",
		"| `ratio` | number; greater than 0; **`0.5`** | A number above a limit. |\n",
		"| `mode` | `one`, **`two`** | A choice of two words. |\n",
		"| `tags` | array of string; each 1 to 3 bytes; 0 to 3 elements | A list of short texts. |\n",
		"| `hosts` | set of string; each `a`, `b`; **`[\"a\"]`** | A set of known texts. |\n",
		"| `end` | map of string to string; each key starts with `k`; **`{\"k\":\"v\"}`** | A map, named like a Lua keyword. |\n",
		"| `nested` | record | A record inside the record. |\n",
		"| `nested.inner` | string; **`deep`** | A text inside a record. |\n",
		"- at least one of `secret`, `token`, `nested.inner`\n",
		"- at most one of `secret`, `token`\n",
		"not to a consumer",
	} {
		if !strings.Contains(page, row) {
			t.Errorf("no row %q", row)
		}
	}
}

// TestEachFieldIsInOneTable: each field has one row, on the plugin's page below
// Required, Common or Advanced or on the page of what all share, and whatever a
// rule asks for is among the required ones.
func TestEachFieldIsInOneTable(t *testing.T) {
	ours := declared()[1:]
	shared := kongschema.Shared(ours)
	common := string(shared.Reference())
	if len(shared) < 10 {
		t.Errorf("the plugins share %d fields", len(shared))
	}
	for _, plugin := range ours {
		var dump struct {
			Fields []map[string]struct {
				Fields []map[string]struct{ Required bool }
			}
		}
		if err := json.Unmarshal(plugin.Dump(), &dump); err != nil {
			t.Fatal(err)
		}
		page := string(plugin.Reference(shared, "shared.md"))
		_, tables, _ := strings.Cut(page, "\n## Required\n")
		first, rest, ok := strings.Cut(tables, "\n## Common\n")
		second, third, last := strings.Cut(rest, "\n## Advanced\n")
		for i, table := range []string{first, second, third} {
			if !ok || !last || !strings.Contains(table, "\n| `") {
				t.Errorf("%s: table %d is empty", plugin.Name, i)
			}
		}
		for _, field := range dump.Fields[len(dump.Fields)-1]["config"].Fields {
			for name := range field {
				if n := strings.Count(tables+common, "\n| `"+name+"` |"); n != 1 {
					t.Errorf("%s: %s has %d rows", plugin.Name, name, n)
				}
			}
		}
		for heading, table := range map[string]string{"common": second, "advanced": third} {
			if _, anchored, ok := strings.Cut(table, "](shared.md#"+heading+")"); !ok || strings.Contains(anchored, "](shared.md#") {
				t.Errorf("%s: the page does not lead to the %s fields that all share, once", plugin.Name, heading)
			}
			if !strings.Contains(strings.ToLower(common), "\n## "+heading+"\n") {
				t.Errorf("the shared page has no %s fields", heading)
			}
		}
		for _, rule := range regexp.MustCompile("(?m)^- at least one of (.*)$").FindAllStringSubmatch(tables, -1) {
			for name := range strings.SplitSeq(rule[1], ", ") {
				if !strings.Contains(first, "\n| "+name+" |") {
					t.Errorf("%s: %s is asked for, and not among what is required", plugin.Name, name)
				}
			}
		}
	}
}

// TestReferenceSaysEachRule: no rule of a map is left out either.
func TestReferenceSaysEachRule(t *testing.T) {
	var words map[string]string
	plugin := kongschema.Plugin{Config: kongschema.Record{
		kongschema.Map("words", &words, kongschema.Each().Len(1, 9), kongschema.Each().OneOf("a", "b")).Len(1, 5).Advanced().Describe("A map of some words."),
	}}
	const row = "| `words` | map of string to string; each key 1 to 9 bytes; each value `a`, `b`; 1 to 5 elements | A map of some words. |\n"
	if page := string(plugin.Reference(nil, "")); !strings.Contains(page, row) {
		t.Errorf("the page says:\n%s\nwant %s", page, row)
	}
}

// TestShared: what is declared otherwise, or is needed to ask a service, is no
// plugin's to leave to the shared page.
func TestShared(t *testing.T) {
	var text string
	plugin := func(fields ...*kongschema.Field) kongschema.Plugin { return kongschema.Plugin{Config: fields} }
	field := func(name, says string) *kongschema.Field {
		return kongschema.String(name, &text).Advanced().Describe(says)
	}
	for name, c := range map[string]struct {
		other *kongschema.Field
		want  bool
	}{
		"alike":           {field("x", "The same words."), true},
		"other words":     {field("x", "Some other words."), false},
		"another name":    {field("y", "The same words."), false},
		"another default": {field("x", "The same words.").Default("z"), false},
	} {
		shared := kongschema.Shared([]kongschema.Plugin{plugin(field("x", "The same words.")), plugin(c.other)})
		if (len(shared) == 1) != c.want {
			t.Errorf("%s: %d are shared", name, len(shared))
		}
	}
	usual := kongschema.String("x", &text).Common().Describe("The same words.")
	if shared := kongschema.Shared([]kongschema.Plugin{plugin(usual), plugin(usual)}); len(shared) != 1 {
		t.Error("a common field is said by each plugin")
	}
	if shared := kongschema.Shared([]kongschema.Plugin{plugin(usual), plugin(field("x", "The same words."))}); len(shared) > 0 {
		t.Error("a field that is common in one plugin and advanced in the other is shared")
	}
	needed := kongschema.String("x", &text).Needed().Describe("The same words.")
	if shared := kongschema.Shared([]kongschema.Plugin{plugin(needed), plugin(needed)}); len(shared) > 0 {
		t.Error("what is needed is left to the shared page")
	}
	if shared := kongschema.Shared([]kongschema.Plugin{plugin(field("x", "The same words."))}); len(shared) > 0 {
		t.Error("one plugin shares with itself")
	}
}
