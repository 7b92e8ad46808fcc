// SPDX-License-Identifier: Apache-2.0

package airs_test

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

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/airs"
)

func defaults() airs.Config {
	return airs.Config{
		APIKey: "key", ProfileName: "profile",
		APIEndpoint: "https://service.api.aisecurity.paloaltonetworks.com/v1/scan/sync/request",
		MaxRetries:  1,
		Streams:     airs.Streams{Provider: "auto"},
		Settings: policy.Settings{
			RequestMode: policy.Enforce, ResponseMode: policy.Enforce,
			BlockFailures: true, BlockFailuresResponse: true, Timeout: 5 * time.Second, SSLVerify: true,
			MaxRequestBytes: 10 << 20, MaxResponseBytes: 10 << 20,
			RelayTLSVerify: true, StreamScanChars: 400, StreamContextChars: 2000,
		},
	}
}

// config puts fields into a configuration that has what is required.
func config(fields string) []byte {
	return []byte(`{"api_key":"key","profile_name":"profile"` + fields + `}`)
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, fields string
		change       func(*airs.Config)
	}{
		{"defaults", ``, func(*airs.Config) {}},
		{"app name", `,"app_name":"shop"`, func(c *airs.Config) { c.AppName = "shop" }},
		{"as Kong hands it over", `,"app_name":null,"ssl_verify":true,"timeout_ms":5000,"debug":false,"__seq__":3,"__key__":"k","__plugin_id":"p","__ws_id":"w","$refs":{"api_key":"{vault://env/key}"}`, func(*airs.Config) {}},
		{"the Lua plugin's fields", `,"app_name":"a","api_endpoint":"https://service-de.api.aisecurity.paloaltonetworks.com/v1/scan/sync/request","ssl_verify":false,"timeout_ms":2000,"debug":true`, func(c *airs.Config) {
			c.AppName, c.SSLVerify, c.Timeout, c.Debug = "a", false, 2*time.Second, true
			c.APIEndpoint = "https://service-de.api.aisecurity.paloaltonetworks.com/v1/scan/sync/request"
		}},
		{"base URL", `,"api_endpoint":"https://airs.example:8443"`, func(c *airs.Config) {
			c.APIEndpoint = "https://airs.example:8443/v1/scan/sync/request"
		}},
		{"base URL with a slash", `,"api_endpoint":"HTTP://airs.example/"`, func(c *airs.Config) {
			c.APIEndpoint = "http://airs.example/v1/scan/sync/request"
		}},
		{"another path", `,"api_endpoint":"https://gw.example/a%2Fb/scan?x=1"`, func(c *airs.Config) {
			c.APIEndpoint = "https://gw.example/a%2Fb/scan?x=1"
		}},
		{"retries, masks and sessions", `,"max_retries":0,"mask_sensitive_data":true,"session_id_header":"X-Conversation"`, func(c *airs.Config) {
			c.MaxRetries, c.MaskSensitiveData, c.MayMask, c.SessionIDHeader = 0, true, true, "X-Conversation"
		}},
		{"client credentials", `,"oauth_client_id":"me@1.iam.example\n","oauth_client_secret":"s3cret\n"`, func(c *airs.Config) {
			c.OAuthClientID, c.OAuthClientSecret = "me@1.iam.example", "s3cret"
			c.OAuthTokenURL = "https://auth.apps.paloaltonetworks.com/oauth2/access_token"
		}},
		{"client credentials, elsewhere", `,"oauth_client_id":"me","oauth_client_secret":"s","oauth_token_url":"https://idp.example/token","oauth_scope":"tsg_id:7"`, func(c *airs.Config) {
			c.OAuthClientID, c.OAuthClientSecret, c.OAuthTokenURL, c.OAuthScope = "me", "s", "https://idp.example/token", "tsg_id:7"
		}},
		{"detectors that only alert", `,"alert_only_detectors":["dlp","agent"]`, func(c *airs.Config) { c.AlertOnly = []string{"dlp", "agent"} }},
		{"a profile by its id", `,"profile_id":"12345678-0000-1234-1234-12345678901F"`, func(c *airs.Config) { c.ProfileID = "12345678-0000-1234-1234-12345678901F" }},
		{"a profile by claim", `,"profile_claim":"tier","profile_claim_map":{"high":"strict","low":"loose"},"fallback_profile_name":"strict","allowed_profiles":["a","b","a"],"profile_claim_header":"X-Tier"`, func(c *airs.Config) {
			c.ProfileClaim, c.ProfileClaimMap, c.FallbackProfile = "tier", map[string]string{"high": "strict", "low": "loose"}, "strict"
			c.AllowedProfiles, c.ProfileClaimHeader = []string{"a", "b"}, "X-Tier"
		}},
		{"who is reported, and what clients are told", `,"app_user_source":"consumer","send_user_ip":true,"block_message":"No.","set_observability_headers":true`, func(c *airs.Config) {
			c.AppUserIsConsumer, c.SendUserIP, c.BlockMessage, c.TellVerdict = true, true, "No.", true
		}},
		{"the Lua plugin's streams", `,"scan_sse_responses":true,"sse_provider":"auto","sse_max_scan_chars":20000,"sse_truncation_fail_closed":true,"sse_set_observability_headers":false`, func(*airs.Config) {}},
		{"other streams", `,"scan_sse_responses":false,"sse_provider":"openai_responses","sse_max_scan_chars":500.5,"sse_truncation_fail_closed":false,"sse_set_observability_headers":true`, func(c *airs.Config) {
			c.PassStreams, c.Streams = true, airs.Streams{Provider: "openai_responses", MaxChars: 500, PassEnd: true, Tell: true}
		}},
		{"monitor mode", `,"monitor_mode":true`, func(c *airs.Config) {
			c.RequestMode, c.ResponseMode = policy.Monitor, policy.Monitor
		}},
		{"monitor mode, one leg enforced", `,"monitor_mode":true,"request_mode":"enforce"`, func(c *airs.Config) { c.ResponseMode = policy.Monitor }},
		{"modes of legs", `,"request_mode":"monitor","response_mode":"off"`, func(c *airs.Config) {
			c.RequestMode, c.ResponseMode = policy.Monitor, policy.Off
		}},
		{"failures pass", `,"block_failures":false`, func(c *airs.Config) { c.BlockFailures, c.BlockFailuresResponse = false, false }},
		{"failures of answers pass", `,"block_failures_response":false`, func(c *airs.Config) { c.BlockFailuresResponse = false }},
		{"failures of requests pass", `,"block_failures":false,"block_failures_response":true`, func(c *airs.Config) { c.BlockFailures = false }},
		{"the way to the service", `,"ca_file":"/etc/ca.pem","http_proxy":"http://user:pw@proxy.example:3128"`, func(c *airs.Config) {
			c.CAFile, c.HTTPProxy = "/etc/ca.pem", "http://user:pw@proxy.example:3128"
		}},
		{"limits", `,"max_request_body_bytes":1024,"max_response_body_bytes":67108864,"timeout_ms":45000`, func(c *airs.Config) {
			c.MaxRequestBytes, c.MaxResponseBytes, c.Timeout = 1024, 64<<20, 45*time.Second
		}},
		{"what coding programs send", `,"scan_scope":"new","strip_scaffolding":true`, func(c *airs.Config) { c.Scope, c.StripScaffolding = llm.New, true }},
		{"every other choice", `,"keep_buffering":true,"unscannable":"allow","media_parts":"block","stored_context":"block","scan_error_answers":true,"scan_scope":"last_user","mcp_get_stream":"pass","allow_early_mask":true`, func(c *airs.Config) {
			c.KeepBuffering, c.AllowUnscannable, c.BlockMedia, c.BlockStoredContext, c.ScanErrorAnswers = true, true, true, true, true
			c.Scope, c.PassMCPGetStream, c.AllowEarlyMask = llm.LastUser, true, true
		}},
		{"the relay", `,"relay":"on","relay_upstream":"HTTPS://llm.example:8443/openai/%2Fv1//?","relay_tls_verify":false,"relay_ca_file":"/etc/llm.pem","stream_release":"at_once","stream_scan_chars":100,"stream_context_chars":100,"prompt_scan":"beside"`, func(c *airs.Config) {
			c.Relay, c.RelayTLSVerify, c.RelayCAFile = true, false, "/etc/llm.pem"
			c.RelayUpstream = &url.URL{Scheme: "https", Host: "llm.example:8443", Path: "/openai//v1", RawPath: "/openai/%2Fv1"}
			c.ReleaseAtOnce, c.StreamScanChars, c.StreamContextChars, c.PromptBeside = true, 100, 100, true
		}},
		{"blocks as messages", `,"refusal_style":"message"`, func(c *airs.Config) { c.RefuseAsMessage = true }},
		{"blocks as errors", `,"refusal_style":"error"`, func(*airs.Config) {}},
		{"the relay, its defaults written out", `,"relay":"off","relay_tls_verify":true,"stream_release":"scanned","stream_scan_chars":400,"stream_context_chars":2000,"prompt_scan":"before"`, func(*airs.Config) {}},
		{"of a service", `,"service_id":"3f0"`, func(c *airs.Config) { c.Scoped = true }},
		{"of a route", `,"route_id":"3f0"`, func(c *airs.Config) { c.Scoped, c.ScopedToRoute = true, true }},
		{"of a consumer", `,"route_id":null,"consumer_id":"3f0"`, func(c *airs.Config) { c.ScopedToConsumer = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := airs.Decode(config(c.fields))
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

// TestNoProfileIsTold: a configuration without a profile is taken, with a word
// about what it means.
func TestNoProfileIsTold(t *testing.T) {
	for _, fields := range []string{`{"api_key":"key"}`, `{"oauth_client_id":"a","oauth_client_secret":"b"}`} {
		c, err := airs.Decode([]byte(fields))
		if err != nil || c.ProfileName+c.ProfileID != "" {
			t.Fatalf("%+v, %v", c, err)
		}
		if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "profile_name and profile_id are not set") {
			t.Errorf("%s warns of %q", fields, w)
		}
	}
}

func TestDecodeTrimsTheKeyLikeAFile(t *testing.T) {
	c, err := airs.Decode([]byte(`{"api_key":"key\r\n","profile_name":"p"}`))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := c.Key(); key != "key" || err != nil {
		t.Errorf("%q, %v", key, err)
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"nothing", `{}`, "config.api_key is required: set it, or api_key_file, or oauth_client_id"},
		{"a client without a secret", `{"oauth_client_id":"me"}`, "config.oauth_client_secret is required beside oauth_client_id"},
		{"a secret without a client", string(config(`,"oauth_client_secret":"s"`)), "config.oauth_client_id is required beside oauth_client_secret"},
		{"a client with a colon", `{"oauth_client_id":"a:b","oauth_client_secret":"s"}`, "config.oauth_client_id must not hold a colon"},
		{"a token URL that is none", `{"oauth_client_id":"a","oauth_client_secret":"s","oauth_token_url":"idp.example"}`, "config.oauth_token_url must be an http or https URL"},
		{"a token URL without a client", string(config(`,"oauth_token_url":"https://idp.example"`)), "config.oauth_token_url is of no use without"},
		{"a scope without a client", string(config(`,"oauth_scope":"x"`)), "config.oauth_scope is of no use without"},
		{"an unresolved secret", `{"oauth_client_id":"a","oauth_client_secret":"{vault://env/k}"}`, "config.oauth_client_secret still holds a vault reference"},
		{"a detector that nobody knows", string(config(`,"alert_only_detectors":["prompt"]`)), "config.alert_only_detectors"},
		{"a profile id that is none", `{"api_key":"k","profile_id":"strict"}`, "config.profile_id must match"},
		{"a claim's profile without a name", string(config(`,"profile_claim_map":{"a":""}`)), "config.profile_claim_map has a value that must not be empty"},
		{"a stream's format that is none", string(config(`,"sse_provider":"gemini"`)), "config.sse_provider must be one of: auto, openai_chat, openai_responses, anthropic_messages, raw"},
		{"too many characters", string(config(`,"sse_max_scan_chars":20001`)), "config.sse_max_scan_chars must be between 1 and 20000"},
		{"no characters", string(config(`,"sse_max_scan_chars":0`)), "config.sse_max_scan_chars must be between 1 and 20000"},
		{"no key", `{"profile_name":"p"}`, "config.api_key is required: set it, or api_key_file"},
		{"one key twice", `{"profile_name":"p","api_key":"k","api_key":"k"}`, "config must be one JSON object, with no name in it twice"},
		{"two keys", `{"profile_name":"p","api_key":"k","api_key_file":"/k"}`, "config.api_key and api_key_file are both set: remove one of them"},
		{"key from an empty vault", `{"profile_name":"p","api_key":""}`, "config.api_key is empty: if it is a vault reference"},
		{"unresolved key", `{"profile_name":"p","api_key":"{vault://env/k}"}`, "config.api_key still holds a vault reference"},
		{"unresolved endpoint", string(config(`,"api_endpoint":"{vault://env/k}"`)), "config.api_endpoint still holds a vault reference"},
		{"unresolved profile", `{"api_key":"k","profile_name":"{vault://env/k}"}`, "config.profile_name cannot be a vault reference"},
		{"a key with a space", `{"profile_name":"p","api_key":"k k"}`, "config.api_key holds a space"},
		{"a key with a header in it", `{"profile_name":"p","api_key":"k\r\nx: y"}`, "config.api_key holds a space, a line break"},
		{"a key of line breaks", `{"profile_name":"p","api_key":"\n"}`, "config.api_key holds no key"},
		{"empty profile", `{"api_key":"k","profile_name":""}`, "config.profile_name must not be empty"},
		{"long profile", `{"api_key":"k","profile_name":"` + strings.Repeat("p", 101) + `"}`, "config.profile_name must have at most 100 bytes"},
		{"relative key file", `{"profile_name":"p","api_key_file":"key"}`, "config.api_key_file must start with /"},
		{"endpoint without a scheme", string(config(`,"api_endpoint":"airs.example/v1"`)), "config.api_endpoint must be an http or https URL"},
		{"endpoint of another scheme", string(config(`,"api_endpoint":"ftp://airs.example"`)), "config.api_endpoint must be an http or https URL"},
		{"endpoint without a host", string(config(`,"api_endpoint":"https:///v1"`)), "config.api_endpoint must be an http or https URL"},
		{"endpoint that is no URL", string(config(`,"api_endpoint":"https://a b"`)), "config.api_endpoint must be an http or https URL"},
		{"endpoint with a bad port", string(config(`,"api_endpoint":"https://airs.example:65536"`)), "config.api_endpoint must be a URL with a port"},
		{"endpoint with a password", string(config(`,"api_endpoint":"https://u:p@airs.example"`)), "config.api_endpoint must be a URL without a user"},
		{"endpoint with a fragment", string(config(`,"api_endpoint":"https://airs.example#x"`)), "config.api_endpoint must be a URL without a fragment"},
		{"proxy", string(config(`,"http_proxy":"proxy.example:3128"`)), "config.http_proxy must be an http or https URL"},
		{"relay", string(config(`,"relay":true`)), "config.relay must be a string"},
		{"upstream without a scheme", string(config(`,"relay_upstream":"llm.example:443"`)), "config.relay_upstream must be an http or https URL"},
		{"upstream without a host", string(config(`,"relay_upstream":"https:///v1"`)), "config.relay_upstream must be an http or https URL"},
		{"upstream with a bad port", string(config(`,"relay_upstream":"https://llm.example:0"`)), "config.relay_upstream must be a URL with a port"},
		{"upstream with a password", string(config(`,"relay_upstream":"https://u:p@llm.example"`)), "config.relay_upstream must be a URL without a user"},
		{"upstream with a query", string(config(`,"relay_upstream":"https://llm.example/?key=secret"`)), "config.relay_upstream must be a URL without a query"},
		{"upstream with a fragment", string(config(`,"relay_upstream":"https://llm.example#x"`)), "config.relay_upstream must be a URL without a fragment"},
		{"unresolved upstream", string(config(`,"relay_upstream":"{vault://env/llm}"`)), "config.relay_upstream still holds a vault reference"},
		{"upstream from an empty vault", string(config(`,"relay_upstream":""`)), "config.relay_upstream is empty: if it is a vault reference"},
		{"relative CA file of upstreams", string(config(`,"relay_ca_file":"ca.pem"`)), "config.relay_ca_file must start with /"},
		{"release", string(config(`,"stream_release":"now"`)), "config.stream_release must be one of: scanned, at_once"},
		{"windows too small", string(config(`,"stream_scan_chars":99`)), "config.stream_scan_chars must be between 100 and 10000"},
		{"context too large", string(config(`,"stream_context_chars":20001`)), "config.stream_context_chars must be between 100 and 20000"},
		{"prompt scan", string(config(`,"prompt_scan":"after"`)), "config.prompt_scan must be one of: before, beside"},
		{"refusal style", string(config(`,"refusal_style":"turn"`)), "config.refusal_style must be one of: error, message"},
		{"timeout below", string(config(`,"timeout_ms":99`)), "config.timeout_ms must be between 100 and 45000"},
		{"timeout above", string(config(`,"timeout_ms":45001`)), "config.timeout_ms must be between 100 and 45000"},
		{"mode", string(config(`,"request_mode":"block"`)), "config.request_mode must be one of: enforce, monitor, off"},
		{"scope", string(config(`,"scan_scope":"all"`)), "config.scan_scope must be one of: everything, conversation, user, last_user"},
		{"limit", string(config(`,"max_request_body_bytes":0`)), "config.max_request_body_bytes must be between 1024 and 67108864"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := airs.Decode([]byte(c.config))
			if err == nil || got != nil {
				t.Fatalf("accepted: %v, %v", got, err)
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %q, want %q", err, c.want)
			}
		})
	}
}

