// SPDX-License-Identifier: Apache-2.0

// Package diagnose answers an operator's questions without a gateway: whether
// a configuration is sound and what it leaves unguarded (Check), what the scan
// service says of a text (Scan), and what would be scanned of a body (Explain).
package diagnose

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// maxFile bounds the files that are read, in bytes.
const maxFile = 64 << 20

// ReadFile reads a file, or the standard input for "-".
func ReadFile(name string) ([]byte, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: over %d MiB", name, maxFile>>20)
	}
	return b, err
}

// A document is a file that configures plugins, whichever its format.
type document struct {
	// source is the file as it stands.
	source []byte
	// kind says what the file was taken for.
	kind string
	// declarative says that the file holds whole services and routes, so that
	// neighbours can be seen.
	declarative bool
	instances   []*instance
	routes      []*route
	services    []*service
	// node is set when it is what a running Kong does.
	node *node
	// upstreams names Kong's upstream entities.
	upstreams map[string]bool
}

// An instance is one configuration of any plugin.
type instance struct {
	name string
	// entity is the plugin as Kong gets it: config, protocols, scopes.
	entity  map[string]any
	enabled bool
	// service, route, consumer and group name its scope, "" for all.
	service, route, consumer, group string
}

// config is the plugin's own part; never nil.
func (in *instance) config() map[string]any {
	config, _ := in.entity["config"].(map[string]any)
	return config
}

// where says what the instance belongs to.
func (in *instance) where() string {
	var on []string
	for _, scope := range []struct{ what, name string }{
		{"route", in.route}, {"service", in.service}, {"consumer", in.consumer}, {"consumer group", in.group},
	} {
		if scope.name != "" && !(scope.what == "service" && in.route != "") {
			on = append(on, scope.what+" "+clean(scope.name))
		}
	}
	if on == nil {
		return in.name
	}
	return in.name + " on " + strings.Join(on, ", ")
}

type route struct {
	name, service string
	protocols     []string
}

// A service is where Kong sends requests to.
type service struct {
	name, scheme, host, port string
	// clientCertificate and ownTLS say that Kong proves who it is to the
	// service, and that the service says how it is verified.
	clientCertificate, ownTLS bool
}

// serviceOf reads a service, whose address is a URL or stands in its parts.
func serviceOf(s map[string]any, name string) *service {
	one := &service{
		name: name, scheme: cmp.Or(text(s["protocol"]), "http"), host: text(s["host"]),
		clientCertificate: s["client_certificate"] != nil,
		ownTLS:            s["tls_verify"] != nil || s["tls_verify_depth"] != nil || s["ca_certificates"] != nil,
	}
	if s["port"] != nil {
		one.port = fmt.Sprint(s["port"])
	}
	if u, err := url.Parse(text(s["url"])); err == nil && u.Host != "" {
		one.scheme, one.host, one.port = u.Scheme, u.Hostname(), u.Port()
	}
	if one.port == "" {
		one.port = map[bool]string{true: "443", false: "80"}[one.scheme == "https" || one.scheme == "grpcs"]
	}
	return one
}

// parse reads a file for the plugin of this name. env returns what decK's
// placeholders stand for.
func parse(data []byte, plugin string, env func(string) (string, bool)) (*document, error) {
	trees, err := parseTrees(fillPlaceholders(data, env))
	if err != nil {
		return nil, err
	}
	first := trees[0]
	_, mapped := first["services"].(map[string]any)
	switch {
	case has(first, "gateway") || has(first, "ingressController") || has(first, "customEnv") || has(first, "image") && has(first, "env"):
		return nil, errors.New("holds the values of a Helm chart, which configure Kong and no plugin: check the KongPlugin resources, or the declarative configuration")
	case mapped && !has(first, "_format_version"):
		return nil, errors.New("is a compose file, which configures Kong and no plugin: check the declarative configuration that it mounts")
	case has(first, "kind") && has(first, "apiVersion"):
		return kubernetes(trees)
	case len(trees) > 1:
		return nil, errors.New("holds several documents, which are not Kubernetes resources")
	case has(first, "_format_version") || has(first, "services") || has(first, "routes") || has(first, "plugins") ||
		has(first, "consumers") || has(first, "consumer_groups"):
		return declarative(first)
	case has(first, "config") && (has(first, "name") || len(first) == 1):
		if !has(first, "name") {
			first["name"] = plugin
		}
		doc := &document{kind: "one plugin"}
		return doc, doc.add(first, instance{})
	}
	return &document{kind: "the configuration of " + plugin, instances: []*instance{{
		name: plugin, enabled: true, entity: map[string]any{"config": first},
	}}}, nil
}

