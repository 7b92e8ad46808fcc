// SPDX-License-Identifier: Apache-2.0

package pdk

import (
	"maps"
	"net/http"
	"slices"
	"strings"

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

// UpstreamHeaders asks, in the response phase, for all of the upstream's headers;
// see Call.BufferedHeaders. Kong's own function for all of them
// (kong.service.response.get_headers) returns a table that has them only by name,
// and so always none to us. This is what it looks them up in: Kong puts it into
// ngx.ctx with the buffered answer (Kong.response in kong/init.lua).
func UpstreamHeaders() Call { return NginxCtx("buffered_headers") }

// BufferedHeaders decodes the reply to UpstreamHeaders: every value of a header
// that came more than once, which UpstreamHeader does not show, in the order of
// the lines if they are written alike. Names have "-" where the upstream wrote
// "_": so does ngx.header, by which Kong sends them to the client, so that
// Content_Encoding becomes Content-Encoding (lua-nginx-module's directive
// lua_transform_underscores_in_response_headers; seen on Kong 3.9.1).
// Content-Length, which nginx has as a number, is left out. known is false when
// the reply is no table of headers, or an empty one, as one with a metatable
// comes: then they may be elsewhere. An error is Call.Err.
func (c *Call) BufferedHeaders() (h Header, known bool, err error) {
	if c.Err != nil {
		return Header{}, false, c.Err
	}
	cur, ok := value{encoded: c.Reply}.only()
	if !ok || cur.num != valueStruct || cur.typ != protowire.BytesType {
		return Header{}, false, nil
	}
	all := make([]headerField, 0, min(len(cur.data())/32, MaxHeaders))
	if h.fields, err = appendHeaders(all, cur.data(), true); err != nil {
		return Header{}, false, nil
	}
	for i := range h.fields {
		h.fields[i].name = strings.ReplaceAll(h.fields[i].name, "_", "-")
	}
	return h, len(h.fields) > 0, nil
}

// UpstreamHeader asks, in the response phase, for the first value of one of the
// upstream's headers; see Call.Text.
func UpstreamHeader(name string) Call {
	return Call{Method: "kong.service.response.get_header", Args: textArgs(name)}
}

// SetResponseHeader sets a header of the answer that goes to the client.
func SetResponseHeader(name, value string) Call {
	return Call{Method: "kong.response.set_header", Args: textPairArgs(name, value)}
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
