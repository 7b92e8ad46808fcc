// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"bytes"
	"encoding/json"
	"runtime/debug"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
)

// TestTheVersionThatKongIsTold: Kong does not start with a version that is not
// three numbers. `go install MODULE/cmd/NAME@latest` stamps nothing: its version
// is the module's.
func TestTheVersionThatKongIsTold(t *testing.T) {
	built := func(version string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Path: "github.com/kong-ai-guard/kong-ai-guard", Version: version}}
	}
	for _, c := range []struct {
		name, stamp string
		info        *debug.BuildInfo
		own, told   string
	}{
		{"go install of a release", "", built("v0.1.0"), "v0.1.0", "0.1.0"},
		{"go install of a release candidate", "", built("v1.2.3-rc.1"), "v1.2.3-rc.1", "1.2.3"},
		{"go install of a commit", "", built("v0.1.1-0.20261128080000-668cf6c00000"), "v0.1.1-0.20261128080000-668cf6c00000", "0.1.1"},
		{"go build in a clone that changed", "", built("v0.1.0+dirty"), "v0.1.0+dirty", "0.1.0"},
		{"go build without a repository", "", built("(devel)"), "(devel)", "0.0.0"},
		{"a build without modules", "", nil, "(devel)", "0.0.0"},
		{"make build after a tag", "v0.1.0-3-g668cf6c", built("(devel)"), "v0.1.0-3-g668cf6c", "0.1.0"},
		{"make build without tags", "668cf6c", built("(devel)"), "668cf6c", "0.0.0"},
	} {
		own := program.VersionOf(c.stamp, c.info)
		var out, errs bytes.Buffer
		code := pluginserver.Main(pluginserver.Program{
			Name: "a-plugin", Version: own, Schema: func(string) (json.RawMessage, error) { return json.RawMessage(`{}`), nil },
		}, []string{"-dump"}, &out, &errs)
		var dump struct{ Plugins []struct{ Version string } }
		if err := json.Unmarshal(out.Bytes(), &dump); err != nil || code != 0 || len(dump.Plugins) != 1 {
			t.Fatalf("%s: code %d, %v: %s%s", c.name, code, err, out.String(), errs.String())
		}
		if told := dump.Plugins[0].Version; own != c.own || told != c.told {
			t.Errorf("%s: it is %q, and Kong is told %q", c.name, own, told)
		}
	}
}
