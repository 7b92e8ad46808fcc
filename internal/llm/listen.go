// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// methodListen is the call of the Model Context Protocol, version 2026-07-28,
// whose answer is an event stream that stays open (basic/patterns/subscriptions).
const methodListen = "subscriptions/listen"

// A Listening says how a request asks for a stream that stays open.
type Listening uint8

const (
	// NoListening is every other request.
	NoListening Listening = iota
	// Listens is a body that is one such call, and nothing else in any reading.
	Listens
	// ListensAmongOthers is a batch with such a call in it, or a body that only
	// some servers take for one. Its answer may hold more than the stream.
	ListensAmongOthers
)

// Listens reports whether a call, or one of a batch, asks for a stream that
// stays open.
func (r *RPC) Listens() bool {
	return r.Method == methodListen || slices.ContainsFunc(r.Members, RPCMember.listens)
}

func (m RPCMember) listens() bool { return m.Method == methodListen }

// ListeningOf finds out how a request asks for a stream that stays open. What
// counts is what the server will read, the body, and never a header that says
// the same. M is what was read of the body, nil if nothing was: then bodies that
// cannot be read strictly ask for nothing. It is cheap for all others.
func ListeningOf(in *Input, m *Message) Listening {
	switch {
	case m != nil && m.RPC != nil:
		if !m.RPC.Listens() {
			return NoListening
		}
		// The reader also finds calls in a body that is no JSON text.
		if in.ContentEncoding == "" && listeningIn(in.Body) == Listens {
			return Listens
		}
		return ListensAmongOthers
	case m != nil && m.Format != Unknown, in.ContentEncoding != "", !mayListen(in.Body):
		return NoListening
	}
	return listeningIn(in.Body)
}

// mayListen reports whether a body could name the method.
func mayListen(body []byte) bool {
	return bytes.Contains(body, []byte("subscriptions")) || bytes.Contains(body, []byte(`\u`))
}

// listeningIn reads a JSON text for nothing but the method of its calls.
func listeningIn(body []byte) Listening {
	d, err := strictjson.Parse(body, DefaultDepth)
	if err != nil {
		return NoListening
	}
	const root = strictjson.Root
	if d.Kind(root) != strictjson.Array {
		return listeningCall(d, root)
	}
	for c := d.First(root); c < d.Next(root); c = d.Next(c) {
		if listeningCall(d, c) != NoListening {
			return ListensAmongOthers
		}
	}
	return NoListening
}

// listeningCall reads one call. Some servers do not mind how names are spelled,
// nor what else stands beside them.
func listeningCall(d *strictjson.Doc, v int) Listening {
	if d.Kind(v) != strictjson.Object {
		return NoListening
	}
	found, strict, version := false, true, false
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		name := string(d.Name(c))
		switch name {
		case "jsonrpc":
			version = string(d.Raw(c)) == `"2.0"`
		case "id", "params":
		case "method":
			found = found || isListen(d, c)
			strict = strict && isListen(d, c)
		default:
			strict = false
			found = found || strings.EqualFold(name, "method") && isListen(d, c)
		}
	}
	switch {
	case !found:
		return NoListening
	case strict && version:
		return Listens
	}
	return ListensAmongOthers
}

func isListen(d *strictjson.Doc, v int) bool {
	return d.Kind(v) == strictjson.String && string(d.Bytes(v)) == methodListen
}
