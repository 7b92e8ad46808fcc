// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// A Link is a connection, used by one call at a time.
type Link struct {
	net.Conn
	// Answers reads what comes.
	Answers *AnswerReader

	socket net.Conn // below TLS
	secure bool
	raw    syscall.RawConn // of the socket, nil if it is none
	since  time.Time       // when it became idle
}

func newLink(conn net.Conn, maxHead int64) (*Link, error) {
	l := &Link{Conn: conn, socket: conn}
	if secure, ok := conn.(*tls.Conn); ok {
		l.socket, l.secure = secure.NetConn(), true
	}
	if s, ok := l.socket.(syscall.Conn); ok {
		var err error
		if l.raw, err = s.SyscallConn(); err != nil {
			l.Close()
			return nil, err
		}
	}
	l.Answers = NewAnswerReader(conn, maxHead)
	return l, nil
}

// Past is a deadline that ends reading and writing at once.
var Past = time.Unix(1, 0)

// quiet reports whether nothing has come since the last answer: the service has
// neither closed the connection, nor said something that the next call would
// take for its answer.
func (l *Link) quiet() bool {
	if l.raw == nil {
		return true
	}
	quiet := false
	err := l.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// Drained reports whether nothing that came with the answer is left in TLS's
// buffer, where Take does not see it. It ends a deadline for reading.
func (l *Link) Drained() bool {
	if !l.secure {
		return true
	}
	_ = l.SetReadDeadline(Past)
	_, err := l.Answers.buf.Peek(1)
	_ = l.SetReadDeadline(time.Time{})
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Close does not say farewell over TLS: that can wait for seconds.
func (l *Link) Close() error { return l.socket.Close() }
