// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// A body is one leg's body as it came, before anybody has read it.
type body struct {
	in llm.Input
	// own says that the bytes are ours, not the reply's.
	own bool
	// fault is why the bytes are not there, nil if they are.
	fault error
	// cut says that the bytes are only the first of a body that is too large.
	cut bool
}

// beforeReading judges what can be said of a body without reading it. It is not
// ok when that settles the leg.
func (e *Engine) beforeReading(b *body) (f policy.Finding, ok bool) {
	switch {
	case b.fault != nil:
		return replyFault(b.fault), false
	case len(b.in.Body) == 0: // of an answer: 204, 304, to a HEAD
		return policy.Ended(policy.Nothing, ""), false
	case int64(len(b.in.Body)) > e.settings.MaxBytes(b.in.Leg):
		return policy.Ended(policy.TooLarge, ""), false
	}
	return policy.Finding{}, true
}

// readBody returns the request's body: the bytes in the reply, or those of the
// file that Kong names. A file's bytes are ours and take room until the event
// ends. The reply's are valid until then.
func (p *phase) readBody(call *pdk.Call, b *body) error {
	raw, err := call.RawBody()
	if err != nil || raw.Path == "" {
		b.in.Body = raw.Content
		return err
	}
	b.own = true
	b.in.Body, b.cut, err = p.readBodyFile(raw.Path)
	return err
}

var errBodyFile = errors.New("body file cannot be read")

// readBodyFile reads a request's body. Of one that is too large it reads what
// may be monitored.
func (p *phase) readBodyFile(path string) (b []byte, cut bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, errBodyFile
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, false, errBodyFile
	}
	size, s := info.Size(), &p.engine.settings
	if cut = size > s.MaxRequestBytes; cut {
		if s.RequestMode != policy.Monitor {
			return nil, false, pdk.ErrTooLarge
		}
		size = s.MaxRequestBytes
	}
	if p.engine.process.Room.Reserve(p.ctx, p.caller, size) != nil {
		return nil, false, pdk.ErrNoRoom
	}
	p.held += size
	b = make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, false, errBodyFile
	}
	return b, cut, nil
}

// splitRequestLine splits nginx's variable "request" into method, path without
// query, and protocol. What the client wrote there may hold any bytes. The
// protocol comes last and is nginx's own.
func splitRequestLine(line string) (method, path, protocol string) {
	method, rest, _ := strings.Cut(line, " ")
	if i := strings.LastIndexByte(rest, ' '); i >= 0 {
		rest, protocol = rest[:i], rest[i+1:]
	}
	path, _, _ = strings.Cut(rest, "?")
	return method, path, protocol
}

// asksForEvents reports whether a request's line or target says in its query
// that a stream is to come as server-sent events, as Google's APIs have it.
func asksForEvents(target string) bool {
	_, query, _ := strings.Cut(target, "?")
	query, _, _ = strings.Cut(query, " ")
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "alt=sse" || pair == "$alt=sse" || pair == "%24alt=sse" {
			return true
		}
	}
	return false
}
