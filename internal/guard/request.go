// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"io"
	"os"
	"strings"

	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
)

// readBody gives the request's body: as it lies in the reply, or what is in
// the file that Kong names. A file's bytes are ours (own) and take room until
// the event ends; the reply's are valid until then.
func (x *exchange) readBody(call *pdk.Call) (b []byte, own bool, err error) {
	raw, err := call.RawBody()
	if err != nil || raw.Path == "" {
		return raw.Content, false, err
	}
	b, err = x.readBodyFile(raw.Path)
	return b, true, err
}

var errBodyFile = errors.New("body file cannot be read")

func (x *exchange) readBodyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errBodyFile
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, errBodyFile
	}
	size := info.Size()
	if size > x.engine.settings.MaxRequestBytes {
		return nil, pdk.ErrTooLarge
	}
	if x.engine.process.Room.Reserve(x.ctx, x.caller, size) != nil {
		return nil, pdk.ErrNoRoom
	}
	x.held += size
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, errBodyFile
	}
	return b, nil
}

// requestLine splits nginx's variable "request" into method, path without
// query, and protocol. What the client wrote there may hold any bytes; the
// protocol comes last and is nginx's.
func requestLine(line string) (method, path, protocol string) {
	method, rest, _ := strings.Cut(line, " ")
	if i := strings.LastIndexByte(rest, ' '); i >= 0 {
		rest, protocol = rest[:i], rest[i+1:]
	}
	path, _, _ = strings.Cut(rest, "?")
	return method, path, protocol
}

// repeated tells whether a header stands there more than once.
func repeated(h pdk.Header, name string) bool {
	n := 0
	for range h.Values(name) {
		n++
	}
	return n > 1
}

// isGRPC tells a body in a protocol that is not read here.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	t := strings.TrimSpace(contentType)
	return len(t) >= len(grpc) && strings.EqualFold(t[:len(grpc)], grpc)
}

// accepts tells whether an Accept header names a media type.
func accepts(h pdk.Header, mediaType string) bool {
	for v := range h.Values("Accept") {
		if strings.Contains(strings.ToLower(v), mediaType) {
			return true
		}
	}
	return false
}

// wantsEventStreamByGET tells the request of MCP's that opens a stream which
// stays open: buffered, it would deliver nothing.
func wantsEventStreamByGET(method string, h pdk.Header) bool {
	return method == "GET" && accepts(h, "text/event-stream")
}

// asksForStream tells whether a request's body asks for a stream.
func asksForStream(m *llm.Message, in *llm.Input) bool {
	if m != nil {
		return m.Stream && m.RPC == nil
	}
	return in.ContentEncoding == "" && llm.WantsStream(in.Path, in.Body)
}

// wantsStream tells whether the answer will be a stream, as far as the
// request shows it. M is what was read of the body, nil if it was not.
func wantsStream(m *llm.Message, in *llm.Input, h pdk.Header) bool {
	if asksForStream(m, in) {
		return true
	}
	return accepts(h, "text/event-stream") && !accepts(h, "application/json")
}
