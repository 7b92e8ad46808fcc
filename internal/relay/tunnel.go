// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// A tunnelBody is the body of an answer with status 101: what the upstream says
// after it, and hears.
type tunnelBody struct {
	answerBody
	to io.Writer
}

// Write sends to the upstream.
func (b *tunnelBody) Write(p []byte) (int, error) { return b.to.Write(p) }

var (
	errNoTunnel = errors.New("no answer that switches protocols")
	errBroken   = errors.New("one side of a tunnel broke")
)

// Tunnel sends the head of an answer with status 101 and joins the client and
// the upstream, until both have ended, one of them breaks, r's context ends or
// nothing came from either for as long as the target's Read. It closes both. The
// end of one side is told to the other, which may go on. The error is nil when
// both have ended.
func Tunnel(w http.ResponseWriter, r *http.Request, answer *http.Response) error {
	defer answer.Body.Close()
	upstream, ok := answer.Body.(*tunnelBody)
	if !ok {
		return errNoTunnel
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := writeSwitch(buffered.Writer, answer); err != nil {
		return err
	}
	end := func() {
		client.Close()
		upstream.from.Close()
	}
	var late atomic.Bool
	var idle bound
	idle.init(upstream.call.idle, func() { late.Store(true); end() })
	defer idle.end()
	defer context.AfterFunc(r.Context(), end)()
	idle.start()
	ends := make(chan error, 2)
	// What was read ahead, and then the connection itself: read through buffered,
	// its end would end r's context.
	ahead, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	said := io.MultiReader(bytes.NewReader(ahead), client)
	go func() { ends <- join(upstream.to, said, upstream.call.conn, &idle) }()
	go func() { ends <- join(client, upstream.from, client, &idle) }()
	for range 2 {
		if e := <-ends; e != nil {
			err = e
			end()
		}
	}
	switch {
	case late.Load():
		return ErrUpstreamTimeout
	case r.Context().Err() != nil:
		return r.Context().Err()
	case err != nil:
		return errBroken
	}
	return nil
}

// writeSwitch writes the head of an answer with status 101.
func writeSwitch(to *bufio.Writer, answer *http.Response) error {
	h := make(http.Header, len(answer.Header))
	copyEndToEnd(h, answer.Header)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, answer.Header["Upgrade"]
	if _, err := fmt.Fprintf(to, "HTTP/1.1 101 %s\r\n", http.StatusText(http.StatusSwitchingProtocols)); err != nil {
		return err
	}
	if err := h.Write(to); err != nil {
		return err
	}
	if _, err := to.WriteString("\r\n"); err != nil {
		return err
	}
	return to.Flush()
}

// join copies one direction of a tunnel, and tells its end.
func join(to io.Writer, from io.Reader, end net.Conn, idle *bound) (err error) {
	buffer := passBuffers.Get().(*[passBuffer]byte)
	defer passBuffers.Put(buffer)
	for {
		n, err := from.Read(buffer[:])
		idle.start()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF { //nolint:errorlint // as io.Reader has it
			break
		}
		if err != nil {
			return err
		}
	}
	if half, ok := end.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
