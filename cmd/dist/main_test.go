// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// entries gives the files of an archive.
func entries(t *testing.T, path string) map[string]*tar.Header {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	compressed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if !compressed.ModTime.IsZero() || compressed.Name != "" {
		t.Errorf("the gzip header tells of %v, %q", compressed.ModTime, compressed.Name)
	}
	all := map[string]*tar.Header{}
	for archive := tar.NewReader(compressed); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[header.Name] = header
	}
}

// The real commands for this machine stand in for each platform's: to build
// for another takes minutes.
func TestRelease(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	const version = "v1.2.3"
	at := time.Unix(1700000000, 0)
	binaries := t.TempDir()
	if runtime.GOOS != "linux" {
		t.Skip("what is built runs on Linux")
	}
	if err := build(runtime.GOARCH, version, binaries); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands[:2] {
		out, err := exec.Command(filepath.Join(binaries, command), "-version").Output()
		if err != nil || !strings.HasPrefix(string(out), command+" "+version+" ") {
			t.Errorf("-version says %q, %v", out, err)
		}
	}
	copied := func(_, _, dir string) error { return os.CopyFS(dir, os.DirFS(binaries)) }
	files := func() ([]string, error) { return []string{"LICENSE", "schema/prisma-airs-intercept/schema.lua"}, nil }
	backwards := func() ([]string, error) {
		list, err := files()
		slices.Reverse(list)
		return list, err
	}
	first, second := t.TempDir(), t.TempDir()
	if err := errors.Join(release(version, first, at, files, copied), release(version, second, at, backwards, copied)); err != nil {
		t.Fatal(err)
	}
	var sums strings.Builder
	for _, arch := range []string{"amd64", "arm64"} {
		name := "kong-ai-guard_v1.2.3_linux_" + arch
		archive := filepath.Join(first, name+".tar.gz")
		one, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(second, name+".tar.gz"))
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s is not the same twice: %v", name, err)
		}
		out, err := exec.Command("sha256sum", archive).Output()
		if err == nil { // not every machine has it
			hash, _, _ := strings.Cut(string(out), " ")
			sums.WriteString(hash + "  " + name + ".tar.gz\n")
		}
		all := entries(t, archive)
		for path, mode := range map[string]int64{
			"bin/prisma-airs-intercept": 0o755, "bin/noma-runtime-protection": 0o755, "bin/konnect-schema": 0o755,
			"MODULES.txt": 0o644, "LICENSE": 0o644, "schema/prisma-airs-intercept/schema.lua": 0o644,
		} {
			h := all[name+"/"+path]
			if h == nil || h.Mode != mode || !h.ModTime.Equal(at) || h.Uid != 0 || h.Uname != "" {
				t.Errorf("%s: %+v", path, h)
			}
		}
		if len(all) != 6 {
			t.Errorf("%s holds %d files", name, len(all))
		}
	}
	got, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil || sums.Len() > 0 && string(got) != sums.String() {
		t.Errorf("SHA256SUMS says\n%s%v, sha256sum says\n%s", got, err, &sums)
	}
	list, err := modules(binaries)
	if err != nil || strings.Count(string(list), "  google.golang.org/protobuf v") != len(commands) || !strings.Contains(string(list), " h1:") {
		t.Errorf("the list of modules is\n%s%v", list, err)
	}
}

func TestWhatIsShipped(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	t.Chdir(filepath.Join("..", ".."))
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("this is no clone")
	}
	files, err := tracked()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"LICENSE", "README.md", "CHANGELOG.md", "kong/kong.yml", "kong/konnect/main.tf",
		"schema/noma-runtime-protection/schema.lua", "docs/reference-prisma-airs-intercept.md",
	} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is not shipped", want)
		}
	}
	for _, path := range files {
		if strings.HasSuffix(path, ".go") || strings.HasPrefix(filepath.Base(path), ".") || strings.HasSuffix(path, ".key") {
			t.Errorf("%s is shipped", path)
		}
	}
}

func TestReleaseRefuses(t *testing.T) {
	files := func() ([]string, error) { return nil, nil }
	fails := errors.New("no compiler")
	for _, version := range []string{"", "../v1", "v1 -o x", "-v1"} {
		if err := release(version, t.TempDir(), time.Time{}, files, nil); err == nil {
			t.Errorf("%q was taken for a version", version)
		}
	}
	out := t.TempDir()
	if err := release("v1", out, time.Time{}, files, func(string, string, string) error { return fails }); !errors.Is(err, fails) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