// parseTrees reads YAML, which includes JSON.
func parseTrees(data []byte) (docs []map[string]any, err error) {
	defer func() {
		if recover() != nil { // the YAML package panics on some broken input
			docs, err = nil, errors.New("is not YAML or JSON")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var v any
		switch err := dec.Decode(&v); {
		case errors.Is(err, io.EOF) && len(docs) > 0:
			return docs, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("is empty")
		case err != nil:
			// Without the lines of the file, which hold secrets.
			return nil, errors.New("is not YAML or JSON: " + yaml.FormatError(err, false, false))
		}
		if v == nil {
			continue
		}
		tree, ok := kongrules.Normalise(v).(map[string]any)
		if !ok {
			return nil, errors.New("is not a map at its top level")
		}
		docs = append(docs, tree)
	}
}

func has(m map[string]any, name string) bool {
	_, ok := m[name]
	return ok
}

// kubernetes reads KongPlugin and KongClusterPlugin resources, and passes over
// others.
func kubernetes(trees []map[string]any) (*document, error) {
	doc := &document{kind: "Kubernetes resources"}
	for _, t := range trees {
		if kind := text(t["kind"]); kind != "KongPlugin" && kind != "KongClusterPlugin" {
			continue
		}
		entity := map[string]any{"name": t["plugin"], "config": t["config"], "protocols": t["protocols"]}
		if disabled, _ := t["disabled"].(bool); disabled {
			entity["enabled"] = false
		}
		for name := range t {
			if name == "configFrom" || name == "configPatches" {
				entity[fromElsewhere] = name
			}
		}
		if err := doc.add(entity, instance{}); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// fromElsewhere marks an entity whose configuration is not in the file.
const fromElsewhere = "\x00from"

// declarative reads what Kong and decK read.
func declarative(root map[string]any) (*document, error) {
	doc := &document{kind: "a declarative configuration", declarative: true, upstreams: map[string]bool{}}
	switch v := root["_format_version"]; {
	case v == nil:
		return nil, errors.New("_format_version is missing: Kong wants \"3.0\"")
	case !strings.HasPrefix(fmt.Sprint(v), "3"):
		return nil, errors.New("_format_version is not 3.0")
	}
	shared, _ := root["_plugin_configs"].(map[string]any)
	w := &walker{doc: doc, shared: shared}
	for i, s := range list(root["services"]) {
		name := nameOf(s, "services", i)
		doc.services = append(doc.services, serviceOf(s, name))
		w.plugins(s, instance{service: name})
		for j, r := range list(s["routes"]) {
			w.route(r, nameOf(r, name+" routes", j), name)
		}
	}
	for i, r := range list(root["routes"]) {
		w.route(r, nameOf(r, "routes", i), reference(r["service"]))
	}
	for _, u := range list(root["upstreams"]) {
		doc.upstreams[text(u["name"])] = true
	}
	for i, c := range list(root["consumers"]) {
		w.plugins(c, instance{consumer: nameOf(c, "consumers", i)})
	}
	for i, g := range list(root["consumer_groups"]) {
		w.plugins(g, instance{group: nameOf(g, "consumer_groups", i)})
	}
	w.plugins(root, instance{})
	if w.err != nil {
		return nil, w.err
	}
	// A plugin that names its route belongs to the route's service too.
	for _, in := range doc.instances {
		if r := doc.named(in.route); r != nil && in.service == "" {
			in.service = r.service
		}
	}
	return doc, nil
}

func (d *document) named(name string) *route {
	if i := slices.IndexFunc(d.routes, func(r *route) bool { return r.name == name }); i >= 0 && name != "" {
		return d.routes[i]
	}
	return nil
}

type walker struct {
	doc    *document
	shared map[string]any // decK's _plugin_configs
	err    error
}

func (w *walker) route(r map[string]any, name, service string) {
	one := &route{name: name, service: service}
	protocols, _ := r["protocols"].([]any)
	for _, p := range protocols {
		one.protocols = append(one.protocols, text(p))
	}
	w.doc.routes = append(w.doc.routes, one)
	w.plugins(r, instance{route: name, service: service})
}

// plugins reads the plugins of an entity.
func (w *walker) plugins(of map[string]any, scope instance) {
	for _, p := range list(of["plugins"]) {
		if from := text(p["_config"]); from != "" {
			base, _ := w.shared[from].(map[string]any)
			merged := map[string]any{}
			for name, v := range base {
				merged[name] = v
			}
			own, _ := p["config"].(map[string]any)
			for name, v := range own {
				merged[name] = v
			}
			delete(p, "_config")
			p["config"] = merged
		}
		if err := w.doc.add(p, scope); err != nil && w.err == nil {
			w.err = err
		}
	}
}

// add takes a plugin entity with the scope of what is around it.
func (d *document) add(entity map[string]any, scope instance) error {
	in := scope
	in.name, in.entity, in.enabled = text(entity["name"]), entity, true
	if in.name == "" {
		return errors.New("a plugin has no name")
	}
	if enabled, ok := entity["enabled"].(bool); ok {
		in.enabled = enabled
	}
	for field, to := range map[string]*string{
		"service": &in.service, "route": &in.route, "consumer": &in.consumer, "consumer_group": &in.group,
	} {
		if name := reference(entity[field]); name != "" {
			*to = name
		}
	}
	switch entity["config"].(type) {
	case nil:
		entity["config"] = map[string]any{}
	case map[string]any:
	default:
		return fmt.Errorf("%s: config is not a map", in.where())
	}
	d.instances = append(d.instances, &in)
	return nil
}

func list(v any) []map[string]any {
	items, _ := v.([]any)
	var out []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// reference reads another entity's name: a text, or a map with it.
func reference(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return text(v)
	}
	for _, field := range []string{"name", "username", "id"} {
		if s := text(m[field]); s != "" {
			return s
		}
	}
	return ""
}

func nameOf(m map[string]any, member string, i int) string {
	for _, field := range []string{"name", "username", "custom_id", "id"} {
		if s := text(m[field]); s != "" {
			return s
		}
	}
	return fmt.Sprintf("%s[%d]", member, i)
}
