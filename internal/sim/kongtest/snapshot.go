// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// workspaceID stands for Kong's default workspace.
const workspaceID = "0dc6f45b-8f8d-40d2-a504-473544ee190b"

// A snapshot is one configuration of the gateway, checked and indexed. It is
// not changed after it was made.
type snapshot struct {
	created int64 // Unix seconds
	routes  []*route
	keys    map[string]credential
	secrets map[string]jwtSecret // by the key that tokens name
	byName  map[string]*consumer // by username and by id
	configs map[string][]*pluginConfig
	order   []string // names of the configured plugins, the first to run first

	upstreams    map[string]*upstream
	certificates map[string]tls.Certificate // by id
	authorities  map[string]*x509.Certificate
}

type service struct{ Service }

type upstream struct {
	Upstream
	turn atomic.Int64
}

// next is the target whose turn it is.
func (u *upstream) next() (host string, port float64) {
	t := u.Targets[int(u.turn.Add(1)-1)%len(u.Targets)].Target
	host, number, err := net.SplitHostPort(t)
	if err != nil {
		return t, 8000
	}
	n, _ := strconv.Atoi(number) // checked when it was configured
	return host, float64(n)
}

type route struct {
	Route
	service  *service
	patterns []pathPattern
}

type pathPattern struct {
	prefix string
	regex  *regexp.Regexp
}

type consumer struct {
	Consumer
	groups []string // ids
}

type credential struct {
	id       string
	consumer *consumer
}

// A pluginConfig is one configuration of a plugin as Kong would run it.
type pluginConfig struct {
	id, name                        string
	seq                             int
	config                          map[string]any
	json                            []byte
	service, route, consumer, group string // ids, "" for any
	protocols                       []any
}

