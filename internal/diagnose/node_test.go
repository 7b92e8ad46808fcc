// SPDX-License-Identifier: Apache-2.0

package diagnose_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/diagnose"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

// An admin is an Admin API as a Kong of one worker has it: / fails there.
type admin struct {
	version string
	token   string // that it wants, "" for none
	enabled []string
	schema  json.RawMessage
	// entities are by kind; pages holds so many of them.
	entities map[string][]map[string]any
	page     int
	root     string
}

func (a *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "kong/"+a.version)
	give := func(v any) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(v)
	}
	path := strings.TrimPrefix(r.URL.Path, "/team")
	kind := strings.TrimPrefix(path, "/")
	entities, ok := a.entities[kind]
	switch {
	case a.token != "" && r.Header.Get("Kong-Admin-Token") != a.token:
		w.WriteHeader(http.StatusUnauthorized)
		give(map[string]string{"message": "Unauthorized"})
	case path == "/" && a.root != "":
		_, _ = w.Write([]byte(a.root))
	case path == "/":
		w.WriteHeader(http.StatusInternalServerError)
		give(map[string]string{"message": "An unexpected error occurred"})
	case path == "/plugins/enabled":
		give(map[string]any{"enabled_plugins": a.enabled})
	case strings.HasPrefix(path, "/schemas/plugins/") && a.schema != nil:
		give(a.schema)
	case ok:
		from := 0
		_, _ = fmt.Sscan(r.URL.Query().Get("offset"), &from)
		to := min(from+a.page, len(entities))
		answer := map[string]any{"data": entities[from:to], "next": nil}
		if to < len(entities) {
			answer["offset"], answer["next"] = fmt.Sprint(to), "/"+kind
		}
		give(answer)
	default:
		w.WriteHeader(http.StatusNotFound)
		give(map[string]string{"message": "Not found"})
	}
}

