// SPDX-License-Identifier: Apache-2.0

package pdk

// SetUpstreamScheme sets the scheme, http or https, by which the upstream is
// asked.
func SetUpstreamScheme(scheme string) Call {
	return Call{Method: "kong.service.request.set_scheme", Args: textArgs(scheme)}
}

// SetUpstream makes one of Kong's upstream entities the target; see Call.Bool,
// which is true if an entity has that name. If none has, nothing changes, and
// nothing changes either for the host that the service has anyhow. So it tells
// an entity from a name of DNS, which look the same in BalancerData.
func SetUpstream(host string) Call {
	return Call{Method: "kong.service.set_upstream", Args: textArgs(host)}
}
