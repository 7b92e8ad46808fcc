// SPDX-License-Identifier: Apache-2.0

package secretfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/secretfile"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, f *secretfile.File, want string, wantErr error) {
	t.Helper()
	if value, err := f.Value(); value != want || !errors.Is(err, wantErr) {
		t.Errorf("got %q, %v; want %q, %v", value, err, want, wantErr)
	}
}

func TestOneFilePerPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, second := secretfile.New(path), secretfile.New(path)
	if first != second {
		t.Error("two Files for one path")
	}
	if secretfile.New(path+"2") == first {
		t.Error("one File for two paths")
	}
}

func TestValueFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	synctest.Test(t, func(t *testing.T) {
		f := secretfile.New(path)
		expect(t, f, "", secretfile.ErrMissing)

		write(t, path, "one\r\n\n")
		expect(t, f, "", secretfile.ErrMissing) // looked at less than a second ago
		time.Sleep(time.Second)
		expect(t, f, "one", nil)

		write(t, path, "three")
		expect(t, f, "one", nil)
		time.Sleep(time.Second)
		expect(t, f, "three", nil)

		// As Kubernetes does it: another file takes the place, of the same
		// size and, here, of the same time.
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path+".new", "seven")
		if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		expect(t, f, "seven", nil)

		// What was read stays in use while there is nothing better.
		write(t, path, "")
		time.Sleep(time.Second)
		expect(t, f, "seven", nil)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		expect(t, f, "seven", nil)
		f.Reload()
		expect(t, f, "seven", nil)
		write(t, path, "eight")
		time.Sleep(time.Second)
		expect(t, f, "eight", nil)
	})
}

func TestReloadReadsAtOnceAndInAnyCase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	write(t, path, "one")
	f := secretfile.New(path)
	expect(t, f, "one", nil)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	// Written in place, of the same size, within one tick of its clock.
	write(t, path, "two")
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	f.Reload()
	expect(t, f, "two", nil)
}

func TestValueRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "empty"), "\n")
	write(t, filepath.Join(dir, "large"), strings.Repeat("x", secretfile.MaxSize+1))
	write(t, filepath.Join(dir, "largest"), strings.Repeat("x", secretfile.MaxSize))
	write(t, filepath.Join(dir, "denied"), "x")
	if err := os.Chmod(filepath.Join(dir, "denied"), 0); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"missing": secretfile.ErrMissing, "empty": secretfile.ErrEmpty, "large": secretfile.ErrTooLarge,
		"fifo": secretfile.ErrUnusable, ".": secretfile.ErrUnusable, "empty/x": secretfile.ErrUnusable,
	} {
		expect(t, secretfile.New(filepath.Join(dir, name)), "", want)
	}
	expect(t, secretfile.New(filepath.Join(dir, "largest")), strings.Repeat("x", secretfile.MaxSize), nil)
	if os.Geteuid() != 0 { // root may read everything
		expect(t, secretfile.New(filepath.Join(dir, "denied")), "", secretfile.ErrDenied)
	}
}

func TestManyReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	write(t, path, "one")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				f := secretfile.New(path)
				if value, err := f.Value(); value != "one" || err != nil {
					t.Errorf("%q, %v", value, err)
				}
				f.Reload()
			}
		})
	}
	wg.Wait()
}

func BenchmarkValue(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := secretfile.New(path).Value(); err != nil {
			b.Fatal(err)
		}
	}
}
