// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"context"
	"net"
)

// NewLog lets tests read what is logged.
var NewLog = newLog

// KongVersion is what a dump says of a build's version.
var KongVersion = kongVersion

// ServeConn serves one connection and returns when it is closed: tests that
// run in fake time have no listener. Shutdown waits for it.
func (s *Server) ServeConn(nc net.Conn) {
	s.init()
	c := newConn(s, nc)
	if !s.add(c) {
		nc.Close()
		return
	}
	s.serveConn(c)
}

// Stop and Finish are the steps of the end, one by one.
func (s *Server) Stop(ctx context.Context) { s.stop(ctx) }

func (s *Server) Finish(ctx context.Context) bool { return s.finish(ctx) }
