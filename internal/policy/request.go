// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/http"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// A RequestHead is what a request says before its body.
type RequestHead struct {
	Method string
	// Protocol is the version of HTTP that the client speaks, as "HTTP/1.1".
	Protocol string
	// Header has canonical names.
	Header http.Header
	// Incomplete says that there may be more headers than Header has.
	Incomplete bool
	// Relayed says that the answer will come through the relay, which sees it
	// whatever Kong does, and while it flows.
	Relayed bool
}

// Upgrades reports whether this asks for WebSocket, as Kong understands it: by
// the first Upgrade header.
func (h *RequestHead) Upgrades() bool {
	return strings.EqualFold(strings.TrimSpace(h.Header.Get("Upgrade")), "websocket")
}

// Unguardable finds out why an exchange that is enforced on a leg cannot be
// guarded, whatever its body says. bad is false when it can be.
func (s *Settings) Unguardable(h *RequestHead) (f Finding, bad bool) {
	if !s.EnforcesAny() {
		return Finding{}, false
	}
	switch {
	case h.Incomplete:
		// What decides may stand among those that were left out.
		return Ended(Ambiguous, ReasonHeaders), true
	case (h.Relayed || s.ResponseMode == Enforce) && h.Upgrades():
		// Kong would not buffer the answer, and skip the response phase. The
		// relay would see either leg in frames that are not read.
		return Ended(UpgradeRefused, ""), true
	case !h.Relayed && s.ResponseMode == Enforce && s.RefuseHTTP2 && !strings.HasPrefix(h.Protocol, "HTTP/1."):
		// The same, on Kongs that buffer answers over HTTP/1 only.
		return Ended(HTTP2Refused, ""), true
	case isGRPC(h.Header.Get("Content-Type")) && !s.AllowUnscannable:
		return Ended(Unscannable, ReasonGRPC), true
	case !h.Relayed && s.ResponseMode == Enforce && !s.PassMCPGetStream && h.opensEventStream():
		return Ended(StreamRefused, ""), true
	case s.RequestMode == Enforce && (len(h.Header["Content-Type"]) > 1 || len(h.Header["Content-Encoding"]) > 1):
		return Ended(Ambiguous, ReasonTwice), true
	}
	return Finding{}, false
}

// isGRPC reports a body in a protocol that is not read here.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	t := strings.TrimSpace(contentType)
	return len(t) >= len(grpc) && strings.EqualFold(t[:len(grpc)], grpc)
}

// accepts reports whether an Accept header names a media type.
func (h *RequestHead) accepts(mediaType string) bool {
	for _, v := range h.Header["Accept"] {
		if strings.Contains(strings.ToLower(v), mediaType) {
			return true
		}
	}
	return false
}

// opensEventStream reports whether this is MCP's request for a stream that
// stays open. Buffered, such a stream would deliver nothing.
func (h *RequestHead) opensEventStream() bool {
	return h.Method == http.MethodGet && h.accepts("text/event-stream")
}

// listens finds out how this asks for MCP's other stream that stays open, which
// is opened by a POST. M is what was read of the body, nil if nothing was: then
// only those are looked at that take an event stream, as the protocol wants it.
func (h *RequestHead) listens(m *llm.Message, in *llm.Input) llm.Listening {
	if m == nil && !h.MayListen() {
		return llm.NoListening
	}
	return llm.ListeningOf(in, m)
}

// MayListen reports whether this may ask for a stream that stays open, for all
// that its head says.
func (h *RequestHead) MayListen() bool { return h.accepts("text/event-stream") }

// asksForStream reports whether a request's body asks for a stream.
func asksForStream(m *llm.Message, in *llm.Input) bool {
	if m != nil {
		return m.Stream && m.RPC == nil
	}
	return in.ContentEncoding == "" && llm.WantsStream(in.Path, in.Body)
}

// expectsStream reports whether the answer will be a stream, as far as the
// request shows. M is what was read of the body, nil if it was not.
func (h *RequestHead) expectsStream(m *llm.Message, in *llm.Input) bool {
	return asksForStream(m, in) || h.accepts("text/event-stream") && !h.accepts("application/json")
}
