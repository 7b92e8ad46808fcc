// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// schemaOf makes a dump with these config fields and entity checks.
func schemaOf(t testing.TB, fields, checks string) *pluginInfo {
	t.Helper()
	if checks == "" {
		checks = "[]"
	}
	doc, err := parseDump(fmt.Appendf(nil, `{"Protocol":"ProtoBuf:1","SocketPath":"/s","Plugins":[{"Name":"p","Phases":["access"],"Version":"1","Priority":1,
		"Schema":{"name":"p","fields":[{"consumer":{"type":"foreign","eq":null}},{"protocols":{"type":"set","required":true,"default":["http","https"],"elements":{"type":"string","one_of":["http","https"]}}},
		{"config":{"type":"record","required":true,"fields":%s,"entity_checks":%s}}]}}]}`, fields, checks))
	if err != nil {
		t.Fatal(err)
	}
	return &doc.Plugins[0]
}

func TestValidationInKongsWords(t *testing.T) {
	for _, c := range []struct {
		field, value string
		want         string // "" for none
		path         string // of the error, config.f when ""
	}{
		{field: `{"type":"string","required":true}`, value: `null`, want: "required field missing"},
		{field: `{"type":"string"}`, value: `null`},
		{field: `{"type":"string"}`, value: `1`, want: "expected a string"},
		{field: `{"type":"string"}`, value: `""`, want: "length must be at least 1"},
		{field: `{"type":"string","len_min":0}`, value: `""`},
		{field: `{"type":"string","len_min":3}`, value: `"ab"`, want: "length must be at least 3"},
		{field: `{"type":"string","len_max":3}`, value: `"abcd"`, want: "length must be at most 3"},
		{field: `{"type":"string","len_eq":3}`, value: `"abcd"`, want: "length must be 3"},
		{field: `{"type":"string","one_of":["a","b"]}`, value: `"c"`, want: "expected one of: a, b"},
		{field: `{"type":"string","one_of":["a","b"]}`, value: `"b"`},
		{field: `{"type":"string","starts_with":"http"}`, value: `"ftp://x"`, want: "should start with: http"},
		{field: `{"type":"string","match":"^https?://%S+$"}`, value: `"https://host/x"`},
		{field: `{"type":"string","match":"^https?://%S+$"}`, value: `"https://a b"`, want: "invalid value: https://a b"},
		{field: `{"type":"string","match":"^[%w%-_]+$"}`, value: `"a-b_c"`},
		{field: `{"type":"string","match":"^[%w%-_]+$"}`, value: `"a.b"`, want: "invalid value: a.b"},
		{field: `{"type":"string","not_match":"{vault://"}`, value: `"x{vault://y"`, want: "invalid value: x{vault://y"},
		{field: `{"type":"string","eq":"a"}`, value: `"b"`, want: "value must be a"},
		{field: `{"type":"string","ne":"b"}`, value: `"b"`, want: "value must not be b"},
		{field: `{"type":"string","match":"^x","referenceable":true}`, value: `"{vault://env/a}"`},
		{field: `{"type":"string","match":"^x"}`, value: `"{vault://env/a}"`, want: "invalid value: {vault://env/a}"},
		{field: `{"type":"number","between":[1,2]}`, value: `3`, want: "value should be between 1 and 2"},
		{field: `{"type":"number","between":[1,2]}`, value: `1.5`},
		{field: `{"type":"number","gt":0}`, value: `0`, want: "value must be greater than 0"},
		{field: `{"type":"number"}`, value: `"1"`, want: "expected a number"},
		{field: `{"type":"integer"}`, value: `1.5`, want: "expected an integer"},
		{field: `{"type":"integer"}`, value: `10485760`},
		{field: `{"type":"boolean"}`, value: `"true"`, want: "expected a boolean"},
		{field: `{"type":"array","elements":{"type":"string"}}`, value: `"a"`, want: "expected an array"},
		{field: `{"type":"array","elements":{"type":"string","one_of":["a"]}}`, value: `["a","b"]`, want: "expected one of: a", path: "config.f.2"},
		{field: `{"type":"array","elements":{"type":"string"},"len_min":1}`, value: `[]`, want: "length must be at least 1"},
		{field: `{"type":"array","elements":{"type":"string"}}`, value: `[null]`, want: "required field missing", path: "config.f.1"},
		{field: `{"type":"set","elements":{"type":"integer"}}`, value: `{"a":1}`, want: "expected a set"},
		{field: `{"type":"map","keys":{"type":"string","len_max":2},"values":{"type":"integer"}}`, value: `{"abc":1}`, want: "length must be at most 2", path: "config.f.abc"},
		{field: `{"type":"map","keys":{"type":"string"},"values":{"type":"integer"}}`, value: `{"a":"1"}`, want: "expected an integer", path: "config.f.a"},
		{field: `{"type":"map","keys":{"type":"string"},"values":{"type":"integer"}}`, value: `3`, want: "expected a map"},
		{field: `{"type":"record","fields":[{"g":{"type":"string","required":true}}]}`, value: `{}`, want: "required field missing", path: "config.f.g"},
		{field: `{"type":"record","fields":[{"g":{"type":"string"}}]}`, value: `{"h":1}`, want: "unknown field", path: "config.f.h"},
		{field: `{"type":"record","fields":[{"g":{"type":"string"}}]}`, value: `3`, want: "expected a record"},
	} {
		info := schemaOf(t, `[{"f":`+c.field+`}]`, "")
		config := map[string]any{}
		if err := json.Unmarshal([]byte(`{"f":`+c.value+`}`), &config); err != nil {
			t.Fatal(err)
		}
		_, _, err := checkPlugin(info, Plugin{Name: "p", Config: config})
		var want error
		if c.want != "" {
			if c.path == "" {
				c.path = "config.f"
			}
			want = ConfigErrors{c.path: c.want}
		}
		if fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("%s = %s: %v, want %v", c.field, c.value, err, want)
		}
	}
}

