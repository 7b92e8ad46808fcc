// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

const (
	controlPlane = "9524ec7d-36d9-465d-a8c5-83a3c9390458"
	token        = "kpat_test"
)

var names = plugins.Names()

// fakeKonnect answers for the plugin schemas of one control plane as Konnect's
// API describes: POST makes one under the name that stands in it, PUT replaces.
type fakeKonnect struct {
	mu      sync.Mutex
	schemas map[string]string
	calls   []string
	// change is done to a schema that is taken, and answer, unless nil,
	// answers in its place.
	change func(string) string
	answer http.HandlerFunc
}

func (k *fakeKonnect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name, ok := strings.CutPrefix(r.URL.Path, "/v2/control-planes/"+controlPlane+"/core-entities/plugin-schemas")
	name = strings.TrimPrefix(name, "/")
	k.calls = append(k.calls, strings.TrimSpace(r.Method+" "+name))
	switch {
	case k.answer != nil:
		k.answer(w, r)
		return
	case r.Header.Get("Authorization") != "Bearer "+token:
		http.Error(w, `{"message":"Unauthorized"}`, http.StatusUnauthorized)
		return
	case !ok:
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet {
		k.show(w, http.StatusOK, name)
		return
	}
	var in map[string]string
	if json.NewDecoder(r.Body).Decode(&in) != nil || len(in) != 1 || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, `{"message":"bad request"}`, http.StatusBadRequest)
		return
	}
	lua := in["lua_schema"]
	_, rest, _ := strings.Cut(lua, `name = "`)
	inside, _, _ := strings.Cut(rest, `"`)
	_, there := k.schemas[inside]
	switch {
	case strings.Contains(lua, "require("):
		http.Error(w, `{"message":"require is not allowed"}`, http.StatusBadRequest)
		return
	case r.Method == http.MethodPost && there:
		http.Error(w, `{"message":"it exists"}`, http.StatusConflict)
		return
	case r.Method == http.MethodPut && (inside != name || !there):
		http.NotFound(w, r)
		return
	}
	if k.change != nil {
		lua = k.change(lua)
	}
	k.schemas[inside] = lua
	status := http.StatusCreated
	if r.Method == http.MethodPut {
		status = http.StatusOK
	}
	k.show(w, status, inside)
}

func (k *fakeKonnect) show(w http.ResponseWriter, status int, name string) {
	lua, ok := k.schemas[name]
	if !ok {
		http.Error(w, `{"message":"not found"}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"name": name, "lua_schema": lua, "created_at": 1422386534})
}

func shipped(t *testing.T, plugin string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "schema", plugin, "schema.lua"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// upload runs the command against a fake.
func upload(t *testing.T, k *fakeKonnect, token string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if k.schemas == nil {
		k.schemas = map[string]string{}
	}
	server := httptest.NewServer(k)
	defer server.Close()
	k.calls = nil
	var out, problems bytes.Buffer
	code = run(context.Background(), append([]string{"-server", server.URL, "-control-plane", controlPlane}, args...), token, &out, &problems)
	if token != "" && strings.Contains(out.String()+problems.String(), token) {
		t.Errorf("the token is shown: %s%s", &out, &problems)
	}
	return code, out.String(), problems.String()
}

func TestCreateUpdateAndLeaveAlone(t *testing.T) {
	k := &fakeKonnect{schemas: map[string]string{names[1]: `return { name = "noma-runtime-protection" }`}}
	code, out, problems := upload(t, k, token)
	if want := names[0] + ": created\n" + names[1] + ": updated\n"; code != 0 || out != want {
		t.Fatalf("code %d, %q, %s", code, out, problems)
	}
	if diff := cmp.Diff([]string{
		"GET " + names[0], "POST", "GET " + names[0],
		"GET " + names[1], "PUT " + names[1], "GET " + names[1],
	}, k.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	for _, plugin := range names {
		if diff := cmp.Diff(shipped(t, plugin), k.schemas[plugin]); diff != "" {
			t.Errorf("%s is not the file that is shipped:\n%s", plugin, diff)
		}
	}
	code, out, _ = upload(t, k, token)
	if want := names[0] + ": unchanged\n" + names[1] + ": unchanged\n"; code != 0 || out != want || len(k.calls) != 2 {
		t.Errorf("again: code %d, %q, %v", code, out, k.calls)
	}
}

func TestOnePluginAlone(t *testing.T) {
	k := &fakeKonnect{}
	if code, out, problems := upload(t, k, token, names[1]); code != 0 || out != names[1]+": created\n" || len(k.schemas) != 1 {
		t.Errorf("code %d, %q, %s", code, out, problems)
	}
}

func TestProblemsAreNamed(t *testing.T) {
	for _, c := range []struct {
		name    string
		konnect *fakeKonnect
		token   string
		want    string
	}{
		{"wrong token", &fakeKonnect{}, "kpat_other", "401 Unauthorized: look at KONNECT_TOKEN"},
		{"it kept something else", &fakeKonnect{change: func(s string) string { return s + "--" }}, token, "yet another one is there"},
		{"refused", &fakeKonnect{answer: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				http.NotFound(w, r)
				return
			}
			http.Error(w, "{\"message\":\"schema\x1b[31m violation\"}", http.StatusBadRequest)
		}}, token, "400 Bad Request: {"},
		{"in trouble", &fakeKonnect{answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }}, token, "502 Bad Gateway"},
		{"not JSON", &fakeKonnect{answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }}, token, "not JSON"},
		{"endless", &fakeKonnect{answer: func(w http.ResponseWriter, _ *http.Request) {
			for range maxAnswer>>10 + 1 {
				_, _ = w.Write(make([]byte, 1<<10))
			}
		}}, token, "too large"},
		{"sent elsewhere", &fakeKonnect{answer: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		}}, token, "302 Found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, problems := upload(t, c.konnect, c.token)
			if code != 1 || out != "" || strings.Count(problems, c.want) != len(names) || strings.Contains(problems, "\x1b") {
				t.Errorf("code %d, %q, %q", code, out, problems)
			}
		})
	}
}

func TestArguments(t *testing.T) {
	const server = "https://us.api.konghq.com"
	for _, c := range []struct {
		token string
		args  []string
		code  int
		want  string
	}{
		{"", []string{"-control-plane", controlPlane}, 2, "KONNECT_TOKEN"},
		{token, nil, 2, "-control-plane"},
		{token, []string{"-control-plane", "../other"}, 2, "-control-plane"},
		{token, []string{"-control-plane", controlPlane, "-server", "http://us.api.konghq.com"}, 2, "https"},
		{token, []string{"-control-plane", controlPlane, "-server", "http://127.0.0.1.example"}, 2, "https"},
		{token, []string{"-control-plane", controlPlane, "-server", "us.api.konghq.com"}, 2, "-server"},
		{token, []string{"-control-plane", controlPlane, "-server", server, "nothing"}, 2, "no plugin"},
		{token, []string{"-nonsense"}, 2, "nonsense"},
		{token, []string{"-h"}, 0, "usage"},
	} {
		var out, problems bytes.Buffer
		if code := run(context.Background(), c.args, c.token, &out, &problems); code != c.code || !strings.Contains(problems.String(), c.want) {
			t.Errorf("%v: code %d, %s", c.args, code, &problems)
		}
	}
}
