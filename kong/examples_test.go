// SPDX-License-Identifier: Apache-2.0

// Package kong_test reads every example of this directory as its user's tool
// would, and has Kong's rules judge the plugins' configurations in it.
package kong_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// schemas are the plugins', as their binaries dump them.
var schemas = func() map[string]*kongrules.Field {
	all := map[string]*kongrules.Field{}
	for _, p := range plugins.All() {
		plugin := p.Schema()
		schema := new(kongrules.Field)
		if err := errors.Join(json.Unmarshal(plugin.Dump(), schema), schema.Prepare()); err != nil {
			panic(err)
		}
		all[plugin.Name] = schema
	}
	return all
}()

// kongsOwn are the plugins of Kong's that the examples use, with the fields
// that they may set.
var kongsOwn = map[string][]string{
	"key-auth":      {"hide_credentials"},
	"jwt":           {"claims_to_verify"},
	"ai-proxy":      {"route_type", "auth", "model"},
	"post-function": {"access", "header_filter"},
	"http-log":      {"http_endpoint", "method", "content_type", "headers", "custom_fields_by_lua"},
	"file-log":      {"path", "reopen", "custom_fields_by_lua"},
}

// check judges one plugin's configuration. It returns the plugin's name when it
// is one of ours.
func check(t *testing.T, where string, p kongtest.Plugin) string {
	t.Helper()
	schema := schemas[p.Name]
	if schema == nil {
		fields, known := kongsOwn[p.Name]
		if !known {
			t.Errorf("%s: there is no plugin %q", where, p.Name)
		}
		for field := range p.Config {
			if !slices.Contains(fields, field) {
				t.Errorf("%s: %s has no field %q", where, p.Name, field)
			}
		}
		return ""
	}
	entity := map[string]any{"config": kongrules.Normalise(p.Config)}
	if _, errs := kongrules.Check(schema, entity); errs != nil {
		t.Errorf("%s: %s: %v", where, p.Name, errs)
	}
	return p.Name
}

// both fails the test unless both plugins were seen.
func both(t *testing.T, where string, seen []string) {
	t.Helper()
	for name := range schemas {
		if !slices.Contains(seen, name) {
			t.Errorf("%s says nothing of %s", where, name)
		}
	}
}

