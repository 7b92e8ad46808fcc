// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Options are what a Log tells others. Each may be nil, and is called by any
// goroutine.
type Options struct {
	// Written hears of each record that was written, Dropped of each that was
	// lost.
	Written, Dropped func()
	// Failed hears each time that the file cannot be opened or written. The
	// record that it was for is kept and tried again.
	Failed func(error)
}

// A Log takes records. A nil Log takes none.
type Log struct {
	path string
	Options

	queue   chan []byte
	reopen  chan struct{}
	closing chan struct{} // closed by Close
	hurry   chan struct{} // closed when Close waits no longer
	done    chan struct{} // closed when nothing is written any more
	closed  atomic.Bool
	file    atomic.Pointer[os.File]

	// The rest is the writer's own.
	checked time.Time // when it last looked whether the file is still there
	torn    bool      // the file may end within a line
}

const (
	// queued is how many records wait at most.
	queued = 4096
	// retry is how long the writer waits after a failure, and for a reader of a
	// pipe before it looks at what else there is to do. It looks as often
	// whether the file was moved.
	retry = time.Second
)

// Open makes the log that writes to path: a file, to which it appends and which
// it makes if need be (mode 0640), a pipe, or a device. A named pipe need not
// have a reader yet. The error says why the path cannot be written.
func Open(path string, o Options) (*Log, error) {
	l := &Log{
		path: path, Options: o,
		queue: make(chan []byte, queued), reopen: make(chan struct{}, 1),
		closing: make(chan struct{}), hurry: make(chan struct{}), done: make(chan struct{}),
	}
	if err := l.open(); err != nil && !errors.Is(err, errNoReader) {
		return nil, err
	}
	go l.run()
	return l, nil
}

// Write takes a record. It never waits.
func (l *Log) Write(r Record) {
	if l == nil {
		return
	}
	if l.closed.Load() {
		call(l.Dropped)
		return
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	line := r.line()
	if line == nil {
		call(l.Dropped)
		return
	}
	select {
	case l.queue <- line:
	default:
		call(l.Dropped)
	}
}

// Reopen makes the log open its path again before it writes the next record:
// whoever rotates files has moved the old one.
func (l *Log) Reopen() {
	if l == nil {
		return
	}
	select {
	case l.reopen <- struct{}{}:
	default: // it will already
	}
}

// Close writes what waits, until ctx ends, and closes the file. What is left
// then is lost and counted, and so is what is written later.
func (l *Log) Close(ctx context.Context) {
	if l == nil || l.closed.Swap(true) {
		return
	}
	close(l.closing)
	select {
	case <-l.done:
	case <-ctx.Done():
		close(l.hurry)
		// Wakes a writer that waits for a pipe's reader. One that a disk holds up
		// is left behind.
		if f := l.file.Load(); f != nil {
			_ = f.SetWriteDeadline(time.Unix(1, 0))
		}
	}
	for {
		select {
		case <-l.queue:
			call(l.Dropped)
		default:
			return
		}
	}
}

func call(f func()) {
	if f != nil {
		f()
	}
}

func (l *Log) failed(err error) {
	if l.Failed != nil {
		l.Failed(err)
	}
}

// run writes the records, one at a time, so that others who append to the same
// file find whole lines.
func (l *Log) run() {
	defer close(l.done)
	defer l.shut()
	defer func() {
		if v := recover(); v != nil {
			l.closed.Store(true)
			l.failed(errors.New("panic"))
		}
	}()
	for {
		select {
		case line := <-l.queue:
			if !l.deliver(line) {
				call(l.Dropped)
			}
		case <-l.reopen:
			l.renew()
		case <-l.closing:
			select {
			case line := <-l.queue:
				if !l.deliver(line) {
					call(l.Dropped)
				}
			default:
				return
			}
		}
	}
}

// deliver writes a line, and tries until it is written or the log is closed.
func (l *Log) deliver(line []byte) bool {
	for {
		select {
		case <-l.reopen:
			l.renew()
		default:
		}
		l.look()
		err := l.put(line)
		switch {
		case err == nil:
			call(l.Written)
			return true
		case errors.Is(err, os.ErrDeadlineExceeded): // a reader is slow
			select {
			case <-l.hurry:
				return false
			default:
				continue
			}
		}
		l.failed(err)
		select {
		case <-l.closing:
			return false
		case <-l.reopen:
			l.renew()
		case <-time.After(retry):
		}
	}
}

// put writes a line once. After a part of one, the next begins on a line of its
// own.
func (l *Log) put(line []byte) error {
	f := l.file.Load()
	if f == nil {
		if err := l.open(); err != nil {
			return err
		}
		f = l.file.Load()
	}
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	_ = f.SetWriteDeadline(time.Now().Add(retry)) // files have none
	select {
	case <-l.hurry: // Close may have set an earlier one
		return os.ErrDeadlineExceeded
	default:
	}
	n, err := f.Write(line)
	if err == nil {
		l.torn = false
		return nil
	}
	l.torn = l.torn || n > 0
	if errors.Is(err, syscall.EPIPE) {
		l.shut() // the reader has gone
	}
	return cause(err)
}

// look opens the path again if the file is not there any more.
func (l *Log) look() {
	f := l.file.Load()
	if f == nil || time.Since(l.checked) < retry {
		return
	}
	l.checked = time.Now()
	there, err := os.Stat(l.path)
	if err == nil {
		if held, err := f.Stat(); err != nil || os.SameFile(there, held) {
			return
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return
	}
	l.renew()
}

// renew opens the path again. While that fails, what is open goes on to be
// used: a record in a file that was moved is better than none.
func (l *Log) renew() {
	old := l.file.Load()
	if err := l.open(); err != nil {
		l.failed(err)
		return
	}
	if old != nil {
		_ = old.Close()
	}
}

func (l *Log) shut() {
	if f := l.file.Swap(nil); f != nil {
		_ = f.Close()
	}
}

// errNoReader is the error of a named pipe that nobody reads.
var errNoReader = errors.New("nobody reads the pipe")

func (l *Log) open() error {
	// Not to hang on a pipe: that a reader comes is not for us to wait for.
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		if info, gone := os.Stat(l.path); gone == nil && info.Mode()&fs.ModeNamedPipe != 0 && errors.Is(err, syscall.ENXIO) {
			return errNoReader
		}
		return cause(err)
	}
	l.checked = time.Now()
	l.torn = endsWithin(f, l.path)
	l.file.Store(f)
	return nil
}

// endsWithin reports whether a file ends within a line, as one does whose last
// writer met a full disk.
func endsWithin(f *os.File, path string) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	r, err := os.Open(path)
	if err != nil {
		return true // an empty line does no harm
	}
	defer r.Close()
	last := make([]byte, 1)
	if _, err := r.ReadAt(last, info.Size()-1); err != nil && !errors.Is(err, io.EOF) {
		return true
	}
	return last[0] != '\n'
}

// cause is an error without the path, which the operator knows.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	}
	return err
}
