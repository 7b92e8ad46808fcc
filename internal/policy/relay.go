// SPDX-License-Identifier: Apache-2.0

package policy

// A Destination is where Kong was about to send a request, as far as it decides
// whether the relay can send it there in Kong's place.
type Destination struct {
	// Protocol is the service's, "" for a route without one. Scheme is what
	// Kong would speak, whatever the service says.
	Protocol, Scheme string
	// Host is "" when Kong does not know yet where the request goes.
	Host string
	// ClientCertificate says that Kong would show the upstream a certificate of
	// its own.
	ClientCertificate bool
	// Entity says that Host names one of Kong's upstream entities.
	Entity bool
}

// A RelayReason is why exchanges go through Kong's phases although they were to
// be relayed, "" when they can be relayed. It is a text for operators.
type RelayReason string

// The reasons.
const (
	RelayProtocol    RelayReason = "the upstream does not speak HTTP (gRPC)"
	RelayCertificate RelayReason = "the service has a client certificate, which Kong does not hand out"
	RelayEntity      RelayReason = "the service's host is a Kong upstream entity, whose targets only Kong knows; set relay_upstream"
	RelayNowhere     RelayReason = "no upstream is known when the plugin runs; take a -priority below that of the plugin that chooses it, or set relay_upstream"
	RelayListener    RelayReason = "the relay cannot listen"
	RelayTaken       RelayReason = "a plugin that runs later sends the requests elsewhere (ai-proxy does); take a -priority below its own, 769 for ai-proxy's 770"
)

// Relays reports whether exchanges are to go through the relay. Where no leg is
// looked at, it would have nothing to do.
func (s *Settings) Relays() bool {
	return s.Relay && (s.RequestMode != Off || s.ResponseMode != Off)
}

// NotRelayable returns why requests to a destination cannot be relayed, "" when
// they can.
func (s *Settings) NotRelayable(d *Destination) RelayReason {
	for _, protocol := range []string{d.Protocol, d.Scheme} {
		if protocol != "" && protocol != "http" && protocol != "https" {
			return RelayProtocol
		}
	}
	switch {
	case d.ClientCertificate:
		return RelayCertificate
	case s.RelayUpstream != nil:
		return ""
	case d.Host == "":
		return RelayNowhere
	case d.Entity:
		return RelayEntity
	}
	return ""
}
