// SPDX-License-Identifier: Apache-2.0

package guard

import "kong-ai-guard/internal/pdk"

// refuseUnusable ends an exchange of an instance whose configuration cannot
// be used.
func (x *exchange) refuseUnusable() {
	id, line := pdk.NginxVar("kong_request_id"), pdk.NginxVar("request")
	if !x.batch(&id, &line) {
		return
	}
	// The answer does without what cannot be read.
	x.facts.requestID, _ = id.Text()
	request, _ := line.Text()
	x.facts.method, x.facts.path, _ = requestLine(request)
	x.refuse(judgement{outcome: misconfigured, reason: "configuration cannot be used", hint: x.engine.badField})
}
