// SPDX-License-Identifier: Apache-2.0

package pdk

import (
	"maps"
	"net/http"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// UpstreamRawBody asks, in the response phase, for the upstream's body; see
// Call.Bytes.
func UpstreamRawBody() Call {
	return Call{Method: "kong.service.response.get_raw_body"}
}

// UpstreamStatus asks, in the response phase, for the upstream's status; see
// Call.Int.
func UpstreamStatus() Call {
	return Call{Method: "kong.service.response.get_status"}
}

// UpstreamHeader asks, in the response phase, for the first value of one of the
// upstream's headers; see Call.Text. Kong returns them by name only: asked for
// all of them, it always returns none.
func UpstreamHeader(name string) Call {
	return Call{Method: "kong.service.response.get_header", Args: textArgs(name)}
}

// SetResponseHeader sets a header of the answer that goes to the client.
func SetResponseHeader(name, value string) Call {
	return Call{Method: "kong.response.set_header", Args: pairArgs(name, textValue(value))}
}

// ClearResponseHeader removes a header from the answer that goes to the client.
func ClearResponseHeader(name string) Call {
	return Call{Method: "kong.response.clear_header", Args: textArgs(name)}
}

// BodyHeaders are the headers that describe an answer's body, and do not fit
// another one.
var BodyHeaders = []string{
	"Content-Encoding", "ETag", "Last-Modified", "Content-MD5", "Digest", "Content-Digest",
	"Repr-Digest", "Content-Range", "Accept-Ranges", "Content-Disposition",
}

var clearBodyHeaders = func() (calls []Call) {
	for _, name := range BodyHeaders {
		calls = append(calls, ClearResponseHeader(name))
	}
	return calls
}()

// ClearBodyHeaders returns the calls, one for each, that remove the headers
// that describe the upstream's body. Kong keeps them when a plugin answers with
// another body.
func ClearBodyHeaders() []Call { return slices.Clone(clearBodyHeaders) }

// ExitMethod is the method of ResponseExit. Kong never answers it: it closes
// the connection.
const ExitMethod = "kong.response.exit"

// ResponseExit answers the client. In the response phase the upstream's
// headers stay unless they are cleared or set here.
func ResponseExit(status int, header http.Header, body []byte) Call {
	b := make([]byte, 0, 64+len(body))
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(status))
	if len(body) > 0 {
		b = appendText(b, 2, body)
	}
	if len(header) > 0 {
		b = appendText(b, 3, headerStruct(header))
	}
	return Call{Method: ExitMethod, Args: b}
}

// headerStruct encodes headers as a Struct of lists, sorted by name.
func headerStruct(header http.Header) []byte {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(header)) {
		var list []byte
		for _, value := range header[name] {
			list = appendText(list, 1, textValue(value))
		}
		b = appendText(b, 1, pairArgs(name, appendText(nil, valueList, list)))
	}
	return b
}
