// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	gopdk "github.com/Kong/go-pdk"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

// The errors of an event that can make no more calls.
var (
	errExited = errors.New("the event has ended with an exit")
	errOver   = errors.New("the event is over")
)

// An Event is one phase of one exchange, open for PDK calls. It belongs to the
// goroutine that runs the handler, and is over when the handler returns.
type Event struct {
	conn  *conn
	ctx   context.Context
	phase string
	// over says why no more calls can be made: errExited, errOver or
	// pdk.ErrGone. cause is what broke the connection, for finish.
	over, cause error
	bare        *bridgeConn
}

// Batch makes PDK calls: it writes them all at once and then reads the replies
// in order, each into its Call. A reply that may not be read into memory is
// thrown away, and its Call gets pdk.ErrTooLarge or pdk.ErrNoRoom. An error of
// Batch itself is pdk.ErrGone, unless the event was over before.
//
// Replies are valid until the handler returns.
func (e *Event) Batch(calls ...*pdk.Call) error {
	if err := e.ready(); err != nil {
		return err
	}
	for _, call := range calls {
		if call.Method == "" { // the frame that ends an event
			panic("pluginserver: a call without a method")
		}
	}
	for len(calls) > 0 {
		n := e.write(calls)
		if err := e.exchange(calls[:n]); err != nil {
			return e.broken(err)
		}
		calls = calls[n:]
	}
	return nil
}

// write writes as many calls as may be written before replies are read, at
// least one, and returns their number.
func (e *Event) write(calls []*pdk.Call) int {
	for i, call := range calls {
		size := len(e.conn.out) + 2*headerSize + len(call.Method) + len(call.Args)
		if i > 0 && (size > batchBytes || e.conn.tail != nil) {
			return i
		}
		e.conn.addCall(call)
	}
	return len(calls)
}

func (e *Event) exchange(calls []*pdk.Call) error {
	e.conn.counters.Calls.Add(int64(len(calls)))
	if err := e.conn.flush(); err != nil {
		return err
	}
	if err := e.conn.skipUnread(); err != nil {
		return err
	}
	for _, call := range calls {
		if err := e.conn.reply(e.ctx, call); err != nil {
			return err
		}
	}
	return nil
}

// Tell makes calls whose replies nobody needs. They are written together with
// what comes next, at the latest with the end of the event, so that neither side
// waits for the other once more. Whether Kong could carry them out is not known:
// if it could not, it does what it does when a plugin server fails, which before
// 3.8 is to go on. So they must be such that nothing depends on.
func (e *Event) Tell(calls ...*pdk.Call) error {
	if err := e.ready(); err != nil {
		return err
	}
	size := len(e.conn.out)
	for _, call := range calls {
		size += 2*headerSize + len(call.Method) + len(call.Args)
	}
	if size > batchBytes || e.bare != nil {
		return e.Batch(calls...)
	}
	for _, call := range calls {
		if call.Method == "" { // the frame that ends an event
			panic("pluginserver: a call without a method")
		}
		e.conn.addCall(call)
	}
	e.conn.counters.Calls.Add(int64(len(calls)))
	e.conn.unread += len(calls)
	return nil
}

// Own says for whom the memory of this event's replies counts, including those
// that were read before.
func (e *Event) Own(owner string) { e.conn.own(owner) }

// Exit answers the client with a status, headers and a body of our own, in
// place of what Kong or the upstream would have said. In the response phase
// the upstream's headers stay, but for those that are set here or were cleared
// before. No call can follow.
//
// Kong does not answer an exit: it ends the event at once and closes the
// connection. That is why Exit returns no error of Kong's.
func (e *Event) Exit(status int, header http.Header, body []byte) error {
	if err := e.ready(); err != nil {
		return err
	}
	call := pdk.ResponseExit(status, header, body)
	e.conn.counters.Calls.Add(1)
	e.conn.addCall(&call)
	if err := e.conn.flush(); err != nil {
		return e.broken(err)
	}
	e.over = errExited
	return nil
}

// PDK returns go-pdk's own API on the same connection, for what has no
// constructor in package pdk. Its calls go one by one.
func (e *Event) PDK() *gopdk.PDK {
	if e.bare == nil {
		if e.over == nil && e.conn.unread > 0 { // go-pdk must not read what Tell has called for
			if err := errors.Join(e.conn.flush(), e.conn.skipUnread()); err != nil {
				_ = e.broken(err)
			}
		}
		e.bare = &bridgeConn{Conn: e.conn.Conn, event: e}
	}
	return gopdk.Init(e.bare)
}

// ready reports whether calls can be made, and throws away what go-pdk's API
// may have left half done.
func (e *Event) ready() error {
	if e.over != nil {
		return e.over
	}
	if e.bare != nil {
		if err := e.bare.settle(); err != nil {
			return e.broken(err)
		}
	}
	return nil
}

// broken ends the event because of an error on its connection.
func (e *Event) broken(cause error) error {
	e.over, e.cause = pdk.ErrGone, cause
	return e.over
}

// finish ends the event for Kong after the handler has returned. An error
// closes the connection.
func (e *Event) finish(sequence int64) error {
	err := e.ready()
	e.over = errOver
	switch {
	case err == nil:
		e.conn.add(nil)
		return e.conn.giveBack(sequence, nil)
	case errors.Is(err, errExited):
		return e.conn.awaitClose()
	case errors.Is(err, pdk.ErrGone):
		return e.cause
	default:
		return err
	}
}

// awaitClose waits until Kong closes the connection, which it does when it has
// carried out an exit. If it answers or stays silent instead, the exit came to
// nothing. Ending the event in good order would then let the exchange pass, so
// the connection is closed, and Kong runs the event again.
func (c *conn) awaitClose() error {
	if err := c.SetReadDeadline(time.Now().Add(exitTimeout)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c.in); err != nil {
		return err
	}
	return errExited
}

var (
	refusalBody   = []byte(`{"message":"The request could not be checked.","error":{"message":"The request could not be checked.","type":"guard_error","code":"internal_error"}}`)
	refusalHeader = http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
)

// refuse ends an event whose handler cannot. It is the last resort: whatever
// refuses earlier knows the caller's format.
func (e *Event) refuse() {
	header := refusalHeader
	if e.phase == phaseResponse {
		headers := pdk.ClearBodyHeaders()
		calls := make([]*pdk.Call, len(headers))
		for i := range headers {
			calls[i] = &headers[i]
		}
		if e.Batch(calls...) != nil {
			return
		}
		// The model was paid already: trying again costs once more.
		header = header.Clone()
		header.Set("X-Should-Retry", "false")
	}
	if err := e.Exit(http.StatusServiceUnavailable, header, refusalBody); err != nil {
		e.conn.server.Log.Debug("the refusal did not get out")
	}
}
