// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// luaFunction stands for a function in a Lua table. Kong writes it into a
// message as a name without a value, and cannot encode it by itself.
type luaFunction struct{}

// A lazyTable is a table that most exchanges have no need of.
type lazyTable func() map[string]any

// inContext is a value of ngx.ctx.
func (x *exchange) inContext(name string) any {
	if table, ok := x.ctx[name].(lazyTable); ok {
		x.ctx[name] = table()
	}
	return x.ctx[name]
}

// Names in ngx.ctx.
const (
	ctxBalancer = "balancer_data"
	ctxConsumer = "authenticated_consumer"
	ctxHeaders  = "buffered_headers"
	// ctxPlugins holds functions all over. To ask for it breaks the event.
	ctxPlugins = "plugins"
)

// setContext fills ngx.ctx and the variables that say where the request goes,
// as Kong does before any plugin runs.
func (x *exchange) setContext() {
	s := x.route.service
	x.scheme = s.Protocol
	x.upstream = x.route.upstreamPath(x.path, x.matched)
	if x.route.PreserveHost {
		x.upstreamHost = x.req.Host
	}
	x.ctx[ctxPlugins] = luaFunction{}
	x.ctx["service"] = lazyTable(func() map[string]any { return s.table(x.snap.created) })
	x.ctx["route"] = lazyTable(func() map[string]any { return x.route.table(x.snap.created) })
	x.ctx[ctxBalancer] = map[string]any{
		"host": s.Host, "port": float64(s.Port), "type": hostType(s.Host), "scheme": s.Protocol,
		"connect_timeout": float64(s.ConnectTimeout), "send_timeout": float64(s.WriteTimeout), "read_timeout": float64(s.ReadTimeout),
		"retries": float64(*s.Retries), "tries": map[string]any{}, "try_count": 0.0,
	}
}

// hostType is Kong's word for what a host is.
func hostType(host string) string {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	switch {
	case err != nil:
		return "name"
	case addr.Is4():
		return "ipv4"
	}
	return "ipv6"
}

func texts(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// put sets what is not empty: Kong's entities have no names for what is not
// set.
func put(m map[string]any, name string, v any) {
	switch v := v.(type) {
	case string:
		if v != "" {
			m[name] = v
		}
	case []string:
		if len(v) > 0 {
			m[name] = texts(v)
		}
	}
}

// table is the whole service as plugins see it.
func (s *service) table(created int64) map[string]any {
	m := map[string]any{
		"id": s.ID, "ws_id": workspaceID, "created_at": float64(created), "updated_at": float64(created), "enabled": true,
		"protocol": s.Protocol, "host": s.Host, "port": float64(s.Port), "retries": float64(*s.Retries),
		"connect_timeout": float64(s.ConnectTimeout), "write_timeout": float64(s.WriteTimeout), "read_timeout": float64(s.ReadTimeout),
	}
	put(m, "name", s.Name)
	put(m, "path", s.Path)
	put(m, "tags", s.Tags)
	put(m, "ca_certificates", s.CACertificates)
	if s.ClientCertificate != "" {
		m["client_certificate"] = map[string]any{"id": string(s.ClientCertificate)}
	}
	if s.TLSVerify != nil {
		m["tls_verify"] = *s.TLSVerify
	}
	if s.TLSVerifyDepth != nil {
		m["tls_verify_depth"] = float64(*s.TLSVerifyDepth)
	}
	return m
}

// table is the whole route as plugins see it.
func (r *route) table(created int64) map[string]any {
	const upgradeRequired = 426 // Kong's default for a redirect to HTTPS
	m := map[string]any{
		"id": r.ID, "ws_id": workspaceID, "created_at": float64(created), "updated_at": float64(created),
		"service": map[string]any{"id": r.service.ID}, "protocols": texts(r.Protocols),
		"strip_path": isTrue(r.StripPath), "preserve_host": r.PreserveHost,
		"request_buffering": isTrue(r.RequestBuffering), "response_buffering": isTrue(r.ResponseBuffering),
		"path_handling": "v0", "regex_priority": 0.0, "https_redirect_status_code": float64(upgradeRequired),
	}
	put(m, "name", r.Name)
	put(m, "paths", r.Paths)
	put(m, "methods", r.Methods)
	put(m, "hosts", r.Hosts)
	put(m, "tags", r.Tags)
	return m
}

// table is the whole consumer as plugins see it.
func (c *consumer) table(created int64) map[string]any {
	m := map[string]any{"id": c.ID, "ws_id": workspaceID, "created_at": float64(created), "updated_at": float64(created)}
	put(m, "username", c.Username)
	put(m, "custom_id", c.CustomID)
	put(m, "tags", c.Tags)
	return m
}

// isTrue is a flag that is on unless it says otherwise.
func isTrue(flag *bool) bool { return flag == nil || *flag }

// A target is where a request goes in the end.
type target struct {
	scheme string
	// address is host and port, or the path of a socket.
	address string
	unix    bool
	// host is the Host header.
	host string
	// name is what an https target has to show.
	name          string
	connect, read time.Duration
}

// unknownHost is why a name leads nowhere: the client gets it with a 503.
const unknownHost = "name resolution failed"

var errBalancer = errors.New("balancer_data is not what Kong can use")

// aim makes a target of what Kong and the plugins have left: balancer_data, the
// Host header and the scheme.
func (x *exchange) aim() (target, error) {
	data, ok := x.ctx[ctxBalancer].(map[string]any)
	if !ok {
		return target{}, errBalancer
	}
	host, _ := data["host"].(string)
	port, _ := data["port"].(float64)
	if host == "" || port != math.Trunc(port) || port < 0 || port > math.MaxUint16 {
		return target{}, errBalancer
	}
	to := target{scheme: x.scheme, host: x.upstreamHost, connect: milliseconds(data["connect_timeout"]), read: milliseconds(data["read_timeout"])}
	named := host
	if path, isSocket := strings.CutPrefix(host, "unix:"); isSocket {
		to.address, to.unix = path, true
	} else {
		if entity := x.snap.upstreams[host]; entity != nil && data["type"] == "name" {
			host, port = entity.next()
			named = host
			if entity.HostHeader != "" {
				named = entity.HostHeader
			}
		}
		to.address = net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(int(port)))
	}
	if to.host == "" {
		to.host = named
		if int(port) != defaultPorts[to.scheme] {
			to.host += ":" + strconv.Itoa(int(port))
		}
	}
	to.name = to.host
	if h, _, err := net.SplitHostPort(to.host); err == nil {
		to.name = h
	}
	return to, nil
}

