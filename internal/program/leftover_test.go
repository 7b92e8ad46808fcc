// SPDX-License-Identifier: Apache-2.0

package program

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

func TestLeftovers(t *testing.T) {
	const plugin = "prisma-airs-intercept"
	root := t.TempDir()
	put := func(path string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("return {}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("usr/local/share/lua/5.1/kong/plugins/noma-runtime-protection/handler.lua") // another plugin's
	put("usr/local/share/lua/5.1/kong/plugins/" + plugin + "/schema.lua")           // wanted: Konnect's file
	put("usr/local/openresty/lualib/kong/plugins/" + plugin + "/handler.lua/no")    // a directory
	if got := leftovers(root, plugin); got != nil {
		t.Errorf("found %v where there is none", got)
	}
	want := []string{
		"/usr/local/share/lua/5.1/kong/plugins/" + plugin + "/handler.lua",
		"/opt/kong/plugins/" + plugin + "/handler.lua",
	}
	for _, path := range want {
		put(path)
	}
	core, logged := observer.New(zapcore.DebugLevel)
	p := Plugin{Vendor: policy.Vendor{Plugin: plugin}}
	if _, err := p.start(&options{bounds: guard.DefaultBounds(), root: root}, pluginserver.Process{Name: plugin, Log: zap.New(core)}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range logged.FilterLevelExact(zapcore.ErrorLevel).All() {
		got = append(got, line.ContextMap()["file"].(string))
	}
	if diff := cmp.Diff(want, got); diff != "" || logged.Len() != len(want) {
		t.Errorf("errors logged (-want +got):\n%s", diff)
	}
}
