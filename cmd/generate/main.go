// SPDX-License-Identifier: Apache-2.0

// Command generate writes what is made from the plugins' declarations: the
// schemas and the reference pages. It runs in the repository's root, or in the
// directory that is its one argument.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := generate(root); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(root string) error {
	for _, p := range plugins.All() {
		plugin := p.Schema()
		if err := plugin.Check(); err != nil {
			return fmt.Errorf("%s: %w", plugin.Name, err)
		}
		for path, content := range files(&plugin) {
			path = filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// files returns what is made from one plugin's declaration, by path.
func files(plugin *kongschema.Plugin) map[string][]byte {
	return map[string][]byte{
		"schema/" + plugin.Name + "/schema.lua":  plugin.Lua(),
		"schema/" + plugin.Name + "/schema.json": plugin.JSONSchema(),
		"docs/reference-" + plugin.Name + ".md":  plugin.Reference(),
	}
}
