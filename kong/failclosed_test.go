// SPDX-License-Identifier: Apache-2.0

package kong_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

// A luaKong plays what the functions for post-function use of Kong's PDK, for
// one phase of one request.
type luaKong struct {
	shared  map[string]string
	source  string // where the answer comes from: service, exit, error
	ctx     map[string]lua.LValue
	cleared []string
	errors  []string
	exit    *luaExit
	// buffered says that enable_buffering was called.
	buffered bool
}

type luaExit struct {
	status  int
	body    string
	headers map[string]string
}

// stopped is what the played kong.response.exit raises: like Kong's, it does
// not come back.
const stopped = "the request has ended"

// run runs one of our files as Kong's post-function does.
func (k *luaKong) run(t *testing.T, path string) {
	t.Helper()
	code, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l := lua.NewState()
	defer l.Close()
	table := func(functions map[string]lua.LGFunction) *lua.LTable {
		return l.SetFuncs(l.NewTable(), functions)
	}
	shared := l.NewTable()
	for name, value := range k.shared {
		shared.RawSetString(name, lua.LString(value))
	}
	ctx := l.NewTable()
	ctx.RawSetString("shared", shared)
	kong := l.NewTable()
	kong.RawSetString("ctx", ctx)
	kong.RawSetString("log", table(map[string]lua.LGFunction{"err": func(l *lua.LState) int {
		var text strings.Builder
		for i := range l.GetTop() {
			text.WriteString(l.CheckString(i + 1))
		}
		k.errors = append(k.errors, text.String())
		return 0
	}}))
	kong.RawSetString("response", table(map[string]lua.LGFunction{
		"get_source": func(l *lua.LState) int {
			l.Push(lua.LString(k.source))
			return 1
		},
		"clear_header": func(l *lua.LState) int {
			k.cleared = append(k.cleared, l.CheckString(1))
			return 0
		},
		"exit": func(l *lua.LState) int {
			k.exit = &luaExit{status: l.CheckInt(1), body: l.CheckString(2), headers: map[string]string{}}
			l.CheckTable(3).ForEach(func(name, value lua.LValue) {
				k.exit.headers[name.String()] = value.String()
			})
			l.RaiseError(stopped)
			return 0
		},
	}))
	request := table(map[string]lua.LGFunction{"enable_buffering": func(*lua.LState) int {
		k.buffered = true
		return 0
	}})
	service := l.NewTable()
	service.RawSetString("request", request)
	kong.RawSetString("service", service)
	l.SetGlobal("kong", kong)
	ngxCtx := l.NewTable()
	for name, value := range k.ctx {
		ngxCtx.RawSetString(name, value)
	}
	ngx := l.NewTable()
	ngx.RawSetString("ctx", ngxCtx)
	l.SetGlobal("ngx", ngx)
	if err := l.DoString(string(code)); err != nil && !strings.Contains(err.Error(), stopped) {
		t.Fatalf("%s: %v", path, err)
	}
}

func marks(leg string, plugins ...string) map[string]string {
	all := map[string]string{"another plugin's": "done"}
	for _, p := range plugins {
		all["ai_guard:"+p+":"+leg] = "done"
	}
	return all
}

func TestFailClosedFunctions(t *testing.T) {
	const airs, noma = "prisma-airs-intercept", "noma-runtime-protection"
	for _, phase := range []struct {
		file, leg, other string
		header, value    string
	}{
		{"access.lua", "request", "response", "Retry-After", "5"},
		{"header_filter.lua", "response", "request", "X-Should-Retry", "false"},
	} {
		for _, c := range []struct {
			name    string
			marks   map[string]string
			source  string
			refused string // the plugin that is blamed, "" when it passes
		}{
			{"both marked", marks(phase.leg, airs, noma), "service", ""},
			{"none marked", nil, "service", airs},
			{"one marked", marks(phase.leg, airs), "service", noma},
			{"the other marked", marks(phase.leg, noma), "service", airs},
			{"the other leg marked", marks(phase.other, airs, noma), "service", airs},
			{"another value", map[string]string{"ai_guard:" + airs + ":" + phase.leg: "x"}, "service", airs},
		} {
			t.Run(phase.file+"/"+c.name, func(t *testing.T) {
				k := &luaKong{shared: c.marks, source: c.source}
				k.run(t, filepath.Join("fail-closed", phase.file))
				if c.refused == "" {
					if k.exit != nil || k.errors != nil || k.cleared != nil {
						t.Errorf("refused: %+v, %v", k.exit, k.errors)
					}
					return
				}
				if k.exit == nil || k.exit.status != 503 {
					t.Fatalf("passed: %+v", k.exit)
				}
				var body struct {
					Error   struct{ Message, Type, Code string }
					Message string
				}
				if err := json.Unmarshal([]byte(k.exit.body), &body); err != nil || body.Error.Message == "" ||
					body.Error.Message != body.Message || body.Error.Code != "guard_failure" {
					t.Errorf("body %s: %v", k.exit.body, err)
				}
				if k.exit.headers["Content-Type"] != "application/json" || k.exit.headers["Cache-Control"] != "no-store" ||
					k.exit.headers[phase.header] != phase.value {
					t.Errorf("headers %v", k.exit.headers)
				}
				if len(k.errors) != 1 || !strings.HasPrefix(k.errors[0], "["+c.refused+"] ") {
					t.Errorf("logged %q", k.errors)
				}
			})
		}
	}
}

// What Kong and plugins answer themselves has no mark and needs none.
func TestFailClosedLeavesOtherAnswersAlone(t *testing.T) {
	for _, source := range []string{"exit", "error"} {
		k := &luaKong{source: source}
		if k.run(t, "fail-closed/header_filter.lua"); k.exit != nil || k.cleared != nil {
			t.Errorf("source %s: replaced", source)
		}
	}
}

// The answer that goes out instead must not be described by the old one's
// headers.
func TestFailClosedClearsWhatDescribesTheOldBody(t *testing.T) {
	k := &luaKong{source: "service"}
	k.run(t, "fail-closed/header_filter.lua")
	want := pdk.ClearBodyHeaders()
	if len(k.cleared) != len(want) {
		t.Fatalf("cleared %v, the plugins clear %d", k.cleared, len(want))
	}
	for i, call := range want {
		if !bytes.Contains(call.Args, []byte(k.cleared[i])) {
			t.Errorf("%s is cleared where the plugins clear %q", k.cleared[i], call.Args)
		}
	}
}

func TestKeepAnswers(t *testing.T) {
	for _, c := range []struct {
		flag lua.LValue
		asks bool
	}{
		{lua.LNil, true},
		{lua.LFalse, true},
		{lua.LTrue, false},
		{lua.LString("guard:prisma-airs-intercept"), false},
	} {
		k := &luaKong{ctx: map[string]lua.LValue{"buffered_proxying": c.flag}}
		if k.run(t, "keep-answers.lua"); k.buffered != c.asks {
			t.Errorf("flag %v: asked is %v", c.flag, k.buffered)
		}
	}
}