func TestEntityChecksInKongsWords(t *testing.T) {
	fields := `[{"a":{"type":"string"}},{"b":{"type":"string"}},{"c":{"type":"record","fields":[{"d":{"type":"string"}}]}}]`
	for _, c := range []struct{ check, config, path, want string }{
		{`{"at_least_one_of":["a","b"]}`, `{}`, "config.@entity", "at least one of these fields must be non-empty: 'a', 'b'"},
		{`{"at_least_one_of":["a","c.d"]}`, `{"c":{"d":"x"}}`, "", ""},
		{`{"only_one_of":["a","b"]}`, `{"a":"1","b":"1"}`, "config.@entity", "exactly one of these fields must be non-empty: 'a', 'b'"},
		{`{"only_one_of":["a","b"]}`, `{"b":"1"}`, "", ""},
		{`{"mutually_required":["a","b"]}`, `{"a":"1"}`, "config.@entity", "all or none of these fields must be set: 'a', 'b'"},
		{`{"mutually_required":["a","b"]}`, `{}`, "", ""},
		{`{"mutually_exclusive":["a","b"]}`, `{"a":"1","b":"2"}`, "config.@entity", "only one or none of these fields must be set: 'a', 'b'"},
		{`{"mutually_exclusive_sets":{"set1":["a"],"set2":["b"]}}`, `{"a":"1","b":"2"}`, "config.@entity", "these sets are mutually exclusive: ('a'), ('b')"},
		{`{"distinct":["a","b"]}`, `{"a":"1","b":"1"}`, "config.@entity", "values of these fields must be distinct: 'a', 'b'"},
		{`{"distinct":["a","b"]}`, `{"a":"1","b":"2"}`, "", ""},
		{`{"conditional":{"if_field":"a","if_match":{"eq":"x"},"then_field":"b","then_match":{"required":true}}}`, `{"a":"x"}`, "config.b", "required field missing"},
		{`{"conditional":{"if_field":"a","if_match":{"eq":"x"},"then_field":"b","then_match":{"required":true}}}`, `{"a":"x"}`, "config.@entity", "failed conditional validation given value of field 'a'"},
		{`{"conditional":{"if_field":"a","if_match":{"eq":"x"},"then_field":"b","then_match":{"required":true}}}`, `{"a":"y"}`, "", ""},
		{`{"conditional":{"if_field":"a","if_match":{"one_of":["x","y"]},"then_field":"b","then_match":{"eq":"z"},"then_err":"set b with %s"}}`, `{"a":"y","b":"1"}`, "config.@entity", "set b with a"},
		{`{"conditional_at_least_one_of":{"if_field":"a","if_match":{"eq":"x"},"then_at_least_one_of":["b"]}}`, `{"a":"x"}`, "config.@entity", "at least one of these fields must be non-empty: 'b'"},
	} {
		config := map[string]any{}
		if err := json.Unmarshal([]byte(c.config), &config); err != nil {
			t.Fatal(err)
		}
		_, _, err := checkPlugin(schemaOf(t, fields, "["+c.check+"]"), Plugin{Name: "p", Config: config})
		errs, _ := err.(ConfigErrors)
		if errs[c.path] != c.want || c.want == "" && err != nil {
			t.Errorf("%s with %s: %v, want %q at %s", c.check, c.config, err, c.want, c.path)
		}
	}
}

