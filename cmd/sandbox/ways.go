// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// A way is a route of the configuration, as the page offers it.
type way struct {
	Path string
	// Says is who scans on it, and how.
	Says string
	// Relayed says that a plugin takes it through its relay.
	Relayed bool
	// Speaks are the names of the formats that can be asked on it.
	Speaks []string
	// keyHeader is where key-auth looks for a key, "" if nobody does.
	keyHeader string
	strip     bool   // of its path, for the upstream
	upstream  string // the path of the service
}

// address returns the path at the gateway for calls in a format.
func (w *way) address(f *format) string {
	if w.upstream != "" || !w.strip {
		return w.Path
	}
	return w.Path + f.path
}

func (w *way) takes(f *format) bool { return slices.Contains(w.Speaks, f.Name) }

// waysOf are the routes that the page can ask: those by path alone to the
// model.
func waysOf(d kongtest.Declarative) (all []way) {
	for _, service := range d.Services {
		u, err := url.Parse(service.URL)
		if err != nil || u.Host != configuredModel {
			continue
		}
		for _, route := range service.Routes {
			if len(route.Paths) == 0 || !strings.HasPrefix(route.Paths[0], "/") || len(route.Hosts) > 0 || len(route.Methods) > 0 {
				continue
			}
			w := way{
				Path: route.Paths[0], strip: route.StripPath == nil || *route.StripPath,
				upstream: strings.TrimSuffix(u.Path, "/"),
			}
			for _, f := range formats {
				if w.reaches(&f) {
					w.Speaks = append(w.Speaks, f.Name)
				}
			}
			if len(w.Speaks) == 0 {
				continue
			}
			w.describe(effective(d, service, route))
			all = append(all, w)
		}
	}
	return all
}

// reaches reports whether calls in a format can come to their path at the
// model.
func (w *way) reaches(f *format) bool {
	if w.upstream != "" {
		return w.upstream == f.path && w.strip
	}
	return w.strip || w.Path == f.path
}

// effective are the plugins of a route by name: of each, the configuration of
// the narrowest scope, as in Kong.
func effective(d kongtest.Declarative, service kongtest.Service, route kongtest.Route) map[string]kongtest.Plugin {
	found := map[string]kongtest.Plugin{}
	add := func(all []kongtest.Plugin, in func(kongtest.Plugin) bool) {
		for _, p := range all {
			if (p.Enabled == nil || *p.Enabled) && p.Consumer == "" && p.ConsumerGroup == "" && in(p) {
				found[p.Name] = p
			}
		}
	}
	any := func(kongtest.Plugin) bool { return true }
	of := func(ref kongtest.Ref, id, name string) bool {
		return ref != "" && (string(ref) == id || string(ref) == name)
	}
	add(d.Plugins, func(p kongtest.Plugin) bool { return p.Service == "" && p.Route == "" })
	add(d.Plugins, func(p kongtest.Plugin) bool { return p.Route == "" && of(p.Service, service.ID, service.Name) })
	add(service.Plugins, any)
	add(d.Plugins, func(p kongtest.Plugin) bool { return of(p.Route, route.ID, route.Name) })
	add(route.Plugins, any)
	return found
}

// describe says in a few words what the plugins do.
func (w *way) describe(all map[string]kongtest.Plugin) {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name].Config
		if name == "key-auth" {
			w.keyHeader = "apikey"
			if names, ok := c["key_names"].([]any); ok && len(names) > 0 {
				w.keyHeader = fmt.Sprint(names[0])
			}
		}
		v, ours := vendors[name]
		if !ours {
			continue
		}
		part := v.title
		for _, setting := range [...]struct {
			name string
			is   any
			says string
		}{
			{"monitor_mode", true, "watches"},
			{"mask_sensitive_data", true, "masks"},
			{"block_failures", false, "fails open"},
			{"prompt_scan", "beside", "beside the model"},
		} {
			if c[setting.name] == setting.is {
				part += ", " + setting.says
			}
		}
		w.Relayed = w.Relayed || c["relay"] == "on"
		parts = append(parts, part)
	}
	w.Says = cmp.Or(strings.Join(parts, " + "), "nobody scans")
	if w.keyHeader != "" {
		w.Says += ", needs a key"
	}
	if w.Relayed {
		w.Says += ", relay"
	}
}

// keysOf are the keys of the consumers, by their names.
func keysOf(d kongtest.Declarative) map[string]string {
	keys := map[string]string{}
	for _, c := range d.Consumers {
		if c.Username != "" && len(c.Credentials) > 0 {
			keys[c.Username] = c.Credentials[0].Key
		}
	}
	return keys
}
