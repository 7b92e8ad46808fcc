// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// One configuration of a plugin runs per request, the most specific.
func TestMostSpecificScopeWins(t *testing.T) {
	t.Parallel()
	r := &route{Route: Route{ID: "r"}, service: &service{Service{ID: "s"}}}
	alice := &consumer{Consumer: Consumer{ID: "c"}, groups: []string{"g"}}
	all := map[string]*pluginConfig{
		"global": {id: "global"}, "service": {id: "service", service: "s"}, "route": {id: "route", route: "r"},
		"group": {id: "group", group: "g"}, "consumer": {id: "consumer", consumer: "c"},
		"route+service":  {id: "route+service", route: "r", service: "s"},
		"consumer+route": {id: "consumer+route", consumer: "c", route: "r"},
		"other route":    {id: "other route", route: "r2"}, "other consumer": {id: "other consumer", consumer: "c2", route: "r"},
	}
	for _, c := range []struct {
		configs  string
		consumer *consumer
		want     string
	}{
		{"global", nil, "global"},
		{"global,service,route", nil, "route"},
		{"global,service", alice, "service"},
		{"route,consumer", alice, "consumer"},
		{"route,consumer", nil, "route"},
		{"group,route", alice, "group"},
		{"group,consumer", alice, "consumer"},
		{"route+service,consumer,route", alice, "route+service"},
		{"consumer+route,route+service", alice, "consumer+route"},
		{"other route,other consumer", alice, ""},
		{"other route,global", alice, "global"},
	} {
		s := &snapshot{configs: map[string][]*pluginConfig{}}
		for _, name := range strings.Split(c.configs, ",") {
			s.configs["p"] = append(s.configs["p"], all[name])
		}
		got := ""
		if conf := s.pick("p", r, c.consumer); conf != nil {
			got = conf.id
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.configs, got, c.want)
		}
	}
}

func TestKeyAuth(t *testing.T) {
	t.Parallel()
	var header http.Header
	d := Declarative{
		Consumers: []Consumer{
			{
				Username: "alice", CustomID: "c-1", Credentials: []Credential{{Key: "alice-key"}},
				Plugins: []Plugin{{Name: "probe-access", Config: map[string]any{"on_access": []string{"consumer", "exit 418 alice"}}}},
			},
			{Username: "bob", Credentials: []Credential{{Key: "bob-key"}}},
		},
		Services: []Service{{
			Name: "s", Routes: []Route{{Name: "r", Paths: []string{"/"}}},
			Plugins: []Plugin{{Name: keyAuth}, steps("probe-access", []string{"consumer", "in_ctx authenticated_consumer username"}, nil)},
		}},
	}
	gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-access")}, Declarative: d},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { header = r.Header; _, _ = io.WriteString(w, "up") }))
	for _, c := range []struct {
		keys     []string
		query    string
		status   int
		body     string
		consumer string
	}{
		{nil, "", 401, "No API key found in request", ""},
		{[]string{"wrong"}, "", 401, "Unauthorized", ""},
		{[]string{"bob-key", "alice-key"}, "", 401, "Duplicate API key found", ""},
		{[]string{"alice-key"}, "", 418, "alice", "alice"},
		{[]string{"bob-key"}, "", 200, "up", "bob"},
		{nil, "?apikey=bob-key", 200, "up", "bob"},
	} {
		req := post(t, gw, "{}")
		req.URL.RawQuery = strings.TrimPrefix(c.query, "?")
		if c.keys != nil {
			req.Header["Apikey"] = c.keys
		}
		// A client cannot say who it is.
		req.Header.Set("X-Consumer-Username", "root")
		a := send(t, gw, req)
		if a.StatusCode != c.status || !strings.Contains(a.body, c.body) {
			t.Errorf("%v: got %d %q", c.keys, a.StatusCode, a.body)
		}
		if c.consumer != "" && a.said("consumer") != c.consumer {
			t.Errorf("%v: the plugin saw consumer %s", c.keys, a.said("consumer"))
		}
		if c.consumer == "bob" && a.said("in_ctx authenticated_consumer username") != "bob" {
			t.Errorf("%v: the consumer's entity has %s", c.keys, a.said("in_ctx authenticated_consumer username"))
		}
		if a.StatusCode == 401 && (a.Header.Get("WWW-Authenticate") == "" || len(a.Events) != 0) {
			t.Errorf("%v: headers %v, events %v", c.keys, a.Header, a.Events)
		}
		if a.StatusCode == 200 && header.Get("X-Consumer-Username") != "bob" {
			t.Errorf("upstream saw %v", header)
		}
	}
}

