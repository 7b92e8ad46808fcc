// SPDX-License-Identifier: Apache-2.0

// Package secretfile reads secrets from files that somebody else rotates. Kong
// never brings a rotated vault secret to a running plugin instance. A file that
// is checked again and again does.
package secretfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// MaxSize is the largest secret in bytes.
const MaxSize = 64 << 10

// checkEvery is how long a value is used before the file is looked at again.
const checkEvery = time.Second

// A File is a file that holds one secret. It can be used by many goroutines.
type File struct {
	path string

	mu      sync.Mutex
	checked time.Time   // when the file was last looked at
	info    fs.FileInfo // what was read; nil when nothing good was
	value   string
	err     error // why there is no value
}

var (
	mu    sync.Mutex
	files = make(map[string]*File)
)

// New returns the process's one File for a path. It does not touch the file.
func New(path string) *File {
	mu.Lock()
	defer mu.Unlock()
	f := files[path]
	if f == nil {
		f = &File{path: path}
		files[path] = f
	}
	return f
}

// Value returns the secret without the line breaks at its end. At most once a
// second it checks whether the file changed, and then reads it. A value that
// was read stays in use while the file cannot be read. Without one the error
// says why, with neither the path nor the content.
func (f *File) Value() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.checked.IsZero() || now.Sub(f.checked) >= checkEvery {
		f.checked = now
		f.refresh()
	}
	return f.value, f.err
}

// Reload makes the next Value read the file, whether it looks changed or not.
func (f *File) Reload() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checked, f.info = time.Time{}, nil
}

func (f *File) refresh() {
	info, err := os.Stat(f.path)
	if err == nil && f.info != nil && os.SameFile(info, f.info) &&
		info.ModTime().Equal(f.info.ModTime()) && info.Size() == f.info.Size() {
		return
	}
	value, err := read(f.path, info, err)
	if err != nil {
		if f.value == "" {
			f.err = err
		}
		return
	}
	f.value, f.err, f.info = value, nil, info
}

// The errors of Value.
var (
	ErrMissing  = errors.New("the file does not exist")
	ErrDenied   = errors.New("the file may not be read by the user that Kong runs as")
	ErrUnusable = errors.New("the file cannot be read")
	ErrTooLarge = errors.New("the file is larger than 64 KiB")
	ErrEmpty    = errors.New("the file is empty")
)

func read(path string, info fs.FileInfo, err error) (string, error) {
	if err != nil {
		return "", explain(err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return "", ErrUnusable
	}
	file, err := os.Open(path)
	if err != nil {
		return "", explain(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	switch {
	case err != nil:
		return "", ErrUnusable
	case len(data) > MaxSize:
		return "", ErrTooLarge
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return "", ErrEmpty
	}
	return value, nil
}

func explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrMissing
	case errors.Is(err, fs.ErrPermission):
		return ErrDenied
	}
	return ErrUnusable
}
