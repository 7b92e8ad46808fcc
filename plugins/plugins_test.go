// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

const root = ".."

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// directory is where a plugin's package is, under plugins.
func directory(p program.Plugin) string {
	// Such as github.com/kong-ai-guard/kong-ai-guard/plugins/airs.Schema.
	function := runtime.FuncForPC(reflect.ValueOf(p.Schema).Pointer()).Name()
	return strings.TrimSuffix(path.Base(function), ".Schema")
}

// TestListIsComplete: each package and each binary of a plugin is in the list,
// under a name and a priority of its own.
func TestListIsComplete(t *testing.T) {
	var dirs, names []string
	priorities := map[int]string{}
	for _, p := range plugins.All() {
		name := p.Vendor.Plugin
		dirs, names = append(dirs, directory(p)), append(names, name)
		if other := priorities[p.Priority]; other != "" {
			t.Errorf("%s and %s have priority %d: Kong promises no order of equals", name, other, p.Priority)
		}
		priorities[p.Priority] = name
		if schema := p.Schema(); schema.Name != name {
			t.Errorf("%s declares the configuration of %q", name, schema.Name)
		}
	}
	there := func(pattern, holds string) (found []string) {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), holds) {
				found = append(found, filepath.Base(filepath.Dir(file)))
			}
		}
		return found
	}
	same := func(what string, want, got []string) {
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(want, got) {
			t.Errorf("%s are %v, the list has %v", what, got, want)
		}
	}
	same("packages with a plugin", dirs, there("plugins/*/plugin.go", "program.Plugin{"))
	same("binaries of plugins", names, there("cmd/*/main.go", "program.Main("))
}

// TestNobodyForgetsOne: what cannot go through the list names each plugin.
// CONTRIBUTING.md has the same places, in the order in which to come to them.
func TestNobodyForgetsOne(t *testing.T) {
	for _, p := range plugins.All() {
		name, priority := p.Vendor.Plugin, strconv.Itoa(p.Priority)
		setting := "pluginserver_" + strings.ReplaceAll(name, "-", "_") + "_start_cmd"
		for _, file := range []string{
			"cmd/" + name + "/main.go", "docs/reference-" + name + ".md",
			"schema/" + name + "/schema.lua", "schema/" + name + "/schema.json",
		} {
			read(t, file)
		}
		for _, place := range []struct{ file, has string }{
			{"cmd/fakes/main.go", `"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fake` + directory(p) + `"`},
			{"internal/sim/switches/" + directory(p) + ".go", `"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fake` + directory(p) + `"`},
			{"Makefile", `(?m)^PLUGINS := .*\./cmd/` + name + `( |$)`},
			{"internal/diagnose/neighbours.go", `"` + name + `": +\{` + priority + `, scansToo\}`},
			{"cmd/sandbox/vendors.go", `"` + name + `"`},
			{"tests/house/arrows_test.go", `"cmd/` + name + `"`},
			{"tests/corpus/house_test.go", `"` + name + `"`},
			{"tests/clients/sandbox_test.go", `"\./cmd/` + name + `"`},
			{"internal/program/program_test.go", `"` + name + `"`},
			{"docker/Dockerfile", `(?m)^COPY .*/out/` + name + ` `},
			{"docker/Dockerfile", `KONG_` + strings.ToUpper(setting) + `=`},
			{"kong/kong.conf", `(?m)^` + setting + ` = `},
			{"kong/deck.yaml", `name: ` + name},
			{"kong/kubernetes/plugins.yaml", `plugin: ` + name},
			{"kong/kubernetes/values.yaml", name},
			{"kong/konnect/main.tf", name},
			{"docs/priorities-and-ai-proxy.md", `(?m)^\| \*\*` + priority + `\*\* \| \*\*` + name + `\*\* \|`},
			{"docs/metrics.md", setting},
			{"docs/install-docker.md", name},
			{"docs/install-konnect.md", name},
			{"docs/install-kong-conf.md", `reference-` + name + `\.md`},
			{"docs/security-model.md", name + "`"},
			{"README.md", `docs/reference-` + name + `\.md`},
			{"CONTRIBUTING.md", `cmd/` + name},
		} {
			if !regexp.MustCompile(place.has).MatchString(read(t, place.file)) {
				t.Errorf("%s forgets %s: nothing there matches %s", place.file, name, place.has)
			}
		}
	}
}

// TestEachHasARoute: kong.yml is what make run, make demo and the image's
// compose file show.
func TestEachHasARoute(t *testing.T) {
	d, err := kongtest.LoadFile(filepath.Join(root, "kong", "kong.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range plugins.Names() {
		alone := false
		for _, service := range d.Services {
			for _, route := range service.Routes {
				on := slices.Concat(service.Plugins, route.Plugins)
				ours := slices.DeleteFunc(on, func(p kongtest.Plugin) bool { return !slices.Contains(plugins.Names(), p.Name) })
				alone = alone || len(ours) == 1 && ours[0].Name == name
			}
		}
		if !alone {
			t.Errorf("kong.yml has no route with %s alone", name)
		}
	}
}