func TestJWT(t *testing.T) {
	t.Parallel()
	d := Declarative{
		Consumers: []Consumer{{Username: "alice", JWTSecrets: []JWTSecret{{Key: "idp", Secret: "s3cret"}}}, {Username: "nobody"}},
		Services: []Service{{
			Name:    "s",
			Routes:  []Route{{Name: "r", Paths: []string{"/"}}, {Name: "open", Paths: []string{"/open"}, Plugins: []Plugin{{Name: jwtAuth, Config: map[string]any{"anonymous": "nobody"}}}}, {Name: "timed", Paths: []string{"/timed"}, Plugins: []Plugin{{Name: jwtAuth, Config: map[string]any{"claims_to_verify": []any{"exp", "nbf"}}}}}},
			Plugins: []Plugin{{Name: jwtAuth}, steps("probe-access", []string{"consumer", "shared " + verifiedToken}, nil)},
		}},
	}
	gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-access")}, Declarative: d},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up") }))
	good := SignToken(`{"iss":"idp","tier":"low"}`, "s3cret")
	const long = time.Hour
	timed := func(exp, nbf time.Duration) string {
		at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		return SignToken(fmt.Sprintf(`{"iss":"idp","exp":%d,"nbf":%d}`, at(exp), at(nbf)), "s3cret")
	}
	valid := timed(long, -long)
	for _, c := range []struct {
		name, path, token string
		status            int
		consumer, shared  string
	}{
		{"signed", "/", good, 200, "alice", good},
		{"signed by another", "/", SignToken(`{"iss":"idp"}`, "other"), 401, "", ""},
		{"changed", "/", strings.Replace(good, ".", ".e30", 1), 401, "", ""},
		{"of somebody unknown", "/", SignToken(`{"iss":"else"}`, "s3cret"), 401, "", ""},
		{"none", "/", "", 401, "", ""},
		{"in time", "/timed", valid, 200, "alice", valid},
		{"expired", "/timed", timed(-long, -long), 401, "", ""},
		{"not valid yet", "/timed", timed(long, long), 401, "", ""},
		{"of any time", "/timed", good, 401, "", ""},
		{"a time that is none", "/timed", SignToken(`{"iss":"idp","exp":"never","nbf":0}`, "s3cret"), 401, "", ""},
		{"expired, and nobody looks", "/", timed(-long, -long), 200, "alice", ""},
		{"signed by another, anonymous", "/open", SignToken(`{"iss":"idp"}`, "other"), 200, "nobody", "<nil>"},
	} {
		req := post(t, gw, "{}")
		req.URL.Path = c.path
		req.Header.Set("Authorization", "Bearer "+c.token)
		a := send(t, gw, req)
		if a.StatusCode != c.status {
			t.Errorf("%s: got %d %q", c.name, a.StatusCode, a.body)
		}
		if c.status == 200 && (a.said("consumer") != c.consumer || c.shared != "" && a.said("shared "+verifiedToken) != c.shared) {
			t.Errorf("%s: the plugin saw consumer %q, token %q", c.name, a.said("consumer"), a.said("shared "+verifiedToken))
		}
	}
}

func TestRouting(t *testing.T) {
	t.Parallel()
	no := false
	d := Declarative{Services: []Service{{Name: "s", Routes: []Route{
		{Name: "root", Paths: []string{"/"}},
		{Name: "long", Paths: []string{"/a/b"}},
		{Name: "short", Paths: []string{"/a"}, StripPath: &no},
		{Name: "put", Paths: []string{"/a"}, Methods: []string{"PUT"}},
		{Name: "host", Paths: []string{"/"}, Hosts: []string{"llm.example"}},
		{Name: "regex", Paths: []string{"~/v[0-9]+/"}},
		{Name: "secure", Paths: []string{"/secure"}, Protocols: []string{"https"}},
	}}}}
	d.Services = append(d.Services, Service{Name: "off", Enabled: &no, Routes: []Route{{Name: "off", Paths: []string{"/a/b/c"}}}})
	gw := start(t, Config{Declarative: d}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	for _, c := range []struct{ method, path, host, route, upstream string }{
		{"GET", "/x", "", "root", "/x"},
		{"GET", "/a/b/c", "", "long", "/c"},
		{"GET", "/a/b", "", "long", "/"},
		{"GET", "/a/c", "", "short", "/a/c"},
		{"PUT", "/a/c", "", "put", "/c"},
		{"GET", "/a/c", "LLM.example:80", "host", "/a/c"},
		{"GET", "/v12/chat", "", "regex", "/chat"},
		{"GET", "/secure", "", "secure", ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, gw.URL()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		a := send(t, gw, req)
		route, _ := a.AccessLog["route"].(map[string]any)
		if c.route == "secure" {
			if a.StatusCode != 426 {
				t.Errorf("%s %s: %d", c.method, c.path, a.StatusCode)
			}
			continue
		}
		if route["name"] != c.route || a.body != c.upstream {
			t.Errorf("%s %s: route %v, upstream path %s", c.method, c.path, route["name"], a.body)
		}
	}
	d.Services = d.Services[:1]
	d.Services[0].Routes = d.Services[0].Routes[1:2]
	if err := gw.Apply(d); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", gw.URL()+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := send(t, gw, req)
	if want := "{\n  \"message\":\"no Route matched with those values\",\n  \"request_id\":\"" + a.RequestID + "\"\n}"; a.StatusCode != 404 || a.body != want || len(a.RequestID) != 32 {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
}

// TestTokenTimes: jwt compares with a clock that counts whole seconds, and takes a
// token at the second it is valid from, not at the one it expires.
func TestTokenTimes(t *testing.T) {
	now := time.Unix(1000, 5e8)
	for _, c := range []struct {
		exp, nbf any
		ok       bool
	}{
		{1001.0, 1000.0, true},
		{1000.0, 1000.0, false},
		{1001.0, 1001.0, false},
		{1000.3, 1000.0, true},
		{1001.0, 1000.3, false},
		{"1001", 1000.0, false},
		{1001.0, nil, false},
	} {
		if got := inTime(map[string]any{"exp": c.exp, "nbf": c.nbf}, []any{"exp", "nbf"}, now); got != c.ok {
			t.Errorf("exp %v, nbf %v: %v", c.exp, c.nbf, got)
		}
	}
}
