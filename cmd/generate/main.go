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

// sharedPage is the reference page of what all plugins have.
const sharedPage = "reference-shared.md"

func generate(root string) error {
	var all []kongschema.Plugin
	for _, p := range plugins.All() {
		plugin := p.Schema()
		if err := plugin.Check(); err != nil {
			return fmt.Errorf("%s: %w", plugin.Name, err)
		}
		all = append(all, plugin)
	}
	for path, content := range files(all) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// files returns what is made from the plugins' declarations, by path.
func files(all []kongschema.Plugin) map[string][]byte {
	shared := kongschema.Shared(all)
	made := map[string][]byte{"docs/" + sharedPage: shared.Reference()}
	for _, plugin := range all {
		made["schema/"+plugin.Name+"/schema.lua"] = plugin.Lua()
		made["schema/"+plugin.Name+"/schema.json"] = plugin.JSONSchema()
		made["docs/reference-"+plugin.Name+".md"] = plugin.Reference(shared, sharedPage)
	}
	return made
}
