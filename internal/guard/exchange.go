// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"net/http"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// An exchange is what the response leg needs to know of an exchange: what the
// access phase learned, or what was read again when that is forgotten. It holds
// no part of a frame, and does not change once the access phase is over.
type exchange struct {
	requestID    string
	method, path string
	// events is as in policy.Exchange.
	events   bool
	identity scan.Identity
	// named says who calls what, for the log line of a monitored leg: no event
	// is left then to ask Kong. Unlike identity it may lack what could not be
	// read.
	named  scan.Identity
	claim  string // see scan.Claimer
	caller string // see scan.Scan.Caller
	header http.Header
	// token is the bearer token in header, if Kong has verified it.
	token string
	// request is what the request said, without its turns; nil when it was
	// not read.
	request *llm.Message
	// prompt are the turns that were scanned, for vendors that want them.
	prompt []llm.Turn
	// unread is the request's body when it was kept to be read later.
	unread *unreadBody
	// released says that the answer is not ours to scan, although the
	// response event may come for the sake of another plugin.
	released bool
	// scout is the exchange as the relay waits for it when it is sent there only
	// to see whether it comes.
	scout *expected
	// beside is the request's scan if the request went on meanwhile.
	beside *beside
	// trace is the request leg's place in the caller's trace.
	trace tracing.SpanContext
	// access is how the request leg ended, for the access log.
	access policy.Report
}

// An unreadBody is a copy of a request's body.
type unreadBody struct {
	contentType, contentEncoding string
	bytes                        []byte
}

// unreadInput is the kept body as it is to be read.
func (x *exchange) unreadInput() llm.Input {
	return llm.Input{
		Leg: llm.RequestLeg, Path: x.path, Body: x.unread.bytes,
		ContentType: x.unread.contentType, ContentEncoding: x.unread.contentEncoding,
	}
}

// recordOverhead is about what a record takes besides its texts.
const recordOverhead = 1 << 10

// size is about the memory that the exchange takes, in bytes.
func (x *exchange) size() int64 {
	n := recordOverhead + len(x.path) + len(x.requestID) + len(x.claim) + len(x.caller)
	for name, values := range x.header {
		n += 64 + len(name)
		for _, v := range values {
			n += 16 + len(v)
		}
	}
	for i := range x.prompt {
		n += 128 + len(x.prompt[i].Text) + len(x.prompt[i].Name) + len(x.prompt[i].CallID)
	}
	if x.unread != nil {
		n += len(x.unread.bytes)
	}
	if x.request != nil && x.request.RPC != nil {
		n += len(x.request.RPC.ID) + len(x.request.RPC.Method) + len(x.request.RPC.Tool)
		for _, id := range x.request.RPC.IDs {
			n += 24 + len(id)
		}
		for _, m := range x.request.RPC.Members {
			n += 96 + len(m.ID) + len(m.Method) + len(m.Tool)
		}
	}
	return int64(n)
}

// outline returns what reading and refusing the answer need of a request. It
// leaves out the turns and everything else that keeps the body in memory.
func outline(m *llm.Message) *llm.Message {
	o := &llm.Message{
		Leg: m.Leg, Format: m.Format, Model: m.Model, ID: m.ID, Chat: m.Chat, Stream: m.Stream, Asked: m.Asked,
	}
	if m.RPC != nil {
		rpc := *m.RPC
		rpc.ID, rpc.Params, rpc.Result = bytes.Clone(rpc.ID), nil, nil
		rpc.Members = make([]llm.RPCMember, len(m.RPC.Members))
		for i, member := range m.RPC.Members {
			member.ID, member.Body = bytes.Clone(member.ID), nil
			rpc.Members[i] = member
		}
		rpc.IDs = make([][]byte, len(m.RPC.IDs))
		for i, id := range m.RPC.IDs {
			rpc.IDs[i] = bytes.Clone(id)
		}
		o.RPC = &rpc
	}
	return o
}

// known is what policy needs to know of the exchange.
func (x *exchange) known() policy.Exchange {
	return policy.Exchange{RequestID: x.requestID, Path: x.path, Events: x.events, Request: x.request, Stamp: llm.NewStamp}
}
