// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"strings"
	"sync"
)

// RandomHeader makes a name for the header that carries a plugin's tokens. Kong
// removes what a client lists in its Connection header, our own too. A name that
// nobody can know cannot be listed.
func RandomHeader(plugin string) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return http.CanonicalHeaderKey("X-Relay-" + plugin + "-" + hex.EncodeToString(random[:]))
}

// maxRefusedHead is how much of a head is looked through for its token, in
// bytes. Kong takes none from a client that is longer.
const maxRefusedHead = 64 << 10

// A headConn keeps the head that is being read, since net/http answers some by
// itself: nginx lets control characters in values through, and a Host that is
// none. Such a request has come, and only its token says which it was.
type headConn struct {
	*net.TCPConn

	mu     sync.Mutex
	served bool // the head was handed to the handler, what follows is a body
	head   []byte
}

func (c *headConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.mu.Lock()
	if !c.served {
		c.head = append(c.head, p[:min(n, maxRefusedHead-len(c.head))]...)
	}
	c.mu.Unlock()
	return n, err
}

// begin says that a head comes next, handed that the handler has it.
func (c *headConn) begin()  { c.set(false) }
func (c *headConn) handed() { c.set(true) }

func (c *headConn) set(served bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served, c.head = served, c.head[:0]
	if cap(c.head) > 4<<10 {
		c.head = nil
	}
}

// unserved is the head that the handler never got.
func (c *headConn) unserved() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	head := c.head
	c.head = nil
	return head
}

// watched is a listener of headConns.
type watched struct{ net.Listener }

func (l watched) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &headConn{TCPConn: tcp}, nil
	}
	return c, err
}

// state follows a connection, as http.Server.ConnState has it.
func (s *Server) state(c net.Conn, state http.ConnState) {
	watched, ok := c.(*headConn)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		watched.begin()
	case http.StateClosed:
		if token := tokenIn(watched.unserved(), s.o.Header); token != "" {
			s.tokens.forget(token) // it has come, and was refused
		}
	}
}

// tokenIn finds the value of a header in a head, "" for none.
func tokenIn(head []byte, name string) string {
	for line := range bytes.Lines(head) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return ""
		}
		given, value, _ := strings.Cut(string(line), ":")
		if strings.EqualFold(given, name) {
			return strings.Trim(value, " \t")
		}
	}
	return ""
}
