// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"regexp"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// placeholder is decK's way to take a value from the environment. decK fills in
// the values before it reads the YAML, and so does this package.
var placeholder = regexp.MustCompile(`\$\{\{\s*env\s+["']([A-Za-z_][A-Za-z0-9_]*)["']\s*(?:\|\s*[A-Za-z]+\s*)?\}\}`)

const (
	// openMark stands for a placeholder whose variable is not set here.
	openMark = "unresolved-deck-env-"
	// standIn is a value that most fields take, for one that is not known.
	standIn = "https://unresolved.invalid"
)

func fillPlaceholders(data []byte, env func(string) (string, bool)) []byte {
	return placeholder.ReplaceAllFunc(data, func(found []byte) []byte {
		name := string(placeholder.FindSubmatch(found)[1])
		if value, ok := env(name); ok {
			return []byte(value)
		}
		return []byte(openMark + name)
	})
}

// settle returns a configuration with the secrets that can be had here. open
// holds the fields whose value cannot be had, with where it comes from.
func settle(fields kongrules.Fields, config map[string]any, env func(string) (string, bool)) (settled map[string]any, open map[string]string) {
	settled = kongrules.Resolve(fields, config, env)
	delete(settled, "$refs")
	open = map[string]string{}
	for name, v := range config {
		f := fields.Named(name)
		if from := find(v, func(s string) bool { return strings.Contains(s, openMark) }); from != none {
			open[name] = "${{ env \"" + opened.FindStringSubmatch(from)[1] + "\" }}"
			continue
		}
		if f == nil || !anyReferenceable(f) {
			continue
		}
		if from := find(v, kongrules.IsReference); from != none && find(settled[name], func(s string) bool { return s == "" }) != none {
			open[name] = from
		}
	}
	return settled, open
}

var opened = regexp.MustCompile(openMark + `([A-Za-z0-9_]*)`)

const none = "\x00none"

// find returns the first text in a value that is as wanted, none for none.
func find(v any, wanted func(string) bool) string {
	switch v := v.(type) {
	case string:
		if wanted(v) {
			return v
		}
	case []any:
		for _, e := range v {
			if s := find(e, wanted); s != none {
				return s
			}
		}
	case map[string]any:
		for _, e := range v {
			if s := find(e, wanted); s != none {
				return s
			}
		}
	}
	return none
}

func anyReferenceable(f *kongrules.Field) bool {
	return f.Referenceable || f.Elements != nil && f.Elements.Referenceable || f.Values != nil && f.Values.Referenceable
}
