// SPDX-License-Identifier: Apache-2.0

package program

import (
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// luaDirs are where Kong looks for plugins in Lua, as far as that is usual:
// LuaRocks' directories, OpenResty's own, and the one that the Helm chart and
// many images mount plugins into. The operator's own package path cannot be
// known here, because Kong clears the environment.
var luaDirs = []string{
	"/usr/local/share/lua/5.1",
	"/usr/share/lua/5.1",
	"/usr/local/openresty/luajit/share/lua/5.1",
	"/usr/local/openresty/luajit/share/luajit-2.1",
	"/usr/local/openresty/site/lualib",
	"/usr/local/openresty/lualib",
	"/usr/local/kong",
	"/opt",
}

// leftovers returns the handlers in Lua of a plugin of this name that lie below
// root, "/" but in tests. Kong prefers such a file to a plugin server: the file
// would run, and this process would never be asked.
func leftovers(root, plugin string) []string {
	var found []string
	for _, dir := range luaDirs {
		path := filepath.Join(dir, "kong", "plugins", plugin, "handler.lua")
		if info, err := os.Stat(filepath.Join(root, path)); err == nil && !info.IsDir() {
			found = append(found, path)
		}
	}
	return found
}

// reportLeftovers logs what leftovers finds, as errors.
func reportLeftovers(log *zap.Logger, root, plugin string) {
	for _, path := range leftovers(root, plugin) {
		log.Error("Kong prefers this plugin in Lua to the plugin server, which is then never asked: remove the file or its mount",
			zap.String("file", path))
	}
}
