// SPDX-License-Identifier: Apache-2.0

package kong_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakellm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/realkong"
)

// signed is a token as the recipes' identity provider would sign it.
func signed() string {
	part := base64.RawURLEncoding.EncodeToString
	text := part([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part(fmt.Appendf(nil, `{"iss":"https://id.example","team":"support","exp":%d}`, time.Now().Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte("CHANGE-ME"))
	mac.Write([]byte(text))
	return text + "." + part(mac.Sum(nil))
}

// TestRecipes has Kong run each configuration of docs/recipes.md, and refuse what
// is malicious as the page says.
func TestRecipes(t *testing.T) {
	if os.Getenv(asked) == "" || kong == "" {
		t.Skip("no Kong")
	}
	const chat = `{"model":"gpt-4o","messages":[{"role":"user","content":"` + malicious + `"}]}`
	// In the order of the page.
	asks := []struct {
		path, header, value, body string
		status, calls             int
	}{
		{path: "/llm/v1/chat/completions", body: chat, status: 403},
		{path: "/llm/v1/chat/completions", body: chat, status: 400},
		{path: "/chat", header: "Authorization", value: "Bearer " + signed(), body: chat, status: 403},
		{path: "/llm/v1/chat/completions", header: "apikey", value: "CHANGE-ME-1", body: chat, status: 400},
		{path: "/noma/v1/chat/completions", body: chat, status: 400},
		{path: "/llm/v1/chat/completions", body: chat, status: 200, calls: 1},
		{path: "/llm/v1/chat/completions", body: chat, status: 403},
		{
			path: "/tools", header: "Accept", value: "application/json, text/event-stream", status: 403,
			body: `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"cook","arguments":{"dish":"` + malicious + `"}}}`,
		},
		{path: "/anthropic/v1/messages", header: "Anthropic-Version", value: "2023-06-01", body: `{"max_tokens":9,` + chat[1:], status: 200},
		{path: "/chat", body: chat, status: 403},
	}
	page, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != len(asks) {
		t.Fatalf("%d recipes, %d requests", len(blocks), len(asks))
	}
	for name, value := range map[string]string{"PRISMA_AIRS_API_KEY": "key", "NOMA_CLIENT_ID": "id", "NOMA_CLIENT_SECRET": "s3cret", "OPENAI_AUTHORIZATION": "Bearer key"} {
		t.Setenv(name, value)
	}
	serve := func(h http.Handler) string {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		return server.URL
	}
	airs := serve(fakeairs.New(fakeairs.Options{Keys: []string{"key"}}))
	nomaURL := serve(fakenoma.New(fakenoma.Options{ClientID: "id", ClientSecret: "s3cret"}))
	for i, block := range blocks {
		var config entity
		if err := yaml.Unmarshal([]byte(block[1]), &config); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(block[1], "name: ai-proxy") && !hasAIProxy(t) {
			continue
		}
		// Where Kong has the model's key, the model asks for it.
		keyed := strings.Contains(block[1], "openai-authorization")
		var keys []string
		if keyed {
			keys = []string{"key"}
		}
		llm := fakellm.New(fakellm.Options{Keys: keys})
		leadTo(t, config, serve(llm), airs, nomaURL)
		dir, err := os.MkdirTemp("", "k")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		k, err := realkong.Start(t.Context(), dir, realkong.Options{
			Bin: kong, Config: config,
			Servers: []realkong.Server{{Path: filepath.Join(binaries, prisma)}, {Path: filepath.Join(binaries, noma)}},
		})
		if err != nil {
			t.Errorf("%s\n%v", block[1], err)
			continue
		}
		ask := asks[i]
		send := func(body string) (status, calls int) {
			llm.Forget()
			for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, k.URL+ask.path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Content-Type", "application/json")
				if ask.header != "" {
					request.Header.Set(ask.header, ask.value)
				}
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				// Kong takes requests before it has started the plugin servers.
				if status = response.StatusCode; status != http.StatusInternalServerError || time.Now().After(end) {
					return status, len(llm.Requests())
				}
			}
		}
		if status, calls := send(ask.body); status != ask.status || calls != ask.calls {
			t.Errorf("%s\n%s: %d after %d calls of the model, want %d after %d\n%s", block[1], ask.path, status, calls, ask.status, ask.calls, k.Log())
		}
		if keyed {
			if status, calls := send(strings.ReplaceAll(ask.body, malicious, harmless)); status != http.StatusOK || calls != 1 {
				t.Errorf("%s\n%s, harmless: %d after %d calls of the model\n%s", block[1], ask.path, status, calls, k.Log())
			}
		}
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// leadTo has a recipe's services and plugins ask the stand-ins.
func leadTo(t *testing.T, config entity, model, airs, nomaURL string) {
	t.Helper()
	plugins := func(holder entity) {
		all, _ := holder["plugins"].([]any)
		for _, p := range all {
			plugin := p.(entity)
			c, _ := plugin["config"].(entity)
			switch plugin["name"] {
			case prisma:
				c["api_endpoint"] = airs
			case noma:
				c["api_base"] = nomaURL
			case "ai-proxy":
				c["model"].(entity)["options"] = entity{"upstream_url": model + "/v1/chat/completions"}
			}
		}
	}
	for _, s := range config["services"].([]any) {
		service := s.(entity)
		u, err := url.Parse(service["url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		service["url"] = model + u.Path
		plugins(service)
		for _, r := range service["routes"].([]any) {
			plugins(r.(entity))
		}
	}
}
