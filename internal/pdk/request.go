// SPDX-License-Identifier: Apache-2.0

package pdk

// MaxHeaders is how many headers RequestHeaders asks for: the most that Kong
// returns. Unasked, Kong returns 100 and drops the rest.
const MaxHeaders = 1000

var maxHeaders = intArgs(MaxHeaders)

// RequestRawBody asks for the client's body; see Call.RawBody.
func RequestRawBody() Call {
	return Call{Method: "kong.request.get_raw_body"}
}

// RequestHeaders asks for the client's headers; see Call.Headers.
func RequestHeaders() Call {
	return Call{Method: "kong.request.get_headers", Args: maxHeaders}
}

// SetRequestBody replaces the body that goes to the upstream. The bytes are
// copied.
func SetRequestBody(body []byte) Call {
	return Call{Method: "kong.service.request.set_raw_body", Args: textArgs(body)}
}

// SetRequestHeader sets a header of the request that goes to the upstream.
func SetRequestHeader(name, value string) Call {
	return Call{Method: "kong.service.request.set_header", Args: textPairArgs(name, value)}
}

// ClearRequestHeader removes a header from the request that goes to the upstream.
func ClearRequestHeader(name string) Call {
	return Call{Method: "kong.service.request.clear_header", Args: textArgs(name)}
}
