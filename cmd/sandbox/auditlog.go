// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// An auditLog is a pipe that the plugins write their audit log into: the one
// place that has the verdicts of watched and of relayed exchanges, too.
type auditLog struct {
	path string
	dir  string
	pipe *os.File
	read chan struct{} // closed when nobody reads it any more
}

// openAuditLog makes the pipe, and has it read into a book.
func openAuditLog(b *book) (*auditLog, error) {
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		return nil, err
	}
	l := &auditLog{dir: dir, path: filepath.Join(dir, "audit"), read: make(chan struct{})}
	err = syscall.Mkfifo(l.path, 0o600)
	if err == nil {
		// It is opened for writing too, so that it does not end while no plugin
		// has it open.
		l.pipe, err = os.OpenFile(l.path, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		defer close(l.read)
		b.follow(l.pipe)
	}()
	return l, nil
}

func (l *auditLog) close() error {
	err := l.pipe.Close()
	<-l.read
	return errors.Join(err, os.RemoveAll(l.dir))
}
