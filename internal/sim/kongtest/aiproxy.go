// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

const (
	aiProxy         = "ai-proxy"
	aiProxyPriority = 770
)

// aiProxyInfo describes Kong's own ai-proxy plugin, as far as it is here: the
// route type llm/v1/chat with the provider openai, whose answers need no
// conversion.
func aiProxyInfo() *pluginInfo {
	info := Neighbour{Name: aiProxy, Priority: aiProxyPriority, Access: speakForModel}.info()
	text := func(name string, required bool) *kongrules.Field {
		return &kongrules.Field{Name: name, Type: "string", Required: required}
	}
	chosen := func(name string, preset any, values ...any) *kongrules.Field {
		return &kongrules.Field{Name: name, Type: "string", Required: true, Default: preset, OneOf: values}
	}
	info.Schema = kongrules.Field{Name: aiProxy, Type: "record", Fields: kongrules.Fields{
		{Name: "consumer", Type: "foreign", Eq: []byte("null")},
		{Name: "consumer_group", Type: "foreign", Eq: []byte("null")},
		kongrules.DefaultProtocols(),
		{Name: "config", Type: "record", Required: true, Fields: kongrules.Fields{
			chosen("route_type", nil, "llm/v1/chat"),
			chosen("response_streaming", "allow", "allow", "deny", "always"),
			{Name: "auth", Type: "record", Required: true, Fields: kongrules.Fields{text("header_name", false), text("header_value", false)}},
			{Name: "model", Type: "record", Required: true, Fields: kongrules.Fields{
				chosen("provider", nil, "openai"),
				text("name", false),
				{Name: "options", Type: "record", Required: true, Fields: kongrules.Fields{text("upstream_url", true)}},
			}},
		}},
	}}
	info.checked = true
	return info
}

// speakForModel is ai-proxy's access handler: it sends the request to the
// model, whatever target it had, with the model's name and key. An answer that
// is no stream it sends by itself, and needs Kong's buffering to have it.
func speakForModel(a *Access) {
	at := func(names ...string) string {
		v := any(a.Config)
		for _, name := range names {
			m, _ := v.(map[string]any)
			v = m[name]
		}
		s, _ := v.(string)
		return s
	}
	refuse := func(status int, message string) {
		quoted, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message}}) // texts always encode
		a.Exit(status, http.Header{"Content-Type": {"application/json"}}, quoted)
	}
	body, err := a.Body()
	var request map[string]any
	if err != nil || json.Unmarshal(body, &request) != nil || request["messages"] == nil {
		refuse(http.StatusBadRequest, "request body doesn't contain valid prompts")
		return
	}
	streams, _ := request["stream"].(bool)
	switch at("response_streaming") {
	case "deny":
		if streams {
			refuse(http.StatusBadRequest, "response streaming is not enabled for this LLM")
			return
		}
	case "always":
		streams = true
		request["stream"] = true
	}
	if name := at("model", "name"); name != "" {
		request["model"] = name
	}
	changed, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	a.SetBody(changed)

	u, err := url.Parse(at("model", "options", "upstream_url"))
	if err != nil {
		panic(err)
	}
	port := defaultPorts[u.Scheme]
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			panic(err)
		}
	}
	if err := a.SetTarget(u.Scheme, u.Hostname(), port, u.Path); err != nil {
		panic(err)
	}
	if name := at("auth", "header_name"); name != "" {
		a.SetHeader(name, at("auth", "header_value"))
	}
	a.SetHeader("Accept-Encoding", "gzip, identity")

	filters := map[string]any{}
	for _, name := range []string{"parse-request", "normalize-request", "enable-buffering"} {
		filters[name] = true
	}
	a.SetCtx("ai_executed_filters", filters)
	a.SetCtx("ai_namespaced_ctx", map[string]any{"_global": map[string]any{
		"stream_mode": streams, "preserve_mode": false, "request_body_table": request,
	}})
	if data, ok := a.Ctx(ctxBalancer).(map[string]any); ok {
		data["retry_callback"] = luaFunction{}
	}
	if !streams {
		a.SetCtx(buffering, true)
		a.x.needsBuffering = true
	}
}