// TestDocumentedFields holds the schema against the documentation of the
// plugin and of the fields that both plugins share.
func TestDocumentedFields(t *testing.T) {
	schema := airs.Schema()
	var dump struct {
		Fields []map[string]struct {
			Default []string
			Fields  []map[string]map[string]any
		}
		Checks []map[string][]string `json:"entity_checks"`
	}
	if err := json.Unmarshal(schema.Dump(), &dump); err != nil {
		t.Fatal(err)
	}
	fields := map[string]map[string]any{}
	for _, field := range dump.Fields[2]["config"].Fields {
		for name, spec := range field {
			if text, _ := spec["description"].(string); len(text) < 10 {
				t.Errorf("%s: description %q", name, text)
			}
			delete(spec, "description")
			fields[name] = spec
		}
	}
	want := map[string]map[string]any{
		"api_key":      {"type": "string", "referenceable": true, "encrypted": true},
		"api_key_file": {"type": "string", "starts_with": "/"},
		"profile_name": {"type": "string", "len_min": 1.0, "len_max": 100.0},
		"app_name":     {"type": "string"},
		"api_endpoint": {"type": "string", "referenceable": true, "default": "https://service.api.aisecurity.paloaltonetworks.com/v1/scan/sync/request"},
		"ssl_verify":   {"type": "boolean", "default": true},
		"timeout_ms":   {"type": "integer", "default": 5000.0, "between": []any{100.0, 45000.0}},
		"debug":        {"type": "boolean", "default": false},

		"oauth_client_id":               {"type": "string", "referenceable": true},
		"oauth_client_secret":           {"type": "string", "referenceable": true, "encrypted": true},
		"oauth_token_url":               {"type": "string", "referenceable": true},
		"oauth_scope":                   {"type": "string", "len_min": 1.0, "len_max": 500.0},
		"alert_only_detectors":          {"type": "set", "elements": map[string]any{"type": "string", "one_of": []any{"dlp", "injection", "url_cats", "toxic_content", "malicious_code", "source_code", "agent", "topic_violation", "db_security", "ungrounded"}}},
		"profile_id":                    {"type": "string", "match": "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"},
		"profile_claim":                 {"type": "string", "len_min": 1.0, "len_max": 100.0},
		"profile_claim_map":             {"type": "map", "keys": map[string]any{"type": "string"}, "values": map[string]any{"type": "string", "len_min": 1.0, "len_max": 100.0}},
		"fallback_profile_name":         {"type": "string", "len_min": 1.0, "len_max": 100.0},
		"allowed_profiles":              {"type": "set", "elements": map[string]any{"type": "string", "len_min": 1.0, "len_max": 100.0}},
		"profile_claim_header":          {"type": "string", "len_min": 1.0, "len_max": 100.0},
		"app_user_source":               {"type": "string", "default": "service", "one_of": []any{"service", "consumer"}},
		"send_user_ip":                  {"type": "boolean", "default": false},
		"block_message":                 {"type": "string", "len_min": 1.0, "len_max": 500.0},
		"set_observability_headers":     {"type": "boolean", "default": false},
		"scan_sse_responses":            {"type": "boolean", "default": true},
		"sse_provider":                  {"type": "string", "default": "auto", "one_of": []any{"auto", "openai_chat", "openai_responses", "anthropic_messages", "raw"}},
		"sse_max_scan_chars":            {"type": "number", "default": 20000.0, "between": []any{1.0, 20000.0}},
		"sse_truncation_fail_closed":    {"type": "boolean", "default": true},
		"sse_set_observability_headers": {"type": "boolean", "default": false},

		"monitor_mode":            {"type": "boolean", "default": false},
		"monitor_streams":         {"type": "string", "default": "pass", "one_of": []any{"pass", "buffer"}},
		"request_mode":            {"type": "string", "one_of": []any{"enforce", "monitor", "off"}},
		"response_mode":           {"type": "string", "one_of": []any{"enforce", "monitor", "off"}},
		"block_failures":          {"type": "boolean", "default": true},
		"block_failures_response": {"type": "boolean"},
		"ca_file":                 {"type": "string", "starts_with": "/"},
		"http_proxy":              {"type": "string", "referenceable": true},
		"max_request_body_bytes":  {"type": "integer", "default": 10485760.0, "between": []any{1024.0, 67108864.0}},
		"max_response_body_bytes": {"type": "integer", "default": 10485760.0, "between": []any{1024.0, 67108864.0}},
		"keep_buffering":          {"type": "boolean", "default": false},
		"max_retries":             {"type": "integer", "default": 1.0, "between": []any{0.0, 3.0}},
		"mask_sensitive_data":     {"type": "boolean", "default": false},
		"session_id_header":       {"type": "string", "len_min": 1.0, "len_max": 100.0},
		"unscannable":             {"type": "string", "default": "block", "one_of": []any{"block", "allow"}},
		"media_parts":             {"type": "string", "default": "allow", "one_of": []any{"allow", "block"}},
		"stored_context":          {"type": "string", "default": "allow", "one_of": []any{"allow", "block"}},
		"scan_error_answers":      {"type": "boolean", "default": false},
		"scan_scope":              {"type": "string", "default": "everything", "one_of": []any{"everything", "conversation", "user", "last_user", "new"}},
		"strip_scaffolding":       {"type": "boolean", "default": false},
		"mcp_get_stream":          {"type": "string", "default": "refuse", "one_of": []any{"refuse", "pass"}},
		"allow_early_mask":        {"type": "boolean", "default": false},
		"mark_requests":           {"type": "boolean", "default": false},
		"refuse_http2":            {"type": "boolean", "default": false},
		"relay":                   {"type": "string", "default": "off", "one_of": []any{"off", "on"}},
		"relay_upstream":          {"type": "string", "referenceable": true},
		"relay_tls_verify":        {"type": "boolean", "default": true},
		"relay_ca_file":           {"type": "string", "starts_with": "/"},
		"stream_release":          {"type": "string", "default": "scanned", "one_of": []any{"scanned", "at_once"}},
		"stream_scan_chars":       {"type": "integer", "default": 400.0, "between": []any{100.0, 10000.0}},
		"stream_context_chars":    {"type": "integer", "default": 2000.0, "between": []any{100.0, 20000.0}},
		"prompt_scan":             {"type": "string", "default": "before", "one_of": []any{"before", "beside"}},
		"refusal_style":           {"type": "string", "default": "error", "one_of": []any{"error", "message"}},
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	if got := dump.Fields[0]["protocols"].Default; !slices.Equal(got, []string{"grpc", "grpcs", "http", "https"}) {
		t.Errorf("protocols %v", got)
	}
	if _, ok := dump.Fields[1]["consumer"]; !ok {
		t.Error("attachable to a consumer")
	}
	checks := []map[string][]string{
		{"at_least_one_of": {"config.api_key", "config.api_key_file", "config.oauth_client_id"}},
		{"mutually_exclusive": {"config.api_key", "config.api_key_file"}},
	}
	if diff := cmp.Diff(checks, dump.Checks); diff != "" {
		t.Error(diff)
	}
}

func TestWarnings(t *testing.T) {
	const media, stored = "media_parts", "stored_context"
	for _, c := range []struct {
		fields string
		want   []string
	}{
		{``, []string{media, stored}},
		{`,"media_parts":"block"`, []string{stored}},
		{`,"media_parts":"block","stored_context":"block"`, nil},
		{`,"media_parts":"block","request_mode":"off"`, []string{"request_mode"}},
		{`,"api_endpoint":"HTTP://airs.example"`, []string{"api_endpoint", media, stored}},
		{`,"ssl_verify":false`, []string{"ssl_verify", media, stored}},
		{`,"block_failures":false`, []string{"block_failures", "block_failures_response", media, stored}},
		{`,"block_failures_response":false`, []string{"block_failures_response", media, stored}},
		{`,"monitor_mode":true`, []string{"request_mode", "response_mode", media, stored}},
		{`,"response_mode":"off"`, []string{"response_mode", media, stored}},
		{`,"profile_claim":"tier"`, []string{"profile_claim", media, stored}},
		{`,"profile_claim":"tier","allowed_profiles":["a"]`, []string{media, stored}},
		{`,"profile_claim_header":"X-Tier","profile_claim_map":{"a":"b"}`, []string{"profile_claim_header", media, stored}},
		{`,"scan_sse_responses":false,"sse_truncation_fail_closed":false,"set_observability_headers":true`, []string{"scan_sse_responses", "sse_truncation_fail_closed", "set_observability_headers", media, stored}},
		{`,"alert_only_detectors":["dlp"]`, []string{"alert_only_detectors", media, stored}},
		{`,"alert_only_detectors":[]`, []string{media, stored}},
		{`,"oauth_client_id":"a","oauth_client_secret":"b","oauth_token_url":"http://idp.example/"`, []string{"oauth_token_url", media, stored}},
		{`,"unscannable":"allow","scan_scope":"user","mcp_get_stream":"pass","allow_early_mask":true`, []string{"unscannable", "scan_scope", "mcp_get_stream", "allow_early_mask", media, stored}},
		{`,"relay":"on","relay_tls_verify":false,"stream_release":"at_once","prompt_scan":"beside"`, []string{"relay_tls_verify", "stream_release", "prompt_scan", media, stored}},
		{`,"relay_tls_verify":false,"stream_release":"at_once"`, []string{media, stored}},
	} {
		config, err := airs.Decode(config(c.fields))
		if err != nil {
			t.Fatal(err)
		}
		if c.fields == "" && len(config.Warnings()) > 0 {
			t.Errorf("a default start warns of %q", config.Warnings())
		}
		var got []string
		for _, warning := range slices.Concat(config.Warnings(), config.Settings.OpenByDefault()) {
			field, _, _ := strings.Cut(warning, " is ")
			got = append(got, field)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q", c.fields, got)
		}
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	data, err := json.Marshal(map[string]string{"profile_name": "p", "api_key_file": path})
	if err != nil {
		t.Fatal(err)
	}
	c, err := airs.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Key(); err == nil || !strings.HasPrefix(err.Error(), "config.api_key_file: ") {
		t.Fatalf("no file: %v", err)
	}
	for _, step := range []struct{ content, want, problem string }{
		{"first\n", "first", ""},
		{"second", "second", ""},
		{"two words", "", "config.api_key_file holds a space"},
	} {
		if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		c.ReloadKey()
		key, err := c.Key()
		if key != step.want || (err == nil) != (step.problem == "") || err != nil && !strings.HasPrefix(err.Error(), step.problem) {
			t.Errorf("%q: %q, %v", step.content, key, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(config(`,"api_endpoint":"http://[::1]:1/%2f/?","http_proxy":"http://u:p@h"`))
	f.Add(config(`,"scan_scope":"user","timeout_ms":1e3,"service_id":"x","é":{"a":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := airs.Decode(data)
		if err != nil {
			return
		}
		if c.ProfileName == "" && c.ProfileID == "" || len(c.ProfileName) > 100 || (c.APIKey == "") == (c.APIKeyFile == "") ||
			c.Timeout < 100*time.Millisecond || c.Timeout > 45*time.Second || c.RequestMode == "" || c.ResponseMode == "" ||
			!strings.HasPrefix(c.APIEndpoint, "http") || strings.ContainsAny(c.APIKey, " \r\n") || c.MaxRequestBytes < 1024 {
			t.Errorf("accepted %+v", c)
		}
	})
}
