// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// JSON-RPC error codes of our own. They lie outside of the range that JSON-RPC
// reserves (-32768 to -32000), where applications have theirs: the Model Context
// Protocol divided -32000 to -32099 among itself and what its SDKs used before
// (specification of 2026-07-28, basic/index, "Error Codes"), and a client would
// take a block for its SDK's timeout (-32001) or closed connection (-32003).
const (
	rpcPolicy    = -31001
	rpcNoVerdict = -31003
)

// rpcNoMethod is JSON-RPC's own code for a method that a server does not have.
const rpcNoMethod = -32601

// Render writes a refusal in the error format of the API that was called, so
// that its clients raise their normal errors. The message also stands at the
// top level, where Kong's own answers have it. JSON-RPC is the exception: its
// messages have no room for it.
//
// A refusal with Asked is written as the model's turn instead.
func Render(r Refusal) (contentType string, body []byte) {
	if r.Asked.Answerable() {
		return renderTurn(&r)
	}
	if r.RPC != nil || r.Format == MCP {
		return "application/json", renderRPC(&r)
	}
	refuse := refuseOpenAI
	if a := known.api(r.Format); a != nil && a.refuse != nil {
		refuse = a.refuse
	}
	o := object{}
	refuse(&o, &r)
	o.shared(&r)
	return "application/json", o.end()
}

// shared writes what refusals of all formats have at the top level.
func (o *object) shared(r *Refusal) {
	o.str("message", r.Message)
	o.names(r)
}

// names writes the names by which a refusal can be found.
func (o *object) names(r *Refusal) {
	o.str("code", r.Code)
	o.str("request_id", r.RequestID)
	o.str("scan_id", r.ScanID)
}

// renderRPC answers each call of a JSON-RPC body with an error. A body whose
// ids are not known is answered with the id null, as the standard wants it.
func renderRPC(r *Refusal) []byte {
	if r.RPC == nil || !r.RPC.Batch {
		var id []byte
		if r.RPC != nil {
			id = r.RPC.ID
		}
		return rpcRefusal(r, id)
	}
	out := []byte{'['}
	for i, id := range r.RPC.IDs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, rpcRefusal(r, id)...)
	}
	return append(out, ']')
}

// rpcRefusal answers one call with an error. The id is null if it has none.
func rpcRefusal(r *Refusal, id []byte) []byte {
	code := rpcNoVerdict
	if r.Policy {
		code = rpcPolicy
	}
	if r.NoListening && r.listens(id) {
		code = rpcNoMethod
	}
	if len(id) == 0 {
		id = []byte("null")
	}
	o := object{}
	o.str("jsonrpc", "2.0")
	o.raw("id", string(id))
	o.open("error")
	o.raw("code", strconv.Itoa(code))
	o.str("message", r.Message)
	o.open("data")
	if r.Format == A2A {
		o.str("error", r.Message) // all that a2a-go tells of an error whose code it does not know
	}
	o.names(r)
	o.json("details", r.Details)
	o.close()
	o.close()
	return o.end()
}

// listens reports whether the call with this id asks for a stream that stays
// open. Where the calls are not known, the one that was refused does.
func (r *Refusal) listens(id []byte) bool {
	if r.RPC == nil || !r.RPC.Batch {
		return true
	}
	return slices.ContainsFunc(r.RPC.Members, func(m RPCMember) bool { return m.listens() && bytes.Equal(m.ID, id) })
}

// An object is a JSON object being written. Empty strings are left out.
type object struct {
	buf   []byte
	comma bool
}

func (o *object) name(name string) {
	switch {
	case len(o.buf) == 0:
		o.buf = append(o.buf, '{')
	case o.comma:
		o.buf = append(o.buf, ',')
	}
	o.comma = true
	o.buf = append(strconv.AppendQuote(o.buf, name), ':')
}

func (o *object) str(name, value string) {
	if value != "" {
		o.name(name)
		o.buf = strictjson.AppendQuote(o.buf, value)
	}
}

func (o *object) raw(name, value string) {
	o.name(name)
	o.buf = append(o.buf, value...)
}

// json writes a value that is JSON already; nil is left out.
func (o *object) json(name string, value []byte) {
	if value != nil {
		o.raw(name, string(value))
	}
}

func (o *object) open(name string) {
	o.name(name)
	o.buf, o.comma = append(o.buf, '{'), false
}

func (o *object) close() { o.buf, o.comma = append(o.buf, '}'), true }

func (o *object) end() []byte {
	if len(o.buf) == 0 {
		o.buf = append(o.buf, '{')
	}
	return append(o.buf, '}')
}
