// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/noma"
)

func defaults() noma.Config {
	return noma.Config{
		APIBase: "https://api.noma.security", ClientID: "id", ClientSecret: "secret", ScanPath: "/ai-dr/v2/prompt/scan",
		Settings: policy.Settings{
			RequestMode: policy.Enforce, ResponseMode: policy.Enforce,
			BlockFailures: true, BlockFailuresResponse: true, Timeout: 10 * time.Second, SSLVerify: true,
			MaxRequestBytes: 10 << 20, MaxResponseBytes: 10 << 20,
			RelayTLSVerify: true, StreamScanChars: 400, StreamContextChars: 2000,
		},
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, config string
		change       func(*noma.Config)
	}{
		{"defaults", `{"client_ID":"id","client_secret":"secret"}`, func(*noma.Config) {}},
		{"as Kong hands it over", `{"API_base":"https://api.noma.security","client_ID":"id","client_secret":"secret","monitor_mode":false,"application_ID":null,"application_id":null,"__seq__":1}`, func(*noma.Config) {}},
		{"the documented example", `{"API_base":"https://api.noma.cloud","monitor_mode":true,"application_id":"app","client_id":"id","client_secret":"secret"}`, func(c *noma.Config) {
			c.APIBase, c.ApplicationID, c.RequestMode, c.ResponseMode = "https://api.noma.cloud", "app", policy.Monitor, policy.Monitor
		}},
		{"alias beats the default that Kong filled in", `{"API_base":"https://api.noma.security","api_base":"https://noma.example","client_id":"id","client_secret":"secret"}`, func(c *noma.Config) {
			c.APIBase = "https://noma.example"
		}},
		{"both spellings, one value", `{"API_base":"https://noma.example","api_base":"https://noma.example","application_ID":"a","application_id":"a","client_ID":"id","client_id":"id","client_secret":"secret"}`, func(c *noma.Config) {
			c.APIBase, c.ApplicationID = "https://noma.example", "a"
		}},
		{"the relay", `{"client_ID":"id","client_secret":"secret","relay":"on","relay_upstream":"http://llm.internal:8080/v1","relay_ca_file":"/etc/llm.pem"}`, func(c *noma.Config) {
			c.Relay, c.RelayCAFile = true, "/etc/llm.pem"
			c.RelayUpstream = &url.URL{Scheme: "http", Host: "llm.internal:8080", Path: "/v1"}
		}},
		{"slash and query mark at the end of the base", `{"API_base":"HTTPS://noma.example/eu//?","client_ID":"id","client_secret":"secret"}`, func(c *noma.Config) {
			c.APIBase = "https://noma.example/eu"
		}},
		{"a blank application is none", `{"application_ID":"  ","client_ID":"id","client_secret":"secret"}`, func(*noma.Config) {}},
		{"secret in a file", `{"client_ID":"id","client_secret_file":"/run/secret"}`, func(c *noma.Config) {
			c.ClientSecret, c.ClientSecretFile = "", "/run/secret"
		}},
		{"a line break after the id and the secret", `{"client_ID":"id\n","client_secret":"secret\n"}`, func(*noma.Config) {}},
		{"no credentials for another host", `{"API_base":"http://noma.internal:8080"}`, func(c *noma.Config) {
			c.APIBase, c.ClientID, c.ClientSecret = "http://noma.internal:8080", "", ""
		}},
		{"a key instead of credentials", `{"api_key":"key\n"}`, func(c *noma.Config) {
			c.ClientID, c.ClientSecret, c.APIKey = "", "", "key"
		}},
		{"paths of another deployment", `{"client_ID":"id","client_secret":"secret","token_url":"https://id.example/token?v=2","scan_path":"/scan","anonymize_input":true}`, func(c *noma.Config) {
			c.TokenURL, c.ScanPath, c.AnonymizeInput, c.MayMask = "https://id.example/token?v=2", "/scan", true, true
		}},
		{"what clients may say and learn", `{"client_ID":"id","client_secret":"secret","trust_client_application_id":true,"block_details":"detectors","send_client_ip":false,"monitor_streams":"buffer"}`, func(c *noma.Config) {
			c.TrustClientApplication, c.ShowDetectors, c.SkipClientIP, c.BufferMonitoredStreams = true, true, true, true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := noma.Decode([]byte(c.config))
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			c.change(&want)
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"nothing", `{}`, "config.client_ID and client_secret are required for api.noma.security: set both"},
		{"nothing, the vendor's host in capitals", `{"API_base":"https://API.noma.security:443/"}`, "config.client_ID and client_secret are required"},
		{"no secret", `{"client_ID":"id"}`, "config.client_secret is required with client_ID: set it, or client_secret_file"},
		{"no id", `{"client_secret":"s"}`, "config.client_ID is required with a client secret"},
		{"no id for a file", `{"client_secret_file":"/s"}`, "config.client_ID is required with a client secret"},
		{"a secret of line breaks", `{"client_ID":"id","client_secret":"\n"}`, "config.client_secret is required with client_ID"},
		{"two secrets", `{"client_ID":"id","client_secret":"s","client_secret_file":"/s"}`, "config.client_secret and client_secret_file are both set"},
		{"two values", `{"client_ID":"id","client_id":"di","client_secret":"s"}`, "config.client_id differs from client_ID"},
		{"two applications", `{"application_ID":"a","application_id":"b","client_ID":"id","client_secret":"s"}`, "config.application_id differs from application_ID"},
		{"alias at the default", `{"API_base":"https://noma.example","api_base":"https://api.noma.security"}`, "config.api_base differs from API_base"},
		{"secret from an empty vault", `{"client_ID":"id","client_secret":""}`, "config.client_secret is empty: if it is a vault reference"},
		{"base from an empty vault", `{"API_base":"","client_ID":"id","client_secret":"s"}`, "config.API_base is empty"},
		{"unresolved secret", `{"client_ID":"id","client_secret":"{vault://env/s}"}`, "config.client_secret still holds a vault reference"},
		{"unresolved id in the other spelling", `{"client_id":"{vault://env/s}","client_secret":"s"}`, "config.client_id still holds a vault reference"},
		{"base without a scheme", `{"API_base":"api.noma.security"}`, "config.API_base must be an http or https URL"},
		{"base with a query", `{"API_base":"https://noma.example/?a=b"}`, "config.API_base must be a URL without a query"},
		{"long application", `{"application_ID":"` + strings.Repeat("é", 101) + `","client_ID":"id","client_secret":"s"}`, "config.application_ID must be at most 100 characters"},
		{"application with a line break", `{"application_id":"a\nb","client_ID":"id","client_secret":"s"}`, "config.application_ID must be at most 100 characters"},
		{"a key that is no header", `{"api_key":"a b"}`, "config.api_key must be printable ASCII"},
		{"token URL with a password", `{"client_ID":"id","client_secret":"s","token_url":"https://a:b@id.example"}`, "config.token_url must be a URL without a user"},
		{"scan path with a query", `{"client_ID":"id","client_secret":"s","scan_path":"/scan?a=b"}`, "config.scan_path must be a path without a query"},
		{"scan path without a slash", `{"client_ID":"id","client_secret":"s","scan_path":"scan"}`, "config.scan_path"},
		{"monitor mode as text", `{"monitor_mode":"true","client_ID":"id","client_secret":"s"}`, "config.monitor_mode must be true or false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := noma.Decode([]byte(c.config))
			if err == nil || got != nil {
				t.Fatalf("accepted: %v, %v", got, err)
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %q, want %q", err, c.want)
			}
		})
	}
}

