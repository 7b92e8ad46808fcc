// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// Bounds of what is asked of an Admin API.
const (
	nodeTime = 10 * time.Second // for one answer
	maxPages = 1000             // of one kind of entity
	maxNode  = 256 << 20        // bytes of all answers
	pageSize = "1000"           // the most that Kong gives
)

// adminToken is the variable with the token for an Admin API that wants one.
const adminToken = "KONG_ADMIN_TOKEN"

// IsURL reports whether what is to be checked is a running Kong, and no file.
func IsURL(file string) bool {
	return strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://")
}

// A node is a running Kong, as its Admin API shows it, or its Status API and its
// machine.
type node struct {
	// version is Kong's own word for it, such as 3.9.1, "" when it says none.
	version string
	// enabled are the plugins that it has loaded, nil when that is not known.
	enabled []string
	// fields are the names in the configuration of the plugin that it runs, nil
	// when it knows none.
	fields []string
	// buffer is the size up to which bodies stay in memory, "" when it is not
	// told: Kong's / fails on the worker that manages the plugin servers.
	buffer string
	// hidden says that its configuration cannot be seen.
	hidden bool
}

// A kongAPI asks a Kong.
type kongAPI struct {
	base   *url.URL
	name   string // of the API
	token  string
	server string // of the last answer
	read   int    // bytes so far
}

// get reads what stands at a path into v. The error holds no token.
func (a *kongAPI) get(ctx context.Context, path string, v any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	to, err := a.base.Parse(strings.TrimSuffix(a.base.EscapedPath(), "/") + path)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return 0, err
	}
	if a.token != "" {
		req.Header.Set("Kong-Admin-Token", a.token)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	a.server = res.Header.Get("Server")
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, nil
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	a.read += len(b)
	switch {
	case err != nil:
		return 0, err
	case len(b) > maxFile:
		return 0, fmt.Errorf("an answer of over %d MiB", maxFile>>20)
	case a.read > maxNode:
		return 0, fmt.Errorf("answers of over %d MiB", maxNode>>20)
	case json.Unmarshal(b, v) != nil:
		return 0, fmt.Errorf("an answer that is no JSON: is this Kong's %s?", a.name)
	}
	return res.StatusCode, nil
}

// all reads the entities of one kind. An Admin API without that kind has none.
func (a *kongAPI) all(ctx context.Context, kind string) (all []any, err error) {
	path := "/" + kind + "?size=" + pageSize
	for range maxPages {
		var page struct {
			Data   []any
			Offset string
		}
		switch status, err := a.get(ctx, path, &page); {
		case err != nil:
			return nil, err
		case status == http.StatusNotFound:
			return all, nil
		case status != http.StatusOK:
			return nil, fmt.Errorf("/%s answers with status %d", kind, status)
		}
		all = append(all, page.Data...)
		if page.Offset == "" {
			return all, nil
		}
		path = "/" + kind + "?size=" + pageSize + "&offset=" + url.QueryEscape(page.Offset)
	}
	return nil, fmt.Errorf("/%s does not end", kind)
}

// nodeKinds are the entities that are read, all of which have names of their
// own.
var nodeKinds = []string{"services", "routes", "consumers", "consumer_groups", "upstreams"}

// loadNode reads what a running Kong does, with its Admin API.
func (p *Plugin) loadNode(ctx context.Context, address string) (*document, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.User != nil {
		return nil, errors.New("is no URL of an Admin API")
	}
	token, _ := p.Env(adminToken)
	api := &kongAPI{base: base, name: "Admin API", token: token}
	var enabled struct {
		Plugins []string `json:"enabled_plugins"`
	}
	switch status, err := api.get(ctx, "/plugins/enabled", &enabled); {
	case err != nil:
		return nil, err
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return nil, fmt.Errorf("answers with status %d: set %s", status, adminToken)
	case status != http.StatusOK:
		return nil, fmt.Errorf("answers with status %d: is this Kong's Admin API?", status)
	}
	n := &node{enabled: enabled.Plugins}
	n.version = strings.TrimPrefix(api.server, "kong/")
	var schema struct{ Fields []map[string]kongrules.Field }
	switch status, err := api.get(ctx, "/schemas/plugins/"+url.PathEscape(p.Name), &schema); {
	case err != nil:
		return nil, err
	case status == http.StatusOK:
		n.fields = []string{}
		for _, f := range schema.Fields {
			config := f["config"]
			for _, own := range config.Fields {
				n.fields = append(n.fields, own.Name)
			}
		}
	}
	var root struct{ Configuration map[string]any }
	if status, err := api.get(ctx, "/", &root); err == nil && status == http.StatusOK {
		n.buffer = text(root.Configuration["nginx_http_client_body_buffer_size"])
	}
	tree := map[string]any{"_format_version": "3.0"}
	names := map[string]string{}
	for _, kind := range nodeKinds {
		entities, err := api.all(ctx, kind)
		if err != nil {
			return nil, err
		}
		tree[kind] = entities
		for i, e := range list(tree[kind]) {
			names[text(e["id"])] = nameOf(e, kind, i)
		}
	}
	configured, err := api.all(ctx, "plugins")
	if err != nil {
		return nil, err
	}
	tree["plugins"] = configured
	for _, kind := range []string{"routes", "plugins"} {
		for _, e := range list(tree[kind]) {
			named(e, names)
		}
	}
	doc, err := declarative(tree)
	if doc != nil {
		doc.node = n
		doc.kind = "a running Kong"
	}
	return doc, err
}

