// SPDX-License-Identifier: Apache-2.0

package pdk

import "google.golang.org/protobuf/encoding/protowire"

// SetUpstreamScheme sets the scheme, http or https, by which the upstream is
// asked.
func SetUpstreamScheme(scheme string) Call {
	return Call{Method: "kong.service.request.set_scheme", Args: textArgs(scheme)}
}

// SetTarget sends the request to a host and a port, without any of Kong's load
// balancing. The Host header that goes there becomes host, without the port.
func SetTarget(host string, port uint16) Call {
	b := make([]byte, 0, textSize(len(host))+4)
	if host != "" {
		b = appendText(b, 1, host)
	}
	if port != 0 {
		b = protowire.AppendTag(b, 2, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(port))
	}
	return Call{Method: "kong.service.set_target", Args: b}
}

// SetUpstream makes one of Kong's upstream entities the target; see Call.Bool,
// which is true if an entity has that name. If none has, nothing changes, and
// nothing changes either for the host that the service has anyhow. So it tells
// an entity from a name of DNS, which look the same in BalancerData.
func SetUpstream(host string) Call {
	return Call{Method: "kong.service.set_upstream", Args: textArgs(host)}
}
