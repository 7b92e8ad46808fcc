// SPDX-License-Identifier: Apache-2.0

// Package plugins lists the plugins. Tools and tests go through the list. Each
// binary links only its own plugin.
package plugins

import (
	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/airs"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/noma"
)

// All returns every plugin, those that run first first.
func All() []program.Plugin {
	return []program.Plugin{airs.Plugin(), noma.Plugin()}
}

// Names returns what Kong calls them, in the same order.
func Names() []string {
	var names []string
	for _, p := range All() {
		names = append(names, p.Vendor.Plugin)
	}
	return names
}