// TestCheckOfARunningKong: what a running Kong does is judged as a file with the
// same is, and the scan service is asked.
func TestCheckOfARunningKong(t *testing.T) {
	service := httptest.NewServer(fakeairs.New(fakeairs.Options{Keys: []string{"good"}, Profiles: []string{"p"}}))
	defer service.Close()
	const name = "prisma-airs-intercept"
	ours := func(fields map[string]any) map[string]any {
		config := map[string]any{"api_key": "{vault://env/airs-key}", "profile_name": "p", "api_endpoint": service.URL, "app_name": nil}
		for field, v := range fields {
			config[field] = v
		}
		return map[string]any{
			"id": "3", "name": name, "enabled": true, "service": nil, "consumer": nil, "tags": nil, "instance_name": nil, "created_at": 1,
			"protocols": []string{"grpc", "grpcs", "http", "https"}, "route": map[string]string{"id": "2"}, "config": config,
		}
	}
	kong := func(version string, plugins ...map[string]any) *admin {
		return &admin{version: version, enabled: []string{"key-auth", name}, page: 1, schema: plugin(t, "airs", nil).Schema.Dump(), entities: map[string][]map[string]any{
			"services": {{"id": "1", "name": "llm", "protocol": "http", "host": "llm.example", "port": 80}},
			"routes": {
				{"id": "2", "name": "chat", "service": map[string]string{"id": "1"}, "protocols": []string{"http"}},
				{"id": "4", "name": "bare", "service": map[string]string{"id": "1"}, "protocols": []string{"http"}},
			},
			"plugins": plugins, "consumers": nil, "upstreams": nil,
		}}
	}
	lua := kong("3.9.1", ours(nil))
	lua.schema = json.RawMessage(`{"fields":[{"protocols":{"type":"set"}},{"config":{"type":"record","fields":[{"api_key":{"type":"string"}},{"their_own":{"type":"string"}}]}}]}`)
	unloaded := kong("3.9.1")
	unloaded.enabled, unloaded.schema = []string{"key-auth"}, nil
	guarded := kong("3.9.1", ours(nil))
	guarded.token = "token"
	told := kong("3.9.1", ours(nil))
	told.root = `{"version":"3.9.1","configuration":{"nginx_http_client_body_buffer_size":"1m"}}`
	good := map[string]string{"AIRS_KEY": "good", "KONG_ADMIN_TOKEN": "token"}
	for _, c := range []struct {
		name      string
		kong      http.Handler
		path      string
		env       map[string]string
		code      int
		want, not []string
	}{
		{"sound", kong("3.9.1", ours(nil)), "", good, 0, []string{
			"a running Kong, 1 configuration of " + name, name + " on route chat", "the scan service answers from here in",
			"routes without " + name + ": bare", "Kong 3.9.1 ends an exchange", "not to be seen from here: Kong's client_body_buffer_size",
		}, []string{"not known here", "error   ", "another " + name}},
		{"in a workspace", kong("3.9.1", ours(nil)), "/team", good, 0, []string{"the scan service answers"}, nil},
		{"it tells its buffer", told, "", good, 0, []string{"client_body_buffer_size is 1m"}, []string{"not to be seen"}},
		{"a token", guarded, "", good, 0, []string{"the scan service answers"}, []string{"token"}},
		{"no token", guarded, "", nil, 2, []string{"answers with status 401: set KONG_ADMIN_TOKEN"}, nil},
		{"key unknown here", kong("3.9.1", ours(nil)), "", nil, 0, []string{"config.api_key is not known here", "the scan service was not asked"}, nil},
		{"key refused", kong("3.9.1", ours(nil)), "", map[string]string{"AIRS_KEY": "wrong-secret"}, 2, []string{"gives no verdict from here: misconfigured", "look at config.api_key"}, []string{"wrong-secret"}},
		{"profile unknown", kong("3.9.1", ours(map[string]any{"profile_name": "other"})), "", good, 2, []string{"gives no verdict from here"}, nil},
		{"service away", kong("3.9.1", ours(map[string]any{"api_endpoint": "http://127.0.0.1:1"})), "", good, 2, []string{"gives no verdict from here: no_verdict"}, nil},
		{"weak", kong("3.9.1", ours(map[string]any{"block_failures": false})), "", good, 0, []string{"block_failures is false"}, nil},
		{"neighbour", kong("3.9.1", ours(nil), map[string]any{"id": "5", "name": "ai-proxy", "route": map[string]string{"id": "2"}, "enabled": true, "config": map[string]any{}}), "", good, 0, []string{"ai-proxy may switch response buffering off"}, nil},
		{"old", kong("3.4.2", ours(nil)), "", good, 0, []string{"Kong 3.4.2 sends requests on when a plugin server fails", "Kong 3.4.2 shows no plugin the answer to an HTTP/2 request"}, nil},
		{"old Enterprise", kong("3.12.0.1-enterprise-edition", ours(nil)), "", good, 0, []string{"Kong 3.12.0.1-enterprise-edition sends requests on"}, []string{"HTTP/2"}},
		{"new Enterprise", kong("3.14.0.0-enterprise-edition", ours(nil)), "", good, 0, []string{"ends an exchange"}, nil},
		{"no version", kong("", ours(nil)), "", good, 0, []string{"does not say its version"}, nil},
		{"another plugin of the name", lua, "", good, 0, []string{"runs another " + name, "it lacks the fields", "allow_early_mask", "and has their_own beside them"}, nil},
		{"not loaded", unloaded, "", good, 2, []string{"has not loaded " + name, "nothing is scanned"}, nil},
		{"no Admin API", http.NotFoundHandler(), "", good, 2, []string{"answers with status 404: is this Kong's Admin API?"}, nil},
		{"no JSON", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }), "", good, 2, []string{"no JSON"}, nil},
		{"led elsewhere", http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound), "", good, 2, []string{"answers with status 302"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := httptest.NewServer(c.kong)
			defer at.Close()
			var out bytes.Buffer
			if code := diagnose.Check(t.Context(), plugin(t, "airs", c.env), at.URL+c.path, &out, &out); code != c.code {
				t.Errorf("code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("says %q", not)
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

// TestNodeWithoutEnd: an Admin API that gives page after page is not read for
// ever.
func TestNodeWithoutEnd(t *testing.T) {
	pages := 0
	page := `{"enabled_plugins":[],"data":[],"offset":"more","pad":"` + strings.Repeat("x", 48<<20) + `"}`
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages++
		_, _ = io.WriteString(w, page)
	}))
	defer api.Close()
	var out bytes.Buffer
	if code := diagnose.Check(t.Context(), plugin(t, "airs", nil), api.URL, &out, &out); code != 2 || !strings.Contains(out.String(), "answers of over 256 MiB") || pages > 6 {
		t.Errorf("code %d after %d pages: %s", code, pages, out.String())
	}
}