// stableID makes an id from what an entity is called, so that it stays the
// same from one configuration to the next, as Kong's declarative ids do.
func stableID(given string, parts ...string) string {
	if given != "" {
		return given
	}
	h := sha1.Sum([]byte(strings.Join(parts, "\x00")))
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// builder makes a snapshot from a declarative configuration.
type builder struct {
	gw       *Gateway
	snap     *snapshot
	services map[string]*service // by name and id
	routes   map[string]*route
	groups   map[string]string // name or id to id
	plugins  []Plugin
	seen     map[string]bool
}

// build checks a configuration as Kong does before it takes it over.
func (gw *Gateway) build(d Declarative, now int64) (*snapshot, error) {
	b := &builder{
		gw: gw,
		snap: &snapshot{
			created: now, keys: map[string]credential{}, secrets: map[string]jwtSecret{}, byName: map[string]*consumer{},
			configs:   map[string][]*pluginConfig{},
			upstreams: map[string]*upstream{}, certificates: map[string]tls.Certificate{}, authorities: map[string]*x509.Certificate{},
		},
		services: map[string]*service{}, routes: map[string]*route{}, groups: map[string]string{},
		seen: map[string]bool{},
	}
	for _, step := range []func(Declarative) error{b.addCertificates, b.addUpstreams, b.addServices, b.addGroups, b.addConsumers, b.addPlugins} {
		if err := step(d); err != nil {
			return nil, err
		}
	}
	sortRoutes(b.snap.routes)
	b.snap.order = slices.Sorted(maps.Keys(b.snap.configs))
	sort.SliceStable(b.snap.order, func(i, j int) bool {
		return gw.priority(b.snap.order[i]) > gw.priority(b.snap.order[j])
	})
	return b.snap, nil
}

func (b *builder) addCertificates(d Declarative) error {
	for _, c := range d.Certificates {
		pair, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
		if err != nil || c.ID == "" {
			return fmt.Errorf("certificate %q: an id, and a certificate with its key in PEM, are needed (%w)", c.ID, err)
		}
		b.snap.certificates[c.ID] = pair
	}
	for _, a := range d.Authorities {
		block, _ := pem.Decode([]byte(a.Cert))
		if block == nil || a.ID == "" {
			return fmt.Errorf("ca_certificate %q: an id and a certificate in PEM are needed", a.ID)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("ca_certificate %q: %w", a.ID, err)
		}
		b.snap.authorities[a.ID] = cert
	}
	return nil
}

func (b *builder) addUpstreams(d Declarative) error {
	for _, u := range d.Upstreams {
		if u.Name == "" || len(u.Targets) == 0 {
			return fmt.Errorf("upstream %q: a name and a target are needed", u.Name)
		}
		for _, t := range u.Targets {
			if _, port, err := net.SplitHostPort(t.Target); err == nil {
				if _, err := strconv.ParseUint(port, 10, 16); err != nil {
					return fmt.Errorf("upstream %q: target %q: invalid port", u.Name, t.Target)
				}
			}
		}
		if b.snap.upstreams[u.Name] != nil {
			return fmt.Errorf("upstream %q: uniqueness violation", u.Name)
		}
		b.snap.upstreams[u.Name] = &upstream{Upstream: u}
	}
	return nil
}

func (b *builder) addServices(d Declarative) error {
	for _, s := range d.Services {
		s, err := s.complete()
		if err != nil {
			return err
		}
		if s.Name == "" && s.ID == "" {
			return fmt.Errorf("services: in 'name': %s", kongrules.ErrRequired)
		}
		s.ID = stableID(s.ID, "services", s.Name)
		if b.services[s.ID] != nil || s.Name != "" && b.services[s.Name] != nil {
			return fmt.Errorf("service %q: uniqueness violation", s.Name)
		}
		if _, known := b.snap.certificates[string(s.ClientCertificate)]; s.ClientCertificate != "" && !known {
			return fmt.Errorf("service %q: in 'client_certificate': no certificate %q", s.Name, s.ClientCertificate)
		}
		for _, id := range s.CACertificates {
			if b.snap.authorities[id] == nil {
				return fmt.Errorf("service %q: in 'ca_certificates': no CA certificate %q", s.Name, id)
			}
		}
		sv := &service{s}
		b.services[s.ID], b.services[s.Name] = sv, sv
		for _, r := range s.Routes {
			r.Service = Ref(s.ID)
			if err := b.addRoute(r); err != nil {
				return err
			}
		}
		for _, p := range s.Plugins {
			p.Service = Ref(s.ID)
			b.plugins = append(b.plugins, p)
		}
	}
	for _, r := range d.Routes {
		if err := b.addRoute(r); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) addRoute(r Route) error {
	sv := b.services[string(r.Service)]
	if sv == nil {
		return fmt.Errorf("route %q: in 'service': no service %q", r.Name, r.Service)
	}
	if len(r.Paths)+len(r.Methods)+len(r.Hosts) == 0 {
		return fmt.Errorf("route %q: must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'", r.Name)
	}
	r.ID = stableID(r.ID, "routes", r.Name, strings.Join(r.Paths, " "), strings.Join(r.Hosts, " "))
	if b.routes[r.ID] != nil || r.Name != "" && b.routes[r.Name] != nil {
		return fmt.Errorf("route %q: uniqueness violation", r.Name)
	}
	if len(r.Protocols) == 0 {
		r.Protocols = []string{"http", "https"}
	}
	rt := &route{Route: r, service: sv}
	for _, path := range r.Paths {
		p := pathPattern{prefix: path}
		if expr, ok := strings.CutPrefix(path, "~"); ok {
			re, err := regexp.Compile("^(?:" + expr + ")")
			if err != nil {
				return fmt.Errorf("route %q: in 'paths': not a valid regex: %s", r.Name, path)
			}
			p.regex = re
		} else if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("route %q: in 'paths': should start with: /", r.Name)
		}
		rt.patterns = append(rt.patterns, p)
	}
	b.routes[r.ID] = rt
	if r.Name != "" {
		b.routes[r.Name] = rt
	}
	b.snap.routes = append(b.snap.routes, rt)
	for _, p := range r.Plugins {
		p.Route = Ref(r.ID)
		b.plugins = append(b.plugins, p)
	}
	return nil
}

func (b *builder) addGroups(d Declarative) error {
	for _, g := range d.Groups {
		if g.Name == "" {
			return fmt.Errorf("consumer_groups: in 'name': %s", kongrules.ErrRequired)
		}
		id := stableID(g.ID, "consumer_groups", g.Name)
		b.groups[g.Name], b.groups[id] = id, id
		for _, p := range g.Plugins {
			p.ConsumerGroup = Ref(id)
			b.plugins = append(b.plugins, p)
		}
	}
	return nil
}

func (b *builder) addConsumers(d Declarative) error {
	for _, c := range d.Consumers {
		if c.Username == "" && c.CustomID == "" {
			return fmt.Errorf("consumers: at least one of these fields must be non-empty: 'custom_id', 'username'")
		}
		c.ID = stableID(c.ID, "consumers", c.Username, c.CustomID)
		cs := &consumer{Consumer: c}
		b.snap.byName[c.ID] = cs
		if c.Username != "" {
			b.snap.byName[c.Username] = cs
		}
		for _, g := range c.Groups {
			id := b.groups[g.Name]
			if id == "" {
				return fmt.Errorf("consumer %q: in 'groups': no consumer group %q", c.Username, g.Name)
			}
			cs.groups = append(cs.groups, id)
		}
		for _, k := range c.Credentials {
			if k.Key == "" {
				return fmt.Errorf("consumer %q: in 'keyauth_credentials': in 'key': %s", c.Username, kongrules.ErrRequired)
			}
			if _, taken := b.snap.keys[k.Key]; taken {
				return fmt.Errorf("consumer %q: in 'keyauth_credentials': uniqueness violation", c.Username)
			}
			b.snap.keys[k.Key] = credential{id: stableID(k.ID, "keyauth_credentials", k.Key), consumer: cs}
		}
		for _, j := range c.JWTSecrets {
			if _, taken := b.snap.secrets[j.Key]; taken || j.Key == "" || j.Secret == "" {
				return fmt.Errorf("consumer %q: in 'jwt_secrets': a key of its own and a secret are needed", c.Username)
			}
			b.snap.secrets[j.Key] = jwtSecret{[]byte(j.Secret), credential{id: stableID(j.ID, "jwt_secrets", j.Key), consumer: cs}}
		}
		for _, p := range c.Plugins {
			p.Consumer = Ref(c.ID)
			b.plugins = append(b.plugins, p)
		}
	}
	return nil
}

func (b *builder) addPlugins(d Declarative) error {
	for _, p := range append(b.plugins, d.Plugins...) {
		if err := b.addPlugin(p); err != nil {
			return fmt.Errorf("plugin %q: %w", p.Name, err)
		}
	}
	return nil
}

func (b *builder) addPlugin(p Plugin) error {
	info := b.gw.info(p.Name)
	if info == nil {
		return fmt.Errorf("plugin '%s' not enabled; add it to the 'plugins' configuration property", p.Name)
	}
	conf := &pluginConfig{name: p.Name}
	for _, scope := range []struct {
		ref   Ref
		field string
		id    *string
		find  func(string) string
	}{
		{p.Service, "service", &conf.service, func(s string) string {
			if e := b.services[s]; e != nil {
				return e.ID
			}
			return ""
		}},
		{p.Route, "route", &conf.route, func(s string) string {
			if e := b.routes[s]; e != nil {
				return e.ID
			}
			return ""
		}},
		{p.Consumer, "consumer", &conf.consumer, func(s string) string {
			if e := b.snap.byName[s]; e != nil {
				return e.ID
			}
			return ""
		}},
		{p.ConsumerGroup, "consumer_group", &conf.group, func(s string) string { return b.groups[s] }},
	} {
		if scope.ref == "" {
			continue
		}
		if *scope.id = scope.find(string(scope.ref)); *scope.id == "" {
			return fmt.Errorf("in '%s': no entity %q", scope.field, scope.ref)
		}
	}
	var config map[string]any
	var protocols []any
	var err error
	if info.neighbour != nil && !info.checked {
		config, protocols = unchecked(p)
	} else if config, protocols, err = checkPlugin(info, p); err != nil {
		return err
	}
	key := strings.Join([]string{"plugins", p.Name, conf.route, conf.service, conf.consumer, conf.group}, ":") + ":" + workspaceID
	if b.seen[key] {
		return fmt.Errorf("uniqueness violation: this scope has a configuration of it already")
	}
	b.seen[key] = true
	if p.Enabled != nil && !*p.Enabled {
		return nil
	}
	conf.id = stableID(p.ID, key)
	conf.seq = int(b.gw.seq.Add(1))
	conf.protocols = protocols
	conf.config = config
	if field := info.Schema.Fields.Named("config"); field != nil {
		conf.config = kongrules.Resolve(field.Fields, config, b.gw.cfg.Env)
	}
	extra := map[string]any{
		"__seq__": conf.seq, "__plugin_id": conf.id, "__key__": key, "__ws_id": workspaceID,
	}
	for name, id := range map[string]string{
		"service_id": conf.service, "route_id": conf.route, "consumer_id": conf.consumer, "consumer_group_id": conf.group,
	} {
		if id != "" {
			extra[name] = id
		}
	}
	if conf.json, err = configJSON(conf.config, extra); err != nil {
		return err
	}
	b.snap.configs[p.Name] = append(b.snap.configs[p.Name], conf)
	return nil
}

// checkPlugin validates a plugin entity against its dumped schema and returns
// its configuration with the defaults filled in.
func checkPlugin(info *pluginInfo, p Plugin) (config map[string]any, protocols []any, err error) {
	entity := map[string]any{"config": map[string]any{}}
	if p.Config != nil {
		entity["config"] = kongrules.Normalise(p.Config)
	}
	for _, name := range p.Protocols {
		list, _ := entity["protocols"].([]any)
		entity["protocols"] = append(list, name)
	}
	for name, ref := range map[string]Ref{
		"service": p.Service, "route": p.Route, "consumer": p.Consumer, "consumer_group": p.ConsumerGroup,
	} {
		if ref != "" && info.Schema.Fields.Named(name) != nil {
			entity[name] = map[string]any{"id": string(ref)}
		}
	}
	entity, errs := kongrules.Check(&info.Schema, entity)
	if errs != nil {
		return nil, nil, errs
	}
	config, _ = entity["config"].(map[string]any)
	protocols, _ = entity["protocols"].([]any)
	return config, protocols, nil
}

// pick returns the one configuration of a plugin that applies, the most
// specific, or nil.
func (s *snapshot) pick(name string, r *route, c *consumer) *pluginConfig {
	var best *pluginConfig
	bestRank := 0
	for _, conf := range s.configs[name] {
		if rank := conf.rank(r, c); rank > bestRank {
			best, bestRank = conf, rank
		}
	}
	return best
}

// rank returns 0 when a configuration does not apply. Else it is higher the
// more Kong prefers the combination of scopes.
func (conf *pluginConfig) rank(r *route, c *consumer) int {
	if conf.route != "" && conf.route != r.ID || conf.service != "" && conf.service != r.service.ID {
		return 0
	}
	if conf.consumer != "" && (c == nil || conf.consumer != c.ID) {
		return 0
	}
	if conf.group != "" && (c == nil || !slices.Contains(c.groups, conf.group)) {
		return 0
	}
	for i, scopes := range precedence {
		if scopes == conf.scopes() {
			return len(precedence) - i
		}
	}
	return 0
}

// scopes names the scopes of a configuration: c(onsumer), g(roup), r(oute),
// s(ervice).
func (conf *pluginConfig) scopes() string {
	var s string
	for _, scope := range []struct{ id, letter string }{
		{conf.consumer, "c"}, {conf.group, "g"}, {conf.route, "r"}, {conf.service, "s"},
	} {
		if scope.id != "" {
			s += scope.letter
		}
	}
	return s
}

// precedence is Kong's order of plugin scopes, the most specific first.
var precedence = []string{"crs", "grs", "cr", "cs", "gr", "gs", "rs", "c", "g", "r", "s", ""}
