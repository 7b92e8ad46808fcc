// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// A Declarative is what a kong.yml says, as far as this gateway knows it.
// Entities refer to one another by name or id. Nested entities belong to the
// one around them.
type Declarative struct {
	FormatVersion string          `yaml:"_format_version"`
	Transform     *bool           `yaml:"_transform"`
	Services      []Service       `yaml:"services"`
	Routes        []Route         `yaml:"routes"`
	Consumers     []Consumer      `yaml:"consumers"`
	Groups        []ConsumerGroup `yaml:"consumer_groups"`
	Plugins       []Plugin        `yaml:"plugins"`
	Upstreams     []Upstream      `yaml:"upstreams"`
	Certificates  []Certificate   `yaml:"certificates"`
	Authorities   []Authority     `yaml:"ca_certificates"`
}

// An Upstream is an upstream entity: a service whose host is its name goes to
// its targets in turn.
type Upstream struct {
	ID         string   `yaml:"id"`
	Name       string   `yaml:"name"`
	HostHeader string   `yaml:"host_header"`
	Targets    []Target `yaml:"targets"`
	Tags       []string `yaml:"tags"`
}

// A Target is a host and port of an Upstream; the port is 8000 when it has
// none.
type Target struct {
	Target string   `yaml:"target"`
	Weight int      `yaml:"weight"` // accepted; all are equal here
	Tags   []string `yaml:"tags"`
}

// A Certificate is what Kong shows to an upstream, in PEM.
type Certificate struct {
	ID   string   `yaml:"id"`
	Cert string   `yaml:"cert"`
	Key  string   `yaml:"key"`
	Tags []string `yaml:"tags"`
}

// An Authority signs certificates of upstreams, in PEM.
type Authority struct {
	ID   string   `yaml:"id"`
	Cert string   `yaml:"cert"`
	Tags []string `yaml:"tags"`
}

// A Service is an upstream. URL is short for Protocol, Host, Port and Path.
// Timeouts are milliseconds, 60000 when 0.
type Service struct {
	ID             string `yaml:"id"`
	Name           string `yaml:"name"`
	URL            string `yaml:"url"`
	Protocol       string `yaml:"protocol"`
	Host           string `yaml:"host"`
	Port           int    `yaml:"port"`
	Path           string `yaml:"path"`
	Retries        *int   `yaml:"retries"`
	ConnectTimeout int    `yaml:"connect_timeout"`
	WriteTimeout   int    `yaml:"write_timeout"`
	ReadTimeout    int    `yaml:"read_timeout"`
	Enabled        *bool  `yaml:"enabled"`
	// ClientCertificate is the id of a Certificate, CACertificates are ids of
	// Authorities. An https upstream is not verified unless TLSVerify is true,
	// and then with the system's authorities when there are no others.
	ClientCertificate Ref      `yaml:"client_certificate"`
	TLSVerify         *bool    `yaml:"tls_verify"`
	TLSVerifyDepth    *int     `yaml:"tls_verify_depth"`
	CACertificates    []string `yaml:"ca_certificates"`
	Tags              []string `yaml:"tags"`
	Routes            []Route  `yaml:"routes"`
	Plugins           []Plugin `yaml:"plugins"`
}

// A Route leads requests to a service. A path that starts with "~" is a
// regular expression.
type Route struct {
	ID           string   `yaml:"id"`
	Name         string   `yaml:"name"`
	Service      Ref      `yaml:"service"`
	Protocols    []string `yaml:"protocols"`
	Methods      []string `yaml:"methods"`
	Hosts        []string `yaml:"hosts"`
	Paths        []string `yaml:"paths"`
	StripPath    *bool    `yaml:"strip_path"`
	PreserveHost bool     `yaml:"preserve_host"`
	// RequestBuffering, true when nil, has bodies of requests read before they
	// are sent on. ResponseBuffering, true when nil, has nginx collect 4 KiB of
	// an answer before it sends them on, unless the answer's X-Accel-Buffering
	// says no.
	RequestBuffering  *bool    `yaml:"request_buffering"`
	ResponseBuffering *bool    `yaml:"response_buffering"`
	Tags              []string `yaml:"tags"`
	Plugins           []Plugin `yaml:"plugins"`
}

// A Consumer is who calls.
type Consumer struct {
	ID          string       `yaml:"id"`
	Username    string       `yaml:"username"`
	CustomID    string       `yaml:"custom_id"`
	Tags        []string     `yaml:"tags"`
	Groups      []GroupRef   `yaml:"groups"`
	Credentials []Credential `yaml:"keyauth_credentials"`
	JWTSecrets  []JWTSecret  `yaml:"jwt_secrets"`
	Plugins     []Plugin     `yaml:"plugins"`
}