func milliseconds(v any) time.Duration {
	n, _ := v.(float64)
	if n < 1 || n > math.MaxInt32 {
		n = 60000
	}
	return time.Duration(n) * time.Millisecond
}

// setTarget sends the request elsewhere. The Host header becomes the new host,
// without the port. balancer_data keeps the old type and scheme.
func setTarget(x *exchange, args []byte) ([]byte, error) {
	host, port, err := decodeTarget(args)
	if err != nil {
		return nil, err
	}
	return nil, x.setTarget(host, port)
}

func (x *exchange) setTarget(host string, port int) error {
	if port < 0 || port > math.MaxUint16 {
		return fmt.Errorf("port must be an integer between 0 and 65535: given %d", port)
	}
	data, ok := x.ctx[ctxBalancer].(map[string]any)
	if !ok {
		return errBalancer
	}
	data["host"], data["port"] = host, float64(port)
	x.upstreamHost = host
	return nil
}

// setUpstream makes one of Kong's upstream entities the target, if there is one
// of that name.
func setUpstream(x *exchange, args []byte) ([]byte, error) {
	host, err := decodeString(args)
	if err != nil || x.snap.upstreams[host] == nil {
		return nil, err // seen: false, which Kong writes as nothing
	}
	if x.gw.version < boolUpstream {
		return nil, errors.New("bad argument #2 to 'encode' (table expected, got boolean)")
	}
	data, ok := x.ctx[ctxBalancer].(map[string]any)
	if !ok {
		return nil, errBalancer
	}
	data["host"] = host
	return appendBool(nil, 1, true), nil
}

func setScheme(x *exchange, args []byte) ([]byte, error) {
	scheme, err := decodeString(args)
	if err != nil {
		return nil, err
	}
	return nil, x.setScheme(scheme)
}

func (x *exchange) setScheme(scheme string) error {
	if defaultPorts[scheme] == 0 {
		return fmt.Errorf("invalid scheme: %s", scheme)
	}
	x.scheme = scheme
	return nil
}

func setPath(x *exchange, args []byte) ([]byte, error) {
	path, err := decodeString(args)
	if err != nil {
		return nil, err
	}
	return nil, x.setPath(path)
}

func (x *exchange) setPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("path must start with /")
	}
	x.upstream = path
	return nil
}
