// SPDX-License-Identifier: Apache-2.0

package diagnose_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/diagnose"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/airs"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/noma"
)

// plugin returns one of the two, with an environment.
func plugin(t testing.TB, vendor string, env map[string]string) *diagnose.Plugin {
	t.Helper()
	p := airs.Plugin()
	if vendor == "noma" {
		p = noma.Plugin()
	}
	return &diagnose.Plugin{
		Name: p.Vendor.Plugin, Priority: p.Priority, Vendor: p.Vendor, Schema: p.Schema(),
		Configure: func(config []byte) (diagnose.Instance, error) {
			made, err := p.Configure(config, func(bool, string) {})
			return diagnose.Instance{Settings: made.Settings, Needs: made.Needs, Scanner: made.Scanner, Warnings: made.Warnings}, err
		},
		Env: func(name string) (string, bool) {
			v, ok := env[name]
			return v, ok
		},
	}
}

func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// example is a file of the repository.
func example(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func check(t testing.TB, p *diagnose.Plugin, content string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = diagnose.Check(t.Context(), p, write(t, content), &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

// TestCheckTellsWhatIsWrong: each fault with its field and its cure, in each
// kind of file.
func TestCheckTellsWhatIsWrong(t *testing.T) {
	route := func(plugins string) string {
		return "_format_version: '3.0'\nservices:\n- name: llm\n  url: http://llm.example\n  routes:\n  - name: chat\n    paths: [/chat]\n    plugins:\n" + plugins
	}
	for _, c := range []struct {
		name, vendor, file string
		env                map[string]string
		code               int
		want, not          []string
	}{
		{name: "bare configuration in JSON", vendor: "airs", file: `{"api_key":"k","profile_name":"p"}`, want: []string{"the configuration of prisma-airs-intercept", "0 errors", "api_key stands in the file in plain text"}},
		{name: "bare configuration in YAML", vendor: "airs", file: "api_key: '{vault://env/k}'\nprofile_name: p\n", want: []string{"config.api_key is not known here: it comes from {vault://env/k}"}, not: []string{"plain text"}},
		{name: "plugin entity", vendor: "noma", file: `{"name":"noma-runtime-protection","config":{"client_id":"{vault://hcv/noma/id}","client_secret":"{vault://hcv/noma/secret}"}}`, want: []string{"one plugin", "config.client_id is not known here", "0 errors"}},
		{name: "missing", vendor: "airs", file: `{}`, code: 2, want: []string{"config.api_key is required: set it, or api_key_file, or oauth_client_id and its secret"}},
		{name: "unknown field", vendor: "airs", file: `{"api_key":"k","profile_nme":"p","profile_name":"p"}`, code: 2, want: []string{"config.profile_nme: unknown field: did you mean profile_name?"}},
		{name: "bounds", vendor: "airs", file: `{"api_key":"k","profile_name":"p","timeout_ms":7}`, code: 2, want: []string{"config.timeout_ms must be between 100 and 45000 (Kong: value should be between 100 and 45000)"}},
		{name: "type", vendor: "airs", file: `{"api_key":"k","profile_name":"p","ssl_verify":"yes"}`, code: 2, want: []string{"config.ssl_verify must be true or false (Kong: expected a boolean)"}},
		{name: "reference in a wrong field", vendor: "airs", file: `{"api_key":"k","profile_name":"{vault://env/p}"}`, code: 2, want: []string{"config.profile_name cannot be a vault reference"}},
		{name: "both secrets", vendor: "airs", file: `{"api_key":"k","api_key_file":"/k","profile_name":"p"}`, code: 2, want: []string{"config.api_key and api_key_file are both set"}},
		{name: "resolved badly", vendor: "airs", file: `{"api_key":"{vault://env/my-key}","profile_name":"p"}`, env: map[string]string{"MY_KEY": "two words"}, code: 2, want: []string{"config.api_key holds a space"}, not: []string{"two words"}},
		{name: "consumer", vendor: "airs", file: "_format_version: '3.0'\nconsumers:\n- username: alice\n  plugins:\n  - name: prisma-airs-intercept\n    config: {api_key: k, profile_name: p}\n", code: 2, want: []string{"consumer: value must be null"}},
		{name: "protocols", vendor: "noma", file: route("    - name: noma-runtime-protection\n      protocols: [http, tcp]\n      config: {client_id: a, client_secret: b}\n"), code: 2, want: []string{"protocols.2: expected one of: http, https"}},
		{name: "twice in a scope", vendor: "airs", file: route("    - {name: prisma-airs-intercept, config: {api_key: k, profile_name: p}}\n    - {name: prisma-airs-intercept, config: {api_key: k, profile_name: q}}\n"), code: 2, want: []string{"this scope has a configuration"}},
		{name: "what is the same of each", vendor: "airs", file: route("    - name: prisma-airs-intercept\n      config: {api_key: '{vault://env/k}', profile_name: p}\n") +
			"  - name: other\n    paths: [/other]\n    plugins:\n    - name: prisma-airs-intercept\n      config: {api_key: '{vault://env/k}', profile_name: p, block_failures: false}\n", want: []string{
			"\nall 2 configurations of prisma-airs-intercept\n  warning  media_parts is allow",
			"\nprisma-airs-intercept on route chat\n  nothing more\n",
			"\nprisma-airs-intercept on route other\n  warning  block_failures is false",
			"0 errors, 4 warnings",
		}},
		{name: "decK, not set", vendor: "airs", file: route("    - name: prisma-airs-intercept\n      config:\n        api_key: \"${{ env \"DECK_KEY\" }}\"\n        profile_name: ${{ env \"DECK_PROFILE\" }}\n        timeout_ms: ${{ env \"DECK_TIMEOUT\" | toInt }}\n"), want: []string{
			`config.api_key is not known here: it comes from ${{ env "DECK_KEY" }}`, "config.profile_name is not known here", "config.timeout_ms is not known here", "0 errors",
		}, not: []string{"plain text"}},
		{name: "decK, set", vendor: "airs", file: route("    - name: prisma-airs-intercept\n      config:\n        api_key: '{vault://env/k}'\n        profile_name: p\n        timeout_ms: ${{ env \"DECK_TIMEOUT\" | toInt }}\n"), env: map[string]string{"DECK_TIMEOUT": "7"}, code: 2, want: []string{"config.timeout_ms must be between"}},
		{name: "decK, shared configuration", vendor: "airs", file: "_format_version: '3.0'\n_plugin_configs:\n  base: {api_key: '{vault://env/k}', profile_name: p}\nplugins:\n- name: prisma-airs-intercept\n  _config: base\n  config: {block_failures: false}\n", want: []string{"block_failures is false", "0 errors"}},
		{name: "Kubernetes", vendor: "airs", file: "apiVersion: v1\nkind: Secret\n---\napiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nplugin: prisma-airs-intercept\nconfig: {api_key: '{vault://env/k}', profile_name: p, unscannable: allow}\n", want: []string{"Kubernetes resources", "unscannable is allow"}},
		{name: "Kubernetes, from a secret", vendor: "airs", file: "apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nplugin: prisma-airs-intercept\nconfigFrom: {secretKeyRef: {name: a, key: b}}\n", want: []string{"not checked: its configuration comes from configFrom"}},
		{name: "CA file elsewhere", vendor: "airs", file: `{"api_key":"k","profile_name":"p","ca_file":"/no/such/ca.pem"}`, want: []string{"config.ca_file cannot be used here"}},
		{name: "CA file of upstreams that nobody reads", vendor: "noma", file: `{"api_key":"k","relay_ca_file":"/no/such/ca.pem"}`, want: []string{"note     relay_ca_file has no effect: relay is off"}, not: []string{"cannot be used"}},
		{name: "upstream that is none", vendor: "airs", file: `{"api_key":"k","profile_name":"p","relay":"on","relay_upstream":"https://my-secret@llm.example"}`, code: 2, want: []string{"config.relay_upstream must be a URL without a user and password"}, not: []string{"my-secret"}},
		{name: "no effect", vendor: "airs", file: `{"api_key":"k","profile_name":"p","relay_upstream":"https://llm.example","relay_tls_verify":false,"stream_release":"at_once","stream_scan_chars":401,"stream_context_chars":100}`, want: []string{
			"relay_upstream has no effect", "relay_tls_verify has no effect", "stream_release has no effect", "stream_scan_chars has no effect", "stream_context_chars has no effect", "0 errors, 3 warnings",
		}},
		{name: "no effect for its mode", vendor: "airs", file: `{"api_key":"k","profile_name":"p","monitor_mode":true,"relay":"on","stream_release":"at_once","prompt_scan":"beside"}`, want: []string{
			"stream_release has no effect: response_mode is monitor", "prompt_scan has no effect: request_mode is monitor",
		}, not: []string{"is at_once:", "is beside:"}},
		{name: "nothing to relay", vendor: "airs", file: `{"api_key":"k","profile_name":"p","request_mode":"off","response_mode":"off","relay":"on"}`, want: []string{"relay has no effect: neither requests nor answers are scanned"}},
		{name: "a refused prompt comes again", vendor: "airs", file: `{"api_key":"k","profile_name":"p","refusal_style":"message"}`, want: []string{"refusal_style message keeps a session alive but not clean"}},
		{name: "a refused prompt is not looked at again", vendor: "noma", file: `{"api_key":"k","refusal_style":"message","scan_scope":"last_user"}`, want: []string{"refusal_style is message"}, not: []string{"not clean"}},
		{name: "nothing is refused", vendor: "airs", file: `{"api_key":"k","profile_name":"p","monitor_mode":true,"refusal_style":"message"}`, want: []string{"refusal_style has no effect: nothing is enforced"}, not: []string{"refusal_style is message"}},
		{name: "requests are not read", vendor: "airs", file: `{"api_key":"k","profile_name":"p","request_mode":"off","refusal_style":"message"}`, want: []string{"refusal_style has no effect: request_mode is off"}},
		{name: "masks wait", vendor: "airs", file: `{"api_key":"k","profile_name":"p","mask_sensitive_data":true,"prompt_scan":"beside"}`, want: []string{
			"prompt_scan has no effect: requests may be masked",
		}, not: []string{"prompt_scan is beside"}},
		{name: "nothing holds the answer", vendor: "airs", file: `{"api_key":"k","profile_name":"p","response_mode":"off","prompt_scan":"beside"}`, want: []string{
			"prompt_scan has no effect: response_mode is off and relay is off",
		}, not: []string{"prompt_scan is beside"}},
		{name: "only the relay holds the answer", vendor: "airs", file: `{"api_key":"k","profile_name":"p","response_mode":"monitor","relay":"on","prompt_scan":"beside"}`, want: []string{
			"prompt_scan has an effect on relayed exchanges alone: response_mode is monitor", "prompt_scan is beside",
		}},
		{name: "defaults written out", vendor: "airs", file: `{"api_key":"k","profile_name":"p","relay":"off","relay_tls_verify":true,"stream_release":"scanned","stream_scan_chars":400,"stream_context_chars":2000,"prompt_scan":"before"}`, not: []string{"no effect"}},
		{name: "words without quotes", vendor: "airs", file: "api_key: k\nprofile_name: p\nresponse_mode: Off # not scanned\nrelay: on\n", code: 2, want: []string{"response_mode: Off stands without quotes, which Kong takes for false: write \"off\"", "relay: on stands without quotes, which Kong takes for true"}},
		{name: "words in quotes", vendor: "airs", file: "api_key: k\nprofile_name: 'off'\napp_name: on\nresponse_mode: 'off'\nrelay: \"on\"\nblock_message: |\n  relay: on\n", not: []string{"without quotes"}},
		{name: "words in JSON", vendor: "airs", file: `{"api_key":"k","profile_name":"p","relay":"on"}`, not: []string{"without quotes"}},
		{name: "none of ours", vendor: "airs", file: route("    - name: key-auth\n"), code: 2, want: []string{"without a plugin prisma-airs-intercept"}},
		{name: "no format version", vendor: "airs", file: "services: []\n", code: 2, want: []string{"_format_version is missing"}},
		{name: "not YAML", vendor: "airs", file: "api_key: 'my-secret\nb: [", code: 2, want: []string{"is not YAML or JSON"}, not: []string{"my-secret"}},
		{name: "values of Helm", vendor: "airs", file: example(t, "kong/kubernetes/values.yaml"), code: 2, want: []string{"holds the values of a Helm chart", "KongPlugin"}, not: []string{"unknown field"}},
		{name: "values of the chart kong/kong", vendor: "noma", file: "image: {repository: r}\nenv: {plugins: bundled}\n", code: 2, want: []string{"holds the values of a Helm chart"}},
		{name: "compose", vendor: "airs", file: example(t, "docker/compose.yaml"), code: 2, want: []string{"is a compose file"}},
		{name: "a list", vendor: "airs", file: "[1]", code: 2, want: []string{"is not a map"}},
		{name: "empty", vendor: "airs", file: "", code: 2, want: []string{"is empty"}},
		{name: "escape sequences", vendor: "airs", file: "_format_version: '3.0'\nroutes:\n- name: \"a\\e[2Jb\"\n  plugins:\n  - {name: prisma-airs-intercept, config: {api_key: k, profile_name: p}}\n", want: []string{"a?[2Jb"}, not: []string{"\x1b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out := check(t, plugin(t, c.vendor, c.env), c.file)
			if code != c.code {
				t.Errorf("code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(out, not) {
					t.Errorf("says %q", not)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// TestCheckWarnsOfEveryWeakSetting: whatever lets something pass unscanned.
func TestCheckWarnsOfEveryWeakSetting(t *testing.T) {
	for setting, warning := range map[string]string{
		`"monitor_mode":true`:               "request_mode is monitor",
		`"response_mode":"off"`:             "response_mode is off",
		`"block_failures":false`:            "block_failures is false",
		`"block_failures_response":false`:   "block_failures_response is false",
		`"ssl_verify":false`:                "ssl_verify is false",
		`"unscannable":"allow"`:             "unscannable is allow",
		`"media_parts":"allow"`:             "media_parts is allow",
		`"stored_context":"allow"`:          "stored_context is allow",
		`"scan_scope":"user"`:               "scan_scope is narrower",
		`"strip_scaffolding":true`:          "strip_scaffolding is true",
		`"mcp_get_stream":"pass"`:           "mcp_get_stream is pass",
		`"allow_early_mask":true`:           "allow_early_mask is true",
		`"scan_error_answers":false`:        "scan_error_answers is false",
		`"api_endpoint":"http://airs:8080"`: "api_endpoint is an http URL",

		`"relay":"on","relay_tls_verify":false`:   "relay_tls_verify is false",
		`"relay":"on","stream_release":"at_once"`: "stream_release is at_once",
		`"prompt_scan":"beside"`:                  "prompt_scan is beside",
		`"refusal_style":"message"`:               "refusal_style is message",
	} {
		_, out := check(t, plugin(t, "airs", nil), `{"api_key":"k","profile_name":"p",`+setting+`}`)
		if !strings.Contains(out, warning) {
			t.Errorf("%s: no %q in\n%s", setting, warning, out)
		}
		if _, strict := check(t, plugin(t, "airs", nil), `{"api_key":"k","profile_name":"p","media_parts":"block","stored_context":"block","scan_error_answers":true}`); strings.Contains(strict, warning) {
			t.Errorf("a strict configuration is warned of: %s", warning)
		}
	}
}

// TestCheckSeesNeighbours: what other plugins on the same route mean.
func TestCheckSeesNeighbours(t *testing.T) {
	const ours = "{name: prisma-airs-intercept, config: {api_key: '{vault://env/k}', profile_name: p, mask_sensitive_data: true}}"
	file := func(onRoute, onOther, global string) string {
		return "_format_version: '3.0'\nservices:\n- name: llm\n  routes:\n  - name: chat\n    protocols: [http, ws]\n    plugins: [" + ours + onRoute +
			"]\n- name: other\n  routes: [{name: bare}]\n  plugins: [{name: cors}" + onOther + "]\nplugins: [{name: cors}" + global + "]\n"
	}
	for _, c := range []struct{ name, plugin, want string }{
		{"a later transformer", ", {name: request-transformer, config: {}}", "request-transformer (priority 801) runs after this plugin (1000)"},
		{"an earlier one", ", {name: pre-function, config: {}}", ""},
		{"an answer's transformer", ", {name: response-transformer}", "response-transformer changes the answer after it was scanned"},
		{"a function", ", {name: aws-lambda}", "aws-lambda may answer in the access phase"},
		{"one that calls the model by itself", ", {name: ai-response-transformer}", "ai-response-transformer may answer in the access phase"},
		{"ai-proxy", ", {name: ai-proxy}", "ai-proxy may switch response buffering off"},
		{"a later scanner", ", {name: noma-runtime-protection, config: {}}", "noma-runtime-protection (priority 900) runs later"},
		{"a later scanner that is off", ", {name: noma-runtime-protection, config: {response_mode: 'off'}}", ""},
		{"one that is disabled", ", {name: ai-proxy, enabled: false}", ""},
	} {
		p := plugin(t, "airs", nil)
		for place, content := range map[string]string{"route": file(c.plugin, "", ""), "global": file("", "", c.plugin), "elsewhere": file("", c.plugin, "")} {
			code, out := check(t, p, content)
			if code != 0 {
				t.Fatalf("%s: code %d: %s", c.name, code, out)
			}
			want := c.want != "" && place != "elsewhere"
			name := strings.SplitN(strings.TrimPrefix(c.plugin, ", {name: "), ",", 2)[0]
			name = strings.TrimSuffix(name, "}")
			said := strings.Contains(out, name)
			if said != want || want && !strings.Contains(out, c.want) {
				t.Errorf("%s on %s: said %t, want %q:\n%s", c.name, place, said, c.want, out)
			}
			for _, always := range []string{"route chat takes ws", "routes without prisma-airs-intercept: bare", "client_body_buffer_size"} {
				if !strings.Contains(out, always) {
					t.Errorf("%s: no %q", c.name, always)
				}
			}
		}
	}
	_, out := check(t, plugin(t, "airs", nil), file(", {name: ai-proxy}, {name: post-function, config: {access: ['kong.service.request.enable_buffering()']}}", "", ""))
	if strings.Contains(out, "ai-proxy may switch") {
		t.Error("the post-function that keeps answers was not seen")
	}
	moved := plugin(t, "airs", nil)
	moved.Priority = 700
	if _, out := check(t, moved, file(", {name: ai-proxy}", "", "")); !strings.Contains(out, "ai-proxy (priority 770) runs before this plugin (700)") {
		t.Errorf("the flag -priority is not heeded:\n%s", out)
	}
}

// TestCheckSeesWhatRelaysMeet: what keeps exchanges from the relay, or streams
// from flowing, and whether the service is sealed.
func TestCheckSeesWhatRelaysMeet(t *testing.T) {
	const (
		unsealed = "a request that misses the plugin reaches it unscanned"
		sealed   = "is sealed: it leads nowhere (127.0.0.1:1)"
		whole    = "so streams do not flow"
	)
	for _, c := range []struct {
		name, config, service, beside, root string
		plugin                              string
		priority                            int
		want, not                           []string
	}{
		{name: "nothing in its way", not: []string{"service llm", whole, "not relayed"}},
		{name: "relay off", config: "relay: 'off', keep_buffering: true", service: "client_certificate: {id: c}", not: []string{"service llm", whole, "not relayed"}},
		{name: "nothing is scanned", config: "request_mode: 'off', response_mode: 'off'", service: "client_certificate: {id: c}", not: []string{"service llm"}},
		{name: "a client certificate", service: "client_certificate: {id: c}", want: []string{"service llm has a client certificate"}},
		{name: "gRPC", service: "url: grpcs://llm.example", want: []string{"service llm speaks gRPC"}},
		{name: "a Kong upstream", service: "host: models", root: "upstreams: [{name: models}]", want: []string{"service llm leads to a Kong upstream"}},
		{name: "a Kong upstream of another name", service: "host: llm.example", root: "upstreams: [{name: models}]", not: []string{"leads to a Kong upstream"}},
		{name: "a Kong upstream, but we know where to", config: "relay_upstream: https://llm.example", service: "host: models", root: "upstreams: [{name: models}]", want: []string{"still leads to a Kong upstream"}, not: []string{"not relayed"}},
		{name: "the service's own way to verify", service: "tls_verify: false, url: https://llm.example", want: []string{"relay_tls_verify and relay_ca_file do"}},
		{name: "not sealed", config: "relay_upstream: https://llm.example", service: "url: https://llm.example/v1", want: []string{"service llm still leads to llm.example:443", unsealed}, not: []string{sealed}},
		{name: "not sealed, in parts", config: "relay_upstream: https://llm.example", service: "{host: llm.example, port: 8080, protocol: http}", want: []string{"service llm still leads to llm.example:8080"}},
		{name: "sealed", config: "relay_upstream: https://llm.example", service: "url: 'http://127.0.0.1:1/base'", want: []string{sealed}, not: []string{unsealed}},
		{name: "sealed, in parts", config: "relay_upstream: https://llm.example", service: "{host: 127.0.0.1, port: 1, path: /base}", want: []string{sealed}, not: []string{unsealed}},
		{name: "sealed, version 6", config: "relay_upstream: https://llm.example", service: "url: 'http://[::1]:1'", want: []string{"it leads nowhere ([::1]:1)"}},
		{name: "somebody may listen", config: "relay_upstream: https://llm.example", service: "url: 'http://localhost:8080'", want: []string{"only if nothing listens at localhost:8080"}, not: []string{unsealed}},
		{name: "another service's address", config: "relay_upstream: https://llm.example", service: "url: 'http://127.0.0.1:1'", root: "plugins: [{name: cors}]", not: []string{"service other"}},
		{name: "keep_buffering", config: "keep_buffering: true", want: []string{"keep_buffering is true", whole}},
		{name: "answers kept", beside: "{name: post-function, config: {access: ['kong.service.request.enable_buffering()']}}", want: []string{"post-function calls enable_buffering()", whole}},
		{name: "answers without a mark", beside: "{name: post-function, config: {header_filter: ['if kong.ctx.shared[\"ai_guard:x:response\"] then end']}}", want: []string{"a relayed one has none"}},
		{name: "requests without a mark", beside: "{name: post-function, config: {access: ['if kong.ctx.shared[\"ai_guard:x:request\"] then end']}}", not: []string{"a relayed one has none"}},
		{name: "a scanner that is not relayed", beside: "{name: noma-runtime-protection, config: {}}", want: []string{"noma-runtime-protection has relay off", whole}},
		{name: "one that only watches", beside: "{name: noma-runtime-protection, config: {monitor_mode: true}}", not: []string{whole}},
		{name: "one that watches whole streams", beside: "{name: noma-runtime-protection, config: {response_mode: monitor, monitor_streams: buffer}}", want: []string{whole}},
		{name: "one that lets streams pass", plugin: "noma", beside: "{name: prisma-airs-intercept, config: {scan_sse_responses: false}}", not: []string{whole}},
		{name: "one that is outranked on the route", beside: "{name: noma-runtime-protection, config: {relay: 'on'}}", root: "plugins: [{name: noma-runtime-protection, config: {}}]", not: []string{whole}},
		{name: "one that outranks it on the route", beside: "{name: noma-runtime-protection, config: {}}", root: "plugins: [{name: noma-runtime-protection, config: {relay: 'on'}}]", want: []string{whole}},
		{name: "one whose place is taken by one that is switched off", beside: "{name: noma-runtime-protection, enabled: false, config: {relay: 'on'}}", root: "plugins: [{name: noma-runtime-protection, config: {}}]", want: []string{whole}},
		{name: "one whose place is taken for one caller alone", root: "plugins: [{name: noma-runtime-protection, config: {}}, {name: noma-runtime-protection, route: chat, consumer: shop, config: {relay: 'on'}}]", want: []string{whole}},
		{name: "one of another service", root: "plugins: [{name: noma-runtime-protection, service: other, config: {}}]", not: []string{whole}},
		{name: "one that scans no answers", beside: "{name: noma-runtime-protection, config: {response_mode: 'off'}}", not: []string{whole}},
		{name: "one that is relayed", config: "relay_upstream: https://llm.example", beside: "{name: noma-runtime-protection, config: {relay: 'on'}}", not: []string{whole, "leads past"}},
		{name: "past one that runs before", plugin: "noma", config: "relay_upstream: https://llm.example", beside: "{name: prisma-airs-intercept, config: {relay: 'on'}}", want: []string{"relay_upstream leads past prisma-airs-intercept"}},
		{name: "ai-proxy after it", beside: "{name: ai-proxy}", want: []string{"ai-proxy (priority 770) runs after this plugin (1000) and chooses the upstream itself", "ai-proxy may switch"}},
		{name: "ai-proxy before it", beside: "{name: ai-proxy}", priority: 769, want: []string{"ai-proxy (priority 770) runs before"}, not: []string{"chooses the upstream itself", "ai-proxy may switch"}},
		{name: "ai-proxy before it, in monitor mode", config: "monitor_mode: true", beside: "{name: ai-proxy}", priority: 769, not: []string{"chooses the upstream itself"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			vendor, ours := "airs", "prisma-airs-intercept, config: {api_key: k, profile_name: p"
			if c.plugin == "noma" {
				vendor, ours = "noma", "noma-runtime-protection, config: {api_key: k"
			}
			config := "relay: 'on'"
			if strings.HasPrefix(c.config, "relay: ") {
				config = c.config
			} else if c.config != "" {
				config += ", " + c.config
			}
			address := strings.Trim(c.service, "{}")
			if address == "" {
				address = "url: https://llm.example"
			}
			if strings.Contains(c.service, "{id:") {
				address = c.service
			}
			beside := ""
			if c.beside != "" {
				beside = ", " + c.beside
			}
			file := "_format_version: '3.0'\n" + c.root + "\nservices:\n- {name: llm, " + address + ", routes: [{name: chat, plugins: [{name: " + ours + ", " + config + "}}" + beside + "]}]}\n" +
				"- {name: other, url: https://other.example, client_certificate: {id: c}}\n"
			p := plugin(t, vendor, nil)
			if c.priority != 0 {
				p.Priority = c.priority
			}
			code, out := check(t, p, file)
			if code != 0 {
				t.Errorf("code %d", code)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(out, not) {
					t.Errorf("says %q", not)
				}
			}
			if t.Failed() {
				t.Log(file, out)
			}
		})
	}
	_, out := check(t, plugin(t, "airs", nil), "_format_version: '3.0'\nservices: [{name: a, url: 'http://127.0.0.1:1'}, {name: b, url: 'http://127.0.0.1:1'}]\n"+
		"plugins: [{name: prisma-airs-intercept, config: {api_key: k, profile_name: p, relay: 'on', relay_upstream: 'https://llm.example'}}]\n")
	if !strings.Contains(out, "relay_upstream takes the requests of 2 services to one place") {
		t.Errorf("a relay_upstream for all services is not seen:\n%s", out)
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"_format_version: '3.0'\nplugins: [{name: prisma-airs-intercept, config: {}}]", `{"api_key":"k"}`, "a: &a [*a]", "apiVersion: v1\nkind: KongPlugin\n---\n- 1"} {
		f.Add([]byte(s))
	}
	p := plugin(f, "airs", nil)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "fuzz")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if code := diagnose.Check(t.Context(), p, path, &out, &out); code != 0 && code != 2 {
			t.Fatalf("code %d", code)
		}
	})
}

// explain returns what Explain says of a body.
func explain(t testing.TB, body diagnose.Body, config string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := diagnose.Explain(t.Context(), plugin(t, "airs", nil), config, "", body, &out, &out)
	return code, out.String()
}

// TestExplainGolden: UPDATE_GOLDEN=1 writes the files anew.
func TestExplainGolden(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.body"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b := diagnose.Body{Bytes: body}
		if strings.HasPrefix(filepath.Base(path), "answer") {
			b.Leg = llm.ResponseLeg
		}
		_, got := explain(t, b, "")
		golden := strings.TrimSuffix(path, ".body") + ".golden"
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), got); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
}

// TestExplainCoversTheTestData: every body that can be read is explained, and
// every turn of it is shown.
func TestExplainCoversTheTestData(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "testdata", "llm", "*", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, ".golden") {
			continue
		}
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b := diagnose.Body{Bytes: body}
		if strings.HasPrefix(filepath.Base(path), "answer") {
			b.Leg = llm.ResponseLeg
		}
		m, readErr := llm.Read(llm.Input{Leg: b.Leg, Body: body}, llm.Limits{DecodedBytes: llm.DefaultDecodedBytes, Ratio: llm.DefaultRatio, Depth: llm.DefaultDepth})
		code, out := explain(t, b, "")
		if (readErr != nil) != (code == diagnose.ExitBlocked) {
			t.Errorf("%s: code %d, read: %v", path, code, readErr)
		}
		if readErr == nil && strings.Count(out, "\nturn ") != len(m.Turns) {
			t.Errorf("%s: %d turns shown, %d are there", path, strings.Count(out, "\nturn "), len(m.Turns))
		}
	}
}

func TestExplainUnderAConfiguration(t *testing.T) {
	body := diagnose.Body{Bytes: []byte(`{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hello"}]}`)}
	code, out := explain(t, body, write(t, `{"api_key":"{vault://env/k}","profile_name":"p","scan_scope":"user"}`))
	if code != 0 || strings.Count(out, "NOT SCANNED") != 1 {
		t.Errorf("code %d:\n%s", code, out)
	}
	code, out = explain(t, body, write(t, `{"profile_name":"p"}`))
	if code != 2 || !strings.Contains(out, "api_key is required") {
		t.Errorf("code %d:\n%s", code, out)
	}
	code, out = explain(t, diagnose.Body{Bytes: []byte(`{"a":1,"a":2}`)}, "")
	if code != diagnose.ExitBlocked || !strings.Contains(out, "refused      malformed") {
		t.Errorf("code %d:\n%s", code, out)
	}
	if _, out = explain(t, diagnose.Body{Bytes: []byte(`{"messages":[{"role":"user","content":"a\u001b[2J\u202eb"}]}`)}, ""); strings.ContainsAny(out, "\x1b\u202e") {
		t.Errorf("a terminal is commanded: %q", out)
	}
}