// A GroupRef names a consumer group that a consumer is in.
type GroupRef struct {
	Name string `yaml:"name"`
}

// A ConsumerGroup is a set of consumers that plugins can be scoped to.
type ConsumerGroup struct {
	ID      string   `yaml:"id"`
	Name    string   `yaml:"name"`
	Tags    []string `yaml:"tags"`
	Plugins []Plugin `yaml:"plugins"`
}

// A Credential is a key of a consumer for key-auth.
type Credential struct {
	ID   string   `yaml:"id"`
	Key  string   `yaml:"key"`
	Tags []string `yaml:"tags"`
}

// A JWTSecret is a secret of a consumer for jwt. Key is the name by which
// tokens refer to it. Tokens are signed with HS256.
type JWTSecret struct {
	ID     string   `yaml:"id"`
	Key    string   `yaml:"key"`
	Secret string   `yaml:"secret"`
	Tags   []string `yaml:"tags"`
}

// A Plugin is one configuration of a plugin with its scope.
type Plugin struct {
	ID            string         `yaml:"id"`
	Name          string         `yaml:"name"`
	InstanceName  string         `yaml:"instance_name"`
	Config        map[string]any `yaml:"config"`
	Enabled       *bool          `yaml:"enabled"`
	Protocols     []string       `yaml:"protocols"`
	Service       Ref            `yaml:"service"`
	Route         Ref            `yaml:"route"`
	Consumer      Ref            `yaml:"consumer"`
	ConsumerGroup Ref            `yaml:"consumer_group"`
	Tags          []string       `yaml:"tags"`
}

// A Ref is the name or id of another entity, "" for none.
type Ref string

// UnmarshalYAML takes a plain string, or a mapping with a name or an id.
func (r *Ref) UnmarshalYAML(b []byte) error {
	var s string
	if yaml.Unmarshal(b, &s) == nil {
		*r = Ref(s)
		return nil
	}
	var m map[string]string
	if err := yaml.Unmarshal(b, &m); err != nil {
		return err
	}
	for _, name := range []string{"name", "username", "id"} {
		if m[name] != "" && len(m) == 1 {
			*r = Ref(m[name])
			return nil
		}
	}
	return errors.New("expected a name or an id")
}

// LoadFile reads a declarative configuration file of format 3.0. What this
// gateway does not know is an error, and is not ignored.
func LoadFile(path string) (Declarative, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Declarative{}, err
	}
	return Load(b)
}

// Load reads a declarative configuration as LoadFile does.
func Load(b []byte) (d Declarative, err error) {
	defer func() {
		// The YAML package panics on some broken input.
		if v := recover(); v != nil {
			d, err = Declarative{}, fmt.Errorf("declarative configuration: not YAML: %v", v)
		}
	}()
	if err := yaml.UnmarshalWithOptions(b, &d, yaml.Strict()); err != nil {
		return Declarative{}, fmt.Errorf("declarative configuration: %w", err)
	}
	switch d.FormatVersion {
	case "3.0":
	case "":
		return Declarative{}, errors.New("declarative configuration: in '_format_version': " + kongrules.ErrRequired)
	default:
		return Declarative{}, errors.New("declarative configuration: in '_format_version': expected one of: 3.0")
	}
	return d, nil
}

var defaultPorts = map[string]int{"http": 80, "https": 443}

// complete returns a service with Kong's defaults.
func (s Service) complete() (Service, error) {
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil || u.Hostname() == "" {
			return s, fmt.Errorf("service %q: in 'url': missing host in url", s.Name)
		}
		s.Protocol, s.Host, s.Path = u.Scheme, u.Hostname(), u.Path
		s.Port = 0
		if p := u.Port(); p != "" {
			if _, err := fmt.Sscanf(p, "%d", &s.Port); err != nil {
				return s, fmt.Errorf("service %q: in 'url': invalid port", s.Name)
			}
		}
	}
	if s.Protocol == "" {
		s.Protocol = "http"
	}
	port, known := defaultPorts[s.Protocol]
	if !known {
		return s, fmt.Errorf("service %q: in 'protocol': expected one of: http, https", s.Name)
	}
	if s.Port == 0 {
		s.Port = port
	}
	if s.Host == "" {
		return s, fmt.Errorf("service %q: in 'host': %s", s.Name, kongrules.ErrRequired)
	}
	if s.Path != "" && !strings.HasPrefix(s.Path, "/") {
		return s, fmt.Errorf("service %q: in 'path': should start with: /", s.Name)
	}
	for _, t := range []*int{&s.ConnectTimeout, &s.WriteTimeout, &s.ReadTimeout} {
		if *t == 0 {
			*t = 60000
		}
	}
	if s.Retries == nil {
		five := 5
		s.Retries = &five
	}
	return s, nil
}