type dump struct {
	Fields []map[string]struct {
		Default []string
		Fields  []map[string]map[string]any
	}
}

func configFields(t *testing.T, data []byte) map[string]map[string]any {
	t.Helper()
	var d dump
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	fields := map[string]map[string]any{}
	for _, field := range d.Fields[len(d.Fields)-1]["config"].Fields {
		for name, spec := range field {
			fields[name] = spec
		}
	}
	return fields
}

// TestDocumentedFields holds the schema against the plugin's documentation.
func TestDocumentedFields(t *testing.T) {
	schema := noma.Schema()
	fields := configFields(t, schema.Dump())
	for name, spec := range map[string]map[string]any{
		"API_base":           {"type": "string", "referenceable": true, "default": "https://api.noma.security"},
		"application_ID":     {"type": "string"},
		"client_ID":          {"type": "string", "referenceable": true},
		"client_secret":      {"type": "string", "referenceable": true, "encrypted": true},
		"client_secret_file": {"type": "string", "starts_with": "/"},
		"api_base":           {"type": "string", "referenceable": true},
		"application_id":     {"type": "string"},
		"client_id":          {"type": "string", "referenceable": true},
		"api_key":            {"type": "string", "referenceable": true, "encrypted": true},
		"token_url":          {"type": "string", "referenceable": true},
		"scan_path":          {"type": "string", "starts_with": "/", "default": "/ai-dr/v2/prompt/scan"},
		"anonymize_input":    {"type": "boolean", "default": false},
		"timeout_ms":         {"type": "integer", "default": 10000.0, "between": []any{100.0, 45000.0}},
	} {
		got := fields[name]
		if text, _ := got["description"].(string); len(text) < 10 {
			t.Errorf("%s: description %q", name, text)
		}
		delete(got, "description")
		if diff := cmp.Diff(spec, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	var d dump
	if err := json.Unmarshal(schema.Dump(), &d); err != nil {
		t.Fatal(err)
	}
	if got := d.Fields[0]["protocols"].Default; !slices.Equal(got, []string{"http", "https"}) {
		t.Errorf("protocols %v", got)
	}
	if len(d.Fields) != 2 {
		t.Error("not attachable to everything")
	}
}

func TestWarnings(t *testing.T) {
	c, err := noma.Decode([]byte(`{"API_base":"HTTP://noma.internal","media_parts":"block"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "API_base is an http URL") {
		t.Errorf("%q", got)
	}
	c, err = noma.Decode([]byte(`{"client_ID":"i","client_secret":"s","api_key":"k","token_url":"http://id.example","media_parts":"block"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Warnings(); len(got) != 2 || !strings.HasPrefix(got[0], "token_url is an http URL") || !strings.HasPrefix(got[1], "api_key is set beside client_ID") {
		t.Errorf("%q", got)
	}
}

func TestWarningsOfTrust(t *testing.T) {
	c, err := noma.Decode([]byte(`{"client_ID":"i","client_secret":"s","trust_client_application_id":true,"block_details":"detectors","media_parts":"block"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Warnings(); len(got) != 2 || !strings.HasPrefix(got[0], "trust_client_application_id is true") || !strings.HasPrefix(got[1], "block_details is detectors") {
		t.Errorf("%q", got)
	}
}

func TestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	data, err := json.Marshal(map[string]string{"client_ID": "id", "client_secret_file": path})
	if err != nil {
		t.Fatal(err)
	}
	c, err := noma.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Secret(); err == nil || !strings.HasPrefix(err.Error(), "config.client_secret_file: ") {
		t.Fatalf("no file: %v", err)
	}
	for _, content := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.ReloadSecret()
		if secret, err := c.Secret(); secret != content || err != nil {
			t.Errorf("%q: %q, %v", content, secret, err)
		}
	}
	inline := defaults()
	inline.ReloadSecret()
	if secret, err := inline.Secret(); secret != "secret" || err != nil {
		t.Errorf("%q, %v", secret, err)
	}
}

// TestMigrationNamesFields: what docs/migrate-from-litellm.md sends its readers
// to is there.
func TestMigrationNamesFields(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrate-from-litellm.md")
	if err != nil {
		t.Fatal(err)
	}
	schema := noma.Schema()
	fields := configFields(t, schema.Dump())
	for _, name := range []string{
		"api_key", "api_base", "client_id", "client_secret", "client_secret_file", "token_url", "application_id", "scan_path",
		"monitor_mode", "monitor_streams", "block_failures", "block_failures_response", "anonymize_input",
		"request_mode", "response_mode", "timeout_ms", "trust_client_application_id", "block_details",
	} {
		if fields[name] == nil || !strings.Contains(string(page), "`"+name) {
			t.Errorf("%s is not a field, or not on the page", name)
		}
	}
	for _, variable := range []string{"KEY", "BASE", "APPLICATION_ID", "MONITOR_MODE", "BLOCK_FAILURES", "ANONYMIZE_INPUT", "CLIENT_ID", "CLIENT_SECRET", "TOKEN_URL"} {
		name := "NOMA_" + variable
		if variable == "KEY" || variable == "BASE" {
			name = "NOMA_API_" + variable
		}
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("%s is not on the page", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"API_base":"https://a","api_base":"https://b","client_id":"i","client_secret":"s"}`))
	f.Add([]byte(`{"client_ID":"i","client_secret_file":"/s","application_id":" ","route_id":"r"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := noma.Decode(data)
		if err != nil {
			return
		}
		secret := c.ClientSecret != "" || c.ClientSecretFile != ""
		if !strings.HasPrefix(c.APIBase, "http") || strings.HasSuffix(c.APIBase, "/") || (c.ClientID != "") != secret ||
			c.ApplicationID != strings.TrimSpace(c.ApplicationID) || c.RequestMode == "" {
			t.Errorf("accepted %+v", c)
		}
	})
}