// allPlugins returns the plugins of a declarative configuration, wherever they
// stand.
func allPlugins(d kongtest.Declarative) []kongtest.Plugin {
	all := slices.Clone(d.Plugins)
	for _, s := range d.Services {
		all = append(all, s.Plugins...)
		for _, r := range s.Routes {
			all = append(all, r.Plugins...)
		}
	}
	for _, r := range d.Routes {
		all = append(all, r.Plugins...)
	}
	for _, c := range d.Consumers {
		all = append(all, c.Plugins...)
	}
	for _, g := range d.Groups {
		all = append(all, g.Plugins...)
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A file that no test reads could say anything.
func TestEachExampleIsRead(t *testing.T) {
	readBy := map[string]string{
		"kong.yml": "TestDeclarative", "ai-proxy.yml": "TestDeclarative", "old-kong.yml": "TestDeclarative",
		"access-log.yml": "TestDeclarative", "sealed.yml": "TestDeclarative", "deck.yaml": "TestDeck", "sealed-deck.yaml": "TestDeck", "kong.conf": "TestKongConf",
		"kubernetes/values.yaml": "TestHelmValues", "kubernetes/plugins.yaml": "TestKubernetes",
		"kubernetes/sealed.yaml": "TestSealedKubernetes",
		"konnect/compose.yaml":   "TestKonnectDataPlane", "konnect/main.tf": "TestTerraform",
		"fail-closed/access.lua": "TestFailClosedFunctions", "fail-closed/header_filter.lua": "TestFailClosedFunctions",
		"keep-answers.lua": "TestKeepAnswers",
	}
	// These have their tests beside the metrics that they show.
	elsewhere := []string{"alerts.yaml", "grafana-dashboard.json"}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || d.Name() == ".gitignore" || slices.Contains(elsewhere, path) {
			return err
		}
		if readBy[filepath.ToSlash(path)] == "" {
			t.Errorf("no test reads %s", path)
		}
		delete(readBy, filepath.ToSlash(path))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range readBy {
		t.Errorf("%s is not there", path)
	}
}

func TestDeclarative(t *testing.T) {
	for _, c := range []struct {
		file  string
		both  bool
		needs string // what Kong runs there beside ours
	}{
		{"kong.yml", true, "key-auth"},
		{"ai-proxy.yml", true, "ai-proxy"},
		{"old-kong.yml", true, "post-function"},
		{"access-log.yml", false, "http-log"},
		{"sealed.yml", true, "key-auth"},
	} {
		d, err := kongtest.LoadFile(c.file)
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		var ours, all []string
		for _, p := range allPlugins(d) {
			ours = append(ours, check(t, c.file, p))
			all = append(all, p.Name)
		}
		if c.both {
			both(t, c.file, ours)
		}
		if !slices.Contains(all, c.needs) {
			t.Errorf("%s: there is no %s", c.file, c.needs)
		}
	}
}

// The functions that stand in the examples are those that were run here.
func TestFunctionsInExamples(t *testing.T) {
	for file, want := range map[string]map[string]string{
		"ai-proxy.yml": {"access": "keep-answers.lua"},
		"old-kong.yml": {"access": "fail-closed/access.lua", "header_filter": "fail-closed/header_filter.lua"},
	} {
		d, err := kongtest.LoadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		for _, p := range allPlugins(d) {
			if p.Name == "post-function" {
				maps.Copy(got, p.Config)
			}
		}
		wanted := map[string]any{}
		for phase, path := range want {
			wanted[phase] = []any{string(read(t, path))}
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// The functions that refuse need marks, from each plugin that they name.
func TestOldKongMarks(t *testing.T) {
	d, err := kongtest.LoadFile("old-kong.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range allPlugins(d) {
		if schemas[p.Name] == nil {
			continue
		}
		if p.Config["mark_requests"] != true || p.Config["refuse_http2"] != true {
			t.Errorf("%s: %v", p.Name, p.Config)
		}
		for _, path := range []string{"fail-closed/access.lua", "fail-closed/header_filter.lua"} {
			if !bytes.Contains(read(t, path), []byte(`"`+p.Name+`"`)) {
				t.Errorf("%s does not look for the mark of %s", path, p.Name)
			}
		}
	}
}

func TestDeck(t *testing.T) {
	for _, file := range []string{"deck.yaml", "sealed-deck.yaml"} {
		var ours []string
		for _, p := range allPlugins(loadDeck(t, file)) {
			ours = append(ours, check(t, file, p))
		}
		both(t, file, ours)
	}
}

// loadDeck reads a file as decK hands it to Kong.
func loadDeck(t *testing.T, file string) kongtest.Declarative {
	t.Helper()
	b := read(t, file)
	variable := regexp.MustCompile(`\$\{\{ env "(DECK_[A-Z_]+)" \}\}`)
	if len(variable.FindAll(b, -1)) == 0 || !bytes.Contains(b, []byte("{vault://")) {
		t.Error("there is no variable of decK's, or no reference to a vault")
	}
	rendered := variable.ReplaceAllFunc(b, func(m []byte) []byte {
		if name := string(variable.FindSubmatch(m)[1]); strings.HasSuffix(name, "_URL") {
			return []byte("https://upstream.example/v1")
		}
		return []byte("value")
	})
	if bytes.Contains(rendered, []byte("${{")) {
		t.Errorf("decK would not understand:\n%s", rendered)
	}
	// _info is decK's own and unknown to Kong.
	var document map[string]any
	if err := yaml.Unmarshal(rendered, &document); err != nil {
		t.Fatal(err)
	}
	if document["_info"] == nil {
		t.Error("without select_tags decK would delete what else there is")
	}
	delete(document, "_info")
	rest, err := yaml.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	d, err := kongtest.Load(rest)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// nowhere is where a sealed service leads.
const nowhere = "http://127.0.0.1:1"

// seals fails the test unless a configuration takes requests to an upstream of
// its own.
func seals(t *testing.T, where string, p kongtest.Plugin) {
	t.Helper()
	upstream, _ := p.Config["relay_upstream"].(string)
	if p.Config["relay"] != "on" || upstream == "" || strings.HasPrefix(upstream, nowhere) {
		t.Errorf("%s: %s does not seal: relay %v, relay_upstream %q", where, p.Name, p.Config["relay"], upstream)
	}
}

// TestSealed: without the plugin no request of the sealed examples gets
// anywhere, and on each route the plugin that runs first knows where to.
func TestSealed(t *testing.T) {
	plain, err := kongtest.LoadFile("sealed.yml")
	if err != nil {
		t.Fatal(err)
	}
	for file, d := range map[string]kongtest.Declarative{"sealed.yml": plain, "sealed-deck.yaml": loadDeck(t, "sealed-deck.yaml")} {
		if len(d.Services) == 0 {
			t.Errorf("%s: no services", file)
		}
		for _, s := range d.Services {
			if !strings.HasPrefix(s.URL, nowhere+"/") || s.Host != "" || s.Retries == nil || *s.Retries != 0 {
				t.Errorf("%s: service %s leads to %s%s, retries %v", file, s.Name, s.URL, s.Host, s.Retries)
			}
			for _, r := range s.Routes {
				var ours []kongtest.Plugin
				for _, p := range slices.Concat(s.Plugins, r.Plugins) {
					if schemas[p.Name] != nil {
						ours = append(ours, p)
					}
				}
				if len(ours) != 1 {
					t.Errorf("%s: route %s has %d of our plugins", file, r.Name, len(ours))
					continue
				}
				seals(t, file, ours[0])
			}
		}
	}
}

// An object is a resource of Kubernetes, as far as the examples use it.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name, Namespace string
		Annotations     map[string]string
	} `yaml:"metadata"`
	Plugin string         `yaml:"plugin"`
	Config map[string]any `yaml:"config"`
	Spec   struct {
		Type         string
		ExternalName string `yaml:"externalName"`
		Ports        []struct{ Port int }
		Rules        []struct {
			HTTP struct {
				Paths []struct {
					Backend struct {
						Service struct {
							Name string
							Port struct{ Number int }
						}
					}
				}
			}
		}
	}
}

// objects reads a file of resources, and checks that each of Kong's is one that
// the controller takes.
func objects(t *testing.T, file string) (all []object) {
	t.Helper()
	for decoder := yaml.NewDecoder(bytes.NewReader(read(t, file))); ; {
		var o object
		err := decoder.Decode(&o)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if ours := o.Kind == "KongPlugin" || o.Kind == "KongClusterPlugin"; ours && (o.APIVersion != "configuration.konghq.com/v1" || o.Metadata.Name == "" ||
			(o.Kind == "KongPlugin") != (o.Metadata.Namespace != "") || o.Metadata.Annotations["kubernetes.io/ingress.class"] == "") {
			t.Errorf("%s: %s: %+v", file, o.Kind, o.Metadata)
		}
		all = append(all, o)
	}
}

// TestSealedKubernetes: the Ingresses lead to a Service of Kong's own host where
// nobody listens, and their plugins know where to.
func TestSealedKubernetes(t *testing.T) {
	const file = "kubernetes/sealed.yaml"
	var ours []string
	named := map[string]kongtest.Plugin{}
	services := map[string]object{}
	routes := 0
	for _, o := range objects(t, file) {
		switch o.Kind {
		case "KongPlugin":
			p := kongtest.Plugin{Name: o.Plugin, Config: o.Config}
			ours = append(ours, check(t, file, p))
			named[o.Metadata.Name] = p
		case "Service":
			services[o.Metadata.Name] = o
		case "Ingress":
			seals(t, file, named[o.Metadata.Annotations["konghq.com/plugins"]])
			for _, rule := range o.Spec.Rules {
				for _, path := range rule.HTTP.Paths {
					routes++
					to := path.Backend.Service
					s := services[to.Name].Spec
					if s.Type != "ExternalName" || s.ExternalName != "127.0.0.1" || len(s.Ports) != 1 || s.Ports[0].Port != 1 || to.Port.Number != 1 {
						t.Errorf("%s leads to %+v, which is %+v", o.Metadata.Name, to, s)
					}
				}
			}
		default:
			t.Errorf("unknown kind %q", o.Kind)
		}
	}
	if routes < 2 {
		t.Errorf("%d routes", routes)
	}
	both(t, file, ours)
}

func TestKubernetes(t *testing.T) {
	var ours []string
	kinds := map[string]int{}
	for _, object := range objects(t, "kubernetes/plugins.yaml") {
		kinds[object.Kind]++
		switch object.Kind {
		case "KongPlugin", "KongClusterPlugin":
			ours = append(ours, check(t, object.Kind, kongtest.Plugin{Name: object.Plugin, Config: object.Config}))
		case "Ingress":
			for name := range strings.SplitSeq(object.Metadata.Annotations["konghq.com/plugins"], ",") {
				if !slices.Contains(ours, name) {
					t.Errorf("the route has %q, which is not above", name)
				}
			}
		default:
			t.Errorf("unknown kind %q", object.Kind)
		}
	}
	if kinds["KongPlugin"] == 0 || kinds["KongClusterPlugin"] == 0 || kinds["Ingress"] == 0 {
		t.Errorf("there are %v", kinds)
	}
	both(t, "plugins.yaml", ours)
}

// settings are what kong.conf and the charts have to say for both plugins,
// with Kong's prefix.
func settings(prefix string) map[string]string {
	names := plugins.Names()
	metrics := map[string]string{"prisma-airs-intercept": "127.0.0.1:9542", "noma-runtime-protection": "127.0.0.1:9543"}
	all := map[string]string{
		"plugins":                            "bundled," + strings.Join(names, ","),
		"pluginserver_names":                 strings.Join(names, ","),
		"nginx_http_client_body_buffer_size": "1m",
	}
	for _, name := range names {
		setting := "pluginserver_" + strings.ReplaceAll(name, "-", "_")
		command := "/usr/local/bin/" + name + " -kong-prefix " + prefix
		all[setting+"_socket"] = prefix + "/" + name + ".socket"
		all[setting+"_start_cmd"] = command + " -metrics " + metrics[name]
		all[setting+"_query_cmd"] = command + " -dump"
	}
	return all
}

func TestKongConf(t *testing.T) {
	got := map[string]string{}
	for line := range strings.Lines(string(read(t, "kong.conf"))) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, " = ")
		if !ok || got[name] != "" {
			t.Errorf("line %q", line)
		}
		got[name] = value
	}
	if diff := cmp.Diff(settings("/usr/local/kong"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHelmValues(t *testing.T) {
	var values struct {
		Gateway struct {
			Image     struct{ Repository, Tag string }
			Env       map[string]string
			CustomEnv map[string]struct {
				ValueFrom struct {
					SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
				} `yaml:"valueFrom"`
			} `yaml:"customEnv"`
		}
	}
	if err := yaml.UnmarshalWithOptions(read(t, "kubernetes/values.yaml"), &values, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settings("/kong_prefix"), values.Gateway.Env); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var names []string
	for name, from := range values.Gateway.CustomEnv {
		names = append(names, name)
		if ref := from.ValueFrom.SecretKeyRef; ref.Name == "" || strings.ReplaceAll(ref.Key, "-", "_") != name {
			t.Errorf("%s is taken from %+v", name, ref)
		}
	}
	if diff := cmp.Diff(references(t, "kubernetes/plugins.yaml"), slices.Sorted(slices.Values(names))); diff != "" {
		t.Errorf("references in plugins.yaml, variables in values.yaml (-want +got):\n%s", diff)
	}
}

// references returns the variables that the {vault://env/...} of a file stand
// for, in lower case.
func references(t *testing.T, path string) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`\{vault://env/([a-z-]+)\}`).FindAllSubmatch(read(t, path), -1) {
		names = append(names, strings.ReplaceAll(string(m[1]), "-", "_"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestKonnectDataPlane(t *testing.T) {
	var c struct {
		Name     string
		Services map[string]struct {
			Build struct {
				Context, Dockerfile string
				Args                map[string]string
			}
			Image          string
			Environment    map[string]string
			Volumes, Ports []string
			Healthcheck    struct {
				Test              []string
				Interval, Timeout string
				Retries           int
			}
			StopGrace string `yaml:"stop_grace_period"`
		}
	}
	if err := yaml.UnmarshalWithOptions(read(t, "konnect/compose.yaml"), &c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	kong := c.Services["kong"]
	if _, err := os.Stat(filepath.Join("konnect", kong.Build.Context, kong.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"KONG_ROLE": "data_plane", "KONG_DATABASE": "off", "KONG_KONNECT_MODE": "on", "KONG_CLUSTER_MTLS": "pki",
	} {
		if kong.Environment[name] != want {
			t.Errorf("%s is %q", name, kong.Environment[name])
		}
	}
	for _, name := range []string{"KONG_CLUSTER_CERT", "KONG_CLUSTER_CERT_KEY"} {
		path := kong.Environment[name]
		if !slices.Contains(kong.Volumes, "./"+filepath.Base(path)+":"+path+":ro") {
			t.Errorf("%s is %s, which is not mounted", name, path)
		}
	}
	// Terraform's plugins refer to what this data plane knows, and so do decK's.
	for _, path := range []string{"konnect/main.tf", "deck.yaml"} {
		for _, name := range references(t, path) {
			if kong.Environment[strings.ToUpper(name)] == "" {
				t.Errorf("%s refers to %s, which the data plane does not have", path, name)
			}
		}
	}
}

func TestTerraform(t *testing.T) {
	file, problems := hclparse.NewParser().ParseHCLFile("konnect/main.tf")
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	body := file.Body.(*hclsyntax.Body)
	variables := map[string]cty.Value{}
	schemaNames := map[string]cty.Value{}
	for _, block := range body.Blocks {
		switch {
		case block.Type == "variable":
			variables[block.Labels[0]] = cty.StringVal("value")
		case block.Type == "resource" && block.Labels[0] == "konnect_gateway_custom_plugin_schema":
			name := strings.ReplaceAll(block.Labels[1], "_", "-")
			schemaNames[block.Labels[1]] = cty.ObjectVal(map[string]cty.Value{"name": cty.StringVal(name)})
		}
	}
	evaluate := &hcl.EvalContext{
		Variables: map[string]cty.Value{
			"var":                                  cty.ObjectVal(variables),
			"path":                                 cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal("konnect")}),
			"konnect_gateway_custom_plugin_schema": cty.ObjectVal(schemaNames),
		},
		Functions: map[string]function.Function{"file": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "path", Type: cty.String}},
			Type:   function.StaticReturnType(cty.String),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				b, err := os.ReadFile(args[0].AsString())
				return cty.StringVal(string(b)), err
			},
		})},
	}
	value := func(block *hclsyntax.Block, name string) cty.Value {
		t.Helper()
		attribute := block.Body.Attributes[name]
		if attribute == nil {
			t.Fatalf("%v has no %s", block.Labels, name)
		}
		v, problems := attribute.Expr.Value(evaluate)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		return v
	}
	var ours, uploaded []string
	for _, block := range body.Blocks {
		if block.Type != "resource" {
			continue
		}
		value(block, "control_plane_id")
		switch block.Labels[0] {
		case "konnect_gateway_custom_plugin_schema":
			name := strings.ReplaceAll(block.Labels[1], "_", "-")
			want := read(t, filepath.Join("..", "schema", name, "schema.lua"))
			if value(block, "lua_schema").AsString() != string(want) {
				t.Errorf("%v is not the schema of %s", block.Labels, name)
			}
			uploaded = append(uploaded, name)
		case "konnect_gateway_custom_plugin":
			config := value(block, "config")
			b, err := ctyjson.Marshal(config, config.Type())
			if err != nil {
				t.Fatal(err)
			}
			p := kongtest.Plugin{Name: value(block, "name").AsString()}
			if err := json.Unmarshal(b, &p.Config); err != nil {
				t.Fatal(err)
			}
			ours = append(ours, check(t, "main.tf", p))
		default:
			t.Errorf("unknown resource %s", block.Labels[0])
		}
	}
	both(t, "main.tf", uploaded)
	both(t, "main.tf", ours)
}
