// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"net"
	"net/netip"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// isRelayed reports whether an instance takes exchanges through its relay.
func isRelayed(s *policy.Settings) bool {
	return s.Relay && (s.RequestMode != policy.Off || s.ResponseMode != policy.Off)
}

// relayed reports what keeps a relayed instance's exchanges from its relay, or
// their streams from flowing, and whether its services are sealed.
func (p *Plugin) relayed(doc *document, in *instance, s *policy.Settings, beside []*instance, noted *remarks) {
	if s.KeepBuffering {
		noted.add(levelWarning, "keep_buffering is true: Kong holds what the relay releases until it is whole, so streams do not flow")
	}
	for _, other := range beside {
		if other.name == "post-function" && asksForMarks(other) {
			noted.add(levelWarning, "post-function refuses answers without a mark in header_filter, and a relayed one has none: leave that function of kong/fail-closed out")
		}
		known := neighboursOfKong[other.name]
		if known.deeds&scansToo == 0 || other.name == in.name {
			continue
		}
		switch on := text(other.config()["relay"]) == "on"; {
		case !on && holdsStreams(other):
			noted.add(levelWarning, "%s has relay off and holds answers until they are whole, so streams do not flow", other.name)
		case on && s.RelayUpstream != nil && known.priority > p.Priority:
			noted.add(levelWarning, "relay_upstream leads past %s (priority %d), which runs before this plugin (%d) and is relayed too: set it there and not here", other.name, known.priority, p.Priority)
		}
	}
	covered := 0
	for _, to := range doc.services {
		if !doc.sends(in, to) {
			continue
		}
		covered++
		for _, remark := range aboutService(to, s, doc.upstreams[to.host]) {
			noted.add(remark.level, "service %s %s", clean(to.name), remark.text)
		}
	}
	if s.RelayUpstream != nil && covered > 1 {
		noted.add(levelWarning, "relay_upstream takes the requests of %d services to one place: configure the plugin for each", covered)
	}
}

// asksForMarks reports whether a post-function looks at answers for the marks
// that the response phase leaves.
func asksForMarks(in *instance) bool {
	const mark = "ai_guard:"
	return strings.Contains(find(in.config()["header_filter"], func(code string) bool { return strings.Contains(code, mark) }), mark)
}

// sends reports whether Kong sends requests that the instance runs for to a
// service.
func (d *document) sends(in *instance, to *service) bool {
	if r := d.named(in.route); r != nil {
		return r.service == to.name
	}
	return in.route == "" && (in.service == "" || in.service == to.name)
}

// aboutService says what a relayed instance means for a service: whether its
// requests can be relayed, and whether they can reach the model without it.
func aboutService(to *service, s *policy.Settings, upstream bool) (noted remarks) {
	switch {
	case strings.HasPrefix(to.scheme, "grpc"):
		noted.add(levelWarning, "speaks gRPC: its exchanges are not relayed")
	case to.clientCertificate:
		noted.add(levelWarning, "has a client certificate, which only Kong can show: its exchanges are not relayed")
	case upstream && s.RelayUpstream == nil:
		noted.add(levelWarning, "leads to a Kong upstream, whose targets only Kong knows: its exchanges are not relayed; relay_upstream can say where to")
	}
	if to.ownTLS && !upstream {
		noted.add(levelNote, "says how its certificate is verified, which does not hold for relayed exchanges: relay_tls_verify and relay_ca_file do")
	}
	if s.RelayUpstream == nil {
		return noted
	}
	address := clean(net.JoinHostPort(to.host, to.port))
	switch {
	case upstream:
		noted.add(levelWarning, "still leads to a Kong upstream: a request that misses the plugin reaches it unscanned; http://127.0.0.1:1 would seal it")
	case !leadsBack(to.host):
		noted.add(levelWarning, "still leads to %s: a request that misses the plugin reaches it unscanned; http://127.0.0.1:1 would seal it", address)
	case to.port == "1":
		noted.add(levelNote, "is sealed: it leads nowhere (%s), so that no request reaches the model without the plugin", address)
	default:
		noted.add(levelNote, "is sealed only if nothing listens at %s on Kong's own host; http://127.0.0.1:1 is sure", address)
	}
	return noted
}

// leadsBack reports whether a host is the machine itself.
func leadsBack(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}
