// SPDX-License-Identifier: Apache-2.0

// Package house_test holds the packages to the order in which they may import
// each other.
package house_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kong-ai-guard/kong-ai-guard/"

// layers are all packages from the bottom up: each may import those of lower
// layers, and none of its own.
var layers = [][]string{
	{"internal/deadline", "internal/strictjson", "internal/eventstream", "internal/mediatype", "internal/secretfile", "internal/kongschema", "internal/kongrules", "internal/pdk", "internal/telemetry", "internal/tracing", "internal/http1", "internal/sim/leaks", "internal/sim/procfs"},
	{"internal/contentcoding", "internal/formdata", "internal/audit", "internal/relay"},
	{"internal/archive"},
	{"internal/sim/awsframe", "internal/sim/fakeairs", "internal/sim/fakellm", "internal/sim/fakenoma", "internal/sim/kongtest", "internal/sim/realkong", "internal/sim/recording"},
	{"internal/llm", "internal/sim/switches"},
	{"internal/scan", "internal/release"},
	{"internal/policy", "internal/scanhttp"},
	{"internal/guard", "internal/pluginserver", "internal/bearer"},
	{"internal/diagnose"},
	{"internal/program"},
	{"plugins/airs", "plugins/noma"},
	// A plugin's binary is beside the list, so that it links no other vendor.
	{"plugins", "cmd/prisma-airs-intercept", "cmd/noma-runtime-protection"},
	{"cmd/bench-kong", "cmd/dist", "cmd/fakes", "cmd/generate", "cmd/konnect-schema", "cmd/sandbox"},
	{"docker", "kong", "tests/corpus", "tests/exchange", "tests/house", "tests/kong"}, // tests alone
}

// players may import internal/sim, as tests and what is there itself may.
var players = []string{"cmd/bench-kong", "cmd/fakes", "cmd/sandbox"}

type pkg struct {
	ImportPath string
	Imports    []string
}

// wrong says what is wrong with a package's place or its imports.
func wrong(p pkg) (problems []string) {
	at := func(name string) int {
		return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, name) })
	}
	name := strings.TrimPrefix(p.ImportPath, module)
	layer := at(name)
	if layer < 0 {
		return []string{name + " stands in no layer: add it where its imports allow"}
	}
	for _, path := range p.Imports {
		imported, ours := strings.CutPrefix(path, module)
		switch {
		case !ours:
		case strings.HasPrefix(imported, "internal/sim/") && !slices.Contains(players, name) && !strings.HasPrefix(name, "internal/sim/"):
			problems = append(problems, name+" imports "+imported+", which is for tests and stand-ins")
		case at(imported) >= layer:
			problems = append(problems, name+" imports "+imported+", which is not below it")
		}
	}
	return problems
}

func TestArrowsPointDown(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; listed++ {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, problem := range wrong(p) {
			t.Error(problem)
		}
	}
	if all := len(slices.Concat(layers...)); listed != all {
		t.Errorf("%d packages stand in layers, %d are there", all, listed)
	}
}

// TestArrowsAreSeen: each kind of wrong arrow is.
func TestArrowsAreSeen(t *testing.T) {
	for _, c := range []struct{ name, imports, says string }{
		{"internal/llm", "internal/guard", "not below"},
		{"plugins/airs", "plugins/noma", "not below"},
		{"plugins/noma", "plugins", "not below"},
		{"cmd/prisma-airs-intercept", "plugins", "not below"},
		{"internal/new", "internal/llm", "no layer"},
		{"internal/guard", "internal/sim/kongtest", "stand-ins"},
		{"cmd/generate", "internal/sim/fakellm", "stand-ins"},
		{"cmd/fakes", "internal/sim/fakellm", ""},
		{"cmd/prisma-airs-intercept", "plugins/airs", ""},
	} {
		if got := strings.Join(wrong(pkg{module + c.name, []string{module + c.imports}}), "; "); !strings.Contains(got, c.says) || (c.says == "") != (got == "") {
			t.Errorf("%s imports %s: %q", c.name, c.imports, got)
		}
	}
}