// named puts names for the ids that an entity refers to, as files have them.
func named(entity map[string]any, names map[string]string) {
	for _, to := range []string{"service", "route", "consumer", "consumer_group"} {
		if m, ok := entity[to].(map[string]any); ok {
			if name := names[text(m["id"])]; name != "" {
				entity[to] = name
			}
		}
	}
}

// remarks says how the node fits the plugin. schema is the plugin's own.
func (n *node) remarks(p *Plugin, schema *kongrules.Field) (noted remarks) {
	if n.enabled != nil && !slices.Contains(n.enabled, p.Name) {
		noted.add(levelError, "this Kong has not loaded %s: KONG_PLUGINS and KONG_PLUGINSERVER_NAMES have to name it", p.Name)
	}
	own := map[string]bool{}
	for _, f := range schema.Fields.Named("config").Fields {
		own[f.Name] = true
	}
	if n.fields != nil {
		theirs := map[string]bool{}
		for _, name := range n.fields {
			theirs[name] = true
		}
		lacks, has := apartFrom(own, theirs), apartFrom(theirs, own)
		if lacks != "" || has != "" {
			noted.add(levelWarning, "this Kong runs another %s than this binary (of another version, or in Lua): it lacks the fields %s and has %s beside them", p.Name, orNone(lacks), orNone(has))
		}
	}
	switch major, minor, known := parseVersion(n.version); {
	case !known:
		noted.add(levelNote, "this Kong does not say its version")
	case goesOn(n.version, major, minor):
		noted.add(levelWarning, "Kong %s sends requests on when a plugin server fails, unless the services are sealed or a function refuses what has no mark: see docs/compatibility.md", clean(n.version))
	default:
		noted.add(levelNote, "Kong %s ends an exchange when a plugin server fails", clean(n.version))
	}
	if major, minor, known := parseVersion(n.version); known && (major < 3 || major == 3 && minor < 9) {
		noted.add(levelWarning, "Kong %s shows no plugin the answer to an HTTP/2 request: refuse_http2 refuses those, and relayed ones need no response phase", clean(n.version))
	}
	if n.buffer != "" {
		noted.add(levelNote, "Kong's client_body_buffer_size is %s: a larger body goes through a file, which the plugin must be able to read", clean(n.buffer))
	}
	return noted
}

// apartFrom lists the names of a that b has not.
func apartFrom(a, b map[string]bool) string {
	var left []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if !b[name] {
			left = append(left, clean(name))
		}
	}
	return strings.Join(left, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// parseVersion reads the first two numbers of a version of Kong's.
func parseVersion(version string) (major, minor int, ok bool) {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major, minor, err1 == nil && err2 == nil
}

// goesOn reports whether a Kong lets requests pass when a plugin server fails:
// open-source ones before 3.8, and Enterprise ones before 3.14.
func goesOn(version string, major, minor int) bool {
	first := 8
	if strings.Contains(version, "enterprise") {
		first = 14
	}
	return major < 3 || major == 3 && minor < first
}

// asked has the service judge a harmless text under a configuration, and says
// whether it gives verdicts.
func (p *Plugin) asked(ctx context.Context, made *Instance) (noted remarks) {
	t := p.try(ctx, made, &Body{Leg: llm.RequestLeg, ContentType: "text/plain", Bytes: []byte("What is 2+2?")})
	switch {
	case t.NoVerdict:
		at := ""
		if t.Hint != "" {
			at = ", look at config." + t.Hint
		}
		noted.add(levelError, "the scan service gives no verdict from here: %s: %s%s", t.Outcome, clean(t.Reason), at)
	case t.Status != 0:
		noted.add(levelWarning, "the scan service does not allow a harmless text: %s", t.Outcome)
	default:
		noted.add(levelNote, "the scan service answers from here in %.1f ms", float64(t.Latency.Microseconds())/1000)
	}
	return noted
}
