// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// entries returns the files of an archive.
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

func TestRelease(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	at := time.Unix(1700000000, 0)
	binaries := func(arch, version string) ([]file, error) {
		return []file{{"bin/one", 0o755, []byte(arch + version)}, {"MODULES.txt", 0o644, []byte("a list")}}, nil
	}
	files := func() ([]string, error) { return []string{"LICENSE", "schema/prisma-airs-intercept/schema.lua"}, nil }
	backwards := func() ([]string, error) {
		list, err := files()
		slices.Reverse(list)
		return list, err
	}
	first, second := t.TempDir(), t.TempDir()
	var said, again bytes.Buffer
	if err := errors.Join(release("v1.2.3", first, at, files, binaries, &said), release("v1.2.3", second, at, backwards, binaries, &again)); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"kong-ai-guard_v1.2.3_linux_amd64.tar.gz: ", "kong-ai-guard_v1.2.3_linux_arm64.tar.gz: ", "5 files", "SHA256SUMS: "} {
		if !strings.Contains(said.String(), what) {
			t.Errorf("does not say %q: %s", what, said.String())
		}
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
		fmt.Fprintf(&sums, "%x  %s.tar.gz\n", sha256.Sum256(one), name)
		all := entries(t, archive)
		for path, mode := range map[string]int64{
			"bin/one": 0o755, "MODULES.txt": 0o644, "LICENSE": 0o644, "README.md": 0o644, "schema/prisma-airs-intercept/schema.lua": 0o644,
		} {
			h := all[name+"/"+path]
			if h == nil || h.Mode != mode || !h.ModTime.Equal(at) || h.Uid != 0 || h.Uname != "" {
				t.Errorf("%s: %+v", path, h)
			}
		}
		if len(all) != 5 {
			t.Errorf("%s holds %d files", name, len(all))
		}
	}
	got, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil || string(got) != sums.String() {
		t.Errorf("SHA256SUMS says\n%s%v", got, err)
	}
}

// built are the real binaries, made once, in the repository's root.
var built = sync.OnceValues(func() ([]file, error) { return build(runtime.GOARCH, "v1.2.3") })

func TestBuild(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what is built runs on Linux")
	}
	t.Chdir(filepath.Join("..", ".."))
	files, err := built()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.path)
	}
	var want []string
	for _, name := range plugins.Names() {
		want = append(want, "bin/"+name)
	}
	if want = append(want, "bin/konnect-schema", "sandbox", "docker/fakes", "MODULES.txt"); !slices.Equal(paths, want) {
		t.Fatalf("built %v", paths)
	}
	for _, f := range files[:len(plugins.Names())] {
		command := filepath.Base(f.path)
		path := filepath.Join(t.TempDir(), command)
		if err := os.WriteFile(path, f.content, 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "-version").Output()
		if err != nil || !strings.HasPrefix(string(out), command+" v1.2.3 ") {
			t.Errorf("-version says %q, %v", out, err)
		}
	}
	list := string(files[len(files)-1].content)
	if strings.Count(list, "  google.golang.org/protobuf v") < len(plugins.Names()) || strings.Count(list, " (go") != len(commands) || !strings.Contains(list, " h1:") {
		t.Errorf("the list of modules is\n%s", list)
	}
}

// inClone goes to the root of the clone. What is shipped is what git tracks, so
// sources that were copied without their history have no release to try.
func inClone(t *testing.T) {
	t.Helper()
	t.Chdir(filepath.Join("..", ".."))
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("This is no clone: git does not say which files a release has.")
	}
}

func TestWhatIsShipped(t *testing.T) {
	inClone(t)
	files, err := tracked()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"LICENSE", "SECURITY.md", "CHANGELOG.md", "docker/compose.yaml", "kong/kong.yml", "kong/konnect/main.tf",
		"schema/noma-runtime-protection/schema.lua", "docs/reference-prisma-airs-intercept.md",
	} {
		if !slices.Contains(files, want) {
			t.Errorf("%s is not shipped", want)
		}
	}
	for _, path := range files {
		if path == "README.md" || strings.HasSuffix(path, ".go") || strings.HasPrefix(filepath.Base(path), ".") || strings.HasSuffix(path, ".key") {
			t.Errorf("%s is shipped", path)
		}
	}
}

func TestReleaseRefuses(t *testing.T) {
	files := func() ([]string, error) { return nil, nil }
	fails := errors.New("no compiler")
	for _, version := range []string{"", "../v1", "v1 -o x", "-v1"} {
		if err := release(version, t.TempDir(), time.Time{}, files, nil, io.Discard); err == nil {
			t.Errorf("%q was taken for a version", version)
		}
	}
	out := t.TempDir()
	if err := release("v1", out, time.Time{}, files, func(string, string) ([]file, error) { return nil, fails }, io.Discard); !errors.Is(err, fails) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