func TestUnknownFieldsProtocolsAndScopes(t *testing.T) {
	info := schemaOf(t, `[{"f":{"type":"string"}}]`, "")
	for _, c := range []struct {
		plugin Plugin
		want   string
	}{
		{Plugin{Config: map[string]any{"g": 1}}, "config.g: unknown field"},
		{Plugin{Protocols: []string{"http", "grpc"}}, "protocols.2: expected one of: http, https"},
		{Plugin{Consumer: "alice"}, "consumer: value must be null"},
		{Plugin{Protocols: []string{"https"}}, "<nil>"},
	} {
		_, _, err := checkPlugin(info, c.plugin)
		if fmt.Sprint(err) != c.want {
			t.Errorf("%+v: %v, want %s", c.plugin, err, c.want)
		}
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	info := schemaOf(t, `[{"a":{"type":"string","default":"x"}},{"b":{"type":"integer","default":5,"required":true}},
		{"c":{"type":"array","elements":{"type":"string"},"default":[]}},{"d":{"type":"string"}},
		{"e":{"type":"record","fields":[{"f":{"type":"boolean","default":true}}]}},{"g":{"type":"map","keys":{"type":"string"},"values":{"type":"string"}}}]`, "")
	got, protocols, err := checkPlugin(info, Plugin{Config: map[string]any{"b": 7, "a": nil}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := configJSON(got, map[string]any{"__seq__": 3})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"__seq__":3,"b":7,"c":[],"e":{"f":true}}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	if fmt.Sprint(protocols) != "[http https]" {
		t.Errorf("protocols %v", protocols)
	}
}

func TestSecretsAreResolvedWhereTheSchemaAllowsIt(t *testing.T) {
	info := schemaOf(t, `[{"key":{"type":"string","referenceable":true}},{"plain":{"type":"string"}},{"gone":{"type":"string","referenceable":true}},
		{"list":{"type":"array","elements":{"type":"string","referenceable":true}}},
		{"map":{"type":"map","keys":{"type":"string"},"values":{"type":"string","referenceable":true}}},
		{"rec":{"type":"record","fields":[{"key":{"type":"string","referenceable":true}}]}}]`, "")
	const ref = "{vault://env/noma-api-key}"
	config, _, err := checkPlugin(info, Plugin{Config: map[string]any{
		"key": ref, "plain": ref, "gone": "{vault://env/not-there}", "list": []any{"a", ref},
		"map": map[string]any{"h": ref}, "rec": map[string]any{"key": ref},
	}})
	if err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) {
		return map[string]string{"NOMA_API_KEY": "secret"}[name], name == "NOMA_API_KEY"
	}
	got := kongrules.Resolve(info.Schema.Fields.Named("config").Fields, config, env)
	want := map[string]any{
		"key": "secret", "plain": ref, "gone": "", "list": []any{"a", "secret"},
		"map": map[string]any{"h": "secret"},
		"rec": map[string]any{"key": "secret", "$refs": map[string]any{"key": ref}},
		"$refs": map[string]any{
			"key": ref, "gone": "{vault://env/not-there}", "list": []any{nil, ref}, "map": map[string]any{"h": ref},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDumpsThatKongRefuses(t *testing.T) {
	dump := func(plugin string) string {
		return `{"Protocol":"ProtoBuf:1","SocketPath":"/s","Plugins":[` + plugin + `]}`
	}
	plugin := func(field string) string {
		return dump(`{"Name":"p","Phases":["access"],"Priority":1,"Schema":{"fields":[{"config":{"type":"record","fields":[{"f":` + field + `}]}}]}}`)
	}
	for _, c := range []struct{ dump, want string }{
		{"hello", "not JSON"},
		{plugin(`{"type":"string"}`) + "x", "after its JSON"},
		{`{"Protocol":"MsgPack:1"}`, "is not ProtoBuf:1"},
		{dump(""), "names no plugin"},
		{dump(`{"Name":"p","Phases":["access"],"Schema":{"fields":[]}}`), "priority is not a number"},
		{dump(`{"Name":"p","Priority":1,"Schema":{"fields":[]}}`), "no phases"},
		{dump(`{"Name":"p","Phases":["access"],"Priority":1,"Schema":{"fields":[]}}`), "no record 'config'"},
		{plugin(`{"type":"text"}`), "invalid type: text"},
		{plugin(`{"type":"string","description":"short"}`), "length must be at least 10"},
		{plugin(`{"type":"string","one_of":["a"],"default":"b"}`), "expected one of: a"},
		{plugin(`{"type":"array"}`), "elements"},
		{plugin(`{"type":"map","keys":{"type":"string"}}`), "keys and values"},
		{plugin(`{"type":"integer","between":[1]}`), "two limits"},
		{plugin(`{"type":"record","fields":[],"entity_checks":[{"no_such":[]}]}`), "unknown entity check"},
	} {
		if _, err := parseDump([]byte(c.dump)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.dump, err, c.want)
		}
	}
	if _, err := parseDump([]byte(plugin(`{"type":"string","unknown_attribute":1}`) + "\n")); err != nil {
		t.Errorf("unknown attributes are ignored by Kong: %v", err)
	}
}

const kongYML = `
_format_version: "3.0"
_transform: true
services:
  - name: openai
    url: http://127.0.0.1:9000/base
    routes:
      - name: chat
        paths: ["/openai"]
        strip_path: true
        plugins:
          - name: key-auth
            config: {key_names: [apikey]}
consumers:
  - username: alice
    custom_id: c-1
    groups: [{name: gold}]
    keyauth_credentials: [{key: alice-key}]
consumer_groups:
  - name: gold
plugins:
  - name: key-auth
    service: openai
    config: {hide_credentials: true}
`

func TestLoadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kong.yml")
	if err := os.WriteFile(path, []byte(kongYML), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gw, err := New(Config{Declarative: d})
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	snap := gw.snap.Load()
	alice := snap.byName["alice"]
	if r := snap.routes[0]; r.service.Host != "127.0.0.1" || r.service.Port != 9000 || r.service.Path != "/base" || len(alice.groups) != 1 || snap.keys["alice-key"].consumer != alice {
		t.Errorf("route %+v, consumer %+v", r, alice)
	}
	if _, err := LoadFile(path + ".none"); err == nil {
		t.Error("a missing file loads")
	}
}

func TestConfigurationsThatKongRefuses(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`_format_version: "3.0"`, `_format_version: "1.1"`, "expected one of: 3.0"},
		{`_format_version: "3.0"`, "", "required field missing"},
		{"services:", "servicez:", "servicez"},
		{"strip_path", "strip_paths", "strip_paths"},
		{"url: http://127.0.0.1:9000/base", "url: nowhere", "missing host"},
		{"url: http://127.0.0.1:9000/base", "url: ftp://host", "expected one of: http, https"},
		{`paths: ["/openai"]`, `paths: ["openai"]`, "should start with: /"},
		{`paths: ["/openai"]`, `paths: ["~/op(en"]`, "not a valid regex"},
		{`paths: ["/openai"]`, "tags: [a]", "must set one of"},
		{"name: key-auth\n    service", "name: keyauth\n    service", "plugin 'keyauth' not enabled"},
		{"service: openai", "service: other", "no entity"},
		{"service: openai", "consumer: alice", "consumer: value must be null"},
		{"hide_credentials: true", "hide_credential: true", "config.hide_credential: unknown field"},
		{"hide_credentials: true", "hide_credentials: 1", "expected a boolean"},
		{"[{name: gold}]", "[{name: silver}]", "no consumer group"},
		{"[{key: alice-key}]", "[{key: alice-key}, {key: alice-key}]", "uniqueness violation"},
		{"    service: openai\n", "    route: chat\n", "uniqueness violation"},
		{"- username: alice\n    custom_id: c-1", "- tags: [x]", "must be non-empty"},
	} {
		text := strings.Replace(kongYML, c.old, c.new, 1)
		if text == kongYML {
			t.Fatalf("%q is not in the text", c.old)
		}
		d, err := Load([]byte(text))
		if err == nil {
			var gw *Gateway
			if gw, err = New(Config{Declarative: d}); err == nil {
				gw.Close()
			}
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: %v, want %q", c.new, c.old, err, c.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(kongYML))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Load(b)
		if err != nil {
			return
		}
		gw := &Gateway{cfg: Config{Env: os.LookupEnv}, builtin: map[string]*pluginInfo{keyAuth: keyAuthInfo()}}
		_, _ = gw.build(d, 0) // it must not panic
	})
}

func FuzzParseDump(f *testing.F) {
	f.Add([]byte(`{"Protocol":"ProtoBuf:1","SocketPath":"/s","Plugins":[{"Name":"p","Phases":["access"],"Priority":1,"Schema":{"fields":[{"config":{"type":"record","fields":[{"f":{"type":"string","match":"^a"}}],"entity_checks":[{"conditional":{"if_field":"f"}}]}}]}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := parseDump(b)
		if err != nil {
			return
		}
		_, _, _ = checkPlugin(&doc.Plugins[0], Plugin{Config: map[string]any{"f": "a"}})
	})
}
