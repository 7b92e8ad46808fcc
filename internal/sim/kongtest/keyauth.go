// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

const (
	keyAuth         = "key-auth"
	keyAuthPriority = 1250
)

// keyAuthInfo describes Kong's own key-auth plugin, as far as it is here.
func keyAuthInfo() *pluginInfo {
	priority := float64(keyAuthPriority)
	flag := func(name string, value bool) *kongrules.Field {
		return &kongrules.Field{Name: name, Type: "boolean", Required: true, Default: value}
	}
	return &pluginInfo{
		Name: keyAuth, Phases: []string{"access"}, Priority: &priority,
		Schema: kongrules.Field{Name: keyAuth, Type: "record", Fields: kongrules.Fields{
			{Name: "consumer", Type: "foreign", Eq: []byte("null")},
			{Name: "consumer_group", Type: "foreign", Eq: []byte("null")},
			kongrules.DefaultProtocols(),
			{Name: "config", Type: "record", Required: true, Fields: kongrules.Fields{
				{
					Name: "key_names", Type: "array", Required: true, Default: []any{"apikey"},
					Elements: &kongrules.Field{Type: "string"},
				},
				flag("hide_credentials", false),
				flag("key_in_header", true),
				flag("key_in_query", true),
				flag("run_on_preflight", true),
				{Name: "anonymous", Type: "string"},
			}},
		}},
	}
}

// authenticate is key-auth's access handler.
func (x *exchange) authenticate(conf *pluginConfig) {
	is := func(name string) bool { v, _ := conf.config[name].(bool); return v }
	if !is("run_on_preflight") && x.req.Method == http.MethodOptions {
		return
	}
	message := x.findKey(conf, is)
	if message == "" {
		return
	}
	if name, _ := conf.config["anonymous"].(string); name != "" && x.snap.byName[name] != nil {
		x.setConsumer(x.snap.byName[name], "")
		return
	}
	x.answerHeader.Set("WWW-Authenticate", "Key")
	x.fail(http.StatusUnauthorized, message)
}

// findKey sets the consumer; the message says why it cannot.
func (x *exchange) findKey(conf *pluginConfig, is func(string) bool) (message string) {
	query, _ := url.ParseQuery(x.query) // what does not parse is no key
	names, _ := conf.config["key_names"].([]any)
	key := ""
	for _, n := range names {
		name, _ := n.(string)
		name = strings.ToLower(name)
		var values []string
		if is("key_in_header") {
			values = x.header[name]
		}
		if len(values) == 0 && is("key_in_query") {
			values = query[name]
		}
		if len(values) > 1 {
			return "Duplicate API key found"
		}
		if len(values) == 1 {
			key = values[0]
			if is("hide_credentials") {
				delete(x.header, name)
			}
			break
		}
	}
	if key == "" {
		return "No API key found in request"
	}
	c, known := x.snap.keys[key]
	if !known {
		return "Unauthorized"
	}
	x.setConsumer(c.consumer, c.id)
	return ""
}

func (x *exchange) setConsumer(c *consumer, credential string) {
	x.consumer, x.credential = c, credential
	x.ctx[ctxConsumer] = lazyTable(func() map[string]any { return c.table(x.snap.created) })
	anonymous := ""
	if credential == "" {
		anonymous = "true"
	}
	for name, value := range map[string]string{
		"x-consumer-id": c.ID, "x-consumer-custom-id": c.CustomID, "x-consumer-username": c.Username,
		"x-credential-identifier": credential, "x-anonymous-consumer": anonymous,
	} {
		if value == "" {
			delete(x.header, name)
		} else {
			x.header[name] = []string{value}
		}
	}
}
